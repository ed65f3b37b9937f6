"""A real sidecar process behind nginx, with provider and Argo CD, for each way of TLS."""

import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, CookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.typedefs import LooseHeaders

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.grants import User
from sidecar.demo.oauth import ADA, ProviderSettings
from sidecar.demo.provider import DemoProvider
from tests.ingress.nginx import ENDS, HOST, PASSES, WAYS, nginx, required
from tests.proxy.certificates import Pair, self_signed
from tests.system.process import sidecar_process, until_ready
from tests.world import KEYS, Browser, free_port

EVE = User(
    name="eve",
    password="eve",
    email="eve@example.org",
    groups=tuple(f"a-group-with-a-long-name-{number:020}" for number in range(485)),
)
TOKEN_SECONDS = 4


class _Here(AbstractResolver):
    """Every host of the Ingress is on this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        at = ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)
        return [at]

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Place:
    """What stands behind the Ingress, and the Ingress."""

    way: str
    port: int
    bare_port: int
    sidecar_port: int
    admin: str
    argocd: Argocd
    provider: DemoProvider
    ingress_pair: Pair
    sidecar_pair: Pair

    @property
    def base(self) -> str:
        """Where browsers see Argo CD."""
        return f"https://{HOST}:{self.port}"

    @property
    def bare(self) -> str:
        """The same place behind an nginx that was told nothing."""
        return f"https://{HOST}:{self.bare_port}"

    @property
    def seen_pair(self) -> Pair:
        """Whose certificate a browser sees."""
        return self.sidecar_pair if self.way == PASSES else self.ingress_pair

    async def metric(self, name: str) -> float:
        """One of the sidecar's metrics without labels."""
        async with ClientSession() as http, http.get(f"{self.admin}/metrics") as answer:
            said = await answer.text()
        found = re.search(rf"^argocd_token_refresh_{name} (\S+)$", said, re.MULTILINE)
        assert found
        return float(found[1])

    @asynccontextmanager
    async def browser(self, headers: LooseHeaders | None = None) -> AsyncIterator[Browser]:
        """A browser without cookies; its limits are above those of any other."""
        trusted = ssl.create_default_context(cafile=self.seen_pair[0])
        async with ClientSession(
            cookie_jar=CookieJar(unsafe=True),
            connector=TCPConnector(ssl=trusted, resolver=_Here()),
            max_field_size=65536,
            max_line_size=65536,
            headers=headers,
        ) as http:
            yield Browser(http, self.base)


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=WAYS)
async def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    """Everything, once for each way."""
    required()
    folder: Path = tmp_path_factory.mktemp(request.param)
    async with AsyncExitStack() as owned:
        yield await _started(request.param, folder, owned)


async def _started(way: str, folder: Path, owned: AsyncExitStack) -> Place:
    port, bare_port, sidecar, admin = (free_port() for _ in range(4))
    base, bare = (f"https://{HOST}:{each}" for each in (port, bare_port))
    settings = ProviderSettings(
        redirect_uris=(f"{base}/auth/callback", f"{bare}/auth/callback"),
        users=(ADA, EVE),
        id_token_seconds=TOKEN_SECONDS,
    )
    provider = DemoProvider(settings, now=time.time)
    issuer = await owned.enter_async_context(provider.running())
    argocd = Argocd(
        ArgocdSettings(issuer=issuer, url=base, additional_urls=(bare,), event_seconds=None),
        now=time.time,
        logins=lambda: provider.logins,
    )
    upstream = await owned.enter_async_context(argocd.running())
    ingress_pair, sidecar_pair = (self_signed(folder / n, HOST) for n in ("ingress", "sidecar"))
    environment = {
        "SIDECAR_LISTEN": f"127.0.0.1:{sidecar}",
        "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "SIDECAR_UPSTREAM": upstream,
        "SIDECAR_PUBLIC_URL": base,
        "SIDECAR_ADDITIONAL_URLS": bare,
        "SIDECAR_ISSUER": issuer,
        "SIDECAR_CLIENT_ID": settings.client_id,
        "SIDECAR_CLIENT_SECRET": settings.client_secret,
        "SIDECAR_STORE_URL": "memory://",
        "SIDECAR_SESSION_KEYS": KEYS,
        "SIDECAR_COOKIE_MODE": "mirror",
    }
    if way != ENDS:
        environment |= {
            "SIDECAR_TLS_CERT_FILE": sidecar_pair[0],
            "SIDECAR_TLS_KEY_FILE": sidecar_pair[1],
        }
    await owned.enter_async_context(sidecar_process(environment))
    await until_ready(f"http://127.0.0.1:{admin}")
    for at, told_nothing in ((port, False), (bare_port, True)):
        await owned.enter_async_context(
            nginx(
                folder / str(at),
                way,
                port=at,
                sidecar=sidecar,
                pair=ingress_pair,
                authority=sidecar_pair[0],
                bare=told_nothing,
            )
        )
    return Place(
        way,
        port,
        bare_port,
        sidecar,
        f"http://127.0.0.1:{admin}",
        argocd,
        provider,
        ingress_pair,
        sidecar_pair,
    )
