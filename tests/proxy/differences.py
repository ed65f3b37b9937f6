"""Where nginx does something else with the corpus than the sidecar, and why ours is right.

An entry is named by a part of it that no other entry has; `BEGIN` and `END` stand for its ends.
The table is for the nginx of Debian 12: see `tests/proxy/nginx.py`.
"""

from dataclasses import dataclass

from tests.proxy.differential import Difference
from tests.proxy.hostile import H

BEGIN, END = b"<<", b">>"
PASSES, REFUSES = Difference.NGINX_PASSES, Difference.NGINX_REFUSES
STATUS, FORM = Difference.STATUS, Difference.FORM


@dataclass(frozen=True)
class Reason:
    """Why one kind of request is treated in another way; `section` is what demands it."""

    name: str
    difference: Difference
    why: str
    section: str
    entries: tuple[bytes, ...]


_GET = b"GET /x HTTP/1.1\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

REASONS = [
    # The request line.
    Reason(
        "http-0.9", PASSES,
        "nginx answers HTTP/0.9 and sends it up as HTTP/1.1 without a Host: an answer without a "
        "head is not told from somebody else's",
        "RFC 9112 section 3 and appendix C.1",
        (b"GET /x\r\nHost", b"GET /x\n"),
    ),
    Reason(
        "other-version", PASSES,
        "nginx takes any minor version as 1.1; what a later one changes nobody here knows",
        "RFC 9112 section 2.3; RFC 9110 section 15.6.6: 505",
        (b"HTTP/1.2\r\n", b"HTTP/1.10\r\n"),
    ),
    Reason(
        "one-space", PASSES,
        "nginx mends a request line with more than one space between its parts; what is mended "
        "is read a second time",
        "RFC 9112 section 3: a single SP; a recipient MAY be lenient, and is warned of smuggling",
        (b"HTTP/1.1 \r\n", b"GET  /x", b"/x  HTTP/1.1"),
    ),
    Reason(
        "empty-line-first", PASSES,
        "nginx skips line ends before a request; no client of today sends them, and after a body "
        "they are the mark of a wrong length",
        "RFC 9112 section 2.2: SHOULD ignore at least one, which we do not",
        (BEGIN + b"\r\nGET /x", BEGIN + b"\r\n\r\nGET /x", BEGIN + b"\nGET /x"),
    ),
    Reason(
        "unknown-method", PASSES,
        "nginx passes any word; llhttp knows the registered methods, and a client of Argo CD "
        "sends no other",
        "RFC 9110 section 9.1: SHOULD be 501, which we do not tell from garbage",
        (b"GET_ /x", b"UNKNOWN /x", b"GGGG"),
    ),
    Reason(
        "bare-lf", PASSES,
        "nginx ends a line with LF alone; one end of a line that only some see is the oldest way "
        "to smuggle",
        "RFC 9112 section 2.2: MAY recognize a single LF, which we do not",
        (
            b"GET /x HTTP/1.1\n" + H, b"GET /x HTTP/1.1\nHost: argocd.example.org\n\n",
            _GET + b"Host: argocd.example.org\n\n", b"A: b\nX: c", b"X: y\nTransfer-Encoding",
        ),
    ),
    # The target.
    Reason(
        "no-uri", PASSES,
        "nginx sends a byte up that no URI has, or a fragment that belongs to the browser; two "
        "readers cut such a path in two places",
        "RFC 9112 section 3.2 and RFC 3986 sections 2 and 3.5",
        (b"/x\xe9y", b"GET /x#y", b"GET /# ", b"//evil@argocd.example.org#"),
    ),
    Reason(
        "absolute-form", PASSES,
        "nginx sends the path up with the Host of the field, whatever host the target names; "
        "only a client of a forward proxy sends this form",
        "RFC 9112 section 3.2.2: the target's host counts, not the field's; a server MUST accept "
        "the form, which we do not",
        (
            b"GET http://argocd", b"GET http://evil/x HTTP", b"GET https://", b"GET ftp://",
            b"GET HTTP://",
        ),
    ),
    Reason(
        "above-the-root", REFUSES,
        "nginx refuses a path that climbs above the root, since it serves files; Argo CD cleans "
        "it, we judge it cleaned in the same way, and it goes up as it came",
        "RFC 3986 section 5.2.4",
        (b"/../x", b"/a/%2e%2e/%2e%2e/x"),
    ),
    Reason(
        "percent", REFUSES,
        "nginx decodes the path for its locations, and must refuse what is no encoding; it goes "
        "up as it came, and Argo CD's server refuses it with 400",
        "RFC 3986 section 2.1",
        (b"GET /a% ", b"GET /a%zz "),
    ),
    # Host.
    Reason(
        "host-is-a-name", PASSES,
        "nginx passes a Host with delimiters of a URL, other bytes or without an end: put into "
        "an address it is another host. We take one name or address, and a port",
        "RFC 9110 section 7.2 and RFC 3986 section 3.2.2; RFC 9112 section 3.2: 400",
        tuple(
            b"Host: " + host + b"\r\n\r\n"
            for host in (
                b"a,b", b"a@b", b"a?b", b"a#b", b"a\\b", b"\xe9", b"a" * 300, b"[::1", b"a:b",
                b"a:80:80",
            )
        ),
    ),
    # Fields.
    Reason(
        "no-colon", PASSES,
        "nginx takes a line without a colon for a field without a value",
        "RFC 9112 section 5",
        (H + b"A\r\n",),
    ),
    Reason(
        "control-in-value", PASSES,
        "nginx passes control characters in a value",
        "RFC 9110 section 5.5: they are invalid; a recipient MAY retain them, which we do not",
        (b"A: b\x0bc", b"A: b\x7fc", b"A: b\x1fc"),
    ),
    Reason(
        "name-is-a-token", PASSES,
        "nginx drops a field whose name is no token, and passes the rest: what it drops another "
        "reader may know",
        "RFC 9110 section 5.6.2",
        (
            b"A\xe9: b", b"A(b): c", b"A;b: c", b"A,b: c", b'A"b: c', b"Transfer\\-Encoding",
        ),
    ),
    Reason(
        "underscore-twin", PASSES,
        "nginx drops every name with an underscore; we pass such names, and refuse those that "
        "would become the name of a field that matters",
        "RFC 3875 section 4.1.18: in CGI _ and - are the same",
        (
            b"Content_Length", b"Transfer_Encoding", b"transfer_encoding", b"X_Forwarded_For",
            b"X-Forwarded_Host", b"X_FORWARDED-PROTO", H + b"Grpc_Metadata_Token", b"X_Real_Ip",
        ),
    ),
    Reason(
        "name-as-it-came", FORM,
        "nginx drops names with other characters than letters, digits and hyphens; they are "
        "tokens, and go up",
        "RFC 9110 section 5.1: a proxy MUST forward unrecognized fields",
        (b"A_B: c", b"A.b: c", H + b"_: c"),
    ),
    Reason(
        "connection-names-what-matters", PASSES,
        "nginx does not look at what Connection names. We drop what it names, so it must not "
        "name a field by which the request was judged",
        "RFC 9110 section 7.6.1: MUST NOT be for all recipients",
        (
            b"Connection: host", b"Connection: content-length", b"Connection: Transfer-Encoding",
            b"Connection: close, Cookie", b"Connection: AUTHORIZATION",
            b"Connection: x-forwarded-for", b"Connection: X-Forwarded-Host",
            b"Connection: origin", b"Connection: token",
        ),
    ),
    Reason(
        "named-by-connection", FORM,
        "nginx passes the fields that Connection names",
        "RFC 9110 section 7.6.1: MUST remove them",
        (b"Connection: x,,y",),
    ),
    Reason(
        "proxy-connection", FORM,
        "nginx passes Proxy-Connection",
        "RFC 9110 section 7.6.1: SHOULD remove it",
        (b"Proxy-Connection",),
    ),
    Reason(
        "websocket", FORM,
        "nginx drops Upgrade unless it is told otherwise; Argo CD's terminal is a WebSocket",
        "RFC 9110 section 7.8",
        (_GET + H + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",),
    ),
    Reason(
        "websocket-with-a-body", PASSES,
        "nginx passes the request without its Upgrade; with it, body or protocol would follow, "
        "and who answers decides which",
        "RFC 6455 section 4.1",
        (
            b"Connection: upgrade\r\nContent-Length: 5", b"Connection: upgrade\r\nTransfer-Enc",
        ),
    ),
    Reason(
        "expect", FORM,
        "nginx says 100 itself, or nothing, and drops Expect; with us Argo CD decides, before "
        "the body is sent",
        "RFC 9110 section 10.1.1: a proxy MUST answer with a final status, or forward it",
        (b"Expect: x", b"Expect: 100-continue"),
    ),
    Reason(
        "two-lines-of-a-list", REFUSES,
        "nginx refuses a second line of some fields; this one is a list, and may have several",
        "RFC 9110 sections 5.3 and 13.1.1",
        (b"If-Match",),
    ),
    Reason(
        "two-authorizations", REFUSES,
        "nginx refuses a second one, having one place for it. Argo CD looks at each for a bearer "
        "token, and so do we: whichever it finds, the request is the client's own",
        "RFC 9110 sections 5.3 and 11.6.2: not to be sent, with no rule for who receives it",
        (b"Authorization: Basic a",),
    ),
    Reason(
        "limits", PASSES,
        "nginx bounds the size of lines only. We bound their number, the whole head, and the "
        "parts of a Cookie: each costs memory for as long as the request lasts",
        "RFC 6585 section 5; RFC 9110 sections 2.3 and 17.5",
        (b"A0: b\r\nA1: b", H + b"A0: bb", b"Cookie: a=b;a=b"),
    ),
    # Framing.
    Reason(
        "tab-before-the-length", REFUSES,
        "nginx 1.22 reads a tab as a part of the number; it is white space, which we do not "
        "pass on",
        "RFC 9112 section 5: OWS",
        (b"Content-Length:\t5",),
    ),
    Reason(
        "http-1.0", FORM,
        "nginx sends HTTP/1.0 up as 1.1, and keeps the connection if asked; with us Argo CD "
        "sees that no chunks may come back, and the connection ends",
        "RFC 9112 sections 6.1 and 9.3; section 2.3 asks for our own version, which we do not send",
        (b"GET /x HTTP/1.0\r\n\r\n", H + b"Connection: keep-alive\r\n\r\n"),
    ),
    Reason(
        "chunk-size-line", PASSES,
        "nginx takes white space, a bare LF or a NUL in the line of a chunk's size, which is "
        "where readers part most often. It writes the chunks anew; we pass them as they came, "
        "so there must be one spelling",
        "RFC 9112 section 7.1",
        (
            _CHUNKED + b"5 \r\n", _CHUNKED + b"5\t\r\n", b"5 ;a=b", b"5\nhello", b"5;a\x00b",
        ),
    ),
    Reason(
        "after-a-chunk", PASSES,
        "nginx takes a bare LF behind a chunk's data, even one that is its CRLF's",
        "RFC 9112 section 7.1",
        (b"hello\n0", b"hell\r\n0"),
    ),
    Reason(
        "chunk-extensions", PASSES,
        "nginx reads extensions of any length",
        "RFC 9112 section 7.1.1: ought to limit their total length",
        (b"a\r\nhello\r\n0\r\n\r\n", b"a\r\nx\r\n1;a"),
    ),
    Reason(
        "trailers", PASSES,
        "nginx drops trailers unread. We pass them, so they must be fields, few, and none that "
        "changes what was judged",
        "RFC 9110 section 6.5.1 and RFC 9112 section 7.1.2",
        tuple(
            b"\r\n0\r\n" + line
            for line in (
                b"A: b\n", b"A : b", b" A: b", b"A\r\n", b"A: b\x00", b"Content-Length: 5",
                b"Transfer-Encoding", b"Host: evil", b"Cookie", b"Authorization",
                b"Grpc_Metadata_Token", b"A0: b",
            )
        ),
    ),
    Reason(
        "trailers-pass", FORM,
        "nginx drops trailers and chunk extensions; they are the client's, and go up",
        "RFC 9110 section 6.5 and RFC 9112 section 7.1.2",
        (b"X-T: y",),
    ),
    # Refused by both.
    Reason(
        "405", STATUS,
        "nginx reads the target first, and says 400: 405 tells what is wrong, and is final",
        "RFC 9110 section 15.5.6",
        (b"CONNECT evil:443",),
    ),
    Reason(
        "505", STATUS,
        "nginx says 400",
        "RFC 9110 section 15.6.6",
        (b"HTTP/0.9\r\n",),
    ),
    Reason(
        "431", STATUS,
        "nginx says 400",
        "RFC 6585 section 5",
        (H + b"A: bbb", H + b"AAAA"),
    ),
    Reason(
        "transfer-coding", STATUS,
        "nginx says 501, as it SHOULD for a coding that it does not know. Here it is either an "
        "attack or a fault of the client, which will not be mended by another server",
        "RFC 9112 section 6.1",
        tuple(
            H + b"Transfer-Encoding:" + coding + b"\r\n\r\n"
            for coding in (
                b" gzip, chunked", b" chunked, gzip", b" ,chunked", b" chunked,",
                b" chunked, chunked", b" identity", b" gzip", b"", b" xchunked", b" chunkedx",
                b" 'chunked'", b' "chunked"', b" chunked;q=1", b" \x0bchunked",
            )
        ),
    ),
    Reason(
        "endless-chunk-line", STATUS,
        "nginx waits for a line's end until the client's time is up; we say 400 after 4 KiB",
        "RFC 9112 section 7.1.1",
        (b"a" * 4990 + END,),
    ),
]  # fmt: skip
