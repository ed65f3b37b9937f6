"""Ten thousand people at one replica: what the model says that they take, and what they take."""

import time
from typing import Any

from redis.asyncio import Redis

from bench.ground import Ground, Used, ground
from bench.place import Made, at_once, use_all
from bench.sizing_model import MIB, Cores, Costs, People, Replicas, renewal_seconds, takes
from sidecar.flows.sessions import TOUCH_EVERY_SECONDS

TOKEN_SECONDS = 300
_BEFORE = 24  # sessions for what is there once: scripts, connections
_COUNT, _SUM = "confirmation_seconds_count", "confirmation_seconds_sum"


async def crowd(
    costs: Costs, *, sessions: int = 10_000, rate: float = 1000.0, seconds: float = 70.0
) -> dict[str, Any]:
    """By name, what was predicted and what was measured.

    Their tokens are of all ages, and so is the last note of their use; for that they are served
    for a while before it counts. What counts lasts until each use was noted once more.
    """
    async with ground(life_seconds=TOKEN_SECONDS) as place:
        await _made(place, "before", _BEFORE)
        empty_bytes, rest_kib = await _store_bytes(place.store), place.resident_kib()
        made = await _made(place, "user", sessions)
        full_bytes = await _store_bytes(place.store)
        await use_all(place.running.port, made)
        await place.ask(made, rate=rate, seconds=min(seconds, TOUCH_EVERY_SECONDS))
        before = await place.running.metrics()
        used = await place.meanwhile(place.ask(made, rate=rate, seconds=seconds))
        after = await place.running.metrics()
        resident_kib = place.resident_kib()
        reused = (await place.asked.seen()).reused
    rounds = max(after[_COUNT] - before[_COUNT], 1)
    asked = used.requests / used.seconds
    people = People(sessions, TOKEN_SECONDS, requests=asked / sessions, streams=0.0)
    return {
        "sessions": sessions,
        "token_seconds": TOKEN_SECONDS,
        "requests_each_second": round(asked),
        "seconds": round(used.seconds, 1),
        "yardstick_ms": round(used.yardstick_ms, 1),
        "waited": round(used.of("waited") / used.of("cpu"), 2),
        "store_waited": round(used.of("store_waited") / used.of("store_cpu"), 2),
        "rounds_each_second": round(rounds / used.seconds, 2),
        "reused_refresh_tokens": reused,
        "predicted": _predicted(costs, people, used, rest_kib),
        "measured": {
            "cpu": used.of("cpu") / used.seconds,
            "store_cpu": used.of("store_cpu") / used.seconds,
            "renewals": used.of("renewals") / used.seconds,
            "touches": used.of("touches") / used.seconds,
            "looks": (used.of("looks") - used.of("touches")) / used.seconds,
            "scripts": used.of("scripts") / used.seconds,
            "round_seconds": (after[_SUM] - before[_SUM]) / rounds,
            "cached_mib": after["cached_bytes"] / MIB,
            "resident_mib": resident_kib / 1024,
            "store_mib": (full_bytes - empty_bytes) / MIB,
        },
    }


def _predicted(costs: Costs, people: People, used: Used, rest_kib: int) -> dict[str, float]:
    """What the model says, of a machine as fast, and as full, as this one was meanwhile."""
    cores = Cores(
        used.of("waited") / used.of("cpu"), used.of("store_waited") / used.of("store_cpu")
    )
    taken = takes(costs.at(used.yardstick_ms), people, Replicas(), cores)
    return {
        "cpu": taken.cpu,
        "store_cpu": taken.store_cpu,
        "renewals": taken.renewals,
        "touches": people.touches,
        "looks": taken.looks,
        "scripts": taken.scripts,
        "round_seconds": taken.round_seconds,
        "cached_mib": taken.cached_mib,
        "resident_mib": taken.resident_mib,
        "store_mib": taken.store_mib,
    }


async def _made(place: Ground, name: str, count: int) -> list[Made]:
    """Sessions whose tokens come due one after the other, as long as a renewal lasts."""
    every = renewal_seconds(TOKEN_SECONDS)

    async def made(number: int) -> Made:
        # The youngest has its whole life before it, the oldest is due now.
        ends_at = time.time() + TOKEN_SECONDS - every * number / count
        return await place.making.session(f"{name}-{number}", ends_at=ends_at)

    return await at_once(made, range(count))


async def _store_bytes(store: Redis) -> int:
    return int((await store.info("memory"))["used_memory"])
