"""A person in front of Argo Workflows: logins that are renewed on page loads, and never a loop."""

from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.core.workflows_login import RETRY_SECONDS
from tests.fakes.clock import FakeClock
from tests.workflows.place import Place, workflows_place

HOUR = 3600.0
API = "/api/v1/userinfo"


@pytest.fixture
async def place(clock: FakeClock, signing_key: rsa.RSAPrivateKey) -> AsyncIterator[Place]:
    async with workflows_place(clock, signing_key) as made:
        yield made


async def test_a_login_is_argo_servers_own_and_passes(place: Place) -> None:
    person = await place.logged_in()

    status, text = await person.fetch(API)

    assert status == 200
    assert '"ada"' in text
    assert place.provider.asked == [""]


async def test_a_page_load_after_half_of_its_life_renews_the_login_without_a_form(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    before = person.cookies()["authorization"]
    clock.advance(5 * HOUR)

    visit = await person.navigate("/workflows/argo?phase=Running&label=a%20b,c")

    assert (visit.status, visit.text) == (200, "<title>Argo</title>")
    assert str(visit.url.relative()) == "/workflows/argo?phase=Running&label=a%20b,c"
    assert place.argo.pages[-1] == "/workflows/argo?phase=Running&label=a%20b,c"
    assert place.provider.asked == ["", "none"]
    assert person.cookies()["authorization"] != before
    clock.advance(9 * HOUR)  # fourteen hours after the one login by hand
    assert (await person.fetch(API))[0] == 200
    assert (place.renewals("begun"), place.renewals("renewed")) == (1, 1)


async def test_a_fresh_login_is_left_alone_however_many_pages_are_loaded(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    for _ in range(20):
        clock.advance(HOUR / 5)
        assert len((await person.navigate("/workflows")).hops) == 1

    assert place.provider.asked == [""]


async def test_who_loads_pages_all_day_never_sees_the_login_page_again(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    for _ in range(100):
        clock.advance(HOUR)
        await person.navigate("/workflows")
        assert (await person.fetch(API))[0] == 200

    assert place.provider.asked.count("") == 1


async def test_a_login_that_has_ended_over_night_comes_back_with_the_first_page(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    clock.advance(16 * HOUR)
    assert (await person.fetch(API))[0] == 401

    visit = await person.navigate("/workflows/argo")

    assert visit.url.path == "/workflows/argo"
    assert (await person.fetch(API))[0] == 200
    assert place.provider.asked.count("") == 1


async def test_with_a_link_from_another_site_too(place: Place, clock: FakeClock) -> None:
    person = await place.logged_in()
    clock.advance(16 * HOUR)

    visit = await person.navigate("/workflows/argo", site="cross-site")

    assert visit.url.path == "/workflows/argo"
    assert (await person.fetch(API))[0] == 200


async def test_the_uis_login_page_after_the_end_leads_on_to_where_it_would(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    clock.advance(11 * HOUR)

    # ui/src/shared/services/requests.ts: what becomes of a 401.
    visit = await person.navigate("/login?redirect=%2Fworkflows%2Fargo%3Fa%3D1", site="same-origin")

    assert str(visit.url.relative()) == "/workflows/argo?a=1"
    assert (await person.fetch(API))[0] == 200


async def test_after_three_days_without_a_page_nothing_is_remembered(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    clock.advance(72 * HOUR)

    visit = await person.navigate("/workflows")

    assert len(visit.hops) == 1
    assert place.provider.asked == [""]


# No loop


@pytest.mark.parametrize("error", ["login_required", "interaction_required", "server_error"])
async def test_a_provider_that_wants_a_form_leaves_the_page_as_it_was(
    place: Place, clock: FakeClock, error: str
) -> None:
    person = await place.logged_in()
    place.provider.signed_in = ""
    place.provider.answers_none_with = error
    clock.advance(6 * HOUR)

    visit = await person.navigate("/workflows/argo?a=1")

    assert (visit.status, str(visit.url.relative())) == (200, "/workflows/argo?a=1")
    assert (await person.fetch(API))[0] == 200
    assert place.renewals("refused") == 1


async def test_and_is_asked_again_once_in_a_quarter_of_an_hour_at_most(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    place.provider.signed_in = ""
    clock.advance(6 * HOUR)

    for _ in range(30):
        await person.navigate("/workflows")
        clock.advance(RETRY_SECONDS / 15)

    assert place.provider.asked == ["", "none", "none"]


async def test_an_ended_login_that_the_provider_does_not_renew_shows_the_uis_login_page(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    place.provider.signed_in = ""
    clock.advance(11 * HOUR)

    visit = await person.navigate("/login?redirect=%2Fworkflows", site="same-origin")

    assert (visit.status, visit.url.path) == (200, "/login")
    again = await person.navigate("/login?redirect=%2Fworkflows", site="same-origin")
    assert len(again.hops) == 1


async def test_by_hand_the_form_is_shown_right_after_a_try_without(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    place.provider.signed_in = ""
    clock.advance(11 * HOUR)
    await person.navigate("/workflows")

    form = await person.navigate("/oauth2/redirect?redirect=/workflows", site="same-origin")
    visit = await person.sign_in(form)

    assert place.provider.asked == ["", "none", ""]
    assert visit.url.path == "/workflows"
    assert (await person.fetch(API))[0] == 200


async def test_a_code_that_argo_server_cannot_redeem_leaves_the_page_as_it_was(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    place.provider.refuse_codes()
    clock.advance(6 * HOUR)

    visit = await person.navigate("/workflows/argo")

    assert (visit.status, visit.url.path) == (200, "/workflows/argo")
    assert place.renewals("failed") == 1
    assert len((await person.navigate("/workflows/argo")).hops) == 1


async def test_by_hand_the_same_is_argo_servers_own_answer(place: Place) -> None:
    place.provider.refuse_codes()
    person = await place.person()

    form = await person.navigate("/oauth2/redirect?redirect=/workflows")
    visit = await person.sign_in(form)

    assert (visit.status, visit.text) == (401, "")


async def test_a_browser_that_keeps_no_cookie_of_ours_is_sent_nowhere(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in(keeps_ours=False)
    clock.advance(6 * HOUR)

    visits = [await person.navigate("/workflows") for _ in range(5)]

    assert [len(visit.hops) for visit in visits] == [1] * 5


async def test_a_provider_that_knows_no_prompt_shows_its_form_once_and_the_page_follows(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    place.provider.signed_in, place.provider.ignores_prompt = "", True
    clock.advance(6 * HOUR)

    form = await person.navigate("/workflows/argo")
    assert form.url.path == "/authorize"
    assert len((await person.navigate("/workflows/argo")).hops) == 1  # who goes back has the page
    visit = await person.sign_in(form)

    assert visit.url.path == "/workflows/argo"


# Who is renewed, and who is not


async def test_who_has_logged_out_stays_so(place: Place, clock: FakeClock) -> None:
    person = await place.logged_in()
    clock.advance(6 * HOUR)

    visit = await person.log_out()
    clock.advance(12 * HOUR)
    later = await person.navigate("/workflows")

    assert (len(visit.hops), len(later.hops)) == (1, 1)
    assert (await person.fetch(API))[0] == 401
    assert place.provider.asked == [""]


async def test_who_looks_for_the_logout_on_the_login_page_gets_it(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    clock.advance(6 * HOUR)

    visit = await person.navigate("/login", site="same-origin")

    assert (len(visit.hops), visit.url.path) == (1, "/login")


async def test_a_link_from_another_site_is_not_taken_for_a_logout(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    clock.advance(HOUR)
    await person.navigate("/workflows", site="cross-site")
    clock.advance(5 * HOUR)

    await person.navigate("/workflows")

    assert place.renewals("renewed") == 1


async def test_a_login_from_before_the_sidecar_is_renewed_with_its_second_page(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    for key in [key for key in person.jar[place.base] if "token-refresh" in key[0]]:
        del person.jar[place.base][key]

    first = await person.navigate("/workflows")
    second = await person.navigate("/workflows")

    assert len(first.hops) == 1
    assert len(second.hops) > 1
    assert place.provider.asked == ["", "none"]


async def test_a_token_of_kubernetes_that_was_pasted_into_the_ui_is_left_alone(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    cookie = person.jar[place.base]["authorization", "/"]
    cookie.value, cookie.ends_at = "Bearer eyJhbGciOi.eyJzdWIi.c2ln", None
    clock.advance(11 * HOUR)

    for _ in range(3):
        await person.navigate("/workflows")

    assert place.provider.asked == ["", "none"]  # its own login has ended, and came back once


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Sec-Fetch-Mode": "cors"}, id="a-script"),
        pytest.param({"Sec-Fetch-Dest": "iframe"}, id="a-frame"),
        pytest.param({"Sec-Purpose": "prefetch;prerender"}, id="a-prefetch"),
        pytest.param({"Accept": "application/json"}, id="no-page"),
    ],
)
async def test_only_a_page_that_a_person_loads_renews(
    place: Place, clock: FakeClock, headers: dict[str, str]
) -> None:
    person = await place.logged_in()
    clock.advance(6 * HOUR)

    visit = await person.navigate("/workflows", **headers)

    assert len(visit.hops) == 1


async def test_at_another_address_nobody_is_sent_to_where_its_cookies_are_not(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    clock.advance(6 * HOUR)

    at_another = await person.navigate("/workflows", Host="workflows.internal")
    assert len(at_another.hops) == 1
    host = place.base.removeprefix("http://")
    behind_a_proxy = await person.navigate(
        "/workflows", **{"Host": "argo-server.argo.svc", "X-Forwarded-Host": host}
    )

    assert len(behind_a_proxy.hops) > 1


@pytest.mark.parametrize(
    "path",
    ["/api/v1/userinfo", "/artifact-files/argo/workflows/w/n/outputs/main", "/a//b", "/metrics"],
)
async def test_no_other_path_renews(place: Place, clock: FakeClock, path: str) -> None:
    person = await place.logged_in()
    clock.advance(6 * HOUR)

    assert len((await person.navigate(path)).hops) == 1


async def test_switched_off_nothing_is_remembered_and_nobody_is_sent_away(
    clock: FakeClock, signing_key: rsa.RSAPrivateKey
) -> None:
    async with workflows_place(clock, signing_key, SIDECAR_SSO_RENEWAL="off") as place:
        person = await place.logged_in()
        clock.advance(6 * HOUR)

        visit = await person.navigate("/workflows")

        assert len(visit.hops) == 1
        assert not [name for name in person.cookies() if "token-refresh" in name]


async def test_our_cookies_go_no_further(place: Place, clock: FakeClock) -> None:
    person = await place.logged_in()
    clock.advance(6 * HOUR)
    await person.navigate("/workflows")
    await person.fetch(API)

    assert any("token-refresh" in name for name in person.cookies())
    seen = place.argo.seen[-1]
    assert "authorization" in seen.cookie_names
    assert not [name for name in seen.cookie_names if "token-refresh" in name]


async def test_nobody_begins_a_login_of_another_site_with_our_mark(place: Place) -> None:
    person = await place.logged_in()

    visit = await person.navigate(
        "/oauth2/redirect?redirect=https%3A%2F%2Fevil.example%2F&sidecar_silent=1",
        site="cross-site",
    )

    assert (visit.url.port, visit.url.path) == (place.sidecars[0].port, "/")


@pytest.mark.parametrize(
    ("wanted", "page"),
    [
        ("/workflows/argo", "/workflows/argo"),
        ("https%3A%2F%2Fevil.example%2F", "/"),
        ("%2F%2Fevil.example%2F", "/"),
        ("%2F%5Cevil.example%2F", "/"),
    ],
)
async def test_without_sso_the_way_leads_back_to_a_page_here(
    place: Place, wanted: str, page: str
) -> None:
    place.argo.settings.modes = ("client",)
    person = await place.person()

    visit = await person.navigate(f"/oauth2/redirect?redirect={wanted}&sidecar_silent=1")

    assert (visit.url.port, visit.url.path) == (place.sidecars[0].port, page)


async def test_an_error_that_no_login_of_ours_brought_is_argo_servers_own_affair(
    place: Place,
) -> None:
    person = await place.logged_in()

    visit = await person.navigate("/oauth2/callback?error=login_required&state=abcdef", site="none")

    assert visit.status == 400


# Argo Workflows' own settings


@pytest.mark.parametrize("absolute", [False, True])
async def test_every_release_comes_back_to_the_page(
    clock: FakeClock, signing_key: rsa.RSAPrivateKey, absolute: bool
) -> None:
    argo = {"takes_absolute_redirects": absolute}
    async with workflows_place(clock, signing_key, argo=argo) as place:
        person = await place.person()
        await person.sign_in(await person.navigate("/oauth2/redirect?redirect=/workflows"))
        clock.advance(6 * HOUR)

        visit = await person.navigate("/workflows/argo?a=1")

        assert str(visit.url.relative()) == "/workflows/argo?a=1"
        assert place.renewals("renewed") == 1


async def test_behind_an_ingress_that_takes_the_base_path_away_the_page_has_it_again(
    clock: FakeClock, signing_key: rsa.RSAPrivateKey
) -> None:
    async with workflows_place(clock, signing_key, base_path="/argo") as place:
        person = await place.person(base_path="/argo")
        form = await person.navigate("/argo/oauth2/redirect?redirect=/argo/workflows")
        await person.sign_in(form)
        clock.advance(6 * HOUR)

        visit = await person.navigate("/argo/workflows/argo?a=1")

        assert str(visit.url.relative()) == "/argo/workflows/argo?a=1"
        assert place.argo.pages[-1] == "/workflows/argo?a=1"
        assert place.renewals("renewed") == 1
        place.provider.signed_in = ""
        clock.advance(11 * HOUR)
        visit = await person.navigate("/argo/login?redirect=/argo/workflows", site="same-origin")
        assert str(visit.url.relative()) == "/argo/login?redirect=/argo/workflows"


async def test_a_shorter_session_is_renewed_after_half_of_it(
    clock: FakeClock, signing_key: rsa.RSAPrivateKey
) -> None:
    async with workflows_place(clock, signing_key, argo={"session_seconds": HOUR}) as place:
        person = await place.logged_in()
        clock.advance(HOUR / 2 - 5)
        assert len((await person.navigate("/workflows")).hops) == 1
        clock.advance(6)

        await person.navigate("/workflows")

        assert place.renewals("renewed") == 1


async def test_an_event_stream_goes_on_past_the_end_and_a_new_one_is_refused(
    place: Place, clock: FakeClock
) -> None:
    person = await place.logged_in()
    cookie = f"authorization={person.cookies()['authorization']}"
    url, sent = f"{place.base}/api/v1/workflow-events/argo", {"Accept": "text/event-stream"}
    async with person.http.get(url, headers={**sent, "Cookie": cookie}) as stream:
        clock.advance(11 * HOUR)
        place.argo.events.put_nowait("ADDED")
        line = await stream.content.readline()
        place.argo.events.put_nowait(None)
        await stream.read()

    assert b"ADDED" in line
    async with person.http.get(url, headers={**sent, "Cookie": cookie}) as refused:
        assert refused.status == 401
