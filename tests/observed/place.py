"""Provider as Dex, an upstream that makes its own logins, and sidecars between and in front."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout, CookieJar
from yarl import URL

from sidecar.app import running
from sidecar.config.settings import Config
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.valkey import valkey
from tests.fakes.clock import FakeClock
from tests.fakes.devtron import Devtron, DevtronSettings
from tests.hostile.grants import HostileSettings
from tests.hostile.provider import HostileProvider
from tests.hostile.rules import Rule
from tests.world import KEYS, Browser, Replica, free_port

LIFE_SECONDS = 300.0
SECRET = urlsafe_b64encode(hashlib.sha256(b"devtrons-own-secret-of-32-letters").digest()).decode()[
    :40
]


@dataclass
class Place:
    """Everything on loopback; browsers reach it at `base`, which is the first sidecar's."""

    clock: FakeClock
    dex: HostileProvider
    base: str
    environment: dict[str, str]
    owned: AsyncExitStack
    dex_port: int
    sidecars: list[Replica] = field(default_factory=list)

    async def start_sidecar(self, **changes: str) -> Replica:
        """Another sidecar; the first is at the public address, and is the upstream's Dex."""
        own = await self.owned.enter_async_context(AsyncExitStack())
        config = Config.load({**self.environment, **changes})
        served = await own.enter_async_context(
            running(config, load=lambda: config, clock=self.clock, confirms=False)
        )
        self.sidecars.append(Replica(served, own))
        return self.sidecars[-1]

    async def another_sidecar(self) -> Replica:
        """One more replica, on ports of its own."""
        return await self.start_sidecar(
            SIDECAR_LISTEN="127.0.0.1:0", SIDECAR_DEX_LISTEN="127.0.0.1:0"
        )

    async def browser(self, replica: Replica | None = None) -> Browser:
        """A browser without cookies, in front of a sidecar (the first)."""
        http = await self.owned.enter_async_context(
            ClientSession(
                cookie_jar=CookieJar(unsafe=True),
                timeout=ClientTimeout(total=20),
                max_field_size=65536,
                max_line_size=65536,
            )
        )
        port = (replica or self.sidecars[0]).port
        return Browser(http, str(URL(self.base).with_port(port)))

    async def logged_in(self, user: str = "ada", replica: Replica | None = None) -> Browser:
        """A browser in which somebody has signed in."""
        browser = await self.browser(replica)
        answer = await self.callback(browser, user)
        assert answer.status == 303, await answer.text()
        assert browser.session()
        return browser

    async def callback(self, browser: Browser, user: str = "ada") -> ClientResponse:
        """The callback's answer after a sign-in, through the browser's own sidecar."""
        address = URL(await browser.sign_in(user=user), encoded=True)
        return await browser.get(f"{URL(browser.base).origin()}{address.relative()}")

    async def with_shared_store(self) -> Replica:
        """Both sidecars over one Valkey: the first one anew, and another one."""
        await self.sidecars.pop().stop()
        self.environment["SIDECAR_STORE_URL"] = await self.owned.enter_async_context(valkey())
        await self.start_sidecar()
        return await self.another_sidecar()

    async def dex_without_refresh_tokens(self) -> None:
        """From now on Dex gives none, as with a connector that cannot refresh."""
        self.dex.rules.add(Rule(on="code", members={"refresh_token": None}))

    def upstream_asks(self, dex: str) -> None:
        """Point the upstream's Dex address elsewhere."""
        raise NotImplementedError

    def long_tokens(self) -> None:
        """From now on ID tokens are 31 KiB long, as of somebody with 500 groups."""
        groups = [f"a-group-with-a-rather-long-name-{number:04}" for number in range(500)]
        self.dex.rules.add(Rule(on="code", claims={"groups": groups}))

    async def settled(self) -> None:
        """Until the sidecars' own work behind requests is done."""
        for replica in self.sidecars:
            await replica.settled()

    def metric(self, name: str, **labels: str) -> float:
        """A metric, over all sidecars."""
        return sum(replica.metric(name, **labels) for replica in self.sidecars)

    def at_dex(self, path: str) -> str:
        """An address of Dex, as the upstream reaches it: through the first sidecar."""
        return f"http://127.0.0.1:{self.dex_port}{URL(self.base).path}/api/dex{path}"


@dataclass
class DevtronPlace(Place):
    """With Devtron."""

    devtron: Devtron = field(default=None)  # type: ignore[assignment]

    def upstream_asks(self, dex: str) -> None:
        """Point the upstream's Dex address elsewhere."""
        self.devtron.settings.dex = dex

    async def redeem_past_the_callback(self, browser: Browser, user: str) -> None:
        """Devtron redeems a code, and its answer to the browser is lost."""
        callback = URL(await browser.sign_in(user=user), encoded=True)
        await self.devtron.login.redeem(callback.query["code"])


@dataclass
class ArgocdPlace(Place):
    """With Argo CD and its bundled Dex."""

    argocd: Argocd = field(default=None)  # type: ignore[assignment]

    def upstream_asks(self, dex: str) -> None:
        """Point the upstream's Dex address elsewhere."""
        self.argocd.settings.dex_server = dex


def dex_settings(base: str, **more: Any) -> HostileSettings:
    """A provider that behaves as a Dex behind an upstream."""
    return HostileSettings(
        **{
            "issuer": f"{base}/api/dex",
            "path": f"{URL(base).path.rstrip('/')}/api/dex",
            "redirect_uris": (f"{base}/auth/callback",),
            "client_secret": SECRET,
            "id_token_seconds": LIFE_SECONDS,
            "access_token_seconds": LIFE_SECONDS,
            "one_token_per_user": True,
            "speaks_as_dex": True,
            "revocation_endpoint": False,
            "requires_pkce": False,
            **more,
        }
    )


def environment(base: str, dex: str, dex_port: int, upstream: str) -> dict[str, str]:
    """What the first sidecar is told."""
    return {
        "SIDECAR_LISTEN": f"127.0.0.1:{URL(base).port}",
        "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
        "SIDECAR_LOGIN": "observed",
        "SIDECAR_DEX_LISTEN": f"127.0.0.1:{dex_port}",
        "SIDECAR_DEX_UPSTREAM": dex,
        "SIDECAR_UPSTREAM": upstream,
        "SIDECAR_PUBLIC_URL": base,
        "SIDECAR_ISSUER": f"{base}/api/dex",
        "SIDECAR_CLIENT_ID": "argo-cd",
        "SIDECAR_CLIENT_SECRET": SECRET,
        "SIDECAR_SESSION_KEYS": KEYS,
        "SIDECAR_STORE_URL": "memory://",
        "SIDECAR_BACKGROUND_RENEWAL": "off",
    }


@asynccontextmanager
async def devtron_place(
    clock: FakeClock,
    *,
    devtron: dict[str, Any] | None = None,
    dex: dict[str, Any] | None = None,
    **changes: str,
) -> AsyncIterator[DevtronPlace]:
    """Dex, Devtron and one sidecar in front of it, which is its Dex."""
    public, dex_port, real_port = free_port(), free_port(), free_port()
    base, real = f"http://127.0.0.1:{public}/orchestrator", f"http://127.0.0.1:{real_port}"
    provider = HostileProvider(dex_settings(base, **(dex or {})), now=clock.now)
    settings = DevtronSettings(url=base, dex=f"http://127.0.0.1:{dex_port}", **(devtron or {}))
    upstream = Devtron(settings, now=clock.now)
    async with AsyncExitStack() as owned:
        await owned.enter_async_context(provider.running(port=real_port))
        address = await owned.enter_async_context(upstream.running())
        variables = environment(base, real, dex_port, address)
        variables |= {"SIDECAR_UPSTREAM_KIND": "devtron", **changes}
        place = DevtronPlace(clock, provider, base, variables, owned, dex_port, devtron=upstream)
        await place.start_sidecar()
        yield place


@asynccontextmanager
async def argocd_place(
    clock: FakeClock, *, dex: dict[str, Any] | None = None, **changes: str
) -> AsyncIterator[ArgocdPlace]:
    """Dex, Argo CD and one sidecar in front of it, which is its Dex."""
    public, dex_port, real_port = free_port(), free_port(), free_port()
    base, real = f"http://127.0.0.1:{public}", f"http://127.0.0.1:{real_port}"
    provider = HostileProvider(dex_settings(base, **(dex or {})), now=clock.now)
    upstream = Argocd(
        ArgocdSettings(
            issuer=f"{base}/api/dex",
            url=base,
            event_seconds=None,
            dex_server=f"http://127.0.0.1:{dex_port}",
            client_secret=SECRET,
        ),
        now=clock.now,
    )
    async with AsyncExitStack() as owned:
        await owned.enter_async_context(provider.running(port=real_port))
        address = await owned.enter_async_context(upstream.running())
        variables = {**environment(base, real, dex_port, address), **changes}
        place = ArgocdPlace(clock, provider, base, variables, owned, dex_port, argocd=upstream)
        await place.start_sidecar()
        yield place
