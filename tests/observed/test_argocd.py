"""Argo CD with its bundled Dex behind the sidecar, which observes its logins."""

import asyncio

import pytest
from aiohttp import ClientError
from yarl import URL

from sidecar.demo.argocd_credentials import set_cookies
from tests.fakes.clock import FakeClock
from tests.hostile.rules import Rule
from tests.observed.place import LIFE_SECONDS, ArgocdPlace, argocd_place
from tests.world import PAGE, Browser, eventually

API = "/api/v1/applications"


async def status(browser: Browser) -> int:
    return (await browser.get(API)).status


async def test_argo_cds_own_login_begins_a_session_and_no_token_reaches_the_browser(
    argocd: ArgocdPlace,
) -> None:
    browser = await argocd.browser()

    answer = await argocd.callback(browser)

    assert answer.status == 303
    assert browser.session()
    assert "argocd.token" not in browser.cookies()
    assert await status(browser) == 200
    assert argocd.argocd.seen.own_logins == 2
    (given,) = argocd.argocd.own_login.token_answers
    assert "refresh_token" not in given


async def test_a_token_that_ends_is_renewed(argocd: ArgocdPlace) -> None:
    browser = await argocd.logged_in()

    for generation in (2, 3):
        argocd.clock.advance(LIFE_SECONDS + 1)
        assert await status(browser) == 200
        assert argocd.dex.grants.state()[0]["generation"] == generation
    assert not argocd.argocd.seen.unauthorized


async def test_argo_cds_logout_ends_the_session_and_tells_argo_cd(argocd: ArgocdPlace) -> None:
    browser = await argocd.logged_in()

    answer = await browser.get("/auth/logout")

    assert answer.status == 303
    assert not browser.session()
    assert await status(browser) == 401
    assert argocd.metric("ended_sessions_total", reason="logout") == 1
    assert "/auth/logout" in {entry.path for entry in argocd.argocd.seen.log}


async def test_a_callback_that_argo_cd_refuses_begins_nothing(argocd: ArgocdPlace) -> None:
    browser, other = await argocd.browser(), await argocd.browser()
    callback = await browser.sign_in()

    answer = await other.get(callback)

    assert answer.status == 400
    assert not other.session()


async def test_a_login_goes_up_without_the_session_before_and_waits_for_nothing(
    argocd: ArgocdPlace,
) -> None:
    browser = await argocd.logged_in("ada")
    callback = await browser.sign_in(user="bob")
    before = argocd.metric("requests_total", credential="session")

    await browser.get(callback)

    assert argocd.metric("requests_total", credential="session") == before
    answer = await browser.get("/api/v1/session/userinfo")
    assert (await answer.json())["username"] == "bob@example.org"


async def test_a_token_request_under_way_when_the_sidecar_ends_loses_no_token(
    argocd: ArgocdPlace,
) -> None:
    """Though Dex takes longer than the port waits for it."""
    phone = await argocd.browser()
    argocd.dex.rules.add(Rule(on="code", delay_after=2.5))
    callback = URL(await phone.sign_in(user="ada"), encoded=True)
    redeeming = asyncio.ensure_future(argocd.argocd.own_login.redeem(callback.query["code"]))
    await eventually(lambda: bool(argocd.dex.requests["/token"]))

    first = argocd.sidecars.pop()
    await first.stop()

    assert first.metric("observed_logins_total", result="kept") == 1
    with pytest.raises(ClientError):
        await redeeming


async def test_in_mirror_mode_the_browser_has_argo_cds_own_cookie_too(
    fake_clock: FakeClock,
) -> None:
    async with argocd_place(fake_clock, SIDECAR_COOKIE_MODE="mirror") as place:
        browser = await place.browser()

        answer = await place.callback(browser)

        token = browser.cookies()["argocd.token"]
        theirs = set_cookies(token, "path=/", "SameSite=lax", "httpOnly")
        assert set(theirs) <= set(answer.headers.getall("Set-Cookie"))
        place.clock.advance(LIFE_SECONDS + 1)
        assert await status(browser) == 200
        assert browser.cookies()["argocd.token"] not in ("", token)


async def test_a_long_token_in_many_cookies_begins_a_session_too(argocd: ArgocdPlace) -> None:
    argocd.long_tokens()
    browser = await argocd.browser()

    await argocd.callback(browser)

    assert browser.session()
    assert await status(browser) == 200


async def test_without_a_refresh_token_the_login_goes_on_as_argo_cd_made_it(
    argocd: ArgocdPlace,
) -> None:
    await argocd.dex_without_refresh_tokens()
    browser = await argocd.browser()

    await argocd.callback(browser)

    assert not browser.session()
    assert await status(browser) == 200
    argocd.clock.advance(LIFE_SECONDS + 1)
    assert await status(browser) == 401


async def test_a_mirrored_cookie_does_not_outlive_a_login_without_a_refresh_token(
    fake_clock: FakeClock,
) -> None:
    async with argocd_place(fake_clock, SIDECAR_COOKIE_MODE="mirror") as place:
        browser = await place.logged_in("ada")
        await place.dex_without_refresh_tokens()

        await place.callback(browser, "bob")

        answer = await browser.get("/api/v1/session/userinfo")
        assert (await answer.json())["username"] == "bob@example.org"
        assert not browser.session()


async def test_local_accounts_log_in_as_ever(argocd: ArgocdPlace) -> None:
    browser = await argocd.logged_in()
    form = {"username": "admin", "password": "admin"}

    answer = await browser.request("POST", "/api/v1/session", json=form)

    assert answer.status == 200
    assert not browser.session()


async def test_a_page_of_an_ended_session_is_argo_cds_own(argocd: ArgocdPlace) -> None:
    browser = await argocd.logged_in()
    argocd.dex.grants.end_by_script(user="ada")
    argocd.clock.advance(LIFE_SECONDS + 1)

    assert (await browser.get("/applications", headers=PAGE)).status == 200
    assert await status(browser) == 401
    userinfo = await browser.get("/api/v1/session/userinfo")
    assert await userinfo.json() == {"iss": "sso"}
