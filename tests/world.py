"""A whole world on loopback for one test: provider, Argo CD stand-in, sidecars, browsers."""

import asyncio
import base64
import contextlib
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout, CookieJar, DummyCookieJar
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from sidecar.app import Running, running
from sidecar.config.settings import Config
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.oauth import ProviderSettings
from sidecar.demo.provider import DemoProvider
from sidecar.tracing import Tracer
from tests.config.mounted import Installation
from tests.fakes.clock import FakeClock

KEYS = "test:" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
PAGE = {"Accept": "text/html"}
_GIVEN: set[int] = set()


class PacedClock(FakeClock):
    """A clock that tests move; whoever sleeps leaves the real servers on loopback a moment."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0.002)


class BrowserJar(CookieJar):
    """Sends all cookies, as browsers do; aiohttp's own jar leaves out what goes beyond 8 KiB."""

    _limits_enabled = False


@dataclass
class Browser:
    """A person's browser: keeps cookies, follows nothing unless told to."""

    http: ClientSession
    base: str

    async def get(self, path: str, **options: Any) -> ClientResponse:
        """The answer to a GET, read whole."""
        return await self.request("GET", path, **options)

    async def request(self, method: str, path: str, **options: Any) -> ClientResponse:
        """The answer to a request, read whole; the target goes out as it is written."""
        url = URL(path if path.startswith("http") else self.base + path, encoded=True)
        options.setdefault("allow_redirects", False)
        async with self.http.request(method, url, **options) as answer:
            await answer.read()
            return answer

    async def log_in(self, return_url: str = "", *, user: str = "ada") -> ClientResponse:
        """Sign in by hand's way; the callback's answer."""
        callback = await self.sign_in(return_url, user=user)
        return await self.get(callback)

    async def sign_in(self, return_url: str = "", *, user: str = "ada") -> str:
        """Sign in at the provider; the address of the callback, not yet followed."""
        query = {"return_url": return_url} if return_url else {}
        start = await self.request("GET", str(URL("/auth/login").with_query(query)))
        assert start.status == 303, await start.text()
        form = {"user": user, "password": user}
        done = await self.request("POST", start.headers["Location"], data=form)
        return done.headers["Location"]

    def cookies(self) -> dict[str, str]:
        """Every cookie of the browser, by name."""
        return {cookie.key: cookie.value for cookie in self.http.cookie_jar}

    def session(self) -> str:
        """The value of the session cookie, "" without one."""
        found = self.cookies()
        names = [n for n in found if re.fullmatch(r"(__Host-)?argocd-token-refresh-[0-9a-f]{8}", n)]
        return found[names[0]] if names else ""


@dataclass
class Replica:
    """One running sidecar of a world."""

    running: Running
    _owned: AsyncExitStack

    @property
    def port(self) -> int:
        """The public port."""
        return self.running.public[1]

    @property
    def admin(self) -> str:
        """The address of the admin port."""
        return f"http://127.0.0.1:{self.running.admin[1]}"

    async def stop(self) -> None:
        """End it as SIGTERM would."""
        await self._owned.aclose()

    async def settled(self) -> None:
        """Until its own work behind requests is done."""
        async with asyncio.timeout(10):
            await self.running.tasks.idle()

    def metric(self, name: str, **labels: str) -> float:
        """One of its metrics; 0 while it has never been counted."""
        registry = self.running.metrics.registry
        return registry.get_sample_value(f"argocd_token_refresh_{name}", labels) or 0.0


@dataclass
class World:
    """Everything that a story needs. Its clock is the sidecars', the provider's and Argo CD's."""

    clock: FakeClock
    provider: DemoProvider
    argocd: Argocd
    environment: dict[str, str]
    owned: AsyncExitStack
    base: str
    """The public URL."""
    sidecars: list[Replica] = field(default_factory=list)
    tracer: Tracer | None = None

    async def start_sidecar(self, **changes: str) -> Replica:
        """Another sidecar with this world's settings, and these."""

        def load() -> Config:
            return Config.load({**self.environment, **changes})

        own = await self.owned.enter_async_context(AsyncExitStack())
        served = await own.enter_async_context(
            running(load(), load=load, clock=self.clock, confirms=False, tracer=self.tracer)
        )
        replica = Replica(served, own)
        self.sidecars.append(replica)
        return replica

    async def settled(self) -> None:
        """Until all sidecars' own work behind requests is done."""
        for replica in self.sidecars:
            await replica.settled()

    async def browser(self, sidecar: Replica | None = None) -> Browser:
        """A browser without cookies, that reaches the world through a sidecar (the first)."""
        http = await self.owned.enter_async_context(
            ClientSession(
                cookie_jar=BrowserJar(unsafe=True),
                timeout=ClientTimeout(total=20),
                max_field_size=65536,
                max_line_size=65536,
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        )
        port = (sidecar or self.sidecars[0]).port
        root = URL(self.base).path.rstrip("/")
        return Browser(http, f"http://127.0.0.1:{port}{root}")

    async def logged_in(self, sidecar: Replica | None = None, *, user: str = "ada") -> Browser:
        """A browser that is logged in."""
        browser = await self.browser(sidecar)
        answer = await browser.log_in(user=user)
        assert answer.status == 303, await answer.text()
        return browser

    def share_cookies(self, browser: Browser, other: Browser) -> Browser:
        """`other`, with the cookies of `browser`: stolen ones, or a second tab's."""
        url = URL(self.base)
        other.http.cookie_jar.update_cookies(browser.http.cookie_jar.filter_cookies(url), url)
        return other

    def through(self, browser: Browser, replica: Replica) -> Browser:
        """The same browser, reaching the world through another replica."""
        return Browser(browser.http, f"http://127.0.0.1:{replica.port}")

    def metric(self, name: str, **labels: str) -> float:
        """A metric of the first sidecar."""
        return self.sidecars[0].metric(name, **labels)


@asynccontextmanager
async def world(
    signing_key: rsa.RSAPrivateKey,
    clock: FakeClock,
    *,
    rootpath: str = "",
    provider_settings: Mapping[str, Any] | None = None,
    argocd_settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    installation: Installation | None = None,
    tracer: Tracer | None = None,
) -> AsyncIterator[World]:
    """A provider, Argo CD and one sidecar in front of it.

    With an installation, that has the settings of the login, and the environment has not.
    """
    port = free_port()
    root = f"/{rootpath}" if rootpath else ""
    base = f"http://127.0.0.1:{port}{root}"
    usual = {"redirect_uris": (f"{base}/auth/callback",), "id_token_seconds": 300}
    settings = ProviderSettings(**{**usual, **(provider_settings or {})})
    provider = DemoProvider(settings, now=clock.now, key=signing_key)
    async with AsyncExitStack() as owned:
        issuer = await owned.enter_async_context(provider.running())
        argocd = Argocd(
            ArgocdSettings(
                **{
                    "issuer": issuer,
                    "url": base,
                    "rootpath": rootpath,
                    "event_seconds": None,
                    **(argocd_settings or {}),
                }
            ),
            now=clock.now,
        )
        upstream = await owned.enter_async_context(argocd.running())
        variables = {
            "SIDECAR_LISTEN": f"127.0.0.1:{port}",
            "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
            "SIDECAR_UPSTREAM": str(URL(upstream).origin()),
            "SIDECAR_STORE_URL": "memory://",
            # It ticks by the clock, which only tests move.
            "SIDECAR_BACKGROUND_RENEWAL": "off",
        }
        client = settings.client_id, settings.client_secret
        if installation is None:
            variables |= {
                "SIDECAR_PUBLIC_URL": base,
                "SIDECAR_ISSUER": issuer,
                "SIDECAR_CLIENT_ID": client[0],
                "SIDECAR_CLIENT_SECRET": client[1],
                "SIDECAR_SESSION_KEYS": KEYS,
            }
        else:
            installation.log_in_at(issuer, *client, url=base)
            variables |= installation.environment
        variables |= environment or {}
        made = World(clock, provider, argocd, variables, owned, base, tracer=tracer)
        await made.start_sidecar()
        yield made


@asynccontextmanager
async def plain_http() -> AsyncIterator[ClientSession]:
    """An HTTP client that keeps no cookies."""
    async with ClientSession(cookie_jar=DummyCookieJar()) as http:
        yield http


def system_now() -> float:
    """The machine's time, for stories with real parts."""
    return time.time()


def free_port() -> int:
    """A loopback port that nobody has now, nor gets as the near end of a connection, nor here."""
    while True:
        port = random.randrange(10_240, 32_768)  # below the range of Linux' ephemeral ports
        if port in _GIVEN:
            continue
        _GIVEN.add(port)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def eventually(happened: Callable[[], bool]) -> None:
    """Until a real server's state has changed; nothing tells of it."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
