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
from tests.web.logout_tokens import logout_token, sids, tell
from tests.world import Browser, World, eventually, world

STREAM = "/api/v1/stream/applications"
AT, JSON = "/_sidecar/session", {"Accept": "application/json"}


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


async def by_the_person(browser: Browser, _: World, __: rsa.RSAPrivateKey) -> None:
    """A logout in the same browser."""
    await browser.get("/auth/logout")


async def by_the_provider(browser: Browser, here: World, key: rsa.RSAPrivateKey) -> None:
    """A logout that the provider tells of."""
    assert (await tell(browser, logout_token(here, key, sid=sids(here)[0]))).status == 200


async def from_another_session(_: Browser, here: World, __: rsa.RSAPrivateKey) -> None:
    """On the page of another session of the same person."""
    other = await here.logged_in()
    token = (await (await other.get(AT, headers=JSON)).json())["token"]
    form, origin = {"token": token, "action": "end-others"}, {"Origin": here.base}
    assert (await other.request("POST", AT, data=form, headers=origin)).status == 303


@pytest.mark.parametrize("opened", [open_stream, open_terminal])
@pytest.mark.parametrize("ended", [by_the_person, by_the_provider, from_another_session])
async def test_a_logout_elsewhere_ends_what_the_session_has_open_within_a_second(
    there: tuple[World, int],
    signing_key: rsa.RSAPrivateKey,
    opened: Callable[[Browser, World], Awaitable[Callable[[], Awaitable[bool]]]],
    ended: Callable[[Browser, World, rsa.RSAPrivateKey], Awaitable[None]],
) -> None:
    here, port = there
    browser = await here.logged_in()
    ends = await opened(Browser(browser.http, f"http://127.0.0.1:{port}"), here)
    await eventually(lambda: here.argocd.open_streams + here.argocd.open_terminals == 1)

    await ended(browser, here, signing_key)
    async with asyncio.timeout(3):  # a second, and what a busy machine takes
        assert await ends()

    await eventually(lambda: here.argocd.open_streams + here.argocd.open_terminals == 0)
