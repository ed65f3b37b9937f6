"""A Dex as Argo CD configures it: the hostile provider in Dex' ways, or a real one.

The real one is the program that `DEX_BINARY` names. Both sign people in without a form, as with a
session at the connector, and forget everything when they are restarted.
"""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiohttp import ClientConnectionError, ClientSession, TCPConnector

from tests.hostile.client import Hostile, hostile_provider
from tests.proxy.certificates import self_signed
from tests.world import free_port

REMEMBERS, CANNOT_REFRESH = "mock", "corp"
"""Two connectors: one that can refresh, and one that cannot."""
CONNECTORS: list[dict[str, Any]] = [
    {"type": "mockCallback", "id": REMEMBERS, "name": "Mock"},
    {"type": "authproxy", "id": CANNOT_REFRESH, "name": "Corp", "config": {}},
]
START_SECONDS = 20.0
AWAY_SECONDS = 2.0  # no pod is back sooner


def kinds() -> list[str]:
    """What there is to test with: the stand-in always, and a real one where one is named."""
    return ["fake", *(["real"] if os.environ.get("DEX_BINARY") else [])]


class Dex(Protocol):
    """A running Dex."""

    address: str
    """Where it is in the cluster."""

    async def restart(self) -> None:
        """End it, and begin anew with the same configuration."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...

    async def start(self) -> None:
        """Begin again."""
        ...

    async def use(self, connector: str) -> None:
        """Sign people in by that connector; a real one is told in the authorization request."""
        ...


@dataclass
class FakeDex:
    """The hostile provider, told to be a Dex."""

    address: str
    hostile: Hostile

    async def restart(self) -> None:
        """Forget everything."""
        await self.stop()
        await asyncio.sleep(AWAY_SECONDS)
        await self.start()

    async def stop(self) -> None:
        """Refuse connections."""
        await self.hostile.go_away(abort=True)

    async def start(self) -> None:
        """Come back with other keys."""
        await self.hostile.restart()

    async def use(self, connector: str) -> None:
        """With or without refresh tokens."""
        await self.hostile.remove()
        if connector == CANNOT_REFRESH:
            await self.hostile.add(on="code", members={"refresh_token": None})


@dataclass
class RealDex:
    """The program."""

    address: str
    program: str
    config: Path
    process: asyncio.subprocess.Process | None = None

    async def restart(self) -> None:
        """As Argo CD does it: another process."""
        await self.stop()
        await asyncio.sleep(AWAY_SECONDS)
        await self.start()

    async def stop(self) -> None:
        """End the process."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def start(self) -> None:
        """Run it until it answers."""
        self.process = await asyncio.create_subprocess_exec(
            self.program,
            "serve",
            str(self.config),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        url = f"{self.address}/api/dex/.well-known/openid-configuration"
        async with (
            ClientSession(connector=TCPConnector(ssl=unchecked)) as http,
            asyncio.timeout(START_SECONDS),
        ):
            while True:
                try:
                    async with http.get(url) as answer:
                        if answer.status == 200:
                            return
                except ClientConnectionError:
                    assert self.process.returncode is None, "Dex ended: is DEX_BINARY a Dex?"
                await asyncio.sleep(0.05)

    async def use(self, connector: str) -> None:
        """Nothing: the authorization request says it."""


@asynccontextmanager
async def running_dex(
    kind: str, folder: Path, *, urls: Sequence[str], secret: str, id_token_seconds: int
) -> AsyncIterator[Dex]:
    """A Dex below the first of `urls`, with the client that Argo CD makes there."""
    redirects = [f"{url}/auth/callback" for url in urls]
    issuer, port = f"{urls[0]}/api/dex", free_port()
    if kind == "fake":
        async with hostile_provider(
            port=port,
            path="/api/dex",
            issuer=issuer,
            client_secret=secret,
            redirect_uris=redirects,
            id_token_seconds=id_token_seconds,
            one_token_per_user=True,
            speaks_as_dex=True,
            revocation_endpoint=False,
            knows="ada",
        ) as hostile:
            yield FakeDex(f"http://127.0.0.1:{port}", hostile)
        return
    address = f"https://127.0.0.1:{port}"
    config = folder / "dex.json"
    config.write_text(
        json.dumps(_config(issuer, port, folder, redirects, secret, id_token_seconds))
    )
    real = RealDex(address, os.environ["DEX_BINARY"], config)
    try:
        await real.start()
        yield real
    finally:
        await real.stop()


def _config(
    issuer: str, port: int, folder: Path, redirects: list[str], secret: str, id_token_seconds: int
) -> dict[str, Any]:
    """What Argo CD's `rundex` writes (its util/dex/config.go)."""
    cert, key = self_signed(folder / "dex-tls", "argocd-dex-server")
    return {
        "issuer": issuer,
        "storage": {"type": "memory"},
        "web": {"https": f"127.0.0.1:{port}", "tlsCert": cert, "tlsKey": key},
        "oauth2": {"skipApprovalScreen": True},
        "expiry": {"idTokens": f"{id_token_seconds}s"},
        "staticClients": [
            {"id": "argo-cd", "name": "Argo CD", "secret": secret, "redirectURIs": redirects},
            {
                "id": "argo-cd-cli",
                "name": "Argo CD CLI",
                "public": True,
                "redirectURIs": ["http://localhost", "http://localhost:8085/auth/callback"],
            },
        ],
        "connectors": CONNECTORS,
    }
