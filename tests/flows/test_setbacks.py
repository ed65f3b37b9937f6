"""Renewals that failed, and how many of them are remembered."""

import pytest

from sidecar.errors import ProviderUnavailable
from sidecar.flows import setbacks
from sidecar.flows.setbacks import Setbacks
from tests.core import examples
from tests.flows.replica import Flows


async def test_of_too_many_setbacks_the_oldest_is_forgotten(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setbacks, "_REMEMBERED", 2)
    noted = Setbacks(here.first.runtime)

    for name in ("a", "b", "c"):
        noted.passing(examples.grant(id=name), ProviderUnavailable("away"))

    assert [noted.of(name) is not None for name in ("a", "b", "c")] == [False, True, True]
