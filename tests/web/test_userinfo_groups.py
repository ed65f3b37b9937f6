"""Groups from the userinfo endpoint: the access token in Argo CD's Redis, kept by the sidecar."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from redis.asyncio import Redis

from sidecar.app import SystemClock, running
from sidecar.config.settings import Config
from sidecar.demo.argocd_userinfo import UserinfoSettings
from sidecar.demo.oauth import ADA
from sidecar.demo.valkey import valkey
from tests.config.mounted import Installation
from tests.fakes.clock import FakeClock
from tests.web.conftest import Installed
from tests.world import Browser, free_port, world

API = "/api/v1/applications"
WHO = "/api/v1/session/userinfo"
ASKS = "enableUserInfoGroups: true\nuserInfoPath: /userinfo"
SECRET = b"hunter3"


@dataclass
class Asking(Installed):
    """A world whose Argo CD gets groups from the userinfo endpoint."""

    redis: Redis

    async def groups(self, browser: Browser) -> list[str] | None:
        """What Argo CD says of the user; None where it knows none."""
        who = await (await browser.get(WHO)).json()
        return sorted(who.get("groups", [])) if who.get("loggedIn") else None

    def join(self, *groups: str) -> None:
        """Ada is in these groups at the provider from now on, and in her next login."""
        self.world.provider.settings.users = (replace(ADA, groups=groups),)


@asynccontextmanager
async def asking(
    signing_key: rsa.RSAPrivateKey,
    clock: FakeClock,
    folder: Path,
    **environment: str,
) -> AsyncIterator[Asking]:
    argocd = Installation(folder)
    async with (
        valkey() as url,
        Redis.from_url(url) as redis,
        world(
            signing_key,
            clock,
            installation=argocd,
            environment={"SIDECAR_ARGOCD_REDIS_URL": url, **environment},
            provider_settings={"groups_in_id_token": False, "access_token_seconds": 300},
            argocd_settings={"userinfo": UserinfoSettings(url, SECRET)},
        ) as made,
    ):
        argocd.add_to_oidc(ASKS)
        here = Asking(made, argocd, redis)
        await here.changed()
        yield here


@pytest.fixture
async def here(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Asking]:
    seeding = {"SIDECAR_SEED_ACCESS_TOKEN": "on"}
    async with asking(signing_key, fake_clock, tmp_path, **seeding) as made:
        yield made


async def test_argocd_has_the_groups_from_the_first_request_on(here: Asking) -> None:
    browser = await here.world.logged_in()

    assert await here.groups(browser) == ["developers"]
    assert (await browser.get(API)).status == 200
    assert here.world.metric("seeded_access_tokens_total", result="written") == 1


async def test_after_a_renewal_argocd_asks_again_with_the_new_token(here: Asking) -> None:
    browser = await here.world.logged_in()
    await here.groups(browser)
    here.world.clock.advance(160)
    await browser.get(API)
    await here.world.settled()
    here.world.clock.advance(145)  # the first access token has ended

    assert await here.groups(browser) == ["developers"]
    assert here.world.provider.refreshes == 1
    assert here.world.argocd.seen.unauthorized == 0


async def test_a_renewal_that_a_request_waits_for_is_written_before_it_goes_up(
    here: Asking,
) -> None:
    browser = await here.world.logged_in()
    here.world.clock.advance(400)
    await here.redis.flushall()  # by their own ends the entries are gone too

    assert await here.groups(browser) == ["developers"]


async def test_without_the_setting_logins_stay_argocds_and_the_alarm_says_the_mend(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    async with asking(signing_key, fake_clock, tmp_path) as here:
        browser = await here.world.browser()
        answer = await browser.get("/auth/login")

        assert here.world.argocd.seen.own_logins == 1
        assert answer.status == 303
        assert "SIDECAR_SEED_ACCESS_TOKEN=on" in (await here.detail())["configuration"]


async def test_without_the_entry_argocd_would_refuse_everything(here: Asking) -> None:
    browser = await here.world.logged_in()

    await here.redis.flushall()

    assert (await browser.get(API)).status == 401


async def test_a_redis_that_is_away_fails_no_login_and_no_renewal(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    away = {"SIDECAR_SEED_ACCESS_TOKEN": "on", "SIDECAR_ARGOCD_REDIS_URL": "unix:///nowhere/at/all"}
    async with asking(signing_key, fake_clock, tmp_path, **away) as here:
        browser = await here.world.logged_in()
        here.world.clock.advance(200)
        await browser.get(API)
        await here.world.settled()

        assert browser.session()
        assert (await (await browser.get("/api/v1/echo")).json())["method"] == "GET"
        assert here.world.provider.refreshes == 1
        assert here.world.metric("seeded_access_tokens_total", result="failed") == 2
        assert here.world.metric("alarms_total", kind="access_token_not_seeded") == 1


async def test_a_logout_takes_the_token_out_and_leaves_the_users_other_login(
    here: Asking,
) -> None:
    first, second = await here.world.logged_in(), await here.world.logged_in()
    await first.get(API)

    await second.get("/auth/logout")
    await here.world.settled()
    await here.redis.delete("userinfo_response_ada")

    assert await here.groups(first) == ["developers"]
    await first.get("/auth/logout")
    await here.world.settled()
    assert await here.redis.exists("access_token_ada") == 0


async def test_groups_of_a_new_login_count_at_once(here: Asking) -> None:
    first = await here.world.logged_in()
    assert await here.groups(first) == ["developers"]
    here.join("admins")

    second = await here.world.logged_in()

    assert await here.groups(second) == ["admins"]


async def test_sessions_from_before_the_setting_get_theirs_with_their_next_request(
    here: Asking,
) -> None:
    here.argocd.log_in_at(here.world.provider.issuer, "argo-cd", "demo-secret", url=here.world.base)
    await here.changed()
    here.world.argocd._guard.userinfo, asks = None, here.world.argocd._guard.userinfo
    browser = await here.world.logged_in()
    assert await here.redis.keys("*") == []

    here.argocd.add_to_oidc(ASKS)
    await here.changed()
    here.world.argocd._guard.userinfo = asks
    here.world.clock.advance(2)  # what is known of a session holds for a second

    assert await here.groups(browser) == ["developers"]


async def test_argocds_own_settings_lead_to_its_redis(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    port, argocd = free_port(), Installation(tmp_path)
    argocd.change(
        "argocd-cmd-params-cm",
        {"redis.server": f"127.0.0.1:{port}".encode(), "redis.key.prefix": b"team-a:"},
    )
    async with valkey("--port", str(port), "--bind", "127.0.0.1") as url:
        async with Redis.from_url(url) as redis:
            await redis.config_set("requirepass", "hunter4@/")
        own = f"redis://:hunter4%40%2F@127.0.0.1:{port}/0"
        argocd.add_to_oidc(ASKS)
        async with world(
            signing_key,
            fake_clock,
            installation=argocd,
            environment={"SIDECAR_SEED_ACCESS_TOKEN": "on"},
            provider_settings={"groups_in_id_token": False},
            argocd_settings={"userinfo": UserinfoSettings(own, SECRET, "team-a:")},
        ) as made:
            here = Installed(made, argocd)
            argocd.add_to_oidc(ASKS)
            await here.changed()
            browser = await made.logged_in()

            assert (await (await browser.get(WHO)).json())["groups"] == ["developers"]


async def test_a_sidecar_that_runs_puts_back_what_argocds_redis_has_lost(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    """By the machine's clock: nobody tells it to look."""
    async with valkey() as store:
        both = {"SIDECAR_SEED_ACCESS_TOKEN": "on", "SIDECAR_STORE_URL": store}
        async with asking(signing_key, cast(FakeClock, SystemClock()), tmp_path, **both) as here:
            browser = await here.world.logged_in()
            other = {"SIDECAR_LISTEN": "127.0.0.1:0"}
            config = Config.load({**here.world.environment, **other})
            async with running(config) as second:
                url = f"http://127.0.0.1:{second.public[1]}{API}"
                assert (await browser.get(url)).status == 200
                await here.redis.flushall()

                async with asyncio.timeout(10):
                    while not await here.redis.exists("access_token_ada"):
                        await here.redis.ping()

                assert (await browser.get(API)).status == 200
