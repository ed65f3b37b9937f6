"""Requests that try to be read in two ways: each with the status that it gets, or what goes up.

`H` stands for a usable Host line. Nothing of a refused request reaches the upstream.
"""

H = b"Host: argocd.example.org\r\n"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"


def _get(fields: bytes, target: bytes = b"/x") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + H + fields + b"\r\n"


def _post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST /x HTTP/1.1\r\n" + H + fields + b"\r\n" + body


def _chunked(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked\r\n", body)


REQUEST_LINES: list[tuple[bytes, int]] = [
    (b"GET /x\r\n" + H + b"\r\n", 400),  # HTTP/0.9
    (b"GET /x HTTP/0.9\r\n" + H + b"\r\n", 505),
    (b"GET /x HTTP/2.0\r\n" + H + b"\r\n", 505),
    (b"GET /x HTTP/1.2\r\n" + H + b"\r\n", 505),
    (b"GET /x HTTP/3.0\r\n" + H + b"\r\n", 505),
    (b"GET /x HTTP/1.10\r\n" + H + b"\r\n", 400),
    (b"GET /x HTTP/01.1\r\n" + H + b"\r\n", 400),
    (b"GET /x HTTP/1\r\n" + H + b"\r\n", 400),
    (b"GET /x HTTP/1.1 \r\n" + H + b"\r\n", 400),
    (b"GET /x HTTP/1.1x\r\n" + H + b"\r\n", 400),
    (b"GET /x http/1.1\r\n" + H + b"\r\n", 400),
    (b"GET /x HTTP 1.1\r\n" + H + b"\r\n", 400),
    (b"GET /x HTTP/+1.1\r\n" + H + b"\r\n", 400),
    (b"GET /x RTSP/1.0\r\n" + H + b"\r\n", 400),
    (b"GET /x ICE/1.0\r\n" + H + b"\r\n", 400),
    (b"GET /x\tHTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET\t/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET  /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET /x  HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b" GET /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"\r\nGET /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"\r\n\r\nGET /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"\nGET /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"\x00GET /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"get /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"Get /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET_ /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GE(T /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"UNKNOWN /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"G" * 40 + b" /x HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"CONNECT evil:443 HTTP/1.1\r\n" + H + b"\r\n", 405),
    (b"CONNECT /x HTTP/1.1\r\n" + H + b"\r\n", 405),
    (b"TRACE /x HTTP/1.1\r\n" + H + b"\r\n", 405),
    (b"PRI * HTTP/2.0\r\n" + H + b"\r\n", 400),
    (b"GET /x HTTP/1.1\r\r\n" + H + b"\r\n", 400),
    (b"GET /x HTTP/1.1\n" + H + b"\r\n", 400),
    (b"GET /x HTTP/1.1\r" + H + b"\r\n", 400),
    (b"GET /x HTTP/1.1\nHost: argocd.example.org\n\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: argocd.example.org\n\n", 400),
    (b"GET /x\n", 400),
    (b"GET /x y HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET /x\x00y HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET /x\x7fy HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET /x\x0by HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET /x\xe9y HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"\x15\x03\x01\x00\x02\x01\x00\r\n\r\n", 400),
    (b"garbage\r\n\r\n", 400),
    (b"HTTP/1.1 200 OK\r\n\r\n", 400),
]

TARGETS: list[tuple[bytes, int]] = [
    (_get(b"", target), 400)
    for target in (
        b"x", b"*", b"?x", b"#", b"/x#y", b"/#", b"http://argocd.example.org/x", b"http://evil/x",
        b"https://argocd.example.org/", b"//evil@argocd.example.org#", b"evil:443", b"\\x",
        b"/%00", b"/x%00y", b"/x/%00/../y", b"ftp://x/", b"HTTP://argocd.example.org/", b"%2fx",
    )
]  # fmt: skip

HOSTS: list[tuple[bytes, int]] = [
    (b"GET /x HTTP/1.1\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    (b"GET /x HTTP/1.1\r\n" + H + b"host: evil\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a#b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a\\b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: \xe9\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: " + b"a" * 300 + b"\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: .\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a..b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: ::1\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    (b"GET /x HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400),
    (b"GET /x HTTP/1.0\r\n" + H + H + b"\r\n", 400),
    (_get(b"Connection: host\r\n"), 400),
]

FIELDS: list[tuple[bytes, int]] = [
    (_get(fields), status)
    for fields, status in (
        (b"A : b\r\n", 400),
        (b"A\t: b\r\n", 400),
        (b" A: b\r\n", 400),
        (b"A: b\r\n c\r\n", 400),
        (b"A: b\r\n\tc\r\n", 400),
        (b"A: b\r\n \r\n", 400),
        (b"A\r\n", 400),
        (b": b\r\n", 400),
        (b"A: b\rX: c\r\n", 400),
        (b"A: b\nX: c\r\n", 400),
        (b"A: b\x00c\r\n", 400),
        (b"A: b\x0bc\r\n", 400),
        (b"A: b\x7fc\r\n", 400),
        (b"A: b\x1fc\r\n", 400),
        (b"A\x00: b\r\n", 400),
        (b"A\xe9: b\r\n", 400),
        (b"A(b): c\r\n", 400),
        (b"A;b: c\r\n", 400),
        (b"A,b: c\r\n", 400),
        (b'A"b: c\r\n', 400),
        (b"Content_Length: 5\r\n", 400),
        (b"Transfer_Encoding: chunked\r\n", 400),
        (b"transfer_encoding: x\r\n", 400),
        (b"X_Forwarded_For: 1.2.3.4\r\n", 400),
        (b"X-Forwarded_Host: evil\r\n", 400),
        (b"X_FORWARDED-PROTO: https\r\n", 400),
        (b"Grpc_Metadata_Token: x\r\n", 400),
        (b"X_Real_Ip: x\r\n", 400),
        (b"Connection: content-length\r\n", 400),
        (b"Connection: Transfer-Encoding\r\n", 400),
        (b"Connection: close, Cookie\r\n", 400),
        (b"Connection: AUTHORIZATION\r\n", 400),
        (b"Connection: x-forwarded-for\r\n", 400),
        (b"Connection: close\r\nConnection: X-Forwarded-Host\r\n", 400),
        (b"Connection: origin\r\n", 400),
        (b"Connection: token\r\n", 400),
        (b"".join(b"A%d: b\r\n" % i for i in range(256)), 431),
        (b"A: " + b"b" * 66_000 + b"\r\n", 431),
        (b"A" * 66_000 + b": b\r\n", 431),
        (b"".join(b"A%d: %s\r\n" % (i, b"b" * 900) for i in range(80)), 431),
        (b"Cookie: " + b";".join(b"a=b" for _ in range(600)) + b"\r\n", 400),
    )
]

_HANDSHAKE = b"Upgrade: websocket\r\nConnection: upgrade\r\n"
HANDSHAKES: list[tuple[bytes, int]] = [
    (_get(_HANDSHAKE + b"Content-Length: 5\r\n") + b"hello", 400),
    (_get(_HANDSHAKE + b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400),
]

FRAMINGS: list[tuple[bytes, int]] = [
    (_post(fields, b"0\r\n\r\n" + _SMUGGLED), 400)
    for fields in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\ncontent-length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 5,6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5e0\r\n",
        b"Content-Length: 5.0\r\n",
        b"Content-Length: 5_0\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: five\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: \x0b5\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: 18446744073709551621\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: ,chunked\r\n",
        b"Transfer-Encoding: chunked,\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunkedx\r\n",
        b"Transfer-Encoding: 'chunked'\r\n",
        b'Transfer-Encoding: "chunked"\r\n',
        b"Transfer-Encoding: chunked;q=1\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding\t: chunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"X: y\r\n Transfer-Encoding: chunked\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\n",
        b"Transfer\\-Encoding: chunked\r\n",
    )
] + [
    (b"POST /x HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
]

# Their heads are good, so an upstream connection may have been opened: no body byte goes up
# from the malformed line on.
CHUNKS: list[tuple[bytes, int]] = [
    (_chunked(body), status)
    for body, status in (
        (b"0x5\r\nhello\r\n0\r\n\r\n", 400),
        (b"+5\r\nhello\r\n0\r\n\r\n", 400),
        (b"-5\r\nhello\r\n0\r\n\r\n", 400),
        (b" 5\r\nhello\r\n0\r\n\r\n", 400),
        (b"5 \r\nhello\r\n0\r\n\r\n", 400),
        (b"5\t\r\nhello\r\n0\r\n\r\n", 400),
        (b"5 ;a=b\r\nhello\r\n0\r\n\r\n", 400),
        (b"\r\n5\r\nhello\r\n0\r\n\r\n", 400),
        (b"\r\nhello\r\n0\r\n\r\n", 400),
        (b";a=b\r\nhello\r\n0\r\n\r\n", 400),
        (b"g\r\nhello\r\n0\r\n\r\n", 400),
        (b"5_0\r\nhello\r\n0\r\n\r\n", 400),
        (b"5\nhello\r\n0\r\n\r\n", 400),
        (b"5\rhello\r\n0\r\n\r\n", 400),
        (b"5\r\r\nhello\r\n0\r\n\r\n", 400),
        (b"5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
        (b"5;a\rb\r\nhello\r\n0\r\n\r\n", 400),
        (b"5;a\x00b\r\nhello\r\n0\r\n\r\n", 400),
        (b"5a,b\r\nhello\r\n0\r\n\r\n", 400),
        (b"1" * 16 + b"\r\nhello\r\n0\r\n\r\n", 400),
        (b"ffffffffffffffffff5\r\nhello\r\n0\r\n\r\n", 400),
        (b"5\r\nhelloX\r\n0\r\n\r\n", 400),
        (b"5\r\nhello0\r\n\r\n", 400),
        (b"5\r\nhello\n0\r\n\r\n", 400),
        (b"5\r\nhell\r\n0\r\n\r\n", 400),
        (b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n", 400),
        (b"5;" + b"a" * 5000, 400),
        (b"".join(b"1;%s\r\nx\r\n" % (b"a" * 4000) for _ in range(17)) + b"0\r\n\r\n", 400),
        (b"0\r\nA: b\n\r\n", 400),
        (b"0\r\nA : b\r\n\r\n", 400),
        (b"0\r\n A: b\r\n\r\n", 400),
        (b"0\r\nA\r\n\r\n", 400),
        (b"0\r\nA: b\x00\r\n\r\n", 400),
        (b"0\r\nContent-Length: 5\r\n\r\n", 400),
        (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"0\r\nHost: evil\r\n\r\n", 400),
        (b"0\r\nCookie: argocd.token=x\r\n\r\n", 400),
        (b"0\r\nAuthorization: Bearer a.b.c\r\n\r\n", 400),
        (b"0\r\nGrpc_Metadata_Token: a\r\n\r\n", 400),
        (b"0\r\n" + b"".join(b"A%d: %s\r\n" % (i, b"b" * 900) for i in range(20)) + b"\r\n", 431),
    )
]

# Odd, but with one meaning: it goes up in exactly this form.
HARMLESS: list[tuple[bytes, bytes]] = [
    (_get(b"A:b\r\n"), _get(b"A: b\r\n")),
    (_get(b"A: \t b \t \r\n"), _get(b"A: b\r\n")),
    (_get(b"A:\r\n"), _get(b"A: \r\n")),
    (_get(b"A_B: c\r\n"), _get(b"A_B: c\r\n")),
    (_get(b"A: b\xff\r\n"), _get(b"A: b\xff\r\n")),
    (_get(b"A: b: c\r\n"), _get(b"A: b: c\r\n")),
    (_get(b"A.b: c\r\n"), _get(b"A.b: c\r\n")),
    (_get(b"_: c\r\n"), _get(b"_: c\r\n")),
    (_get(b"Expect: x\r\n"), _get(b"Expect: x\r\n")),
    (_get(b"If-Match: a\r\nIf-Match: b\r\n"), _get(b"If-Match: a\r\nIf-Match: b\r\n")),
    (
        _get(b"Authorization: Basic a\r\nAuthorization: Basic b\r\n"),
        _get(b"Authorization: Basic a\r\nAuthorization: Basic b\r\n"),
    ),
    (_get(b"Content-Length: 0\r\n"), _get(b"Content-Length: 0\r\n")),
    (_post(b"Content-Length:\t5\r\n", b"hello"), _post(b"Content-Length: 5\r\n", b"hello")),
    (
        _post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
        _post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
    ),
    (_post(b"Content-Length: 005\r\n", b"hello"), _post(b"Content-Length: 005\r\n", b"hello")),
    (_post(b"Content-Length: 5 \r\n", b"hello"), _post(b"Content-Length: 5\r\n", b"hello")),
    (
        _post(b"Transfer-Encoding: CHUNKED \r\nA: b\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        _post(b"A: b\r\nTransfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ),
    (_chunked(b"00000\r\n\r\n"), _chunked(b"00000\r\n\r\n")),
    (
        _chunked(b'5;a="\\";b"\r\nhello\r\n0;x\r\nX-T: y\r\n\r\n'),
        _chunked(b'5;a="\\";b"\r\nhello\r\n0;x\r\nX-T: y\r\n\r\n'),
    ),
    (
        _get(b"Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"),
        _get(b"HTTP2-Settings: x\r\n"),
    ),
    (_get(b"Trailer: X-T\r\n"), _get(b"Trailer: X-T\r\n")),
    (
        _get(b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
        _get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ),
    (_get(b"Upgrade: websocket\r\n"), _get(b"")),
    (_get(b"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"), _get(b"")),
    (_get(b"Connection: x,,y\r\nX: 1\r\nY: 2\r\nZ: 3\r\n"), _get(b"Z: 3\r\n")),
    (_get(b"Proxy-Connection: keep-alive\r\nKeep-Alive: 1\r\n"), _get(b"")),
    (_get(b"", b"/x?http://evil/"), _get(b"", b"/x?http://evil/")),
    (_get(b"", b"//evil/x"), _get(b"", b"//evil/x")),
    (_get(b"", b"/..;/auth/login"), _get(b"", b"/..;/auth/login")),
    (_get(b"", b"/%61pi/%2e%2e%2fx"), _get(b"", b"/%61pi/%2e%2e%2fx")),
    (_get(b"", b"/auth%252flogin"), _get(b"", b"/auth%252flogin")),
    (_get(b"", b"/AUTH/login"), _get(b"", b"/AUTH/login")),
    (_get(b"", b"/../x"), _get(b"", b"/../x")),
    (_get(b"", b"/a/%2e%2e/%2e%2e/x"), _get(b"", b"/a/%2e%2e/%2e%2e/x")),
    (_get(b"", b"/a%"), _get(b"", b"/a%")),
    (_get(b"", b"/a%zz"), _get(b"", b"/a%zz")),
    (_get(b"", b"/a\\b|c<d>"), _get(b"", b"/a\\b|c<d>")),
    (_get(b"", b"/x?%00"), _get(b"", b"/x?%00")),
    (b"GET /x HTTP/1.0\r\n\r\n", b"GET /x HTTP/1.0\r\n\r\n"),
    (
        b"GET /x HTTP/1.0\r\n" + H + b"Connection: keep-alive\r\n\r\n",
        b"GET /x HTTP/1.0\r\n" + H + b"\r\n",
    ),
]

REFUSED = [*REQUEST_LINES, *TARGETS, *HOSTS, *FIELDS, *HANDSHAKES, *FRAMINGS]
