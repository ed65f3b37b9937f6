"""Requests' heads at their bounds: every field that is read, every name that is refused."""

import httptools
import pytest

from sidecar.core.framing import NO_BODY, Chunked, Length
from sidecar.core.messages import (
    HeadEnd,
    RequestFields,
    RequestHead,
    RequestReader,
    check_beginning,
    check_length,
    feed,
)
from sidecar.core.request_lines import lines_of
from sidecar.errors import RequestMalformed

HOST = b"Host: argocd.example.org"


def read(*lines: bytes, first: bytes = b"GET /x HTTP/1.1") -> RequestHead:
    """A head with a Host, and these lines behind it."""
    return read_exactly(first, HOST, *lines)


def read_exactly(*lines: bytes, reader: RequestReader | None = None) -> RequestHead:
    return (reader or RequestReader()).read(b"\r\n".join([*lines, b"", b""]))


def refusal(*lines: bytes, first: bytes = b"GET /x HTTP/1.1") -> int:
    """The status with which a head with these lines is refused."""
    with pytest.raises(RequestMalformed) as refused:
        read(*lines, first=first)
    assert str(refused.value) not in ("", "None")  # the log says why
    return refused.value.status


# Lines


@pytest.mark.parametrize(
    "line",
    ["Accept: text/html", "Accept-Encoding: gzip", "Api-Token: t", "Authorization: Bearer t",
     "Connection: close", "Content-Length: 5", "Cookie: a=b", "Expect: 100-continue",
     "Grpc-Metadata-Token: t", "Keep-Alive: 5", "Origin: https://a.example",
     "Proxy-Authenticate: x", "Proxy-Authorization: x", "Proxy-Connection: close", "TE: trailers",
     "Token: t", "Transfer-Encoding: chunked", "Upgrade: h2c", "Remote-User: ada",
     "Impersonate-User: ada", "X_Id: 7"],
)  # fmt: skip
def test_a_field_on_which_something_depends_is_read_and_does_not_merely_pass(line: str) -> None:
    for spelled in (line, line.partition(":")[0].upper() + ": " + line.partition(": ")[2]):
        name, _, value = spelled.partition(": ")
        head = read(spelled.encode(), b"X-Id: 1")
        assert (name, value) in head.block.fields
        assert list(head.passing) == [b"X-Id: 1\r\n"]


@pytest.mark.parametrize(
    "name",
    ["Accept", "Accept-Encoding", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
     "Proxy-Connection", "TE", "Upgrade", "close"],
)  # fmt: skip
def test_a_connection_field_may_name_what_is_read_and_the_others_still_pass(name: str) -> None:
    head = read(f"Connection: {name}".encode(), b"X-Id: 1")

    assert list(head.passing) == [b"X-Id: 1\r\n"]


def test_where_connection_names_a_field_that_would_pass_none_passes_unread() -> None:
    head = read(b"X-Id: 1", b"Connection: x-other", b"Y: 2")

    assert head.passing == ()
    assert [name for name, _ in head.block.fields] == ["Host", "X-Id", "Connection", "Y"]


@pytest.mark.parametrize(
    "name",
    ["Api-Token", "Authorization", "Content-Length", "Content-Type", "Cookie", "Expect",
     "Forwarded", "Grpc-Metadata-Token", "Host", "Origin", "Token", "Transfer-Encoding",
     "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-Ip"],
)  # fmt: skip
def test_a_field_that_is_for_more_than_one_hop_cannot_be_named_in_connection(name: str) -> None:
    assert refusal(f"Connection: close, {name}".encode()) == 400
    assert refusal(f"Connection: {name.upper()}".encode()) == 400


@pytest.mark.parametrize(
    "name",
    ["Api_Token", "Content_Length", "Content_Type", "Grpc_Metadata_Token", "Grpc-Metadata_Token",
     "Proxy_Authorization", "Sec_WebSocket_Key", "Sec-WebSocket_Key", "Transfer_Encoding",
     "X_Forwarded_For", "X_Forwarded_Host", "X_Forwarded_Port", "X_Forwarded_Proto",
     "X-Forwarded_Proto", "X_Real_Ip"],
)  # fmt: skip
def test_a_twin_with_an_underscore_of_a_field_on_which_something_depends_is_refused(
    name: str,
) -> None:
    assert refusal(f"{name}: 1".encode()) == 400
    assert refusal(f"{name.lower()}: 1".encode()) == 400


def test_an_underscore_in_another_name_is_no_reason_to_refuse_it() -> None:
    assert ("X_Id", "7") in read(b"X_Id: 7").block.fields


@pytest.mark.parametrize(("count", "status"), [(255, None), (256, 431)])
def test_a_request_has_two_hundred_and_fifty_six_fields_at_most(
    count: int, status: int | None
) -> None:
    lines = [b"A: b"] * count

    if status is None:
        assert read(*lines).passing == [b"A: b\r\n" * count]
    else:
        assert refusal(*lines) == status


def test_a_reader_may_be_told_to_take_fewer_fields() -> None:
    reader = RequestReader(2)

    assert read_exactly(b"GET / HTTP/1.1", HOST, b"A: b", reader=reader).target == "/"
    with pytest.raises(RequestMalformed) as refused:
        read_exactly(b"GET / HTTP/1.1", HOST, b"A: b", b"C: d", reader=reader)
    assert refused.value.status == 431


def test_a_value_is_latin_1_without_the_blanks_around_it() -> None:
    head = read(b"Cookie: \t a=\xe4 b\t ", b"X-Id:\t \xe4 \t", b"X-No:")

    assert ("Cookie", "a=ä b") in head.block.fields
    assert list(head.passing) == [b"X-Id: \xe4\r\nX-No: \r\n"]
    assert head.find("x-id") == ["ä"]
    assert head.find("x-no") == [""]


def test_a_long_block_is_read_as_a_short_one_and_not_remembered() -> None:
    lines = (b"GET / HTTP/1.1", HOST, b"X-Id: 1", b"Cookie: a=" + b"b" * 5000)

    first, second = read_exactly(*lines), read_exactly(*lines)

    assert first.block is not second.block
    assert first.block.fields == second.block.fields
    assert list(first.passing) == list(second.passing) == [b"X-Id: 1\r\n"]


@pytest.mark.parametrize(("bytes_of_lines", "remembered"), [(4096, True), (4097, False)])
def test_what_strangers_can_have_remembered_is_bounded(
    bytes_of_lines: int, remembered: bool
) -> None:
    cookie = b"Cookie: a=" + b"b" * (bytes_of_lines - len(HOST + b"\r\nCookie: a=\r\n\r\n"))

    first, second = read(cookie), read(cookie)

    assert (first.block is second.block) is remembered


@pytest.mark.parametrize(("bytes_of_lines", "remembered"), [(4096, True), (4097, False)])
def test_a_line_is_remembered_among_so_many_bytes_of_lines(
    bytes_of_lines: int, remembered: bool
) -> None:
    raw = b"A: " + b"b" * (bytes_of_lines - len(b"A: \r\n")) + b"\r\n"

    [first], [second] = lines_of(raw, 1), lines_of(raw, 1)

    assert (first is second) is remembered


def test_a_head_that_comes_twice_on_a_connection_is_read_once_at_any_length() -> None:
    reader = RequestReader()
    raw = b"GET / HTTP/1.1\r\n" + HOST + b"\r\nCookie: a=" + b"b" * 5000 + b"\r\n\r\n"

    assert reader.read(raw).block is reader.read(raw).block


# The first line


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"CONNECT / HTTP/1.1", 405),
        (b"TRACE / HTTP/1.0", 405),
        (b"CONNECT argocd:443 HTTP/1.1", 405),
        (b"TRACE / HTTP/0.9", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/0.9", 505),
        (b"PRI * HTTP/2.0", 400),
        (b"OPTIONS * HTTP/1.1", 400),
        (b"GET http://argocd/ HTTP/1.0", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
    ],
)
def test_a_first_line_that_is_not_as_it_must_be_is_told_why(first: bytes, status: int) -> None:
    assert refusal(first=first) == status


def test_a_first_line_goes_up_as_it_came() -> None:
    head = read(first=b'M-SEARCH /a"b?c=%20&d=~!$ HTTP/1.0')

    assert (head.method, head.target) == ("M-SEARCH", '/a"b?c=%20&d=~!$')
    assert head.line == b'M-SEARCH /a"b?c=%20&d=~!$ HTTP/1.0\r\n'


@pytest.mark.parametrize(
    ("method", "line", "harmless"),
    [
        ("GET", b"A: b", True),
        ("HEAD", b"A: b", True),
        ("OPTIONS", b"A: b", True),
        ("GET", b"Content-Length: 0", True),
        ("GET", b"Content-Length: 1", False),
        ("GET", b"Transfer-Encoding: chunked", False),
        ("POST", b"A: b", False),
        ("PUT", b"A: b", False),
        ("DELETE", b"A: b", False),
    ],
)
def test_a_request_may_be_sent_again_if_it_changes_nothing_and_has_no_body(
    method: str, line: bytes, harmless: bool
) -> None:
    assert read(line, first=f"{method} / HTTP/1.1".encode()).is_harmless_again is harmless


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"GET /", "no request line"),
        (b"GET / HTTP/2.0", "another version of HTTP"),
        (b"TRACE / HTTP/1.1", "a method that is not for a reverse proxy"),
        (b"OPTIONS * HTTP/1.1", "a target that is not in origin form"),
        (b"GET / HTTP/1.1\r\nA", "this is not HTTP"),
    ],
)
def test_the_log_says_what_of_a_first_line_is_wrong(first: bytes, why: str) -> None:
    with pytest.raises(RequestMalformed) as refused:
        read(first=first)

    assert str(refused.value) == why


def test_a_head_that_llhttp_has_not_read_to_its_end_is_none() -> None:
    for raw, why in (
        (b"GET / HTTP/1.1\r\nA: b\r\n", "a head without an end"),
        (b"\x00", "this is not HTTP"),
    ):
        end = HeadEnd()
        with pytest.raises(RequestMalformed) as refused:
            feed(httptools.HttpRequestParser(end), end, raw)
        assert str(refused.value) == why


# Host


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "lines", [(HOST, HOST), (b"Host: a b",), (b"Host: ",)], ids=["two", "none usable", "empty"]
)
def test_a_request_has_one_usable_host(lines: tuple[bytes, ...], version: bytes) -> None:
    with pytest.raises(RequestMalformed) as refused:
        read_exactly(b"GET / HTTP/" + version, *lines)

    assert refused.value.status == 400
    assert str(refused.value) == "no Host, or none that can be used"


def test_only_http_1_0_knows_no_host() -> None:
    assert read_exactly(b"GET / HTTP/1.0", b"A: b").block.http_1_0
    with pytest.raises(RequestMalformed):
        read_exactly(b"GET / HTTP/1.1", b"A: b")


# Framing


def block(*lines: bytes, first: bytes = b"POST / HTTP/1.1") -> RequestFields:
    return read(*lines, first=first).block


@pytest.mark.parametrize(
    ("lines", "length", "chunked", "has_body", "body"),
    [
        ((), None, False, False, type(NO_BODY)),
        ((b"Content-Length: 0",), 0, False, False, type(NO_BODY)),
        ((b"Content-Length: 1",), 1, False, True, Length),
        ((b"Transfer-Encoding: chunked",), None, True, True, Chunked),
    ],
)
def test_a_request_has_a_body_as_its_framing_says(
    lines: tuple[bytes, ...], length: int | None, chunked: bool, has_body: bool, body: type
) -> None:
    found = block(*lines)

    assert (found.length, found.chunked, found.has_body) == (length, chunked, has_body)
    assert type(found.body()) is body


def test_a_body_with_a_length_is_no_longer_than_it_may_be() -> None:
    four = block(b"Content-Length: 4")

    assert four.body(4).take(b"abcde") == (b"abcd", b"e")
    with pytest.raises(RequestMalformed, match="a body is too long") as refused:
        four.body(3)
    assert refused.value.status == 413
    assert block().body(0).done


def test_a_body_in_chunks_is_no_longer_than_it_may_be() -> None:
    chunked = block(b"Transfer-Encoding: chunked")

    assert chunked.body(3).take(b"3\r\nabc\r\n") == (b"3\r\nabc\r\n", b"")
    with pytest.raises(RequestMalformed):
        chunked.body(2).take(b"3\r\nabc\r\n")
    assert block(b"Content-Length: 3").body().take(b"abcd") == (b"abc", b"d")


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 3", b"Content-Length: 3"),
        (b"Content-Length: 3, 3",),
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: ",),
    ],
)
def test_a_body_with_two_framings_or_another_one_is_refused(lines: tuple[bytes, ...]) -> None:
    assert refusal(*lines, first=b"POST / HTTP/1.1") == 400


def test_http_1_0_has_no_chunks() -> None:
    assert refusal(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0") == 400


@pytest.mark.parametrize(
    "body", [b"Content-Length: 1", b"Transfer-Encoding: chunked"], ids=["length", "chunks"]
)
def test_a_websocket_handshake_has_no_body(body: bytes) -> None:
    assert refusal(b"Upgrade: websocket", b"Connection: upgrade", body) == 400


# What the connection needs


@pytest.mark.parametrize(
    ("first", "line", "keeps_alive"),
    [
        (b"GET / HTTP/1.1", b"A: b", True),
        (b"GET / HTTP/1.1", b"Connection: keep-alive", True),
        (b"GET / HTTP/1.1", b"Connection: Close", False),
        (b"GET / HTTP/1.0", b"A: b", False),
        (b"GET / HTTP/1.0", b"Connection: keep-alive", False),
    ],
)
def test_a_connection_goes_on_if_the_client_lets_it(
    first: bytes, line: bytes, keeps_alive: bool
) -> None:
    assert block(line, first=first).keeps_alive is keeps_alive


def test_the_next_hop_is_told_of_chunks_and_of_a_websocket_and_of_nothing_else() -> None:
    upgrade = (b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade")

    assert block(*upgrade, first=b"GET / HTTP/1.1").for_the_next_hop() == [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
    ]
    assert block(*upgrade).for_the_next_hop() == []
    assert block(b"Transfer-Encoding: Chunked").for_the_next_hop() == [
        ("Transfer-Encoding", "chunked")
    ]
    assert block(b"Content-Length: 5").for_the_next_hop() == []


def test_what_is_accepted_is_one_text_however_many_lines_it_came_in() -> None:
    assert block(b"Accept: text/html", b"A: b", b"accept: */*").accept == "text/html, */*"
    assert block().accept == ""


def test_the_size_of_a_block_is_that_of_what_is_read_of_it() -> None:
    assert block(b"Cookie: a=b", b"X-Id: 12345").size == len("Hostargocd.example.orgCookiea=b")


# Heads that are not whole


@pytest.mark.parametrize(
    ("head", "searched", "refused"),
    [
        (b"GET / HTTP/1.1\n", 0, True),
        (b"GET / HTTP/1.1\n", 14, True),
        (b"GET / HTTP/1.1\n", 15, False),
        (b"GET / HTTP/1.1\r\n", 15, False),
        (b"\n", 0, True),
    ],
)
def test_of_a_head_only_what_is_new_is_searched_for_lf_alone(
    head: bytes, searched: int, refused: bool
) -> None:
    if not refused:
        check_beginning(head, searched, 100)
        return
    with pytest.raises(RequestMalformed) as told:
        check_beginning(head, searched, 100)
    assert told.value.status == 400


def test_a_head_may_be_as_long_as_is_said_and_no_longer() -> None:
    check_length(b"x" * 100, 100)
    check_beginning(b"x" * 100, 0, 100)
    with pytest.raises(RequestMalformed):
        check_length(b"x" * 101, 100)
    with pytest.raises(RequestMalformed):
        check_beginning(b"x" * 101, 0, 100)


@pytest.mark.parametrize(("line", "status"), [(32 * 1024 - 2, 431), (32 * 1024 - 1, 414)])
def test_a_head_whose_first_line_does_not_end_is_told_of_its_target(line: int, status: int) -> None:
    with pytest.raises(RequestMalformed) as told:
        check_length(b"x" * line + b"\r\n" + b"y" * 100, 1000)

    assert told.value.status == status
