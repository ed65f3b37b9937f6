"""The client's own assertion: a key, and the short JWT it signs (RFC 7523 section 2.2)."""

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from sidecar.core.base64url import base64url

_BY_RSA, _BY_EC = ("RS256", "PS256"), ("ES256",)
ALGORITHMS = (*_BY_RSA, *_BY_EC)
# A request is sent within seconds; the rest is what the two clocks may differ by.
ASSERTION_SECONDS = 60
_SMALLEST_RSA_BITS = 2048
_CURVE = "P-256"
_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_MEND = "Give a private key for signing as PEM, not encrypted, or as a JWK: RSA, or EC with P-256"


@dataclass(frozen=True, slots=True)
class AssertionKey:
    """A private key, and what the header of its assertions says of it."""

    key: _Key = field(repr=False)
    alg: str = ""
    """The algorithm that was chosen; "" for what the provider takes."""
    kid: str = ""
    x5t_s256: str = ""
    """The thumbprint of its certificate (RFC 7515 section 4.1.8); "" without one."""


def read_assertion_key(text: str, *, kid: str = "", alg: str = "") -> AssertionKey:
    """The key in a file's text: PEM, a certificate beside it, or a JWK. It may name itself.

    Raises:
        ValueError: it is none that can sign; the message is the rest of a sentence.
    """
    jwk = _jwk(text)
    key = _imported(text, jwk)
    kid, alg = kid or str(jwk.get("kid", "")), alg or str(jwk.get("alg", ""))
    able = _BY_EC if isinstance(key, ec.EllipticCurvePrivateKey) else _BY_RSA
    if alg and alg not in able:
        known = " or ".join(able)
        raise ValueError(f"has a key that cannot sign by {alg[:20]!r}, but by {known}. Correct it")
    return AssertionKey(key, alg, kid, _thumbprint(text))


def signed_assertion(
    key: AssertionKey,
    client_id: str,
    audience: str,
    *,
    taken: Collection[str],
    now: float,
    jti: str,
) -> str:
    """An assertion for one request at `now`, in Unix seconds; `jti` comes once.

    `taken` are the algorithms that the provider lists; empty: it lists none.
    """
    header = {"kid": key.kid, "x5t#S256": key.x5t_s256, "typ": "JWT"}
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": int(now),
        "exp": int(now) + ASSERTION_SECONDS,
        "jti": jti,
    }
    return jwt.encode(
        claims,
        key.key,
        algorithm=algorithm(key, taken),
        headers={name: value for name, value in header.items() if value},
    )


def algorithm(key: AssertionKey, taken: Collection[str]) -> str:
    """What an assertion is signed by."""
    if key.alg or isinstance(key.key, ec.EllipticCurvePrivateKey):
        return key.alg or "ES256"
    if key.x5t_s256:
        return "PS256"  # only Entra asks for a certificate, and wants this with it
    return "PS256" if "PS256" in taken and "RS256" not in taken else "RS256"


def _jwk(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        found: dict[str, Any] = json.loads(text)  # as it begins so
    except (ValueError, RecursionError):
        raise ValueError(f"is not JSON. {_MEND}") from None
    return found


def _imported(text: str, jwk: dict[str, Any]) -> _Key:
    # Not chained: what these say may show a part of the key.
    try:
        key = _from_jwk(jwk) if jwk else load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, jwt.PyJWTError, UnsupportedAlgorithm):
        raise ValueError(f"has no private key that can be read. {_MEND}") from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _SMALLEST_RSA_BITS:
            raise ValueError(f"has an RSA key of less than {_SMALLEST_RSA_BITS} bits. {_MEND}")
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise ValueError(f"has an EC key with another curve than {_CURVE}. {_MEND}")
        return key
    raise ValueError(f"has no private key that can sign. {_MEND}")


def _from_jwk(jwk: dict[str, Any]) -> Any:
    # Its `alg` is judged by what the key can do, with words for whoever set it.
    return jwt.PyJWK.from_dict({name: value for name, value in jwk.items() if name != "alg"}).key


def _thumbprint(text: str) -> str:
    if not re.search("-----BEGIN CERTIFICATE-----", text):
        return ""
    try:
        [certificate, *_] = load_pem_x509_certificates(text.encode())
    except ValueError:
        raise ValueError("has a certificate that cannot be read. Correct it") from None
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return base64url(digest)
