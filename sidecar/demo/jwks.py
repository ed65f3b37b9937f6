"""Signing keys of the demo's provider."""

import base64
import json
import secrets
from collections.abc import Mapping

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

ALGORITHM = "RS256"


def base64url(data: bytes) -> str:
    """`data` in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class SigningKeys:
    """The key that signs, and the set of public keys that is published."""

    def __init__(self, key: rsa.RSAPrivateKey | None = None) -> None:
        self._published: dict[str, dict[str, object]] = {}
        self.rotate(keep_old=False, key=key)

    def rotate(self, *, keep_old: bool, key: rsa.RSAPrivateKey | None = None) -> None:
        """Sign with `key`, or a new one, from now on; the old ones stay published if `keep_old`."""
        if not keep_old:
            self._published.clear()
        self._key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._kid = secrets.token_urlsafe(6)
        public = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        self._published[self._kid] = {**public, "kid": self._kid, "use": "sig", "alg": ALGORITHM}

    def published(self) -> dict[str, object]:
        """The JSON Web Key Set (RFC 7517 section 5), newest key first."""
        return {"keys": list(reversed(self._published.values()))}

    def sign(self, claims: Mapping[str, object]) -> str:
        """A JWT of `claims`, signed by the current key."""
        return jwt.encode(dict(claims), self._key, algorithm=ALGORITHM, headers={"kid": self._kid})

    def subject_of(self, token: str) -> str | None:
        """Whose token this is, however old; None for one that the current key did not sign."""
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=[ALGORITHM],
                options={"verify_exp": False, "verify_aud": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            return None
        return str(claims.get("sub", ""))

    def forge(self, claims: Mapping[str, object]) -> str:
        """A JWT of `claims` that names the current key, but was not signed by it."""
        signed, _, _ = self.sign(claims).rpartition(".")
        return f"{signed}.{base64url(bytes(256))}"
