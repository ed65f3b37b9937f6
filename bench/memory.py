"""How many bytes of Valkey a session takes."""

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio import Redis

from bench.place import TOKEN_LENGTH, maker
from bench.tokens import LIFE_SECONDS
from sidecar.app import SystemClock
from sidecar.demo.valkey import valkey
from sidecar.edges import KEY_PREFIX

ISSUER = "https://login.example.org/realms/main"


async def memory(*, sessions: int = 1000) -> dict[str, Any]:
    """By the server's own count of each key, and by what its memory has grown."""
    async with AsyncExitStack() as owned:
        store_url = await owned.enter_async_context(valkey())
        store = await owned.enter_async_context(Redis.from_url(store_url))
        making = await owned.enter_async_context(maker(store_url, ISSUER))
        ends_at = SystemClock().now() + LIFE_SECONDS
        # What is there once: scripts, connections.
        await making.sessions((f"before-{n}" for n in range(24)), ends_at=ends_at)
        before = int((await store.info("memory"))["used_memory"])
        await making.sessions((f"user-{n}" for n in range(sessions)), ends_at=ends_at)
        grown = int((await store.info("memory"))["used_memory"]) - before
        sizes: Counter[str] = Counter()
        async for key in store.scan_iter(count=1000):
            sizes[_kind(key.decode())] += int(await store.memory_usage(key, samples=0) or 0)
    by_keys = {kind: round(size / (sessions + 24)) for kind, size in sorted(sizes.items())}
    return {
        "sessions": sessions,
        "token_bytes": 3 * TOKEN_LENGTH,
        "bytes_by_key": by_keys,
        "bytes_of_keys": sum(by_keys.values()),
        "bytes_grown": round(grown / sessions),
        # Which of the two is larger depends on what else the server has put down meanwhile.
        "bytes_per_session": max(sum(by_keys.values()), round(grown / sessions)),
    }


def _kind(key: str) -> str:
    return key.removeprefix(KEY_PREFIX).rpartition("}:")[2].partition(":")[0]
