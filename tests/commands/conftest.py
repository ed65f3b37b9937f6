from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.grants import User
from sidecar.demo.oauth import ADA
from sidecar.demo.valkey import valkey
from tests.commands.operator import Operator
from tests.fakes.clock import FakeClock
from tests.world import World, world

BOB = User(name="bob", password="bob", email="bob@example.org", groups=("developers", "operators"))
EVE = User(name="eve", password="eve", email="Ada@Example.org")  # her provider lets her choose that


@pytest.fixture
async def store_url() -> AsyncIterator[str]:
    """A Valkey of this test's own: whatever is in it was put there by it."""
    async with valkey() as url:
        yield url


@pytest.fixture
async def stored(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, store_url: str
) -> AsyncIterator[World]:
    """Provider, Argo CD and one sidecar over a Valkey."""
    environment = {"SIDECAR_STORE_URL": store_url}
    settings = {"users": (ADA, BOB, EVE)}
    async with world(
        signing_key, fake_clock, environment=environment, provider_settings=settings
    ) as made:
        yield made


@pytest.fixture
def operator(stored: World, fake_clock: FakeClock, capfd: pytest.CaptureFixture[str]) -> Operator:
    """Who operates it."""
    return Operator(stored.environment, fake_clock, capfd)
