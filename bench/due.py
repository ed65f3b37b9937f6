"""Many sessions that become due within a minute, in one replica, without a request."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio import Redis

from bench.machine import cpu_seconds
from bench.place import TOKEN_LENGTH, Made, Replica, maker, percentile, replica, until, valkey_cpu
from bench.provider import ProviderHandle, Seen, provider
from sidecar.core.refresh_policy import (
    JITTER_SHARE,
    Background,
    RefreshWindow,
    background_due_at,
)
from sidecar.core.timings import Timings
from sidecar.demo.valkey import valkey
from sidecar.flows.background import TAKEN_OVER_SECONDS

PROVIDER_SECONDS = 0.1
_START_SECONDS = 6.0
_MADE_IN_SECONDS = 0.0025


async def due(*, sessions: int = 10_000, within_seconds: float = 60.0) -> dict[str, Any]:
    """People who have logged in together: by the jitter of their windows they come due apart."""
    window_seconds = within_seconds / JITTER_SHARE
    async with AsyncExitStack() as owned:
        store_url = await owned.enter_async_context(valkey())
        store = await owned.enter_async_context(Redis.from_url(store_url))
        asked = await owned.enter_async_context(
            provider(delay=PROVIDER_SECONDS, length=TOKEN_LENGTH)
        )
        making = await owned.enter_async_context(
            maker(store_url, asked.issuer, window_seconds=window_seconds)
        )
        begins_at = time.time() + _START_SECONDS + sessions * _MADE_IN_SECONDS
        users = (f"user-{number}" for number in range(sessions))
        made = await making.sessions(users, ends_at=begins_at + window_seconds)
        environment = {
            "SIDECAR_UPSTREAM": "http://127.0.0.1:9",  # nobody asks for anything
            "SIDECAR_ISSUER": asked.issuer,
            "SIDECAR_STORE_URL": store_url,
            "SIDECAR_REFRESH_WINDOW": f"{window_seconds:.0f}s",
        }
        running = await owned.enter_async_context(replica(environment))
        ready_at = time.time()
        idle = cpu_seconds(running.pid)
        await until(begins_at)
        used, of_store = cpu_seconds(running.pid), await valkey_cpu(store)
        idle_share = (used - idle) / max(time.time() - ready_at, 0.1)
        await _until_renewed(running, asked, sessions, within_seconds)
        took = time.time() - begins_at
        used = cpu_seconds(running.pid) - used
        of_store = await valkey_cpu(store) - of_store
        counted = await running.metrics()
        seen = await asked.seen()
    lateness = _lateness(made, seen, window_seconds)
    return {
        "sessions": sessions,
        "within_seconds": within_seconds,
        "provider_ms": PROVIDER_SECONDS * 1000,
        "renewed": sum(times == 1 for times in seen.count().values()),
        "refreshes": len(seen.asked),
        "reused_refresh_tokens": seen.reused,
        "failed": int(sum(v for k, v in counted.items() if k == "renewals_total{passing}")),
        "most_at_once": seen.most_at_once,
        "most_allowed": Timings().renewals_at_once,
        "cpu_seconds": round(used, 1),
        "cpu_ms_each": round(used / sessions * 1000, 2),
        "cpu_share_idle": round(idle_share, 3),
        "valkey_cpu_seconds": round(of_store, 1),
        "took_seconds": round(took, 1),
        "late_p50_seconds": round(percentile(lateness, 0.5), 2),
        "late_p99_seconds": round(percentile(lateness, 0.99), 2),
        "overdue_at_start": sum(each < ready_at for each in _due_at(made, window_seconds)),
    }


async def _until_renewed(
    running: Replica, asked: ProviderHandle, sessions: int, within_seconds: float
) -> None:
    """Until all are renewed and stored, or it has taken far too long."""
    # What could not be looked at when it was taken is due again after it was hidden.
    give_up_at = time.time() + 1.5 * within_seconds + Timings().lease_seconds + TAKEN_OVER_SECONDS
    while await asked.refreshes() < sessions and time.time() < give_up_at:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    while time.time() < give_up_at:
        if (await running.metrics()).get("renewals_total{renewed}", 0) >= sessions:
            return
        await asyncio.sleep(0.5)


def _due_at(made: list[Made], window_seconds: float) -> list[float]:
    window = RefreshWindow(seconds=window_seconds)
    found = (
        background_due_at(
            each.grant, window=window, background=Background.ACTIVE, unused_seconds=0.0
        )
        for each in made
    )
    return [at for at in found if at is not None]


def _lateness(made: list[Made], seen: Seen, window_seconds: float) -> list[float]:
    """How long after its time each refresh came to the provider, in seconds."""
    wanted = _due_at(made, window_seconds)
    due_at = {each.user: at for each, at in zip(made, wanted, strict=True)}
    return [each.at - due_at[each.user] for each in seen.asked] or [0.0]
