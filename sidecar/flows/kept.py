"""What is asked for once and kept for a while: one question at a time for each, renewed behind."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.errors import MachineCredentialUnavailable
from sidecar.flows.tasks import Tasks
from sidecar.ports import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST_ASKED = 16  # at a time: the Kubernetes API has others to serve
AGAIN_SECONDS = 2.0  # after a failure; meanwhile everybody is told the same


@dataclass(frozen=True, slots=True)
class Answer(Generic[V]):
    """A value, after how many seconds it is renewed, and after how many it is good no more."""

    value: V
    renew_seconds: float
    good_seconds: float


@dataclass(frozen=True, slots=True)
class _Held(Generic[V]):
    value: V
    renew_at: float
    good_until: float


class Kept(Generic[K, V]):
    """Values by key, `most` of them; the one that was fetched the longest ago goes first."""

    def __init__(
        self,
        fetch: Callable[[K], Awaitable[Answer[V]]],
        tasks: Tasks,
        clock: Clock,
        *,
        name: str,
        most: int,
    ) -> None:
        self._fetch = fetch
        self._tasks = tasks
        self._clock = clock
        self._name = name
        self._most = most
        self._held: dict[K, _Held[V]] = {}
        self._asking: dict[K, asyncio.Task[V]] = {}
        self._failed: dict[K, tuple[float, MachineCredentialUnavailable]] = {}

    def now(self, key: K) -> V | None:
        """The value if it is known and good; where it is due its renewal begins behind."""
        held = self._held.get(key)
        if held is None:
            return None
        now = self._clock.monotonic()
        if now >= held.good_until:
            return None
        if now >= held.renew_at and key not in self._asking and not self._has_failed(key, now):
            self._ask(key)
        return held.value

    async def get(self, key: K) -> V:
        """The value, asked for if it is not known; all who wait for it wait for one question.

        Raises:
            MachineCredentialUnavailable: there is no answer, or too much is being asked.
        """
        value = self.now(key)
        if value is not None:
            return value
        self._has_failed(key, self._clock.monotonic(), raises=True)
        asking = self._asking.get(key) or self._ask(key)
        if asking is None:
            raise MachineCredentialUnavailable(f"too many {self._name}s are asked for at once")
        return await asyncio.shield(asking)

    def forget(self, key: K) -> None:
        """Ask for a value anew before anybody gets it again."""
        self._held.pop(key, None)

    def _has_failed(self, key: K, now: float, *, raises: bool = False) -> bool:
        until, error = self._failed.get(key, (0.0, None))
        if error is None or now >= until:
            self._failed.pop(key, None)
            return False
        if raises:
            raise error
        return True

    def _ask(self, key: K) -> asyncio.Task[V] | None:
        if len(self._asking) >= MOST_ASKED:
            return None
        task = self._tasks.start(self._asked(key), self._name, awaited=True)
        self._asking[key] = task
        task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def _asked(self, key: K) -> V:
        began = self._clock.monotonic()
        try:
            answer = await self._fetch(key)
        except MachineCredentialUnavailable as error:
            _make_room(self._failed, self._most)
            self._failed[key] = (self._clock.monotonic() + AGAIN_SECONDS, error)
            raise
        self._held.pop(key, None)
        _make_room(self._held, self._most)
        self._held[key] = _Held(
            answer.value, began + answer.renew_seconds, began + answer.good_seconds
        )
        return answer.value


def _make_room(of: dict[K, V], most: int) -> None:
    while len(of) >= most:
        del of[next(iter(of))]
