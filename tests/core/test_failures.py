import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.failures import Answer, failure, known_error
from sidecar.core.provider_profiles import (
    GENERIC,
    PROFILES,
    Provider,
    ProviderProfile,
    profile_of,
)
from sidecar.errors import ProviderRefused, ProviderUnavailable
from tests.core.examples import properties

DEX_INVALID = "Refresh token is invalid or has already been claimed by another client."
DEX_EXPIRED = "Refresh token expired."
WRONG_ISSUER = "Invalid token issuer. Expected 'http://keycloak.sso.svc:8080/realms/main'"
HTML = b"<html><body>Bad Request</body></html>"
CLOUDFLARE = b'{"code": 1020, "message": "denied"}'
JSON = "application/json;charset=UTF-8"
FALLS = {"over", "operator"}


def body(error: object, description: object = None) -> bytes:
    return json.dumps({"error": error, "error_description": description}).encode()


def profile(name: str) -> ProviderProfile:
    found = profile_of(Provider(name))
    assert found
    return found


def verdict(answer: Answer, profile: ProviderProfile = GENERIC) -> str:
    """One word for the class."""
    found = failure(answer, profile)
    if isinstance(found, ProviderUnavailable):
        return "passing, only here" if found.only_this_grant else "passing"
    return "over" if found.over else "operator"


# What every provider's answers have in common.
@pytest.mark.parametrize("profile", PROFILES, ids=[each.provider for each in PROFILES])
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
        pytest.param(401, body("invalid_request", DEX_INVALID), "operator", id="other-status"),
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
        pytest.param(302, body("invalid_grant"), "passing", id="redirect-with-a-word"),
        pytest.param(502, HTML, "passing", id="gateway-502"),
        pytest.param(500, body("server_error"), "passing", id="broken"),
        pytest.param(500, body("invalid_grant"), "passing", id="grant-500"),
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
    profile: ProviderProfile, status: int, answer: bytes, expected: str
) -> None:
    assert verdict(Answer(status, answer, JSON), profile) == expected


@pytest.mark.parametrize(
    ("name", "status", "answer", "expected", "elsewhere"),
    [
        ("dex", 400, body("invalid_request", DEX_INVALID), "over", "operator"),
        ("dex", 400, body("invalid_request", DEX_EXPIRED), "over", "operator"),
        ("dex", 400, body("invalid_grant", DEX_INVALID), "over", "over"),
        # Its connector refuses a dismissed user, or is away: it says nothing more.
        ("dex", 500, b'{"error":"invalid_request"}', "passing, only here", "passing"),
        ("dex", 500, body("invalid_request", ""), "passing, only here", "passing"),
        ("dex", 500, body("invalid_request", "out of disk"), "passing", "passing"),
        ("dex", 500, body("server_error"), "passing", "passing"),
        ("dex", 502, b'{"error":"invalid_request"}', "passing", "passing"),
        ("dex", 500, HTML, "passing", "passing"),
        ("generic", 400, body("invalid_request", DEX_INVALID), "over", "operator"),
        ("generic", 500, b'{"error":"invalid_request"}', "passing", "passing"),
        ("keycloak", 400, body("invalid_grant", WRONG_ISSUER), "operator", "over"),
        ("keycloak", 400, body("invalid_grant", f"{WRONG_ISSUER}\n" * 99), "operator", "over"),
        ("keycloak", 400, body("invalid_grant", "Session not active"), "over", "over"),
        (
            "keycloak",
            400,
            body("invalid_grant", "Maximum allowed refresh token reuse exceeded"),
            "over",
            "over",
        ),
        (
            "keycloak",
            401,
            body("unauthorized_client", "Invalid client or Invalid client credentials"),
            "operator",
            "operator",
        ),
        (
            "auth0",
            403,
            body("invalid_grant", "Unknown or invalid refresh token."),
            "over",
            "over",
        ),
        ("auth0", 403, body("mfa_required"), "operator", "passing"),
        ("google", 401, body("deleted_client"), "operator", "passing"),
        ("google", 401, body("disabled_client"), "operator", "passing"),
        (
            "google",
            400,
            body("invalid_grant", "reauth related error (invalid_rapt)"),
            "over",
            "over",
        ),
        ("hydra", 401, body("token_inactive"), "over", "passing"),
        ("hydra", 500, body("token_inactive"), "passing", "passing"),
        ("authelia", 401, body("token_inactive"), "over", "passing"),
        ("authentik", 400, body("invalid_client"), "operator", "operator"),
        ("entra", 400, body("interaction_required", "AADSTS50076"), "over", "over"),
        ("entra", 400, body("temporarily_unavailable", "AADSTS90033"), "passing", "passing"),
        (
            "okta",
            400,
            body("invalid_grant", "The refresh token is invalid or expired."),
            "over",
            "over",
        ),
    ],
)
def test_a_provider_has_words_of_its_own(
    name: str, status: int, answer: bytes, expected: str, elsewhere: str
) -> None:
    """`elsewhere` is what Cognito, which has none, would mean by the same answer."""
    assert verdict(Answer(status, answer, JSON), profile(name)) == expected
    assert verdict(Answer(status, answer, JSON), profile("cognito")) == elsewhere


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
        body("invalid_request", DEX_INVALID + "x" * 5000),
        body("INVALID_GRANT"),
        body("invalid_grant "),
    ],
)
def test_no_answer_that_nobody_understands_ends_a_grant(answer: bytes) -> None:
    assert verdict(Answer(400, answer, JSON)) != "over"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("", "over"),
        (JSON, "over"),
        ("application/problem+json", "over"),
        ("text/plain; charset=utf-8", "over"),
        ("text/html", "passing"),
        ("Text/HTML; charset=utf-8", "passing"),
        ("application/xhtml+xml", "passing"),
    ],
)
def test_what_calls_itself_a_web_page_comes_from_something_in_between(
    content_type: str, expected: str
) -> None:
    """A type that is missing or odd is a provider's carelessness, and no reason to wait."""
    assert verdict(Answer(400, body("invalid_grant"), content_type)) == expected


# --- any answer

STANDARD = ("invalid_grant", "interaction_required", "login_required", "consent_required")
WORDS = (
    *STANDARD, "invalid_request", "invalid_client", "unauthorized_client", "invalid_scope",
    "unsupported_grant_type", "access_denied", "invalid_target", "token_inactive", "mfa_required",
    "deleted_client", "server_error", "temporarily_unavailable", "slow_down",
)  # fmt: skip
SENTENCES = (DEX_INVALID, DEX_EXPIRED, WRONG_ISSUER, "Session not active", "", "x" + DEX_EXPIRED)
STATUSES = (200, 302, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504)
TYPES = ("", JSON, "text/plain", "text/html", "text/html;charset=utf-8", "application/xml", "é")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
oauth_errors = st.fixed_dictionaries(
    {"error": st.sampled_from(WORDS) | json_values},
    optional={"error_description": st.sampled_from(SENTENCES) | json_values},
).map(lambda found: json.dumps(found).encode())
bodies = st.one_of(
    oauth_errors,
    oauth_errors.map(lambda found: found[:-1]),
    oauth_errors.map(lambda found: b"[" + found + b"]"),
    oauth_errors.map(lambda found: b"<html>" + found),
    json_values.map(lambda found: json.dumps(found).encode()),
    st.binary(max_size=60),
)
answers = st.builds(
    Answer,
    st.sampled_from(STATUSES) | st.integers(100, 999),
    bodies,
    st.sampled_from(TYPES) | st.text(max_size=20),
    st.text(max_size=40),
    st.text(max_size=40),
)


def may_end(provider: Provider, answer: Answer) -> bool:
    """Whether an answer is listed, here, as the end of a grant: a second opinion."""
    if answer.content_type.lower().startswith("text/html"):
        return False
    if answer.status not in range(400, 500) or answer.status in (408, 425, 429):
        return False
    try:
        found: Any = json.loads(answer.body)
    except ValueError:
        return False
    if not isinstance(found, dict):
        return False
    error, said = found.get("error"), found.get("error_description")
    if provider is Provider.KEYCLOAK and said == WRONG_ISSUER and answer.status == 400:
        return False
    if provider in (Provider.DEX, Provider.GENERIC) and error == "invalid_request":
        return answer.status == 400 and said in (DEX_INVALID, DEX_EXPIRED)
    if provider in (Provider.HYDRA, Provider.AUTHELIA) and error == "token_inactive":
        return answer.status == 401
    return error in STANDARD


@settings(properties, max_examples=2000)
@given(st.sampled_from(PROFILES), answers)
def test_no_answer_ends_a_grant_but_those_that_are_listed(
    profile: ProviderProfile, answer: Answer
) -> None:
    assert (verdict(answer, profile) == "over") == may_end(profile.provider, answer)


@properties
@given(
    st.sampled_from(PROFILES),
    oauth_errors,
    st.sampled_from([408, 425, 429]) | st.integers(500, 599) | st.integers(100, 399),
)
def test_no_word_makes_an_outage_a_refusal(
    profile: ProviderProfile, answer: bytes, status: int
) -> None:
    assert verdict(Answer(status, answer, JSON), profile) not in FALLS


@properties
@given(st.sampled_from(PROFILES), st.integers(100, 999), st.binary(max_size=60))
def test_no_stray_bytes_are_a_refusal(profile: ProviderProfile, status: int, answer: bytes) -> None:
    assert verdict(Answer(status, answer), profile) not in FALLS


@properties
@given(st.sampled_from(PROFILES), answers)
def test_a_wait_is_never_nothing_and_never_long(profile: ProviderProfile, answer: Answer) -> None:
    found = failure(answer, profile)

    if isinstance(found, ProviderUnavailable):
        assert 1.0 <= found.retry_after_seconds <= 300.0


# --- what else a failure says


@pytest.mark.parametrize(
    ("description", "reused"),
    [
        ("Maximum allowed refresh token reuse exceeded", True),
        ("REUSE of a refresh token", True),
        ("Session not active", False),
        (None, False),
    ],
)
def test_a_refusal_says_whether_a_token_came_twice(description: str | None, reused: bool) -> None:
    found = failure(Answer(400, body("invalid_grant", description)))

    assert isinstance(found, ProviderRefused)
    assert found.reused is reused


@pytest.mark.parametrize(
    "word", ["invalid_grant", "invalid_client", "token_inactive", "mfa_required", "deleted_client"]
)
def test_a_metric_has_a_label_for_each_word_of_the_tables_and_one_for_all_others(word: str) -> None:
    assert known_error(word) == word
    assert known_error(f"{word} ") == "other"


@pytest.mark.parametrize("status", [425, 429, 503])
def test_a_request_that_was_turned_away_at_the_door_has_spent_no_token(status: int) -> None:
    found = failure(Answer(status, b""))

    assert isinstance(found, ProviderUnavailable)
    assert found.token_untouched


@pytest.mark.parametrize("status", [400, 403, 408, 500, 501, 502, 504, 520, 599])
def test_any_other_outage_may_have_spent_the_token(status: int) -> None:
    """A provider behind a gateway's 502 or 504 may already have rotated it."""
    found = failure(Answer(status, HTML))

    assert isinstance(found, ProviderUnavailable)
    assert not found.token_untouched


def test_a_connector_that_failed_after_the_rotation_has_spent_the_token() -> None:
    found = failure(Answer(500, b'{"error":"invalid_request"}', JSON), profile("dex"))

    assert isinstance(found, ProviderUnavailable)
    assert not found.token_untouched


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("", "", 1.0),
        ("30", "", 30.0),
        (" 30 ", DATE, 30.0),
        ("0", "", 1.0),
        ("300", "", 300.0),
        ("301", "", 300.0),
        ("999999", "", 300.0),
        ("9" * 400, "", 1.0),
        ("-5", "", 1.0),
        ("1e9", "", 1.0),
        ("nan", "", 1.0),
        ("soon", DATE, 1.0),
        ("٣٠", "", 1.0),
        ("Wed, 21 Oct 2026 07:28:42 GMT", DATE, 42.0),
        ("Wednesday, 21-Oct-26 07:28:42 GMT", DATE, 42.0),
        ("Wed Oct 21 07:28:42 2026", DATE, 42.0),
        ("Wed, 21 Oct 2026 09:28:42 +0200", DATE, 42.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", DATE, 1.0),
        ("Thu, 22 Oct 2026 07:28:00 GMT", DATE, 300.0),
        ("Wed, 21 Oct 99999 07:28:42 GMT", DATE, 1.0),
        ("Wed, 21 Oct 2026 07:28:42 GMT", "", 1.0),
        ("Wed, 21 Oct 2026 07:28:42 GMT", "yesterday", 1.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 400])
def test_a_provider_says_when_to_come_back_within_reason(
    status: int, retry_after: str, date: str, seconds: float
) -> None:
    """A date counts from the answer's own: a provider's clock may be wrong."""
    found = failure(Answer(status, b"", retry_after=retry_after, date=date))

    assert isinstance(found, ProviderUnavailable)
    assert found.retry_after_seconds == seconds


def test_a_refusal_repeats_the_word_and_nothing_else_of_the_answer() -> None:
    found = failure(Answer(400, body("invalid_grant", "token eyJhbGciOi was used by alice")))

    assert isinstance(found, ProviderRefused)
    assert found.error == "invalid_grant"
    assert str(found) == "the provider refused: invalid_grant"


def test_an_operators_error_is_called_by_its_word() -> None:
    found = failure(Answer(400, body("invalid_client")))

    assert isinstance(found, ProviderRefused)
    assert (found.error, found.over) == ("invalid_client", False)


def test_an_answers_headers_that_are_not_there_are_empty() -> None:
    assert Answer(503, b"") == Answer(503, b"", content_type="", retry_after="", date="")


def test_an_outage_repeats_the_status_and_nothing_else_of_the_answer() -> None:
    found = failure(Answer(400, body("eyJhbGciOi")))

    assert str(found) == "the token endpoint answered 400"
    assert "eyJhbGciOi" not in repr(Answer(400, body("eyJhbGciOi")))
