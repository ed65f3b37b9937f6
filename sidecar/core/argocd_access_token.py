"""A user's access token as Argo CD keeps it in its Redis (its util/oidc, util/cache, util/crypto).

Since 2.10, with `enableUserInfoGroups`, Argo CD asks the provider for the user's groups with it,
and looks nowhere else. The form is the same in every release up to 3.6, which adds the prefix.
"""

import base64
import hashlib
import json

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
_GROUPS = ("userinfo_response", "azure_groups_overage_response")


def encryption_key(server_secret: bytes) -> bytes:
    """The key that Argo CD derives from `server.secretkey`; it takes tens of milliseconds."""
    salt = hashlib.sha256(server_secret).digest()
    return hashlib.scrypt(server_secret, salt=salt, n=16384, r=8, p=1, dklen=32)


def access_token_key(subject: str, *, prefix: str = "") -> str:
    """Where a user's access token stands."""
    return f"{prefix}access_token_{subject}"


def group_keys(subject: str, *, prefix: str = "") -> list[str]:
    """Where the groups stand that Argo CD has asked for with it."""
    return [f"{prefix}{name}_{subject}" for name in _GROUPS]


def seal_entry(access_token: str, key: bytes, *, nonce: bytes) -> bytes:
    """The value: nonce and ciphertext as Go writes bytes in JSON, with a line's end."""
    sealed = nonce + AESGCM(key).encrypt(nonce, access_token.encode(), None)
    return json.dumps(base64.b64encode(sealed).decode()).encode() + b"\n"


def open_entry(value: bytes, key: bytes) -> str | None:
    """The access token in a value; None where Argo CD could not read it either."""
    try:
        sealed = base64.b64decode(json.loads(value), validate=True)
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return AESGCM(key).decrypt(nonce, ciphertext, None).decode()
    except (ValueError, TypeError, InvalidTag):
        return None
