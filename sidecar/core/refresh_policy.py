"""Use, renew, back off, over: the one decision about a grant's tokens."""

import hashlib
import math
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from sidecar.core.grant import Grant

WINDOW_AT_LEAST_SECONDS = 150.0  # a slow provider, and a try or two more, fit into it
JITTER_SHARE = 0.2  # of the window: spreads what was logged in together
MIN_INTERVAL_SECONDS = 10.0
# Argo CD gives `exp` no leeway; the request still has to get there, and be checked.
TRAVEL_SECONDS = 1.0
# Before a refresh token's own end: a try or two more fit into it.
REFRESH_TOKEN_MARGIN_SECONDS = 60.0
# Uses are noted once a minute, so a session that is used has been seen as lately as that.
ACTIVE_WITHIN_SECONDS = 150.0
# Until another try is there: the wait for whoever may hold the answer, and the way.
REUSE_MARGIN_SECONDS = 6.0
# Of an error that one grant alone meets: long enough for an outage behind the provider.
ALONE_TRIES = 5
ALONE_SECONDS = 3600.0
_NEVER = math.inf


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
    reuse_window: float = 0.0,
    store_is_ahead: float = 0.0,
    key_gone: bool = False,
) -> Decision:
    """What to do for a request at `now`, in Unix seconds by the local clock.

    The store's clock, by which intents are written, is `store_is_ahead` of that, in seconds.

    `min_life` is the life in seconds that the token must have left (streams, terminals), at
    most half of a token's life; `retry_at` is when a failed renewal may be tried again;
    `reuse_window` is for how many seconds the provider takes a spent refresh token again. A token
    whose key is gone is as good as ended: it is renewed first, however new it is.
    """
    tokens = grant.tokens
    left = 0.0 if key_gone else usable_seconds(grant, now)
    needed = min(min_life, _life(grant) / 2)
    ends_soon = _refresh_token_due_at(grant) <= now
    if left > max(needed, _window_seconds(grant, window)) and not ends_soon:
        return Decision(Action.USE)
    if not tokens.refresh_token:
        return Decision(Action.USE if left > 0 else Action.OVER)
    if not grant.renews_id_token:
        return Decision(Action.USE if left > 0 else Action.LOG_IN_SILENTLY)
    next_try = retry_at if key_gone else max(retry_at, _renewed_lately_until(grant, now))
    if next_try > now:
        return Decision(Action.BACK_OFF, next_try)
    harmless = is_harmless_again(grant, now + store_is_ahead, reuse_window)
    if left > 0 and grant.answer_unknown and not harmless:
        # A second try with a spent token would end the grant: not yet.
        return Decision(Action.USE)
    if left > needed:
        return Decision(Action.USE_AND_RENEW)
    return Decision(Action.RENEW_FIRST)


def used_until(grant: Grant, *, window: RefreshWindow, min_life: float = 0.0) -> float:
    """The instant, in Unix seconds, before which `decide` says `USE` whatever else is the case."""
    tokens = grant.tokens
    travel = min(TRAVEL_SECONDS, _life(grant) / 20)
    needed = max(min(min_life, _life(grant) / 2), _window_seconds(grant, window))
    return min(tokens.id_token_expires_at - travel - needed, _refresh_token_due_at(grant))


def is_harmless_again(grant: Grant, now: float, reuse_window: float) -> bool:
    """Whether the provider would take the refresh token again, though it may be spent.

    `now` is by the store's clock, as the intent's instant is: replicas' own may differ.
    """
    if grant.intent is None:
        return True
    return 0 <= now - grant.intent.at <= reuse_window - REUSE_MARGIN_SECONDS


def is_over_alone(grant: Grant, now: float, *, tries: int, since: float, renewed_at: float) -> bool:
    """Whether a grant is over, whose refresh alone fails with an error that could pass.

    Dex says so of a dismissed user, and of everybody while what is behind it is away. It was
    tried `tries` times after its token's end, first at `since`; `renewed_at` is when the
    provider last renewed any other grant, both by one clock. `now` is in Unix seconds by the
    local clock.
    """
    if tries < ALONE_TRIES:
        return False
    return renewed_at > since or now - grant.tokens.id_token_expires_at > ALONE_SECONDS


class Background(StrEnum):
    """Which sessions are renewed without a request."""

    OFF = "off"
    ACTIVE = "active"
    """Those used within one ID token's life; others once before their refresh token's end."""
    ALL = "all"


def background_due_at(
    grant: Grant, *, window: RefreshWindow, background: Background, unused_seconds: float
) -> float | None:
    """When a grant is to be renewed without a request, in Unix seconds; None: not at all.

    `unused_seconds` is how long none of its sessions was used.
    """
    if background is Background.OFF or not grant.tokens.refresh_token:
        return None
    due_at = _refresh_token_due_at(grant)
    used = unused_seconds <= max(_life(grant), ACTIVE_WITHIN_SECONDS)
    if grant.renews_id_token and (used or background is Background.ALL):
        opens_at = grant.tokens.id_token_expires_at - _window_seconds(grant, window)
        due_at = min(due_at, opens_at)
    return due_at if due_at < _NEVER else None


def _window_seconds(grant: Grant, window: RefreshWindow) -> float:
    """The grant's own window: jitter makes it open a little later."""
    return window.length_seconds(_life(grant)) * (1 - JITTER_SHARE * _jitter(grant.id))


def _refresh_token_due_at(grant: Grant) -> float:
    """When the refresh token must be renewed to live on; never, where it has no end."""
    tokens = grant.tokens
    if tokens.refresh_token_expires_at is None:
        return _NEVER
    life = tokens.refresh_token_expires_at - tokens.renewed_at
    return tokens.refresh_token_expires_at - min(REFRESH_TOKEN_MARGIN_SECONDS, life / 4)


def usable_seconds(grant: Grant, now: float) -> float:
    """How long the ID token can still be sent upstream; 0 or less when it cannot."""
    return usable_until(grant) - now


def usable_until(grant: Grant) -> float:
    """The instant, in Unix seconds, until which the ID token can be sent upstream."""
    return grant.tokens.id_token_expires_at - min(TRAVEL_SECONDS, _life(grant) / 20)


def _life(grant: Grant) -> float:
    """The ID token's life by the provider's own clock, so that a skewed one does not matter."""
    return max(grant.tokens.id_token_expires_at - grant.tokens.id_token_issued_at, 1.0)


def _renewed_lately_until(grant: Grant, now: float) -> float:
    """Until when another renewal would be too soon, so that skewed clocks make no storm.

    An instant in the future was written by a clock ahead of ours, and says nothing.
    """
    renewed_at = grant.tokens.renewed_at
    interval = min(MIN_INTERVAL_SECONDS, _life(grant) / 4)
    return renewed_at + interval if renewed_at <= now else 0.0


def _jitter(grant_id: str) -> float:
    """A number in [0, 1) that is the grant's own, and the same in every replica."""
    return hashlib.sha256(grant_id.encode()).digest()[0] / 256
