"""Verify an ID token against given keys: OpenID Connect Core 3.1.3.7 and 12.2.

PyJWT checks the signature, with a fixed list of asymmetric algorithms. The claims are checked
here: it asks the system's clock for the time.
"""

import hashlib
import hmac
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
import jwt.warnings

from sidecar.core.base64url import base64url
from sidecar.core.provider_addresses import is_issuer
from sidecar.core.session import user_tag
from sidecar.errors import TokenInvalid

ALGORITHMS = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)
# As go-oidc gives `nbf` in Argo CD. A token comes here straight from the token endpoint, so
# a provider's clock that is off by minutes is no reason to refuse a login.
CLOCK_LEEWAY_SECONDS = 300
# RFC 7515 section 7.1, and the padding that some issuers leave (AWS' load balancers).
_COMPACT = re.compile(r"(?:[A-Za-z0-9_-]*={0,2}\.){2}[A-Za-z0-9_-]*={0,2}")
_MAX_KEYS = 100
LATEST_INSTANT = 10**11


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A provider's public key (RFC 7517); `kid` and `alg` are None where it states none."""

    kid: str | None
    alg: str | None
    public_key: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdTokenClaims:
    """The claims of a verified ID token that the sidecar acts on. Instants are Unix seconds."""

    issuer: str
    subject: str
    issued_at: float
    expires_at: float
    provider_sid: str
    nonce: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a login's or a refresh's ID token must say; empty: nothing is expected of it.

    A login's token must repeat the `nonce`; a refreshed one may leave it out (Core 12.2).
    Where `aliases` of the issuer may stand in its place, the `user_tag` of a login says which
    of them a refreshed token must have.
    """

    issuer: str
    client_id: str
    access_token: str = ""
    nonce: str = ""
    subject: str = ""
    aliases: tuple[str, ...] = ()
    user_tag: str = ""


def read_keys(document: object) -> list[SigningKey]:
    """The usable signing keys of a JWK Set (RFC 7517 section 5); others are passed over."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return []
    keys = (_read_key(entry) for entry in entries[:_MAX_KEYS])
    return [key for key in keys if key is not None]


def _read_key(entry: object) -> SigningKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    if entry.get("kty") not in ("RSA", "EC", "OKP") or "d" in entry:
        return None  # a symmetric or private key in a public document can sign nothing for us
    try:
        parsed = jwt.PyJWK.from_dict({k: v for k, v in entry.items() if k != "alg"})
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    kid, alg = entry.get("kid"), entry.get("alg")
    return SigningKey(
        kid if isinstance(kid, str) else None, alg if isinstance(alg, str) else None, parsed.key
    )


def key_id(id_token: str) -> str | None:
    """The `kid` of the token's header, None when it names no key.

    Raises:
        TokenInvalid: the header cannot be read, or its algorithm is not one we allow.
    """
    kid: str | None = read_header(id_token).get("kid")  # PyJWT takes no other
    return kid


def verify(
    id_token: str, keys: Sequence[SigningKey], expected: Expected, *, now: float
) -> IdTokenClaims:
    """The claims of `id_token`, once signed by one of `keys` and all that is `expected` holds.

    The signature is checked before any claim is believed.

    Raises:
        TokenInvalid: naming the first check that failed, with `other_subject` for Core 12.2.
    """
    header = read_header(id_token)
    claims = signed_claims(id_token, header["alg"], keys)
    _check_claims(claims, header, expected, now)
    sid, nonce = claims.get("sid"), claims.get("nonce")
    return IdTokenClaims(
        issuer=claims["iss"],
        subject=claims["sub"],
        issued_at=float(claims["iat"]),
        expires_at=float(claims["exp"]),
        provider_sid=sid if isinstance(sid, str) and len(sid) <= 255 else "",
        nonce=nonce if isinstance(nonce, str) else "",
    )


def read_header(id_token: str) -> dict[str, Any]:
    """A token's header, before anything of it is believed.

    Raises:
        TokenInvalid: it cannot be read, or its algorithm is not one we allow.
    """
    if not _COMPACT.fullmatch(id_token):
        raise TokenInvalid("header")
    try:
        # Of the header alone, with bytes behind it: PyJWT decodes all that it is given, and takes
        # none for a payload that is kept elsewhere (`b64`).
        header = jwt.get_unverified_header(id_token.partition(".")[0] + ".0000.")
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise TokenInvalid("header") from error
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise TokenInvalid("alg")
    return header


def signed_claims(id_token: str, alg: str, keys: Sequence[SigningKey]) -> dict[str, Any]:
    """The claims of a token that one of `keys` has signed.

    Raises:
        TokenInvalid: none has.
    """
    try:
        claims = json.loads(signed_payload(id_token, alg, keys))
    except (ValueError, RecursionError) as error:
        raise TokenInvalid("signature") from error
    if not isinstance(claims, dict):
        raise TokenInvalid("signature")
    return claims


def signed_payload(token: str, alg: str, keys: Sequence[SigningKey]) -> bytes:
    """What a token holds that one of `keys` has signed.

    Raises:
        TokenInvalid: none has.
    """
    for key in keys:
        if key.alg not in (None, alg):
            continue
        try:
            with warnings.catch_warnings():
                # A provider's short key is its operator's affair; Argo CD accepts it too.
                warnings.simplefilter("ignore", jwt.warnings.InsecureKeyLengthWarning)
                signed = jwt.api_jws.decode_complete(token, key.public_key, algorithms=[alg])
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            continue
        payload: bytes = signed["payload"]
        return payload
    raise TokenInvalid("signature")


def instant(claims: Mapping[str, Any], name: str) -> float:
    """A claim that must be there and be an instant, in Unix seconds (RFC 7519 section 2).

    Raises:
        TokenInvalid: it is missing, or none.
    """
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenInvalid(name)
    if not 0 < value < LATEST_INSTANT:
        raise TokenInvalid(name)
    return float(value)


def _check_claims(
    claims: dict[str, Any], header: dict[str, Any], expected: Expected, now: float
) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise TokenInvalid("sub")
    if expected.subject and _has_a_name(claims, expected) and subject != expected.subject:
        # Before the other checks: another user's token has another nonce too.
        raise TokenInvalid("sub", other_subject=True)
    if not (_has_a_name(claims, expected) and _has_the_name_of_the_login(claims, expected)):
        raise TokenInvalid("iss")
    if not _is_for(claims.get("aud"), expected.client_id):
        raise TokenInvalid("aud")
    if claims.get("azp") not in (None, expected.client_id):
        # Core 3.1.3.7 only says SHOULD for a missing azp, and Argo CD does not ask for one.
        raise TokenInvalid("azp")
    _check_instants(claims, now)
    if not _repeats_nonce(claims, expected):
        raise TokenInvalid("nonce")
    if not _fits_access_token(claims.get("at_hash"), header["alg"], expected.access_token):
        raise TokenInvalid("at_hash")


def _is_for(audience: object, client_id: str) -> bool:
    """RFC 7519 section 4.1.3: one, or a list of several."""
    return client_id in audience if isinstance(audience, list) else audience == client_id


def _check_instants(claims: dict[str, Any], now: float) -> None:
    if instant(claims, "exp") <= now - CLOCK_LEEWAY_SECONDS:
        raise TokenInvalid("exp")
    if instant(claims, "iat") > now + CLOCK_LEEWAY_SECONDS:
        raise TokenInvalid("iat")
    not_before = claims.get("nbf", now)
    if isinstance(not_before, bool) or not isinstance(not_before, int | float):
        raise TokenInvalid("nbf")
    if not not_before <= now + CLOCK_LEEWAY_SECONDS:  # nor is NaN
        raise TokenInvalid("nbf")


def _repeats_nonce(claims: dict[str, Any], expected: Expected) -> bool:
    refreshed_without = expected.subject and "nonce" not in claims
    if not expected.nonce or refreshed_without:
        return True
    nonce = claims.get("nonce")
    return isinstance(nonce, str) and _is_same(nonce, expected.nonce)


def _fits_access_token(at_hash: object, alg: str, access_token: str) -> bool:
    """Core 3.1.3.6, if the token has a hash: the left half of what its own algorithm uses."""
    if not at_hash or not access_token:
        return True
    bits = "512" if alg == "EdDSA" else alg[2:]
    digest = hashlib.new(f"sha{bits}", access_token.encode(errors="replace")).digest()
    half = base64url(digest[: len(digest) // 2])
    return isinstance(at_hash, str) and _is_same(at_hash, half)


def _is_same(said: str, expected: str) -> bool:
    return hmac.compare_digest(said.encode(errors="replace"), expected.encode())


def _has_a_name(claims: dict[str, Any], expected: Expected) -> bool:
    """Whether `iss` is the issuer, or an alias that somebody has set."""
    return is_issuer(
        claims.get("iss"), claims.get("tid"), issuer=expected.issuer, aliases=expected.aliases
    )


def _has_the_name_of_the_login(claims: dict[str, Any], expected: Expected) -> bool:
    """Whether `iss` is the one of the login (Core 12.2), of which the user's tag is made."""
    if not expected.aliases or not expected.user_tag:
        return True  # there is but one name, or this is the login
    return user_tag(claims["iss"], expected.client_id, claims["sub"]) == expected.user_tag
