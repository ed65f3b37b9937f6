"""What the fuzzers begin with: the corpus, and pieces that mean something in HTTP."""

from collections.abc import Mapping, Sequence

from tests.proxy.hostile import CHUNKS, HARMLESS, REFUSED, H

_LINES = [
    b"Connection: close, X-Mine\r\n", b"X-Mine: 1\r\n", b"Connection: keep-alive\r\n",
    b"Keep-Alive: 1\r\n", b"TE: trailers\r\n", b"Trailer: X-T\r\n", b"Upgrade: websocket\r\n",
    b"Connection: upgrade\r\n", b"Proxy-Connection: x\r\n", b"Proxy-Authenticate: x\r\n",
    b"Proxy-Authorization: x\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n", b"Accept: text/html\r\n", b"X-T: y\r\n", b"Set-Cookie: a=b\r\n",
    b"Cookie: argocd.token=a; b\r\n", b"Authorization: Bearer a.b.c\r\n", H,
]  # fmt: skip
_HEADS = [
    *(raw for raw, _ in [*REFUSED, *HARMLESS] if len(raw) < 2000),
    *(b"GET /x HTTP/1.1\r\n" + H + line + b"X-A: b\r\n\r\n" for line in _LINES),
]
_BODIES = [raw.partition(b"\r\n\r\n")[2] for raw, _ in CHUNKS]
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-b: 2\r\nX-B: 1\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length:5\r\nConnection: keep-alive\r\n\r\nhelloHTTP/1.1 200",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nto the end",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
    b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 9\r\n\r\n',
    b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500\r\nContent-Length: 0\r\nConnection: close, X\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x00",
    b"HTTP/1.1 200 Caf\xe9\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 1\r\n\r\nx",
    _CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    _CHUNKED + b'5;a="b"\r\nhello\r\n00;x\r\nX-T: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
    *(_CHUNKED + body for body in _BODIES if len(body) < 200),
    *(
        b"HTTP/1.1 200 OK\r\n" + line + framing + b"\r\n0\r\n\r\n"
        for line in _LINES
        for framing in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n")
    ),
]
_GOOD_BODIES = [raw.partition(b"\r\n\r\n")[2] for raw, _ in HARMLESS if b"hunked" in raw.lower()]

SEEDS: Mapping[str, Sequence[bytes]] = {
    "request_head": _HEADS,
    "answer": [bytes([cut]) + raw for raw in _ANSWERS for cut in (0, 41, 60)],
    "chunked_body": [bytes([3]) + raw for raw in [*_BODIES, *_GOOD_BODIES] if len(raw) < 6000],
}

PIECES = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b",", b"=", b'"', b"\x00", b"\xff",
    b"\x0b", b"\x7f", b"_", b"0", b"5", b"%", b"#", b"?", b"/", b"/..", b"HTTP/1.0", b"HTTP/1.1",
    b"GET ", b"HEAD ", b"POST ", b"OPTIONS ", b" 204 ", b" 304 ", b" 100 ", b"0\r\n\r\n",
    b"5\r\nhello\r\n", b"chunked", b"close", b"upgrade", b"websocket", b"Content-Length: ",
    b"Connection: ", b"/api/v1/settings", b"/auth/login", b"/terminal", *_LINES,
]  # fmt: skip
