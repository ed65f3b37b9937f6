"""Renewal where the store fails, replicas meet and time runs out."""

import asyncio
import json
from dataclasses import replace

import pytest

from sidecar.core.breaker import OPENS_AT_GRANTS
from sidecar.core.provider_profiles import GENERIC, Provider, profile_of
from sidecar.core.refresh_policy import usable_seconds
from sidecar.core.session import EndReason, SessionKey
from sidecar.core.timings import Timings
from sidecar.demo.misbehaviour import Answer, Drop
from sidecar.errors import SessionOver, TryLater
from sidecar.flows import refresh
from tests.flows.replica import FailingStore, Flows, Replica


async def test_a_renewed_token_that_the_store_did_not_take_is_served_and_saved_later(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    here.store.saves.extend(["", *[FailingStore.BEFORE] * 4])  # the intent, then the answer

    served = await here.first.refresh.current(key)
    await here.first.tasks.idle()
    stored = await here.first.sessions.load(key)

    assert served
    assert stored
    assert usable_seconds(served.grant, here.clock.now() - 60) > 0
    assert stored.grant.tokens == served.grant.tokens
    assert here.provider.refreshes == 1
    here.clock.advance(301)
    assert await here.first.refresh.current(key)
    assert here.provider.reuses == 0


async def test_a_save_whose_reply_was_lost_counts_once(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    here.store.saves.extend(["", FailingStore.AFTER])

    served = await here.first.refresh.current(key)
    await here.first.tasks.idle()
    stored = await here.first.sessions.load(key)

    assert served
    assert stored
    assert stored.grant == served.grant
    assert here.provider.refreshes == 1


async def test_nobody_presents_the_spent_token_while_the_new_one_is_not_stored(
    here: Flows,
) -> None:
    key = await here.logged_in()
    other = await here.add()
    here.clock.advance(200)
    here.store.saves.extend(["", *[FailingStore.BEFORE] * 3])
    await here.first.refresh.current(key)

    seen = await other.refresh.current(key)
    await other.tasks.idle()
    await here.first.tasks.idle()

    assert seen
    assert here.provider.token_requests == 2  # the login and one refresh
    assert here.provider.reuses == 0


async def test_an_intent_that_could_not_be_written_sends_nothing(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    here.store.saves.extend([FailingStore.BEFORE] * 3)

    with pytest.raises(TryLater):
        await here.first.refresh.current(key)

    assert here.provider.token_requests == 1
    here.clock.advance(31)
    assert await here.first.refresh.current(key)


async def test_a_session_attached_during_a_renewal_loses_neither(here: Flows) -> None:
    key = await here.logged_in()
    live = await here.first.sessions.load(key)
    assert live
    here.clock.advance(200)
    gate = here.provider.hold(after_commit=True)
    await here.first.refresh.current(key)
    await gate.reached()

    cookie = await here.first.parts.joining.join(
        live.grant.user_tag, live.grant.id, user_agent="second"
    )
    gate.release()
    await here.first.tasks.idle()

    assert cookie
    second = here.first.sessions.read_cookies([cookie])
    assert second
    for each in (key, second):
        seen = await here.first.refresh.current(each)
        assert seen
        assert seen.grant.tokens.id_token != live.grant.tokens.id_token
    here.clock.advance(301)
    assert await here.first.refresh.current(second)
    assert here.provider.reuses == 0


async def test_a_replica_that_lost_the_lease_waits_and_never_asks(here: Flows) -> None:
    key = await here.logged_in()
    other = await here.add()
    here.clock.advance(301)
    gate = here.provider.hold(after_commit=True)
    holder = asyncio.ensure_future(here.first.refresh.current(key))
    await gate.reached()
    loser = asyncio.ensure_future(other.refresh.current(key))
    for _ in range(10):
        await asyncio.sleep(0.002)
    gate.release()

    first, second = await asyncio.gather(holder, loser)

    assert first
    assert second
    assert first.grant.tokens == second.grant.tokens
    assert here.provider.token_requests == 2


async def test_a_process_that_was_paused_past_half_its_lease_sends_nothing(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    lease = Timings().lease_seconds
    original = here.store.load_grant
    paused = False

    async def pause(tag: str, grant_id: str) -> object:
        nonlocal paused
        if not paused:
            paused = True
            here.clock.advance(lease)
        return await original(tag, grant_id)

    here.store.load_grant = pause  # type: ignore[method-assign,assignment]

    with pytest.raises(TryLater):
        await here.first.refresh.current(key)

    assert here.provider.token_requests == 1


def test_the_lease_outlasts_all_that_is_done_under_it() -> None:
    timings = Timings()

    after_sending = timings.provider_seconds + timings.keys_seconds + 2 * timings.store_seconds

    assert timings.lease_seconds / 2 >= after_sending


async def test_a_grant_that_is_over_ends_all_its_sessions(here: Flows) -> None:
    key = await here.logged_in()
    live = await here.first.sessions.load(key)
    assert live
    cookie = await here.first.parts.joining.join(live.grant.user_tag, live.grant.id, user_agent="2")
    second = here.first.sessions.read_cookies([cookie or ""])
    assert second
    here.provider.end_all()
    here.clock.advance(301)

    for each in (key, second):
        with pytest.raises(SessionOver):
            await here.first.refresh.current(each)

    assert here.provider.token_requests == 2


async def test_failures_back_off_and_the_next_success_forgets_them(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.extend([Answer(status=503)] * 20)
    for _ in range(10):
        with pytest.raises(TryLater):
            await here.first.refresh.current(key)

    assert here.provider.token_requests == 2  # one login, one try: the others backed off
    for _ in range(6):
        here.clock.advance(31)
        with pytest.raises(TryLater):
            await here.first.refresh.current(key)
    here.provider.script.clear()
    here.clock.advance(31)
    assert await here.first.refresh.current(key)


async def test_a_lost_answer_is_asked_for_once_more_only_when_the_token_has_ended(
    here: Flows,
) -> None:
    here.provider.settings.reuse_window_seconds = 600
    key = await here.logged_in()
    here.clock.advance(200)
    here.provider.script.append(Drop(after_commit=True))
    await here.first.refresh.current(key)
    await here.first.tasks.idle()
    here.clock.advance(31)
    await here.first.refresh.current(key)
    await here.first.tasks.idle()
    asked_while_good = here.provider.token_requests

    here.clock.advance(70)
    saved = await here.first.refresh.current(key)

    assert asked_while_good == 2
    assert saved
    assert here.provider.token_requests == 3


async def test_a_provider_that_turned_us_away_is_asked_again_before_the_token_ends(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(200)
    here.provider.script.append(Answer(status=503))
    await here.first.refresh.current(key)
    await here.first.tasks.idle()

    here.clock.advance(31)
    await here.first.refresh.current(key)
    await here.first.tasks.idle()

    assert here.provider.refreshes == 1


async def test_while_a_renewal_is_not_stored_its_spent_token_is_not_presented_again(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    here.store.saves.extend(["", FailingStore.STUCK])
    assert await here.first.refresh.current(key)

    here.clock.advance(301)
    with pytest.raises(TryLater):
        await here.first.refresh.current(key)

    assert here.provider.token_requests == 2
    here.store.stuck.clear()
    await here.first.tasks.idle()
    here.clock.advance(31)
    assert await here.first.refresh.current(key)
    assert here.provider.reuses == 0


async def test_what_a_renewal_got_for_an_ended_grant_is_given_back(here: Flows) -> None:
    key = await here.logged_in()
    live = await here.first.sessions.load(key)
    assert live
    here.clock.advance(200)
    gate = here.provider.hold(after_commit=True)
    await here.first.refresh.current(key)
    await gate.reached()

    await here.first.sessions.end(key, live.grant.id, EndReason.LOGOUT)
    gate.release()
    await here.first.tasks.idle()

    assert [event.kind for event in here.provider.log][-2:] == ["refresh", "revoked"]


async def asked_again_until_it_is_lost(here: Flows, key: SessionKey) -> None:
    """Two tries that come to nothing, and then the end."""
    for _ in range(2):
        with pytest.raises(TryLater):
            await here.first.refresh.current(key)
        here.clock.advance(31)

    with pytest.raises(SessionOver, match=EndReason.LOST_ANSWER):
        await here.first.refresh.current(key)


async def test_an_answer_that_was_lost_stays_lost_though_a_later_try_was_turned_away(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.extend([Drop(after_commit=True), Answer(status=503)])
    await asked_again_until_it_is_lost(here, key)


async def test_after_an_outage_every_session_goes_on_with_one_renewal_each(here: Flows) -> None:
    keys = [await here.logged_in() for _ in range(20)]
    here.clock.advance(301)
    here.provider.available = False
    for key in keys:
        with pytest.raises(TryLater):
            await here.first.refresh.current(key)

    here.provider.available = True
    here.clock.advance(31)
    served = [await here.first.refresh.current(key) for key in keys]

    assert all(served)
    assert here.provider.refreshes == 20
    assert here.provider.reuses == 0


async def test_during_an_outage_the_provider_is_not_asked_for_every_grant(here: Flows) -> None:
    keys = [await here.logged_in() for _ in range(30)]
    here.clock.advance(301)
    before = here.provider.token_requests
    here.provider.script.extend([Answer(status=503)] * 100)

    for key in keys:
        with pytest.raises(TryLater):
            await here.first.refresh.current(key)

    assert here.provider.token_requests - before == 5


async def test_a_provider_that_is_back_is_not_run_over(here: Flows) -> None:
    keys = [await here.logged_in() for _ in range(60)]
    here.clock.advance(301)
    before = here.provider.token_requests
    gate = here.provider.hold()
    here.provider.script.extend([gate] * 59)

    waiting = [asyncio.ensure_future(here.first.refresh.current(key)) for key in keys]
    await gate.reached()
    for _ in range(50):
        await asyncio.sleep(0.002)
    at_once = here.provider.token_requests - before
    gate.release()
    served = await asyncio.gather(*waiting)

    assert at_once == Timings().renewals_at_once
    assert all(served)


async def test_a_lost_answer_is_asked_for_again_at_once_where_the_provider_takes_it(
    here: Flows,
) -> None:
    here.provider.settings.reuse_window_seconds = 60
    here.profile = replace(GENERIC, reuse_window_seconds=60.0)
    lenient = await here.add()
    key = await here.logged_in()
    here.clock.advance(200)
    here.provider.script.append(Drop(after_commit=True))
    await lenient.refresh.current(key)
    await lenient.tasks.idle()

    here.clock.advance(5)
    await lenient.refresh.current(key)
    await lenient.tasks.idle()

    assert here.provider.refreshes == 2
    assert here.provider.reuses == 0
    live = await lenient.sessions.load(key)
    assert live
    assert not live.grant.answer_unknown


async def test_after_its_reuse_window_a_lost_answer_is_left_in_peace(here: Flows) -> None:
    here.profile = replace(GENERIC, reuse_window_seconds=30.0)
    lenient = await here.add()
    key = await here.logged_in()
    here.clock.advance(200)
    here.provider.script.extend([Drop(after_commit=True), Answer(status=500)])
    for _ in range(2):
        await lenient.refresh.current(key)
        await lenient.tasks.idle()
        here.clock.advance(5)
    asked = here.provider.token_requests

    here.clock.advance(20)
    await lenient.refresh.current(key)
    await lenient.tasks.idle()

    assert here.provider.token_requests == asked


async def test_an_error_about_one_grant_never_stops_the_others(here: Flows) -> None:
    here.profile = profile_of(Provider.DEX) or GENERIC
    dex = await here.add()
    keys = [await here.logged_in() for _ in range(10)]
    here.clock.advance(301)
    refused = Answer(status=500, body='{"error":"invalid_request"}')
    here.provider.script.extend([refused] * 9)
    for key in keys[:9]:
        with pytest.raises(TryLater):
            await dex.refresh.current(key)

    assert await dex.refresh.current(keys[9])


async def dismissed(
    here: Flows, *, seconds: float, every: float = 31.0
) -> tuple[Replica, SessionKey]:
    """Somebody past their token's end, to whom alone Dex says its bare 500 for so long."""
    here.profile = profile_of(Provider.DEX) or GENERIC
    dex = await here.add()
    key = await here.logged_in()
    here.clock.advance(301)
    refused = Answer(status=500, body='{"error":"invalid_request"}')
    end = here.clock.now() + seconds
    while here.clock.now() < end:
        here.provider.script.append(refused)
        with pytest.raises(TryLater):
            await dex.refresh.current(key)
        here.provider.script.clear()
        here.clock.advance(every)
    return dex, key


async def test_a_person_whom_alone_the_provider_fails_is_asked_to_log_in_after_some_tries(
    here: Flows,
) -> None:
    dex, key = await dismissed(here, seconds=180)
    assert await dex.refresh.current(await here.logged_in())
    other = await here.logged_in()
    here.clock.advance(301)
    assert await dex.refresh.current(other)

    here.provider.script.append(Answer(status=500, body='{"error":"invalid_request"}'))

    with pytest.raises(SessionOver, match=EndReason.ENDED_BY_PROVIDER):
        await dex.refresh.current(key)


async def test_while_nobody_is_renewed_such_an_error_ends_nothing_for_an_hour(
    here: Flows,
) -> None:
    dex, key = await dismissed(here, seconds=3500, every=300.0)
    assert await dex.sessions.load(key)

    here.clock.advance(150)
    here.provider.script.append(Answer(status=500, body='{"error":"invalid_request"}'))

    with pytest.raises(SessionOver, match=EndReason.ENDED_BY_PROVIDER):
        await dex.refresh.current(key)


async def test_an_intent_whose_reply_was_lost_does_not_keep_a_renewal_waiting(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(200)
    here.store.saves.append(FailingStore.AFTER)

    await here.first.refresh.current(key)
    await here.first.tasks.idle()

    assert here.provider.refreshes == 1
    live = await here.first.sessions.load(key)
    assert live
    assert not live.grant.answer_unknown


async def test_a_provider_that_says_a_spent_token_came_is_counted_apart(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    reuse = {"error": "invalid_grant", "error_description": "Maximum allowed refresh token reuse"}
    here.provider.script.append(Answer(status=400, body=json.dumps(reuse)))

    with pytest.raises(SessionOver, match=EndReason.REUSE_DETECTED):
        await here.first.refresh.current(key)

    registry = here.first.metrics.registry
    for name in ("forced_logins", "ended_sessions"):
        found = f"argocd_token_refresh_{name}_total"
        assert registry.get_sample_value(found, {"reason": "reuse_detected"}) == 1
    found = "argocd_token_refresh_renewal_failures_total"
    assert registry.get_sample_value(found, {"reason": "invalid_grant"}) == 1


async def test_a_lease_that_could_not_be_given_back_is_given_back_behind(here: Flows) -> None:
    key = await here.logged_in()
    live = await here.first.sessions.load(key)
    assert live
    here.clock.advance(200)
    here.store.failing_releases = 2

    await here.first.refresh.current(key)
    await here.first.tasks.idle()

    assert here.provider.refreshes == 1
    assert await here.store.take_lease(live.grant.user_tag, live.grant.id, "other", seconds=1)


async def test_a_lease_is_short_where_a_second_use_is_harmless(here: Flows) -> None:
    taken: list[float] = []
    for window in (0.0, 2.0, 30.0, float("inf")):
        here.profile = replace(GENERIC, reuse_window_seconds=window)
        taken.append((await here.add()).refresh.lease_seconds)

    assert taken == [Timings().lease_seconds, 2.5, 2.5, 5.0]


async def test_who_wants_a_long_token_gets_the_one_there_is_where_a_renewal_takes_too_long(
    here: Flows,
) -> None:
    hasty = await here.add(timings=Timings(wait_seconds=0.05))
    key = await here.logged_in()
    here.clock.advance(200)
    assert await hasty.sessions.load(key)
    gate = here.provider.hold()

    live = await hasty.refresh.current(key, min_life=120.0)

    assert live
    assert live.grant.renewals == 0
    gate.release()
    await hasty.tasks.idle()
    assert here.provider.refreshes == 1


async def test_whose_token_has_ended_is_told_to_try_again_where_a_renewal_takes_too_long(
    here: Flows,
) -> None:
    hasty = await here.add(timings=Timings(wait_seconds=0.05))
    key = await here.logged_in()
    here.clock.advance(301)
    gate = here.provider.hold()

    with pytest.raises(TryLater):
        await hasty.refresh.current(key)

    gate.release()
    await hasty.tasks.idle()
    assert await hasty.refresh.current(key)


async def test_of_all_grants_there_are_no_more_are_remembered_than_there_is_room_for(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "_REMEMBERED_UNTIL", 2)
    keys = [await here.logged_in() for _ in range(5)]

    assert all([await here.first.refresh.current(key) for key in keys])

    assert len(here.first.refresh._until) <= 2
    assert all(here.first.refresh.current_now(key) for key in keys)


async def test_those_who_wait_for_their_turn_do_not_ask_a_provider_that_goes_away_meanwhile(
    here: Flows,
) -> None:
    few = await here.add(timings=Timings(renewals_at_once=OPENS_AT_GRANTS))
    keys = [await here.logged_in() for _ in range(20)]
    here.clock.advance(301)
    before = here.provider.token_requests
    here.provider.script.extend([Answer(status=503)] * 20)

    refused = await asyncio.gather(
        *(few.refresh.current(key) for key in keys), return_exceptions=True
    )

    assert all(isinstance(each, TryLater) for each in refused)
    assert here.provider.token_requests - before < 2 * OPENS_AT_GRANTS


async def test_an_answer_that_was_lost_stays_lost_though_the_client_was_refused_since(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(301)
    refused = Answer(status=401, body='{"error":"invalid_client"}')
    here.provider.script.extend([Drop(after_commit=True), refused])
    await asked_again_until_it_is_lost(here, key)
