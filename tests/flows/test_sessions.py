"""Records: whose they are, and when they end."""

import asyncio

import pytest

from sidecar.core.session import EndReason
from sidecar.errors import SessionOver
from sidecar.flows.fresh import Fresh
from sidecar.flows.logout import Logout
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


class SlowUpstream:
    """An Argo CD that takes its time for a logout."""

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.told = 0

    async def log_out(self, id_token: str, *, site: str) -> str:
        """Answer when it may."""
        self.asked.set()
        await self.answers.wait()
        self.told += 1
        return ""


async def test_a_browser_that_leaves_during_its_logout_leaves_no_half_of_it(
    here: Flows,
) -> None:
    key = await here.logged_in()
    upstream, replica = SlowUpstream(), here.first
    logout = Logout(
        replica.sessions,
        replica.parts.records,
        replica.identity,
        replica.revocations,
        upstream,
        Fresh(replica.refresh, here.clock),
        replica.runtime,
    )
    leaving = asyncio.ensure_future(logout.log_out(key))
    await upstream.asked.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    upstream.answers.set()
    await replica.tasks.idle()

    assert upstream.told == 1
    with pytest.raises(SessionOver, match=EndReason.LOGOUT):
        await replica.sessions.load(key)
