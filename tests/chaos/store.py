"""The store as a chaos run sees it: opened with the run's own keys, flushed, and stopped."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sidecar.core.grant import Grant
from sidecar.core.sealing import KeyRing, Label, parse_keys
from sidecar.demo.valkey import valkey
from sidecar.edges import KEY_PREFIX
from tests.hostile.log import sha256
from tests.world import KEYS

HEALED_BUT = 5
LOOK_EVERY_SECONDS = 0.15  # a grant is renewed every 0.75 s at most


class StoreView:
    """Looks at the store again and again, and remembers every refresh token that stood there."""

    def __init__(self, url: str, redis: "Redis", pid: int) -> None:
        self.url = url
        self.stored: dict[str, float] = {}
        self.over = False
        self._redis: Any = redis
        self._pid = pid
        self._ring = KeyRing(parse_keys(KEYS))
        self._opened: dict[bytes, bytes] = {}
        self._lost = 0

    async def watch(self) -> None:
        """Look until cancelled; a stopped store is waited for."""
        while not self.over:
            with suppress(RedisError, OSError):
                await self.look()
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def look(self) -> None:
        """Note what stands there now."""
        keys = await self._redis.keys(f"{KEY_PREFIX}{{*}}:grant:*")
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hmget(key, ["s", "v", "d"])
            answers = await pipeline.execute()
        for gone in self._opened.keys() - set(keys):
            del self._opened[gone]
        for key, (state, version, sealed) in zip(keys, answers, strict=True):
            if state == b"live" and self._opened.get(key) != sealed:
                self._opened[key] = sealed
                self._note(key.decode(), int(version), sealed)

    def _note(self, key: str, version: int, sealed: bytes) -> None:
        tag, _, grant_id = key.removeprefix(f"{KEY_PREFIX}{{").partition("}:grant:")
        label = Label(KEY_PREFIX, "grant", f"{tag}/{grant_id}", version)
        grant = Grant.from_bytes(grant_id, tag, version, self._ring.open(sealed, label))
        self.stored.setdefault(sha256(grant.tokens.refresh_token), time.monotonic())

    async def flush(self) -> None:
        """FLUSHALL."""
        self._lost = await self._count()
        await self._redis.flushall()

    async def until_healed(self) -> None:
        """Until there are as many sessions as were lost, or nearly: some log out meanwhile."""
        while await self._count() < self._lost - HEALED_BUT:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _count(self) -> int:
        return len(await self._redis.keys(f"{KEY_PREFIX}{{*}}:session:*"))

    async def stall(self, seconds: float) -> None:
        """SIGSTOP for so long."""
        os.kill(self._pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(self._pid, signal.SIGCONT)


@asynccontextmanager
async def store() -> AsyncIterator[StoreView]:
    """A Valkey of one's own."""
    async with valkey() as url, Redis.from_url(url) as redis:
        pid = int((await redis.info("server"))["process_id"])
        yield StoreView(url, redis, pid)
