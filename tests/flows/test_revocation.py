"""Refresh tokens that are revoked, though provider, store or process be away for a while."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.core.grant import Grant
from sidecar.core.revocation import GIVE_UP_SECONDS
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import EndReason
from sidecar.flows.records import Client, Records
from sidecar.flows.revocation import BATCH, Revocations
from tests.flows.replica import PREFIX, Flows, Replica, flows
from tests.world import eventually

LATER = 3600.0


@pytest.fixture
async def there(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[Flows]:
    async with flows(signing_key) as made:
        yield made


def revocations(there: Flows, replica: Replica, records: Records | None = None) -> Revocations:
    return Revocations(
        there.store,
        records or replica.parts.records,
        replica.identity,
        replica.runtime,
        provider_seconds=10.0,
    )


async def ended_grant(there: Flows) -> Grant:
    """A grant whose last session has just ended."""
    key = await there.logged_in()
    live = await there.first.sessions.load(key)
    assert live
    return live.grant


def revoked(there: Flows) -> int:
    return sum(event.kind == "revoked" for event in there.provider.log)


def counted(replica: Replica, result: str) -> float:
    return metric(replica, "revocations_total", result=result)


def metric(replica: Replica, name: str, **labels: str) -> float:
    registry = replica.metrics.registry
    return registry.get_sample_value(f"argocd_token_refresh_{name}", labels) or 0.0


async def queued(there: Flows) -> list[bytes]:
    """What waits in the queue."""
    return await there.store.take_revocations(now=1e12, limit=100, hide_seconds=-1e12)


async def test_a_revocation_that_works_leaves_nothing_in_the_queue(there: Flows) -> None:
    grant = await ended_grant(there)

    revocations(there, there.first).begin(grant)
    await there.first.tasks.idle()

    assert revoked(there) == 1
    assert await queued(there) == []
    assert counted(there.first, "revoked") == 1


async def test_what_a_provider_that_is_away_did_not_hear_any_replica_tells_it_later(
    there: Flows,
) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    revocations(there, there.first).begin(grant)
    await there.first.tasks.idle()
    another = await there.add()
    there.provider.available = True

    there.clock.advance(LATER)
    await revocations(there, another).tick()

    assert revoked(there) == 1
    assert await queued(there) == []
    assert counted(there.first, "later") == 1


async def test_a_process_that_dies_while_it_revokes_leaves_it_to_the_others(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    dying = revocations(there, there.first)
    dying.begin(grant)
    while not await queued(there):
        await there.clock.sleep(0)
    for task in list(there.first.tasks._running):
        task.cancel()
    there.provider.available = True
    there.clock.advance(dying.hide_seconds + LATER)

    await revocations(there, await there.add()).tick()

    assert revoked(there) == 1


async def test_no_two_replicas_are_at_one_revocation(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    first, second = revocations(there, there.first), revocations(there, await there.add())
    first.begin(grant)
    await there.first.tasks.idle()
    there.clock.advance(LATER)

    await first.tick()
    await second.tick()

    assert counted(there.first, "later") == 2
    assert counted(there.replicas[1], "later") == 0


@pytest.mark.parametrize(("fault", "result"), [("away", "later"), ("secret", "refused")])
async def test_a_provider_that_takes_none_is_asked_once_a_time_whatever_waits(
    there: Flows, fault: str, result: str
) -> None:
    grant = await ended_grant(there)
    there.provider.available = fault != "away"
    there.provider.settings.client_secret = "another"
    made = revocations(there, there.first)
    for _ in range(2 * BATCH):
        made.begin(grant)
    await there.first.tasks.idle()
    there.clock.advance(LATER)
    before = counted(there.first, result)

    more = await made.tick()

    assert not more
    assert counted(there.first, result) == before + 1
    assert len(await queued(there)) == 2 * BATCH


async def test_what_waits_is_told_at_once_when_the_provider_is_back(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    made = revocations(there, there.first)
    for _ in range(BATCH + 1):
        made.begin(grant)
    await there.first.tasks.idle()
    there.provider.available = True
    there.clock.advance(LATER)

    assert await made.tick()
    assert not await made.tick()

    assert await queued(there) == []
    assert counted(there.first, "revoked") == BATCH + 1


async def test_what_nobody_could_revoke_in_a_day_is_given_up_with_an_alarm(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    made = revocations(there, there.first)
    made.begin(grant)
    await there.first.tasks.idle()

    there.clock.advance(GIVE_UP_SECONDS)
    await made.tick()

    assert await queued(there) == []
    assert counted(there.first, "given_up") == 1
    assert metric(there.first, "alarms_total", kind="not_revoked") == 1


async def test_a_refused_client_is_tried_again_when_its_secret_may_be_right(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.settings.client_secret = "another"
    made = revocations(there, there.first)
    made.begin(grant)
    await there.first.tasks.idle()
    assert counted(there.first, "refused") == 1
    there.provider.settings.client_secret = "demo-secret"

    there.clock.advance(LATER)
    await made.tick()

    assert revoked(there) == 1


async def test_a_provider_without_revocation_leaves_nothing_in_the_queue(there: Flows) -> None:
    there.provider.settings.revocation_endpoint = False
    grant = await ended_grant(there)

    revocations(there, there.first).begin(grant)
    await there.first.tasks.idle()

    assert await queued(there) == []
    assert counted(there.first, "not_offered") == 1


async def test_without_a_store_the_process_itself_tries_again(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    there.store.refuses_revocations = True

    revocations(there, there.first).begin(grant)
    while not there.clock.slept or there.clock.slept[-1] < 5:
        await there.clock.sleep(0)
    there.provider.available = True
    await there.first.tasks.idle()

    assert revoked(there) == 1


async def test_what_is_queued_is_sealed(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.available = False

    revocations(there, there.first).begin(grant)
    await there.first.tasks.idle()

    (entry,) = await queued(there)
    assert grant.tokens.refresh_token.encode() not in entry
    assert grant.user_tag.encode() not in entry


@pytest.mark.parametrize("change", ["client", "key"])
async def test_a_token_goes_to_no_provider_but_its_own_and_waits_for_who_can_read_it(
    there: Flows, change: str
) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    revocations(there, there.first).begin(grant)
    await there.first.tasks.idle()
    there.provider.available = True
    there.clock.advance(LATER)
    ring, client = there.first.parts.records.ring, there.first.parts.records.client
    if change == "client":
        client = Client("https://another.example.org", client.client_id)
    else:
        ring = KeyRing([Key("another", b"a" * 32)])
    records = Records(ring, client, there.first.runtime, prefix=PREFIX)

    await revocations(there, there.first, records).tick()

    assert revoked(there) == 0
    assert len(await queued(there)) == 1
    there.clock.advance(LATER)
    await revocations(there, there.first).tick()
    assert revoked(there) == 1


async def test_an_entry_that_somebody_changed_in_the_store_is_sent_nowhere(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    made = revocations(there, there.first)
    made.begin(grant)
    await there.first.tasks.idle()
    (entry,) = await queued(there)
    await there.store.put_off_revocation(entry, None)
    name, _, sealed = entry.partition(b" ")
    forged = b"00" + name[2:] + b" " + sealed
    await there.store.queue_revocation(forged, due_at=0.0, limit=10)
    await there.store.queue_revocation(b"nonsense", due_at=0.0, limit=10)
    there.provider.available = True

    await made.tick()

    assert revoked(there) == 0
    assert await queued(there) == []


async def test_what_a_renewal_got_for_an_ended_grant_waits_in_the_queue_too(
    there: Flows,
) -> None:
    key = await there.logged_in()
    live = await there.first.sessions.load(key)
    assert live
    there.clock.advance(299)
    gate = there.provider.hold(after_commit=True)
    renewing = there.first.refresh.renew_behind(live.grant)
    task = there.first.tasks.start(renewing, "renewal of a test")
    await gate.reached()
    await there.first.sessions.end(key, live.grant.id, EndReason.LOGOUT)
    gate.release()
    there.provider.available = False
    await task
    await there.first.tasks.idle()

    (entry,) = await queued(there)
    there.provider.available = True
    there.clock.advance(LATER)
    await there.first.revocations.tick()

    assert entry
    assert revoked(there) == 1


async def test_a_full_queue_of_revocations_is_an_alarm_and_the_provider_is_told_all_the_same(
    there: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.flows.revocation.MOST_QUEUED", 0)
    grant = (await there.live(await there.logged_in())).grant

    there.first.revocations.begin(grant)
    await there.first.tasks.idle()

    assert metric(there.first, "alarms_total", kind="revocations_full") == 1
    assert revoked(there) == 1


async def test_what_nobody_could_queue_or_tell_is_given_up_with_an_alarm(there: Flows) -> None:
    grant = (await there.live(await there.logged_in())).grant
    there.store.refuses_revocations = True
    there.provider.available = False

    there.first.revocations.begin(grant)
    await there.first.tasks.idle()

    assert metric(there.first, "alarms_total", kind="not_revoked") == 1


async def test_a_client_that_is_refused_is_asked_again_though_nothing_could_be_queued(
    there: Flows,
) -> None:
    grant = (await there.live(await there.logged_in())).grant
    there.store.refuses_revocations = True
    there.provider.settings.client_secret = "another"

    there.first.revocations.begin(grant)
    await eventually(lambda: counted(there.first, "refused") >= 1)
    there.provider.settings.client_secret = "demo-secret"
    await there.first.tasks.idle()

    assert revoked(there) == 1


async def test_a_grant_without_a_refresh_token_has_nothing_to_revoke(there: Flows) -> None:
    grant = (await there.live(await there.logged_in(refreshable=False))).grant

    there.first.revocations.begin(grant)
    await there.first.tasks.idle()

    assert await queued(there) == []
    assert revoked(there) == 0


async def test_the_queue_of_revocations_is_looked_after_until_the_process_ends(
    there: Flows,
) -> None:
    grant = (await there.live(await there.logged_in())).grant
    there.provider.available = False
    there.first.revocations.begin(grant)
    await there.first.tasks.idle()
    there.provider.available = True

    rounds = there.first.tasks.start_endless(there.first.revocations.run, "rounds", there.clock)
    await eventually(lambda: revoked(there) == 1 and not there.store._revocations)
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)

    assert await queued(there) == []


async def test_a_long_queue_is_worked_off_without_a_pause_in_between(there: Flows) -> None:
    grant = await ended_grant(there)
    there.provider.available = False
    for _ in range(3 * BATCH):
        there.first.revocations.begin(grant)
    await there.first.tasks.idle()
    there.provider.available = True
    there.clock.advance(LATER)
    done_at: list[float] = []
    put_off = there.store.put_off_revocation

    async def noted(entry: bytes, due_at: float | None) -> None:
        done_at.append(there.clock.now())
        await put_off(entry, due_at)

    there.store.put_off_revocation = noted  # type: ignore[method-assign]
    rounds = there.first.tasks.start_endless(there.first.revocations.run, "rounds", there.clock)
    await eventually(lambda: not there.store._revocations)
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)

    assert len(done_at) == 3 * BATCH
    assert len(set(done_at)) == 1
