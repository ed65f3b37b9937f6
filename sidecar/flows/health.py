"""Whether store and provider answer: one that fails again and again is asked now and then only."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from sidecar.core.breaker import CLOSED
from sidecar.errors import (
    ProviderUnavailable,
    RecordUnreadable,
    SessionOver,
    StoreUnavailable,
)
from sidecar.flows.tasks import Runtime
from sidecar.ports import Clock

_T = TypeVar("_T")

FAILURES = 3
ASK_EVERY_SECONDS = 0.5
_TRIES = 3
_TRY_AGAIN_SECONDS = 0.1


async def insist(step: Callable[[], Awaitable[_T]], clock: Clock) -> _T:
    """What a step of the store gives; one that counts once may be tried a few times.

    Raises:
        StoreUnavailable: after the last try; it is not known whether the step happened.
    """
    for _ in range(_TRIES - 1):
        with suppress(StoreUnavailable):
            return await step()
        await clock.sleep(_TRY_AGAIN_SECONDS)
    return await step()


class StoreHealth:
    """A breaker for the reads of the hot path, so that requests do not wait in vain."""

    def __init__(self, runtime: Runtime) -> None:
        self._clock = runtime.clock
        self._log = runtime.log
        self._failures = 0
        self._ask_at = 0.0
        runtime.metrics.store_away.set_function(lambda: self.away)

    @property
    def failing(self) -> bool:
        """Whether the last question had no answer."""
        return self._failures > 0

    @property
    def away(self) -> bool:
        """Whether the last few had none."""
        return self._failures >= FAILURES

    def refuse_while_away(self) -> bool:
        """Whether this question is the one that tries a store that was away.

        Raises:
            StoreUnavailable: it has failed lately, and its next question is another's.
        """
        if not self.away:
            return False
        if self._clock.monotonic() < self._ask_at:
            raise StoreUnavailable("the store is away; see SIDECAR_STORE_URL")
        self._ask_at = self._clock.monotonic() + ASK_EVERY_SECONDS
        return True

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Learn from a question to the store how it is."""
        try:
            yield
        except (SessionOver, RecordUnreadable):
            self._answered()
            raise
        except StoreUnavailable as error:
            self._failures += 1
            self._ask_at = self._clock.monotonic() + ASK_EVERY_SECONDS
            if self._failures == FAILURES:
                self._log.error("store_away", error=str(error), mend="see SIDECAR_STORE_URL")
            raise
        self._answered()

    def _answered(self) -> None:
        if self.away:
            self._log.warning("store_back")
        self._failures = 0


class ProviderHealth:
    """A breaker for renewals: where the provider fails several grants, one at a time asks it."""

    def __init__(self, runtime: Runtime) -> None:
        self._clock = runtime.clock
        self._random = runtime.random
        self._breaker = CLOSED
        runtime.metrics.provider_away.set_function(lambda: self.away)

    @property
    def away(self) -> bool:
        """Whether the provider is taken to be away."""
        return bool(self._breaker.opened)

    def retry_at(self) -> float:
        """When a renewal may ask again (`Clock.monotonic()`); 0 where it may ask now."""
        return self._breaker.retry_at(self._clock.monotonic())

    def answered(self) -> None:
        """The provider has answered, whatever it said."""
        self._breaker = CLOSED

    @contextmanager
    def judged(self, grant_id: str) -> Iterator[bool]:
        """Whether a grant's renewal may ask the provider; learn from it how the provider is."""
        asking = self._breaker.ask(self._clock.monotonic())
        if asking is None:
            yield False
            return
        self._breaker = asking
        try:
            yield True
        except ProviderUnavailable as error:
            if not error.only_this_grant:
                self._breaker = self._breaker.failed(
                    grant_id,
                    self._clock.monotonic(),
                    at_least=error.retry_after_seconds,
                    share=int.from_bytes(self._random(2)) / 65536,
                )
            raise
        finally:
            if asking.probing and self._breaker is asking:
                self._breaker = asking.unanswered()
