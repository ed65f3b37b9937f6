"""Errors on event streams wait a little: Argo CD's UI asks again at once, and for ever."""

from collections.abc import Awaitable, Callable

from sidecar.errors import TryLater

HOLD_BACK_SECONDS = 5.0
HELD_BACK_AT_ONCE = 2000


class HoldBack:
    """Holds errors back, and not more at a time than the process bears."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep
        self._held = 0

    async def wait(self, error: TryLater) -> None:
        """Wait before this error is told."""
        if self._held >= HELD_BACK_AT_ONCE:
            return
        self._held += 1
        try:
            await self._sleep(min(error.retry_after_seconds, HOLD_BACK_SECONDS))
        finally:
            self._held -= 1
