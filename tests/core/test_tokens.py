import json

import pytest

from sidecar.core.id_token import IdTokenClaims
from sidecar.core.tokens import (
    TokenResponse,
    first_tokens,
    read_token_response,
    renew,
)
from sidecar.errors import ProviderUnavailable
from tests.core.examples import token_set

CLAIMS = IdTokenClaims("https://idp.example.org", "alice", 2000.0, 2300.0, "")


def response(**changes: object) -> TokenResponse:
    answer = {"access_token": "access-2", "id_token": "id-2", "token_type": "Bearer", **changes}
    return read_token_response(json.dumps(answer).encode())


def test_an_answer_is_read_in_full() -> None:
    read = response(refresh_token="refresh-2", expires_in=300, refresh_expires_in=1800)

    assert read == TokenResponse("access-2", "id-2", "refresh-2", 300.0, 1800.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b'{"access_token": "cut',
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'"access_token"',
        b"{}",
        b'{"access_token": ""}',
        b'{"access_token": null, "id_token": null}',
        b'{"token_type": "Bearer", "refresh_token": "r"}',
    ],
)
def test_an_answer_without_tokens_is_an_outage_that_may_have_spent_the_token(body: bytes) -> None:
    with pytest.raises(ProviderUnavailable) as raised:
        read_token_response(body)

    assert str(raised.value) in (
        "the token endpoint's answer is not JSON",
        "the token endpoint's answer is not a JSON object",
        "the token endpoint's answer has no token in it",
    )
    assert not raised.value.token_untouched
    assert raised.value.__cause__ is None  # a JSON error holds the whole answer


@pytest.mark.parametrize("name", ["access_token", "id_token", "refresh_token"])
@pytest.mark.parametrize("value", [5, True, ["x"], {"x": 1}, "tökën", "x" * 131_073])
def test_a_token_that_is_no_usable_text_is_refused_and_not_shown(name: str, value: object) -> None:
    with pytest.raises(ProviderUnavailable) as raised:
        response(**{name: value})

    assert str(raised.value) == f"the token endpoint's {name} is not usable"


def test_a_token_with_500_groups_in_it_is_taken() -> None:
    assert response(id_token="x" * 131_072).id_token == "x" * 131_072


def test_an_answer_may_have_an_id_token_alone_or_an_access_token_alone() -> None:
    assert response(access_token=None).access_token == ""
    assert response(id_token=None).id_token is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, 300.0),
        (299.5, 299.5),
        ("300", 300.0),
        ("000000000300", 300.0),
        ("0000000000300", None),
        ("3" * 5000, None),
        (0, None),  # Keycloak's offline tokens have no end
        ("0", None),
        (-1, None),
        ("-1", None),
        (True, None),
        (None, None),
        ("soon", None),
        ("٣٠٠", None),
        ([300], None),
        (1e300, None),
        (0.5, 0.5),
        (10**10, None),
        (10**10 - 1, 9999999999.0),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_a_length_that_is_none_means_that_no_end_was_given(
    value: object, seconds: float | None
) -> None:
    read = response(expires_in=value, refresh_expires_in=value)

    assert read.expires_in_seconds == seconds
    assert read.refresh_expires_in_seconds == seconds


def test_a_number_too_long_for_json_is_an_outage_and_no_crash() -> None:
    with pytest.raises(ProviderUnavailable):
        read_token_response(b'{"access_token": "a", "expires_in": 1' + b"0" * 10_000 + b"}")


def test_the_first_tokens_end_when_the_id_token_says_and_not_when_expires_in_says() -> None:
    answer = response(refresh_token="refresh-1", expires_in=60, refresh_expires_in=1800)

    tokens = first_tokens(answer, "id-2", CLAIMS, now=2001.0)

    assert tokens.id_token == "id-2"
    assert tokens.id_token_issued_at == 2000.0
    assert tokens.id_token_expires_at == 2300.0
    assert tokens.access_token == "access-2"
    assert tokens.access_token_expires_at == 2061.0
    assert tokens.refresh_token == "refresh-1"
    assert tokens.refresh_token_expires_at == 3801.0
    assert tokens.renewed_at == 2001.0


def test_a_login_without_a_refresh_token_has_an_empty_one() -> None:
    tokens = first_tokens(response(), "id-2", CLAIMS, now=2001.0)

    assert tokens.refresh_token == ""
    assert tokens.refresh_token_expires_at is None
    assert tokens.access_token_expires_at is None


def test_a_rotated_refresh_token_takes_the_place_of_the_old_one() -> None:
    answer = response(refresh_token="refresh-2", refresh_expires_in=1800, expires_in=60)

    renewed = renew(token_set(), answer, CLAIMS, now=2001.0)

    assert renewed.refresh_token == "refresh-2"
    assert renewed.refresh_token_expires_at == 3801.0
    assert renewed.id_token == "id-2"
    assert (renewed.id_token_issued_at, renewed.id_token_expires_at) == (2000.0, 2300.0)
    assert renewed.access_token == "access-2"
    assert renewed.access_token_expires_at == 2061.0
    assert renewed.renewed_at == 2001.0


@pytest.mark.parametrize("absent", [None, ""])
def test_an_answer_without_a_refresh_token_keeps_the_old_one_with_its_old_end(
    absent: str | None,
) -> None:
    old = token_set()

    renewed = renew(old, response(refresh_token=absent), CLAIMS, now=2001.0)

    assert renewed.refresh_token == old.refresh_token
    assert renewed.refresh_token_expires_at == old.refresh_token_expires_at


def test_an_answer_without_an_id_token_keeps_the_old_one_with_its_old_end() -> None:
    old = token_set()

    renewed = renew(old, response(id_token=None, refresh_token="refresh-2"), None, now=2001.0)

    assert renewed.id_token == old.id_token
    assert renewed.id_token_issued_at == old.id_token_issued_at
    assert renewed.id_token_expires_at == old.id_token_expires_at
    assert renewed.refresh_token == "refresh-2"


def test_an_id_token_that_was_not_verified_is_not_taken_though_its_refresh_token_is() -> None:
    old = token_set()

    renewed = renew(old, response(refresh_token="refresh-2"), None, now=2001.0)

    assert renewed.id_token == old.id_token
    assert renewed.id_token_expires_at == old.id_token_expires_at
    assert renewed.refresh_token == "refresh-2"


def test_the_same_refresh_token_again_keeps_its_old_end() -> None:
    renewed = renew(token_set(), response(refresh_token="refresh-1"), CLAIMS, now=2001.0)

    assert renewed.refresh_token_expires_at == 2800.0


def test_the_same_refresh_token_with_a_new_end_lives_to_the_new_end() -> None:
    answer = response(refresh_token="refresh-1", refresh_expires_in=1800)

    assert renew(token_set(), answer, CLAIMS, now=2001.0).refresh_token_expires_at == 3801.0


def test_a_rotated_refresh_token_without_an_end_does_not_inherit_the_old_end() -> None:
    renewed = renew(token_set(), response(refresh_token="refresh-2"), CLAIMS, now=2001.0)

    assert renewed.refresh_token_expires_at is None


def test_an_answer_without_an_access_token_keeps_the_old_one() -> None:
    renewed = renew(token_set(), response(access_token=None), CLAIMS, now=2001.0)

    assert renewed.access_token == "access-1"


def test_tokens_never_print() -> None:
    shown = repr(token_set()) + repr(response(refresh_token="refresh-2"))

    for secret in ("id-1", "access-1", "refresh-1", "id-2", "access-2", "refresh-2"):
        assert secret not in shown
