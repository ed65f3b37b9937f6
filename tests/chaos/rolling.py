"""A rolling update of all replicas, one after the other, while people work and streams are open."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientTimeout

from tests.chaos.evidence import Evidence
from tests.chaos.people import Person
from tests.chaos.run import STRICT, Place, place
from tests.chaos.upstream import STREAM

USERS = 10
WORKS_SECONDS = 2.0  # between two updates: renewals on all replicas
_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Update:
    """A replica that was told to end, had gone, and was there again."""

    replica: str
    told_at: float
    gone_at: float
    ready_at: float


@dataclass(frozen=True, kw_only=True)
class Stream:
    """An event stream that was open at a replica, until its end was seen."""

    replica: str
    opened_at: float
    ended_at: float


@dataclass
class Rollout:
    """What an update leaves behind."""

    updates: list[Update] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    evidence: Evidence | None = None

    def early_ends(self) -> list[Stream]:
        """Streams that ended though nobody had told their replica to end."""
        return [each for each in self.streams if not self._was_told(each)]

    def late_ends(self, seconds: float) -> list[Stream]:
        """Streams that a browser had to wait for, though their replica was to end."""
        return [
            each
            for each in self.streams
            if (told := self._was_told(each)) and each.ended_at - told.told_at > seconds
        ]

    def summary(self) -> dict[str, Any]:
        """What a line of the result says."""
        assert self.evidence
        statuses = self.evidence.answers.statuses
        return {
            "updates": [
                {
                    "replica": each.replica,
                    "gone_after": round(each.gone_at - each.told_at, 2),
                    "ready_after": round(each.ready_at - each.gone_at, 2),
                }
                for each in self.updates
            ],
            "statuses": {str(status): count for status, count in statuses.items()},
            "unheard": dict(self.evidence.answers.unheard),
            "streams": len(self.streams),
            "forced_logins": len(self.evidence.forced_logins),
            "renewals": sum(entry.kind == "refresh" for entry in self.evidence.log),
        }

    def _was_told(self, stream: Stream) -> Update | None:
        return next(
            (
                update
                for update in self.updates
                if update.replica == stream.replica
                and stream.opened_at <= update.gone_at
                and update.told_at <= stream.ended_at <= update.gone_at
            ),
            None,
        )


async def rolling_update(seed: int, *, logs: Path) -> Rollout:
    """Update every replica once."""
    found = Rollout()
    async with place(STRICT, seed, logs=logs, users=USERS) as here:
        async with asyncio.TaskGroup() as beside:
            work = [here.crowd.work(), here.store.watch()]
            tasks = [beside.create_task(each) for each in work]
            tasks += [beside.create_task(_watches(p, here, found)) for p in here.crowd.people]
            await asyncio.sleep(WORKS_SECONDS)
            for replica in here.fleet.replicas:
                found.updates.append(await _update(here, replica.name))
                await asyncio.sleep(WORKS_SECONDS)
            here.crowd.over = here.store.over = True
            for task in tasks:
                task.cancel()
        found.evidence = await here.evidence()
    return found


async def _update(here: Place, name: str) -> Update:
    replica = next(each for each in here.fleet.replicas if each.name == name)
    told_at = time.monotonic()
    gone_at = await replica.end()
    ready_at = await replica.start_again()
    return Update(replica=name, told_at=told_at, gone_at=gone_at, ready_at=ready_at)


async def _watches(person: Person, here: Place, found: Rollout) -> None:
    """Have an event stream open, and another one whenever it ends."""
    http = person.browser.http
    while not here.crowd.over:
        replica = here.crowd.dice.choice(here.fleet.in_service())
        with suppress(ClientError, ConnectionError):
            async with http.get(
                replica.base + STREAM.decode(), timeout=ClientTimeout(total=None)
            ) as answer:
                opened_at = time.monotonic()
                if answer.status == 200:
                    with suppress(ClientError, ConnectionError):
                        await answer.content.read()
                    if not here.crowd.over:
                        ended = Stream(
                            replica=replica.name, opened_at=opened_at, ended_at=time.monotonic()
                        )
                        found.streams.append(ended)
        await asyncio.sleep(_AGAIN_SECONDS)
