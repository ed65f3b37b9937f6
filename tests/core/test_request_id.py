import pytest

from sidecar.core.messages import RequestHead, RequestReader
from sidecar.core.request_id import given_request_ids, name_upstream, usable_request_id


def head(*fields: str) -> RequestHead:
    lines = ["GET /x HTTP/1.1", "Host: argocd", *fields, "", ""]
    return RequestReader().read("\r\n".join(lines).encode("latin-1"))


def upstream(head: RequestHead) -> bytes:
    return head.to_bytes([b""] * (len(head.passing) + 1))


@pytest.mark.parametrize(
    "given",
    [
        "7f3c2a9be5d14c0d8a6b5f1e2d3c4b5a",
        "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
        "a",
        "A.b_c-9" + "x" * 57,
    ],
)
def test_an_id_as_proxies_write_it_is_taken(given: str) -> None:
    assert usable_request_id([given]) == given


@pytest.mark.parametrize(
    "given",
    [
        [],
        [""],
        ["x" * 65],
        ["one", "one"],
        ["a b"],
        ['a","level":"error'],
        ["<script>"],
        ["a\x1b[2J"],
        ["../../etc"],
        ["-rf"],
        ["ä"],
        ["a\n"],
    ],
)
def test_any_other_is_not(given: list[str]) -> None:
    assert usable_request_id(given) == ""


def test_an_id_is_found_among_the_lines_that_only_pass() -> None:
    found = head("X-Real-Ip: 10.0.0.1", "x-request-ID:  abc ", "Accept: */*", "Via: 1.1 x")

    assert given_request_ids(found) == ["abc"]


def test_an_id_that_stands_in_another_field_is_none() -> None:
    assert given_request_ids(head("X-Note: x-request-id: abc", "X-Request-Ids: abc")) == []


def test_an_id_that_is_for_one_hop_only_is_found_too() -> None:
    assert given_request_ids(head("Connection: X-Request-Id", "X-Request-Id: abc")) == ["abc"]


def test_a_request_without_an_id_goes_up_with_one_and_only_once() -> None:
    asked = head("Accept: */*")

    for _ in range(2):
        name_upstream(asked, "made", given_request_ids(asked))

    assert upstream(asked).startswith(b"GET /x HTTP/1.1\r\nX-Request-Id: made\r\n")
    assert upstream(asked).count(b"X-Request-Id") == 1


@pytest.mark.parametrize("given", ["abc", "not harmless", ""])
def test_an_id_from_outside_passes_as_it_came(given: str) -> None:
    asked = head(f"X-Request-Id: {given}")

    name_upstream(asked, "made", given_request_ids(asked))

    assert b"made" not in upstream(asked)


def test_two_ids_in_lines_one_after_the_other_are_two() -> None:
    assert given_request_ids(head("X-Request-Id: a", "X-Request-Id: b")) == ["a", "b"]
