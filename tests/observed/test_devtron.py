"""Devtron behind the sidecar: its own login, its own cookie, and no second login."""

import asyncio

import pytest
from aiohttp import ClientResponse
from yarl import URL

from tests.fakes.clock import FakeClock
from tests.hostile.rules import Rule
from tests.observed.place import LIFE_SECONDS, DevtronPlace, devtron_place
from tests.world import PAGE, Browser

API = "/app/list"
VERIFY = "/devtron/auth/verify"
LOGGED_OUT = {"code": 401, "result": "Unauthorized"}


def token_of(browser: Browser) -> str:
    return browser.cookies().get("argocd.token", "")


def set_by(answer: ClientResponse, name: str) -> list[str]:
    lines = answer.headers.getall("Set-Cookie", [])
    return [line for line in lines if line.partition("=")[0].endswith(name)]


def forget_token(browser: Browser) -> None:
    """What Devtron's dashboard does at a logout (clearCookieOnLogout): the cookie is deleted."""
    browser.http.cookie_jar.clear(lambda cookie: cookie.key.startswith("argocd.token"))


def ended(place: DevtronPlace, reason: str) -> float:
    return place.metric("ended_sessions_total", reason=reason)


# The login


async def test_a_first_time_user_is_registered_by_devtron_and_has_a_session_of_ours(
    devtron: DevtronPlace,
) -> None:
    browser = await devtron.browser()

    answer = await devtron.callback(browser, "ada")

    assert answer.status == 303
    assert devtron.devtron.users == {"ada@example.org": True}
    assert browser.session()
    assert (await browser.get(API)).status == 200
    assert devtron.metric("observed_logins_total", result="session") == 1


async def test_the_refresh_token_never_reaches_devtron(devtron: DevtronPlace) -> None:
    await devtron.logged_in()

    (answer,) = devtron.devtron.login.token_answers
    (grant,) = devtron.dex.grants.state()
    assert set(answer) >= {"id_token", "access_token", "token_type"}
    assert "refresh_token" not in answer
    assert grant["generation"] == 1


async def test_the_login_goes_back_to_where_the_dashboard_wanted(devtron: DevtronPlace) -> None:
    browser = await devtron.browser()
    back = f"{URL(devtron.base).origin()}/orchestrator/dashboard/app/list"

    answer = await browser.log_in(back)

    assert answer.headers["Location"] == back.replace("/orchestrator", "")
    assert browser.session()


async def test_somebody_whom_devtron_does_not_let_in_gets_no_session(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock, devtron={"self_registration": False}) as place:
        browser = await place.browser()

        answer = await place.callback(browser, "mallory")

        assert answer.headers["Location"] == "/dashboard/login?err=NO_USER"
        assert not browser.session()
        assert not token_of(browser)
        assert not place.metric("observed_logins_total", result="session")


async def test_the_callback_leaves_its_own_cookie_as_the_dashboard_reads_it(
    devtron: DevtronPlace,
) -> None:
    browser = await devtron.browser()

    answer = await devtron.callback(browser)

    (line,) = set_by(answer, "argocd.token")
    value, *flags = line.split("; ")
    assert value.count(".") >= 2
    assert [flag for flag in flags if not flag.startswith("Max-Age")] == ["path=/", "SameSite=lax"]
    (ours,) = [line for line in answer.headers.getall("Set-Cookie") if "HttpOnly" in line]
    assert [f for f in ours.split("; ") if f in flags] == ["Max-Age=604800"]


async def test_a_token_too_long_to_be_renewed_in_the_browser_is_left_to_devtron(
    fake_clock: FakeClock,
) -> None:
    """The dashboard reads it from the cookie, which would be gone with the first renewal."""
    async with devtron_place(fake_clock, SIDECAR_MAX_HEAD_SIZE="32KiB") as place:
        place.long_tokens()
        browser = await place.browser()

        answer = await place.callback(browser)

        assert answer.status == 303
        assert not browser.session()


async def test_a_callback_that_comes_twice_makes_one_session(devtron: DevtronPlace) -> None:
    browser = await devtron.browser()
    callback = await browser.sign_in()

    first, second = await browser.get(callback), await browser.get(callback)

    assert first.status == 303
    assert second.status == 400
    assert browser.session()
    assert (await browser.get(API)).status == 200
    assert devtron.metric("observed_logins_total", result="session") == 1


async def test_a_login_without_a_refresh_token_goes_on_as_devtron_made_it(
    fake_clock: FakeClock,
) -> None:
    """A connector that cannot refresh: as it was before there was a sidecar."""
    async with devtron_place(fake_clock, SIDECAR_OFFLINE_ACCESS="never") as place:
        browser = await place.browser()

        answer = await place.callback(browser)

        assert answer.status == 303
        assert not browser.session()
        assert token_of(browser)
        assert (await browser.get(API)).status == 200
        fake_clock.advance(LIFE_SECONDS + 1)
        assert (await browser.get(API)).status == 401


async def test_a_login_of_another_user_without_a_refresh_token_ends_the_session_before(
    devtron: DevtronPlace,
) -> None:
    browser = await devtron.logged_in("ada")
    await devtron.dex_without_refresh_tokens()

    await devtron.callback(browser, "bob")

    assert not browser.session()
    assert (await browser.get(API)).status == 200
    assert devtron.devtron.tokens_at("/orchestrator" + API)[-1]["email"] == "bob@example.org"
    assert ended(devtron, "replaced") == 1


async def test_a_second_login_in_a_browser_takes_the_place_of_the_first(
    devtron: DevtronPlace,
) -> None:
    browser = await devtron.logged_in("ada")
    before = browser.session()

    await devtron.callback(browser, "bob")

    assert browser.session() not in ("", before)
    await browser.get(API)
    assert devtron.devtron.tokens_at("/orchestrator" + API)[-1]["email"] == "bob@example.org"
    assert ended(devtron, "replaced") == 1


# Renewal


async def test_a_token_that_ends_is_renewed_and_nobody_logs_in_again(
    devtron: DevtronPlace,
) -> None:
    browser = await devtron.logged_in()
    first = token_of(browser)

    devtron.clock.advance(LIFE_SECONDS + 1)
    answer = await browser.get(API)

    assert answer.status == 200
    assert token_of(browser) not in ("", first)
    assert devtron.dex.grants.state()[0]["generation"] == 2
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_sidecar_asks_dex_directly_and_not_through_devtron(devtron: DevtronPlace) -> None:
    """Devtron itself redeems its codes at the public address."""
    browser = await devtron.logged_in()
    devtron.clock.advance(LIFE_SECONDS + 1)
    await browser.get(API)

    paths = [each.path for each in devtron.devtron.seen if "/api/dex/" in each.path]

    assert paths.count("/orchestrator/api/dex/token") == 1
    assert devtron.dex.requests["/token"] == 2


async def test_a_page_of_the_dashboard_brings_the_renewed_cookie_too(devtron: DevtronPlace) -> None:
    browser = await devtron.logged_in()
    first = token_of(browser)
    devtron.clock.advance(LIFE_SECONDS + 1)

    page = await browser.get(f"{URL(browser.base).origin()}/dashboard/app", headers=PAGE)

    assert page.status == 200
    assert token_of(browser) not in ("", first)


async def test_two_browsers_of_one_user_share_dexs_one_refresh_token(devtron: DevtronPlace) -> None:
    laptop = await devtron.logged_in("ada")
    phone = await devtron.logged_in("ada")

    for _ in range(3):
        devtron.clock.advance(LIFE_SECONDS + 1)
        assert (await laptop.get(API)).status == 200
        assert (await phone.get(API)).status == 200

    assert not devtron.metric("forced_logins_total", reason="ended_by_provider")


async def test_a_login_whose_callback_never_comes_does_not_end_the_users_other_sessions(
    devtron: DevtronPlace,
) -> None:
    """At Dex it has ended their refresh token."""
    laptop = await devtron.logged_in("ada")
    phone = await devtron.browser()
    await devtron.redeem_past_the_callback(phone, "ada")
    await devtron.settled()

    devtron.clock.advance(LIFE_SECONDS + 1)

    assert (await laptop.get(API)).status == 200


async def test_an_upstream_that_leaves_in_the_middle_of_its_token_request_loses_no_token(
    devtron: DevtronPlace,
) -> None:
    """Its browser has left; Dex has ended the refresh token of the user's other sessions."""
    laptop, phone = await devtron.logged_in("ada"), await devtron.browser()
    devtron.dex.rules.add(Rule(on="code", delay_after=0.3))
    callback = URL(await phone.sign_in(user="ada"), encoded=True)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await devtron.devtron.login.redeem(callback.query["code"])
    await devtron.settled()
    devtron.clock.advance(LIFE_SECONDS + 1)

    assert (await laptop.get(API)).status == 200


async def test_http_2_is_not_passed_to_devtron(devtron: DevtronPlace) -> None:
    """Nothing is looked at on such a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", devtron.sidecars[0].port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    assert (await reader.readline()).startswith(b"HTTP/1.1 505")
    writer.close()


async def test_another_replica_may_see_the_callback_and_the_requests(devtron: DevtronPlace) -> None:
    """The one that is Devtron's Dex kept the refresh token."""
    other = await devtron.with_shared_store()

    browser = await devtron.logged_in("ada", other)

    assert (await browser.get(API)).status == 200
    devtron.clock.advance(LIFE_SECONDS + 1)
    first = Browser(browser.http, devtron.base)
    assert (await first.get(API)).status == 200
    assert other.metric("observed_logins_total", result="session") == 1
    assert devtron.sidecars[0].metric("observed_logins_total", result="kept") == 1


async def test_somebody_whom_dex_dismissed_is_sent_to_the_login(devtron: DevtronPlace) -> None:
    browser = await devtron.logged_in()
    devtron.dex.grants.end_by_script(user="ada")
    devtron.clock.advance(LIFE_SECONDS + 1)

    answer = await browser.get(API)

    assert answer.status == 401
    assert await answer.json() == LOGGED_OUT
    (gone,) = set_by(answer, "argocd.token")
    assert "Max-Age=0" in gone
    assert "path=/;" in gone
    assert not token_of(browser)


async def test_after_a_restart_of_dex_a_page_leads_to_devtrons_login_and_back(
    devtron: DevtronPlace,
) -> None:
    """It keeps its keys and refresh tokens in memory."""
    browser = await devtron.logged_in()
    await devtron.dex.restart()
    devtron.clock.advance(LIFE_SECONDS * 0.9)
    origin = str(URL(browser.base).origin())
    await browser.get(API)
    await devtron.settled()

    page = await browser.get(f"{origin}/dashboard/app/list?x=1", headers=PAGE)
    own = await browser.get(f"{origin}/dashboard/login/sso", headers=PAGE)
    login = await browser.get(f"{origin}{page.headers['Location']}")

    assert own.status == 200
    assert page.status == 303
    assert login.status == 303
    form = {"user": "ada", "password": "ada"}
    signed_in = await browser.request("POST", login.headers["Location"], data=form)
    callback = await browser.get(signed_in.headers["Location"])
    assert callback.headers["Location"] == f"{origin}/dashboard/app/list?x=1"
    assert (await browser.get(API)).status == 200
    assert devtron.metric("forced_logins_total", reason="provider_lost_its_state") == 1


# Logout


async def test_a_logout_in_the_dashboard_ends_the_session_everywhere(devtron: DevtronPlace) -> None:
    """It deletes the cookie that it reads, and asks no server to."""
    browser = await devtron.logged_in()
    thief = await devtron.browser()
    thief.http.cookie_jar.update_cookies(browser.http.cookie_jar.filter_cookies(URL(browser.base)))

    forget_token(browser)
    answer = await browser.get(API)

    assert answer.status == 401
    assert await answer.json() == LOGGED_OUT
    assert ended(devtron, "logout") == 1
    assert (await thief.get(API)).status == 401
    assert not token_of(browser)


async def test_a_logout_shows_at_the_first_request_whatever_it_is_for(
    devtron: DevtronPlace,
) -> None:
    browser = await devtron.logged_in()
    origin = str(URL(browser.base).origin())

    forget_token(browser)
    page = await browser.get(f"{origin}/dashboard/login", headers=PAGE)

    assert page.status == 200
    assert not token_of(browser)
    assert ended(devtron, "logout") == 1
    assert (await browser.get(VERIFY)).status == 401


async def test_a_logout_in_one_browser_leaves_the_users_others(devtron: DevtronPlace) -> None:
    laptop, phone = await devtron.logged_in("ada"), await devtron.logged_in("ada")

    forget_token(laptop)
    await laptop.get(API)

    assert (await phone.get(API)).status == 200
    devtron.clock.advance(LIFE_SECONDS + 1)
    assert (await phone.get(API)).status == 200


async def test_a_person_sees_and_ends_their_sessions_below_devtrons_path(
    devtron: DevtronPlace,
) -> None:
    laptop, phone = await devtron.logged_in("ada"), await devtron.logged_in("ada")
    json = {"Accept": "application/json"}
    shown = await (await laptop.get("/_sidecar/session", headers=json)).json()
    form = {"token": shown["token"], "action": "end-others"}
    origin = {"Origin": str(URL(devtron.base).origin()), **json}

    done = await laptop.request("POST", "/_sidecar/session", data=form, headers=origin)

    assert len(shown["sessions"]) == 2
    assert done.status in (200, 303)
    assert (await phone.get(API)).status == 401
    assert (await laptop.get(API)).status == 200


async def test_after_a_logout_a_login_works_again(devtron: DevtronPlace) -> None:
    browser = await devtron.logged_in()
    forget_token(browser)
    await browser.get(API)

    answer = await devtron.callback(browser)

    assert answer.status == 303
    assert (await browser.get(API)).status == 200


# What is not ours


async def test_api_tokens_pass_beside_a_session(devtron: DevtronPlace) -> None:
    browser = await devtron.logged_in()
    token = devtron.devtron.api_token()

    answer = await browser.get(API, headers={"api-token": token})

    assert answer.status == 200
    assert devtron.devtron.tokens_at("/orchestrator" + API)[-1]["email"] == "API-TOKEN:ci"


async def test_an_api_token_counts_though_the_session_beside_it_has_ended(
    devtron: DevtronPlace,
) -> None:
    browser = await devtron.logged_in()
    devtron.dex.grants.end_by_script(user="ada")
    devtron.clock.advance(LIFE_SECONDS + 1)

    answer = await browser.get(API, headers={"api-token": devtron.devtron.api_token()})

    assert answer.status == 200


@pytest.mark.parametrize("name", ["token", "Authorization"])
async def test_what_devtron_passes_over_beside_its_cookie_is_no_credential(
    devtron: DevtronPlace, name: str
) -> None:
    browser = await devtron.logged_in()
    devtron.clock.advance(LIFE_SECONDS + 1)

    answer = await browser.get(API, headers={name: "Bearer a.b.c"})

    assert answer.status == 200
    assert devtron.devtron.tokens_at("/orchestrator" + API)[-1]["email"] == "ada@example.org"


async def test_the_administrators_login_ends_the_session_of_the_browser(
    devtron: DevtronPlace,
) -> None:
    browser = await devtron.logged_in()
    form = {"username": "admin", "password": "admin"}

    answer = await browser.request("POST", "/api/v1/session", json=form)

    assert answer.status == 200
    assert not browser.session()
    assert (await browser.get(API)).status == 200
    assert devtron.devtron.tokens_at("/orchestrator" + API)[-1]["email"] == "admin"


async def test_none_of_our_cookies_reaches_devtron_or_dex(devtron: DevtronPlace) -> None:
    browser = await devtron.logged_in()
    await browser.get(API)
    await browser.get("/api/dex/.well-known/openid-configuration")

    names = {name for each in devtron.devtron.seen for name in each.cookie_names}
    assert names <= {"argocd.token"}


async def test_without_a_store_devtrons_own_login_goes_on(fake_clock: FakeClock) -> None:
    async with devtron_place(fake_clock, SIDECAR_STORE_URL="redis://127.0.0.1:9/0") as place:
        browser = await place.browser()

        answer = await place.callback(browser)

        assert answer.status == 303
        assert not browser.session()
        assert (await browser.get(API)).status == 200
        assert place.metric("observed_logins_total", result="unavailable") >= 1
