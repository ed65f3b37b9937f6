"""One soak: everything is started, used and broken for a time, and judged while it goes on."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from bench.machine import machine
from tests.chaos.replicas import Fleet, addresses, fleet
from tests.chaos.store import StoreView, store
from tests.chaos.upstream import UpstreamHandle, upstream
from tests.faults.plan import Mix
from tests.faults.relays import Relays, relays
from tests.hostile.client import Hostile, browsers, hostile_provider
from tests.soak.accidents import Accidents
from tests.soak.growth import ALLOWED, growth
from tests.soak.judge import Why
from tests.soak.judging import Judging
from tests.soak.people import Crowd
from tests.soak.tally import quantile
from tests.soak.watching import REPLICAS, Watching, series
from tests.world import KEYS

USERS = 300
TOKEN_SECONDS = 20
DELAY = (0.0, 0.1)
MIXES = {
    # What an answer of the provider's is lost to costs a login, and no client can mend it.
    "provider": Mix(seconds=(0.1, 3.0), bytes_per_second=(800, 5000), lossy_share=(0.01, 0.05)),
    "store": Mix(seconds=(0.02, 0.4), bytes_per_second=(5000, 50000), after_bytes=(0, 4000)),
    "upstream": Mix(seconds=(0.05, 1.5), lossy_share=(0.1, 0.6), after_bytes=(0, 4000)),
}
READ_EVERY_SECONDS, LOOK_EVERY_SECONDS = 1.0, 0.5
SETTLED_SECONDS = 4.0  # until store and log have been read, after something has happened
TIDY_EVERY_SECONDS = 60.0
KEPT_STORED = 50_000
MOST_LOG_BYTES = 50_000_000


@dataclass
class Place:
    """Everything that runs."""

    store: StoreView
    argocd: UpstreamHandle
    hostile: Hostile
    fleet: Fleet
    crowd: Crowd
    links: Relays
    accidents: Accidents
    judging: Judging


async def soak(seed: int, seconds: float, *, users: int = USERS, logs: Path) -> dict[str, Any]:
    """The result of a soak of so many seconds."""
    about = machine()
    async with place(seed, users=users, logs=logs) as here:
        watching = Watching(here.fleet, here.links, here.crowd.tally, here.judging)
        await _run(here, watching, seed, seconds)
        return {**about_run(about, seed, seconds, users), **await _result(here, watching)}


def about_run(about: dict[str, Any], seed: int, seconds: float, users: int) -> dict[str, Any]:
    """What was run, and where."""
    return {
        "seed": seed,
        "seconds": seconds,
        "machine": about,
        "replicas": len(REPLICAS),
        "users": users,
        "token_seconds": TOKEN_SECONDS,
    }


async def _run(here: Place, watching: Watching, seed: int, seconds: float) -> None:
    await here.links.follow(seed, MIXES)
    async with asyncio.TaskGroup() as beside:
        work = [_look(here), _read(here), watching.run(), here.crowd.live(), here.accidents.run()]
        tasks = [beside.create_task(each) for each in work]
        try:
            await asyncio.sleep(seconds)
        finally:
            here.crowd.over = True  # a library may lose a cancellation among its own timeouts
        for task in tasks:
            task.cancel()
    await asyncio.sleep(SETTLED_SECONDS)
    with suppress(RedisError, OSError):
        await here.store.look()
    await here.judging.read()
    here.judging.judge(until=math.inf)


async def _look(here: Place) -> None:
    """Look at the store, and keep what is needed of it."""
    while True:
        with suppress(RedisError, OSError):
            await here.store.look()
        stored = here.store.stored
        for sha256 in list(stored)[: max(0, len(stored) - KEPT_STORED)]:
            del stored[sha256]
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _read(here: Place) -> None:
    """Read and judge; let nothing grow that a day would fill."""
    tidied_at = time.monotonic()
    while True:
        await here.judging.read()
        here.judging.judge(until=time.monotonic() - SETTLED_SECONDS)
        if time.monotonic() - tidied_at > TIDY_EVERY_SECONDS:
            tidied_at = time.monotonic()
            await here.hostile.tidy()
            for replica in here.fleet.replicas:
                if replica.log.exists() and replica.log.stat().st_size > MOST_LOG_BYTES:
                    replica.log.write_bytes(b"")  # it is appended to
        await asyncio.sleep(READ_EVERY_SECONDS)


@asynccontextmanager
async def place(seed: int, *, users: int, logs: Path) -> AsyncIterator[Place]:
    """Everything, with everybody logged in, and no fault yet."""
    addressed = addresses(REPLICAS)
    public_url = "http://" + addressed[REPLICAS[0]]["SIDECAR_LISTEN"]
    async with AsyncExitStack() as owned:
        view = await owned.enter_async_context(store())
        argocd = await owned.enter_async_context(upstream("tests.soak.upstream"))
        hostile = await owned.enter_async_context(
            hostile_provider(
                redirect_uris=[f"{public_url}/auth/callback"],
                id_token_seconds=TOKEN_SECONDS,
                replicas=REPLICAS,
            )
        )
        await hostile.add(delay_before=DELAY, delay_after=DELAY, seed=seed)
        servers = {
            "provider": hostile.issuer.removeprefix("http://"),
            "store": view.url,
            "upstream": argocd.address.removeprefix("http://"),
        }
        links = await owned.enter_async_context(relays(servers, seed=seed))
        common = {
            "SIDECAR_UPSTREAM": f"http://{links.address('upstream')}",
            "SIDECAR_PUBLIC_URL": public_url,
            "SIDECAR_ISSUER": hostile.issuer,
            "SIDECAR_ISSUER_INTERNAL_URL": f"http://{links.address('provider')}",
            "SIDECAR_PROVIDER": "generic",
            "SIDECAR_CLIENT_ID": hostile.client_id,
            "SIDECAR_STORE_URL": f"redis://{links.address('store')}/0",
            "SIDECAR_SESSION_KEYS": KEYS,
            "SIDECAR_LOG_LEVEL": "warning",
            "SIDECAR_AUDIT_LOG": "off",
        }
        environments = {
            name: {**common, **own, "SIDECAR_CLIENT_SECRET": hostile.client_secret(name)}
            for name, own in addressed.items()
        }
        replicas = await owned.enter_async_context(fleet(environments, logs))
        many = await owned.enter_async_context(browsers())
        judging = Judging(hostile, view.stored, links)
        dice = random.Random(seed)
        crowd = Crowd(replicas, many, public_url, dice, judging.latest_grant, judging.add)

        def anybodys_grant() -> int:
            device = dice.choice(crowd.devices)
            return device.grant if device.logged_in else 0

        accidents = Accidents(replicas, links, hostile, random.Random(seed + 3), anybodys_grant)
        judging.kills = accidents.kills
        await crowd.arrive(users)
        yield Place(view, argocd, hostile, replicas, crowd, links, accidents, judging)


async def _result(here: Place, watching: Watching) -> dict[str, Any]:
    tally, judging = here.crowd.tally, here.judging
    first = watching.replicas[REPLICAS[0]]
    found = {name: growth(first.points(name), allowed) for name, allowed in ALLOWED.items()}
    logins = {str(each): judging.logins[each] for each in Why if each is not Why.UNEXPLAINED}
    async with here.argocd.http.get(f"{here.argocd.address}/-/seen") as answer:
        seen = await answer.json()
    return {
        "devices": len(here.crowd.devices),
        "renewals": judging.renewals,
        "forced_logins_unexplained": judging.logins[Why.UNEXPLAINED],
        "growth": any(each.grows for each in found.values() if each),
        "growth_judged": all(found.values()),
        "growth_of": {name: each.summary() for name, each in found.items() if each},
        "forced_logins": logins,
        "reuses_unexplained": judging.reuses[Why.UNEXPLAINED],
        "reuses": {k: v for k, v in judging.reuses.items() if k != Why.UNEXPLAINED},
        "statuses": {str(status): n for status, n in sorted(tally.statuses.items())},
        "unheard": dict(tally.unheard),
        "without_retry_after": tally.without_retry_after,
        "expired_tokens": seen.get("expired", 0),
        "strange": tally.strange,
        "waits": {
            "p50_seconds": round(quantile(tally.waits.counts, 0.5), 3),
            "p99_seconds": round(quantile(tally.waits.counts, 0.99), 3),
            "longest_seconds": round(tally.waits.longest, 1),
        },
        "habits": dict(sorted(tally.habits.items())),
        "accidents": dict(sorted(here.accidents.counts.items())),
        "faults": dict(sorted(here.links.begun.items())),
        "own_process_mib": round(watching.own_mib),
        "stories": judging.stories,
        "series": series(watching),
    }
