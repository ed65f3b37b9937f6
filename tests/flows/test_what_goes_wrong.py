"""What flows do where store, provider or upstream fail in the middle."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from sidecar.core.session import SessionKey
from sidecar.errors import ProviderUnavailable, SessionOver, StoreUnavailable, TokenInvalid
from sidecar.flows import background, setbacks
from sidecar.flows.fresh import Fresh
from sidecar.flows.logout import Logout
from sidecar.flows.own_sessions import OwnSessions
from sidecar.flows.setbacks import Setbacks
from sidecar.flows.verification import verified_logout_token
from sidecar.flows.walk import Walk
from tests.core import examples
from tests.flows.replica import Flows
from tests.flows.test_revocation import metric, queued, revoked
from tests.world import eventually


async def test_a_logout_token_that_is_too_long_is_not_read(here: Flows) -> None:
    client = here.first.parts.records.client

    with pytest.raises(TokenInvalid, match="length"):
        await verified_logout_token(
            here.first.identity,
            "x" * 100_000,
            issuer=client.issuer,
            client_id=client.client_id,
            now=here.clock.now(),
        )


async def test_of_too_many_setbacks_the_oldest_is_forgotten(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setbacks, "_REMEMBERED", 2)
    noted = Setbacks(here.first.runtime)

    for name in ("a", "b", "c"):
        noted.passing(examples.grant(id=name), ProviderUnavailable("away"))

    assert [noted.of(name) is not None for name in ("a", "b", "c")] == [False, True, True]


async def test_a_process_that_is_at_too_many_grants_begins_no_more(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "LOOKS_AT_ONCE", 0)
    await here.logged_in()
    here.clock.advance(300)

    assert await here.first.background.tick() == 0

    monkeypatch.undo()
    assert await here.first.background.tick() == 1
    await here.first.tasks.idle()


async def test_a_look_that_the_store_breaks_off_each_time_is_left_to_a_later_one(
    here: Flows,
) -> None:
    await here.logged_in()
    here.clock.advance(300)
    here.store.failing_looks = 1000

    await here.first.background.tick()
    await here.first.tasks.idle()
    here.store.failing_looks = 0
    here.clock.advance(3600)

    assert here.provider.refreshes == 0
    assert await here.first.background.tick() == 1
    await here.first.tasks.idle()


async def test_the_rounds_in_the_background_renew_what_is_due_and_keep_what_is_open(
    here: Flows,
) -> None:
    key = await here.logged_in()
    live = await here.live(key)

    with here.first.sessions.held_open(live):
        rounds = here.first.tasks.start_endless(here.first.background.run, "background", here.clock)
        await eventually(lambda: here.provider.refreshes >= 2)
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)
    await here.first.tasks.idle()

    assert here.provider.reuses == 0


async def test_a_grant_that_is_damaged_is_not_looked_at_again(
    here: Flows,
) -> None:
    key = await here.logged_in()
    grant = (await here.live(key)).grant
    another = await here.logged_in()
    foreign = here.first.parts.records.seal_grant(
        replace((await here.live(another)).grant, version=grant.version + 1)
    )
    await here.store.save_grant(grant.user_tag, grant.id, foreign)
    here.clock.advance(300)
    other = await here.add()

    assert await other.background.tick() == 2
    await other.tasks.idle()
    here.clock.advance(3600)
    assert await other.background.tick() == 1
    await other.tasks.idle()


async def test_a_full_queue_of_revocations_is_an_alarm_and_the_provider_is_told_all_the_same(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.flows.revocation.MOST_QUEUED", 0)
    grant = (await here.live(await here.logged_in())).grant

    here.first.revocations.begin(grant)
    await here.first.tasks.idle()

    assert metric(here.first, "alarms_total", kind="revocations_full") == 1
    assert revoked(here) == 1


async def test_what_nobody_could_queue_or_tell_is_given_up_with_an_alarm(here: Flows) -> None:
    grant = (await here.live(await here.logged_in())).grant
    here.store.refuses_revocations = True
    here.provider.available = False

    here.first.revocations.begin(grant)
    await here.first.tasks.idle()

    assert metric(here.first, "alarms_total", kind="not_revoked") == 1


async def test_a_client_that_is_refused_is_asked_again_though_nothing_could_be_queued(
    here: Flows,
) -> None:
    grant = (await here.live(await here.logged_in())).grant
    here.store.refuses_revocations = True
    here.provider.available = False

    here.first.revocations.begin(grant)
    await eventually(lambda: metric(here.first, "revocations_total", result="later") >= 1)
    here.provider.available = True
    await here.first.tasks.idle()

    assert revoked(here) == 1


async def test_a_grant_without_a_refresh_token_has_nothing_to_revoke(here: Flows) -> None:
    grant = (await here.live(await here.logged_in(refreshable=False))).grant

    here.first.revocations.begin(grant)
    await here.first.tasks.idle()

    assert await queued(here) == []
    assert revoked(here) == 0


async def test_the_queue_of_revocations_is_looked_after_until_the_process_ends(
    here: Flows,
) -> None:
    grant = (await here.live(await here.logged_in())).grant
    here.provider.available = False
    here.first.revocations.begin(grant)
    await here.first.tasks.idle()
    here.provider.available = True

    rounds = here.first.tasks.start_endless(here.first.revocations.run, "rounds", here.clock)
    await eventually(lambda: revoked(here) == 1 and not here.store._revocations)
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)

    assert await queued(here) == []


def own_sessions(here: Flows) -> OwnSessions:
    replica = here.first
    return OwnSessions(
        replica.sessions,
        replica.parts.records,
        here.store,
        replica.schedule,
        logout(here),
        replica.runtime,
    )


class AwayUpstream:
    """An Argo CD that is away."""

    async def log_out(self, id_token: str, *, site: str) -> str:
        """Nothing comes."""
        raise StoreUnavailable("told to fail")


def logout(here: Flows, *, at_provider: bool = False) -> Logout:
    replica = here.first
    return Logout(
        replica.sessions,
        replica.parts.records,
        replica.identity,
        replica.revocations,
        AwayUpstream(),
        Fresh(replica.refresh, here.clock),
        replica.runtime,
        at_provider=at_provider,
    )


async def test_a_logout_is_done_though_argo_cd_is_away_and_that_is_said(here: Flows) -> None:
    key = await here.logged_in()

    with capture_logs() as logs:
        assert await logout(here).log_out(key, site="https://a", return_to="https://b") == ""
        await here.first.tasks.idle()

    assert "argocd_not_told" in [line["event"] for line in logs]
    with pytest.raises(SessionOver):
        await here.first.sessions.load(key)


async def test_a_session_that_is_not_there_is_logged_out_of_nothing(here: Flows) -> None:
    key = SessionKey("nobody", "d" * 64)

    assert await logout(here).log_out(key, site="https://a", return_to="https://b") is None


async def test_a_logout_is_done_though_the_providers_own_cannot_be_found(here: Flows) -> None:
    key = await here.logged_in()
    replica = await here.add()
    here.replicas[0] = replica
    assert await replica.sessions.load(key)
    here.provider.available = False

    with capture_logs() as logs:
        leads_to = await logout(here, at_provider=True).log_out(
            key, site="https://a", return_to="https://b"
        )
        await replica.tasks.idle()

    assert leads_to == ""
    assert "provider_logout_not_offered" in [line["event"] for line in logs]


async def test_sessions_that_cannot_be_read_end_with_all_others_of_their_user(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, damaged, other = [await here.logged_in() for _ in range(3)]
    grant, another = [(await here.live(each)).grant for each in (damaged, other)]
    foreign = here.first.parts.records.seal_grant(replace(another, version=grant.version + 1))
    await here.store.save_grant(grant.user_tag, grant.id, foreign)

    ended = await own_sessions(here).end_others(await here.live(own))
    await here.first.tasks.idle()

    assert ended == 2
    assert (await here.store.user_sessions(own.user_tag, limit=9)).count == 1


async def test_a_user_ends_so_many_sessions_at_once_and_no_more(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.flows.own_sessions._ROUNDS", 1)
    monkeypatch.setattr("sidecar.flows.own_sessions.MOST_SHOWN", 2)
    keys = [await here.logged_in() for _ in range(4)]

    ended = await own_sessions(here).end_others(await here.live(keys[-1]))
    await here.first.tasks.idle()

    assert 1 <= ended <= 2


async def test_a_damaged_session_is_found_by_a_walk_and_said_to_be_one(here: Flows) -> None:
    key = await here.logged_in()
    other = await here.live(await here.logged_in())
    grant = (await here.live(key)).grant
    foreign = here.first.parts.records.seal_grant(replace(other.grant, version=grant.version + 1))
    await here.store.save_grant(grant.user_tag, grant.id, foreign)

    (found,) = await Walk(here.store, here.first.parts.records).look([key])

    assert found.grant is None
    assert "damaged" in found.unreadable


async def test_what_the_store_lost_of_a_renewal_is_given_up_and_revoked_after_a_while(
    here: Flows,
) -> None:
    live = await here.live(await here.logged_in())
    gone = replace(live.grant, id="gone")
    renewed = gone.with_tokens(replace(gone.tokens, renewed_at=here.clock.now()))

    with capture_logs() as logs:
        await here.first.refresh._saving.save(gone, renewed)
        await here.first.tasks.idle()

    assert "renewal_lost_with_its_record" in [line["event"] for line in logs]
    assert revoked(here) == 1
