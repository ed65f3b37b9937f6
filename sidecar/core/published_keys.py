"""Whether a provider still publishes the key that signed a token.

A provider keeps a key published as long as a token signed by it may be good (Dex: `expiry.idTokens`
after its rotation). So one that has taken back the key of a good token has thrown that away, or has
forgotten everything: Argo CD refuses the token as soon as it reads the keys again.
"""

from dataclasses import dataclass
from enum import Enum, auto

from sidecar.core.id_token import key_id
from sidecar.core.tokens import TokenSet
from sidecar.errors import TokenInvalid


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """The ids of all keys as a provider publishes them; none where one of them has no id.

    `read_at` is when they were asked for, in Unix seconds by the local clock.
    """

    ids: frozenset[str]
    read_at: float


class KeyState(Enum):
    """What is known of the key of a token."""

    PUBLISHED = auto()
    """Nothing speaks against it."""
    UNKNOWN = auto()
    """It was not among the keys that were read before the token came: they are to be read again."""
    GONE = auto()
    """It is not among the keys that were read after the token came."""


def key_state(tokens: TokenSet, published: PublishedKeys | None) -> KeyState:
    """What is known of the key that signed the current ID token; None: no keys were read yet."""
    try:
        key = key_id(tokens.id_token)
    except TokenInvalid:
        key = None
    if published is None or key is None or not published.ids or key in published.ids:
        return KeyState.PUBLISHED
    return KeyState.GONE if published.read_at > tokens.renewed_at else KeyState.UNKNOWN


def is_lost_with_provider(tokens: TokenSet, now: float, *, noticed_at: float) -> bool:
    """Whether a provider that refuses a refresh token, and whose key is `GONE`, has lost its state.

    A key may go when the last token that it signed has ended. That of a good one may not; and once
    that was noticed at `noticed_at`, all tokens from before are gone for the same reason.
    """
    return tokens.id_token_expires_at > now or tokens.renewed_at < noticed_at
