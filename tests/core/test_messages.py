import contextlib
from dataclasses import replace

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core import messages
from sidecar.core.answer_heads import AnswerHead, read_answer_head
from sidecar.core.framing import Chunked, Length, NoBody, UntilClose
from sidecar.core.heads import end_to_end, head_bytes, head_pieces
from sidecar.core.messages import MAX_FIELDS, RequestHead, RequestReader, check_beginning
from sidecar.errors import AnswerMalformed, RequestMalformed
from tests.core.examples import properties

H = b"Host: argocd.example.org\r\n"
NAMES = st.text("ABCxyz019-!#$%&'*+.^`|~", min_size=1, max_size=8).map(lambda name: "X-" + name)
READ_NAMES = st.sampled_from(
    ("Accept", "COOKIE", "connection", "Content-Length", "te", "Token", "Upgrade", "a_b")
)
VALUES = st.text([chr(i) for i in (9, *range(32, 127), *range(128, 256))], max_size=12).map(
    lambda value: value.strip(" \t")
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


@properties
@given(FIELDS)
def test_what_was_read_is_written_as_it_was(fields: list[tuple[str, str]]) -> None:
    all_fields = [*fields, ("Host", "argocd.example.org")]
    raw = head_bytes(b"GET /x HTTP/1.1\r\n", all_fields)

    assert written(RequestReader().read(raw)) == raw


@properties
@given(st.lists(st.tuples(READ_NAMES | NAMES, VALUES), max_size=8))
def test_lines_are_read_as_llhttp_reads_them(fields: list[tuple[str, str]]) -> None:
    raw = head_bytes(b"GET /x HTTP/1.1\r\n", [*fields, ("Host", "argocd.example.org")])
    raw = raw.replace(b": ", b":\t ")
    llhttp = Collected()
    with contextlib.suppress(httptools.HttpParserError):
        httptools.HttpRequestParser(llhttp).feed_data(raw)

    with contextlib.suppress(RequestMalformed):
        assert written(RequestReader().read(raw)) == head_bytes(
            b"GET /x HTTP/1.1\r\n", llhttp.fields
        )


class Collected:
    """The fields that llhttp tells of."""

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1"), value.decode("latin-1").rstrip(" \t")))


def written(head: RequestHead) -> bytes:
    """A head with all its fields, as it goes up."""
    return head.to_bytes(head_pieces(head.block.fields))


@properties
@given(st.binary(max_size=60))
def test_any_bytes_are_a_head_or_refused_and_nothing_else(noise: bytes) -> None:
    for raw in (noise + b"\r\n\r\n", b"GET /x HTTP/1.1\r\n" + H + noise + b"\r\n\r\n"):
        try:
            head = RequestReader().read(raw)
        except RequestMalformed:
            continue
        again = RequestReader().read(written(head))
        assert written(again) == written(head)
        assert again.block.fields == head.block.fields


@properties
@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_none_whether_its_fields_are_wanted_or_not(
    noise: bytes,
) -> None:
    raw = b"HTTP/1.1 200 OK\r\n" + noise + b"\r\n\r\n"

    def framing(as_fields: bool) -> object:
        try:
            head = read_answer_head(raw, as_fields=as_fields)
        except AnswerMalformed:
            return None
        return head.length, head.chunked, head.keeps_alive

    assert framing(False) == framing(True)


_CHANGING = st.sampled_from(
    [
        b"A",
        b"X-Request-ID",
        b"A_b",
        b"Cookie",
        b"Connection",
        b"Content-Length",
        b"Host",
        b"Api-Token",
    ]
)
_CHANGED = st.sampled_from(
    [b" 1", b" 2", b" 34", b"", b"5", b" 6 \t", b" \xff:", b" a\r\nB: c", b" a\nB: c", b" a\r",
     b" \x00", b" close", b" a", b"b", b" c\r\n d", b" e\r\n"]
)  # fmt: skip
_AROUND = st.lists(
    st.sampled_from([b"A: b", b"Accept: c", b"C: d", b"Cookie: e", b"A:"]), max_size=3
)


@properties
@given(_AROUND, _CHANGING, st.lists(_CHANGED, min_size=3, max_size=6), _AROUND)
@example([b"C: d"], b"X-Request-ID", [b" 1", b" 2", b" 34", b" 6 \t", b" a\r\nB: c"], [b"C: d"])
@example([b"C: d"], b"X-Request-ID", [b" 1", b" 2", b" \x00"], [b"Cookie: e"])
@example([], b"A", [b" 1", b" 2", b"5", b" a\nB: c"], [])
@example([], b"A", [b" 1", b" 2", b" X8X", b" 7\x0b"], [])
@example([b"Connection: a"], b"A", [b" 1", b" 2", b" 34"], [])
def test_of_a_value_that_changes_a_reader_says_what_it_says_of_its_first(
    before: list[bytes], name: bytes, values: list[bytes], behind: list[bytes]
) -> None:
    reader = RequestReader()

    def read(reader: RequestReader, value: bytes) -> object:
        lines = (b"GET / HTTP/1.1", *before, H[:-2], name + b":" + value, *behind, b"", b"")
        try:
            head = reader.read(b"\r\n".join(lines))
        except RequestMalformed as error:
            return error.status
        return head.block.fields, list(head.passing), head.block.length, head.block.keeps_alive

    for value in values:
        assert read(reader, value) == read(RequestReader(), value)


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        (b"GET / HTTP/1.1", [b"C: e", b"A: 3", b"A: b"]),
        (b"GET / HTTP/1.1", [b"C: d", b"A: 3", b"A: c"]),
        (b"GET / HTTP/1.1", [b"C: d", b"B: 3", b"A: b"]),
        (b"GET / HTTP/1.1", [b"C: d", b"A: b"]),
        (b"GET / HTTP/1.0", [b"C: d", b"A: 3", b"A: b"]),
        (b"POST / HTTP/1.1", [b"C: d", b"A: 3", b"A: b"]),
    ],
)
def test_where_more_changes_than_the_value_that_did_all_is_read(
    line: bytes, lines: list[bytes]
) -> None:
    reader = RequestReader()
    upgrade = [H[:-2], b"Connection: upgrade", b"Upgrade: websocket"]

    def read(reader: RequestReader, line: bytes, *lines: bytes) -> object:
        head = reader.read(b"\r\n".join([line, *upgrade, *lines, b"", b""]))
        return list(head.passing), head.block.websocket, head.block.http_1_0

    for value in (b"1", b"2", b"34"):
        read(reader, b"GET / HTTP/1.1", b"C: d", b"A: " + value, b"A: b")

    assert read(reader, line, *lines) == read(RequestReader(), line, *lines)


def test_where_a_value_alone_changes_nothing_else_is_read_again() -> None:
    reader = RequestReader()
    lines = [b"GET / HTTP/1.1", H[:-2], b"A: 1", b"Cookie: e", b"B: 2", b"C: 3", b"", b""]
    reader.read(b"\r\n".join(lines))
    first = reader.read(b"\r\n".join([*lines[:5], b"C: 4", *lines[6:]]))

    messages.forget()
    second = reader.read(b"\r\n".join([*lines[:5], b"C:567", *lines[6:]]))

    third = reader.read(b"\r\n".join([*lines[:5], b"C:", *lines[6:]]))

    assert second.block is third.block is first.block
    assert list(second.passing) == [b"A: 1\r\n", b"B: 2\r\nC: 567\r\n"]
    assert list(third.passing) == [b"A: 1\r\n", b"B: 2\r\nC: \r\n"]


_LINES = [
    b"A: b", b"Content-Length: 5", b"content-length: 5", b"Content-Length:5", b"Content-Length: 5 ",
    b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: gzip",
    b"Connection: keep-alive", b"CONNECTION: Keep-Alive", b"Connection: close", b"Connection: a",
    b"Set-Cookie: a=b", b"TE: x", b"Te-x:", b"A : b", b"A", b" b", b": b", b"A: \x00", b"A: \xff\t",
    b"A: b\r", b"A: b\n", b"Upgrade: h2c", b"Keep-Alive: 5", b"Proxy-X: y",
]  # fmt: skip
_STATUS_LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 304 \xff", b"HTTP/1.0 200 OK",
    b"http/1.1 200 OK", b"HTTP/1x1 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.1 2000",
    b"HTTP/1.1  200 OK",
]  # fmt: skip


@properties
@given(st.sampled_from(_STATUS_LINES), st.lists(st.sampled_from(_LINES), max_size=4))
@example(b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"content-length: 5"])
@example(b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
@example(b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked", b"Content-Length: 5"])
def test_an_answer_that_passes_as_it_came_is_one_that_llhttp_takes_and_means_the_same(
    line: bytes, lines: list[bytes]
) -> None:
    raw = b"".join(each + b"\r\n" for each in (line, *lines, b""))

    def read(raw: bytes, *, as_fields: bool) -> AnswerHead | None:
        try:
            return read_answer_head(raw, as_fields=as_fields)
        except AnswerMalformed:
            return None

    head, by_llhttp = read(raw, as_fields=False), read(raw, as_fields=True)

    if head is None or by_llhttp is None:
        assert head is by_llhttp
        return
    assert replace(head, line=b"", plain=b"", fields=[]) == replace(by_llhttp, line=b"", fields=[])
    if head.plain:
        goes_on = read(head.plain, as_fields=True)
        assert goes_on is not None
        assert goes_on.fields == [f for f in by_llhttp.fields if f[0].lower() != "connection"]


def framing_of(*fields: bytes) -> object:
    """The framing of a request with these fields."""
    lines = b"".join(field + b"\r\n" for field in fields)
    block = RequestReader().read(b"POST /x HTTP/1.1\r\n" + H + lines + b"\r\n").block
    return block.length, block.chunked


def test_a_request_has_the_framing_of_its_fields() -> None:
    assert framing_of() == (None, False)
    assert framing_of(b"Content-Length: 0") == (0, False)
    assert framing_of(b"Content-Length: 007") == (7, False)
    assert framing_of(b"Transfer-Encoding: chunked") == (None, True)
    assert framing_of(b"transfer-encoding: CHUNKED") == (None, True)


def test_a_block_of_fields_that_came_before_is_the_same_value() -> None:
    reader = RequestReader()

    first = reader.read(b"GET /a HTTP/1.1\r\n" + H + b"\r\n")
    same = reader.read(b"GET /b?c HTTP/1.1\r\n" + H + b"\r\n")
    other_method = reader.read(b"POST /b HTTP/1.1\r\n" + H + b"\r\n")
    old = reader.read(b"POST /b HTTP/1.0\r\n" + H + b"\r\n")

    assert same.block is first.block
    assert (same.target, same.line) == ("/b?c", b"GET /b?c HTTP/1.1\r\n")
    assert other_method.block is not first.block
    assert old.block.http_1_0
    assert not old.block.keeps_alive


def test_a_line_that_only_passes_changes_nothing_but_itself() -> None:
    reader, other = RequestReader(), RequestReader()
    cookie = b"Cookie: a=b\r\n"

    first = reader.read(b"GET /a HTTP/1.1\r\nX-Id: 1\r\n" + H + cookie + b"X-Id: 2\r\nY: 3\r\n\r\n")
    second = other.read(b"GET /a HTTP/1.1\r\nX-Id: 4\r\n" + H + cookie + b"X-Id:5 \r\nZ: 6\r\n\r\n")

    assert second.block is first.block
    assert first.passing == [b"X-Id: 1\r\n", b"X-Id: 2\r\nY: 3\r\n"]
    assert second.passing == [b"X-Id: 4\r\n", b"X-Id: 5\r\nZ: 6\r\n"]


@pytest.mark.parametrize(
    "changed",
    [
        b"X-Id: 1\r\n" + H + b"Cookie: a=c\r\n",
        b"X-Id: 1\r\n" + H + b"cookie: a=b\r\n",
        b"X-Id: 1\r\nCookie: a=b\r\n" + H,
        H + b"Cookie: a=b\r\nX-Id: 1\r\n",
        b"X-Id: 1\r\n" + H + b"Cookie: a=b\r\nCookie: a=b\r\n",
        b"X-Id: 1\r\n" + H + b"Cookie: a=b\r\nContent-Length: 0\r\n",
        b"X-Id: 1\r\n" + H + b"Cookie: a=b\r\nConnection: X-Id\r\n",
        b"X_Id: 1\r\n" + H + b"Cookie: a=b\r\n",
    ],
)
def test_a_line_that_is_read_or_stands_elsewhere_is_another_block(changed: bytes) -> None:
    reader = RequestReader()
    first = reader.read(b"GET /a HTTP/1.1\r\nX-Id: 1\r\n" + H + b"Cookie: a=b\r\n\r\n")

    assert reader.read(b"GET /a HTTP/1.1\r\n" + changed + b"\r\n").block is not first.block


def test_a_field_is_found_among_what_is_read_and_what_only_passes() -> None:
    lines = b"Sec-Purpose: a\r\n" + H + b"Cookie: c=d\r\nX: y\r\nsec-purpose: b\r\n"

    head = RequestReader().read(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")

    assert head.find("sec-purpose") == ["a", "b"]
    assert head.find("cookie") == ["c=d"]
    assert head.find("purpose") == []


def test_a_head_is_refused_at_its_first_line_that_ends_with_lf_alone() -> None:
    with pytest.raises(RequestMalformed):
        check_beginning(b"GET / HTTP/1.1\r\nA: b\n", 0, 100)
    check_beginning(b"GET / HTTP/1.1\r\nA: b", 0, 100)


@pytest.mark.parametrize(
    ("begun", "status"),
    [(b"GET /" + b"x" * 200, 414), (b"GET / HTTP/1.1\r\nA: " + b"x" * 200, 431)],
)
def test_a_head_that_gets_too_long_is_told_what_of_it(begun: bytes, status: int) -> None:
    with pytest.raises(RequestMalformed) as refused:
        check_beginning(begun, 0, 100)

    assert refused.value.status == status


@pytest.mark.parametrize(
    "length", [b"1, 1", b"-1", b"0x1", b"", b"1" * 19, b"1\r\nContent-Length: 1"]
)
def test_a_request_whose_length_is_not_one_number_is_refused(length: bytes) -> None:
    with pytest.raises(RequestMalformed):
        framing_of(b"Content-Length: " + length)


@pytest.mark.parametrize("options", ["", ",", "close,", "keep-alive, ,close", " \t,te"])
def test_lines_pass_beside_a_connection_field_that_names_none(options: str) -> None:
    lines = f"X-Id: 1\r\nConnection: {options}\r\nX-Id: 2\r\n".encode()

    head = RequestReader().read(b"GET /a HTTP/1.1\r\n" + H + lines + b"\r\n")

    up = head.to_bytes(head_pieces(end_to_end(head.block.fields)))
    assert up == b"GET /a HTTP/1.1\r\n" + H + b"X-Id: 1\r\nX-Id: 2\r\n\r\n"


@pytest.mark.parametrize("name", ["X-Id", "x-id", "X-ID"])
def test_no_line_passes_that_connection_names(name: str) -> None:
    lines = f"Connection: close, {name}\r\nX-Id: 1\r\nY: 2\r\n\r\n".encode()

    head = RequestReader().read(b"GET /a HTTP/1.1\r\n" + H + lines)

    assert head.passing == ()
    assert ("X-Id", "1") not in end_to_end(head.block.fields)
    assert ("Y", "2") in end_to_end(head.block.fields)


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: close, Api-Token\r\nApi-Token: x\r\n",
        b"Connection: Token\r\nToken: x\r\n",
        b"API_TOKEN: x\r\n",
        b"Grpc_Metadata_Token: x\r\n",
    ],
)
def test_nobody_takes_a_credential_away_after_it_was_judged(lines: bytes) -> None:
    with pytest.raises(RequestMalformed):
        RequestReader().read(b"GET / HTTP/1.1\r\n" + H + lines + b"\r\n")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://evil/ HTTP/1.1", 400),
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET /\xe9 HTTP/1.1", 400),
        (b"get / HTTP/1.1", 400),
        (b"TRACE / HTTP/1.1", 405),
        (b"GET / HTTP/2.0", 505),
    ],
)
def test_a_remembered_block_does_not_make_a_bad_line_good(line: bytes, status: int) -> None:
    reader = RequestReader()
    reader.read(b"GET / HTTP/1.1\r\n" + H + b"\r\n")

    with pytest.raises(RequestMalformed) as refused:
        reader.read(line + b"\r\n" + H + b"\r\n")

    assert refused.value.status == status


@pytest.mark.parametrize(
    "lines", [b"no field\r\n", b"A : b\r\n", b"A: b\r\n c\r\n", b": b\r\n", b"A\x00: b\r\n"]
)
def test_a_request_with_a_line_that_is_no_field_is_refused(lines: bytes) -> None:
    with pytest.raises(RequestMalformed):
        RequestReader().read(b"GET / HTTP/1.1\r\n" + H + lines + b"\r\n")


def test_a_head_that_has_no_end_is_refused() -> None:
    with pytest.raises(RequestMalformed):
        RequestReader().read(b"GET / HTTP/1.1\r\n" + H)


def test_a_block_that_was_refused_is_not_remembered() -> None:
    reader = RequestReader()
    for _ in range(2):
        with pytest.raises(RequestMalformed):
            reader.read(b"GET / HTTP/1.1\r\n" + H + H + b"\r\n")


@pytest.mark.parametrize(
    ("fields", "websocket"),
    [
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", True),
        (b"upgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\n", True),
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n", True),
        (b"Upgrade: websocket\r\n", False),
        (b"Connection: Upgrade\r\n", False),
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\n", False),
        (b"Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n", False),
        (b"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n", False),
    ],
)
def test_a_websocket_handshake_is_told_from_other_upgrades(fields: bytes, websocket: bool) -> None:
    head = RequestReader().read(b"GET /terminal HTTP/1.1\r\n" + H + fields + b"\r\n")

    assert head.block.websocket is websocket


@pytest.mark.parametrize(
    ("raw", "method", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", Length),
        (b"HTTP/1.1 200 OK\r\ncontent-length:   5\r\n\r\n", "GET", Length),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", Chunked),
        (b"HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:chunked\r\n\r\n", "GET", Chunked),
        (b"HTTP/1.1 200 OK\r\n\r\n", "GET", UntilClose),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", NoBody),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "GET", NoBody),
        (b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", NoBody),
        (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "GET", Length),
    ],
)
def test_an_answer_has_the_body_of_its_fields_status_and_method(
    raw: bytes, method: str, body: type
) -> None:
    for as_fields in (False, True):
        assert isinstance(read_answer_head(raw, as_fields=as_fields).body(method), body)


def test_a_plain_answer_passes_as_it_came_but_for_what_is_for_one_hop() -> None:
    hop = b"Connection: keep-alive\r\n"
    raw = b"HTTP/1.1 200 OK\r\nA: b\r\n" + hop + b"Content-Length: 5\r\n\r\n"

    head = read_answer_head(raw)

    assert head.plain == b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\n"
    assert head.keeps_alive


@pytest.mark.parametrize(
    "field",
    [b"Connection: close", b"Connection: keep-alive, x", b"Keep-Alive: 5", b"Set-Cookie: a=b",
     b"Connection: keep-alive\r\nConnection: keep-alive",
     b"set-cookie: a=b", b"Upgrade: h2c", b"Proxy-Authenticate: x", b"TE: x",
     b"GRPC-Metadata-Renew-Token: x", b"Content-Length:5", b"Connection:keep-alive"],
)  # fmt: skip
def test_an_answer_with_more_to_it_is_read_field_by_field(field: bytes) -> None:
    head = read_answer_head(b"HTTP/1.1 200 OK\r\nA: b\r\n" + field + b"\r\n\r\n")

    assert not head.plain
    assert head.fields[0] == ("A", "b")


def test_an_answer_that_is_chunked_twice_is_refused_whether_its_fields_are_wanted_or_not() -> None:
    twice = b"Transfer-Encoding: chunked\r\nA: b\r\nTransfer-Encoding: chunked\r\n"

    for as_fields in (False, True):
        with pytest.raises(AnswerMalformed):
            read_answer_head(b"HTTP/1.1 200 OK\r\n" + twice + b"\r\n", as_fields=as_fields)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"A: b\r\n" * (MAX_FIELDS + 1), id="more fields than anybody sends"),
        pytest.param(b"Content-Length : 1\r\n", id="a space before the colon"),
        pytest.param(b"Content-Length: +1\r\n", id="a length that is no number"),
        pytest.param(b"Transfer-Encoding: gzip\r\n", id="another coding"),
    ],
)
def test_an_answer_is_refused_whose_fields_are_not_as_they_must_be(fields: bytes) -> None:
    with pytest.raises(AnswerMalformed):
        read_answer_head(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n", as_fields=True)


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 99 No\r\n", b"HTTP/2 200\r\n", b"\r\n", b"HTTP/1.1 600 No\r\n"]
)
def test_an_answer_without_a_status_line_is_refused(line: bytes) -> None:
    with pytest.raises(AnswerMalformed):
        read_answer_head(line + b"\r\n")


def test_an_answer_may_have_as_many_fields_as_anybody_sends() -> None:
    raw = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * MAX_FIELDS + b"\r\n"

    assert len(read_answer_head(raw, as_fields=True).fields) == MAX_FIELDS


def test_an_answer_of_http_1_0_has_no_chunks() -> None:
    with pytest.raises(AnswerMalformed):
        read_answer_head(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize(
    ("raw", "keeps_alive"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", True),
    ],
)
def test_an_answer_says_whether_its_connection_goes_on(raw: bytes, keeps_alive: bool) -> None:
    assert read_answer_head(raw).keeps_alive is keeps_alive


@pytest.mark.parametrize(
    ("line", "fields", "harmless"),
    [
        (b"GET / HTTP/1.1\r\n", b"", True),
        (b"HEAD / HTTP/1.1\r\n", b"", True),
        (b"POST / HTTP/1.1\r\n", b"", False),
        (b"GET / HTTP/1.1\r\n", b"Content-Length: 2\r\n", False),
        (b"GET / HTTP/1.1\r\n", b"Transfer-Encoding: chunked\r\n", False),
    ],
)
def test_only_a_safe_request_without_a_body_may_be_repeated(
    line: bytes, fields: bytes, harmless: bool
) -> None:
    assert RequestReader().read(line + H + fields + b"\r\n").is_harmless_again is harmless


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n" + H + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_request_whose_body_two_readers_would_end_elsewhere_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestMalformed):
        RequestReader().read(raw)
