"""What befalls replicas and grants during a soak: kills, rolling updates, the provider's own ends.

The first replica lives as long as the run: what grows slowly is seen there.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tests.chaos.evidence import Halt
from tests.chaos.replicas import Fleet, Replica
from tests.faults.relays import Relays
from tests.hostile.client import Hostile
from tests.soak.judge import KEPT_HALTS
from tests.system.process import until_ready

FIRST_SECONDS, EVERY_SECONDS = (10.0, 20.0), (35.0, 70.0)
END_EVERY_SECONDS = (10.0, 30.0)
KILLS_SHARE = 0.6


@dataclass
class Accidents:
    """Does it, and notes what it has done."""

    fleet: Fleet
    links: Relays
    hostile: Hostile
    dice: random.Random
    anybodys_grant: Callable[[], int]
    kills: deque[Halt] = field(default_factory=lambda: deque(maxlen=KEPT_HALTS))
    counts: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._replicas())
            both.create_task(self._grants())

    async def _replicas(self) -> None:
        await asyncio.sleep(self.dice.uniform(*FIRST_SECONDS))
        while True:
            victim = self.dice.choice(self.fleet.replicas[1:])
            # A process that does not come up in time is waited for: another one may not go now.
            with suppress(TimeoutError):
                if self.dice.random() < KILLS_SHARE:
                    await self._kill(victim)
                else:
                    await self._roll(victim)
            await asyncio.sleep(self.dice.uniform(*EVERY_SECONDS))

    async def _kill(self, victim: Replica) -> None:
        halt = victim.stop(provider_port=self.links.ports["provider"])
        # The provider has seen the relay's ports in the place of the replica's own.
        ports = await self.links.server_ports("provider", halt.ports)
        self.kills.append(replace(halt, ports=ports))
        self.counts["kills"] += 1
        self.counts["kills_during_a_renewal"] += halt.held_a_lease
        await victim.die()
        await until_ready(victim.admin)

    async def _roll(self, victim: Replica) -> None:
        self.counts["rolls"] += 1
        told_at = time.monotonic()
        gone_at = await victim.end()
        seconds = round(gone_at - told_at)
        self.counts["longest_shutdown_seconds"] = max(
            seconds, self.counts["longest_shutdown_seconds"]
        )
        await victim.start_again()

    async def _grants(self) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(*END_EVERY_SECONDS))
            if grant := self.anybodys_grant():
                self.counts["grants_ended_by_script"] += await self.hostile.end(grant=grant)
