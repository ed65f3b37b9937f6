"""A provider's document: fetched when it is needed, by one for all, and kept while it can be."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sidecar.errors import ProviderUnavailable
from sidecar.ports import Clock

DOCUMENT_AGE_SECONDS = 3600.0
RETRY_SECONDS = 1.0  # after a failed request

_T = TypeVar("_T")


class Remembered(Generic[_T]):
    """A fetched value: one fetch at a time, not too often, and the old one while that fails."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[_T]],
        clock: Clock,
        *,
        again_seconds: float,
        too_soon: Callable[[], None] = lambda: None,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._again_seconds = again_seconds
        self._too_soon = too_soon
        self._lock = asyncio.Lock()
        self._value: _T | None = None
        self._fetched_at = 0.0
        self._next_at = 0.0
        self._why = ""

    async def get(self, *, again: bool = False) -> _T:
        """The value, fetched when it is old, or asked for `again` and not too soon for that."""
        if self._value is not None and not self._due(again=again):
            if again:
                self._too_soon()
            return self._value
        asked_at = self._clock.monotonic()
        async with self._lock:
            if self._value is not None and (
                self._fetched_at >= asked_at or not self._due(again=again)
            ):
                return self._value
            return await self._fetch_again()

    def _due(self, *, again: bool) -> bool:
        now = self._clock.monotonic()
        return now >= self._next_at and (again or now >= self._fetched_at + DOCUMENT_AGE_SECONDS)

    async def _fetch_again(self) -> _T:
        now = self._clock.monotonic()
        if self._value is None and now < self._next_at:
            self._too_soon()
            raise ProviderUnavailable(f"{self._why}, a moment ago")
        try:
            value = await self._fetch()
        except ProviderUnavailable as error:
            self._why = str(error)
            # Counted from now: those who waited for a slow failure must not repeat it in turn.
            self._next_at = self._clock.monotonic() + RETRY_SECONDS
            if self._value is None:
                raise
            return self._value
        now = self._clock.monotonic()
        self._value, self._fetched_at, self._next_at = value, now, now + self._again_seconds
        return value
