import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from sidecar.core.client_assertion import (
    ALGORITHMS,
    AssertionKey,
    algorithm,
    read_assertion_key,
)
from sidecar.core.client_authentication import (
    METHODS,
    WITH_SECRET,
    ClientAuth,
    Credentials,
    Verifier,
    authenticated,
    method_used,
)
from sidecar.core.provider_profiles import (
    GENERIC,
    PROFILES,
    AssertionAudience,
    Provider,
    SecretPlace,
    profile_of,
)

NOW = 1_800_000_000.5
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OP = Verifier(
    issuer="https://idp.example",
    token_endpoint="https://idp.example/token",
    methods=("client_secret_basic", "client_secret_post"),
    algorithms=(),
    profile=GENERIC,
    endpoint="https://idp.example/revoke",
)


def pem(key: PrivateKeyTypes, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def shown(
    credentials: Credentials, verifier: Verifier = OP, *, client_id: str = "argo-cd"
) -> tuple[dict[str, str], dict[str, str]]:
    """The headers, and the form by name; each name comes once."""
    headers, body = authenticated(
        "grant_type=refresh_token", client_id, credentials, verifier, now=NOW, jti=lambda: "once"
    )
    form = parse_qs(body, keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in form.values())
    return headers, {name: values[0] for name, values in form.items()}


def in_header(headers: dict[str, str]) -> str:
    return base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()


def assertion_of(credentials: Credentials, verifier: Verifier = OP) -> dict[str, Any]:
    """The claims of the assertion, unverified."""
    _, form = shown(credentials, verifier)
    claims: dict[str, Any] = jwt.decode(
        form["client_assertion"], options={"verify_signature": False}
    )
    return claims


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (ClientAuth.BASIC, "an+id%3A1:a%25b%2Bc%C3%A9"),
        (ClientAuth.BASIC_RAW, "an id:1:a%b+cé"),
    ],
)
def test_a_header_is_form_encoded_unless_the_provider_wants_it_raw(
    method: ClientAuth, expected: str
) -> None:
    headers, form = shown(Credentials(method, "a%b+cé"), client_id="an id:1")

    assert in_header(headers) == expected
    assert set(form) == {"grant_type"}


def test_a_secret_in_the_body_is_nowhere_else() -> None:
    headers, form = shown(Credentials(ClientAuth.POST, "a%b+cé"))

    assert (form["client_id"], form["client_secret"]) == ("argo-cd", "a%b+cé")
    assert "Authorization" not in headers


def test_a_public_client_shows_its_id() -> None:
    headers, form = shown(Credentials(ClientAuth.NONE, "is not shown"))

    assert form == {"grant_type": "refresh_token", "client_id": "argo-cd"}
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("secret", "methods", "place", "expected"),
    [
        ("s", ["client_secret_basic", "client_secret_post"], SecretPlace.LISTED, ClientAuth.BASIC),
        ("s", ["client_secret_post"], SecretPlace.LISTED, ClientAuth.POST),
        ("s", ["client_secret_basic"], SecretPlace.BODY, ClientAuth.POST),
        ("", ["client_secret_basic"], SecretPlace.LISTED, ClientAuth.NONE),
    ],
)
def test_auto_goes_by_the_secret_the_metadata_and_the_profile(
    secret: str, methods: list[str], place: SecretPlace, expected: ClientAuth
) -> None:
    verifier = replace(OP, methods=methods, profile=replace(GENERIC, secret_place=place))

    assert method_used(Credentials(secret=secret), verifier) is expected


@pytest.mark.parametrize("method", [each for each in ClientAuth if each is not ClientAuth.AUTO])
def test_a_method_that_was_chosen_is_used_whatever_is_listed(method: ClientAuth) -> None:
    assert method_used(Credentials(method, "s"), replace(OP, methods=())) is method


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")], ids=["RS256", "PS256", "ES256"]
)
def test_an_assertion_is_signed_short_and_for_this_provider(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, alg: str
) -> None:
    credentials = Credentials(
        ClientAuth.PRIVATE_KEY_JWT, key=read_assertion_key(pem(key), kid="first", alg=alg)
    )

    headers, form = shown(credentials)

    assertion = form["client_assertion"]
    claims = jwt.decode(
        assertion, key.public_key(), algorithms=[alg],
        audience=OP.issuer, options={"verify_iat": False},
    )  # fmt: skip
    assert claims == {
        "iss": "argo-cd",
        "sub": "argo-cd",
        "aud": OP.issuer,
        "iat": int(NOW),
        "exp": int(NOW) + 60,
        "jti": "once",
    }
    assert jwt.get_unverified_header(assertion) == {"alg": alg, "kid": "first", "typ": "JWT"}
    assert form["client_assertion_type"].endswith(":client-assertion-type:jwt-bearer")
    assert form["client_id"] == "argo-cd"
    assert "Authorization" not in headers


def test_a_pods_token_goes_as_it_is() -> None:
    headers, form = shown(Credentials(ClientAuth.WORKLOAD_IDENTITY, assertion="a.pods.token"))

    assert form["client_assertion"] == "a.pods.token"
    assert (form["client_id"], "Authorization" in headers) == ("argo-cd", False)


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        (AssertionAudience.ISSUER, OP.issuer),
        (AssertionAudience.TOKEN_ENDPOINT, OP.token_endpoint),
        (AssertionAudience.ENDPOINT, OP.endpoint),
    ],
)
def test_the_profile_says_for_whom_an_assertion_is_and_a_setting_wins(
    audience: AssertionAudience, expected: str
) -> None:
    credentials = Credentials(ClientAuth.PRIVATE_KEY_JWT, key=read_assertion_key(pem(EC)))
    verifier = replace(OP, profile=replace(GENERIC, assertion_audience=audience))

    assert assertion_of(credentials, verifier)["aud"] == expected
    assert assertion_of(replace(credentials, audience="https://a"), verifier)["aud"] == "https://a"


def test_only_these_providers_want_another_audience_than_the_issuer() -> None:
    others = {
        each.provider: each.assertion_audience
        for each in PROFILES
        if each.assertion_audience is not AssertionAudience.ISSUER
    }

    token_endpoint = AssertionAudience.TOKEN_ENDPOINT
    assert others == {
        Provider.OKTA: AssertionAudience.ENDPOINT,
        Provider.ENTRA: token_endpoint,
        Provider.PINGFEDERATE: token_endpoint,
        Provider.AUTHELIA: token_endpoint,
        Provider.HYDRA: token_endpoint,
        Provider.ADFS: token_endpoint,
    }
    assert profile_of(Provider.AUTH0) is not None


@pytest.mark.parametrize(
    ("taken", "expected"),
    [((), "RS256"), (("RS256", "PS256"), "RS256"), (("PS256", "ES256"), "PS256")],
)
def test_an_rsa_key_signs_by_what_the_provider_takes(taken: tuple[str, ...], expected: str) -> None:
    assert algorithm(read_assertion_key(pem(RSA)), taken) == expected


def test_a_jwk_names_itself_and_a_setting_wins() -> None:
    jwk = json.dumps({**json.loads(RSAAlgorithm.to_jwk(RSA)), "kid": "its own", "alg": "PS256"})

    own, set_so = read_assertion_key(jwk), read_assertion_key(jwk, kid="another", alg="RS256")

    assert (own.kid, algorithm(own, ())) == ("its own", "PS256")
    assert (set_so.kid, algorithm(set_so, ())) == ("another", "RS256")


def test_a_certificate_beside_the_key_is_named_as_entra_wants_it() -> None:
    text, digest = with_certificate()
    credentials = Credentials(ClientAuth.PRIVATE_KEY_JWT, key=read_assertion_key(text))

    _, form = shown(credentials)

    header = jwt.get_unverified_header(form["client_assertion"])
    assert header == {"alg": "PS256", "typ": "JWT", "x5t#S256": digest}


def with_certificate() -> tuple[str, str]:
    """A key and its certificate in one text, and the certificate's thumbprint."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "argo-cd")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(RSA.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(RSA, SHA256())
    )
    digest = sha256(certificate.public_bytes(Encoding.DER)).digest()
    text = certificate.public_bytes(Encoding.PEM).decode() + pem(RSA)
    return text, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [pem(RSA), pem(RSA, PrivateFormat.TraditionalOpenSSL), pem(EC), ECAlgorithm.to_jwk(EC)],
    ids=["pkcs8", "pkcs1", "ec", "jwk"],
)
def test_keys_are_read_as_they_are_usually_written(text: str) -> None:
    assert isinstance(read_assertion_key(text.strip()), AssertionKey)


_MEND = "Give a private key for signing as PEM, not encrypted, or as a JWK: RSA, or EC with P-256"
UNUSABLE: dict[str, Callable[[], str]] = {
    "no key": lambda: "hunter2",
    "no JSON": lambda: "{hunter2",
    "no object": lambda: "{}",
    "nearly": lambda: pem(rsa.generate_private_key(public_exponent=65537, key_size=2047)),
    "signs otherwise": lambda: pem(ed25519.Ed25519PrivateKey.generate()),
    "public": lambda: (
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    ),
    "public JWK": lambda: str(RSAAlgorithm.to_jwk(RSA.public_key())),
    "encrypted": lambda: RSA.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")
    ).decode(),
    "short": lambda: pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
    "curve": lambda: pem(ec.generate_private_key(ec.SECP384R1())),
    "symmetric": lambda: json.dumps({"kty": "oct", "k": "aHVudGVyMg"}),
    "certificate": lambda: (
        pem(RSA) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    ),
}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no key", f"has no private key that can be read. {_MEND}"),
        ("no JSON", f"is not JSON. {_MEND}"),
        ("no object", f"has no private key that can be read. {_MEND}"),
        ("public", f"has no private key that can be read. {_MEND}"),
        ("public JWK", f"has no private key that can sign. {_MEND}"),
        ("encrypted", f"has no private key that can be read. {_MEND}"),
        ("short", f"has an RSA key of less than 2048 bits. {_MEND}"),
        ("nearly", f"has an RSA key of less than 2048 bits. {_MEND}"),
        ("curve", f"has an EC key with another curve than P-256. {_MEND}"),
        ("symmetric", f"has no private key that can sign. {_MEND}"),
        ("signs otherwise", f"has no private key that can sign. {_MEND}"),
        ("certificate", "has a certificate that cannot be read. Correct it"),
    ],
)
def test_what_cannot_sign_is_said_without_showing_it(case: str, said: str) -> None:
    text = UNUSABLE[case]()

    with pytest.raises(ValueError, match=r"^(has|is) ") as refused:
        read_assertion_key(text)

    assert str(refused.value) == said
    assert text[40:60] not in str(refused.value) or not text[40:60]
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("key", "alg"), [(RSA, "ES256"), (EC, "RS256"), (RSA, "S256")])
def test_a_key_and_an_algorithm_that_do_not_fit_are_refused(key: PrivateKeyTypes, alg: str) -> None:
    with pytest.raises(ValueError, match="cannot sign by"):
        read_assertion_key(pem(key), alg=alg)
    jwk = {**json.loads(RSAAlgorithm.to_jwk(RSA)), "alg": "RSA-OAEP"}
    with pytest.raises(ValueError, match="cannot sign by"):
        read_assertion_key(json.dumps(jwk))


def test_credentials_print_nothing_that_is_secret() -> None:
    key = read_assertion_key(pem(RSA))

    printed = repr(Credentials(ClientAuth.AUTO, "hunter2", key, "a.pods.token"))

    assert "hunter2" not in printed
    assert "pods" not in printed
    assert "PRIVATE" not in printed
    assert "RSAKey" not in printed


def test_a_form_and_how_its_answer_is_to_be_written_are_said() -> None:
    headers, _ = shown(Credentials(ClientAuth.BASIC, "s"))

    assert headers == {
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
        "Authorization": "Basic YXJnby1jZDpz",
    }
    assert shown(Credentials(ClientAuth.WORKLOAD_IDENTITY, assertion="a.b.c"))[1] == {
        "grant_type": "refresh_token",
        "client_id": "argo-cd",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "a.b.c",
    }


def test_an_algorithm_that_does_not_fit_is_shown_in_short() -> None:
    with pytest.raises(ValueError, match="cannot sign") as of_rsa:
        read_assertion_key(pem(RSA), alg="x" * 30)
    with pytest.raises(ValueError, match="cannot sign") as of_ec:
        read_assertion_key(pem(EC), alg="RS256")

    assert str(of_rsa.value) == (
        f"has a key that cannot sign by {'x' * 20!r}, but by RS256 or PS256. Correct it"
    )
    assert str(of_ec.value) == "has a key that cannot sign by 'RS256', but by ES256. Correct it"


def test_what_is_not_said_of_credentials_and_keys_is_nothing() -> None:
    nothing = Credentials()
    key = read_assertion_key(pem(EC))

    assert nothing == Credentials(ClientAuth.AUTO, "", None, "", "")
    assert replace(OP, endpoint="") == Verifier(
        OP.issuer, OP.token_endpoint, OP.methods, OP.algorithms, OP.profile
    )
    assert (key.alg, key.kid, key.x5t_s256) == ("", "", "")
    assert AssertionKey(key.key) == key
    assert repr(key) == "AssertionKey(alg='', kid='', x5t_s256='')"
    assert algorithm(key, ()) == "ES256"


def test_without_an_endpoint_of_its_own_an_assertion_is_for_the_token_endpoint() -> None:
    credentials = Credentials(ClientAuth.PRIVATE_KEY_JWT, key=read_assertion_key(pem(EC)))
    profile = replace(GENERIC, assertion_audience=AssertionAudience.ENDPOINT)

    audience = assertion_of(credentials, replace(OP, profile=profile, endpoint=""))["aud"]

    assert audience == OP.token_endpoint


def test_a_provider_that_takes_both_ways_of_rsa_gets_the_usual_one() -> None:
    key = read_assertion_key(pem(RSA))

    assert algorithm(key, ("PS256", "RS256")) == "RS256"
    assert algorithm(key, ("ES256",)) == "RS256"
    assert algorithm(replace(key, x5t_s256="a certificate's"), ("RS256",)) == "PS256"


def test_the_ways_are_called_what_settings_and_metadata_call_them() -> None:
    assert [each.value for each in ClientAuth] == [
        "auto",
        "basic",
        "basic-raw",
        "post",
        "private-key-jwt",
        "workload-identity",
        "none",
    ]
    assert METHODS == {
        ClientAuth.BASIC: "client_secret_basic",
        ClientAuth.BASIC_RAW: "client_secret_basic",
        ClientAuth.POST: "client_secret_post",
        ClientAuth.PRIVATE_KEY_JWT: "private_key_jwt",
        ClientAuth.WORKLOAD_IDENTITY: "private_key_jwt",
        ClientAuth.NONE: "none",
    }
    assert set(WITH_SECRET) == {ClientAuth.BASIC, ClientAuth.BASIC_RAW, ClientAuth.POST}
    assert set(ALGORITHMS) == {"RS256", "PS256", "ES256"}


def test_what_the_provider_lists_decides_where_nothing_is_chosen() -> None:
    headers, _ = shown(Credentials(secret="s"))
    key = read_assertion_key(pem(RSA))

    _, form = shown(
        Credentials(ClientAuth.PRIVATE_KEY_JWT, key=key), replace(OP, algorithms=("PS256",))
    )

    assert in_header(headers) == "argo-cd:s"
    assert jwt.get_unverified_header(form["client_assertion"])["alg"] == "PS256"
