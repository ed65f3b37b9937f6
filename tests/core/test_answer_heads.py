import pytest

from sidecar.core.answer_heads import AnswerHead, read_answer_head
from sidecar.core.framing import Length
from sidecar.core.messages import MAX_FIELDS
from sidecar.errors import AnswerMalformed


def answer(status: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
    """A head with these fields."""
    return b"HTTP/%s %s\r\n" % (version, status) + b"".join(f + b"\r\n" for f in fields) + b"\r\n"


@pytest.mark.parametrize(
    ("status", "interim"),
    [(100, True), (101, False), (102, True), (103, True), (199, True), (200, False), (201, False)],
)
def test_another_answer_follows_all_below_200_but_101(status: int, interim: bool) -> None:
    raw = answer(b"%d What" % status, b"Connection: Upgrade", b"Upgrade: websocket")

    assert read_answer_head(raw).interim is interim


def test_a_plain_answer_has_no_fields_and_says_all_that_its_framing_needs() -> None:
    raw = answer(b"200 OK", b"A: b", b"Content-Length: 5")

    assert read_answer_head(raw) == AnswerHead(200, b"", 5, False, True, plain=raw, fields=[])


def test_a_chunked_answer_is_plain() -> None:
    raw = answer(b"200 OK", b"Transfer-Encoding: chunked")

    assert read_answer_head(raw) == AnswerHead(200, b"", None, True, True, plain=raw, fields=[])


def test_an_answer_whose_fields_are_wanted_has_them_and_is_not_plain() -> None:
    raw = answer(b"404 Not Found", b"X-Y:\tz\xe9 \t ", b"E:")

    assert read_answer_head(raw, as_fields=True) == AnswerHead(
        404,
        b"HTTP/1.1 404 Not Found\r\n",
        None,
        False,
        True,
        plain=b"",
        fields=[("X-Y", "zé"), ("E", "")],
    )


def test_a_status_line_goes_on_in_our_version() -> None:
    assert read_answer_head(answer(b"200 OK", version=b"1.0")).line == b"HTTP/1.1 200 OK\r\n"


def test_a_body_of_a_length_is_that_long() -> None:
    body = read_answer_head(answer(b"200 OK", b"Content-Length: 5")).body("GET")

    assert isinstance(body, Length)
    assert body.take(b"123456") == (b"12345", b"6")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"HTTP/2 200\r\n\r\n", "no status line"),
        (answer(b"200 OK", b"Transfer-Encoding: chunked", version=b"1.0"), "two framings"),
        (
            answer(b"200 OK", b"Set-Cookie: a=b", *[b"A: b"] * MAX_FIELDS),
            "more fields than anybody sends",
        ),
    ],
)
def test_an_answer_that_is_refused_says_what_is_wrong(raw: bytes, why: str) -> None:
    with pytest.raises(AnswerMalformed, match=f"^{why}$"):
        read_answer_head(raw)
