"""A person in front of Argo Workflows in a real browser, which has the last word on cookies."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from playwright.async_api import Page

from tests.fakes.clock import FakeClock
from tests.system.test_browser import chromium
from tests.workflows.place import Place, workflows_place

pytestmark = pytest.mark.browser

HOUR = 3600.0
STATUS = "fetch('/api/v1/userinfo').then(answer => answer.status)"
# ui/src/login/login.tsx
LOG_OUT = "document.cookie = 'authorization=;Max-Age=0;path=/'; history.go(0)"


@asynccontextmanager
async def logged_in(key: rsa.RSAPrivateKey) -> AsyncIterator[tuple[Place, Page]]:
    """Somebody who has filled in the form of a provider on another site."""
    clock = FakeClock(time.time())  # the browser's own decides which cookies have ended
    async with (
        workflows_place(clock, key, provider_name="localhost") as place,
        chromium() as browser,
    ):
        page = await (await browser.new_context()).new_page()
        page.set_default_timeout(20_000)
        await page.goto(f"{place.base}/oauth2/redirect?redirect=/workflows")
        await page.fill("input[name=user]", "ada")
        await page.fill("input[name=password]", "ada")
        await page.press("input[name=password]", "Enter")
        await page.wait_for_url(f"{place.base}/workflows")
        assert await page.evaluate(STATUS) == 200
        yield place, page


async def ended(place: Place, page: Page) -> None:
    """The login's ten hours are over, for the browser too."""
    place.clock.advance(11 * HOUR)
    await page.context.clear_cookies(name="authorization")


@pytest.mark.timeout(120)
async def test_a_reload_in_the_second_half_renews_and_shows_no_form(
    signing_key: rsa.RSAPrivateKey,
) -> None:
    async with logged_in(signing_key) as (place, page):
        place.clock.advance(6 * HOUR)
        await page.goto(f"{place.base}/workflows/argo?a=1")

        assert page.url == f"{place.base}/workflows/argo?a=1"
        assert place.provider.asked == ["", "none"]
        place.clock.advance(6 * HOUR)
        assert await page.evaluate(STATUS) == 200
        await page.reload()

        assert place.renewals("renewed") == 2
        assert place.provider.asked.count("") == 1


@pytest.mark.timeout(120)
async def test_the_morning_after_the_first_page_brings_a_new_session(
    signing_key: rsa.RSAPrivateKey,
) -> None:
    async with logged_in(signing_key) as (place, page):
        await ended(place, page)
        assert await page.evaluate(STATUS) == 401

        await page.goto(f"{place.base}/workflows/argo")

        assert page.url == f"{place.base}/workflows/argo"
        assert await page.evaluate(STATUS) == 200


@pytest.mark.timeout(120)
async def test_a_link_on_another_site_does_too_and_before_the_end_is_no_logout(
    signing_key: rsa.RSAPrivateKey,
) -> None:
    async with logged_in(signing_key) as (place, page):
        elsewhere = f"{place.provider.issuer}/jwks"
        await page.goto(elsewhere)
        await page.evaluate(f"location.href = '{place.base}/workflows/linked'")
        await page.wait_for_url(f"{place.base}/workflows/linked")
        assert place.provider.asked == [""]
        await ended(place, page)
        await page.goto(elsewhere)

        await page.evaluate(f"location.href = '{place.base}/workflows/again'")
        await page.wait_for_url(f"{place.base}/workflows/again")

        assert await page.evaluate(STATUS) == 200
        assert place.provider.asked == ["", "none"]


@pytest.mark.timeout(120)
async def test_a_provider_that_wants_a_form_shows_the_page_and_is_left_alone(
    signing_key: rsa.RSAPrivateKey,
) -> None:
    async with logged_in(signing_key) as (place, page):
        place.provider.signed_in = ""
        place.clock.advance(6 * HOUR)
        for _ in range(3):
            await page.goto(f"{place.base}/workflows/argo")
            assert page.url == f"{place.base}/workflows/argo"

        assert place.provider.asked == ["", "none"]
        assert await page.evaluate(STATUS) == 200


@pytest.mark.timeout(120)
async def test_after_the_uis_own_logout_nobody_is_signed_in_by_a_page_load(
    signing_key: rsa.RSAPrivateKey,
) -> None:
    async with logged_in(signing_key) as (place, page):
        await page.goto(f"{place.base}/login")
        async with page.expect_navigation():
            await page.evaluate(LOG_OUT)
        place.clock.advance(30 * HOUR)

        await page.goto(f"{place.base}/workflows")

        assert await page.evaluate(STATUS) == 401
        assert place.provider.asked == [""]
