"""What strangers, and browsers that go round in circles, cannot have the sidecar do."""

import asyncio
from collections.abc import AsyncIterator

import jwt
import pytest
from aiohttp import ClientResponse
from cryptography.hazmat.primitives.asymmetric import rsa
from redis.asyncio import Redis
from structlog.testing import capture_logs
from yarl import URL

from sidecar.core.authorization import hash_state
from sidecar.core.cookies import CookieJar
from sidecar.core.recent_logins import MOST_LOGINS
from sidecar.demo.valkey import valkey
from sidecar.flows.limits import CALLBACKS, EXCHANGES_AT_ONCE, REPEATS_AT_ONCE
from tests.fakes.clock import FakeClock
from tests.web.logout_tokens import tell
from tests.world import PAGE, Browser, World, eventually, world

A_STATE = "a" * 43


@pytest.fixture
async def proxied(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    """Behind a trusted proxy: whoever asks from this machine."""
    environment = {
        "SIDECAR_TRUSTED_PROXIES": "127.0.0.0/8",
        "SIDECAR_MAX_LOGINS_PER_ADDRESS": "5",
    }
    async with world(signing_key, fake_clock, environment=environment) as made:
        yield made


async def forged(here: World, browser: Browser, number: int = 0) -> ClientResponse:
    """A callback with a state, and a cookie of the right name that no login began with."""
    state = f"{A_STATE}{number}"
    name = CookieJar(here.base).login(hash_state(state), here.clock.now())
    headers = {"Cookie": f"{name}={'A' * 200}"} if number % 2 else {}
    return await browser.get(f"/auth/callback?code=x&state={state}", headers=headers)


def counted(here: World, limit: str) -> float:
    return here.metric("limited_total", limit=limit)


# One browser


async def test_a_browser_that_is_sent_round_in_circles_is_stopped_and_may_go_on_later(
    here: World,
) -> None:
    browser = await here.browser()
    for _ in range(MOST_LOGINS):
        assert (await browser.log_in()).status == 303

    stopped = await browser.get("/auth/login", headers=PAGE)

    assert stopped.status == 429
    assert 1 <= int(stopped.headers["Retry-After"]) <= 60
    assert "again and again" in await stopped.text()
    assert "Location" not in stopped.headers
    assert counted(here, "browser") == 1
    assert (await browser.get("/api/v1/applications")).status == 200  # its session is untouched
    assert (await (await here.browser()).log_in()).status == 303
    here.clock.advance(61)
    assert (await browser.log_in()).status == 303


async def test_a_program_is_told_in_argocds_form(here: World) -> None:
    browser = await here.browser()
    for _ in range(MOST_LOGINS):
        await browser.get("/auth/login")

    stopped = await browser.get("/auth/login")

    assert stopped.status == 429
    assert stopped.content_type == "application/json"
    assert (await stopped.json())["code"] == 8


async def test_the_browsers_own_count_never_goes_up_to_argocd(here: World) -> None:
    browser = await here.logged_in()
    assert any(name.endswith("-recent-logins") for name in browser.cookies())

    echo = await (await browser.get("/api/v1/echo")).json()

    cookies = [value for name, value in echo["headers"] if name.lower() == "cookie"]
    assert not any("recent-logins" in value for value in cookies)


# One address


@pytest.mark.parametrize("path", ["/auth/login", f"/auth/callback?code=x&state={A_STATE}"])
async def test_an_address_behind_a_trusted_proxy_has_so_many_requests_a_minute(
    proxied: World, path: str
) -> None:
    async def ask(forwarded_for: str) -> int:
        browser = await proxied.browser()
        headers = {"X-Forwarded-For": forwarded_for, **PAGE}
        return (await browser.get(path, headers=headers)).status

    # What stands left of the address was written by whoever has it.
    seen = [await ask(f"203.0.113.{number}, 192.0.2.7") for number in range(7)]

    assert seen[:5].count(429) == 0
    assert seen[5:] == [429, 429]
    assert counted(proxied, "address") == 2
    assert await ask("192.0.2.8") != 429
    proxied.clock.advance(61)
    assert await ask("192.0.2.7") != 429


async def test_without_trusted_proxies_no_address_is_believed_and_none_is_limited(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    few = {"SIDECAR_MAX_LOGINS_PER_ADDRESS": "1"}
    async with world(signing_key, fake_clock, environment=few) as here:
        for _ in range(10):
            browser = await here.browser()
            answer = await browser.get("/auth/login", headers={"X-Forwarded-For": "192.0.2.7"})
            assert answer.status == 303

        assert counted(here, "address") == 0


# Everybody together


async def test_callbacks_that_nobody_began_cost_neither_the_store_nor_the_provider_anything(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with (
        valkey() as store_url,
        world(signing_key, fake_clock, environment={"SIDECAR_STORE_URL": store_url}) as here,
    ):
        browser = await here.browser()
        redis = Redis.from_url(store_url)
        await redis.config_resetstat()
        discoveries = here.provider.discovery_requests

        answers = [await forged(here, browser, number) for number in range(50)]

        assert {answer.status for answer in answers} == {400}
        commands = await redis.info("commandstats")
        assert set(commands) <= {"cmdstat_config|resetstat", "cmdstat_client|setinfo"}
        assert here.provider.discovery_requests == discoveries
        assert here.provider.token_requests == 0
        assert here.metric("logins_total", result="state") == 50
        await redis.aclose()


async def test_what_strangers_ask_for_leaves_one_marker_for_each_genuine_login_in_the_store(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with (
        valkey() as store_url,
        world(signing_key, fake_clock, environment={"SIDECAR_STORE_URL": store_url}) as here,
    ):
        browser = await here.browser()
        redis = Redis.from_url(store_url)

        for path in ("/", "/auth/login", "/auth/logout", "/_sidecar/session", "/api/v1/settings"):
            for _ in range(3):
                await (await here.browser()).get(path, headers=PAGE)
        await forged(here, browser)
        assert await redis.dbsize() == 0
        for _ in range(3):
            start = await browser.get("/auth/login")
            query = {"code": "x", "iss": here.provider.issuer}
            state = URL(start.headers["Location"]).query["state"]
            cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies().items())
            callback = str(URL("/auth/callback").with_query(state=state, **query))
            for _ in range(4):
                await browser.get(callback, headers={"Cookie": cookie})

        keys = [str(key).split(":")[1] for key in await redis.keys("*")]
        assert keys == ["redeemed"] * 3
        assert here.provider.token_requests == 3
        await redis.aclose()


async def test_more_callbacks_than_a_moment_allows_are_told_to_come_again_and_may(
    here: World,
) -> None:
    """Here they come one after another while the clock stands still."""
    browser, patient = await here.browser(), await here.browser()
    callback, waits = await browser.sign_in(), await patient.sign_in()
    headers = {"Cookie": cookie_header(browser)}
    for _ in range(CALLBACKS.count):
        assert (await browser.get(callback, headers=headers)).status == 303

    with capture_logs() as lines:
        refused = [await patient.get(waits, headers=PAGE) for _ in range(3)]

    assert {answer.status for answer in refused} == {429}
    assert "reload" in await refused[0].text()
    assert "Set-Cookie" not in refused[0].headers
    assert counted(here, "callbacks") == here.metric("logins_total", result="too_many") == 3
    assert len([line for line in lines if line["event"] == "limited"]) == 1
    assert not any(line["event"] == "login_failed" for line in lines)
    assert here.provider.token_requests == 1
    here.clock.advance(5)
    assert (await patient.get(waits)).status == 303
    assert here.provider.reuses == 0


def cookie_header(browser: Browser) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies().items())


async def test_so_many_codes_are_exchanged_at_once_and_the_others_may_repeat_it(
    here: World,
) -> None:
    people = [await here.browser() for _ in range(EXCHANGES_AT_ONCE + 1)]
    callbacks = [await person.sign_in() for person in people]
    gates = [here.provider.hold(after_commit=False) for _ in range(EXCHANGES_AT_ONCE)]
    waiting = [
        asyncio.ensure_future(person.get(callback))
        for person, callback in zip(people[:-1], callbacks[:-1], strict=True)
    ]
    for gate in gates:
        await gate.reached()

    refused = await people[-1].get(callbacks[-1], headers=PAGE)
    for gate in gates:
        gate.release()

    assert refused.status == 429
    assert counted(here, "exchanges") == 1
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {303}
    assert (await people[-1].get(callbacks[-1])).status == 303


async def test_so_many_repeated_callbacks_wait_for_the_first_and_no_more(here: World) -> None:
    browser = await here.browser()
    callback = await browser.sign_in()
    cookie = cookie_header(browser)
    gate = here.provider.hold(after_commit=False)
    first = asyncio.ensure_future(browser.get(callback))
    await gate.reached()

    async def repeat() -> int:
        return (await other.get(callback, headers={"Cookie": cookie})).status

    other = await here.browser()
    repeats = [asyncio.ensure_future(repeat()) for _ in range(REPEATS_AT_ONCE + 8)]
    await eventually(lambda: counted(here, "repeats") == 8)
    gate.release()

    assert (await first).status == 303
    seen = await asyncio.gather(*repeats)
    assert (seen.count(303), seen.count(429)) == (REPEATS_AT_ONCE, 8)
    assert here.provider.reuses == 0


# The provider's documents


async def test_logins_while_the_provider_is_away_ask_for_its_metadata_once_a_second(
    here: World,
) -> None:
    here.provider.available = False

    for _ in range(20):
        assert (await (await here.browser()).get("/auth/login")).status == 503

    assert here.metric("provider_seconds_count", endpoint="discovery") == 1
    assert counted(here, "discovery") == 19
    here.clock.advance(1)
    await (await here.browser()).get("/auth/login")
    assert here.metric("provider_seconds_count", endpoint="discovery") == 2


async def test_tokens_by_unknown_keys_have_the_keys_read_once_in_ten_seconds(here: World) -> None:
    await here.logged_in()
    people = [await here.browser() for _ in range(3)]
    callbacks = [await person.sign_in() for person in people]
    here.provider.rotate_keys(keep_old=False)
    read = here.provider.jwks_requests

    pairs = zip(people, callbacks, strict=True)
    answers = [await person.get(callback) for person, callback in pairs]

    assert {answer.status for answer in answers} == {502}
    assert here.provider.jwks_requests == read
    assert counted(here, "jwks") >= 3
    here.clock.advance(10)
    assert (await (await here.browser()).log_in()).status == 303
    assert here.provider.jwks_requests == read + 1


@pytest.mark.parametrize("kid", [None, "unknown"])
async def test_forged_logout_tokens_have_the_keys_read_once_in_ten_seconds(
    here: World, kid: str | None
) -> None:
    await here.logged_in()
    strangers = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    read, browser = here.provider.jwks_requests, await here.browser()
    headers = {"kid": kid} if kid else {}

    for _ in range(20):
        here.clock.advance(1)
        forged_token = jwt.encode({"sub": "ada"}, strangers, "RS256", headers=headers)
        assert (await tell(browser, forged_token)).status == 400

    assert here.provider.jwks_requests == read + 2
