"""The page of one's sessions in a real browser that runs no scripts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from playwright.async_api import Browser as Chromium
from playwright.async_api import Page

from tests.fakes.clock import FakeClock
from tests.system.test_browser import SCREENSHOTS, chromium
from tests.world import Browser, World, world

pytestmark = pytest.mark.browser

API = "/api/v1/applications"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
)
OFFICE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"


async def signed_in_with(here: World, user_agent: str, *, ago: float) -> Browser:
    """A browser of the same person's, in which they logged in so long ago."""
    browser = await here.browser()
    browser.http.headers["User-Agent"] = user_agent
    await browser.log_in()
    here.clock.advance(ago)
    return browser


@asynccontextmanager
async def page_of(browser: Chromium, **options: Any) -> AsyncIterator[Page]:
    options.setdefault("java_script_enabled", False)
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(20_000)
    yield page
    await context.close()


async def signs_in(page: Page, here: World) -> None:
    """By the page's own link, which comes back to it."""
    await page.goto(f"{here.base}/_sidecar/session")
    await page.click("main a")
    await page.fill("input[name=user]", "ada")
    await page.fill("input[name=password]", "ada")
    await page.press("input[name=password]", "Enter")
    await page.wait_for_selector("article")


@pytest.mark.timeout(120)
async def test_a_person_sees_their_sessions_ends_one_then_the_others_and_leaves(
    here: World,
) -> None:
    phone = await signed_in_with(here, PHONE, ago=5400)
    office = await signed_in_with(here, OFFICE, ago=240)
    async with chromium() as browser, page_of(browser) as page:
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        await signs_in(page, here)
        refused.clear()

        assert await page.locator("article").count() == 3
        await page.click("article:has-text('iPhone') button")
        assert await page.text_content("[role=status]") == "The session has ended."
        assert (await phone.get(API)).status == 401
        assert (await office.get(API)).status == 200

        await page.click("text=End all others")
        assert await page.text_content("[role=status]") == "All your other sessions have ended."
        assert (await office.get(API)).status == 401
        assert await page.locator("article").count() == 1

        await page.click("a.out")
        await page.goto(f"{here.base}/_sidecar/session")
        assert await page.text_content("h1") == "You are not signed in"
        assert not [said for said in refused if "Content Security Policy" in said]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_page_fits_a_desk_and_a_phone_in_both_themes(here: World, theme: Any) -> None:
    for user_agent, ago in ((PHONE, 5400.0), (OFFICE, 240.0)):
        await signed_in_with(here, user_agent, ago=ago)
    async with chromium() as browser:
        for name, width in (("desk", 1000), ("phone", 390)):
            size = {"width": width, "height": 760}
            async with page_of(browser, viewport=size, color_scheme=theme) as page:
                await signs_in(page, here)
                await page.screenshot(
                    path=SCREENSHOTS / f"sessions-{theme}-{name}.png", full_page=True
                )

                boxes = [
                    await one.bounding_box()
                    for one in await page.locator("article,button,.out,dd,header").all()
                ]
                assert len(boxes) > 20
                for box in boxes:
                    assert box
                    assert box["x"] >= 0
                    assert box["x"] + box["width"] <= width
                await page.click("a.out")


@pytest.mark.timeout(120)
async def test_a_person_who_is_asked_whether_to_leave_gets_to_the_providers_logout(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    environment = {"SIDECAR_PROVIDER_LOGOUT": "on"}
    async with (
        world(signing_key, fake_clock, environment=environment) as here,
        chromium() as browser,
        page_of(browser, java_script_enabled=True) as page,
    ):
        back = f"{here.base}/_sidecar/signed-out"
        here.provider.settings.post_logout_redirect_uris = (back,)
        await signs_in(page, here)
        await page.goto(f"{here.provider.issuer}/jwks")  # a page of another origin

        await page.evaluate(f"location.href = '{here.base}/auth/logout'")
        await page.wait_for_selector("text=Sign out?")
        await page.click("main a")

        await page.wait_for_selector("text=You are signed out")
        assert page.url.startswith(back)
