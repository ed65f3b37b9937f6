"""Outages, counted while they last."""

import pytest

from sidecar.flows.outages import Outages
from tests.flows.replica import Flows


@pytest.mark.parametrize("of", ["store", "provider"])
async def test_the_seconds_of_an_outage_are_counted_for_who_is_away(here: Flows, of: str) -> None:
    away = {"store": False, "provider": False}
    runtime = here.first.runtime
    outages = Outages({name: lambda name=name: away[name] for name in away}, runtime)  # type: ignore[misc]
    outages.look(1.0)

    away[of] = True
    outages.look(1.5)
    outages.look(1.0)
    away[of] = False
    outages.look(9.0)

    def counted(name: str) -> float | None:
        found = "argocd_token_refresh_outage_seconds_total"
        return runtime.metrics.registry.get_sample_value(found, {"of": name})

    assert counted(of) == 2.5
    assert counted("provider" if of == "store" else "store") == 0
