"""Many requests of one session on three replicas at the moment its token ends."""

import asyncio
import itertools
import json
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.place import Connection, connections, percentile, replica, until
from bench.serving import HOST, double
from sidecar.demo.valkey import valkey
from tests.hostile.client import Hostile, browsers, hostile_provider
from tests.world import Browser, free_port

REPLICAS = 3
TOKEN_SECONDS = 6
PROVIDER_SECONDS = 0.5
SPREAD_SECONDS = 0.4
USER = "ada"


@dataclass(frozen=True)
class Round:
    """What came of one round."""

    grants: int
    status: dict[str, int]
    ended_tokens: int
    p50_ms: float
    slowest_ms: float
    waited: int
    """How many requests took half as long as the provider takes, or longer."""


async def storm(
    *,
    requests: int = 200,
    rounds: int = 4,
    replicas: int = REPLICAS,
    token_seconds: int = TOKEN_SECONDS,
) -> dict[str, Any]:
    """The rounds; every second one has its requests spread around the token's end."""
    async with AsyncExitStack() as owned:
        store_url = await owned.enter_async_context(valkey())
        upstream = await owned.enter_async_context(double("bench.upstream", {}))
        port = free_port()
        base = f"http://{HOST}:{port}"
        hostile = await owned.enter_async_context(
            hostile_provider(
                redirect_uris=[f"{base}/auth/callback"],
                id_token_seconds=token_seconds,
                reuse_window_seconds=0,
            )
        )
        await hostile.add(on="refresh", delay_before=PROVIDER_SECONDS)
        environment = {
            "SIDECAR_PUBLIC_URL": base,
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_ISSUER": hostile.issuer,
            "SIDECAR_STORE_URL": store_url,
            "SIDECAR_BACKGROUND_RENEWAL": "off",  # it would renew the token before its end
        }
        running = [await owned.enter_async_context(replica(environment, port=port))]
        running += [
            await owned.enter_async_context(replica(environment)) for _ in range(replicas - 1)
        ]
        many = await owned.enter_async_context(browsers())
        browser = await many.logged_in(base, USER)
        places = itertools.islice(itertools.cycle(each.port for each in running), requests)
        made = await owned.enter_async_context(connections(places))
        found = [
            await _round(hostile, made, _cookie(browser), token_seconds, spread=bool(number % 2))
            for number in range(rounds)
        ]
        reused = len(await hostile.log(user=USER, kind="reuse"))
    good = {"200": requests}
    return {
        "requests": requests,
        "replicas": replicas,
        "rounds": rounds,
        "provider_ms": PROVIDER_SECONDS * 1000,
        "grants": max(each.grants for each in found),
        "status": next((each.status for each in found if each.status != good), good),
        "ended_tokens": sum(each.ended_tokens for each in found),
        "reused_refresh_tokens": reused,
        "p50_ms": round(max(each.p50_ms for each in found), 1),
        "slowest_ms": round(max(each.slowest_ms for each in found), 1),
        "each_round": [vars(each) for each in found],
    }


async def _round(
    hostile: Hostile, made: list[Connection], cookie: str, token_seconds: int, *, spread: bool
) -> Round:
    token_ends_at = await _fresh(made[0], cookie, token_seconds)
    # The sidecar sends no token up that would end on the way: a twentieth of such a short life.
    moment = token_ends_at - token_seconds / 20
    before = await _refreshes(hostile)
    if spread:
        gaps = [SPREAD_SECONDS * (n / len(made) - 0.5) for n in range(len(made))]
    else:
        gaps = [0.01] * len(made)
    asked = zip(made, gaps, strict=True)
    answers = await asyncio.gather(*(_ask(each, cookie, moment + gap) for each, gap in asked))
    # A renewal that nobody waits for may still run.
    await asyncio.sleep(2 * PROVIDER_SECONDS)
    after = await _refreshes(hostile)
    took = [milliseconds for _, _, milliseconds in answers]
    return Round(
        grants=after - before,
        status={str(k): v for k, v in Counter(status for status, _, _ in answers).items()},
        ended_tokens=sum(ended for _, ended, _ in answers),
        p50_ms=round(percentile(took, 0.5), 1),
        slowest_ms=round(max(took), 1),
        waited=sum(each >= PROVIDER_SECONDS * 500 for each in took),
    )


async def _fresh(connection: Connection, cookie: str, token_seconds: int) -> float:
    """When the token ends, once it is so new that nobody renews it yet."""
    while True:
        _, body = await connection.ask(cookie)
        ends_at = float(json.loads(body)["exp"])
        if ends_at - time.time() > token_seconds / 2 + 0.2:
            return ends_at
        await asyncio.sleep(PROVIDER_SECONDS / 2)


async def _refreshes(hostile: Hostile) -> int:
    """How many refreshes have come to the provider, whatever it said to them."""
    return int((await hostile.state())["requests"]["/token"])


async def _ask(connection: Connection, cookie: str, at: float) -> tuple[int, bool, float]:
    await until(at)
    began_at = time.time()
    status, body = await connection.ask(cookie)
    took = time.time() - began_at
    ended = status == 200 and json.loads(body)["exp"] < began_at
    return status, ended, took * 1000


def _cookie(browser: Browser) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies().items())
