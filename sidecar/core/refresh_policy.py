"""Use, renew, back off, over: the one decision about a grant's tokens."""

import hashlib
from dataclasses import dataclass
from enum import Enum, auto

from sidecar.core.grant import Grant

WINDOW_AT_LEAST_SECONDS = 150.0  # a slow provider, and a try or two more, fit into it
JITTER_SHARE = 0.2  # of the window: spreads what was logged in together
MIN_INTERVAL_SECONDS = 10.0
# Argo CD gives `exp` no leeway; the request still has to get there, and be checked.
TRAVEL_SECONDS = 1.0


class Action(Enum):
    """What to do with a request of this grant."""

    USE = auto()
    USE_AND_RENEW = auto()
    RENEW_FIRST = auto()
    BACK_OFF = auto()
    OVER = auto()
    LOG_IN_SILENTLY = auto()
    """The provider renews no ID tokens; a login without a form may bring one."""


@dataclass(frozen=True, slots=True)
class RefreshWindow:
    """The last part of an ID token's life: a share of it, or a length; one of the two is 0."""

    share: float = 0.25
    seconds: float = 0.0

    def length_seconds(self, life_seconds: float) -> float:
        """The window of a token with this life; never more than half of it."""
        length = self.seconds or max(self.share * life_seconds, WINDOW_AT_LEAST_SECONDS)
        return min(length, life_seconds / 2)


@dataclass(frozen=True, slots=True)
class Decision:
    """An action; for `BACK_OFF`, `retry_at` is the instant of the next try."""

    action: Action
    retry_at: float = 0.0


def decide(
    grant: Grant,
    now: float,
    *,
    window: RefreshWindow,
    min_life: float = 0.0,
    retry_at: float = 0.0,
) -> Decision:
    """What to do for a request at `now`, in Unix seconds by the local clock.

    `min_life` is the life in seconds that the token must have left (streams, terminals), at
    most half of a token's life; `retry_at` is when a failed renewal may be tried again.
    """
    tokens = grant.tokens
    life = _life(grant)
    left = usable_seconds(grant, now)
    needed = min(min_life, life / 2)
    if left > max(needed, window.length_seconds(life) * (1 - JITTER_SHARE * _jitter(grant.id))):
        return Decision(Action.USE)
    if not tokens.refresh_token:
        return Decision(Action.USE if left > 0 else Action.OVER)
    if not grant.renews_id_token:
        return Decision(Action.USE if left > 0 else Action.LOG_IN_SILENTLY)
    next_try = max(retry_at, _renewed_lately_until(grant, now))
    if next_try > now:
        return Decision(Action.BACK_OFF, next_try)
    if left > 0 and grant.answer_unknown:
        # On a strict provider a second try with a spent token ends the grant: not yet.
        return Decision(Action.USE)
    if left > needed:
        return Decision(Action.USE_AND_RENEW)
    return Decision(Action.RENEW_FIRST)


def usable_seconds(grant: Grant, now: float) -> float:
    """How long the ID token can still be sent upstream; 0 or less when it cannot."""
    return grant.tokens.id_token_expires_at - now - min(TRAVEL_SECONDS, _life(grant) / 20)


def _life(grant: Grant) -> float:
    """The ID token's life by the provider's own clock, so that a skewed one does not matter."""
    return max(grant.tokens.id_token_expires_at - grant.tokens.id_token_issued_at, 1.0)


def _renewed_lately_until(grant: Grant, now: float) -> float:
    """Until when another renewal would be too soon, so that skewed clocks make no storm.

    An instant in the future was written by a clock ahead of ours, and says nothing.
    """
    age = now - grant.tokens.renewed_at
    interval = min(MIN_INTERVAL_SECONDS, _life(grant) / 4)
    return now + interval - age if 0 <= age < interval else 0.0


def _jitter(grant_id: str) -> float:
    """A number in [0, 1) that is the grant's own, and the same in every replica."""
    return hashlib.sha256(grant_id.encode()).digest()[0] / 256
