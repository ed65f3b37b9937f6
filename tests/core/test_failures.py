import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.failures import failure
from sidecar.errors import ProviderRefused, ProviderUnavailable
from tests.core.examples import properties

DEX_INVALID = "Refresh token is invalid or has already been claimed by another client."
HTML = b"<html><body>Bad Request</body></html>"
CLOUDFLARE = b'{"code": 1020, "message": "denied"}'


def body(error: object, description: object = None) -> bytes:
    return json.dumps({"error": error, "error_description": description}).encode()


def verdict(status: int, answer: bytes) -> str:
    """One word for the class: over, operator or passing."""
    found = failure(status, answer)
    if isinstance(found, ProviderUnavailable):
        return "passing"
    return "over" if found.over else "operator"


# facts/identity-providers.md A4, as providers were seen to answer.
@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        pytest.param(400, body("invalid_grant"), "over", id="standard"),
        pytest.param(403, body("invalid_grant"), "over", id="auth0"),
        pytest.param(401, body("invalid_grant"), "over", id="another-4xx"),
        pytest.param(400, body("invalid_grant", "Token is not active"), "over", id="keycloak"),
        pytest.param(400, body("interaction_required", "AADSTS50076"), "over", id="entra-mfa"),
        pytest.param(400, body("login_required"), "over", id="entra-login"),
        pytest.param(400, body("consent_required"), "over", id="entra-consent"),
        pytest.param(400, body("invalid_request", DEX_INVALID), "over", id="dex-claimed"),
        pytest.param(
            400, body("invalid_request", "Refresh token expired."), "over", id="dex-expired"
        ),
        pytest.param(
            400,
            body("invalid_request", "No refresh token is found in request."),
            "operator",
            id="dex-none-sent",
        ),
        pytest.param(400, body("invalid_request"), "operator", id="bad-request"),
        pytest.param(
            400,
            body("invalid_request", "Parameter refresh token is invalid twice"),
            "operator",
            id="about-the-request",
        ),
        pytest.param(401, body("invalid_client", DEX_INVALID), "operator", id="other-word"),
        pytest.param(401, body("unauthorized_client"), "operator", id="keycloak-secret"),
        pytest.param(400, body("unauthorized_client"), "operator", id="keycloak-client"),
        pytest.param(400, body("invalid_client"), "operator", id="authentik"),
        pytest.param(401, body("invalid_client"), "operator", id="dex-secret"),
        pytest.param(400, body("invalid_scope"), "operator", id="scope"),
        pytest.param(400, body("unsupported_grant_type"), "operator", id="grant-type"),
        pytest.param(403, body("access_denied"), "operator", id="auth0-rule"),
        pytest.param(400, body("invalid_target"), "operator", id="resource"),
        pytest.param(400, HTML, "passing", id="gateway-400"),
        pytest.param(403, HTML, "passing", id="firewall"),
        pytest.param(403, CLOUDFLARE, "passing", id="firewall-json"),
        pytest.param(404, b"", "passing", id="not-found"),
        pytest.param(302, b"", "passing", id="redirect"),
        pytest.param(502, HTML, "passing", id="gateway-502"),
        pytest.param(500, body("server_error"), "passing", id="broken"),
        pytest.param(500, body("invalid_grant"), "passing", id="dismissed-at-dex"),
        pytest.param(503, body("invalid_client"), "passing", id="starting"),
        pytest.param(408, body("invalid_grant"), "passing", id="request-timeout"),
        pytest.param(425, body("invalid_grant"), "passing", id="too-early"),
        pytest.param(429, body("invalid_grant"), "passing", id="rate-limit"),
        pytest.param(400, body("temporarily_unavailable"), "passing", id="away"),
        pytest.param(400, body("server_error"), "passing", id="server-error-400"),
        pytest.param(400, body("slow_down"), "passing", id="slow-down"),
        pytest.param(400, body("something_new"), "passing", id="unknown-word"),
    ],
)
def test_an_answer_is_classed_by_its_word_and_then_by_its_status(
    status: int, answer: bytes, expected: str
) -> None:
    assert verdict(status, answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b'"invalid_grant"',
        b"invalid_grant",
        b"\xff",
        b"[" * 100_000,
        b'{"error": 1' + b"0" * 9999 + b"}",
        body(None),
        body(5),
        body(["invalid_grant"]),
        body({"code": "invalid_grant"}),
        body("invalid_request", 5),
        body("INVALID_GRANT"),
        body("invalid_grant "),
    ],
)
def test_no_answer_that_nobody_understands_ends_a_grant(answer: bytes) -> None:
    assert verdict(400, answer) != "over"


@properties
@given(st.integers(300, 599), st.binary(max_size=60) | st.text(max_size=20).map(body))
def test_no_stray_bytes_end_a_grant(status: int, answer: bytes) -> None:
    assert verdict(status, answer) != "over"


@pytest.mark.parametrize("status", [425, 429, 503])
def test_a_request_that_was_turned_away_at_the_door_has_spent_no_token(status: int) -> None:
    found = failure(status, b"")

    assert isinstance(found, ProviderUnavailable)
    assert found.token_untouched


@pytest.mark.parametrize("status", [400, 403, 408, 500, 501, 502, 504, 520, 599])
def test_any_other_outage_may_have_spent_the_token(status: int) -> None:
    """A provider behind a gateway's 502 or 504 may already have rotated it."""
    found = failure(status, HTML)

    assert isinstance(found, ProviderUnavailable)
    assert not found.token_untouched


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, 1.0),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("0", 1.0),
        ("300", 300.0),
        ("301", 300.0),
        ("999999", 300.0),
        ("9" * 400, 1.0),
        ("-5", 1.0),
        ("1e9", 1.0),
        ("nan", 1.0),
        ("soon", 1.0),
        ("", 1.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 400])
def test_a_provider_says_when_to_come_back_within_reason(
    status: int, retry_after: str | None, seconds: float
) -> None:
    found = failure(status, b"", retry_after=retry_after)

    assert isinstance(found, ProviderUnavailable)
    assert found.retry_after_seconds == seconds


def test_a_refusal_repeats_the_word_and_nothing_else_of_the_answer() -> None:
    found = failure(400, body("invalid_grant", "token eyJhbGciOi was used by alice"))

    assert isinstance(found, ProviderRefused)
    assert found.error == "invalid_grant"
    assert str(found) == "the provider refused: invalid_grant"


def test_an_outage_repeats_the_status_and_nothing_else_of_the_answer() -> None:
    found = failure(400, body("eyJhbGciOi"))

    assert str(found) == "the token endpoint answered 400"
