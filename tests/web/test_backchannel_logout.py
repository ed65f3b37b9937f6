"""Logouts that the provider tells of, through real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.grants import User
from sidecar.demo.oauth import ADA
from sidecar.demo.valkey import valkey
from tests.adapters.relay import Relay
from tests.fakes.clock import FakeClock
from tests.web.logout_tokens import logout_token, sids, tell
from tests.world import Browser, World, eventually, world

API = "/api/v1/applications"
BOB = User(name="bob", password="bob", email="bob@example.org")


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    """A world with two people."""
    settings = {"users": (ADA, BOB)}
    async with world(signing_key, fake_clock, provider_settings=settings) as made:
        yield made


async def signed_in(browser: Browser) -> bool:
    answer = await browser.get(API)
    assert answer.status in (200, 401)
    return answer.status == 200


async def test_a_logout_by_subject_ends_all_of_a_persons_sessions_and_nobody_elses(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    laptop, phone = await here.logged_in(), await here.logged_in()
    bobs = await here.logged_in(user="bob")

    answer = await tell(await here.browser(), logout_token(here, signing_key, sub="ada"))

    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert [await signed_in(browser) for browser in (laptop, phone, bobs)] == [False, False, True]
    assert here.metric("backchannel_logouts_total", result="ok") == 1
    assert here.metric("ended_sessions_total", reason="provider_logout") == 2
    assert here.metric("forced_logins_total", reason="provider_logout") == 0


@pytest.mark.parametrize("names_subject", [True, False])
async def test_a_logout_by_session_ends_that_one_alone(
    here: World, signing_key: rsa.RSAPrivateKey, *, names_subject: bool
) -> None:
    laptop, phone = await here.logged_in(), await here.logged_in()
    subject = {"sub": "ada"} if names_subject else {}

    answer = await tell(phone, logout_token(here, signing_key, sid=sids(here)[0], **subject))

    assert answer.status == 200
    assert not await signed_in(laptop)
    assert await signed_in(phone)


async def test_what_has_ended_is_revoked_at_the_provider_and_at_argocd(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    browser = await here.logged_in()
    echo = await (await browser.get("/api/v1/echo")).json()
    cookie = next(value for name, value in echo["headers"] if name.lower() == "cookie")

    await tell(browser, logout_token(here, signing_key, sub="ada"))
    await here.settled()

    assert sum(event.kind == "revoked" for event in here.provider.log) == 1
    async with browser.http.get(here.argocd.url + API, headers={"Cookie": cookie}) as answer:
        assert answer.status == 401


async def test_two_sessions_of_one_of_the_providers_end_together(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    browser, second = await here.browser(), await here.browser()
    callback = await browser.sign_in()
    here.share_cookies(browser, second)
    await asyncio.gather(browser.get(callback), second.get(callback))

    await tell(browser, logout_token(here, signing_key, sid=sids(here)[0]))

    assert not await signed_in(browser)
    assert not await signed_in(second)


async def test_a_logout_token_works_once(here: World, signing_key: rsa.RSAPrivateKey) -> None:
    first = await here.logged_in()
    token = logout_token(here, signing_key, sub="ada")
    assert (await tell(first, token)).status == 200
    again = await here.logged_in()

    answer = await tell(again, token)

    assert answer.status == 400
    assert "replayed" in await answer.text()
    assert await signed_in(again)
    assert here.metric("backchannel_logouts_total", result="replayed") == 1


async def test_a_logout_of_nobody_here_is_done_all_the_same(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    browser = await here.logged_in()

    unknown_sid = await tell(browser, logout_token(here, signing_key, sid="unknown"))
    unknown_sub = await tell(browser, logout_token(here, signing_key, sub="nobody"))

    assert (unknown_sid.status, unknown_sub.status) == (200, 200)
    assert await signed_in(browser)
    assert here.metric("backchannel_logouts_total", result="no_session") == 2


async def test_an_id_token_is_no_logout_token(here: World, signing_key: rsa.RSAPrivateKey) -> None:
    browser = await here.logged_in()
    echo = await (await browser.get("/api/v1/echo")).json()
    cookie = next(value for name, value in echo["headers"] if name.lower() == "cookie")
    id_token = cookie.partition("argocd.token=")[2].partition(";")[0]

    answer = await tell(browser, id_token)

    assert answer.status == 400
    assert id_token not in await answer.text()
    assert await signed_in(browser)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"iss": "https://evil.example.org"}, "iss"),
        ({"aud": "another"}, "aud"),
        ({"exp": 1}, "exp"),
        ({"events": {}}, "events"),
        ({"nonce": "n"}, "nonce"),
        ({"sub": 7}, "sub"),
    ],
)
async def test_a_token_that_fails_a_check_is_refused_with_its_name_and_nothing_ends(
    here: World, signing_key: rsa.RSAPrivateKey, changes: dict[str, object], check: str
) -> None:
    browser = await here.logged_in()

    answer = await tell(browser, logout_token(here, signing_key, **{"sub": "ada", **changes}))

    assert answer.status == 400
    assert answer.headers["Cache-Control"] == "no-store"
    refusal = json.loads(await answer.text())
    assert refusal["error"] == "invalid_request"
    assert f"check: {check}" in refusal["error_description"]
    assert await signed_in(browser)


async def test_a_token_that_somebody_else_signed_logs_nobody_out(here: World) -> None:
    browser = await here.logged_in()
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    before = here.provider.jwks_requests

    for _ in range(20):
        answer = await tell(browser, logout_token(here, other, sub="ada"))
        assert answer.status == 400

    assert await signed_in(browser)
    assert here.provider.jwks_requests <= before + 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_only_a_post_is_a_logout(
    here: World, signing_key: rsa.RSAPrivateKey, method: str
) -> None:
    browser = await here.logged_in()
    token = logout_token(here, signing_key, sub="ada")

    answer = await browser.request(method, f"/auth/backchannel-logout?logout_token={token}")

    assert answer.status == 405
    assert await signed_in(browser)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("logout_token={token}&logout_token={token}", "application/x-www-form-urlencoded"),
        ("token={token}", "application/x-www-form-urlencoded"),
        ('{{"logout_token": "{token}"}}', "application/json"),
        ("logout_token={token}", "text/plain"),
        ("{many}&logout_token={token}", "application/x-www-form-urlencoded"),
        ("", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_body_that_is_not_one_token_in_a_form_is_refused(
    here: World, signing_key: rsa.RSAPrivateKey, body: str, content_type: str
) -> None:
    browser = await here.logged_in()
    token, many = logout_token(here, signing_key, sub="ada"), "&".join("a=b" for _ in range(50))

    answer = await browser.request(
        "POST",
        "/auth/backchannel-logout",
        data=body.format(token=token, many=many),
        headers={"Content-Type": content_type},
    )

    assert answer.status == 400
    assert await signed_in(browser)


async def test_a_body_that_is_too_long_is_not_read_to_its_end(here: World) -> None:
    browser = await here.logged_in()

    answer = await tell(browser, "x" * 1_000_000)

    assert answer.status == 413


async def test_while_the_providers_keys_are_away_the_provider_is_asked_to_try_again(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    cold = await here.start_sidecar(SIDECAR_LISTEN="127.0.0.1:0")
    browser = await here.browser(cold)
    here.provider.available = False

    answer = await tell(browser, logout_token(here, signing_key, sub="ada"))

    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_log_names_a_logouts_user_and_check_and_has_no_token_in_it(
    capsys: pytest.CaptureFixture[str], here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    browser = await here.logged_in()
    good = logout_token(here, signing_key, sub="ada", sid=sids(here)[0])
    bad = logout_token(here, signing_key, sub="ada", nonce="n")

    await tell(browser, bad)
    await tell(browser, good)
    await here.settled()

    said = capsys.readouterr().out
    assert "backchannel_logout_refused" in said
    assert '"sessions": 1' in said
    assert "provider_logout" in said
    for token in (good, bad):
        assert not [part for part in token.split(".")[1:] if part in said]
    assert sids(here)[0] not in said


async def test_below_a_root_path_the_endpoint_is_there_too(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with world(signing_key, fake_clock, rootpath="argo") as here:
        browser = await here.logged_in()

        answer = await tell(browser, logout_token(here, signing_key, sub="ada"))

        assert answer.status == 200
        assert not await signed_in(browser)


async def test_who_is_logged_out_by_the_provider_is_not_sent_back_to_it(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    browser = await here.logged_in()

    await tell(browser, logout_token(here, signing_key, sub="ada"))

    assert await (await browser.get("/api/v1/session/userinfo")).json() == {}


async def test_a_logout_holds_on_all_replicas_and_is_remembered_by_all(
    shared: World, signing_key: rsa.RSAPrivateKey
) -> None:
    first, second, third = shared.sidecars
    browser = await shared.logged_in(first)
    assert await signed_in(shared.through(browser, second))
    token = logout_token(shared, signing_key, sid=sids(shared)[0])

    answer = await tell(await shared.browser(third), token)

    assert answer.status == 200
    shared.clock.advance(1.0)  # what a replica knows holds for so long
    for replica in (first, second, third):
        assert not await signed_in(shared.through(browser, replica))
    assert (await tell(await shared.browser(second), token)).status == 400


async def test_a_logout_that_comes_while_the_store_is_away_is_done_when_it_is_back(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with valkey() as server:
        relay = Relay(server)
        async with (
            relay.running() as store_url,
            world(signing_key, fake_clock, environment={"SIDECAR_STORE_URL": store_url}) as here,
        ):
            browser = await here.logged_in()
            relay.lead_to("/nonexistent")
            await relay.cut_all()

            answer = await tell(browser, logout_token(here, signing_key, sub="ada"))
            relay.lead_to(server)

            assert answer.status == 503
            assert answer.headers["Retry-After"]
            await eventually(lambda: here.metric("backchannel_logouts_total", result="ok") == 1)
            assert not await signed_in(browser)
