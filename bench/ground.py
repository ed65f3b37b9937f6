"""One sidecar, a store, a provider and an upstream, and what the first two use meanwhile."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from bench.field import FIELDS
from bench.machine import resident_kib, tree_cpu_seconds, waited_seconds, work_seconds
from bench.place import (
    API,
    PUBLIC_URL,
    TOKEN_LENGTH,
    Made,
    Maker,
    Replica,
    maker,
    replica,
    valkey_cpu,
)
from bench.provider import ProviderHandle, provider
from bench.serving import HOST, ROOT, double
from bench.tokens import LIFE_SECONDS
from sidecar.adapters.redis_store import RedisStore
from sidecar.core.refresh_policy import RefreshWindow
from sidecar.demo.valkey import valkey
from tests.world import free_port

CONNECTIONS = 64
_HOST = f"Host: {PUBLIC_URL.removeprefix('http://')}"
_LEAST = 0.8
_PATIENT_SECONDS = 10.0
_YARDSTICK_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Counters:
    """What has been counted so far; the CPU times in seconds."""

    at: float
    cpu: float
    store_cpu: float
    waited: float
    """How long the replica could have run, and had no core; `store_waited`: the store."""
    store_waited: float
    scripts: int
    looks: int
    """How often the write id of a record was looked at, or a record's state by a script."""
    touches: int
    renewals: int


@dataclass(frozen=True)
class Used:
    """What a while took, and how fast the machine was meanwhile."""

    began: Counters
    ended: Counters
    yardstick_ms: float
    requests: int
    """How many were answered, where there were some."""

    def of(self, name: str) -> float:
        """How much a counter has grown."""
        return float(getattr(self.ended, name) - getattr(self.began, name))

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.of("at")


@dataclass(frozen=True)
class Ground:
    """What runs."""

    running: Replica
    store_url: str
    store: Redis
    store_pid: int
    asked: ProviderHandle
    making: Maker
    folder: Path

    async def counters(self) -> Counters:
        """All that is counted, now."""
        calls = await self.store.info("commandstats")

        def count(name: str) -> int:
            return int(calls.get(f"cmdstat_{name}", {}).get("calls", 0))

        return Counters(
            at=time.monotonic(),
            cpu=tree_cpu_seconds(self.running.pid),
            store_cpu=await valkey_cpu(self.store),
            waited=waited_seconds(self.running.pid),
            store_waited=waited_seconds(self.store_pid),
            scripts=count("evalsha"),
            looks=count("hget"),
            touches=count("hsetnx"),
            renewals=await self.asked.refreshes(),
        )

    async def meanwhile(self, work: Awaitable[int | None]) -> Used:
        """What is used until the work is done."""
        paces: list[float] = []
        beside = asyncio.get_running_loop().create_task(_sample(paces))
        try:
            began = await self.counters()
            requests = await work
            ended = await self.counters()
        finally:
            beside.cancel()
            with suppress(asyncio.CancelledError):
                await beside
        return Used(began, ended, mean(paces) * 1000, requests or 0)

    async def ask(self, sessions: Sequence[Made], *, rate: float, seconds: float) -> int:
        """So many requests a second, of one session after the other; how many were answered.

        Raises:
            RuntimeError: an answer was not 200, or the machine is far too slow for so many.
        """
        cookies = self.folder / "cookies"
        cookies.write_text("\n".join(each.cookie for each in sessions))
        asked = {
            "port": self.running.port,
            "head": "\r\n".join([f"GET {API} HTTP/1.1", _HOST, *FIELDS, "", ""]),
            "numbered": False,
            "cookies": str(cookies),
            "connections": CONNECTIONS,
            "rate": rate,
            "seconds": seconds,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.paced", json.dumps(asked)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        written, _ = await process.communicate()
        wanted = rate * seconds
        answered = 0 if process.returncode else int(json.loads(written)["answered"])
        if answered < _LEAST * wanted:
            raise RuntimeError(f"{answered} answers of 200, to {wanted:.0f} requests")
        return answered

    def resident_kib(self) -> int:
        """The sidecar's memory."""
        return resident_kib(self.running.pid)


async def _sample(paces: list[float]) -> None:
    """The yardstick once a second: what shares the core's caches slows all that runs there."""
    while True:
        paces.append(work_seconds())
        await asyncio.sleep(_YARDSTICK_EVERY_SECONDS)


@asynccontextmanager
async def ground(
    *,
    life_seconds: int = LIFE_SECONDS,
    window_seconds: float = 0.0,
    provider_seconds: float = 0.1,
) -> AsyncIterator[Ground]:
    """What runs as long as the block; without a window the sidecar's own default counts."""
    async with AsyncExitStack() as owned:
        folder = Path(owned.enter_context(TemporaryDirectory(prefix="atr-bench-")))
        port = free_port()
        await owned.enter_async_context(valkey("--port", str(port), "--bind", HOST))
        store_url = f"redis://{HOST}:{port}/0"
        store = await owned.enter_async_context(Redis.from_url(store_url))
        upstream = await owned.enter_async_context(double("bench.upstream", {}))
        asked = await owned.enter_async_context(
            provider(delay=provider_seconds, length=TOKEN_LENGTH, life_seconds=life_seconds)
        )
        window = window_seconds or RefreshWindow().length_seconds(life_seconds)
        making = await owned.enter_async_context(
            maker(
                store_url,
                asked.issuer,
                window_seconds=window,
                life_seconds=life_seconds,
                store_of=partial(RedisStore, command_seconds=_PATIENT_SECONDS),
            )
        )
        environment = {
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_ISSUER": asked.issuer,
            "SIDECAR_STORE_URL": store_url,
            "SIDECAR_STORE_TIMEOUT": "700ms",  # a machine that others use is slow at times
        }
        if window_seconds:
            environment["SIDECAR_REFRESH_WINDOW"] = f"{window_seconds:.0f}s"
        running = await owned.enter_async_context(replica(environment))
        store_pid = int((await store.info("server"))["process_id"])
        yield Ground(running, store_url, store, store_pid, asked, making, folder)
