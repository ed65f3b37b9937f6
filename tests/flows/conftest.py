from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.flows.replica import Flows, flows


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[Flows]:
    """The flows over a store that can fail, against a real provider."""
    async with flows(signing_key) as made:
        yield made
