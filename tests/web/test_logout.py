"""Logging out, as a browser meets it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from tests.fakes.clock import FakeClock
from tests.world import PAGE, Browser, World, world

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
    assert 'href="/auth/logout"' in await asked.text()
    assert (await browser.get(API)).status == 200


async def test_a_provider_that_is_away_holds_up_no_logout(here: World) -> None:
    browser = await here.logged_in()
    thief = await twin(here, browser)
    await here.settled()
    here.provider.available = False

    answer = await browser.get("/auth/logout")

    assert answer.status == 303
    assert (await thief.get(API)).status == 401
    await here.settled()
    assert here.metric("revocations_total", result="later") == 1


async def test_who_has_logged_out_is_not_sent_to_the_login_by_a_question_under_way(
    here: World,
) -> None:
    browser = await here.logged_in()
    tab = await twin(here, browser)

    await browser.get("/auth/logout")

    assert await (await tab.get("/api/v1/session/userinfo")).json() == {}
    assert (await tab.get(API)).status == 401


async def test_whose_session_the_provider_ended_is_sent_to_the_login(here: World) -> None:
    browser = await here.logged_in()
    here.provider.end_all()
    here.clock.advance(301)
    await browser.get(API)

    assert await (await browser.get("/api/v1/session/userinfo")).json() == {"iss": "sso"}


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


@pytest.fixture
async def with_provider(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> AsyncIterator[World]:
    """A world in which a logout goes on to the provider."""
    async with world(
        signing_key, fake_clock, environment={"SIDECAR_PROVIDER_LOGOUT": "on"}
    ) as made:
        back = f"{made.base}/_sidecar/signed-out"
        made.provider.settings.post_logout_redirect_uris = (back,)
        yield made


async def test_a_logout_ends_the_providers_session_too_where_that_is_asked_for(
    with_provider: World,
) -> None:
    browser = await with_provider.logged_in()

    answer = await browser.get("/auth/logout")

    to_provider = URL(answer.headers["Location"])
    assert to_provider.path == "/logout"
    assert set(to_provider.query) == {
        "id_token_hint", "client_id", "post_logout_redirect_uri", "state",
    }  # fmt: skip
    at_provider = await browser.get(answer.headers["Location"])
    assert at_provider.status == 303
    assert [event.user for event in with_provider.provider.log if event.kind == "logout"] == ["ada"]
    back = await browser.get(at_provider.headers["Location"])
    assert back.status == 200
    assert "You are signed out" in await back.text()
    assert back.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("query", ["", "?state=made-up.mac", "?state=a&state=b"])
async def test_who_does_not_come_from_a_logout_goes_on_to_argocd(here: World, query: str) -> None:
    browser = await here.browser()

    answer = await browser.get(f"/_sidecar/signed-out{query}")

    assert answer.status == 303
    assert answer.headers["Location"] == "/"


async def test_argocds_logout_url_comes_before_the_providers(with_provider: World) -> None:
    with_provider.argocd.settings.logout_url = "https://idp.example.org/out"
    browser = await with_provider.logged_in()

    answer = await browser.get("/auth/logout")

    assert answer.headers["Location"] == "https://idp.example.org/out"


async def test_argocds_own_address_is_no_logout_url_however_it_ends(with_provider: World) -> None:
    with_provider.argocd.settings.url += "/"
    browser = await with_provider.logged_in()

    answer = await browser.get("/auth/logout")

    assert answer.headers["Location"].startswith(f"{with_provider.provider.issuer}/logout?")


async def test_a_provider_without_a_logout_leads_back_to_argocd(with_provider: World) -> None:
    with_provider.provider.settings.post_logout_redirect_uris = ()
    browser = await with_provider.logged_in()

    answer = await browser.get("/auth/logout")

    assert answer.headers["Location"] == f"{with_provider.base}/"


async def test_no_browser_is_sent_to_the_providers_logout_unasked(here: World) -> None:
    here.provider.settings.post_logout_redirect_uris = (f"{here.base}/_sidecar/signed-out",)
    browser = await here.logged_in()

    answer = await browser.get("/auth/logout")

    assert answer.headers["Location"] == f"{here.base}/"
