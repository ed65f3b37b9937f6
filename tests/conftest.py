from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.valkey import valkey
from tests.fakes.clock import FakeClock
from tests.world import PacedClock, World, world


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def fake_clock() -> FakeClock:
    return PacedClock()


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    """Provider, Argo CD and one sidecar, on a clock that the test moves."""
    async with world(signing_key, fake_clock) as made:
        yield made


@pytest.fixture
async def shared(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    """The same with three sidecars over one Valkey."""
    async with (
        valkey() as store_url,
        world(signing_key, fake_clock, environment={"SIDECAR_STORE_URL": store_url}) as made,
    ):
        for _ in range(2):
            await made.start_sidecar(SIDECAR_LISTEN="127.0.0.1:0")
        yield made
