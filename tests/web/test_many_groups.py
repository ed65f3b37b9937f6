"""People in hundreds of groups: tokens as long as Argo CD takes them, end to end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.argocd_credentials import join_cookies
from sidecar.demo.grants import User
from sidecar.demo.misbehaviour import Change
from tests.fakes.clock import FakeClock
from tests.web.test_proxy import echoed, id_token, sent
from tests.world import PAGE, Browser, World, world

API = "/api/v1/applications"
COGNITO = "cognito:groups"


def groups(number: int) -> tuple[str, ...]:
    """Names as a directory has them; 500 of them make a cookie of 31 KiB."""
    return tuple(f"org-platform-kubernetes-argocd-team-{i:08}" for i in range(number))


def member_of(number: int) -> User:
    return User(name="ada", password="ada", email="ada@example.org", groups=groups(number))


@asynccontextmanager
async def member(
    key: rsa.RSAPrivateKey, clock: FakeClock, number: int, **environment: str
) -> AsyncIterator[tuple[World, Browser]]:
    """Somebody who is in so many groups, and has logged in."""
    async with world(
        key,
        clock,
        provider_settings={"users": (member_of(number),)},
        environment=environment,
    ) as here:
        yield here, await here.logged_in()


def tokens(browser: Browser) -> list[tuple[str, str]]:
    """The browser's parts of `argocd.token`."""
    return [(n, v) for n, v in browser.cookies().items() if n.startswith("argocd.token")]


async def groups_at_argocd(browser: Browser) -> list[str]:
    found: dict[str, Any] = await (await browser.get("/api/v1/session/userinfo")).json()
    return list(found["groups"])


async def test_five_hundred_groups_reach_argo_cd_from_a_browser_that_holds_none_of_them(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with member(signing_key, fake_clock, 500) as (here, browser):
        assert (await browser.get("/", headers=PAGE)).status == 200
        assert tuple(await groups_at_argocd(browser)) == groups(500)

        here.clock.advance(301)

        assert tuple(await groups_at_argocd(browser)) == groups(500)
        [cookie] = sent(await echoed(browser), "cookie")
        assert 30 * 1024 < len(cookie) < 34 * 1024
        assert not tokens(browser)
        assert len(browser.session()) < 200
        assert (await browser.get("/auth/logout")).status == 303
        assert (await browser.get(API)).status == 401


async def test_in_mirror_mode_five_hundred_groups_are_eight_cookies_that_come_back(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    """The browser's head of 31 KiB passes both ways, to our own pages too."""
    mirror = {"SIDECAR_COOKIE_MODE": "mirror"}
    async with member(signing_key, fake_clock, 500, **mirror) as (here, browser):
        first = await browser.get("/", headers=PAGE)

        lines = first.headers.getall("Set-Cookie")
        assert len(lines) == len(tokens(browser)) == 8
        assert all(len(line) <= 4093 for line in lines)
        assert join_cookies(tokens(browser)) == await id_token(browser)
        here.clock.advance(301)
        assert tuple(await groups_at_argocd(browser)) == groups(500)
        assert (await browser.log_in()).status == 303
        await browser.get(API)
        assert len(tokens(browser)) == 8
        assert (await browser.get("/auth/logout")).status == 303
        assert not [value for _, value in tokens(browser) if value]


async def test_a_renewed_token_in_fewer_parts_leaves_none_of_the_older_ones(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    mirror = {"SIDECAR_COOKIE_MODE": "mirror"}
    async with member(signing_key, fake_clock, 500, **mirror) as (here, browser):
        await browser.get(API)
        seen = []
        for number in (100, 1, 300):
            change = {"groups": list(groups(number))}
            here.provider.script.append(Change(claims=change))
            here.clock.advance(301)

            await browser.get(API)

            seen.append(len(tokens(browser)))
            assert join_cookies(tokens(browser)) == await id_token(browser)
            assert tuple(await groups_at_argocd(browser)) == groups(number)
        assert seen == [2, 1, 5]


@pytest.mark.parametrize(
    ("number", "head", "parts"),
    [(850, "64KiB", 14), (1000, "64KiB", 0), (1240, "96KiB", 20), (1300, "96KiB", 0)],
)
async def test_a_token_is_mirrored_up_to_what_both_sides_take_and_serves_beyond_it(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, number: int, head: str, parts: int
) -> None:
    """A browser whose head was too long would be shut out until it forgets its cookies."""
    variables = {"SIDECAR_COOKIE_MODE": "mirror", "SIDECAR_MAX_HEAD_SIZE": head}
    async with member(signing_key, fake_clock, number, **variables) as (_, browser):
        answers = [(await browser.get(API)).status for _ in range(3)]

        assert answers == [200] * 3
        assert len(tokens(browser)) == parts
        assert tuple(await groups_at_argocd(browser)) == groups(number)


async def test_a_token_that_has_grown_too_long_leaves_no_older_one_in_the_browser(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    mirror = {"SIDECAR_COOKIE_MODE": "mirror"}
    async with member(signing_key, fake_clock, 3, **mirror) as (here, browser):
        await browser.get(API)
        here.provider.script.append(Change(claims={"groups": list(groups(1000))}))
        here.clock.advance(301)

        assert (await browser.get(API)).status == 200

        assert not tokens(browser)
        assert len(await groups_at_argocd(browser)) == 1000


async def test_claims_pass_under_the_names_that_the_provider_gives_them(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    odd = {COGNITO: ["admins", "a b/ü"], "https://example.com/roles": ["dev"], "groups": None}
    async with world(signing_key, fake_clock) as here:
        for _ in range(2):
            here.provider.script.append(Change(claims=odd))
        browser = await here.logged_in()
        before = await claims_at_argocd(browser)

        here.clock.advance(301)

        after = await claims_at_argocd(browser)
        assert before["jti"] != after["jti"]
        for claims in (before, after):
            assert claims[COGNITO] == odd[COGNITO]
            assert claims["https://example.com/roles"] == ["dev"]
            assert "groups" not in claims


async def claims_at_argocd(browser: Browser) -> dict[str, Any]:
    """What the token says with which Argo CD was asked."""
    found: dict[str, Any] = jwt.decode(await id_token(browser), options={"verify_signature": False})
    return found
