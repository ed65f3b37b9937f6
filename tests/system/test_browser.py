"""A person's browser: Chromium, the demo's parts, two token ends."""

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from sidecar.app import running
from sidecar.config.settings import Config
from sidecar.demo import run as demo

pytestmark = pytest.mark.browser

SCREENSHOTS = Path("build/screenshots")
TOKEN_SECONDS = 6
# What keeps Chromium from looking for its maker's servers.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def sidecar_with(environment: Mapping[str, str]) -> AsyncIterator[None]:
    async with running(Config.load(environment)):
        yield


def chromium_path() -> str:
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("chromium is not installed, and this run must not skip it")
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    found = chromium_path()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=QUIET)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def chromium_page() -> AsyncIterator[Page]:
    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": 1100, "height": 760})
        page.set_default_timeout(20_000)
        yield page


async def shot(page: Page, name: str) -> None:
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")


async def sign_in(page: Page, address: str) -> None:
    """As the demo's person, until the page shows a token."""
    await page.goto(address)
    await page.click("#login")
    await page.fill("input[name=user]", "ada")
    await page.fill("input[name=password]", "ada")
    await page.press("input[name=password]", "Enter")
    await page.wait_for_function("/\\d/.test(document.querySelector('#countdown')?.textContent)")


@pytest.mark.timeout(120)
async def test_a_person_logs_in_once_and_the_page_stays_logged_in() -> None:
    async with (
        demo.running(sidecar_with, token_seconds=TOKEN_SECONDS) as parts,
        chromium_page() as page,
    ):
        visited: list[str] = []
        page.on("framenavigated", lambda frame: visited.append(frame.url))

        await page.goto(parts.address)
        await shot(page, "1-signed-out")
        await page.click("#login")
        await shot(page, "2-provider")
        await page.fill("input[name=user]", "ada")
        await page.fill("input[name=password]", "ada")
        await page.press("input[name=password]", "Enter")
        await page.wait_for_selector("#countdown")
        await page.wait_for_function("document.querySelector('#user').textContent.includes('ada')")
        navigations = len(visited)
        await shot(page, "3-signed-in")

        # Each token ends after TOKEN_SECONDS; two renewals later two of them have.
        await page.wait_for_function(
            "Number(document.querySelector('#renewals').textContent.match(/\\d+/)[0]) >= 4",
            timeout=60_000,
        )
        await shot(page, "4-renewed")

        assert "ada" in (await page.text_content("#user") or "")
        assert len(visited) == navigations, "the page was left"
        assert parts.provider.logins == 1
        assert parts.provider.refreshes >= 4
        assert parts.argocd.seen.unauthorized == 0

        await page.click("#logout")
        await page.wait_for_selector("#login")
        await shot(page, "5-signed-out-again")


async def test_a_person_who_cancels_sees_why_and_can_start_again() -> None:
    async with (
        demo.running(sidecar_with, token_seconds=TOKEN_SECONDS) as parts,
        chromium_page() as page,
    ):
        await page.goto(f"{parts.address}/auth/login")
        await page.click("button[value=deny]")
        await page.wait_for_selector("text=You are not signed in")
        await shot(page, "6-cancelled")

        await page.click("text=Sign in again")

        await page.wait_for_selector("input[name=password]")


@pytest.mark.timeout(120)
async def test_without_a_sidecar_a_person_is_at_the_login_when_the_token_ends() -> None:
    async with (
        demo.running(sidecar_with, token_seconds=TOKEN_SECONDS) as parts,
        chromium_page() as page,
    ):
        await sign_in(page, parts.alone)
        await page.fill("#work", "not saved yet")

        await page.wait_for_selector("input[name=password]")

        assert not page.url.startswith(parts.alone)
        assert parts.provider.logins == 0, "it has a provider of its own"
