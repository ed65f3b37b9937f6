import base64
import hashlib
import json
import re
from dataclasses import replace
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from sidecar.core.authorization import (
    ATTEMPT_RANDOM_BYTES,
    MAX_RETURN_URL_LENGTH,
    AuthorizationResponse,
    LoginAttempt,
    OfflineAccess,
    Sites,
    authorization_url,
    check_authorization_response,
    hash_state,
    new_attempt,
    open_attempt,
    origin,
    read_authorization_response,
    requested_scope,
    safe_return_url,
)
from sidecar.core.heads import Paths, clean_path
from sidecar.core.provider_profiles import GENERIC, recognised
from sidecar.core.sealing import Label
from sidecar.errors import LoginRefused, SilentLoginRefused
from tests.core.examples import PREFIX, SEAL_RANDOM, key, properties, ring

ISSUER = "https://idp.example.org"
RANDOM = bytes(range(ATTEMPT_RANDOM_BYTES))
CALLBACK = "https://argocd.example.org/auth/callback"
NOW = 1000.0


def attempt(*, random: bytes = RANDOM, now: float = NOW) -> LoginAttempt:
    return new_attempt("https://argocd.example.org/applications", CALLBACK, now=now, random=random)


def cookie(made: LoginAttempt, *, prefix: str = PREFIX) -> str:
    return made.seal(ring(), prefix, random=SEAL_RANDOM)


# --- the attempt


def test_an_attempt_comes_back_by_its_cookie_and_its_state() -> None:
    made = attempt()

    assert open_attempt(cookie(made), made.state, ring(), PREFIX, now=NOW + 30) == made


def test_an_attempt_of_any_length_comes_back() -> None:
    for length in range(900):
        made = new_attempt("x" * length, CALLBACK, now=NOW, random=RANDOM)

        assert open_attempt(cookie(made), made.state, ring(), PREFIX, now=NOW) == made


def test_state_nonce_and_verifier_are_256_bits_each_and_not_the_same() -> None:
    made = attempt()

    words = {made.state, made.nonce, made.code_verifier}
    assert len(words) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", word) for word in words)


@pytest.mark.parametrize("length", [0, 32, ATTEMPT_RANDOM_BYTES - 1, ATTEMPT_RANDOM_BYTES + 1])
def test_no_attempt_is_made_with_too_little_random(length: int) -> None:
    with pytest.raises(ValueError, match="random"):
        attempt(random=bytes(length))


def test_the_state_of_one_tab_does_not_open_the_cookie_of_another() -> None:
    first, second = attempt(), attempt(random=RANDOM[::-1])

    with pytest.raises(LoginRefused) as raised:
        open_attempt(cookie(first), second.state, ring(), PREFIX, now=NOW)

    assert raised.value.reason == "state"


def test_a_state_from_elsewhere_does_not_open_a_cookie_that_was_sealed_for_it() -> None:
    """Login CSRF: the sealed state decides, not only the name that it was sealed under."""
    made = attempt()
    plain = b'["other-state", "n", "v", "https://argocd.example.org", "r", 1000.0]'
    label = Label(PREFIX, "login", hash_state(made.state))
    sealed = base64.urlsafe_b64encode(ring().seal(plain, label, random=SEAL_RANDOM)).decode()

    with pytest.raises(LoginRefused):
        open_attempt(sealed, made.state, ring(), PREFIX, now=NOW)


@pytest.mark.parametrize(
    "plain", [b"", b"{", b"[]", b"null", b'["too", "few"]', b"5", b'{"state": 1}', b"\xff"]
)
def test_an_attempt_of_another_release_is_started_again_and_no_crash(plain: bytes) -> None:
    made = attempt()
    label = Label(PREFIX, "login", made.state_hash)
    sealed = base64.urlsafe_b64encode(ring().seal(plain, label, random=SEAL_RANDOM)).decode()

    with pytest.raises(LoginRefused):
        open_attempt(sealed, made.state, ring(), PREFIX, now=NOW)


@pytest.mark.parametrize(
    ("age", "opens"),
    [
        (0, True),
        (600, True),
        (601, False),
        (-60, True),  # another replica's clock
        (-61, False),
    ],
)
def test_an_attempt_lives_for_ten_minutes(age: float, opens: bool) -> None:
    made = attempt()

    try:
        opened = open_attempt(cookie(made), made.state, ring(), PREFIX, now=NOW + age) == made
    except LoginRefused:
        opened = False

    assert opened is opens


@pytest.mark.parametrize("value", ["", "x", "=", "====", "é", "A" * 200, "a b", "\x00", "\ud800"])
def test_a_cookie_that_is_none_of_ours_is_refused_and_no_crash(value: str) -> None:
    with pytest.raises(LoginRefused):
        open_attempt(value, attempt().state, ring(), PREFIX, now=NOW)


@pytest.mark.parametrize("state", ["", "x", "é", "\ud800", "?", "x" * 10_000])
def test_a_state_that_is_none_of_ours_is_refused_and_no_crash(state: str) -> None:
    with pytest.raises(LoginRefused):
        open_attempt(cookie(attempt()), state, ring(), PREFIX, now=NOW)


def test_an_attempt_of_another_installation_or_key_is_refused() -> None:
    made = attempt()

    with pytest.raises(LoginRefused):
        open_attempt(cookie(made, prefix="other:"), made.state, ring(), PREFIX, now=NOW)
    with pytest.raises(LoginRefused):
        open_attempt(cookie(made), made.state, ring(key("other", 9)), PREFIX, now=NOW)


def test_a_cookie_shows_nothing_of_its_attempt_and_needs_no_quoting() -> None:
    made = attempt()
    value = cookie(made)
    plain = base64.urlsafe_b64decode(value + "==")

    assert re.fullmatch(r"[A-Za-z0-9_-]+", value)
    for secret in (made.state, made.nonce, made.code_verifier, "argocd.example.org"):
        assert secret.encode() not in plain


def test_an_attempt_never_prints_its_secrets() -> None:
    made = attempt()

    shown = repr(made) + repr(AuthorizationResponse(made.state, "code-1", "", ""))

    for secret in (made.state, made.nonce, made.code_verifier, "code-1"):
        assert secret not in shown


# --- the request


def test_the_request_has_all_that_protects_a_login() -> None:
    made = attempt()

    url = authorization_url(f"{ISSUER}/auth", made, client_id="argo cd&x=y", scope="openid groups")

    digest = hashlib.sha256(made.code_verifier.encode()).digest()
    assert url.startswith(f"{ISSUER}/auth?")
    assert dict(parse_qsl(urlsplit(url).query)) == {
        "response_type": "code",
        "client_id": "argo cd&x=y",
        "redirect_uri": CALLBACK,
        "scope": "openid groups",
        "state": made.state,
        "nonce": made.nonce,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }


def test_the_verifier_never_goes_through_the_browser() -> None:
    made = attempt()

    url = authorization_url(f"{ISSUER}/auth", made, client_id="argocd", scope="openid")

    assert made.code_verifier not in url


def test_an_endpoint_with_a_query_keeps_it() -> None:
    url = authorization_url(
        f"{ISSUER}/auth?p=b2c_1", attempt(), client_id="argocd", scope="openid",
        extra=[("prompt", "consent")],
    )  # fmt: skip

    query = parse_qs(urlsplit(url).query)
    assert query["p"] == ["b2c_1"]
    assert query["response_type"] == ["code"]
    assert query["prompt"] == ["consent"]


GOOGLE = "https://accounts.google.com"
OFFLINE = [("access_type", "offline"), ("prompt", "consent")]
CONSENT = [("prompt", "consent")]


@pytest.mark.parametrize(
    ("mode", "issuer", "supported", "scope", "extra"),
    [
        ("auto", ISSUER, ["offline_access"], "openid email offline_access", []),
        ("auto", ISSUER, [], "openid email", []),
        ("always", ISSUER, [], "openid email offline_access", []),
        ("consent", ISSUER, [], "openid email offline_access", CONSENT),
        ("never", ISSUER, ["offline_access"], "openid email", []),
        ("auto", GOOGLE, ["offline_access"], "openid email", OFFLINE),
        ("always", GOOGLE, [], "openid email", OFFLINE),
        ("consent", GOOGLE, [], "openid email", OFFLINE),
        ("never", GOOGLE, [], "openid email", []),
        ("auto", "https://accounts.google.com.evil.example", [], "openid email", []),
    ],
)
def test_a_refresh_token_is_asked_for_as_the_provider_wants_it(
    mode: str, issuer: str, supported: list[str], scope: str, extra: list[tuple[str, str]]
) -> None:
    asked = requested_scope(
        ["openid", "email"],
        OfflineAccess(mode),
        supported=supported,
        profile=recognised(issuer, {}),
    )

    assert asked == (scope, extra)


def test_the_scope_is_not_asked_for_twice() -> None:
    scopes = ["openid", "offline_access"]

    scope, _ = requested_scope(scopes, OfflineAccess.ALWAYS, supported=[], profile=GENERIC)

    assert scope == "openid offline_access"


# --- the answer


def test_an_answer_is_read_and_unknown_parameters_are_left_alone() -> None:
    query = [("session_state", "x"), ("code", "c"), ("state", "s"), ("iss", ISSUER), ("x", "1")]

    assert read_authorization_response(query) == AuthorizationResponse("s", "c", ISSUER, "")
    failed = [("error", "access_denied"), ("state", "s")]
    assert read_authorization_response(failed) == AuthorizationResponse(
        "s", "", "", "access_denied"
    )


@pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
@pytest.mark.parametrize("same", [True, False])
def test_a_parameter_that_is_there_twice_is_refused(name: str, same: bool) -> None:
    query = [("state", "s"), ("code", "c"), ("iss", ISSUER), ("error", "e")]
    again = (name, dict(query)[name] if same else "other")

    with pytest.raises(LoginRefused) as raised:
        read_authorization_response([*query, again])

    assert raised.value.reason == "parameters"


def test_an_unknown_parameter_may_be_there_twice() -> None:
    query = [("state", "s"), ("code", "c"), ("x", "1"), ("x", "2")]

    assert read_authorization_response(query).code == "c"


@pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
def test_a_parameter_longer_than_any_provider_sends_is_refused(name: str) -> None:
    longest = {"state": "s", "code": "c", name: "x" * 8192}

    read_authorization_response(list(longest.items()))
    with pytest.raises(LoginRefused, match="not be understood"):
        read_authorization_response(list({**longest, name: "x" * 8193}.items()))


@pytest.mark.parametrize("query", [[], [("code", "c")], [("state", ""), ("code", "c")]])
def test_a_callback_without_a_state_is_no_end_of_a_login(query: list[tuple[str, str]]) -> None:
    with pytest.raises(LoginRefused) as raised:
        read_authorization_response(query)

    assert raised.value.reason == "state"


GOOD = AuthorizationResponse("s", "c", "", "")


@pytest.mark.parametrize(
    ("response", "iss_required"),
    [
        (GOOD, False),
        (replace(GOOD, iss=ISSUER), False),
        (replace(GOOD, iss=ISSUER), True),
    ],
)
def test_an_answer_of_the_provider_that_was_asked_is_taken(
    response: AuthorizationResponse, iss_required: bool
) -> None:
    check_authorization_response(response, issuer=ISSUER, iss_required=iss_required)


@pytest.mark.parametrize(
    ("response", "iss_required", "reason", "status"),
    [
        (replace(GOOD, iss="https://evil.example"), False, "iss", 400),
        (replace(GOOD, iss=ISSUER + "/"), False, "iss", 400),
        (GOOD, True, "iss", 400),  # RFC 9207 section 2.4: announced, and then absent
        (replace(GOOD, iss="https://evil.example", error="access_denied"), False, "iss", 400),
        (replace(GOOD, error="access_denied"), False, "access_denied", 403),
        (
            replace(GOOD, error="temporarily_unavailable"), False, "temporarily_unavailable", 503,
        ),
        (replace(GOOD, error="server_error"), False, "server_error", 503),
        (replace(GOOD, error="invalid_scope"), False, "provider_invalid_scope", 400),
        (replace(GOOD, error="<script>"), False, "provider_other", 400),
        (replace(GOOD, error="made_up_word"), False, "provider_other", 400),
        (replace(GOOD, error="login_required"), False, "provider_login_required", 400),
        (replace(GOOD, error="line\nbreak"), False, "provider_other", 400),
        (replace(GOOD, code="", error="access_denied"), False, "access_denied", 403),
        (replace(GOOD, code=""), False, "code", 400),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_refused_with_its_reason(
    response: AuthorizationResponse, iss_required: bool, reason: str, status: int
) -> None:
    with pytest.raises(LoginRefused) as raised:
        check_authorization_response(response, issuer=ISSUER, iss_required=iss_required)

    assert (raised.value.reason, raised.value.status) == (reason, status)
    assert "<script>" not in str(raised.value)


def test_an_answer_may_name_an_alias_that_is_set_and_no_other() -> None:
    alias = "https://sts.example.org"
    answer = replace(GOOD, iss=alias)

    check_authorization_response(answer, issuer=ISSUER, iss_required=True, aliases=(alias,))

    for aliases in ((), (f"{alias}/",), ("https://sts.example.org/{tenantid}",)):
        with pytest.raises(LoginRefused):
            check_authorization_response(answer, issuer=ISSUER, iss_required=False, aliases=aliases)


@pytest.mark.parametrize(
    ("response", "silent", "sentence"),
    [
        (
            replace(GOOD, iss="https://evil.example"),
            False,
            "The answer came from another identity provider than asked.",
        ),
        (
            replace(GOOD, error="login_required"),
            True,
            "The identity provider needs you to sign in.",
        ),
        (
            replace(GOOD, error="access_denied"),
            False,
            "The sign-in was cancelled, or you may not use this.",
        ),
        (
            replace(GOOD, error="server_error"),
            True,
            "The identity provider has a problem. Try again soon.",
        ),
        (
            replace(GOOD, error="invalid_request"),
            True,
            "The identity provider refused the sign-in. Tell your operator.",
        ),
        (
            replace(GOOD, code=""),
            False,
            "The provider's answer has no code in it. Sign in again.",
        ),
    ],
)
def test_a_person_is_told_what_became_of_the_sign_in(
    response: AuthorizationResponse, silent: bool, sentence: str
) -> None:
    with pytest.raises(LoginRefused) as raised:
        check_authorization_response(response, issuer=ISSUER, iss_required=False, silent=silent)

    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    "word",
    [
        "interaction_required",
        "login_required",
        "account_selection_required",
        "consent_required",
    ],
)
def test_where_the_person_is_needed_a_silent_sign_in_says_so_and_another_is_refused(
    word: str,
) -> None:
    answer = replace(GOOD, error=word)

    with pytest.raises(SilentLoginRefused) as silent:
        check_authorization_response(answer, issuer=ISSUER, iss_required=False, silent=True)
    with pytest.raises(LoginRefused) as other:
        check_authorization_response(answer, issuer=ISSUER, iss_required=False)

    assert silent.value.reason == "silent"
    assert type(other.value) is LoginRefused
    assert other.value.reason == f"provider_{word}"


@pytest.mark.parametrize(
    "word",
    ["invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope"],
)
def test_the_words_of_the_standard_are_counted_by_name(word: str) -> None:
    with pytest.raises(LoginRefused) as raised:
        check_authorization_response(
            replace(GOOD, error=word), issuer=ISSUER, iss_required=False, silent=True
        )

    assert raised.value.reason == f"provider_{word}"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ([], "This address only works at the end of a sign-in. Start a new one."),
        (
            [("state", "s"), ("state", "s")],
            "The provider's answer could not be understood. Sign in again.",
        ),
    ],
)
def test_a_person_is_told_what_is_wrong_with_an_address(
    query: list[tuple[str, str]], sentence: str
) -> None:
    with pytest.raises(LoginRefused) as raised:
        read_authorization_response(query)

    assert str(raised.value) == sentence
    assert read_authorization_response([("state", "s")]) == AuthorizationResponse("s", "", "", "")


def test_a_person_is_told_that_a_sign_in_is_not_theirs_or_that_they_cannot_go_there() -> None:
    with pytest.raises(LoginRefused) as started:
        open_attempt("", "s", ring(), PREFIX, now=NOW)
    with pytest.raises(LoginRefused) as elsewhere:
        safe_return_url("https://evil.example", [SITE], Paths())

    assert (started.value.reason, str(started.value)) == (
        "state",
        "This sign-in was started in another window, or too long ago. Start it again.",
    )
    assert str(elsewhere.value) == "The address to return to is not part of this site."


def test_an_attempt_is_sealed_in_its_own_form() -> None:
    made = new_attempt("https://a/x", CALLBACK, now=NOW, random=bytes(range(96)), silent=True)
    sealed = base64.urlsafe_b64decode(cookie(made) + "==")

    assert not cookie(made).endswith("=")
    plain = ring().open(sealed, Label(PREFIX, "login", made.state_hash))
    assert json.loads(plain) == [
        made.state,
        made.nonce,
        made.code_verifier,
        "https://a/x",
        CALLBACK,
        NOW,
        True,
    ]
    assert made.state == base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()
    assert made.nonce == base64.urlsafe_b64encode(bytes(range(32, 64))).rstrip(b"=").decode()
    assert (
        made.code_verifier == base64.urlsafe_b64encode(bytes(range(64, 96))).rstrip(b"=").decode()
    )
    assert made.state_hash == hashlib.sha256(made.state.encode()).hexdigest()
    assert attempt().silent is False
    assert replace(made, silent=False) == LoginAttempt(
        made.state, made.nonce, made.code_verifier, "https://a/x", CALLBACK, NOW
    )


def test_no_attempt_is_made_with_another_number_of_random_bytes() -> None:
    with pytest.raises(ValueError, match=r"^an attempt needs 96 random bytes$"):
        attempt(random=bytes(95))


@pytest.mark.parametrize("word", ["state", "nonce", "code_verifier"])
def test_an_attempt_and_an_answer_show_no_secret(word: str) -> None:
    made = attempt()

    assert getattr(made, word) not in repr(made)
    assert repr(AuthorizationResponse("s-1", "c-1", "i", "e")) == (
        "AuthorizationResponse(iss='i', error='e')"
    )


def test_ways_of_asking_for_a_refresh_token_are_called_what_the_setting_calls_them() -> None:
    assert [each.value for each in OfflineAccess] == ["auto", "always", "consent", "never"]


def test_an_authorization_request_is_this_one() -> None:
    made = attempt()
    challenge = base64.urlsafe_b64encode(hashlib.sha256(made.code_verifier.encode()).digest())

    for endpoint, separator in (("https://idp/a", "?"), ("https://idp/a?b=c", "&")):
        url = authorization_url(
            endpoint, made, client_id="argo", scope="openid x", extra=[("p", "q")]
        )

        assert url == endpoint + separator + urlencode(
            {
                "response_type": "code",
                "client_id": "argo",
                "redirect_uri": CALLBACK,
                "scope": "openid x",
                "state": made.state,
                "nonce": made.nonce,
                "code_challenge": challenge.rstrip(b"=").decode(),
                "code_challenge_method": "S256",
                "p": "q",
            }
        )


def test_a_host_chooses_among_the_addresses_of_the_site() -> None:
    sites = Sites("https://a.example", ("https://b.example:8443/x", "https://c.example"))

    assert sites.at("B.example:8443") == "https://b.example:8443/x"
    assert sites.at("b.example") == "https://a.example"
    assert sites.beginning_at("c.example") == [
        "https://c.example",
        "https://a.example",
        "https://b.example:8443/x",
    ]
    assert Sites("https://a.example").beginning_at("x") == ["https://a.example"]


def test_an_address_that_is_long_is_2048_characters() -> None:
    assert MAX_RETURN_URL_LENGTH == 2048


# --- the way back

SITE = "https://argocd.example.org"
ROOTED = "https://argocd.example.org/argo"
PORT = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("given_url", "base", "result"),
    [
        ("", SITE, SITE),
        ("", ROOTED, ROOTED),
        (SITE, SITE, SITE),
        (f"{SITE}/", SITE, f"{SITE}/"),
        (f"{SITE}?x=1", SITE, f"{SITE}?x=1"),
        (f"{SITE}#x", SITE, f"{SITE}#x"),
        ("/applications?proj=a&b=%20c#top", SITE, f"{SITE}/applications?proj=a&b=%20c#top"),
        (f"{SITE}/applications/argocd/app", SITE, f"{SITE}/applications/argocd/app"),
        ("HTTPS://ArgoCD.Example.ORG/x", SITE, "HTTPS://ArgoCD.Example.ORG/x"),
        (f"{SITE}/x?return=https://evil.example", SITE, f"{SITE}/x?return=https://evil.example"),
        (f"{SITE}/a@evil.example", SITE, f"{SITE}/a@evil.example"),
        (f"{SITE}/auth/logins", SITE, f"{SITE}/auth/logins"),
        ("/argo", ROOTED, ROOTED),
        ("/argo/", ROOTED, f"{ROOTED}/"),
        ("/argo/applications", ROOTED, f"{ROOTED}/applications"),
        ("/argo?x=1", ROOTED, f"{ROOTED}?x=1"),
        (f"{PORT}/x", PORT, f"{PORT}/x"),
    ],
)
def test_an_address_of_ours_is_returned_to_as_it_was_given(
    given_url: str, base: str, result: str
) -> None:
    assert safe_return_url(given_url, [base], Paths(urlsplit(base).path)) == result


HOSTILE = [
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "\t//evil.example",
    " //evil.example",
    "https://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "//evil.example\\@argocd.example.org",
    "https://argocd.example.org@evil.example",
    "https://argocd.example.org:443@evil.example",
    "https://argocd.example.org:x@evil.example/",
    "https://user@argocd.example.org/",
    "https://user:password@argocd.example.org/",
    "https://argocd.example.org.evil.example",
    "https://argocd.example.orgevil.example",
    "https://argocd.example.orgX/",
    "https://argocd.example.org\\@evil.example",
    "https://argocd.example.org\\.evil.example",
    "https://argocd.example.org%2eevil.example",
    "https://argocd.example.org%00.evil.example",
    "https://argocd.example.org\x00.evil.example",
    "https://argocd.example.org;evil.example",
    "https://argocd.example.org&evil.example",
    "https://argocd.example.org,evil.example",
    "https://argocd.example.org:8443/",
    "https://argocd.example.org:0443/",
    "https://argocd.example.org./",
    "https://argocd\u3002example.org/",
    "https://argocd.examp\u200ble.org/",
    "https://\u0430rgocd.example.org/",
    "https://argocd.example.org\uff0fevil.example",
    "https://argocd.example.org\t.evil.example",
    "https://argocd.example.org/\texample",
    "https://argocd.example.org/ x",
    "https://argocd.example.org/é",
    "https://argocd.example.org/\\x",
    "http://argocd.example.org/",
    "https//argocd.example.org/",
    "javascript:alert(1)",
    "javascript://argocd.example.org/%0aalert(1)",
    "data:text/html,x",
    "argocd.example.org",
    "applications",
    "?x=1",
    "#x",
    ".",
    "\x00",
    "\ud800",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_an_address_that_any_parser_could_read_as_another_site_is_refused(url: str) -> None:
    with pytest.raises(LoginRefused) as raised:
        safe_return_url(url, [SITE], Paths())

    assert raised.value.reason == "return_url"
    assert "evil" not in str(raised.value)


@pytest.mark.parametrize("base", [SITE, ROOTED])
def test_the_page_of_ones_sessions_may_be_returned_to(base: str) -> None:
    page = f"{base}/_sidecar/session"

    assert safe_return_url(page, [base], Paths(urlsplit(base).path)) == page


@pytest.mark.parametrize(
    "path",
    [
        "/auth/login",
        "/auth/logout",
        "/auth/callback?code=x",
        "/auth/backchannel-logout",
        "/_sidecar",
        "/_sidecar/signed-out",
        "/_sidecar/session/x",
        "//auth/logout",
        "/x/../auth/logout",
        "/x/%2e%2e/auth/logout",
        "/x/%2E%2e/applications",
        "/%61uth/logout",
        "/auth%2flogout",
        "/auth//logout",
        "/auth/./logout",
        "/auth/logout/",
        "/auth/logout#x",
    ],
)
@pytest.mark.parametrize("base", [SITE, ROOTED])
def test_an_endpoint_of_ours_is_never_returned_to_however_it_is_spelled(
    path: str, base: str
) -> None:
    with pytest.raises(LoginRefused):
        safe_return_url(base + path, [base], Paths(urlsplit(base).path))


@pytest.mark.parametrize(
    "url",
    [
        "/argocd-x",
        "/argox/",
        "/",
        "/other",
        "/argo/../other",
        "/argo/%2e%2e/other",
        "/argo/..%2fother",
        "/argo%00",
        "/ARGO/x",
        SITE,
        "/.//argo/x",
        "/x/../argo/x",
        "/argo/..//argo/x",
        "/%61rgo/x",
        f"{SITE}//argo/x",
        f"{SITE}?x=/argo/",
        f"{SITE}#/argo/",
    ],
)
def test_a_neighbour_of_the_root_path_is_refused(url: str) -> None:
    """Argo CD itself compares prefixes, so that /argo matches /argocd-x."""
    with pytest.raises(LoginRefused):
        safe_return_url(url, [ROOTED], Paths("/argo"))


def test_a_root_path_ends_where_it_ends() -> None:
    assert safe_return_url("/argo/x", [f"{SITE}/argo/"], Paths("/argo")) == f"{SITE}/argo/x"
    with pytest.raises(LoginRefused):
        safe_return_url("/argo/x", [f"{SITE}/argoX"], Paths("/argoX"))


def test_a_second_address_of_the_site_counts_but_the_first_one_is_gone_to() -> None:
    bases = [SITE, "https://other.example.org"]

    assert safe_return_url("https://other.example.org/x", bases, Paths())
    assert safe_return_url("/x", bases, Paths()) == f"{SITE}/x"
    assert safe_return_url("", bases, Paths()) == SITE


def test_an_address_longer_than_any_of_ours_is_refused() -> None:
    longest = SITE + "/" + "x" * (MAX_RETURN_URL_LENGTH - len(SITE) - 1)

    assert safe_return_url(longest, [SITE], Paths()) == longest
    with pytest.raises(LoginRefused):
        safe_return_url(longest + "x", [SITE], Paths())


def whatwg_origin(url: str) -> str:
    """Scheme, host and port as a browser reads them, as wrongly as it may: only the authority."""
    text = re.sub(r"[\t\n\r]", "", url.strip("".join(map(chr, range(0x21)))))
    scheme, _, rest = text.replace("\\", "/").partition(":")
    authority = re.split(r"[/?#]", rest.lstrip("/"))[0].rpartition("@")[2]
    return f"{scheme.lower()}://{authority.lower()}"


pieces = st.sampled_from(
    [
        *HOSTILE, "/", "//", "\\", "\t", "\n", "@", ":", "?", "#", ".", "..", "%2f", "%5c", "%40",
        "%09", "%00", "%2e", SITE, ROOTED, PORT, "argocd.example.org", "evil.example", "https:",
        "http:", ":443", ":8080", "argo", "auth/login", "é", "\u3002", "x", "[", "]", "[::1]", ";",
    ]
)  # fmt: skip
spellings = st.lists(pieces, min_size=1, max_size=5).map("".join)
BASES = [SITE, "https://argocd.example.org/argo", PORT]


@properties
@given(st.one_of(spellings, spellings.map(lambda url: SITE + url), st.text(max_size=30)))
def test_no_parser_sees_another_site_in_an_address_that_passed(url: str) -> None:
    try:
        passed = safe_return_url(url, BASES, Paths("/argo"))
    except LoginRefused:
        return

    origins = {origin(base) for base in BASES}
    split = urlsplit(passed)
    assert f"{split.scheme}://{split.netloc}".lower() in origins
    assert split.username is None
    assert str(URL(passed, encoded=True).origin()) in origins
    assert whatwg_origin(passed) in origins
    assert passed.isascii()
    assert passed.isprintable()


@properties
@given(spellings)
def test_what_passed_is_an_address_of_the_upstream_below_its_root(url: str) -> None:
    for given_url in (url, ROOTED + url, ROOTED + quote(url, errors="replace")):
        try:
            passed = safe_return_url(given_url, [ROOTED], Paths("/argo"))
        except LoginRefused:
            continue
        path = clean_path(urlsplit(passed).path)
        assert path is not None
        assert path == "/argo" or path.startswith("/argo/")
        assert Paths("/argo").own(path) is None
