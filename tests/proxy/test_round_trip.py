"""A request and its answer arrive as they were sent, but for what is named here."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.examples import properties
from tests.proxy.stack import OK, TOKEN, Peer, get, stack
from tests.reading import read_requests

TARGET_BYTES = [chr(i) for i in (0x21, 0x22, *range(0x24, 0x7F))]
VALUE_BYTES = [chr(i) for i in (9, *range(32, 127), *range(128, 256))]
KNOWN = ["accept", "User-Agent", "CONTENT-TYPE", "range", "If-None-Match", "Accept-Encoding", "Via"]
NAMES = st.sampled_from(KNOWN) | st.text("ABCxyz019-_!#$%&'*+.^`|~", min_size=1, max_size=8).map(
    lambda name: f"X-{name}"
)
VALUES = st.text(VALUE_BYTES, max_size=12).map(lambda value: value.strip(" \t"))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
# For one hop: they stay here, wherever they stand. X-Mine goes with the Connection that names it.
ONE_HOP = st.sampled_from(
    [
        [],
        [("Connection", "keep-alive")],
        [("TE", "trailers")],
        [("Proxy-Connection", "x")],
        [("Keep-Alive", "1"), ("connection", "X-Mine"), ("x-mine", "1")],
    ]
)
SPACE = st.sampled_from([" ", "", "\t", "  "])


@dataclass(frozen=True)
class Trip:
    """A request or an answer: as it is sent, and as it has to arrive."""

    sent: bytes
    arrives: bytes


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[tuple[str, str]], bytes]:
    """A body, and the field that frames it: none, a length, or chunks with all they may have."""
    data = draw(st.binary(max_size=40))
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "none":
        return [], b""
    if kind == "length":
        return [("content-LENGTH", str(len(data)))], data
    cut = draw(st.integers(0, len(data)))
    wire = b""
    for piece in (data[:cut], data[cut:]):
        if piece:
            extension = draw(st.sampled_from([b"", b";a", b';a="\xff"']))
            wire += b"%X%s\r\n%s\r\n" % (len(piece), extension, piece)
    trailers = draw(st.sampled_from([b"", b"X-T: 1\r\nx-t:2\r\n"]))
    return [("Transfer-Encoding", "chunked")], wire + b"0\r\n" + trailers + b"\r\n"


def message(line: str, fields: list[tuple[str, str]], body: bytes, space: str = " ") -> bytes:
    """A message as bytes, with this white space behind each colon."""
    lines = "".join(f"{name}:{space}{value}\r\n" for name, value in fields)
    return f"{line}\r\n{lines}\r\n".encode("latin-1") + body


@st.composite
def requests(draw: st.DrawFn, session: str) -> Trip:
    """A request, in half of the cases one that uses the session."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]))
    query = draw(st.text(TARGET_BYTES, max_size=20))
    line = f"{method} /x{draw(st.sampled_from(['', '/a%2Fb/%7e', '//y/..']))}?{query} HTTP/1.1"
    framing, body = draw(bodies())
    host = ("hOST", "argocd.example.org")
    sent, up = draw(FIELDS), draw(FIELDS)
    cookie, cookie_up = [], []
    if draw(st.booleans()):
        cookie = [("cookie", f"a=b; argocd.token=old; {session}; c='d")]
        cookie_up = [("Cookie", f"a=b; c='d; argocd.token={TOKEN}")]
    length = [field for field in framing if field[0] == "content-LENGTH"]
    chunked = [field for field in framing if field not in length]
    one_hop = draw(ONE_HOP)
    return Trip(
        message(line, [*chunked, *sent, *one_hop, host, *cookie, *length, *up], body, draw(SPACE)),
        message(line, [*sent, host, *cookie_up, *length, *up, *chunked], body),
    )


@st.composite
def answers(draw: st.DrawFn) -> Trip:
    """An answer; with a Set-Cookie it is read field by field, else it passes as it came."""
    status = draw(st.sampled_from(["200 OK", "404 ", "500 Caf\xe9", "201"]))
    framing, body = draw(bodies().filter(lambda made: bool(made[0])))
    length = [field for field in framing if field[0] == "content-LENGTH"]
    chunked = [field for field in framing if field not in length]
    cookies = draw(st.sampled_from([[], [("set-cookie", "a=b"), ("Set-Cookie", "c=d; Secure")]]))
    fields = [*draw(FIELDS), *length, *draw(FIELDS), *cookies]
    one_hop = draw(ONE_HOP)
    line = f"HTTP/1.1 {status}"
    return Trip(
        message(line, [*one_hop, *fields, *chunked], body),
        message(line, [*fields, *chunked], body),
    )


LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
SESSION = "SESSION"  # stands for the session's cookie: its value is new in every test


@settings(properties, max_examples=60)
@given(
    trips=st.lists(st.tuples(requests(SESSION), answers()), min_size=1, max_size=4),
    size=st.sampled_from([1, 7, 50, 10_000]),
)
async def test_requests_and_answers_arrive_as_they_were_sent(
    trips: list[tuple[Trip, Trip]], size: int
) -> None:
    async def talk(peer: Peer) -> None:
        answered = 0
        while data := await peer.reader.read(65536):
            peer.got += data
            whole = len(read_requests(peer.got)[0])
            peer.writer.writelines(to_answer[answered:whole])
            answered = whole

    to_answer = [*(answer.sent for _, answer in trips), OK]
    async with stack(talk) as here:
        sent = b"".join(request.sent for request, _ in trips) + get("/last", "Connection: close")
        sent = sent.replace(SESSION.encode(), here.cookie.encode())

        back = await here.ask(*(sent[at : at + size] for at in range(0, len(sent), size)))

        came = [peer.got for peer in here.upstream.connections]
        assert came == [b"".join(request.arrives for request, _ in trips) + get("/last")]
        assert back.removesuffix(LAST) == b"".join(answer.arrives for _, answer in trips)
