"""What a session, a request, a renewal and a look each cost a replica and the store.

One replica goes through one thing after the other. What a thing costs is what the replica and the
store used meanwhile, less what they use for all that runs beside it, whose costs are known: the
store's own counters say how much of that there was.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from statistics import median
from typing import Any

from redis.asyncio import Redis

from bench.field import SIDECAR
from bench.ground import Ground, Used, ground
from bench.machine import yardstick_ms
from bench.place import TOKEN_LENGTH, Made, at_once, until, use_all
from bench.tokens import LIFE_SECONDS
from bench.weight import streams
from sidecar.core.refresh_policy import JITTER_SHARE
from sidecar.flows.sessions import TOUCH_EVERY_SECONDS

_UNSEEN_SECONDS = 2 * TOUCH_EVERY_SECONDS
_SLOWER = 2.0  # than the first time, on a machine that others use
_SETTLE_SECONDS = 1.0
_GIVE_UP_SECONDS = 60.0
_TOO_SLOW = "the machine is too slow now: sessions were due before all were made"
_OF_A_RENEWAL = frozenset(("SET", "HMGET", "ZADD", "save", "release", "last_seen"))
"""Commands and scripts; what the clock asks, renewals or not, is not among them."""


@dataclass(frozen=True)
class Cost:
    """CPU time of a replica and of the store, in µs, as on a machine whose yardstick is 1 ms."""

    replica: float
    store: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.replica + other.replica, self.store + other.store)

    def __sub__(self, other: "Cost") -> "Cost":
        return self + other * -1

    def __mul__(self, times: float) -> "Cost":
        return Cost(self.replica * times, self.store * times)

    def __truediv__(self, count: float) -> "Cost":
        return self * (1 / count)


def cost_of(used: Used) -> Cost:
    """What a while has taken, whatever the machine's pace was."""
    return Cost(used.of("cpu"), used.of("store_cpu")) * (1e6 / used.yardstick_ms)


async def costs(
    *,
    sessions: int = 5000,
    rate: float = 500.0,
    quiet_seconds: float = 8.0,
    told: int = 200,
    opened: int = 2000,
    times: int = 5,
) -> dict[str, Any]:
    """CPU times in µs, as on a machine with the yardstick beside them; memory in bytes."""
    spread = max(sessions / 200, 2.0)
    runs = []
    for _ in range(times):
        async with ground(window_seconds=spread / JITTER_SHARE) as place:
            runs.append(await _Course(place, sessions, spread).run(rate, quiet_seconds))
    return {
        **medians(runs, yardstick_ms()),
        "times": times,
        **await _commands(told),
        "token_bytes": 3 * TOKEN_LENGTH,
        "stream_kib": (await streams(names=[SIDECAR], streams=opened))["kib_each"][SIDECAR],
    }


@dataclass(frozen=True)
class _Course:
    """One thing after the other, at one replica."""

    place: Ground
    sessions: int
    spread_seconds: float
    """In which time all renewals come due."""

    async def run(self, rate: float, quiet_seconds: float) -> dict[str, float]:
        """All the costs; CPU times in µs, as on a machine whose yardstick is 1 ms."""
        place, port = self.place, self.place.running.port
        idle = await place.meanwhile(asyncio.sleep(quiet_seconds))
        rest_kib = place.resident_kib()
        began_at = time.time()
        made = await self._made("first")
        cold = await place.meanwhile(use_all(port, made))
        took = time.time() - began_at
        quiet = await place.meanwhile(asyncio.sleep(quiet_seconds))
        cached = (await place.running.metrics())["cached_bytes"]
        grown_kib = place.resident_kib() - rest_kib
        warm = await place.meanwhile(place.ask(made, rate=rate, seconds=quiet_seconds))
        made = await self._made("second")
        await at_once(lambda each: place.making.unseen(each, seconds=_UNSEEN_SECONDS), made)
        touched = await place.meanwhile(_use_and_settle(port, made))
        renewed = await self._renewals(_SLOWER * took + 2.0)

        second = cost_of(idle) / idle.seconds
        look = (cost_of(quiet) - second * quiet.seconds) / quiet.of("looks")

        def beyond(used: Used, loads: int = 0) -> Cost:
            """What was used beside the clock's work and the looks; a load and a touch look once."""
            looks = used.of("looks") - used.of("touches") - loads
            return cost_of(used) - second * used.seconds - look * looks

        request = beyond(warm) / warm.requests
        load = beyond(cold, self.sessions) / self.sessions - request
        first_use = (load + request) * self.sessions
        touch = (beyond(touched, self.sessions) - first_use) / touched.of("touches")
        renewal = beyond(renewed) / renewed.of("renewals")
        return {
            **_by_name(
                idle=second, look=look, request=request, load=load, touch=touch, renewal=renewal
            ),
            "idle_scripts": _figure(idle.of("scripts") / idle.seconds),
            "rest_mib": round(rest_kib / 1024, 1),
            "resident_bytes": round(grown_kib * 1024 / self.sessions),
            "cached_bytes": round(cached / self.sessions),
        }

    async def _made(self, name: str) -> list[Made]:
        users = (f"{name}-{number}" for number in range(self.sessions))
        return await self.place.making.sessions(users, ends_at=time.time() + LIFE_SECONDS)

    async def _renewals(self, within_seconds: float) -> Used:
        """Sessions in use that all come due, once they were made and used within this time."""
        place = self.place
        due_at = time.time() + within_seconds
        users = (f"due-{number}" for number in range(self.sessions))
        ends_at = due_at + self.spread_seconds / JITTER_SHARE
        await use_all(place.running.port, await place.making.sessions(users, ends_at=ends_at))
        if time.time() > due_at:
            raise RuntimeError(_TOO_SLOW)
        await until(due_at - _SETTLE_SECONDS)
        return await place.meanwhile(self._until_renewed())

    async def _until_renewed(self) -> None:
        give_up_at = time.time() + self.spread_seconds + _GIVE_UP_SECONDS
        while await self.place.asked.refreshes() < self.sessions:
            if time.time() > give_up_at:
                raise RuntimeError("not all sessions were renewed")
            await asyncio.sleep(0.2)
        await asyncio.sleep(_SETTLE_SECONDS)


def _by_name(**costs: Cost) -> dict[str, float]:
    return {f"{name}_us": cost.replica for name, cost in costs.items()} | {
        f"store_{name}_us": cost.store for name, cost in costs.items()
    }


def medians(runs: Sequence[Mapping[str, float]], pace_ms: float) -> dict[str, float]:
    """What was found in the middle of several runs: a small cost is the difference of large ones.

    CPU times are told as on a machine with this yardstick.
    """
    found = {name: median(run[name] for run in runs) for name in runs[0]}
    times = {name: _figure(found[name] * pace_ms) for name in found if name.endswith("_us")}
    return {**found, **times, "yardstick_ms": round(pace_ms, 1)}


async def _use_and_settle(port: int, made: list[Made]) -> None:
    await use_all(port, made)
    await asyncio.sleep(_SETTLE_SECONDS)  # uses are noted behind the requests


async def _commands(sessions: int) -> dict[str, float]:
    """What a renewal asks of the store, counted by the store itself while it tells of all."""
    spread = 2.0
    async with ground(window_seconds=spread / JITTER_SHARE) as place:
        due_at = time.time() + 2.0 + sessions / 50
        users = (f"user-{number}" for number in range(sessions))
        await place.making.sessions(users, ends_at=due_at + spread / JITTER_SHARE)
        if time.time() > due_at:
            raise RuntimeError(_TOO_SLOW)
        counted: Counter[str] = Counter()
        listening = asyncio.get_running_loop().create_task(_listen(place.store, counted))
        try:
            while await place.asked.refreshes() < sessions:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            await asyncio.sleep(_SETTLE_SECONDS)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    asked = {name: calls / sessions for name, calls in counted.items() if name in _OF_A_RENEWAL}
    scripts = sum(calls for name, calls in asked.items() if name.islower())
    return {
        "renewal_scripts": _figure(scripts),
        "renewal_commands": _figure(sum(asked.values())),
    }


async def _listen(store: Redis, counted: Counter[str]) -> None:
    """Count what the clients ask; what scripts call in turn is not theirs."""
    names = _script_names()
    async with store.monitor() as told:
        async for one in told.listen():
            if one["client_type"] != "lua":
                command, _, rest = one["command"].partition(" ")
                counted[names.get(rest[:40], command)] += 1


def _script_names() -> dict[str, str]:
    """The scripts' names by their digests, as EVALSHA has them."""
    folder = resources.files("sidecar.adapters") / "scripts"
    return {
        hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest(): file.name[:-4]
        for file in folder.iterdir()
        if file.name.endswith(".lua")
    }


def _figure(value: float) -> float:
    """Three digits: more would say nothing."""
    return float(f"{value:.3g}")
