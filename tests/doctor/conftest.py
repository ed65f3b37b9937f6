from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.doctor.patient import Patient, patient
from tests.proxy.certificates import Pair, self_signed


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[Patient]:
    async with patient(signing_key) as made:
        yield made


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return self_signed(tmp_path / "tls", "localhost")
