"""A running sidecar looks after the revocations that wait."""

import asyncio

import pytest
from aiohttp import ClientSession, CookieJar

from sidecar.demo import run as demo
from tests.system.test_browser import sidecar_with
from tests.world import Browser

WITHIN_SECONDS = 60  # it takes some ten


@pytest.mark.timeout(120)
async def test_a_refresh_token_is_revoked_soon_after_the_provider_is_back() -> None:
    async with (
        demo.running(sidecar_with, token_seconds=600) as parts,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        browser = Browser(http, parts.address)
        await browser.log_in()
        parts.provider.available = False
        assert (await browser.get("/auth/logout")).status == 303

        parts.provider.available = True

        async with asyncio.timeout(WITHIN_SECONDS):
            while not [event for event in parts.provider.log if event.kind == "revoked"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
