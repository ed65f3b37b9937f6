"""A session that ends on one replica ends what it has open on another: seen by confirmations."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from aiohttp import WSMsgType
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.app import SystemClock, running
from sidecar.config.settings import Config
from sidecar.demo.valkey import valkey
from tests.fakes.clock import FakeClock
from tests.world import Browser, World, eventually, world

STREAM = "/api/v1/stream/applications"


@pytest.fixture
async def there(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[tuple[World, int]]:
    """A world in real time, and the port of another replica, which confirms what it knows."""
    clock = cast(FakeClock, SystemClock())  # no test here moves it
    async with (
        valkey() as store_url,
        world(signing_key, clock, environment={"SIDECAR_STORE_URL": store_url}) as made,
        running(Config.load({**made.environment, "SIDECAR_LISTEN": "127.0.0.1:0"})) as replica,
    ):
        yield made, replica.public[1]


async def open_stream(browser: Browser, _: World) -> Callable[[], Awaitable[bool]]:
    """An event stream; whether it ends as if by itself."""
    headers = {"Accept": "text/event-stream"}
    answer = await browser.http.get(browser.base + STREAM, headers=headers)

    async def ends() -> bool:
        await answer.content.read()  # raises where it is cut
        return True

    return ends


async def open_terminal(browser: Browser, here: World) -> Callable[[], Awaitable[bool]]:
    """A terminal; whether it is closed."""
    headers = {"Origin": here.base}
    terminal = await browser.http.ws_connect(browser.base + "/terminal", headers=headers)

    async def ends() -> bool:
        message = await terminal.receive()
        return message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR)

    return ends


@pytest.mark.parametrize("opened", [open_stream, open_terminal])
async def test_a_logout_elsewhere_ends_what_the_session_has_open_within_a_second(
    there: tuple[World, int],
    opened: Callable[[Browser, World], Awaitable[Callable[[], Awaitable[bool]]]],
) -> None:
    here, port = there
    browser = await here.logged_in()
    ends = await opened(Browser(browser.http, f"http://127.0.0.1:{port}"), here)
    await eventually(lambda: here.argocd.open_streams + here.argocd.open_terminals == 1)

    await browser.get("/auth/logout")
    async with asyncio.timeout(3):  # a second, and what a busy machine takes
        assert await ends()

    await eventually(lambda: here.argocd.open_streams + here.argocd.open_terminals == 0)
