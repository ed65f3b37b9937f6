import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.grant import Sharing
from sidecar.core.provider_profiles import (
    GENERIC,
    PROFILES,
    AssertionAudience,
    ErrorRow,
    FailureClass,
    Provider,
    ProviderProfile,
    SecretPlace,
    Sign,
    matches,
    profile_of,
    recognised,
    speaks_for,
)
from tests.core.examples import properties


def metadata(
    issuer: str, authorization: str, token: str, jwks: str, **more: Any
) -> tuple[str, dict[str, Any]]:
    """An issuer and its metadata; endpoints that start with `/` stand below the issuer."""
    base = issuer.rstrip("/")
    endpoints = {
        "authorization_endpoint": authorization,
        "token_endpoint": token,
        "jwks_uri": jwks,
    }
    full = {name: base + at if at.startswith("/") else at for name, at in endpoints.items()}
    return issuer, {"issuer": issuer, **full, **more}


ENTRA = "https://login.microsoftonline.com/8888-88"
OKTA_MODES = ["query", "fragment", "form_post", "okta_post_message"]
EXAMPLES = {
    "dex": metadata("https://sso.example.org", "/auth", "/token", "/keys"),
    "dex below a path": metadata("https://example.org/id", "/auth", "/token", "/keys"),
    "dex bundled": metadata("https://argocd.example.org/api/dex", "/auth", "/token", "/keys"),
    "dex seen from inside": metadata(
        "https://example.org/dex",
        "https://example.org/dex/auth",
        "http://dex.auth.svc:5556/dex/token",
        "http://dex.auth.svc:5556/dex/keys",
    ),
    "keycloak": metadata(
        "https://sso.example.org/realms/dex",
        "/protocol/openid-connect/auth",
        "/protocol/openid-connect/token",
        "/protocol/openid-connect/certs",
    ),
    "keycloak of old": metadata(
        "https://sso.example.org/auth/realms/main",
        "/protocol/openid-connect/auth",
        "/protocol/openid-connect/token",
        "/protocol/openid-connect/certs",
    ),
    "keycloak seen from inside": metadata(
        "https://sso.example.org/realms/main",
        "/protocol/openid-connect/auth",
        "http://keycloak.sso.svc:8080/realms/main/protocol/openid-connect/token",
        "http://keycloak.sso.svc:8080/realms/main/protocol/openid-connect/certs",
    ),
    "cognito": metadata(
        "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC",
        "https://example.auth.eu-central-1.amazoncognito.com/oauth2/authorize",
        "https://example.auth.eu-central-1.amazoncognito.com/oauth2/token",
        "/.well-known/jwks.json",
    ),
    "google": metadata(
        "https://accounts.google.com",
        "/o/oauth2/v2/auth",
        "https://oauth2.googleapis.com/token",
        "https://www.googleapis.com/oauth2/v3/certs",
    ),
    "okta": metadata(
        "https://example.okta.com",
        "/oauth2/v1/authorize",
        "/oauth2/v1/token",
        "/oauth2/v1/keys",
        response_modes_supported=OKTA_MODES,
    ),
    "okta preview": metadata(
        "https://example.oktapreview.com/oauth2/default", "/v1/authorize", "/v1/token", "/v1/keys"
    ),
    "okta custom domain": metadata(
        "https://login.example.org/oauth2/default",
        "/v1/authorize",
        "/v1/token",
        "/v1/keys",
        response_modes_supported=OKTA_MODES,
    ),
    "auth0": metadata(
        "https://example.eu.auth0.com/", "/authorize", "/oauth/token", "/.well-known/jwks.json"
    ),
    "auth0 custom domain": metadata(
        "https://login.example.org/",
        "/authorize",
        "/oauth/token",
        "/.well-known/jwks.json",
        mfa_challenge_endpoint="https://login.example.org/mfa/challenge",
    ),
    "entra": metadata(
        f"{ENTRA}/v2.0",
        f"{ENTRA}/oauth2/v2.0/authorize",
        f"{ENTRA}/oauth2/v2.0/token",
        f"{ENTRA}/discovery/v2.0/keys",
    ),
    "entra v1": metadata(
        "https://sts.windows.net/8888-88/",
        f"{ENTRA}/oauth2/authorize",
        f"{ENTRA}/oauth2/token",
        f"{ENTRA}/discovery/keys",
        microsoft_multi_refresh_token=True,
    ),
    "entra under another name": metadata(
        "https://login.example.org/8888-88/v2.0",
        "/authorize",
        "/token",
        "/keys2",
        claims_supported=["sub", "iss", "cloud_instance_name", "cloud_graph_host_name"],
    ),
    "gitlab": metadata(
        "https://gitlab.com", "/oauth/authorize", "/oauth/token", "/oauth/discovery/keys"
    ),
    "gitlab self-managed": metadata(
        "https://example.org/git",
        "/oauth/authorize",
        "/oauth/token",
        "/oauth/discovery/keys",
        claims_supported=["iss", "sub", "sub_legacy", "groups", "groups_direct"],
    ),
    "pingfederate": metadata(
        "https://sso.example.org:9031",
        "/as/authorization.oauth2",
        "/as/token.oauth2",
        "/pf/JWKS",
        ping_revoked_sris_endpoint="https://sso.example.org/pf-ws/rest/sessionMgmt/revokedSris",
    ),
    "authentik": metadata(
        "https://sso.example.org/application/o/dex/",
        "https://sso.example.org/application/o/authorize/",
        "https://sso.example.org/application/o/token/",
        "/jwks/",
    ),
    "authentik with one issuer": metadata(
        "https://sso.example.org/",
        "/application/o/authorize/",
        "/application/o/token/",
        "/application/o/argocd/jwks/",
    ),
    "authelia": metadata(
        "https://auth.example.org", "/api/oidc/authorization", "/api/oidc/token", "/jwks.json"
    ),
    "hydra": metadata(
        "https://sso.example.org",
        "/oauth2/auth",
        "/oauth2/token",
        "/.well-known/jwks.json",
        credentials_endpoint_draft_00="https://sso.example.org/credentials",
    ),
    "hydra of old": metadata(
        "https://sso.example.org/", "/oauth2/auth", "/oauth2/token", "/.well-known/jwks.json"
    ),
    "zitadel": metadata(
        "https://example.zitadel.cloud",
        "/oauth/v2/authorize",
        "/oauth/v2/token",
        "/oauth/v2/keys",
        end_session_endpoint="https://example.zitadel.cloud/oidc/v1/end_session",
    ),
    "onelogin": metadata("https://example.onelogin.com/oidc/2", "/auth", "/token", "/certs"),
    "adfs": metadata(
        "https://sts.example.org/adfs",
        "/oauth2/authorize/",
        "/oauth2/token/",
        "/discovery/keys",
        access_token_issuer="http://sts.example.org/adfs/services/trust",
    ),
}
# Each sign alone is enough.
EXAMPLES |= {
    "dex below a path in capitals": metadata("https://example.org/idX", "/auth", "/token", "/keys"),
    "pingfederate by its endpoint": metadata(
        "https://sso.example.org", "/a", "/as/token.oauth2", "/b"
    ),
    "pingfederate by its member": metadata(
        "https://sso.example.org", "/a", "/b", "/c", ping_revoked_sris_endpoint="https://a.example"
    ),
    "hydra by its member": metadata(
        "https://sso.example.org", "/a", "/b", "/c", credentials_endpoint_draft_00="https://a"
    ),
    "adfs by its endpoint": metadata("https://sts.example.org", "/a", "/adfs/oauth2/token", "/b"),
    "adfs by its member": metadata(
        "https://sts.example.org/adfs", "/a", "/b", "/c", access_token_issuer="http://a.example"
    ),
}
OTHERS = {
    "a path of AD FS alone": metadata("https://op.example.org/adfs", "/a", "/b", "/c"),
    "a member of AD FS alone": metadata(
        "https://op.example.org", "/a", "/b", "/c", access_token_issuer="http://a.example"
    ),
    "a claim of GitLab alone": metadata(
        "https://op.example.org", "/a", "/b", "/c", claims_supported=["groups_direct"]
    ),
    "demo": metadata("http://127.0.0.1:5556", "/authorize", "/token", "/jwks"),
    "oidc-provider": metadata("https://op.example.org", "/auth", "/token", "/jwks"),
    "a realm of another product": metadata(
        "https://am.example.org/am/oauth2/realms/root/realms/alpha",
        "/authorize",
        "/access_token",
        "/connect/jwk_uri",
    ),
    "keys of another place": metadata(
        "https://op.example.org", "/oauth2/v0/auth", "/oauth2/v0/token", "/oauth2/v0/keys"
    ),
    "doorkeeper": metadata(
        "https://op.example.org", "/oauth/authorize", "/oauth/token", "/oauth/discovery/keys"
    ),
    "an issuer of another path": metadata(
        "https://op.example.org/index", "/authorize", "/token", "/jwks"
    ),
    "a google of another": metadata(
        "https://accounts.google.com.evil.example", "/authorize", "/token", "/jwks"
    ),
    "an okta of another": metadata(
        "https://evil.example/x.okta.com/", "/authorize", "/token", "/jwks"
    ),
    "an auth0 of another": metadata("https://notauth0.com/", "/authorize", "/token", "/jwks"),
    "lists that are none": metadata(
        "https://op.example.org",
        "/authorize",
        "/token",
        "/jwks",
        response_modes_supported="okta_post_message",
        claims_supported={"cloud_instance_name": True},
    ),
}


@pytest.mark.parametrize(("name", "example"), EXAMPLES.items(), ids=EXAMPLES)
def test_a_provider_is_recognised_by_its_issuer_and_metadata_and_for_no_other(
    name: str, example: tuple[str, dict[str, Any]]
) -> None:
    found = [profile.provider for profile in PROFILES if speaks_for(profile, *example)]

    assert found == [Provider(name.split()[0])]
    assert recognised(*example).provider is found[0]


@pytest.mark.parametrize("example", OTHERS.values(), ids=OTHERS)
def test_what_nothing_speaks_for_is_generic(example: tuple[str, dict[str, Any]]) -> None:
    assert recognised(*example) is GENERIC


@pytest.mark.parametrize("issuer", ["http://[", "", "https://sso.example.org"])
@pytest.mark.parametrize("endpoint", ["http://[", 7, None])
def test_addresses_that_are_none_speak_for_nobody(issuer: str, endpoint: object) -> None:
    said = {"authorization_endpoint": endpoint, "token_endpoint": endpoint, "jwks_uri": endpoint}

    assert recognised(issuer, said) is GENERIC


def test_every_provider_has_an_example() -> None:
    """So that a profile whose signs never fit cannot be added."""
    known = {name.split()[0] for name in EXAMPLES}

    assert known == set(Provider) - {Provider.AUTO, Provider.GENERIC}


@pytest.mark.parametrize(
    ("issuer", "provider"),
    [
        ("https://accounts.google.com", Provider.GOOGLE),
        ("https://argocd.example.org/api/dex", Provider.DEX),
        ("https://argocd.example.org/orchestrator/api/dex", Provider.DEX),
        ("https://dex.example.org", Provider.GENERIC),
        ("https://sso.example.org/realms/dex", Provider.GENERIC),
        ("https://sso.example.org/application/o/dex/", Provider.GENERIC),
        ("https://sso.example.org/realms/main", Provider.GENERIC),
    ],
)
def test_before_the_first_discovery_the_issuer_alone_has_to_tell(
    issuer: str, provider: Provider
) -> None:
    assert recognised(issuer, {}).provider is provider


def test_a_name_gives_its_profile_and_auto_none() -> None:
    assert profile_of(Provider("auto")) is None
    for provider in set(Provider) - {Provider.AUTO}:
        profile = profile_of(provider)
        assert profile is not None
        assert profile.provider is provider


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = sorted(
    {name for _, document in (*EXAMPLES.values(), *OTHERS.values()) for name in document}
)


@properties
@given(
    st.text(max_size=30) | st.sampled_from([issuer for issuer, _ in EXAMPLES.values()]),
    st.dictionaries(
        st.sampled_from(NAMES),
        json_values | st.sampled_from(["https://[", "//", "https://a/token", "x" * 5000]),
    ),
)
def test_no_metadata_makes_recognition_crash(issuer: str, document: dict[str, Any]) -> None:
    assert recognised(issuer, document) in PROFILES


# --- what the table says


def test_only_dex_has_one_grant_for_all_sessions_of_a_user() -> None:
    shared = [each.provider for each in PROFILES if each.sharing is Sharing.PER_USER]

    assert shared == [Provider.DEX]


def test_a_second_use_is_harmless_only_where_that_is_known() -> None:
    windows = {
        each.provider: each.reuse_window_seconds for each in PROFILES if each.reuse_window_seconds
    }

    assert windows == {
        Provider.GOOGLE: math.inf,
        Provider.OKTA: 30.0,
        Provider.ENTRA: math.inf,
    }


def test_no_refresh_narrows_what_was_granted() -> None:
    """`openid` alone costs Okta's answer its refresh token, and the ID token its groups."""
    assert {profile.refresh_scope for profile in PROFILES} == {""}


def test_the_page_names_each_provider_and_says_what_else_there_is_to_know() -> None:
    lines = Path("docs/providers.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    said = {row[1].strip("`"): (row[0], row[-1]) for row in rows if len(row) == 6}

    for profile in PROFILES:
        assert said[profile.provider] == (profile.title, profile.notes)


def test_an_assertion_is_for_the_issuer_but_where_a_provider_wants_another_name() -> None:
    others = {
        each.provider: each.assertion_audience
        for each in PROFILES
        if each.assertion_audience is not AssertionAudience.ISSUER
    }

    assert others == {
        Provider.OKTA: AssertionAudience.ENDPOINT,
        Provider.ENTRA: AssertionAudience.TOKEN_ENDPOINT,
        Provider.PINGFEDERATE: AssertionAudience.TOKEN_ENDPOINT,
        Provider.AUTHELIA: AssertionAudience.TOKEN_ENDPOINT,
        Provider.HYDRA: AssertionAudience.TOKEN_ENDPOINT,
        Provider.ADFS: AssertionAudience.TOKEN_ENDPOINT,
    }


@pytest.mark.parametrize(
    ("scope", "taken"),
    [
        ("federated:id", True),
        ("audience:server:client_id:argo-cd", True),
        ("audience:server:client_id:", False),
        ("federated:ids", False),
        ("offline_access", False),
    ],
)
def test_only_dex_takes_scopes_that_it_does_not_list(scope: str, taken: bool) -> None:
    taking = {
        each.provider
        for each in PROFILES
        if any(matches(pattern, scope) for pattern in each.unlisted_scopes)
    }

    assert taking == ({Provider.DEX} if taken else set())


def test_only_a_dex_may_forget_its_keys_and_tokens_with_a_restart() -> None:
    assert [each.provider for each in PROFILES if each.may_forget] == [Provider.DEX]


def test_a_provider_of_which_no_more_is_said_is_spoken_to_as_it_is_written() -> None:
    plain = ProviderProfile(Provider.GENERIC, "Plain")

    assert (plain.signs, plain.errors, plain.authorization, plain.unlisted_scopes) == ((),) * 4
    assert (plain.reuse_window_seconds, plain.refresh_scope, plain.notes) == (0.0, "", "")
    assert plain.sharing is Sharing.PER_SESSION
    assert plain.secret_place is SecretPlace.LISTED
    assert plain.may_forget is False
    row = ErrorRow("invalid_grant", FailureClass.OVER)
    assert (row.statuses, row.description) == ((), None)
    sign = Sign()
    assert (sign.paths, sign.members, sign.listed) == ((), (), ())


def test_a_sign_that_asks_for_nothing_is_shown_by_whatever_issuer() -> None:
    anybody = ProviderProfile(Provider.GENERIC, "Anybody", signs=(Sign(),))

    for issuer in ("", "https://sso.example.org", "two\nlines"):
        assert speaks_for(anybody, issuer, {})
    assert not speaks_for(ProviderProfile(Provider.GENERIC, "Nobody"), "https://a.example", {})


@pytest.mark.parametrize("endpoint", [None, 7, "http://[", "https://a.example"])
def test_an_endpoint_that_is_not_there_has_no_path(endpoint: object) -> None:
    path = ProviderProfile(
        Provider.GENERIC, "Any path", signs=(Sign(paths=(("token_endpoint", ".+"),)),)
    )

    assert not speaks_for(path, "https://a.example", {"token_endpoint": endpoint})


def test_a_pattern_fits_the_whole_of_a_text_whatever_its_lines() -> None:
    assert matches("a.*z", "a\nz")
    assert not matches("a", "ab")
    assert not matches("b", "ab")


# So much of an answer of its own as ends a grant, or says that an operator has to mend something.
@pytest.mark.parametrize(
    ("provider", "error", "statuses", "description", "meaning"),
    [
        (Provider.DEX, "invalid_request", (400,), "Refresh token expired.", FailureClass.OVER),
        (Provider.DEX, "invalid_request", (500,), "", FailureClass.PASSING_ONLY_HERE),
        (Provider.GENERIC, "invalid_request", (400,), "Refresh token expired", FailureClass.OVER),
        (Provider.KEYCLOAK, "invalid_grant", (400,), "Invalid token issuer. Expected 'x'",
         FailureClass.OPERATOR),
        (Provider.GOOGLE, "deleted_client", (), None, FailureClass.OPERATOR),
        (Provider.GOOGLE, "disabled_client", (), None, FailureClass.OPERATOR),
        (Provider.AUTH0, "mfa_required", (), None, FailureClass.OPERATOR),
        (Provider.AUTHELIA, "token_inactive", (401,), None, FailureClass.OVER),
        (Provider.HYDRA, "token_inactive", (401,), None, FailureClass.OVER),
    ],
)  # fmt: skip
def test_an_answer_of_a_providers_own_means_what_it_says(
    provider: Provider,
    error: str,
    statuses: tuple[int, ...],
    description: str | None,
    meaning: FailureClass,
) -> None:
    profile = profile_of(provider)
    assert profile

    found = [
        row.failure_class
        for row in profile.errors
        if (row.error, row.statuses) == (error, statuses)
        and (
            row.description is description
            if row.description is None or description is None
            else matches(row.description, description)
        )
    ]
    assert found == [meaning]


def test_only_google_has_parameters_of_its_own() -> None:
    given = {each.provider: each.authorization for each in PROFILES if each.authorization}

    assert given == {Provider.GOOGLE: (("access_type", "offline"), ("prompt", "consent"))}


def test_only_ad_fs_wants_the_secret_in_the_body_whatever_it_lists() -> None:
    body = [each.provider for each in PROFILES if each.secret_place is SecretPlace.BODY]

    assert body == [Provider.ADFS]


def test_a_profile_is_data_that_nobody_changes() -> None:
    for profile in PROFILES:
        hash(profile)  # nothing in it can be changed
        assert not any(callable(getattr(profile, field.name)) for field in fields(ProviderProfile))


def test_every_row_that_ends_a_grant_says_at_which_status() -> None:
    """A word of one provider's own is no reason to end logins by any answer that has it."""
    for profile in PROFILES:
        for row in profile.errors:
            assert row.failure_class is not FailureClass.OVER or row.statuses
