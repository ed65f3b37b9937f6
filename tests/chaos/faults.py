"""What goes wrong, and when: planned from a seed, done to real processes."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tests.chaos.evidence import Halt
from tests.chaos.replicas import Fleet, Replica, connections_to
from tests.chaos.store import StoreView
from tests.system.process import until_ready

KILL_EVERY_SECONDS = 1.0
# Replicas look twice a second at what the others have written.
TOLD_WITHIN_SECONDS = 1.5
STARTS_WITHIN_SECONDS = 5.0
STALL_SECONDS = 1.5
LOOKED_AT_SECONDS = HEALED_WITHIN_SECONDS = 10.0  # on a machine that has other work, too
STOP_AT_SECONDS, LATEST_STOP_SECONDS = 5.0, 60.0
STOP_SECONDS = 40.0  # a lease has 36
_LOOK_EVERY_SECONDS = 0.01


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When what goes wrong, in seconds from the start; the dice say to whom."""

    seed: int
    flush_at: float
    stalls_at: tuple[float, ...]
    end_at: float

    @classmethod
    def from_seed(cls, seed: int) -> "Plan":
        """Another plan for each seed, and always the same one."""
        dice = random.Random(seed)
        flush_at = dice.choice((dice.uniform(20, 26), dice.uniform(49, 55)))
        stalls_at = (dice.uniform(9, 15), dice.uniform(31, 40))
        return cls(seed=seed, flush_at=flush_at, stalls_at=stalls_at, end_at=dice.uniform(8, 40))


@dataclass
class Faults:
    """Does it."""

    plan: Plan
    fleet: Fleet
    store: StoreView
    provider_port: int
    look_everywhere: Callable[[float], Awaitable[None]]
    began_at: float = field(default_factory=time.monotonic)
    kills: list[Halt] = field(default_factory=list)
    stops: list[Halt] = field(default_factory=list)
    flushed_at: float = 0.0
    others: list[tuple[float, str]] = field(default_factory=list)
    """What befell the store, and when (`time.monotonic()`)."""

    def __post_init__(self) -> None:
        self._dice = random.Random(self.plan.seed + 1)

    async def run(self, enough: Callable[[], bool], *, seconds: float, most: float) -> None:
        """All of it, for `seconds`; for longer, `most` at most, until it was enough."""
        async with asyncio.TaskGroup() as others:
            others.create_task(self._stop_past_the_lease())
            for at in self.plan.stalls_at:
                others.create_task(self._stall(at))
            await self._kill_and_flush(enough, seconds, most)

    async def _kill_and_flush(
        self, enough: Callable[[], bool], seconds: float, most: float
    ) -> None:
        """A kill each second, every other one of a lease holder; one loss of all data.

        Where processes need longer than that to start, the next kill waits for the last one: else
        no replica would ever be there, and nothing could be asked of it.
        """
        at = 0.0
        for number in itertools.count(1):
            # What took longer, on a slow machine, is not made up for by a burst.
            at = max(at + KILL_EVERY_SECONDS, self._now())
            if not self.flushed_at and at + TOLD_WITHIN_SECONDS > self.plan.flush_at:
                await self._flush()
                at = self._now()
            await self._until(at)
            if self._now() > (seconds if enough() else most):
                return
            caught = number % 2 and await self._lease_holder(at + KILL_EVERY_SECONDS * 0.9)
            victim, halt = caught or self._anybody()
            self.kills.append(halt)
            await victim.die()
            with suppress(TimeoutError):
                async with asyncio.timeout(STARTS_WITHIN_SECONDS):
                    await until_ready(victim.admin)

    def _anybody(self) -> tuple[Replica, Halt]:
        """Mostly the one that has just started, as when a replica dies again and again."""
        living = self.fleet.in_service()
        youngest = max(living, key=lambda each: each.started_at)
        victim = self._dice.choice((youngest, youngest, self._dice.choice(living)))
        return victim, victim.stop(provider_port=self.provider_port)

    async def _flush(self) -> None:
        """Lose all data, once everybody who is in use is known to all replicas that live.

        Nobody is killed until it is there again: that some replica lives is what is promised for.
        """
        for replica in self.fleet.in_service():
            await until_ready(replica.admin)
        await self.look_everywhere(LOOKED_AT_SECONDS)
        await asyncio.sleep(TOLD_WITHIN_SECONDS)
        await self.store.flush()
        self.flushed_at = time.monotonic()
        self.others.append((self.flushed_at, "the store has lost all"))
        await asyncio.sleep(TOLD_WITHIN_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(HEALED_WITHIN_SECONDS):
                await self.store.until_healed()
        self.others.append((time.monotonic(), "the store has it again"))

    async def _lease_holder(self, until: float) -> tuple[Replica, Halt] | None:
        """A replica that holds a lease, stopped with it; None where nobody took one in time.

        A lease's value in the store is a random name that tells nothing of its owner. But a
        refresh is sent under a lease only, and each on a connection of its own: who is connected
        to the provider is a holder, and just now has a refresh token presented.
        """
        while self._now() < until:
            living = self.fleet.in_service()
            for each in self._dice.sample(living, len(living)):
                if connections_to(each.pid, self.provider_port):
                    halt = each.stop(provider_port=self.provider_port)
                    if halt.held_a_lease:
                        return each, halt
                    each.go_on()
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        return None

    async def _stop_past_the_lease(self) -> None:
        """Let a lease holder stand still until long after its lease has ended."""
        await self._until(STOP_AT_SECONDS)
        caught = await self._lease_holder(LATEST_STOP_SECONDS)
        if caught is None:
            return
        stopped, halt = caught
        self.stops.append(replace(halt, until=float("inf")))
        try:
            await asyncio.sleep(STOP_SECONDS)
        finally:
            self.stops = [replace(halt, until=time.monotonic())]
            stopped.go_on()

    async def _stall(self, at: float) -> None:
        await self._until(at)
        self.others.append((time.monotonic(), "the store stands still"))
        await self.store.stall(STALL_SECONDS)
        self.others.append((time.monotonic(), "the store goes on"))

    def _now(self) -> float:
        return time.monotonic() - self.began_at

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self._now()))
