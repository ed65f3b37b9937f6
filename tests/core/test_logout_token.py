"""Logout tokens: every check of Back-Channel Logout 1.0 section 2.6, and what is let through."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.core.id_token import SigningKey
from sidecar.core.logout_token import MAX_LENGTH, REMEMBERED_SECONDS, verify
from sidecar.errors import TokenInvalid

ISSUER, CLIENT, NOW = "https://idp.example.org", "argo-cd", 1_800_000_000.0
EVENT = "http://schemas.openid.net/event/backchannel-logout"
LEEWAY = 300  # of clocks, in seconds
OLDEST = 600
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "iat": int(NOW),
    "exp": int(NOW) + 120,
    "jti": "one",
    "events": {EVENT: {}},
    "sub": "ada",
    "sid": "a-session",
}
MISSING = object()


def signed(key: rsa.RSAPrivateKey, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A logout token with these claims changed, or left out."""
    claims = {n: v for n, v in {**CLAIMS, **changes}.items() if v is not MISSING}
    return jwt.encode(claims, key, "RS256", headers={"typ": "logout+jwt", **(header or {})})


def keys(key: rsa.RSAPrivateKey) -> list[SigningKey]:
    return [SigningKey(None, None, key.public_key())]


def failed(token: str, key: rsa.RSAPrivateKey, now: float = NOW) -> str:
    """The check that a token fails, "" for none."""
    try:
        verify(token, keys(key), issuer=ISSUER, client_id=CLIENT, now=now)
    except TokenInvalid as invalid:
        return invalid.check
    return ""


def test_a_logout_token_names_subject_and_session(signing_key: rsa.RSAPrivateKey) -> None:
    token = verify(signed(signing_key), keys(signing_key), issuer=ISSUER, client_id=CLIENT, now=NOW)

    assert (token.subject, token.provider_sid) == ("ada", "a-session")
    assert token.issuer == ISSUER
    # An earlier release, which runs beside this one, has noted it by the same name.
    assert token.hash == ("65f43fe500164faa8eb4547a8da3d3acf287f6c63be92707fcf7a4665aa70c20")


def test_what_a_logout_token_leaves_out_is_empty(signing_key: rsa.RSAPrivateKey) -> None:
    absent: list[tuple[dict[str, Any], tuple[str, str]]] = [
        ({"sid": MISSING}, ("ada", "")),
        ({"sub": MISSING}, ("", "a-session")),
    ]
    for changes, rest in absent:
        token = verify(
            signed(signing_key, **changes),
            keys(signing_key),
            issuer=ISSUER,
            client_id=CLIENT,
            now=NOW,
        )
        assert (token.subject, token.provider_sid) == rest


def test_a_logout_token_is_sixteen_kibibytes_long_at_most() -> None:
    assert MAX_LENGTH == 16_384


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"sid": MISSING}, id="sub-only"),
        pytest.param({"sub": MISSING}, id="sid-only"),
        pytest.param({"aud": ["another", CLIENT]}, id="one-of-several-audiences"),
        pytest.param({"trace_id": 1}, id="claims-of-its-own"),
        pytest.param({"nbf": int(NOW) + LEEWAY}, id="nbf-within-the-leeway"),
        pytest.param({"exp": int(NOW) - LEEWAY + 1}, id="exp-within-the-leeway"),
        pytest.param({"iat": int(NOW) + LEEWAY}, id="iat-within-the-leeway"),
        pytest.param({"iat": int(NOW) - OLDEST - LEEWAY + 1}, id="as-old-as-any"),
        pytest.param({"sub": "x" * 255, "sid": "y" * 255, "jti": "z" * 255}, id="long-texts"),
        pytest.param({"sub": "x", "sid": "y", "jti": "z"}, id="short-texts"),
        pytest.param({"events": {EVENT: {}, "urn:another": {}}}, id="another-event-beside"),
    ],
)
def test_what_the_specification_leaves_free_is_taken(
    signing_key: rsa.RSAPrivateKey, changes: dict[str, Any]
) -> None:
    assert failed(signed(signing_key, **changes), signing_key) == ""


@pytest.mark.parametrize("typ", ["logout+jwt", "LOGOUT+JWT", "application/logout+jwt", "JWT", None])
def test_a_logout_token_may_call_itself_that_or_a_jwt_or_nothing(
    signing_key: rsa.RSAPrivateKey, typ: str | None
) -> None:
    assert failed(signed(signing_key, {"typ": typ}), signing_key) == ""


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"iss": "https://evil.example.org"}, "iss"),
        ({"iss": MISSING}, "iss"),
        ({"aud": "another"}, "aud"),
        ({"aud": MISSING}, "aud"),
        ({"aud": [[CLIENT]]}, "aud"),
        ({"iat": MISSING}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": "1800000000"}, "iat"),
        ({"iat": int(NOW) + LEEWAY + 1}, "iat"),
        ({"iat": int(NOW) - OLDEST - LEEWAY}, "iat"),
        ({"exp": MISSING}, "exp"),
        ({"exp": 1e300}, "exp"),
        ({"exp": int(NOW) - LEEWAY}, "exp"),
        ({"nbf": int(NOW) + LEEWAY + 1}, "nbf"),
        ({"nbf": "1800000000"}, "nbf"),
        ({"events": MISSING}, "events"),
        ({"events": {}}, "events"),
        ({"events": [EVENT]}, "events"),
        ({"events": EVENT}, "events"),
        ({"events": {EVENT: "yes"}}, "events"),
        ({"events": {EVENT: None}}, "events"),
        ({"nonce": "n"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"sub": MISSING, "sid": MISSING}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"sid": ["a-session"]}, "sid"),
        ({"sid": ""}, "sid"),
        ({"jti": MISSING}, "jti"),
        ({"jti": 1}, "jti"),
        ({"jti": "x" * 256}, "jti"),
        ({"jti": ""}, "jti"),
    ],
)
def test_a_token_that_fails_a_check_logs_nobody_out(
    signing_key: rsa.RSAPrivateKey, changes: dict[str, Any], check: str
) -> None:
    assert failed(signed(signing_key, **changes), signing_key) == check


@pytest.mark.parametrize("typ", ["at+jwt", "id_token", "", 7, "secevent+jwt"])
def test_a_token_of_another_type_logs_nobody_out(
    signing_key: rsa.RSAPrivateKey, typ: object
) -> None:
    # PyJWT writes no `typ` that is no text.
    _, payload, _ = signed(signing_key).split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "typ": typ}).encode())
    signing_input = f"{header.rstrip(b'=').decode()}.{payload}"
    signature = jwt.get_algorithm_by_name("RS256").sign(signing_input.encode(), signing_key)
    token = f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    assert failed(token, signing_key) == "typ"


def test_the_provider_may_call_itself_by_an_alias_that_is_set(
    signing_key: rsa.RSAPrivateKey,
) -> None:
    alias = "https://login.example.org"
    token = signed(signing_key, iss=alias)

    found = verify(
        token, keys(signing_key), issuer=ISSUER, client_id=CLIENT, now=NOW, aliases=(alias,)
    )

    assert found.issuer == alias
    assert failed(token, signing_key) == "iss"


def test_the_provider_may_name_the_tenant_that_the_token_is_of(
    signing_key: rsa.RSAPrivateKey,
) -> None:
    tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    alias = "https://login.example.org/{tenantid}"
    token = signed(signing_key, iss=alias.format(tenantid=tenant), tid=tenant)

    found = verify(
        token, keys(signing_key), issuer=ISSUER, client_id=CLIENT, now=NOW, aliases=(alias,)
    )

    assert found.issuer == f"https://login.example.org/{tenant}"


def test_only_the_providers_keys_count(signing_key: rsa.RSAPrivateKey) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    assert failed(signed(other), signing_key) == "signature"
    head, _, _ = signed(signing_key).rpartition(".")
    assert failed(f"{head}.", signing_key) == "signature"


@pytest.mark.parametrize("alg", ["none", "HS256", "hs256", "RS1"])
def test_an_algorithm_that_no_provider_signs_with_is_refused_before_any_key(
    signing_key: rsa.RSAPrivateKey, alg: str
) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": alg, "typ": "logout+jwt"}).encode())
    _, payload, signature = signed(signing_key).split(".")
    token = f"{header.rstrip(b'=').decode()}.{payload}.{signature}"

    assert failed(token, signing_key) == "alg"


def test_each_jti_has_a_name_of_its_own_for_as_long_as_its_token_is_taken(
    signing_key: rsa.RSAPrivateKey,
) -> None:
    def name(**changes: Any) -> str:
        token = signed(signing_key, **changes)
        found = verify(token, keys(signing_key), issuer=ISSUER, client_id=CLIENT, now=NOW)
        return found.hash

    assert name() == name(sub="bob")
    assert name() != name(jti="two")
    first_at, last_at = NOW - LEEWAY, NOW - LEEWAY + REMEMBERED_SECONDS
    token = signed(signing_key, exp=10**10)
    assert failed(token, signing_key, first_at - 1) == failed(token, signing_key, last_at) == "iat"
    assert failed(token, signing_key, first_at) == failed(token, signing_key, last_at - 1) == ""
