"""The store alone, with as many sessions as it is to hold: its memory, and what it does a second.

The records are those that a login writes, sealed, with all that belongs to them.
"""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, TypeVar

from redis.asyncio import Redis

from bench.machine import yardstick_ms
from bench.memory import ISSUER
from bench.place import Maker, at_once, maker, valkey_cpu
from bench.serving import HOST
from sidecar.adapters.redis_store import RedisStore
from sidecar.app import SystemClock
from sidecar.core.session import SessionKey
from sidecar.demo.valkey import valkey
from sidecar.edges import KEY_PREFIX
from sidecar.flows.cache import grant_name, session_name
from sidecar.flows.confirmations import BATCH
from sidecar.ports import RecordName, StoredSession, Write
from tests.world import free_port

LIFE_SECONDS = 4 * 3600  # longer than the store takes to be filled
_BEFORE = 24  # sessions for what is there once: scripts, connections
_FILLING = 64
_ASKING = 8
_TURNS = 10
_LOOKS = 5  # at each record: one takes too little time to be measured
_PATIENT_SECONDS = 10.0  # a busy machine is no fault of the store's
_A = TypeVar("_A")
_T = TypeVar("_T")


class FilledStore(RedisStore):
    """The store, to be filled."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, command_seconds=_PATIENT_SECONDS, **options)

    async def surplus(self, key: SessionKey, *, most: int) -> list[tuple[SessionKey, str]]:
        """None: each has one."""
        return []


@dataclass(frozen=True)
class _Filled:
    """A store with its sessions; `keys` are those of some."""

    redis: Redis
    store: RedisStore
    keys: list[SessionKey]
    told: dict[str, float]


async def alone(
    *, few: int = 5_000, more: int = 50_000, many: int = 1_000_000, asked: int = 5_000
) -> dict[str, Any]:
    """Three stores: what they hold, and what a question takes of each, asked in turns.

    Times are µs of a store's CPU. What else the machine does is in all of them, so those of the
    larger two are told by the smallest's: the middle one of the turns' ratios.
    """
    async with AsyncExitStack() as owned:
        stores = [await _filled(count, min(asked, few), owned) for count in (few, more, many)]
        asking = _Asking(stores, {})
        await asking.all_of_it()
    names = ("few", "more", "many")
    costs = [{kind: each[n] for kind, each in asking.costs.items()} for n in range(len(names))]
    told = (store.told for store in stores)
    return {
        "yardstick_ms": round(yardstick_ms(), 1),
        **{name: {**each, **cost} for name, each, cost in zip(names, told, costs, strict=True)},
    }


async def _filled(sessions: int, kept: int, owned: AsyncExitStack) -> _Filled:
    port = free_port()
    await owned.enter_async_context(valkey("--port", str(port), "--bind", HOST))
    url = f"redis://{HOST}:{port}/0"
    redis = await owned.enter_async_context(Redis.from_url(url))
    async with maker(url, ISSUER, life_seconds=LIFE_SECONDS, store_of=FilledStore) as making:
        await _write(making, "before", _BEFORE, kept=0)
        empty, began_at = await redis.info("memory"), time.monotonic()
        keys = await _write(making, "user", sessions, kept=kept)
        took = time.monotonic() - began_at
        full = await redis.info("memory")
    store = RedisStore(
        url, prefix=KEY_PREFIX, clock=SystemClock(), command_seconds=_PATIENT_SECONDS
    )
    owned.push_async_callback(store.aclose)
    used = full["used_memory"] - empty["used_memory"]
    told = {
        "sessions": sessions,
        "keys": await redis.dbsize(),
        "filled_in_seconds": round(took),
        "store_bytes": round(used / sessions),
        "used_mib": round(used / 2**20, 1),
        "resident_mib": round((full["used_memory_rss"] - empty["used_memory_rss"]) / 2**20),
    }
    return _Filled(redis, store, keys[:kept], told)


async def _write(making: Maker, name: str, count: int, *, kept: int) -> list[SessionKey]:
    """Write so many sessions; the keys of some, spread over all of them."""
    ends_at = time.time() + LIFE_SECONDS
    every = count // kept if kept else count + 1
    keys: list[SessionKey] = []

    async def write(number: int) -> None:
        made = await making.session(f"{name}-{number}", ends_at=ends_at)
        if number % every == 0:
            keys.append(making.key_of(made))

    await at_once(write, range(count), limit=_FILLING)
    return keys


@dataclass(frozen=True)
class _Asking:
    """The same questions to each of the stores, some at once."""

    stores: Sequence[_Filled]
    costs: dict[str, list[float]]

    async def all_of_it(self) -> None:
        """Loads, looks at records in batches, notes of a use, saves."""
        now = await self.stores[0].store.now()
        end = now + LIFE_SECONDS
        found = await self._each("load", _load, [each.keys for each in self.stores])
        batches = [_batches(each) for each in found]
        changes = await self._each("look", _look, batches, in_one=BATCH)
        if any(any(each) for each in changes):
            raise RuntimeError("records have changed that nobody has written")

        async def touch(store: RedisStore, one: _Loaded) -> None:
            grant_id = one.stored.grant_id
            await store.touch(one.key, grant_id, seen_at=now, idle_ends_at=end, ends_at=end)

        async def save(store: RedisStore, one: _Loaded) -> None:
            write = Write(2, os.urandom(16).hex(), one.grant_sealed, end)
            await store.save_grant(one.key.user_tag, one.stored.grant_id, write)

        await self._each("touch", touch, found)
        await self._each("save", save, found)

    async def _each(
        self,
        kind: str,
        ask: Callable[[RedisStore, _T], Awaitable[_A]],
        of: Sequence[Sequence[_T]],
        *,
        in_one: int = 1,
    ) -> list[list[_A]]:
        """The answers of each store to its questions, each of which is some in one."""
        answers: list[list[_A]] = [[] for _ in self.stores]
        turns: list[list[float]] = []
        seconds = [0.0 for _ in self.stores]
        size = max(len(of[0]) // _TURNS, 1)
        for first in range(0, size * min(_TURNS, len(of[0])), size):
            took: list[float] = []
            for n, at in enumerate(self.stores):
                asked = of[n][first : first + size]
                cpu, began_at = await valkey_cpu(at.redis), time.monotonic()
                answers[n] += await at_once(partial(ask, at.store), asked, limit=_ASKING)
                seconds[n] += time.monotonic() - began_at
                took.append((await valkey_cpu(at.redis) - cpu) / (len(asked) * in_one))
            turns.append(took)
        base = median(took[0] for took in turns) * 1e6
        ratios = [median(took[n] / took[0] for took in turns) for n in range(len(self.stores))]
        self.costs[f"{kind}_us"] = [round(base * ratio, 3) for ratio in ratios]
        self.costs[f"{kind}_each_second"] = [
            round(len(each) * in_one / took) for each, took in zip(answers, seconds, strict=True)
        ]
        return answers


@dataclass(frozen=True)
class _Loaded:
    """A session as it is stored."""

    key: SessionKey
    stored: StoredSession
    grant_sealed: bytes
    names: tuple[tuple[RecordName, str], ...]
    """Its two records, each with the write that is known of it."""


async def _load(store: RedisStore, key: SessionKey) -> _Loaded:
    stored = await store.load(key)
    if stored is None or stored.grant is None:
        raise RuntimeError("a session that was written is not there")
    names = (
        (session_name(key), stored.session.write_id),
        (grant_name(key.user_tag, stored.grant_id), stored.grant.write_id),
    )
    return _Loaded(key, stored, stored.grant.sealed, names)


async def _look(store: RedisStore, some: list[tuple[RecordName, str]]) -> dict[RecordName, Any]:
    return dict(await store.changed(some))


def _batches(found: Sequence[_Loaded]) -> list[list[tuple[RecordName, str]]]:
    """Whole ones, so that each takes as long as another; of few records they repeat some."""
    known = [name for one in found for name in one.names]
    known *= -(-BATCH // len(known))
    return [known[n : n + BATCH] for n in range(0, len(known) - BATCH + 1, BATCH)] * _LOOKS
