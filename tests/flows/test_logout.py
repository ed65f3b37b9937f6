"""Logouts: done whole, whoever fails or leaves meanwhile."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import EndReason, SessionKey
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.flows.records import Client, Records
from sidecar.ports import Ended, Record
from tests.flows.replica import PREFIX, Flows, logout
from tests.flows.test_revocation import revoked


class AwayUpstream:
    """An Argo CD that is away."""

    async def log_out(self, id_token: str, *, site: str) -> str:
        """Nothing comes."""
        raise StoreUnavailable("told to fail")


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
    leaving = asyncio.ensure_future(logout(replica, upstream).log_out(key))
    await upstream.asked.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    upstream.answers.set()
    await replica.tasks.idle()

    assert upstream.told == 1
    with pytest.raises(SessionOver, match=EndReason.LOGOUT):
        await replica.sessions.load(key)


async def test_a_logout_is_done_though_argo_cd_is_away_and_that_is_said(here: Flows) -> None:
    key = await here.logged_in()

    with capture_logs() as logs:
        leads_to = await logout(here.first, AwayUpstream()).log_out(key, site="https://a")
        await here.first.tasks.idle()

    assert leads_to == ""
    assert "argocd_not_told" in [line["event"] for line in logs]
    with pytest.raises(SessionOver):
        await here.first.sessions.load(key)


async def test_a_session_that_is_not_there_is_logged_out_of_nothing(here: Flows) -> None:
    key = SessionKey("nobody", "d" * 64)

    assert await logout(here.first).log_out(key, site="https://a", return_to="https://b") is None


async def test_a_logout_is_done_though_the_providers_own_cannot_be_found(here: Flows) -> None:
    key = await here.logged_in()
    replica = await here.add()
    here.replicas[0] = replica
    assert await replica.sessions.load(key)
    here.provider.available = False

    with capture_logs() as logs:
        leads_to = await logout(replica, at_provider=True).log_out(
            key, site="https://a", return_to="https://b"
        )
        await replica.tasks.idle()

    assert leads_to == ""
    assert "provider_logout_not_offered" in [line["event"] for line in logs]


OF_ANOTHER_KEY = KeyRing([Key("another", b"a" * 32)])


@pytest.mark.parametrize("became", ["newer", "another key", "damaged"])
async def test_a_logout_is_done_though_what_its_grant_has_become_cannot_be_read_here(
    here: Flows, became: str
) -> None:
    """Another replica renewed it right before: of a newer release, or with a key of its own."""
    key = await here.logged_in()
    grant = (await here.live(key)).grant
    client = Client(here.provider.issuer, "argo-cd")
    another = Records(OF_ANOTHER_KEY, client, here.first.runtime, prefix=PREFIX).seal_grant(grant)
    entry = here.store._slots[key.user_tag].grants[grant.id]
    entry.record = {
        "newer": Record(2, "newer", b"?", newer=True),
        "another key": Record(1, another.write_id, another.sealed),
        "damaged": Record(1, "damaged", b"no record"),
    }[became]

    leads_to = await logout(here.first).log_out(key)
    await here.first.tasks.idle()

    assert leads_to == ""
    assert revoked(here) == 1
    with pytest.raises(SessionOver, match=EndReason.LOGOUT):
        await here.first.sessions.load(key)


async def test_a_logout_whose_reply_was_lost_is_done_once_and_whole(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await here.logged_in()
    end_session = here.store.end_session

    async def lose_the_reply(*args: Any, **options: Any) -> Ended:
        monkeypatch.undo()
        await end_session(*args, **options)
        raise StoreUnavailable("told to lose the reply")

    monkeypatch.setattr(here.store, "end_session", lose_the_reply)

    assert await logout(here.first).log_out(key) == ""
    await here.first.tasks.idle()

    assert revoked(here) == 1
