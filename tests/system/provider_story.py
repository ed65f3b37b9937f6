"""A person's days at one provider: login, renewals, logout; all parts but the browser are real."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import ClientSession, ClientTimeout

from sidecar.app import running
from sidecar.config.settings import Config
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from tests.config.mounted import Installation
from tests.hostile.client import Hostile, hostile_provider, log_in
from tests.hostile.log import Entry
from tests.system.asking import Asking
from tests.world import KEYS, Browser, BrowserJar, free_port, system_now

TOKEN_SECONDS = 2
ADA = "ada"


@dataclass
class Story(Asking):
    """A hostile provider, a sidecar in front of Argo CD's stand-in, and a browser."""

    address: str
    hostile: Hostile
    argocd: Argocd
    upstream: str
    http: ClientSession
    browser: Browser
    owned: AsyncExitStack
    user: str = ADA

    async def with_user(self, name: str) -> "Story":
        """The same place, for somebody else, who has logged in with a browser of their own."""
        http = await self.owned.enter_async_context(_browser())
        other = replace(self, http=http, browser=Browser(http, self.address), user=name)
        async with asyncio.timeout(20):
            await log_in(other.browser, name)
        return other

    async def lives_through(self, tokens: int) -> None:
        """Load a page in each of so many tokens' lives; none is refused."""
        for _ in range(tokens):
            assert await self.load() == 200
            await self.until_token_ends()
        assert await self.load() == 200

    async def log_out(self) -> str:
        """Log out; where the browser is sent."""
        answer = await self.browser.get("/auth/logout")
        assert answer.status == 303
        return answer.headers["Location"]

    async def entries(self, *kinds: str) -> list[Entry]:
        """What the provider did for this person, of these kinds."""
        return [e for e in await self.hostile.log(user=self.user) if e.kind in kinds]


@asynccontextmanager
async def story(
    environment: Mapping[str, str] | None = None,
    *,
    login: bool = True,
    argocd: Mapping[str, Any] | None = None,
    installation: Installation | None = None,
    oidc: str = "",
    client_id: str = "argo-cd",
    **provider: Any,
) -> AsyncIterator[Story]:
    """A sidecar with these variables, and a provider with these `HostileSettings`.

    In the variables and in `oidc.config`, which an installation has in the place of some,
    `{issuer}` is the provider's; an empty variable is taken out.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    provider.setdefault("id_token_seconds", TOKEN_SECONDS)
    async with AsyncExitStack() as owned:
        hostile = await owned.enter_async_context(
            hostile_provider(
                redirect_uris=[f"{address}/auth/callback"], client_id=client_id, **provider
            )
        )
        http = await owned.enter_async_context(_browser())
        settings = {
            "issuer": hostile.issuer,
            "client_id": client_id,
            "url": address,
            "event_seconds": None,
            **(argocd or {}),
        }
        stand_in = Argocd(ArgocdSettings(**settings), now=lambda: system_now() - 1)
        upstream = await owned.enter_async_context(stand_in.running())
        variables = {
            "SIDECAR_LISTEN": f"127.0.0.1:{port}",
            "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_PUBLIC_URL": address,
            "SIDECAR_ISSUER": hostile.issuer,
            "SIDECAR_CLIENT_ID": client_id,
            "SIDECAR_CLIENT_SECRET": hostile.client_secret(),
            "SIDECAR_STORE_URL": "memory://",
            "SIDECAR_SESSION_KEYS": KEYS,
            "SIDECAR_BACKGROUND_RENEWAL": "off",
            **(environment or {}),
        }
        variables = {k: v.replace("{issuer}", hostile.issuer) for k, v in variables.items() if v}
        if installation is not None:
            installation.change("argocd-cm", {"url": address.encode()})
            installation.oidc(oidc.replace("{issuer}", hostile.issuer))
        await owned.enter_async_context(running(Config.load(variables)))
        here = Story(address, hostile, stand_in, upstream, http, Browser(http, address), owned)
        if login:
            async with asyncio.timeout(20):
                await log_in(here.browser, ADA)
        yield here


def _browser() -> ClientSession:
    return ClientSession(
        cookie_jar=BrowserJar(unsafe=True),
        timeout=ClientTimeout(total=30),
        max_field_size=131072,
        max_line_size=131072,
    )
