"""Logging in, as a browser meets it."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from yarl import URL

from sidecar.demo.misbehaviour import Answer, Change, Drop
from tests.world import PAGE, World


async def test_a_login_gives_a_session_and_argocd_sees_the_user(here: World) -> None:
    browser = await here.browser()

    callback = await browser.log_in(f"{here.base}/applications?view=tree")

    assert callback.status == 303
    assert callback.headers["Location"] == f"{here.base}/applications?view=tree"
    userinfo = await browser.get("/api/v1/session/userinfo")
    assert (await userinfo.json())["loggedIn"] is True
    assert here.argocd.seen.own_logins == 0


async def test_the_authorization_request_has_state_nonce_and_pkce(here: World) -> None:
    browser = await here.browser()

    start = await browser.get("/auth/login")

    query = parse_qs(urlsplit(start.headers["Location"]).query)
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{here.base}/auth/callback"]
    assert query["scope"] == ["openid profile email groups offline_access"]
    assert all(len(query[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))
    assert start.headers["Cache-Control"] == "no-store"


async def test_cookies_are_httponly_lax_and_for_the_whole_site(here: World) -> None:
    browser = await here.browser()
    start = await browser.get("/auth/login")
    callback = await browser.log_in()

    lines = [*start.headers.getall("Set-Cookie"), *callback.headers.getall("Set-Cookie")]

    for line in lines:
        assert "; Path=/;" in line
        assert "HttpOnly" in line
        assert "SameSite=Lax" in line


async def test_every_login_has_a_new_session_and_the_one_before_ends(here: World) -> None:
    browser = await here.logged_in()
    first = browser.session()
    other = await here.browser()
    here.share_cookies(browser, other)

    await browser.log_in()

    assert browser.session() not in ("", first)
    assert (await browser.get("/api/v1/applications")).status == 200
    assert (await other.get("/api/v1/applications")).status == 401


async def test_a_session_id_that_an_attacker_plants_is_not_taken_over(here: World) -> None:
    attacker, victim = await here.logged_in(), await here.browser()
    planted = attacker.session()
    here.share_cookies(attacker, victim)

    await victim.log_in()

    assert victim.session() != planted


async def test_two_tabs_may_log_in_at_once(here: World) -> None:
    browser = await here.browser()
    first = await browser.sign_in(f"{here.base}/a")
    second = await browser.sign_in(f"{here.base}/b")

    answers = [await browser.get(first), await browser.get(second)]

    assert [a.headers["Location"] for a in answers] == [f"{here.base}/a", f"{here.base}/b"]


async def test_a_browser_keeps_a_handful_of_unfinished_logins(here: World) -> None:
    browser = await here.browser()

    for _ in range(9):
        here.clock.advance(1)
        await browser.get("/auth/login")

    assert sum("-login-" in name for name in browser.cookies()) == 5
    assert (await browser.log_in()).status == 303


async def test_a_callback_that_is_repeated_gets_a_session_on_the_same_grant(here: World) -> None:
    browser, impatient = await here.browser(), await here.browser()
    callback = await browser.sign_in()
    here.share_cookies(browser, impatient)

    answers = await asyncio.gather(browser.get(callback), impatient.get(callback))

    assert [answer.status for answer in answers] == [303, 303]
    assert browser.session() != impatient.session()
    assert here.provider.reuses == 0
    here.clock.advance(400)
    pages = [await b.get("/api/v1/applications") for b in (browser, impatient)]
    assert [page.status for page in pages] == [200, 200]
    assert here.provider.refreshes == 1


async def test_a_repeated_callback_without_its_state_cookie_is_refused(here: World) -> None:
    browser, thief = await here.browser(), await here.browser()
    callback = await browser.sign_in()
    await browser.get(callback)

    stolen = await thief.get(callback)

    assert stolen.status == 400
    assert not thief.session()


async def test_a_browser_that_leaves_during_the_exchange_can_repeat_it(here: World) -> None:
    browser = await here.browser()
    callback = await browser.sign_in()
    gate = here.provider.hold(after_commit=True)
    leaving = asyncio.ensure_future(browser.get(callback))
    await gate.reached()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    gate.release()

    again = await browser.get(callback)

    assert again.status == 303
    assert here.provider.reuses == 0
    assert (await browser.get("/api/v1/applications")).status == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"state": "another-state"}, 400),
        ({"state": ""}, 400),
        ({"iss": "https://evil.example.org"}, 400),
        ({"iss": ""}, 400),
        ({"code": ""}, 400),
    ],
)
async def test_a_callback_that_does_not_fit_its_login_is_a_page_and_no_session(
    here: World, change: dict[str, str], status: int
) -> None:
    browser = await here.browser()
    callback = URL(await browser.sign_in())

    answer = await browser.get(str(callback.update_query(change)), headers=PAGE)

    assert answer.status == status
    assert "Sign in again" in await answer.text()
    assert "Location" not in answer.headers
    assert not browser.session()


async def test_a_callback_with_a_parameter_twice_is_refused(here: World) -> None:
    browser = await here.browser()
    callback = await browser.sign_in()

    answer = await browser.get(f"{callback}&code=another")

    assert answer.status == 400
    assert not browser.session()


async def test_a_login_of_ten_minutes_ago_is_too_old(here: World) -> None:
    browser = await here.browser()
    start = await browser.get("/auth/login")
    here.clock.advance(601)
    state = URL(start.headers["Location"]).query["state"]
    cookies = "; ".join(line.partition(";")[0] for line in start.headers.getall("Set-Cookie"))

    answer = await browser.get(
        f"/auth/callback?state={state}&code=x&iss={here.provider.issuer}",
        headers={"Cookie": cookies},
    )

    assert answer.status == 400
    assert here.provider.token_requests == 0


async def test_a_person_who_denies_sees_a_page_and_no_loop(here: World) -> None:
    browser = await here.browser()
    start = await browser.get("/auth/login")
    denied = await browser.request("POST", start.headers["Location"], data={"action": "deny"})

    answer = await browser.get(denied.headers["Location"], headers=PAGE)

    assert answer.status == 403
    assert "cancelled" in await answer.text()
    assert not browser.session()
    assert not any("-login-" in name for name in browser.cookies())


@pytest.mark.parametrize(
    "misbehaviour",
    [
        Change(claims={"nonce": "another"}),
        Change(claims={"nonce": None}),
        Change(claims={"aud": "another-client"}),
        Change(claims={"iss": "https://evil.example.org"}),
        Change(claims={"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
        Change(claims={"exp": 1}),
        Change(claims={"sub": None}),
        Change(members={"id_token": None}),
        Change(forged=True),
    ],
    ids=str,
)
async def test_an_id_token_that_fails_a_check_is_no_login(
    here: World, misbehaviour: Change
) -> None:
    browser = await here.browser()
    callback = await browser.sign_in()
    here.provider.script.append(misbehaviour)

    answer = await browser.get(callback, headers=PAGE)

    assert answer.status == 502
    assert not browser.session()


@pytest.mark.parametrize(
    ("misbehaviour", "status"),
    [
        (Answer(status=400, body='{"error":"invalid_grant"}'), 502),
        (Answer(status=401, body='{"error":"invalid_client"}'), 502),
        (Answer(status=503, body="<html>down</html>", content_type="text/html"), 503),
        (Answer(status=200, body="<html>hello</html>", content_type="text/html"), 503),
        (Drop(after_commit=False), 503),
    ],
    ids=str,
)
async def test_an_exchange_that_fails_is_a_page_and_a_new_login_works(
    here: World, misbehaviour: Answer | Drop, status: int
) -> None:
    browser = await here.browser()
    callback = await browser.sign_in()
    here.provider.script.append(misbehaviour)

    answer = await browser.get(callback, headers=PAGE)

    assert answer.status == status
    assert not browser.session()
    assert (await browser.log_in()).status == 303


async def test_while_the_provider_is_away_the_login_alone_answers_503(here: World) -> None:
    here.provider.available = False
    browser = await here.browser()

    login = await browser.get("/auth/login", headers=PAGE)

    assert login.status == 503
    assert int(login.headers["Retry-After"]) >= 1
    assert (await browser.get("/api/version")).status == 200
    here.provider.available = True
    here.clock.advance(2)
    assert (await browser.log_in()).status == 303


@pytest.mark.parametrize(
    "return_url",
    [
        "https://evil.example.org/",
        "//evil.example.org/",
        "/\\evil.example.org",
        "http://127.0.0.1@evil.example.org/",
        "/auth/logout",
        "/%61uth/login",
        "javascript:alert(1)",
    ],
)
async def test_no_login_returns_to_another_site_or_an_own_endpoint(
    here: World, return_url: str
) -> None:
    browser = await here.browser()

    answer = await browser.get(str(URL("/auth/login").with_query(return_url=return_url)))

    assert answer.status == 400
    assert "Location" not in answer.headers


async def test_a_stale_argocd_token_is_cleared_by_a_login(here: World) -> None:
    browser = await here.browser()
    browser.http.cookie_jar.update_cookies(
        {"argocd.token": "2:old", "argocd.token-1": "token"}, URL(here.base)
    )

    await browser.log_in()

    assert not any(name.startswith("argocd.token") for name in browser.cookies())


async def test_a_key_that_changes_between_logins_is_read_again(here: World) -> None:
    await here.logged_in()
    here.provider.rotate_keys(keep_old=False)
    here.clock.advance(11)

    browser = await here.logged_in()

    assert (await browser.get("/api/v1/session/userinfo")).status == 200


async def test_a_provider_without_refresh_tokens_still_logs_people_in(here: World) -> None:
    here.provider.script.append(Change(members={"refresh_token": None}))

    browser = await here.logged_in()

    assert (await browser.get("/api/v1/applications")).status == 200
    assert here.metric("alarms_total", kind="no_refresh_token") == 1
    here.clock.advance(400)
    assert (await browser.get("/api/v1/applications")).status == 401


async def test_login_and_callback_never_reach_argocd_however_they_are_spelled(
    here: World,
) -> None:
    browser = await here.browser()

    for path in (
        "/auth/login",
        "//auth/login",
        "/auth/./login",
        "/x/../auth/login",
        "/%61uth/login",
    ):
        for method in ("GET", "POST", "HEAD", "PUT"):
            await browser.request(method, path)
        await browser.get(path.replace("login", "callback"))

    assert here.argocd.seen.own_logins == 0


async def test_strangers_cannot_make_metrics_grow(here: World) -> None:
    browser = await here.browser()
    state = URL((await browser.get("/auth/login")).headers["Location"]).query["state"]
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies().items())
    issuer = here.provider.issuer

    for number in range(5):
        made_up = "".join(chr(ord("a") + (number + i) % 26) for i in range(12))
        await browser.get(
            f"/auth/callback?state={state}&iss={issuer}&error={made_up}",
            headers={"Cookie": cookie},
        )

    assert here.metric("logins_total", result="provider_other") == 5
