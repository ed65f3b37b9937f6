"""Renewal without a request. Tokens live for 300 s; a grant's window opens at 150 to 180 s."""

import asyncio
from dataclasses import replace

import pytest

from sidecar.core.provider_profiles import GENERIC
from sidecar.core.session import EndReason, SessionKey
from sidecar.demo.misbehaviour import Answer, Change, Gate
from sidecar.errors import SessionOver
from sidecar.flows import background
from tests.flows.replica import Flows, Replica
from tests.world import eventually


async def until_due(here: Flows, seconds: float) -> None:
    """Let time pass in ticks, as `run` does."""
    for _ in range(int(seconds / 10)):
        here.clock.advance(10)
        for replica in here.replicas:
            await tick(replica)


async def tick(replica: Replica) -> int:
    """One look at what is due, with all that comes of it."""
    begun = await replica.background.tick()
    await replica.tasks.idle()
    return begun


async def used(here: Flows, key: SessionKey) -> None:
    assert await here.first.refresh.current(key)
    await here.first.tasks.idle()


async def test_a_session_in_use_is_renewed_before_anybody_asks(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(60)
    await used(here, key)

    await until_due(here, 200)

    assert here.provider.refreshes == 1
    asked = here.provider.token_requests
    await used(here, key)
    assert here.provider.token_requests == asked


async def test_a_session_that_nobody_uses_is_left_alone(here: Flows) -> None:
    await here.logged_in()

    await until_due(here, 3600)

    assert here.provider.refreshes == 1  # the one within a token's life of the login
    for replica in here.replicas:
        assert await tick(replica) == 0


async def test_a_session_with_an_open_stream_is_renewed_for_as_long_as_it_is_open(
    here: Flows,
) -> None:
    key = await here.logged_in()
    live = await here.first.sessions.load(key)
    assert live

    with here.first.sessions.held_open(live):
        for _ in range(60):
            here.clock.advance(60)
            await here.first.sessions.touch_held_open()
            await tick(here.first)
    renewed = here.provider.refreshes
    await until_due(here, 3600)

    assert renewed >= 3600 / 300
    assert here.provider.refreshes <= renewed + 1
    assert here.provider.reuses == 0


async def test_an_idle_session_costs_one_renewal_per_life_of_its_refresh_token(
    here: Flows,
) -> None:
    here.provider.script.extend([Change(members={"refresh_expires_in": 1800})] * 100)
    key = await here.logged_in()

    await until_due(here, 4 * 3600)

    assert 8 <= here.provider.refreshes <= 10
    here.provider.script.clear()
    await used(here, key)


async def test_a_refresh_token_that_ends_before_the_id_token_is_renewed_in_time(
    here: Flows,
) -> None:
    here.provider.settings.id_token_seconds = 36000
    here.provider.script.extend([Change(members={"refresh_expires_in": 600})] * 100)
    await here.logged_in()

    await until_due(here, 590)

    assert here.provider.refreshes == 1


async def test_three_replicas_renew_what_is_due_once(here: Flows) -> None:
    keys = [await here.logged_in() for _ in range(20)]
    for _ in range(2):
        await here.add()
    here.clock.advance(140)
    for key in keys:
        await used(here, key)
    here.clock.advance(45)

    looked = await asyncio.gather(*(tick(replica) for replica in here.replicas))

    assert sum(looked) == 20
    assert here.provider.refreshes == 20
    assert here.provider.reuses == 0


async def test_a_grant_that_has_ended_is_forgotten(here: Flows) -> None:
    key = await here.logged_in()
    live = await here.first.sessions.load(key)
    assert live
    await here.first.sessions.end(key, live.grant.id, EndReason.LOGOUT)
    here.clock.advance(300)

    assert await tick(here.first) == 1
    here.clock.advance(300)
    assert await tick(here.first) == 0
    assert here.provider.refreshes == 0


async def test_a_renewal_that_fails_is_tried_again_and_one_that_is_refused_ends_the_session(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(140)
    await used(here, key)
    here.provider.script.append(Answer(status=503))
    here.clock.advance(45)
    await tick(here.first)
    assert here.provider.refreshes == 0

    here.clock.advance(31)
    await tick(here.first)

    assert here.provider.refreshes == 1
    here.provider.end_all()
    here.clock.advance(100)
    await used(here, key)
    here.clock.advance(90)
    await tick(here.first)
    with pytest.raises(SessionOver):
        await here.first.refresh.current(key)


async def test_what_a_replica_took_and_dropped_is_due_again(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(140)
    await used(here, key)
    here.clock.advance(45)
    other = await here.add()
    taken = [
        name
        for shard in range(16)
        for name in await here.store.take_due(
            shard, now=here.clock.now(), limit=10, hide_seconds=45
        )
    ]

    at_once = await tick(other)
    here.clock.advance(46)

    assert len(taken) == 1
    assert at_once == 0
    assert await tick(other) == 1


async def test_what_died_with_a_replica_is_looked_at_again_while_a_second_use_is_harmless(
    here: Flows,
) -> None:
    here.provider.settings.reuse_window_seconds = 30
    here.profile = replace(GENERIC, reuse_window_seconds=30.0)
    taken_by, other = [await here.add() for _ in range(2)]
    key = await here.logged_in()
    here.clock.advance(140)
    await used(here, key)
    here.clock.advance(45)
    dies = Gate(after_commit=True)
    here.provider.script.append(dies)
    await taken_by.background.tick()
    await dies.reached()

    at_once = await tick(other)
    here.clock.advance(8)

    assert at_once == 0
    assert await tick(other) == 1
    assert here.provider.refreshes == 2
    dies.release()
    await taken_by.tasks.idle()


async def test_a_grant_that_waits_for_its_turn_is_not_looked_at_twice(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(140)
    await used(here, key)
    slow = Gate(after_commit=False)
    here.provider.script.append(slow)
    here.clock.advance(45)
    begun = await here.first.background.tick()
    await slow.reached()
    here.clock.advance(60)

    assert begun == 1
    assert await here.first.background.tick() == 0
    slow.release()
    await here.first.tasks.idle()


async def test_a_look_that_the_store_did_not_answer_is_repeated_soon(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(140)
    await used(here, key)
    here.clock.advance(45)
    here.store.failing_looks = 2

    assert await tick(here.first) == 1

    assert here.store.failing_looks == 0
    assert here.provider.refreshes == 1


async def test_a_provider_that_is_slow_for_one_person_holds_up_nobody_else(here: Flows) -> None:
    for _ in range(2):
        key = await here.logged_in()
        here.clock.advance(140)
        await used(here, key)
    slow = Gate(after_commit=False)
    here.provider.script.append(slow)
    here.clock.advance(45)
    await here.first.background.tick()
    await slow.reached()
    late = await here.logged_in()
    here.clock.advance(140)
    await here.first.refresh.current(late)
    here.clock.advance(45)
    asked = here.provider.token_requests

    await here.first.background.tick()

    await eventually(lambda: here.provider.token_requests > asked)
    slow.release()
    await here.first.tasks.idle()


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


async def test_a_grant_of_which_nothing_is_stored_any_more_is_not_looked_at_again(
    here: Flows,
) -> None:
    await here.logged_in()
    other = await here.add()  # it knows nothing that it could put back
    here.store._slots.clear()
    here.clock.advance(300)

    assert await tick(other) == 1
    here.clock.advance(3600)
    assert await tick(other) == 0


async def test_a_grant_that_a_request_could_not_renew_is_not_asked_for_before_its_next_try(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(240)
    here.provider.script.append(Answer(status=503, headers={"Retry-After": "20"}))
    await used(here, key)
    asked = here.provider.token_requests

    assert await tick(here.first) == 1

    assert here.provider.token_requests == asked
    here.clock.advance(21)
    assert await tick(here.first) == 1
    assert here.provider.refreshes == 1
