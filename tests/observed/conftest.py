from collections.abc import AsyncIterator

import pytest

from tests.fakes.clock import FakeClock
from tests.observed.place import ArgocdPlace, DevtronPlace, argocd_place, devtron_place


@pytest.fixture
async def devtron(fake_clock: FakeClock) -> AsyncIterator[DevtronPlace]:
    async with devtron_place(fake_clock) as place:
        yield place


@pytest.fixture
async def argocd(fake_clock: FakeClock) -> AsyncIterator[ArgocdPlace]:
    async with argocd_place(fake_clock) as place:
        yield place
