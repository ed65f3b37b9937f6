"""What it costs to confirm the sessions in use twice a second."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from bench.machine import cpu_seconds
from bench.place import Maker, Replica, maker, replica, use_all, valkey_cpu
from bench.provider import provider
from bench.serving import double
from bench.tokens import LIFE_SECONDS
from sidecar.demo.valkey import valkey


@dataclass(frozen=True)
class _Rounds:
    """What the rounds of a while took."""

    cpu_share: float
    round_ms: float
    round_cpu_ms: float
    """Of the whole process: what it does beside is the share without sessions."""
    rounds_each_second: float
    records: float
    """How many records the store looked at in each round."""
    valkey_cpu_share: float


async def confirm(*, few: int = 1000, many: int = 10_000, seconds: float = 10.0) -> dict[str, Any]:
    """One replica with no sessions, a few, and many in use; nobody asks for anything meanwhile."""
    async with AsyncExitStack() as owned:
        store_url = await owned.enter_async_context(valkey())
        store = await owned.enter_async_context(Redis.from_url(store_url))
        upstream = await owned.enter_async_context(double("bench.upstream", {}))
        asked = await owned.enter_async_context(provider(delay=0, length=100))
        making = await owned.enter_async_context(maker(store_url, asked.issuer))
        environment = {
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_ISSUER": asked.issuer,
            "SIDECAR_STORE_URL": store_url,
        }
        running = await owned.enter_async_context(replica(environment))
        idle = await _rounds(running, store, seconds / 2)
        made = await _made(making, 0, few)
        await use_all(running.port, made)
        with_few = await _rounds(running, store, seconds)
        made += await _made(making, few, many)
        began_at = time.monotonic()
        await use_all(running.port, made)
        loading = time.monotonic() - began_at
        with_many = await _rounds(running, store, seconds)
        counted = await running.metrics()
    return {
        "few": few,
        "many": many,
        "cpu_share": round(with_many.cpu_share, 3),
        f"cpu_share_{few}": round(with_few.cpu_share, 3),
        "cpu_share_idle": round(idle.cpu_share, 3),
        f"round_ms_{few}": round(with_few.round_ms, 1),
        f"round_ms_{many}": round(with_many.round_ms, 1),
        f"round_cpu_ms_{few}": round(with_few.round_cpu_ms, 1),
        f"round_cpu_ms_{many}": round(with_many.round_cpu_ms, 1),
        f"records_each_round_{few}": round(with_few.records),
        f"records_each_round_{many}": round(with_many.records),
        f"rounds_each_second_{few}": round(with_few.rounds_each_second, 2),
        f"rounds_each_second_{many}": round(with_many.rounds_each_second, 2),
        "valkey_cpu_share": round(with_many.valkey_cpu_share, 3),
        f"valkey_cpu_share_{few}": round(with_few.valkey_cpu_share, 3),
        "valkey_cpu_share_idle": round(idle.valkey_cpu_share, 3),
        "cached_bytes": round(counted["cached_bytes"]),
        "loaded_in_seconds": round(loading, 1),
    }


async def _made(making: Maker, first: int, last: int) -> list[Any]:
    users = (f"user-{number}" for number in range(first, last))
    return list(await making.sessions(users, ends_at=time.time() + LIFE_SECONDS))


async def _rounds(running: Replica, store: Redis, seconds: float) -> _Rounds:
    before, looks = await running.metrics(), await _looks(store)
    cpu, of_store, began_at = cpu_seconds(running.pid), await valkey_cpu(store), time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began_at
    cpu, of_store = cpu_seconds(running.pid) - cpu, await valkey_cpu(store) - of_store
    looks = await _looks(store) - looks
    after = await running.metrics()
    rounds = after[_COUNT] - before[_COUNT]
    return _Rounds(
        cpu_share=cpu / took,
        round_cpu_ms=cpu / max(rounds, 1) * 1000,
        round_ms=(after[_SUM] - before[_SUM]) / max(rounds, 1) * 1000,
        rounds_each_second=rounds / took,
        records=looks / max(rounds, 1),
        valkey_cpu_share=of_store / took,
    )


_COUNT, _SUM = "confirmation_seconds_count", "confirmation_seconds_sum"


async def _looks(store: Redis) -> int:
    """How many records' write ids the server has looked at."""
    found = await store.info("commandstats")
    return int(found.get("cmdstat_hget", {}).get("calls", 0))
