"""The suite's modules about logouts: RP-Initiated and Back-Channel Logout."""

from collections.abc import AsyncIterator

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from sidecar.core.logout_token import EVENT
from tests.fakes.clock import FakeClock
from tests.web.logout_tokens import logout_token, tell
from tests.world import Browser, World, world

API = "/api/v1/applications"


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    """A world in which a logout goes on to the provider."""
    settings = {"SIDECAR_PROVIDER_LOGOUT": "on"}
    async with world(signing_key, fake_clock, environment=settings) as made:
        back = f"{made.base}/_sidecar/signed-out"
        made.provider.settings.post_logout_redirect_uris = (back,)
        yield made


async def signed_in(browser: Browser) -> bool:
    return (await browser.get(API)).status == 200


async def logged_out(browser: Browser) -> URL:
    """Log out here; where the browser is sent to at the provider."""
    answer = await browser.get("/auth/logout")
    assert answer.status == 303
    return URL(answer.headers["Location"])


async def test_a_logout_goes_to_the_provider_and_comes_back(here: World) -> None:
    browser = await here.logged_in()

    to_provider = await logged_out(browser)
    assert to_provider.query["post_logout_redirect_uri"] == f"{here.base}/_sidecar/signed-out"
    assert to_provider.query["id_token_hint"]
    at_provider = await browser.get(str(to_provider))
    back = await browser.get(at_provider.headers["Location"])

    assert back.status == 200
    assert "You are signed out" in await back.text()
    assert not await signed_in(browser)


@pytest.mark.parametrize(
    "state", [pytest.param("another", id="other-state"), pytest.param("", id="no-state")]
)
async def test_a_way_back_whose_state_is_not_ours_is_no_logout_page(
    here: World, state: str
) -> None:
    browser = await here.logged_in()
    await logged_out(browser)
    query = {"state": state} if state else {}

    back = await browser.get(str(URL("/_sidecar/signed-out").with_query(query)))

    assert back.status == 303
    assert back.headers["Location"] == "/"


async def test_a_back_channel_logout_ends_the_session(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    browser = await here.logged_in()

    answer = await tell(await here.browser(), logout_token(here, signing_key, sub="ada"))

    assert answer.status == 200
    assert not await signed_in(browser)


async def test_a_back_channel_logout_during_our_own_is_taken_too(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    browser = await here.logged_in()
    to_provider = await logged_out(browser)

    answer = await tell(await here.browser(), logout_token(here, signing_key, sub="ada"))
    at_provider = await browser.get(str(to_provider))
    back = await browser.get(at_provider.headers["Location"])

    assert answer.status == 200
    assert back.status == 200
    assert not await signed_in(browser)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"iss": "https://another.example.org"}, id="wrong-iss"),
        pytest.param({"aud": "another-client"}, id="wrong-aud"),
        pytest.param({"events": None}, id="no-event"),
        pytest.param({"events": {EVENT + "x": {}}}, id="wrong-event"),
        pytest.param({"nonce": "a-nonce"}, id="with-nonce"),
    ],
)
async def test_a_logout_token_with_a_wrong_claim_is_refused(
    here: World, signing_key: rsa.RSAPrivateKey, changes: dict[str, object]
) -> None:
    browser = await here.logged_in()

    answer = await tell(browser, logout_token(here, signing_key, **{"sub": "ada", **changes}))

    assert answer.status == 400
    assert await signed_in(browser)


@pytest.mark.parametrize("alg", [pytest.param("none", id="alg-none"), "HS256"])
async def test_a_logout_token_with_a_wrong_algorithm_is_refused(
    here: World, signing_key: rsa.RSAPrivateKey, alg: str
) -> None:
    browser = await here.logged_in()
    good = logout_token(here, signing_key, sub="ada")
    claims = jwt.decode(good, options={"verify_signature": False})
    secret = "" if alg == "none" else here.provider.settings.client_secret.ljust(64, "=")

    answer = await tell(browser, jwt.encode(claims, secret, alg))

    assert answer.status == 400
    assert await signed_in(browser)
