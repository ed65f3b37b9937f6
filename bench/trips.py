"""How often a request asks the store: of a session in use, and of one that is used anew."""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.asyncio import Redis

from bench.field import SIDECAR, Field, field
from bench.load import paced
from bench.place import Made, use_all
from bench.tokens import LIFE_SECONDS

RATE = 1000
_CALL = re.compile(r"redis\.call\('(\w+)'")


@dataclass(frozen=True)
class _Told:
    """What the store was asked meanwhile, without what its scripts call in turn."""

    commands: int
    seconds: float

    def beyond(self, quiet: "_Told") -> float:
        """How many of them are not of the time, by what a while without requests had."""
        return self.commands - quiet.commands * self.seconds / quiet.seconds


async def trips(*, seconds: float = 5.0, sessions: int = 120) -> dict[str, Any]:
    """One sidecar: nobody asks; one session in use asks; then sessions that were never used.

    The confirmations, and the look at what is due, ask by the clock and not by requests. So
    what a while with requests has more than one of its length without is the requests'. The
    first session is in use in both, and all the others make a confirmation one command longer.
    """
    async with field([SIDECAR]) as places, places.store() as store:
        peer = places.peers[SIDECAR]
        await paced(places, peer, rate=RATE, seconds=1)
        quiet = await _meanwhile(store, asyncio.sleep(seconds))
        warm = await _meanwhile(store, paced(places, peer, rate=RATE, seconds=seconds))
        first, made = await _new(places, "first", sessions), await _new(places, "then", sessions)
        await use_all(peer.port, first)  # makes the connections that so many at once need
        cold = await _meanwhile(store, use_all(peer.port, made))
        again = await _meanwhile(store, use_all(peer.port, made))
    return {
        "quiet_per_second": round(quiet.commands / quiet.seconds, 1),
        "warm_requests": int(RATE * seconds),
        "warm_commands": round(warm.beyond(quiet), 1),
        "warm": round(max(warm.beyond(quiet), 0) / (RATE * seconds), 3),
        "cold_requests": sessions,
        "cold": round(cold.beyond(quiet) / sessions, 2),
        "cold_again": round(again.beyond(quiet) / sessions, 2),
    }


async def _new(places: Field, name: str, sessions: int) -> list[Made]:
    users = (f"{name}-{number}" for number in range(sessions))
    return await places.making.sessions(users, ends_at=time.time() + LIFE_SECONDS)


async def _meanwhile(store: Redis, work: Any) -> _Told:
    before, began_at = await _asked(store), time.monotonic()
    await work
    took = time.monotonic() - began_at
    return _Told(await _asked(store) - before - 1, took)  # our own question is one of them


async def _asked(store: Redis) -> int:
    found: Mapping[str, Any] = await store.info("commandstats")
    inside = _called_by_scripts()
    return sum(
        int(each["calls"])
        for name, each in found.items()
        if name.removeprefix("cmdstat_").partition("|")[0] not in inside
    )


def _called_by_scripts() -> set[str]:
    folder = resources.files("sidecar.adapters") / "scripts"
    return {
        name.lower()
        for file in folder.iterdir()
        if file.name.endswith(".lua")
        for name in _CALL.findall(file.read_text())
    }
