"""A user's own page, as browsers and programs meet it."""

import html
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from sidecar.demo.grants import User
from sidecar.demo.oauth import ADA
from tests.fakes.clock import FakeClock
from tests.world import PAGE, Browser, World, world

API = "/api/v1/applications"
AT = "/_sidecar/session"
JSON = {"Accept": "application/json"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
BOB = User(name="bob", password="bob", email="bob@example.org")
EVE = User(name="eve", password="eve", email='<script>alert("x")</script>@example.org')


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    """A world with three people."""
    settings = {"users": (ADA, BOB, EVE)}
    many = {"SIDECAR_MAX_SESSIONS_PER_USER": "100"}
    async with world(signing_key, fake_clock, provider_settings=settings, environment=many) as made:
        yield made


async def listed(browser: Browser) -> Any:
    answer = await browser.get(AT, headers=JSON)
    assert answer.status == 200
    return await answer.json()


async def changed(
    here: World, browser: Browser, *, origin: str | None = "", **form: str
) -> ClientResponse:
    """What becomes of a change from the browser's own page; `origin` None: none is sent."""
    form.setdefault("token", (await listed(browser))["token"])
    headers = {} if origin is None else {"Origin": origin or str(URL(here.base).origin())}
    return await browser.request("POST", AT, data=form, headers=headers)


async def signed_in(browser: Browser) -> bool:
    return (await browser.get(API)).status == 200


async def others_id(browser: Browser) -> str:
    """The id of the one other session."""
    (other,) = [one["id"] for one in (await listed(browser))["sessions"] if not one["current"]]
    return str(other)


async def test_a_user_sees_their_own_sessions_with_what_they_know_them_by(here: World) -> None:
    phone = await here.browser()
    phone.http.headers["User-Agent"] = FIREFOX
    await phone.log_in()
    here.clock.advance(120)
    laptop = await here.logged_in()
    await here.logged_in(user="bob")

    page = await (await laptop.get(AT, headers=PAGE)).text()

    assert "Signed in as ada@example.org." in page
    assert page.count("<article>") == 2
    assert page.index("This browser") < page.index("Firefox on Linux")
    assert str(URL(here.provider.issuer).authority) in page
    assert "2 minutes ago" in page
    assert "ends in 5 minutes" in page or "ends in 4 minutes" in page
    assert "bob" not in page


async def test_programs_get_the_same_as_json(here: World) -> None:
    phone = await here.browser()
    phone.http.headers["User-Agent"] = FIREFOX
    await phone.log_in()
    laptop = await here.logged_in()

    found = await listed(laptop)

    own, other = found["sessions"]
    assert (own["current"], other["current"]) == (True, False)
    assert other["device"] == "Firefox on Linux"
    assert other["userAgent"] == FIREFOX
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", other["firstSeenAt"])
    assert other["lastSeenAt"] <= other["tokenEndsAt"] <= other["endsAt"]
    assert found["more"] == 0
    assert own["renewsUnasked"] is False  # background renewal is off here
    assert own["lastSeenAt"] < own["nextRenewalAt"] < own["tokenEndsAt"]


async def test_the_next_renewal_is_told_as_it_will_be(here: World) -> None:
    browser = await here.logged_in()

    assert "in 2 minutes, if used" in await (await browser.get(AT, headers=PAGE)).text()
    here.clock.advance(290)
    assert "at its next use" in await (await browser.get(AT, headers=PAGE)).text()


async def test_the_page_gives_away_no_token_and_no_cookie(here: World) -> None:
    browser = await here.logged_in()
    echo = await (await browser.get("/api/v1/echo")).json()
    cookie = next(value for name, value in echo["headers"] if name.lower() == "cookie")
    id_token = cookie.partition("argocd.token=")[2].partition(";")[0]
    secrets = [id_token, browser.session(), browser.session().split(".")[1]]

    for accept in (PAGE, JSON):
        text = await (await browser.get(AT, headers=accept)).text()
        assert not [secret for secret in secrets if secret in text]


async def test_a_user_ends_one_other_session_everywhere(here: World) -> None:
    phone, tablet = await here.logged_in(), await here.logged_in()
    laptop = await here.logged_in()
    sessions = (await listed(laptop))["sessions"]
    tablets = next(one["id"] for one in (await listed(tablet))["sessions"] if one["current"])
    assert len(sessions) == 3

    answer = await changed(here, laptop, action="end", session=tablets)

    assert answer.status == 303
    assert answer.headers["Location"] == f"{AT}?done=ended"
    assert [await signed_in(one) for one in (laptop, phone, tablet)] == [True, True, False]
    page = await (await laptop.get(answer.headers["Location"], headers=PAGE)).text()
    assert "The session has ended." in page
    assert page.count("<article>") == 2
    await here.settled()
    assert sum(event.kind == "revoked" for event in here.provider.log) == 1
    assert here.metric("ended_sessions_total", reason="ended_by_user") == 1
    assert await (await tablet.get("/api/v1/session/userinfo")).json() == {}


async def test_a_user_ends_all_others_and_stays(here: World) -> None:
    others = [await here.logged_in() for _ in range(3)]
    bobs = await here.logged_in(user="bob")
    own = await here.logged_in()

    answer = await changed(here, own, action="end-others")

    assert answer.status == 303
    assert [await signed_in(one) for one in others] == [False] * 3
    assert await signed_in(own)
    assert await signed_in(bobs)
    assert len((await listed(own))["sessions"]) == 1


async def test_all_others_end_though_more_than_the_page_shows(here: World) -> None:
    own = await here.logged_in()
    first = await here.browser()
    callback = await first.sign_in()
    tabs = [here.share_cookies(first, await here.browser()) for _ in range(55)]
    for tab in (first, *tabs):
        await tab.get(callback)
    found = await listed(own)
    assert len(found["sessions"]) + found["more"] == 57
    assert len(found["sessions"]) <= 51
    assert "more." in await (await own.get(AT, headers=PAGE)).text()

    answer = await own.request(
        "POST",
        AT,
        data={"action": "end-others", "token": found["token"]},
        headers={"Origin": str(URL(here.base).origin()), **JSON},
    )

    assert await answer.json() == {"ended": 56}
    assert len((await listed(own))["sessions"]) == 1


async def test_nobody_ends_anothers_session(here: World) -> None:
    ada, bob = await here.logged_in(), await here.logged_in(user="bob")
    bobs = (await listed(bob))["sessions"][0]["id"]

    answer = await changed(here, ada, action="end", session=bobs)

    assert answer.headers["Location"] == f"{AT}?done=gone"
    assert await signed_in(bob)


async def test_the_own_session_is_left_by_the_logout_and_not_by_this_page(here: World) -> None:
    own = await here.logged_in()
    (session,) = (await listed(own))["sessions"]

    answer = await changed(here, own, action="end", session=session["id"])

    assert answer.headers["Location"] == f"{AT}?done=gone"
    assert await signed_in(own)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.org",
        "null",
        None,
        "{own}.evil.example.org",
        "{own}/",
        "https://argocd",
    ],
)
async def test_a_change_from_another_origin_changes_nothing(
    here: World, origin: str | None
) -> None:
    phone, own = await here.logged_in(), await here.logged_in()
    sent = origin and origin.format(own=URL(here.base).origin())

    answer = await changed(here, own, origin=sent, action="end", session=await others_id(own))

    assert answer.status == 403
    assert await signed_in(phone)


@pytest.mark.parametrize("whose", ["nobody", "other session", "other user", "empty"])
async def test_a_change_without_the_sessions_own_token_changes_nothing(
    here: World, whose: str
) -> None:
    phone, own = await here.logged_in(), await here.logged_in()
    bob = await here.logged_in(user="bob")
    token = {
        "nobody": "A" * 43,
        "other session": (await listed(phone))["token"],
        "other user": (await listed(bob))["token"],
        "empty": "",
    }[whose]

    answer = await changed(here, own, token=token, action="end-others")

    assert answer.status == 403
    assert await signed_in(phone)


async def test_a_change_that_is_not_known_is_refused(here: World) -> None:
    own = await here.logged_in()

    assert (await changed(here, own, action="promote")).status == 400
    assert (await changed(here, own)).status == 400


async def test_a_change_is_never_a_get(here: World) -> None:
    phone, own = await here.logged_in(), await here.logged_in()
    token, other = (await listed(own))["token"], await others_id(own)

    await own.get(f"{AT}?action=end&session={other}&token={token}")

    assert await signed_in(phone)
    assert (await own.request("DELETE", AT)).status == 405


async def test_a_form_that_is_too_long_is_refused(here: World) -> None:
    own = await here.logged_in()

    answer = await changed(here, own, action="end", session="x" * 10_000)

    assert answer.status == 413


async def test_without_a_session_the_page_offers_the_login_that_comes_back_to_it(
    here: World,
) -> None:
    browser = await here.browser()

    answer = await browser.get(AT, headers=PAGE)

    assert answer.status == 401
    assert answer.headers["Cache-Control"] == "no-store"
    link = re.search(r'href="([^"]+)"', await answer.text())
    assert link
    query = URL(html.unescape(link[1]), encoded=True).query
    callback = await browser.sign_in(query["return_url"])
    done = await browser.get(callback)
    assert URL(done.headers["Location"]).path == AT
    assert (await browser.get(AT, headers=PAGE)).status == 200


async def test_an_ended_session_shows_nothing(here: World) -> None:
    browser = await here.logged_in()
    other = here.share_cookies(browser, await here.browser())
    await browser.get("/auth/logout")

    page, program = await other.get(AT, headers=PAGE), await other.get(AT, headers=JSON)

    assert (page.status, program.status) == (401, 401)
    assert "login" in await program.json()
    assert "ada" not in await page.text()


async def test_the_page_runs_no_script_loads_nothing_and_stands_in_no_frame(here: World) -> None:
    browser = await here.logged_in()

    answer = await browser.get(AT, headers=PAGE)

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    text = await answer.text()
    assert "<script" not in text
    assert " style=" not in text


async def test_what_provider_and_browser_say_of_themselves_is_text_on_the_page(
    here: World,
) -> None:
    browser = await here.browser()
    browser.http.headers["User-Agent"] = '"><img src=x onerror=alert(1)>'
    await browser.log_in(user="eve")

    text = await (await browser.get(AT, headers=PAGE)).text()

    assert "<img" not in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("done", ["<script>", "nonsense", "ended&done=others"])
async def test_only_what_is_known_is_said_of_a_change(here: World, done: str) -> None:
    browser = await here.logged_in()

    text = await (await browser.get(f"{AT}?done={done}", headers=PAGE)).text()

    assert 'role="status"' not in text


async def test_below_a_root_path_the_page_leads_to_that(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with world(signing_key, fake_clock, rootpath="argo") as here:
        phone, own = await here.logged_in(), await here.logged_in()

        text = await (await own.get(AT, headers=PAGE)).text()
        answer = await changed(here, own, action="end", session=await others_id(own))

        assert 'action="/argo/_sidecar/session"' in text
        assert 'href="/argo/auth/logout"' in text
        assert answer.headers["Location"] == "/argo/_sidecar/session?done=ended"
        assert not await signed_in(phone)


async def test_each_replica_shows_all_of_a_users_sessions_and_ends_them_for_all(
    shared: World,
) -> None:
    first, second, _ = shared.sidecars
    phone, own = await shared.logged_in(first), await shared.logged_in(second)
    assert await signed_in(shared.through(phone, second))

    answer = await changed(shared, own, action="end", session=await others_id(own))

    assert answer.status == 303
    shared.clock.advance(1.0)
    assert not await signed_in(phone)
    assert not await signed_in(shared.through(phone, second))
