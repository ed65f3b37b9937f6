"""The same Argo CD at a second address: logins begin there, and come back there."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from sidecar.demo.misbehaviour import Change
from tests.fakes.clock import FakeClock
from tests.world import PAGE, World, world

OTHER = "other.example"
THERE = {"Host": OTHER}


@pytest.fixture
async def two(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    environment = {"SIDECAR_ADDITIONAL_URLS": f"http://{OTHER}"}
    async with world(signing_key, fake_clock, environment=environment) as made:
        uris = made.provider.settings.redirect_uris
        made.provider.settings.redirect_uris = (*uris, f"http://{OTHER}/auth/callback")
        yield made


def redirect_uri(location: str) -> str:
    return parse_qs(urlsplit(location).query)["redirect_uri"][0]


async def test_a_login_comes_back_to_the_address_that_it_began_at(two: World) -> None:
    browser = await two.browser()
    start = await browser.get("/auth/login?return_url=/applications", headers=THERE)
    assert redirect_uri(start.headers["Location"]) == f"http://{OTHER}/auth/callback"
    form = {"user": "ada", "password": "ada"}
    done = await browser.request("POST", start.headers["Location"], data=form)
    callback = URL(done.headers["Location"], encoded=True)
    assert callback.host == OTHER

    answer = await browser.get(callback.raw_path_qs, headers=THERE)

    assert answer.status == 303
    assert answer.headers["Location"] == f"http://{OTHER}/applications"
    assert (await browser.get("/api/v1/applications", headers=THERE)).status == 200
    out = await browser.get("/auth/logout", headers=THERE)
    assert out.headers["Location"].rstrip("/") == f"http://{OTHER}"


async def test_the_public_url_and_hosts_that_nobody_named_come_back_to_the_public_url(
    two: World,
) -> None:
    browser = await two.browser()
    for host in (urlsplit(two.base).netloc, "evil.example", f"{OTHER}:81", f"{OTHER}.evil.example"):
        start = await browser.get("/auth/login", headers={"Host": host})

        assert redirect_uri(start.headers["Location"]) == f"{two.base}/auth/callback"


@pytest.mark.parametrize("url", [f"http://{OTHER}/a", "/a"])
async def test_a_return_address_may_lie_at_any_of_the_addresses(two: World, url: str) -> None:
    browser = await two.browser()

    assert (await browser.get(f"/auth/login?return_url={url}")).status == 303
    assert (await browser.get("/auth/login?return_url=http://third.example/a")).status == 400


async def test_a_terminals_origin_may_be_an_additional_url(two: World) -> None:
    browser = await two.logged_in()
    url = f"{browser.base}/terminal?pod=x"

    async with browser.http.ws_connect(url, origin=f"http://{OTHER}") as terminal:
        assert not terminal.closed


async def test_a_login_without_a_form_comes_back_to_the_page_where_it_was(two: World) -> None:
    browser = await two.logged_in()
    two.provider.script.extend([Change(members={"id_token": None})] * 2)
    for _ in range(2):
        two.clock.advance(280)
        await browser.get("/api/v1/applications")
        await two.settled()
    two.clock.advance(600)

    page = await browser.get("/applications", headers={**PAGE, **THERE})

    assert page.status == 303
    query = parse_qs(urlsplit(page.headers["Location"]).query)
    assert query["return_url"] == [f"http://{OTHER}/applications"]


async def test_sessions_are_changed_from_the_page_at_the_address_in_use_alone(
    two: World,
) -> None:
    phone, own = await two.logged_in(), await two.logged_in()
    at = "/_sidecar/session"
    page = await own.get(at, headers={**THERE, "Accept": "application/json"})
    form = {"token": (await page.json())["token"], "action": "end-others"}

    for origin, status in ((str(URL(two.base).origin()), 403), (f"http://{OTHER}", 303)):
        assert (await phone.get("/api/v1/applications")).status == 200
        answer = await own.request("POST", at, data=form, headers={**THERE, "Origin": origin})
        assert answer.status == status

    assert (await phone.get("/api/v1/applications")).status == 401
