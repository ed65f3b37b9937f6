from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.config.mounted import Installation
from tests.fakes.clock import FakeClock
from tests.world import Browser, Replica, World, world


@dataclass
class Installed:
    """A world whose sidecars are configured by Argo CD alone."""

    world: World
    argocd: Installation

    async def changed(self) -> None:
        """The sidecar has had its look at the files."""
        for replica in self.world.sidecars:
            await replica.running.changes.look()

    async def starts(self) -> tuple[Replica, Browser]:
        """One more sidecar, with the files as they are now, and a browser for it."""
        replica = await self.world.start_sidecar(SIDECAR_LISTEN="127.0.0.1:0")
        return replica, await self.world.browser(replica)

    async def detail(self, replica: Replica | None = None) -> dict[str, str]:
        """What `/readyz` tells; it is 200."""
        at = (replica or self.world.sidecars[0]).admin
        async with ClientSession() as http, http.get(f"{at}/readyz") as ready:
            assert ready.status == 200
            found: dict[str, str] = await ready.json()
            return found


@pytest.fixture
async def installed(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> AsyncIterator[Installed]:
    """Provider, Argo CD with its settings in a folder, and one sidecar."""
    argocd = Installation(tmp_path)
    async with world(signing_key, fake_clock, installation=argocd) as made:
        yield Installed(made, argocd)
