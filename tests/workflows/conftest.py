from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.service_accounts import AccountCluster


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def cluster(tmp_path: Path, clock: FakeClock) -> AsyncIterator[AccountCluster]:
    made = AccountCluster(tmp_path / "account", now=clock.now)
    async with made.running():
        yield made
