"""A provider takes a group away at a refresh: two replicas, real processes, a real Valkey."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import WSMsgType

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.valkey import valkey
from tests.hostile.client import Browsers, Hostile, browsers, hostile_provider
from tests.system.process import Process, sidecar_process, until_ready
from tests.world import KEYS, Browser, free_port, system_now

TOKEN_SECONDS = 8
A_SECOND = 1.0
BUSY_SECONDS = 1.5  # what a machine with other work takes


@dataclass
class Place:
    hostile: Hostile
    bases: list[str]
    processes: list[Process]
    browsers: Browsers


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    bases = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    async with AsyncExitStack() as owned:
        store_url = await owned.enter_async_context(valkey())
        hostile = await owned.enter_async_context(
            hostile_provider(
                redirect_uris=[f"{bases[0]}/auth/callback"], id_token_seconds=TOKEN_SECONDS
            )
        )
        argocd = Argocd(
            ArgocdSettings(issuer=hostile.issuer, url=bases[0], event_seconds=None),
            now=lambda: system_now() - 1,
        )
        upstream = await owned.enter_async_context(argocd.running())
        processes = []
        for base in bases:
            admin = f"127.0.0.1:{free_port()}"
            environment = {
                "SIDECAR_LISTEN": base.removeprefix("http://"),
                "SIDECAR_ADMIN_LISTEN": admin,
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_PUBLIC_URL": bases[0],
                "SIDECAR_ISSUER": hostile.issuer,
                "SIDECAR_CLIENT_ID": hostile.client_id,
                "SIDECAR_CLIENT_SECRET": hostile.client_secret(),
                "SIDECAR_STORE_URL": store_url,
                "SIDECAR_SESSION_KEYS": KEYS,
            }
            processes.append(await owned.enter_async_context(sidecar_process(environment)))
            await until_ready(f"http://{admin}")
        many = await owned.enter_async_context(browsers())
        yield Place(hostile, bases, processes, many)


async def groups(browser: Browser) -> list[str]:
    """The groups that Argo CD sees."""
    answer = await browser.get("/api/v1/session/userinfo")
    found: dict[str, Any] = await answer.json()
    assert found["loggedIn"] is True
    return list(found.get("groups") or [])


async def ended(work: Any) -> float:
    """When it ended."""
    await work
    return time.monotonic()


async def test_a_group_that_is_lost_at_a_refresh_is_gone_everywhere_within_a_second(
    place: Place,
) -> None:
    one = await place.browsers.logged_in(place.bases[0], "ada")
    two = Browser(one.http, place.bases[1])
    stream = await two.http.get(
        f"{two.base}/api/v1/stream/applications", headers={"Accept": "text/event-stream"}
    )
    terminal = await two.http.ws_connect(f"{two.base}/terminal", headers={"Origin": place.bases[0]})
    assert await groups(one) == await groups(two) == ["developers"]
    ends = [
        asyncio.ensure_future(ended(stream.content.read())),
        asyncio.ensure_future(ended(terminal.receive())),
    ]

    await place.hostile.add(claims={"groups": ["readers"]})
    async with asyncio.timeout(TOKEN_SECONDS):
        while (await groups(one)) != ["readers"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    lost_at = time.monotonic()

    async with asyncio.timeout(A_SECOND + BUSY_SECONDS):
        while (await groups(two)) != ["readers"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        ended_at = await asyncio.gather(*ends)
    assert max(ended_at) - lost_at < A_SECOND + BUSY_SECONDS
    assert terminal.closed or (await terminal.receive()).type is WSMsgType.CLOSED
    written = [(await process.stop())[1] for process in place.processes]
    lines = [json.loads(line) for text in written for line in text.splitlines()]
    [audit] = [line for line in lines if line["event"] == "groups_changed"]
    assert (audit["lost"], audit["gained"]) == (["developers"], ["readers"])
    assert not any("eyJ" in text for text in written)
