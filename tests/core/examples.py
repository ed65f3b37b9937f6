"""What the tests of the core are made of: a grant, a key ring, and how properties are run."""

from dataclasses import replace
from typing import Any

from hypothesis import settings

from sidecar.core.grant import Grant, Sharing
from sidecar.core.sealing import SEAL_RANDOM_BYTES, Key, KeyRing
from sidecar.core.tokens import TokenSet

PREFIX = "argocd-token-refresh:"
SEAL_RANDOM = bytes(range(SEAL_RANDOM_BYTES))

# The same examples on every machine, however slow it is.
properties = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def key(name: str, byte: int = 1) -> Key:
    """A key of 32 equal bytes."""
    return Key(name, bytes([byte]) * 32)


def ring(*keys: Key) -> KeyRing:
    """A key ring of these, or of one key."""
    return KeyRing(keys or (key("2026a"),))


def token_set(*, life: float = 300.0, **changes: Any) -> TokenSet:
    """Tokens that were got at 1000, of which the ID token lives for `life`."""
    made = TokenSet(
        id_token="id-1",
        id_token_issued_at=1000.0,
        id_token_expires_at=1000.0 + life,
        access_token="access-1",
        access_token_expires_at=1060.0,
        refresh_token="refresh-1",
        refresh_token_expires_at=2800.0,
        renewed_at=1000.0,
    )
    return replace(made, **changes)


def grant(tokens: TokenSet | None = None, **changes: Any) -> Grant:
    """A grant of Alice's with these tokens."""
    made = Grant(
        id="grant-1",
        user_tag="alice",
        version=1,
        issuer="https://idp.example.org",
        client_id="argocd",
        subject="alice",
        sharing=Sharing.PER_SESSION,
        tokens=tokens or token_set(),
        ends_at=600_000.0,
        nonce="nonce-1",
    )
    return replace(made, **changes)
