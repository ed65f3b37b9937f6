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
        too_soon: Callable[[], None] = lambda: None,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._too_soon = too_soon
        self._lock = asyncio.Lock()
        self._value: _T | None = None
        self._fetched_at = 0.0
        self._next_at = 0.0
        self._why = ""

    async def get(self, *, max_age_seconds: float = DOCUMENT_AGE_SECONDS) -> _T:
        """The value, fetched again when it is as old as that."""
        if self._value is not None and not self.is_due(max_age_seconds):
            return self._value
        asked_at = self._clock.monotonic()
        async with self._lock:
            if self._value is not None and (
                self._fetched_at >= asked_at or not self.is_due(max_age_seconds)
            ):
                return self._value
            return await self._fetch_again()

    async def fresh(self, *, max_age_seconds: float) -> _T:
        """The value, if it is no older than that or could be fetched again.

        Raises:
            ProviderUnavailable: it could not.
        """
        value = await self.get(max_age_seconds=max_age_seconds)
        if self._clock.monotonic() > self._fetched_at + max_age_seconds:
            raise ProviderUnavailable(self._why)
        return value

    def is_due(self, max_age_seconds: float) -> bool:
        """Whether a value that is as old as that would be fetched again."""
        now = self._clock.monotonic()
        return now >= self._next_at and now >= self._fetched_at + max_age_seconds

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
        self._value, self._fetched_at = value, self._clock.monotonic()
        return value
