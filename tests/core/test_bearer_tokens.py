import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.bearer_tokens import Machine, claimed, read_header, verify
from sidecar.core.id_token import SigningKey
from sidecar.core.machine_rules import RequiredClaim, TrustedIssuer
from sidecar.errors import TokenInvalid
from tests.core.examples import properties
from tests.core.test_id_token import base64url, ec_key, rsa_key, signed

ISSUER = "https://token.actions.example.org"
NOW = 1_800_000_000.0
CLAIMS = {
    "iss": ISSUER,
    "aud": "argocd",
    "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
    "iat": NOW - 10,
    "nbf": NOW - 10,
    "exp": NOW + 300,
}
GITHUB = TrustedIssuer(
    name="github",
    issuer=ISSUER,
    audiences=("argocd",),
    algorithms=("RS256", "ES256"),
    types=("jwt", "at+jwt", ""),
    leeway_seconds=30.0,
)


def key(name: str = "first", *, kid: str | None = None) -> SigningKey:
    return SigningKey(kid, None, rsa_key(name).public_key())


def changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}


def token(header: dict[str, Any] | None = None, **changes: Any) -> str:
    given = {"alg": "RS256", "typ": "JWT", **(header or {})}
    head = {name: value for name, value in given.items() if value is not None}
    return signed(head, json.dumps(changed(**changes)).encode())


def accepted(
    text: str, issuer: TrustedIssuer = GITHUB, *, now: float = NOW, keys: list[SigningKey]
) -> tuple[Machine, float]:
    return verify(text, read_header(text, issuer), keys, issuer, now=now)


def check(text: str, issuer: TrustedIssuer = GITHUB, *, now: float = NOW) -> str:
    """The check that fails, "" for none."""
    try:
        accepted(text, issuer, now=now, keys=[key()])
    except TokenInvalid as invalid:
        return invalid.check
    return ""


def test_a_good_token_says_whose_it_is_and_until_when() -> None:
    machine, good_until = accepted(token(), keys=[key()])

    assert (machine.issuer, machine.subject) == ("github", CLAIMS["sub"])
    assert machine.claims["aud"] == "argocd"
    assert repr(machine) == f"Machine(issuer='github', subject={CLAIMS['sub']!r})"
    assert good_until == NOW + 330  # with the leeway


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT", None])
def test_a_token_may_have_each_type_that_its_issuer_may_use(typ: str | None) -> None:
    assert check(token({"typ": typ})) == ""


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "", "at+jwt ", 1, ["JWT"]])
def test_a_token_of_another_type_is_refused(typ: Any) -> None:
    only = replace(GITHUB, types=("jwt", "at+jwt"))

    assert check(token({"typ": typ}), only) == "typ"
    assert check(token({"typ": None}), only) == "typ"
    assert check(token({"typ": typ})) == ("" if typ == "" else "typ")


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "RS384", "RS257", "", None, 1, ["RS256"]])
def test_only_algorithms_of_the_issuer_are_taken(alg: Any) -> None:
    assert check(token({"alg": alg})) == "alg"


def test_a_symmetric_algorithm_is_refused_though_somebody_has_listed_it() -> None:
    careless = replace(GITHUB, algorithms=("HS256", "none"))
    pem = key().public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = jwt.api_jws.PyJWS().encode  # PyJWT itself refuses to sign with such a secret
    with pytest.raises(jwt.InvalidKeyError):
        forged(json.dumps(CLAIMS).encode(), pem, algorithm="HS256")

    assert check(token({"alg": "HS256"}), careless) == "alg"
    assert check(token({"alg": "none"}), careless) == "alg"


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], "exp"])
def test_a_critical_header_is_refused_whatever_it_says(crit: Any) -> None:
    assert check(token({"crit": crit, "b64": True})) == "crit"


def test_keys_that_a_header_brings_along_count_for_nothing() -> None:
    own = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec_key().public_key()))
    some: list[dict[str, Any]] = [
        {"jwk": own}, {"jku": "https://evil.example.org"}, {"x5u": "x"}, {"x5c": []}
    ]  # fmt: skip
    for brought in some:
        text = jwt.encode(changed(), ec_key(), algorithm="ES256", headers=brought)

        assert check(text) == "signature"


def test_a_token_without_a_key_of_its_name_is_refused() -> None:
    text = token()

    with pytest.raises(TokenInvalid) as raised:
        verify(text, read_header(text, GITHUB), [], GITHUB, now=NOW)
    assert raised.value.check == "kid"


def test_another_key_or_another_byte_is_refused() -> None:
    text = token()
    head, _, signature = text.split(".")
    payload = base64url(json.dumps(changed(sub="repo:evil/evil")).encode())

    assert check(f"{head}.{payload}.{signature}") == "signature"
    with pytest.raises(TokenInvalid, match="signature"):
        accepted(text, keys=[key("other")])


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"iss": ISSUER + "/"}, "iss"),
        ({"iss": ISSUER.upper()}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["another"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": {"argocd": True}}, "aud"),
        ({"aud": None}, "aud"),
        ({"exp": NOW - 31}, "exp"),
        ({"exp": NOW - 30}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": str(NOW + 300)}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": 10**12}, "exp"),
        ({"exp": -1}, "exp"),
        ({"nbf": NOW + 31}, "nbf"),
        ({"nbf": "soon"}, "nbf"),
        ({"iat": NOW + 31}, "iat"),
        ({"iat": None}, "iat"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 1025}, "sub"),
    ],
)
def test_a_claim_that_is_not_as_it_must_be_is_named(changes: dict[str, Any], failed: str) -> None:
    text = json.dumps({k: v for k, v in {**CLAIMS, **changes}.items() if v is not None})

    assert check(signed({"alg": "RS256"}, text.encode())) == failed


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 29},
        {"nbf": NOW + 30},
        {"iat": NOW + 30},
        {"nbf": None},
        {"aud": ["another", "argocd"]},
        {"sub": "x" * 1024},
        {"sub": "x"},
    ],
)
def test_what_a_clock_or_an_issuer_may_differ_in_is_taken(changes: dict[str, Any]) -> None:
    assert check(token(**changes)) == ""


def test_a_token_may_be_no_older_than_its_issuer_allows() -> None:
    young = replace(GITHUB, max_age_seconds=60.0)
    old = token(iat=NOW - 60, exp=NOW + 86400)

    assert check(old, young) == ""
    assert check(old, young, now=NOW + 30) == "age"
    _, good_until = accepted(old, young, keys=[key()])
    assert good_until == NOW + 30
    assert accepted(token(), young, keys=[key()])[1] == NOW + 80
    older = replace(GITHUB, max_age_seconds=86400.0)
    assert accepted(token(), older, keys=[key()])[1] == NOW + 330


@pytest.mark.parametrize(
    ("payload", "failed"),
    [
        (json.dumps(CLAIMS)[:-1] + ', "sub": "admin"}', "duplicate"),
        (json.dumps(CLAIMS)[:-1] + ', "x": {"a": 1, "a": 2}}', "duplicate"),
        (json.dumps(CLAIMS)[:-1] + ', "x": NaN}', "claims"),
        (json.dumps(CLAIMS)[:-1] + ', "x": ' + "[" * 16 + "]" * 16 + "}", "nested"),
        (json.dumps(CLAIMS)[:-1] + ', "x": ' + "[" * 3000 + "]" * 3000 + "}", "nested"),
        (json.dumps([CLAIMS]), "claims"),
        ('"text"', "claims"),
        ("{", "claims"),
        ("", "claims"),
        (json.dumps(CLAIMS)[:-1] + ', "x": ' + "9" * 5000 + "}", "claims"),
    ],
    ids=["twice", "twice inside", "NaN", "nested", "very nested", "list", "text", "cut", "empty",
         "long number"],
)  # fmt: skip
def test_claims_that_two_readers_may_read_differently_are_refused(
    payload: str, failed: str
) -> None:
    assert check(signed({"alg": "RS256"}, payload.encode())) == failed


def test_fifteen_levels_are_not_too_many() -> None:
    payload = json.dumps(CLAIMS)[:-1] + ', "x": ' + "[" * 15 + "]" * 15 + "}"

    assert check(signed({"alg": "RS256"}, payload.encode())) == ""


def test_bytes_that_are_no_text_are_refused_after_the_signature_too() -> None:
    payload = json.dumps(CLAIMS)[:-1].encode() + b', "x": "\xff"}'

    assert check(signed({"alg": "RS256"}, payload)) == "claims"


@pytest.mark.parametrize(
    ("header", "failed"),
    [
        (b'{"alg": "RS256", "alg": "RS256"}', "duplicate"),
        (b"[]", "header"),
        (b"{", "header"),
        (b"\xff", "header"),
        (b'{"alg": "RS256", "kid": 7}', "kid"),
        (b'{"alg": "RS256", "kid": "' + b"k" * 256 + b'"}', "kid"),
    ],
)
def test_a_header_that_cannot_be_read_in_one_way_is_refused(header: bytes, failed: str) -> None:
    text = f"{base64url(header)}.{base64url(json.dumps(CLAIMS).encode())}.x"

    with pytest.raises(TokenInvalid) as raised:
        read_header(text, GITHUB)
    assert raised.value.check == failed


@pytest.mark.parametrize("text", ["eyJhb.e30.x", "e30.e30", "e30.e30.x.y", "e3 .e30.x", ""])
def test_what_is_not_three_parts_in_base64url_is_refused(text: str) -> None:
    with pytest.raises(TokenInvalid) as raised:
        read_header(text, GITHUB)
    assert raised.value.check == "header"


def test_a_token_is_no_longer_than_16_kib() -> None:
    assert check(token(padding="x" * 16384)) == "length"
    assert check(token(padding="x" * 8192)) == ""
    assert check("e30." + "A" * (16384 - 6) + ".A") == "alg"
    assert check("e30." + "A" * (16384 - 5) + ".A") == "length"


def test_a_header_says_the_algorithm_and_the_key() -> None:
    for kid in ("k", "k" * 255, None):
        header = read_header(token({"kid": kid}), GITHUB)

        assert (header.alg, header.kid) == ("RS256", kid)


@pytest.mark.parametrize(
    ("required", "changes", "failed"),
    [
        (RequiredClaim("repository"), {}, "claim repository"),
        (RequiredClaim("repository"), {"repository": []}, "claim repository"),
        (RequiredClaim("repository"), {"repository": ""}, ""),
        (RequiredClaim("repository", ("a/b", "a/c")), {"repository": "a/c"}, ""),
        (RequiredClaim("repository", ("a/b",)), {"repository": "a/bc"}, "claim repository"),
        (RequiredClaim("groups", ("ops",)), {"groups": ["dev", "ops"]}, ""),
        (RequiredClaim("groups", ("ops",)), {"groups": ["dev"]}, "claim groups"),
        (RequiredClaim("protected", (True,)), {"protected": True}, ""),
        (RequiredClaim("protected", (True,)), {"protected": 1}, "claim protected"),
        (RequiredClaim("protected", (True,)), {"protected": "true"}, "claim protected"),
        (RequiredClaim("level", (1,)), {"level": True}, "claim level"),
        (RequiredClaim("level", (1,)), {"level": 1.0}, ""),
        (RequiredClaim("level", (1,)), {"level": {"1": 1}}, "claim level"),
    ],
)
def test_a_required_claim_is_there_with_one_of_its_values(
    required: RequiredClaim, changes: dict[str, Any], failed: str
) -> None:
    assert check(token(**changes), replace(GITHUB, required_claims=(required,))) == failed


@pytest.mark.parametrize(
    "text",
    ["", "opaque", "a.b", "a.b.c.d", "a.b.c.d.e", "v2:secret", "a b.c.d", "..", "e30.e30.x",
     "e30.W10.x", "x.!!.y", "x.bm8.y"],
)  # fmt: skip
def test_what_names_no_issuer_is_nobodys(text: str) -> None:
    assert claimed(text) is None


def unsigned(payload: bytes) -> str:
    return f"e30.{base64url(payload)}.x"


def test_whose_a_token_says_to_be_is_told_without_a_key() -> None:
    found = claimed(unsigned(b'{"iss": "a", "aud": ["x", "y", 1], "sub": {"iss": "b"}}'))

    assert found is not None
    assert found.issuers == ("a",)
    assert found.audiences == {"x", "y"}


def test_a_list_that_looks_like_members_names_nobody() -> None:
    assert claimed(unsigned(b'[["iss", "a"]]')) is None


def test_a_name_that_comes_twice_is_told_twice() -> None:
    found = claimed(unsigned(b'{"iss": "a", "aud": "x", "\\u0069ss": "b", "aud": "y"}'))

    assert found is not None
    assert found.issuers == ("a", "b")
    assert found.audiences == {"x", "y"}


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss": "a", "x": "\xff"}',
        b'{"iss": "a", "x": "\x01\n"}',
        b'{"iss": "a", "x": ' + b"9" * 5000 + b"}",
        b'{"iss": "a", "x": 1e999}',
        b'{"iss": "a", "x": NaN}',
        b' \t\r\n{"iss": "a"} ',
        b'\x0b{"iss": "a"}',
        b'{"iss": "a"}{"iss": "b"}',
        b'{"Iss": "a"}',
        b'{"i\\u0073s": "a"}',
        b'{"i\xc5\xbfs": "a"}',
    ],
)
def test_nothing_that_some_reader_would_take_hides_the_issuer(payload: bytes) -> None:
    found = claimed(unsigned(payload))

    assert found is not None
    assert found.issuers == ("a",)


def test_what_is_too_deep_to_be_read_is_not_passed_for_nobodys() -> None:
    deep = b'{"iss": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    with pytest.raises(TokenInvalid) as raised:
        claimed(unsigned(deep))
    assert raised.value.check == "nested"


@properties
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_comes_is_refused_or_nobodys(header: bytes, payload: bytes) -> None:
    text = f"{base64url(header)}.{base64url(payload)}.x"

    claimed(text)
    with pytest.raises(TokenInvalid):
        accepted(text, keys=[key()])


@properties
@given(st.text(max_size=100))
def test_whatever_is_no_token_is_nobodys_or_refused(text: str) -> None:
    claimed(text)
    with pytest.raises(TokenInvalid):
        accepted(text, keys=[key()])
