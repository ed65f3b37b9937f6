import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.framing import (
    Body,
    Chunked,
    Length,
    NoBody,
    UntilClose,
    dechunked,
)
from sidecar.errors import RequestMalformed
from tests.core.examples import properties

MAX_CHUNK_LINE = 4096
MAX_EXTENSIONS = 64 * 1024
MAX_TRAILERS = 16 * 1024

CUTS = st.lists(st.integers(1, 9), max_size=40)


def take_in_pieces(body: Body, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """What a body passes on of data that comes in pieces, and what comes after it."""
    passed, after = b"", b""
    at = 0
    for size in [*cuts, len(data)]:
        if not body.done:
            mine, rest = body.take(data[at : at + size])
            passed, after = passed + mine, after + rest
        else:
            after += data[at : at + size]
        at += size
    return passed, after


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A chunked body with its data."""
    wire = data = b""
    for piece in draw(st.lists(st.binary(min_size=1, max_size=30), max_size=5)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(piece)
        wire += size + draw(st.sampled_from([b"", b";a", b';a="b"', b";\xff\t"])) + b"\r\n"
        wire += piece + b"\r\n"
        data += piece
    trailers = draw(st.sampled_from([b"", b"X-T: 1\r\n", b"A:\r\nB: \xff\r\n"]))
    return wire + draw(st.sampled_from([b"0", b"000", b"0;x"])) + b"\r\n" + trailers + b"\r\n", data


@properties
@given(chunked_bodies(), st.binary(max_size=20), CUTS)
def test_a_chunked_body_ends_where_it_ends_however_it_is_cut(
    body: tuple[bytes, bytes], after: bytes, cuts: list[int]
) -> None:
    wire, data = body
    chunked = Chunked()

    assert take_in_pieces(chunked, wire + after, cuts) == (wire, after)
    assert chunked.done
    assert dechunked(wire) == data


@properties
@given(st.binary(max_size=60), st.integers(0, 40), CUTS)
def test_a_body_with_a_length_has_as_many_bytes(data: bytes, length: int, cuts: list[int]) -> None:
    body = Length(length)

    assert take_in_pieces(body, data, cuts) == (data[:length], data[length:])
    assert body.done is (len(data) >= length)


@properties
@given(st.binary(max_size=60), CUTS)
def test_any_bytes_are_a_chunked_body_or_not_however_they_are_cut(
    data: bytes, cuts: list[int]
) -> None:
    def outcome(pieces: list[int]) -> object:
        try:
            return take_in_pieces(Chunked(), data, pieces)
        except RequestMalformed as error:
            return error.status

    assert outcome(cuts) == outcome([])


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n", b"x\r\n", b"5 \r\n", b" 5\r\n", b"0x5\r\n", b"+5\r\n", b"-1\r\n", b"5\n",
        b"5\r5\r\n", b"5;\n\r\n", b"5;\x00\r\n", b"5;\x7f\r\n", b"5,\r\n", b"1\r\nab\r\n",
        b"1111111111111111\r\n",
        b"1\r\na\n", b"1\r\na\r\r\n", b"0\r\nA\r\n", b"0\r\nA : b\r\n", b"0\r\n: b\r\n",
        b"0\r\n A: b\r\n", b"0\r\nA: b\rc\r\n", b"0\r\nA: b\x00\r\n",
    ],
)  # fmt: skip
def test_a_chunk_has_one_spelling(wire: bytes) -> None:
    with pytest.raises(RequestMalformed) as refused:
        Chunked().take(wire)

    assert refused.value.status == 400


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "transfer-encoding", "HOST", "Cookie", "Authorization", "Set-Cookie",
     "Grpc-Metadata-Token", "Content_Length", "Trailer", "Connection", "token",
     "Content-Encoding", "Content-Type", "Expect", "TE", "Upgrade"],
)  # fmt: skip
def test_a_trailer_changes_nothing_that_was_judged(name: str) -> None:
    with pytest.raises(RequestMalformed):
        Chunked().take(f"0\r\n{name}: x\r\n\r\n".encode())


def test_a_line_is_bounded_whole_or_not() -> None:
    fits = b"1;" + b"a" * (MAX_CHUNK_LINE - 4)
    assert Chunked().take(fits + b"\r\nx\r\n0\r\n\r\n")[0].endswith(b"0\r\n\r\n")

    for too_long in (fits + b"a\r\n", fits + b"aaaa"):
        with pytest.raises(RequestMalformed):
            Chunked().take(too_long)


def test_extensions_and_trailers_are_bounded_together() -> None:
    many = b"1;" + b"a" * 4000 + b"\r\nx\r\n"
    with pytest.raises(RequestMalformed):
        Chunked().take(many * (MAX_EXTENSIONS // 4000 + 1))

    with pytest.raises(RequestMalformed) as refused:
        Chunked().take(b"0\r\n" + b"A: b\r\n" * (MAX_TRAILERS // 6 + 1))
    assert refused.value.status == 431


LONG_CHUNK = b"1;" + b"a" * 4000 + b"\r\nx\r\n"


def a_trailer(length: int) -> bytes:
    return b"A:" + b"b" * (length - 4) + b"\r\n"


def test_extensions_may_be_as_long_together_as_their_bound_and_no_longer() -> None:
    body = Chunked()
    body.take((b"1;" + b"a" * 1023 + b"\r\nx\r\n") * (MAX_EXTENSIONS // 1024))
    body.take(b"1\r\nx\r\n")

    with pytest.raises(RequestMalformed):
        body.take(b"1;\r\n")


def test_trailers_may_be_as_long_together_as_their_bound_and_no_longer() -> None:
    begun = b"0\r\n" + a_trailer(4096) * (MAX_TRAILERS // 4096 - 1)
    body = Chunked()
    body.take(begun + a_trailer(4094) + b"\r\n")
    assert body.done

    with pytest.raises(RequestMalformed):
        Chunked().take(begun + a_trailer(4095) + b"\r\n")


@pytest.mark.parametrize(
    ("wire", "status", "why"),
    [
        (b"x\r\n", 400, "a chunk's size cannot be read"),
        (b"1" * 5000, 400, "a chunk's line is too long"),
        (LONG_CHUNK * 17, 400, "more chunk extensions than anybody needs"),
        (b"1\r\nab\r\n", 400, "a chunk is longer than its size"),
        (b"FFFFF\r\n", 413, "a body is too long"),
        (b"0\r\n" + a_trailer(4000) * 5, 431, "trailers are too long"),
        (b"0\r\nHost: x\r\n", 400, "a trailer that may not be one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_body_that_is_refused_says_why(wire: bytes, status: int, why: str) -> None:
    with pytest.raises(RequestMalformed) as refused:
        Chunked(1000).take(wire)

    assert (str(refused.value), refused.value.status) == (why, status)


def test_a_body_may_have_a_longest_length() -> None:
    assert Chunked(5).take(b"5\r\nhello\r\n0\r\n\r\n")[0]

    with pytest.raises(RequestMalformed) as refused:
        Chunked(5).take(b"3\r\nhel\r\n3\r\nlo!\r\n")
    assert refused.value.status == 413


def test_a_line_that_is_not_whole_is_not_passed_on() -> None:
    body = Chunked()

    assert body.take(b"5\r\nhel") == (b"5\r\nhel", b"")
    assert body.take(b"lo\r") == (b"lo", b"")
    assert body.take(b"\n0\r\nX: y") == (b"\r\n0\r\n", b"")
    assert body.take(b"\r\n\r\nGET") == (b"X: y\r\n\r\n", b"GET")


@pytest.mark.parametrize(
    ("taken", "between"),
    [(b"", True), (b"5", True), (b"5\r\n", False), (b"5\r\nhello", False),
     (b"5\r\nhello\r\n", True), (b"0\r\n", False), (b"0\r\n\r\n", False)],
)  # fmt: skip
def test_a_stream_can_be_ended_between_chunks(taken: bytes, between: bool) -> None:
    body = Chunked()
    body.take(taken)

    assert body.between_chunks is between


@properties
@given(st.integers(0, 6), st.integers(0, 6))
def test_bytes_may_be_counted_in_the_place_of_being_taken(length: int, count: int) -> None:
    bodies: list[tuple[Body, Body]] = [(Length(length), Length(length)), (NoBody(), NoBody())]
    for body, same in bodies:
        all_of_them = body.takes_all(count)
        mine, rest = same.take(b"x" * count)

        assert all_of_them is (rest == b"")
        if all_of_them:
            assert (body.done, body.takes_all(1)) == (same.done, same.takes_all(1))
        else:
            assert body.take(b"x" * count) == (mine, rest)

    assert UntilClose().takes_all(count)
    assert not Chunked().takes_all(count)


def test_bodies_without_bytes_and_without_an_end() -> None:
    assert NoBody().take(b"x") == (b"", b"x")
    assert NoBody().done
    assert Length(0).done
    assert UntilClose().take(b"x") == (b"x", b"")
    assert not UntilClose().done


def test_a_body_is_done_from_the_beginning_where_it_has_no_bytes() -> None:
    bodies: list[Body] = [NoBody(), Length(0), Length(1), UntilClose(), Chunked()]

    assert [body.done for body in bodies] == [True, True, False, False, False]


def test_a_body_that_has_taken_more_than_its_bytes_takes_no_more() -> None:
    body = Length(2)
    body.take(b"abc")

    assert body.take(b"d") == (b"", b"d")
    assert not body.takes_all(1)


def test_a_body_that_has_passed_leaves_nothing_to_the_garbage_collector() -> None:
    gc.collect()
    for _ in range(10):
        Chunked().take(b"5;a=b\r\nhello\r\n0\r\nExpires: 0\r\n\r\n")

    assert gc.collect() == 0
