"""Logging out, as a browser meets it."""

import asyncio

import pytest
from yarl import URL

from tests.world import PAGE, Browser, World, eventually

API = "/api/v1/applications"


def revoked(here: World) -> int:
    return sum(event.kind == "revoked" for event in here.provider.log)


async def twin(here: World, browser: Browser) -> Browser:
    """Another browser with the same cookies."""
    return here.share_cookies(browser, await here.browser())


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_logout_ends_the_session_and_revokes_the_grant(here: World, method: str) -> None:
    browser = await here.logged_in()
    thief = await twin(here, browser)

    answer = await browser.request(method, "/auth/logout")

    assert answer.status == 303
    assert answer.headers["Location"].startswith(here.base)
    assert not browser.session()
    assert (await thief.get(API)).status == 401
    await here.settled()
    assert revoked(here) == 1
    assert await (await browser.get("/api/v1/session/userinfo")).json() == {}


async def test_argocd_is_told_and_refuses_the_token_from_then_on(here: World) -> None:
    browser = await here.logged_in()
    echo = await (await browser.get("/api/v1/echo")).json()
    cookie = next(value for name, value in echo["headers"] if name.lower() == "cookie")

    await browser.get("/auth/logout")

    async with browser.http.get(here.argocd.url + API, headers={"Cookie": cookie}) as answer:
        assert answer.status == 401
        assert "revoked" in await answer.text()


async def test_a_logout_goes_where_argocds_logout_url_says(here: World) -> None:
    here.argocd.settings.logout_url = "https://idp.example.org/out?to={{logoutRedirectURL}}"
    browser = await here.logged_in()

    answer = await browser.get("/auth/logout")

    assert answer.headers["Location"].startswith("https://idp.example.org/out?to=")


async def test_the_logout_of_one_browser_leaves_the_other_sessions_of_its_grant(
    here: World,
) -> None:
    browser, second = await here.browser(), await here.browser()
    callback = await browser.sign_in()
    here.share_cookies(browser, second)
    await asyncio.gather(browser.get(callback), second.get(callback))

    await browser.get("/auth/logout")

    await here.settled()
    assert revoked(here) == 0
    assert (await second.get(API)).status == 200
    await second.get("/auth/logout")
    await here.settled()
    assert revoked(here) == 1


async def test_a_logout_during_a_renewal_ends_what_the_renewal_brings(here: World) -> None:
    browser = await here.logged_in()
    thief = await twin(here, browser)
    here.clock.advance(200)
    gate = here.provider.hold(after_commit=True)
    await browser.get(API)
    await gate.reached()

    await browser.get("/auth/logout")
    gate.release()
    await here.settled()

    assert (await thief.get(API)).status == 401
    assert revoked(here) >= 1
    here.clock.advance(200)
    assert (await thief.get(API)).status == 401


async def test_without_a_session_of_ours_the_logout_is_argocds(here: World) -> None:
    browser = await here.browser()
    await browser.request(
        "POST", "/api/v1/session", json={"username": "admin", "password": "admin"}
    )

    answer = await browser.get("/auth/logout")

    assert answer.status == 303
    assert not browser.cookies().get("argocd.token")
    assert (await (await here.browser()).get("/auth/logout")).status == 400


async def test_a_logout_from_another_site_gets_a_page_that_asks(here: World) -> None:
    browser = await here.logged_in()

    asked = await browser.get("/auth/logout", headers={"Sec-Fetch-Site": "cross-site", **PAGE})

    assert asked.status == 200
    assert 'method="post"' in await asked.text()
    assert (await browser.get(API)).status == 200


async def test_a_revocation_that_fails_is_tried_again(here: World) -> None:
    browser = await here.logged_in()
    await here.settled()
    here.provider.available = False

    answer = await browser.get("/auth/logout")
    here.provider.available = True
    await here.settled()

    assert answer.status == 303
    await eventually(lambda: revoked(here) == 1)


async def test_a_logout_clears_argocds_cookies_too(here: World) -> None:
    browser = await here.logged_in()
    browser.http.cookie_jar.update_cookies(
        {"argocd.token": "2:old", "argocd.token-1": "x"}, URL(here.base)
    )

    await browser.get("/auth/logout")

    assert not any(name.startswith("argocd.token") for name in browser.cookies())


async def test_a_session_that_has_ended_is_logged_out_without_an_error(here: World) -> None:
    browser = await here.logged_in()
    other = await twin(here, browser)
    await browser.get("/auth/logout")

    answer = await other.get("/auth/logout")

    assert answer.status == 303
    assert not other.session()


@pytest.mark.parametrize("method", ["HEAD", "PUT", "OPTIONS", "DELETE"])
async def test_other_methods_do_not_log_out_past_the_sidecar(here: World, method: str) -> None:
    browser = await here.logged_in()

    answer = await browser.request(method, "/auth/logout")

    assert answer.status == 405
    assert (await browser.get(API)).status == 200


async def test_a_local_account_logs_out_though_an_ended_session_lies_beside_it(
    here: World,
) -> None:
    browser = await here.logged_in()
    session = browser.session()
    name = next(n for n, value in browser.cookies().items() if value == session)
    await browser.request(
        "POST", "/api/v1/session", json={"username": "admin", "password": "admin"}
    )
    browser.http.cookie_jar.update_cookies({name: session}, URL(here.base))

    answer = await browser.get("/auth/logout")

    assert answer.status == 303
    assert not browser.cookies().get("argocd.token")
