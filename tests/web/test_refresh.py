"""Requests of a session, while its tokens come to their end."""

import asyncio

import pytest
from yarl import URL

from sidecar.demo.misbehaviour import Answer, Change, Drop
from tests.world import PAGE, Browser, World

API = "/api/v1/applications"


async def test_a_session_outlives_many_tokens_and_argocd_never_refuses(here: World) -> None:
    browser = await here.logged_in()

    for _ in range(20):
        here.clock.advance(100)
        assert (await browser.get(API)).status == 200
        await here.settled()

    assert here.provider.logins == 1
    assert here.provider.refreshes >= 5
    assert here.provider.reuses == 0
    assert here.argocd.seen.unauthorized == 0


async def test_inside_the_window_nobody_waits_for_the_provider(here: World) -> None:
    browser = await here.logged_in()
    here.clock.advance(200)
    gate = here.provider.hold()

    during = [await browser.get(API) for _ in range(3)]

    assert [answer.status for answer in during] == [200, 200, 200]
    assert here.provider.refreshes == 0
    gate.release()
    await here.settled()
    assert here.provider.refreshes == 1


async def test_fifty_parallel_requests_at_expiry_make_one_refresh(here: World) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)

    answers = await asyncio.gather(*(browser.get(API) for _ in range(50)))

    assert {answer.status for answer in answers} == {200}
    assert here.provider.refreshes == 1
    assert here.argocd.seen.unauthorized == 0


async def test_three_replicas_make_one_refresh_between_them(shared: World) -> None:
    browser = await shared.logged_in()
    everywhere = [shared.through(browser, replica) for replica in shared.sidecars]
    shared.clock.advance(301)

    answers = await asyncio.gather(*(b.get(API) for b in everywhere for _ in range(20)))

    assert {answer.status for answer in answers} == {200}
    assert shared.provider.refreshes == 1
    assert shared.provider.reuses == 0


async def test_a_browser_that_leaves_in_the_middle_of_a_renewal_loses_nothing(
    here: World,
) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    gate = here.provider.hold(after_commit=True)
    leaving = asyncio.ensure_future(browser.get(API))
    await gate.reached()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    gate.release()
    await here.settled()

    answer = await browser.get(API)

    assert answer.status == 200
    assert here.provider.refreshes == 1
    here.clock.advance(301)
    assert (await browser.get(API)).status == 200
    assert here.provider.reuses == 0


async def test_a_renewal_is_finished_and_stored_before_the_process_ends(
    shared: World,
) -> None:
    browser = await shared.logged_in()
    shared.clock.advance(200)
    gate = shared.provider.hold(after_commit=True)
    await browser.get(API)
    await gate.reached()
    closing = asyncio.ensure_future(shared.sidecars[0].stop())
    await asyncio.sleep(0)
    gate.release()
    await closing

    shared.clock.advance(301)
    answer = await shared.through(browser, shared.sidecars[1]).get(API)

    assert answer.status == 200
    assert shared.provider.refreshes == 2
    assert shared.provider.reuses == 0


async def test_a_grant_that_the_provider_has_ended_sends_the_ui_to_the_login(
    here: World,
) -> None:
    browser = await here.logged_in()
    here.provider.end_grant("ada")
    here.clock.advance(301)

    api = await browser.get(API)
    userinfo = await browser.get("/api/v1/session/userinfo")
    stream = await browser.get(
        "/api/v1/stream/applications", headers={"Accept": "text/event-stream"}
    )

    assert api.status == 401
    assert (await api.json())["code"] == 16
    assert userinfo.status == 200
    assert await userinfo.json() == {"iss": "sso"}
    assert stream.status == 401
    assert stream.content_type == "text/event-stream"
    assert (await browser.get("/", headers=PAGE)).status == 200
    assert here.argocd.seen.expired_tokens == 0
    assert here.metric("forced_logins_total", reason="ended_by_provider") == 1
    assert (await browser.log_in()).status == 303
    assert (await browser.get(API)).status == 200


PASSING = [
    Answer(status=503, body="<html>down</html>", content_type="text/html"),
    Answer(status=500, body='{"error":"server_error"}'),
    Answer(status=429, body="slow down", headers={"Retry-After": "7"}),
    Answer(status=200, body="<html>captive portal</html>", content_type="text/html"),
    Drop(after_commit=False),
]


@pytest.mark.parametrize("misbehaviour", PASSING, ids=str)
async def test_a_provider_that_fails_once_ends_no_session(
    here: World, misbehaviour: Answer | Drop
) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.append(misbehaviour)

    first = await browser.get(API)
    here.clock.advance(31)
    second = await browser.get(API)

    assert first.status == 503
    assert int(first.headers["Retry-After"]) >= 1
    assert first.content_type == "application/json"
    assert second.status == 200
    assert here.provider.logins == 1


async def test_an_outage_shorter_than_a_token_is_not_seen_at_all(here: World) -> None:
    browser = await here.logged_in()
    await browser.get(API)  # Argo CD reads the provider's keys once
    here.provider.available = False
    for _ in range(8):
        here.clock.advance(36)
        assert (await browser.get(API)).status == 200
        await here.settled()
    here.provider.available = True

    here.clock.advance(36)

    assert (await browser.get(API)).status == 200
    assert here.argocd.seen.unauthorized == 0


async def test_during_an_outage_what_needs_no_login_passes(here: World) -> None:
    browser = await here.logged_in()
    here.provider.available = False
    here.clock.advance(301)

    page = await browser.get("/", headers=PAGE)
    userinfo = await browser.get("/api/v1/session/userinfo")

    assert page.status == 503
    assert "still signed in" in await page.text()
    assert userinfo.status == 503
    assert (await browser.get("/api/v1/settings")).status == 200
    assert (await browser.get("/api/version")).status == 200
    assert browser.session()
    assert here.argocd.seen.expired_tokens == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, "invalid_client"), (401, "unauthorized_client"), (400, "invalid_scope")],
)
async def test_an_operators_mistake_ends_no_session(here: World, status: int, error: str) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.append(Answer(status=status, body=f'{{"error":"{error}"}}'))

    api = await browser.get(API)
    page = await browser.get("/", headers=PAGE)

    assert api.status == 503
    assert page.status == 503
    assert "Sign in anew" in await page.text()
    assert here.metric("alarms_total", kind="provider_refuses_client") == 1
    here.clock.advance(31)
    assert (await browser.get(API)).status == 200
    assert here.provider.logins == 1


async def test_a_renewal_that_gives_another_user_ends_the_session(here: World) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.append(Change(claims={"sub": "mallory"}))

    answer = await browser.get(API)

    assert answer.status == 401
    assert here.metric("forced_logins_total", reason="wrong_answer") == 1
    assert here.metric("alarms_total", kind="other_subject") == 1


@pytest.mark.parametrize(
    "change",
    [
        Change(claims={"iss": "https://evil.example.org"}),
        Change(claims={"aud": "another"}),
        Change(claims={"nonce": "another"}),
        Change(forged=True),
    ],
    ids=str,
)
async def test_a_renewal_with_a_bad_id_token_keeps_the_refresh_token(
    here: World, change: Change
) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.append(change)

    first = await browser.get(API)
    here.clock.advance(76)
    second = await browser.get(API)

    assert first.status == 503
    assert second.status == 200
    assert here.provider.logins == 1
    assert here.provider.reuses == 0


async def test_a_provider_that_keeps_its_refresh_token_is_renewed_with_the_old_one(
    here: World,
) -> None:
    here.provider.settings.rotates = False
    browser = await here.logged_in()

    for _ in range(3):
        here.clock.advance(301)
        here.provider.script.append(Change(members={"refresh_token": None}))
        assert (await browser.get(API)).status == 200

    assert here.provider.refreshes == 3


async def test_a_refreshed_token_may_leave_out_the_nonce(here: World) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.append(Change(claims={"nonce": None}))

    answer = await browser.get(API)

    assert answer.status == 200


async def test_an_answer_that_was_lost_is_not_asked_for_again_while_the_token_is_good(
    here: World,
) -> None:
    browser = await here.logged_in()
    here.provider.script.append(Drop(after_commit=True))
    here.clock.advance(200)
    await browser.get(API)
    await here.settled()
    asked = here.provider.token_requests

    here.clock.advance(60)
    good = await browser.get(API)
    await here.settled()

    assert good.status == 200
    assert here.provider.token_requests == asked
    here.clock.advance(60)
    assert (await browser.get(API)).status == 401
    assert here.metric("forced_logins_total", reason="lost_answer") == 1


async def test_a_stream_starts_with_a_token_that_lasts(here: World) -> None:
    browser = await here.logged_in()
    here.clock.advance(280)
    here.provider.settings.id_token_seconds = 301

    async with browser.http.get(
        browser.base + "/api/v1/stream/applications", headers={"Accept": "text/event-stream"}
    ) as stream:
        assert stream.status == 200

    assert here.provider.refreshes == 1


async def test_an_idle_session_ends_and_a_used_one_does_not(here: World) -> None:
    idle, used = await here.logged_in(), await here.logged_in()

    for _ in range(4):
        here.clock.advance(24 * 3600)
        assert (await used.get(API)).status == 200
        await here.settled()

    assert (await idle.get(API)).status == 401


async def test_every_session_ends_at_its_absolute_end(here: World) -> None:
    browser = await here.logged_in()

    for _ in range(7):
        here.clock.advance(23 * 3600)
        assert (await browser.get(API)).status == 200
        await here.settled()
    here.clock.advance(23 * 3600)

    assert (await browser.get(API)).status == 401


async def test_an_error_on_an_event_stream_is_held_back_since_the_ui_asks_again_at_once(
    here: World,
) -> None:
    browser = await here.logged_in()
    here.provider.available = False
    here.clock.advance(301)
    await browser.get(API)
    here.clock.slept.clear()

    stream = await browser.get(
        "/api/v1/stream/applications", headers={"Accept": "text/event-stream"}
    )
    held = sum(here.clock.slept)
    here.clock.slept.clear()
    api = await browser.get(API)

    assert stream.status == 503
    assert 1 <= held <= 5
    assert api.status == 503
    assert not here.clock.slept


async def without_id_tokens(here: World) -> Browser:
    """A browser whose provider gives no ID token on refresh, past its first token's end."""
    browser = await here.logged_in()
    here.provider.script.extend([Change(members={"id_token": None})] * 2)
    here.clock.advance(200)
    for _ in range(2):
        await browser.get(API)
        await here.settled()
        here.clock.advance(51)
    return browser


async def test_one_answer_without_an_id_token_costs_no_login(here: World) -> None:
    browser = await here.logged_in()
    here.provider.script.append(Change(members={"id_token": None}))
    here.clock.advance(200)

    for _ in range(2):
        assert (await browser.get(API)).status == 200
        await here.settled()
        here.clock.advance(51)

    assert here.provider.refreshes == 2
    assert (await browser.get(API)).status == 200


async def test_a_provider_without_id_tokens_on_refresh_is_told_of_once_and_asked_twice(
    here: World,
) -> None:
    for _ in range(3):
        browser = await here.logged_in()
        here.clock.advance(200)
        here.provider.script.extend([Change(members={"id_token": None})] * 2)
        for _ in range(5):
            assert (await browser.get(API)).status == 200
            await here.settled()
            here.clock.advance(15)

    assert here.metric("alarms_total", kind="no_id_token_on_refresh") == 1
    assert here.provider.refreshes == 6


async def test_at_its_tokens_end_a_page_load_goes_through_a_login_without_a_form(
    here: World,
) -> None:
    browser = await without_id_tokens(here)

    page = await browser.get("/applications?view=tree", headers=PAGE)
    login = await browser.get(page.headers["Location"])

    assert page.status == 303
    assert page.headers["Location"].startswith("/auth/login?return_url=")
    query = URL(login.headers["Location"]).query
    assert query.getall("prompt") == ["none"]
    api = await browser.get(API)
    assert api.status == 401
    assert await (await browser.get("/api/v1/session/userinfo")).json() == {"iss": "sso"}


async def test_a_silent_login_that_works_goes_on_where_the_person_was(here: World) -> None:
    browser = await without_id_tokens(here)
    page = await browser.get("/applications?view=tree", headers=PAGE)
    login = await browser.get(page.headers["Location"])

    # The provider knows the person: the same as its form, without showing it.
    knows = URL(login.headers["Location"]).without_query_params("prompt")
    done = await browser.request("POST", str(knows), data={"user": "ada", "password": "ada"})
    back = await browser.get(done.headers["Location"])

    assert back.headers["Location"] == f"{here.base}/applications?view=tree"
    assert (await browser.get(API)).status == 200


@pytest.mark.parametrize("error", ["login_required", "interaction_required"])
async def test_a_silent_login_that_needs_the_person_shows_the_form_once_and_does_not_loop(
    here: World, error: str
) -> None:
    browser = await without_id_tokens(here)
    page = await browser.get("/", headers=PAGE)
    login = await browser.get(page.headers["Location"])
    state = URL(login.headers["Location"]).query["state"]
    refused = f"/auth/callback?error={error}&state={state}&iss={here.provider.issuer}"

    form = await browser.get(refused)
    again = URL(form.headers["Location"])
    twice = await browser.get(
        f"/auth/callback?error={error}&state={again.query['state']}&iss={here.provider.issuer}"
    )

    assert form.status == 303
    assert "prompt" not in again.query
    assert twice.status == 400
    assert "Location" not in twice.headers
