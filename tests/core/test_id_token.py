import base64
import hashlib
import hmac
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from sidecar.core.id_token import (
    Expected,
    IdTokenClaims,
    SigningKey,
    key_id,
    read_keys,
    verify,
)
from sidecar.core.session import user_tag
from sidecar.errors import TokenInvalid
from tests.core.examples import properties

ISSUER = "https://idp.example.org"
NOW = 1500.0
CLAIMS = {
    "iss": ISSUER,
    "aud": "argocd",
    "sub": "alice",
    "iat": 1000,
    "exp": 2000,
    "nonce": "nonce-1",
}
LOGIN = Expected(ISSUER, "argocd", access_token="access-1", nonce="nonce-1")
REFRESH = Expected(ISSUER, "argocd", access_token="access-1", nonce="nonce-1", subject="alice")


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


RSA_KEYS = {
    name: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for name in ("first", "other")
}
EC_KEYS = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
}
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def rsa_key(name: str = "first") -> rsa.RSAPrivateKey:
    return RSA_KEYS[name]


def ec_key(curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    return EC_KEYS[curve]


def ed_key() -> ed25519.Ed25519PrivateKey:
    return ED_KEY


def signing_key(
    name: str = "first", *, kid: str | None = None, alg: str | None = "RS256"
) -> SigningKey:
    return SigningKey(kid, alg, rsa_key(name).public_key())


def changed(**changes: Any) -> dict[str, Any]:
    """The claims with some changed; None takes one away."""
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}


def token(*, header: dict[str, Any] | None = None, name: str = "first", **changes: Any) -> str:
    return jwt.encode(changed(**changes), rsa_key(name), algorithm="RS256", headers=header)


def signed(header: Any, payload: bytes) -> str:
    """A token with any header and payload, with a good RS256 signature."""
    text = f"{base64url(json.dumps(header).encode())}.{base64url(payload)}"
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(text.encode(), rsa_key())
    return f"{text}.{base64url(signature)}"


def refused(
    id_token: str, expected: Expected = LOGIN, *, keys: list[SigningKey] | None = None
) -> TokenInvalid:
    with pytest.raises(TokenInvalid) as raised:
        verify(id_token, [signing_key()] if keys is None else keys, expected, now=NOW)
    return raised.value


def accepted(
    id_token: str, expected: Expected = LOGIN, *, keys: list[SigningKey] | None = None
) -> IdTokenClaims:
    return verify(id_token, [signing_key()] if keys is None else keys, expected, now=NOW)


def half_hash(access_token: str, digest: str = "sha256") -> str:
    whole = hashlib.new(digest, access_token.encode()).digest()
    return base64url(whole[: len(whole) // 2])


# --- what is accepted


def test_a_good_token_gives_the_claims_that_are_acted_on() -> None:
    sid = "x" * 255

    claims = accepted(token(sid=sid, groups=["ops"]))

    assert claims == IdTokenClaims(ISSUER, "alice", 1000.0, 2000.0, sid, "nonce-1")


@pytest.mark.parametrize(
    ("algorithm", "key", "to_jwk"),
    [
        ("RS256", rsa_key, RSAAlgorithm.to_jwk),
        ("RS384", rsa_key, RSAAlgorithm.to_jwk),
        ("RS512", rsa_key, RSAAlgorithm.to_jwk),
        ("PS256", rsa_key, RSAAlgorithm.to_jwk),
        ("PS384", rsa_key, RSAAlgorithm.to_jwk),
        ("PS512", rsa_key, RSAAlgorithm.to_jwk),
        ("ES256", ec_key, ECAlgorithm.to_jwk),
        ("ES384", lambda: ec_key("P-384"), ECAlgorithm.to_jwk),
        ("ES512", lambda: ec_key("P-521"), ECAlgorithm.to_jwk),
        ("EdDSA", ed_key, OKPAlgorithm.to_jwk),
    ],
)
@pytest.mark.parametrize("states_alg", [True, False], ids=["alg", "no-alg"])
def test_each_kind_of_key_is_read_from_a_jwk_set_and_verifies(
    algorithm: str, key: Callable[[], Any], to_jwk: Callable[[Any], str], states_alg: bool
) -> None:
    jwk = json.loads(to_jwk(key().public_key())) | {"kid": "1", "use": "sig"}
    if states_alg:
        jwk["alg"] = algorithm
    id_token = jwt.encode(dict(CLAIMS), key(), algorithm=algorithm)

    claims = accepted(id_token, keys=read_keys({"keys": [jwk]}))

    assert claims.subject == "alice"


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_signing_key_may_be_any_of_several_of_all_kinds(position: int) -> None:
    keys = [
        SigningKey("ec", None, ec_key().public_key()),
        SigningKey("ed", None, ed_key().public_key()),
        signing_key("other", alg=None),
    ]
    keys.insert(position, signing_key())

    assert accepted(token(), keys=keys).subject == "alice"


def test_a_key_of_another_algorithm_does_not_stop_the_search() -> None:
    keys = [signing_key("other", alg="PS256"), signing_key()]

    assert accepted(token(), keys=keys).subject == "alice"


def test_a_providers_short_key_is_no_matter_of_ours() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        id_token = jwt.encode(dict(CLAIMS), short, algorithm="RS256")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        claims = accepted(id_token, keys=[SigningKey(None, None, short.public_key())])

    assert claims.subject == "alice"


def test_an_access_tokens_hash_may_end_with_any_letter() -> None:
    """Half of SHA-384 has no padding behind it, which could hide what is cut off."""
    name = next(f"{n}" for n in range(9999) if half_hash(f"{n}", "sha384").endswith("X"))
    id_token = jwt.encode(changed(at_hash=half_hash(name, "sha384")), rsa_key(), algorithm="RS384")

    claims = accepted(id_token, replace(LOGIN, access_token=name), keys=[signing_key(alg="RS384")])

    assert claims.subject == "alice"


def test_two_keys_without_ids_are_tried_in_turn() -> None:
    keys = [signing_key("other"), signing_key()]

    assert accepted(token(), keys=keys).subject == "alice"


@pytest.mark.parametrize("aud", ["argocd", ["argocd"], ["argocd", "other"], ["other", "argocd"]])
def test_the_audience_may_be_one_of_several(aud: object) -> None:
    assert accepted(token(aud=aud)).subject == "alice"


@pytest.mark.parametrize("aud", ["argocd", ["argocd"], ["argocd", "other"]])
def test_the_authorized_party_may_be_us(aud: object) -> None:
    assert accepted(token(aud=aud, azp="argocd")).subject == "alice"


@pytest.mark.parametrize("at_hash", [None, half_hash("access-1")])
def test_the_access_tokens_hash_may_be_absent_or_right(at_hash: str | None) -> None:
    assert accepted(token(at_hash=at_hash)).subject == "alice"


@pytest.mark.parametrize(
    ("algorithm", "key", "digest"),
    [
        ("RS512", rsa_key, "sha512"),
        ("PS384", rsa_key, "sha384"),
        ("ES256", ec_key, "sha256"),
        ("EdDSA", ed_key, "sha512"),
    ],
)
def test_the_hash_goes_by_the_tokens_own_algorithm(
    algorithm: str, key: Callable[[], Any], digest: str
) -> None:
    claims = changed(at_hash=half_hash("access-1", digest))
    id_token = jwt.encode(claims, key(), algorithm=algorithm)

    keys = [SigningKey(None, None, key().public_key())]
    assert accepted(id_token, keys=keys).subject == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 299},
        {"iat": NOW + 300},
        {"nbf": NOW + 300},
        {"nbf": 0},
        {"nbf": -1.5},
        {"iat": 1000.5, "exp": 2000.5},
        {"iat": 1},
        {"iat": 0.5},
        {"exp": 10**11 - 1},
    ],
)
def test_a_clock_that_is_five_minutes_off_refuses_no_login(changes: dict[str, Any]) -> None:
    assert accepted(token(**changes)).subject == "alice"


@pytest.mark.parametrize("nonce", [None, "nonce-1"])
def test_a_refreshed_token_may_leave_the_nonce_out_or_repeat_it(nonce: str | None) -> None:
    """Keycloak leaves it out, Dex repeats it (Core 12.2)."""
    assert accepted(token(nonce=nonce), REFRESH).subject == "alice"


def test_a_changed_auth_time_is_no_reason_to_refuse_a_refresh() -> None:
    """Dex takes it from the user's last login, in any browser."""
    assert accepted(token(auth_time=1499), REFRESH).subject == "alice"


@pytest.mark.parametrize("sid", [None, 5, ["x"], "x" * 256])
def test_a_provider_session_that_is_no_short_text_is_left_out(sid: object) -> None:
    assert accepted(token(sid=sid)).provider_sid == ""


# --- other names of the issuer

OTHER_NAME = "https://sts.example.org"
OF_TENANTS = "https://sts.example.org/{tenantid}/"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
NAMED = replace(LOGIN, aliases=(OTHER_NAME, OF_TENANTS))


@pytest.mark.parametrize("iss", [ISSUER, OTHER_NAME])
def test_a_token_may_have_an_alias_that_is_set_and_the_claims_say_which(iss: str) -> None:
    assert accepted(token(iss=iss), NAMED).issuer == iss


def test_a_token_may_name_the_tenant_that_it_is_of() -> None:
    iss = f"https://sts.example.org/{TENANT}/"

    assert accepted(token(iss=iss, tid=TENANT), NAMED).issuer == iss
    assert refused(token(iss=iss, tid=TENANT.replace("7", "8")), NAMED).check == "iss"
    assert refused(token(iss=iss), NAMED).check == "iss"


@pytest.mark.parametrize("iss", [OTHER_NAME, f"{ISSUER}/", "", None, OF_TENANTS])
def test_no_other_name_is_taken_where_none_is_set(iss: object) -> None:
    assert refused(token(iss=iss)).check == "iss"


@pytest.mark.parametrize("login", [ISSUER, OTHER_NAME])
@pytest.mark.parametrize("renewed", [ISSUER, OTHER_NAME])
def test_a_refreshed_token_has_the_name_that_the_logins_had(login: str, renewed: str) -> None:
    tag = user_tag(login, "argocd", "alice")
    expected = replace(NAMED, subject="alice", user_tag=tag)

    if login == renewed:
        assert accepted(token(iss=renewed), expected).issuer == login
    else:
        assert refused(token(iss=renewed), expected).check == "iss"


def test_another_subject_under_an_alias_is_another_user() -> None:
    tag = user_tag(OTHER_NAME, "argocd", "alice")
    expected = replace(NAMED, subject="alice", user_tag=tag)

    assert refused(token(iss=OTHER_NAME, sub="mallory"), expected).other_subject


# --- signatures


def test_a_token_without_a_signature_is_refused() -> None:
    unsigned = jwt.encode(dict(CLAIMS), "", algorithm="none")
    header, payload, _ = token().split(".")

    assert refused(unsigned).check == "alg"
    assert refused(f"{header}.{payload}.").check == "signature"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "HS256", "HS512", "ES256K", ""])
@pytest.mark.parametrize("key_alg", [None, "RS256", "HS256"])
def test_an_algorithm_that_is_not_asymmetric_is_refused_whatever_the_key_says(
    alg: str, key_alg: str | None
) -> None:
    forged = signed({"alg": alg}, json.dumps(CLAIMS).encode())

    assert refused(forged, keys=[signing_key(alg=key_alg)]).check == "alg"


@pytest.mark.parametrize(
    "secret",
    [
        lambda: rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        lambda: (
            rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        ),
        lambda: (
            rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ),
        lambda: RSAAlgorithm.to_jwk(rsa_key().public_key()).encode(),
    ],
    ids=["pkcs1", "pem", "der", "jwk"],
)
def test_the_public_key_is_no_shared_secret(secret: Callable[[], bytes]) -> None:
    header, payload = ({"alg": "HS256"}, CLAIMS)
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, payload))
    forged = f"{text}.{base64url(hmac.new(secret(), text.encode(), hashlib.sha256).digest())}"

    assert refused(forged).check == "alg"
    assert refused(forged, keys=[signing_key(alg=None)]).check == "alg"


def test_another_keys_signature_is_refused() -> None:
    assert refused(token(name="other")).check == "signature"


def test_no_key_verifies_nothing() -> None:
    assert refused(token(), keys=[]).check == "signature"


def test_a_key_signs_in_its_own_algorithm_only() -> None:
    """A key that says PS256 is not to be used with RS256 (RFC 7517 section 4.4)."""
    assert refused(token(), keys=[signing_key(alg="PS256")]).check == "signature"
    assert refused(token(), keys=[signing_key(alg="RS512")]).check == "signature"


def test_the_signature_is_checked_before_any_claim_is_believed() -> None:
    forged = token(name="other", exp=1, iss="https://evil.example", sub="mallory")

    invalid = refused(forged, REFRESH)

    assert invalid.check == "signature"
    assert not invalid.other_subject


@properties
@given(place=st.integers(0, 10_000), letter=st.sampled_from("AZaz09-_.=;\r\n é"))
def test_a_token_with_any_letter_changed_is_refused_or_is_the_same(place: int, letter: str) -> None:
    """The last letter of a signature has bits that mean nothing: the same claims come out."""
    good = token()
    place %= len(good)
    touched = good[:place] + letter + good[place + 1 :]

    try:
        claims = accepted(touched)
    except TokenInvalid:
        return
    assert claims == accepted(good)
    assert touched.rpartition(".")[0] == good.rpartition(".")[0]


@pytest.mark.parametrize("added", [";x=y", "\r\nX-Header: 1", " ", "\n", ".", "é"])
def test_nothing_that_breaks_a_cookie_can_hang_on_to_a_token(added: str) -> None:
    assert refused(token() + added).check == "header"


@pytest.mark.parametrize(
    "id_token",
    ["", ".", "..", "...", "x", "e30.e30.", "é.é.é", "\ud800.a.b", "a.b.c.d.e", "." * 5000],
)
def test_what_is_no_token_is_refused_and_no_crash(id_token: str) -> None:
    assert refused(id_token).check in ("header", "alg")


@pytest.mark.parametrize(
    "header",
    [
        [],
        None,
        "alg",
        {},
        {"alg": None},
        {"alg": 5},
        {"alg": []},
        {"alg": {}},
        {"alg": ["RS256"]},
        {"alg": "RS256", "kid": 5},
        {"alg": "RS256", "crit": ["exp"], "exp": 1},
        {"alg": "RS256", "crit": []},
        {"alg": "RS256", "crit": ["b64"], "b64": False},
    ],
)
def test_a_header_that_is_none_or_asks_for_more_is_refused(header: object) -> None:
    assert refused(signed(header, json.dumps(CLAIMS).encode())).check in ("header", "alg")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b"5",
        b"\xff",
        b"{",
        b'{"a":' * 50_000,
        b'{"exp": 1' + b"0" * 9999 + b"}",
    ],
)
def test_a_payload_that_is_no_object_is_refused_and_no_crash(payload: bytes) -> None:
    assert refused(signed({"alg": "RS256"}, payload)).check == "signature"


# --- claims


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": ISSUER + "/"}, "iss"),
        ({"iss": ISSUER.upper()}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"iss": None}, "iss"),
        ({"iss": ""}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": ["other"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": ""}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": {"argocd": 1}}, "aud"),
        ({"aud": [["argocd"]]}, "aud"),
        ({"aud": "argocd-cli"}, "aud"),
        ({"azp": "other"}, "azp"),
        ({"azp": ["argocd"]}, "azp"),
        ({"azp": 5}, "azp"),
        ({"aud": ["argocd", "other"], "azp": "other"}, "azp"),
        ({"aud": ["argocd", "other"], "azp": ""}, "azp"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 5}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"sub": ["alice"]}, "sub"),
        ({"exp": None}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": "2000"}, "exp"),
        ({"exp": 1e300}, "exp"),
        ({"exp": 10**11}, "exp"),
        ({"exp": 2000 * 10**9}, "exp"),
        ({"exp": 0}, "exp"),
        ({"exp": -1}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"exp": [2000]}, "exp"),
        ({"exp": NOW - 300}, "exp"),
        ({"iat": None}, "iat"),
        ({"iat": 0}, "iat"),
        ({"iat": -1}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": "1000"}, "iat"),
        ({"iat": 1e300}, "iat"),
        ({"iat": float("nan")}, "iat"),
        ({"iat": NOW + 301}, "iat"),
        ({"nbf": NOW + 301}, "nbf"),
        ({"nbf": "1000"}, "nbf"),
        ({"nbf": True}, "nbf"),
        ({"nbf": float("nan")}, "nbf"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"nonce": "nonce-2"}, "nonce"),
        ({"nonce": ["nonce-1"]}, "nonce"),
        ({"nonce": "\ud800"}, "nonce"),
        ({"at_hash": "\ud800"}, "at_hash"),
        ({"at_hash": half_hash("access-2")}, "at_hash"),
        ({"at_hash": "x"}, "at_hash"),
        ({"at_hash": 5}, "at_hash"),
        ({"at_hash": ["x"]}, "at_hash"),
    ],
)
def test_a_login_is_refused_by_the_check_that_fails(changes: dict[str, Any], check: str) -> None:
    payload = json.dumps({n: v for n, v in {**CLAIMS, **changes}.items() if v is not None})

    invalid = refused(signed({"alg": "RS256"}, payload.encode()))

    assert invalid.check == check
    assert not invalid.other_subject


@pytest.mark.parametrize("length", [1, 255])
def test_a_subject_has_as_many_letters_as_the_standard_allows(length: int) -> None:
    assert accepted(token(sub="x" * length)).subject == "x" * length


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"iss": "https://evil.example"}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"azp": "other"}, "azp"),
        ({"nonce": "nonce-2"}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"exp": 100}, "exp"),
        ({"exp": None}, "exp"),
        ({"sub": None}, "sub"),
        ({"at_hash": "x"}, "at_hash"),
        ({"iss": "https://evil.example", "sub": "mallory"}, "iss"),
    ],
)
def test_a_refreshed_token_is_checked_like_a_logins(changes: dict[str, Any], check: str) -> None:
    invalid = refused(token(**changes), REFRESH)

    assert invalid.check == check
    assert not invalid.other_subject


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nonce": None},
        {"nonce": "mallorys-nonce"},
        {"aud": "other"},
        {"azp": "other"},
        {"exp": 1, "iat": 1},
        {"at_hash": "x"},
    ],
    ids=lambda changes: next(iter(changes), "nothing"),
)
def test_another_users_token_is_told_apart_whatever_else_is_wrong_with_it(
    changes: dict[str, Any],
) -> None:
    """Its session must end (Core 12.2), and another user's login had another nonce."""
    invalid = refused(token(sub="mallory", **changes), REFRESH)

    assert invalid.check == "sub"
    assert invalid.other_subject


def test_an_access_token_that_is_no_text_has_no_hash_and_crashes_nothing() -> None:
    expected = replace(LOGIN, access_token="\ud800")

    assert refused(token(at_hash=half_hash("access-1")), expected).check == "at_hash"


def test_a_grant_from_before_nonces_expects_none() -> None:
    expected = Expected(ISSUER, "argocd", subject="alice")

    assert accepted(token(), expected).subject == "alice"
    assert accepted(token(nonce=None), expected).subject == "alice"


def test_a_fault_shows_nothing_of_the_token() -> None:
    id_token = token(aud="other", email="alice@example.org")

    shown = str(refused(id_token))

    assert shown == "the ID token fails its check: aud"


# --- key sets


def jwk(**changes: object) -> dict[str, object]:
    return {**json.loads(RSAAlgorithm.to_jwk(rsa_key().public_key())), **changes}


def test_a_key_set_gives_its_keys_with_what_they_state() -> None:
    keys = read_keys({"keys": [jwk(kid="1", alg="RS256", use="sig"), jwk()]})

    assert [(key.kid, key.alg) for key in keys] == [("1", "RS256"), (None, None)]


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": base64url(bytes(32)), "alg": "HS256"},
        {"kty": "oct", "k": base64url(bytes(32))},
        jwk(use="enc"),
        jwk(use=None),
        jwk(kty=None),
        jwk(kty=["RSA"]),
        jwk(kty="EC"),
        jwk(n=5),
        jwk(n=""),
        jwk(n="é"),
        json.loads(RSAAlgorithm.to_jwk(rsa_key())),
        json.loads(ECAlgorithm.to_jwk(ec_key())),
        {"kty": "EC", "crv": "P-256", "x": base64url(bytes(32)), "y": base64url(bytes(32))},
        {"kty": "EC", "crv": [], "x": 1, "y": {}},
        {"kty": "OKP", "crv": "Ed25519", "x": base64url(bytes(31))},
        {"kty": "OKP", "crv": "Ed25519"},
        {},
        [],
        None,
        "key",
    ],
    ids=range(20),
)
def test_a_key_that_is_of_no_use_is_passed_over_and_the_others_stay(entry: object) -> None:
    keys = read_keys({"keys": [entry, jwk(kid="good")]})

    assert [key.kid for key in keys] == ["good"]
    assert accepted(token(), keys=keys).subject == "alice"


@pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": None}, {"keys": {"a": 1}}])
def test_a_document_that_is_no_key_set_has_no_keys(document: object) -> None:
    assert read_keys(document) == []


def test_a_key_of_an_unknown_algorithm_does_not_stop_the_reading() -> None:
    assert [key.alg for key in read_keys({"keys": [jwk(alg="RSA-OAEP"), jwk(alg=5)]})] == [
        "RSA-OAEP",
        None,
    ]


def test_a_key_set_without_end_is_cut() -> None:
    assert len(read_keys({"keys": [jwk()] * 1000})) == 100


def test_a_key_id_that_is_no_text_counts_as_none() -> None:
    assert read_keys({"keys": [jwk(kid=5)]})[0].kid is None


@pytest.mark.parametrize(("header", "kid"), [({"kid": "1"}, "1"), (None, None), ({"kid": ""}, "")])
def test_a_token_names_its_key_or_none(header: dict[str, Any] | None, kid: str | None) -> None:
    assert key_id(token(header=header)) == kid


@pytest.mark.parametrize("alg", ["none", "HS256"])
def test_no_key_is_looked_up_for_an_algorithm_that_is_not_allowed(alg: str) -> None:
    with pytest.raises(TokenInvalid, match="alg"):
        key_id(signed({"alg": alg, "kid": "1"}, b"{}"))


def test_claims_never_print_their_nonce() -> None:
    assert "nonce-1" not in repr(accepted(token()))


def test_a_key_never_prints_its_numbers() -> None:
    assert "RSA" not in repr(signing_key(kid="1", alg=None))


def test_what_is_not_said_of_a_token_is_not_expected_of_it() -> None:
    expected = Expected(ISSUER, "argocd")

    assert (expected.access_token, expected.nonce, expected.subject) == ("", "", "")
    assert (expected.aliases, expected.user_tag) == ((), "")
    assert IdTokenClaims(ISSUER, "alice", 1.0, 2.0, "").nonce == ""
    assert accepted(token(nonce=None, at_hash="x"), expected).nonce == ""


def test_claims_that_nobody_acts_on_refuse_no_login() -> None:
    odd = token(amr="pwd", auth_time="yesterday", jti=7)

    assert accepted(odd).subject == "alice"
