"""An ID token that has not ended, for what is done with it beside requests."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from sidecar.core.refresh_policy import usable_seconds
from sidecar.core.session import SessionKey
from sidecar.errors import SilentLoginNeeded, TryLater
from sidecar.flows.records import Live
from sidecar.ports import Clock

_LEFT_SECONDS = 10.0  # the browser still has to get to the provider with it
_WAIT_SECONDS = 5.0  # a person has clicked, and waits


class _Renewals(Protocol):
    def current(self, key: SessionKey, *, min_life: float = 0.0) -> Awaitable[Live | None]: ...


class Fresh:
    """Renews a session's ID token if it has ended, and the provider is quick about it."""

    def __init__(
        self, renewals: _Renewals, clock: Clock, *, wait_seconds: float = _WAIT_SECONDS
    ) -> None:
        self._renewals = renewals
        self._clock = clock
        self._wait_seconds = wait_seconds

    async def of(self, live: Live) -> Live:
        """The session with a token that is good for a while, or as it is if none can be had.

        Raises:
            SessionOver: it has ended, as it turned out.
        """
        if usable_seconds(live.grant, self._clock.now()) >= _LEFT_SECONDS:
            return live
        try:
            async with asyncio.timeout(self._wait_seconds):
                return (
                    await self._renewals.current(live.session.key, min_life=_LEFT_SECONDS) or live
                )
        except (TryLater, SilentLoginNeeded, TimeoutError):
            return live
