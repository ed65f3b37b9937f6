"""Seal a record for storage, and open it again: AES-256-GCM under a key ring.

A sealed record is `key id length | key id | salt | nonce | ciphertext and tag`. Its key is
derived from the ring's key with a random salt, so that no key seals more records than GCM
allows, however many logins strangers start. The associated data binds a record to its
prefix, kind, name and version: it cannot be moved, mixed or rolled forward.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sidecar.core.base64url import base64url
from sidecar.errors import KeyUnknown, RecordBroken

KEY_BYTES = 32
_SALT_BYTES = 16
_NONCE_BYTES = 12
SEAL_RANDOM_BYTES = _SALT_BYTES + _NONCE_BYTES
_DERIVED = "derived"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the ring: its public id and its 32 secret bytes."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Label:
    """What a record is, bound into its seal: store prefix, kind, name and version."""

    prefix: str
    kind: str
    name: str
    version: int = 0

    def encode(self) -> bytes:
        """The associated data; each part carries its length, so that none runs into the next."""
        parts = (self.prefix, self.kind, self.name, str(self.version))
        return b"".join(len(part).to_bytes(4) + part for part in (text.encode() for text in parts))


class KeyRing:
    """The keys that seal what is stored: the first one seals, all open."""

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys:
            raise ValueError("a key ring needs a key")
        self._sealing = keys[0]
        self._keys = {key.id: key for key in keys}
        self._signing = [_derive(key.secret, "session-cookie") for key in keys]

    @property
    def keys(self) -> tuple[Key, ...]:
        """Its keys; the first one seals."""
        return tuple(self._keys.values())

    @property
    def sealing_id(self) -> str:
        """The id of the key that seals, and that signs cookies."""
        return self._sealing.id

    def seal(self, plain: bytes, label: Label, *, random: bytes) -> bytes:
        """`plain` sealed as `label`; `random` is `SEAL_RANDOM_BYTES` fresh random bytes."""
        if len(random) != SEAL_RANDOM_BYTES:
            raise ValueError(f"sealing needs {SEAL_RANDOM_BYTES} random bytes")
        salt, nonce = random[:_SALT_BYTES], random[_SALT_BYTES:]
        key_id = self._sealing.id.encode()
        cipher = AESGCM(_derive(self._sealing.secret, f"record:{label.kind}", salt))
        header = len(key_id).to_bytes(1) + key_id + salt + nonce
        return header + cipher.encrypt(nonce, plain, header + label.encode())

    def open(self, sealed: bytes, label: Label) -> bytes:
        """What was sealed as `label`.

        Raises:
            KeyUnknown: it was sealed by a key that is not in the ring.
            RecordBroken: its key does not open it: forged, moved, truncated or damaged.
        """
        id_end = _id_end(sealed)
        body = id_end + _SALT_BYTES + _NONCE_BYTES
        if len(sealed) <= body:
            raise RecordBroken(f"a {label.kind} record is too short to be one")
        key = self._keys.get(sealed_by(sealed))
        if key is None:
            raise KeyUnknown(
                f"a {label.kind} record was sealed by a key that this replica does not have. "
                "Give every replica the same SIDECAR_SESSION_KEYS, old keys included"
            )
        salt, nonce = sealed[id_end : id_end + _SALT_BYTES], sealed[body - _NONCE_BYTES : body]
        cipher = AESGCM(_derive(key.secret, f"record:{label.kind}", salt))
        try:
            return cipher.decrypt(nonce, sealed[body:], sealed[:body] + label.encode())
        except InvalidTag as error:
            raise RecordBroken(f"a {label.kind} record does not open with its key") from error

    def has_replaced(self, sealed: bytes) -> bool:
        """Whether what sealed this was derived, as the ring's first key is, from an older secret.

        Nobody will ever have that key again: what it sealed is gone, and no fault.
        """
        key_id = sealed_by(sealed)
        derived = is_derived(key_id) and is_derived(self._sealing.id)
        return derived and key_id not in self._keys

    def sign(self, text: str) -> str:
        """The MAC that the ring's first key puts under `text` (a session cookie)."""
        return _mac(self._signing[0], text)

    def signed(self, text: str, mac: str) -> bool:
        """Whether a key of the ring made `mac`; compared in constant time."""
        given = mac.encode()
        return any(hmac.compare_digest(_mac(key, text).encode(), given) for key in self._signing)


def derived_key(secret: bytes) -> Key:
    """The key that follows from Argo CD's `server.secretkey`, the same on every replica.

    Its id follows from it too: what another `server.secretkey` has sealed is seen to be that.
    """
    key = _derive(secret, "session-keys")
    return Key(_DERIVED + _derive(key, "key-id")[:8].hex(), key)


def is_derived(key_id: str) -> bool:
    """Whether a key follows from Argo CD's `server.secretkey`, by its id."""
    return key_id.startswith(_DERIVED)


def key_check(key: Key) -> str:
    """A word that follows from a key, by which two keys of one id are told apart, and no more."""
    return _derive(key.secret, "key-check")[:8].hex()


def parse_keys(text: str) -> list[Key]:
    """The keys written as `id:base64 of 32 bytes`, separated by commas or lines.

    Raises:
        ValueError: with a sentence that names the key's id and the mend, never the key.
    """
    keys: list[Key] = []
    entries = [entry.strip() for line in text.splitlines() for entry in line.split(",")]
    for entry in filter(None, entries):
        key = _parse_key(entry)
        if any(key.id == other.id for other in keys):
            raise ValueError(f"key id '{key.id}' is given twice. Give each key an id of its own")
        keys.append(key)
    if not keys:
        raise ValueError("has no key. Make one with: sidecar keys new")
    return keys


def _parse_key(entry: str) -> Key:
    key_id, colon, encoded = entry.partition(":")
    if not colon or not key_id.isascii() or not key_id.isalnum() or len(key_id) > 32:
        raise ValueError(
            "has an entry that is not 'id:base64 of 32 bytes' (id: 1 to 32 letters and digits). "
            "Make one with: sidecar keys new"
        )
    try:
        secret = base64.b64decode(encoded, validate=True)
    except ValueError:  # not base64, or not even ASCII
        raise ValueError(f"key '{key_id}' is not base64. Make one with: sidecar keys new") from None
    if len(secret) != KEY_BYTES:
        raise ValueError(
            f"key '{key_id}' has {len(secret)} bytes; {KEY_BYTES} are needed. "
            "Make one with: sidecar keys new"
        )
    return Key(key_id, secret)


def sealed_by(sealed: bytes) -> str:
    """The id of the key that says to have sealed a record, which is in clear in front of it."""
    return sealed[1 : _id_end(sealed)].decode("ascii", "replace")


def _id_end(sealed: bytes) -> int:
    return 1 + int.from_bytes(sealed[:1])


def _derive(secret: bytes, purpose: str, salt: bytes | None = None) -> bytes:
    info = b"argocd-token-refresh/" + purpose.encode()
    return HKDF(SHA256(), KEY_BYTES, salt, info).derive(secret)


def _mac(key: bytes, text: str) -> str:
    digest = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return base64url(digest)
