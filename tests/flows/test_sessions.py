"""Records: whose they are, and when they end."""

import pytest

from sidecar.core.session import EndReason
from sidecar.errors import SessionOver
from sidecar.flows.records import Client
from tests.flows.replica import Flows


async def test_a_grant_goes_to_no_other_provider_or_client(here: Flows) -> None:
    key = await here.logged_in()
    other = await here.add()
    other.parts.records.client = Client(here.provider.issuer, "another-client")

    with pytest.raises(SessionOver, match=EndReason.OTHER_PROVIDER):
        await other.sessions.load(key)

    assert await here.first.sessions.load(key)


async def test_the_sealed_end_counts_though_the_store_would_keep_a_record_longer(
    here: Flows,
) -> None:
    key = await here.logged_in()
    slot = here.store._slots[key.user_tag]
    slot.sessions[key.digest].ends_at = slot.grants[slot.index[key.digest]].ends_at = 1e12
    here.clock.advance(168 * 3600 + 1)

    with pytest.raises(SessionOver, match=EndReason.ABSOLUTE):
        await here.first.sessions.load(key)
