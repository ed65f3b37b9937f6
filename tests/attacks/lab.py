"""Where attacks are carried out: whole worlds of real parts on loopback, with a victim in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import ClientSession, WSMsgType
from cryptography.hazmat.primitives.asymmetric import rsa
from redis.asyncio import Redis

from sidecar.core.cookies import CookieJar
from sidecar.demo.oauth import ADA
from sidecar.demo.valkey import valkey
from tests.world import Browser, PacedClock, Replica, World, world

API = "/api/v1/applications"
USERINFO = "/api/v1/session/userinfo"
ECHO = "/api/v1/echo"
MALLORY = replace(ADA, name="mallory", password="mallory", email="mallory@example.org", groups=())
VICTIM, ATTACKER = ADA.email, MALLORY.email


@dataclass(frozen=True)
class Lab:
    """Makes the worlds of one test."""

    key: rsa.RSAPrivateKey
    """The provider's."""

    @asynccontextmanager
    async def world(self, **options: Any) -> AsyncIterator[World]:
        """A provider with two users, Argo CD, and a sidecar with its store in memory."""
        users = {"users": (ADA, MALLORY), **options.pop("provider_settings", {})}
        async with world(self.key, PacedClock(), provider_settings=users, **options) as made:
            yield made

    @asynccontextmanager
    async def stored(self, **options: Any) -> AsyncIterator[tuple[World, Redis]]:
        """The same over a Valkey, which the attacker has a connection to."""
        async with valkey() as url:
            environment = {"SIDECAR_STORE_URL": url, **options.pop("environment", {})}
            async with (
                self.world(environment=environment, **options) as here,
                Redis.from_url(url) as redis,
            ):
                yield here, redis


async def ordinary_use(lab: Lab) -> None:
    """What people do all day: it works."""
    async with lab.world() as here:
        browser = await here.browser()
        callback = await browser.log_in(f"{here.base}/applications?view=tree")
        assert callback.status == 303
        assert callback.headers["Location"] == f"{here.base}/applications?view=tree"
        assert await who(browser) == VICTIM
        assert (await browser.request("POST", ECHO, data=b"body")).status == 200
        await use_a_terminal(here, browser)
        here.clock.advance(400)
        assert (await browser.get(API)).status == 200
        assert here.provider.refreshes == 1
        await use_a_local_account(here)
        assert (await browser.get("/auth/logout")).status == 303
        assert (await browser.get(API)).status == 401


async def mirrored_use(lab: Lab) -> None:
    """The same where browsers have a copy of the token."""
    async with lab.world(environment=MIRROR) as here:
        browser = await here.logged_in()
        assert (await browser.get(API)).status == 200
        assert browser.cookies()["argocd.token"].count(".") == 2
        assert await who(browser) == VICTIM


MIRROR = {"SIDECAR_COOKIE_MODE": "mirror"}


async def use_a_terminal(here: World, browser: Browser) -> None:
    """Open one from Argo CD's own page, and get an answer in it."""
    async with browser.http.ws_connect(
        browser.base + "/terminal", headers={"Origin": here.base}
    ) as terminal:
        await terminal.send_str("ls")
        assert (await terminal.receive(timeout=5)).type is WSMsgType.TEXT


async def use_a_local_account(here: World) -> None:
    """Log in with Argo CD's own password page."""
    browser = await here.browser()
    account = {"username": "admin", "password": "admin"}
    assert (await browser.request("POST", "/api/v1/session", json=account)).status == 200
    assert (await browser.get(API)).status == 200


async def who(browser: Browser, **options: Any) -> str:
    """Whom Argo CD takes a browser for, "" for nobody."""
    answer = await browser.get(USERINFO, **options)
    found = await answer.json(content_type=None) if answer.status == 200 else {}
    return str(found.get("username", ""))


async def whoever_has(here: World, cookie: str, replica: Replica | None = None) -> str:
    """Whom a session cookie's value lets somebody be, in a browser that has nothing else."""
    return await who(await here.browser(replica), headers={"Cookie": named(here, cookie)})


def named(here: World, cookie: str) -> str:
    """A Cookie header with this session cookie."""
    return f"{CookieJar(here.base).session}={cookie}"


async def cookies_upstream(browser: Browser, **options: Any) -> str:
    """The Cookie header that reached Argo CD."""
    echo = await (await browser.get(ECHO, **options)).json(content_type=None)
    return "\n".join(v for name, v in echo.get("headers", ()) if name.lower() == "cookie")


async def begun(browser: Browser, *, user: str = "ada") -> tuple[str, dict[str, str]]:
    """A sign-in up to the callback, which is not followed, and what the provider was asked."""
    start = await browser.get("/auth/login")
    asked = dict(parse_qsl(urlsplit(start.headers["Location"]).query))
    form = {"user": user, "password": user}
    done = await browser.request("POST", start.headers["Location"], data=form)
    return done.headers["Location"], asked


def login_cookies(browser: Browser) -> dict[str, str]:
    """The cookies of a browser's unfinished logins."""
    return {name: value for name, value in browser.cookies().items() if "-login-" in name}


def parameters(url: str) -> dict[str, str]:
    """The query of an address."""
    return dict(parse_qsl(urlsplit(url).query))


async def metrics(here: World) -> str:
    """The first sidecar's metrics, as an operator reads them."""
    async with ClientSession() as http, http.get(f"{here.sidecars[0].admin}/metrics") as answer:
        return await answer.text()


PUBLIC = "https://argocd.example.org/argocd"


@asynccontextmanager
async def behind_tls(lab: Lab) -> AsyncIterator[World]:
    """A world whose public URL has https and a path; what ends TLS stands in front of it."""
    async with lab.world(
        environment={"SIDECAR_PUBLIC_URL": PUBLIC},
        provider_settings={"redirect_uris": (f"{PUBLIC}/auth/callback",)},
    ) as here:
        yield here


async def log_in_by_hand(
    here: World, return_url: str = "", *, user: str = "ada"
) -> tuple[str, str]:
    """Where a login leads, "" if it is not begun; and the session's cookie, as `name=value`."""
    browser = await here.browser()
    query = urlencode({"return_url": return_url})
    start = await browser.get(f"/argocd/auth/login?{query}")
    if start.status != 303:
        return "", ""
    form = {"user": user, "password": user}
    done = await browser.request("POST", start.headers["Location"], data=form)
    path = done.headers["Location"].removeprefix("https://argocd.example.org")
    cookie = start.headers["Set-Cookie"].partition(";")[0]
    callback = await browser.get(path, headers={"Cookie": cookie})
    session = callback.headers.getall("Set-Cookie")[0].partition(";")[0]
    return callback.headers["Location"], session
