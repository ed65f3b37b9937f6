"""A provider that has lost its keys and its refresh tokens, as a restarted Dex has."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from sidecar.core.grant import Sharing
from sidecar.core.provider_profiles import Provider, profile_of
from sidecar.core.session import EndReason, SessionKey
from sidecar.errors import SessionOver
from tests.flows.replica import Flows, Replica, flows

EVENT = "provider_lost_its_state"


@pytest.fixture
async def dex(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[Flows]:
    """Flows at a Dex."""
    async with flows(signing_key) as made:
        made.profile = profile_of(Provider.DEX) or made.profile
        made.replicas.clear()
        await made.add()
        yield made


async def logged_in(here: Flows) -> SessionKey:
    key = await here.logged_in(Sharing.PER_USER)
    here.clock.advance(2)
    assert await here.first.refresh.current(key)
    assert here.first.refresh.current_now(key)
    return key


def restart(here: Flows) -> None:
    """What Dex is after a restart: new keys, and no grant from before."""
    here.provider.rotate_keys(keep_old=False)
    here.provider.end_all()


async def reason_of_end(replica: Replica, key: SessionKey) -> str:
    """Why a session is over, which it is."""
    with pytest.raises(SessionOver) as over:
        await replica.refresh.current(key)
    await replica.tasks.idle()
    return over.value.reason


def metric(replica: Replica, name: str, **labels: str) -> float:
    registry = replica.metrics.registry
    return registry.get_sample_value(f"argocd_token_refresh_{name}", labels) or 0.0


async def test_a_renewal_that_meets_a_restarted_dex_ends_the_session_for_that_reason(
    dex: Flows,
) -> None:
    key = await logged_in(dex)
    restart(dex)
    dex.clock.advance(220)  # inside the window, and the token still good

    with capture_logs() as logs:
        assert await dex.first.refresh.current(key)
        await dex.first.tasks.idle()
        reason = await reason_of_end(dex.first, key)

    assert reason == EndReason.PROVIDER_LOST_STATE
    assert metric(dex.first, "forced_logins_total", reason=reason) == 1
    assert [each["event"] for each in logs].count(EVENT) == 1


async def test_once_it_is_known_good_tokens_from_before_are_not_used_any_more(dex: Flows) -> None:
    key = await logged_in(dex)
    restart(dex)
    assert dex.first.refresh.current_now(key)  # nobody has told yet

    dex.first.refresh.refused(await dex.live(key))
    await dex.first.tasks.idle()

    assert dex.first.refresh.current_now(key) is None
    assert await reason_of_end(dex.first, key) == EndReason.PROVIDER_LOST_STATE


async def test_while_the_keys_are_looked_at_after_a_refusal_nobody_is_served_the_token(
    dex: Flows,
) -> None:
    key = await logged_in(dex)
    restart(dex)

    dex.first.refresh.refused(await dex.live(key))

    assert dex.first.refresh.current_now(key) is None
    assert await reason_of_end(dex.first, key) == EndReason.PROVIDER_LOST_STATE


async def test_a_login_after_the_restart_tells_of_it_too(dex: Flows) -> None:
    ada = await logged_in(dex)
    restart(dex)

    await dex.signed_in()  # its token's key is unknown, and so the keys are read again

    assert dex.first.refresh.current_now(ada) is None
    assert await reason_of_end(dex.first, ada) == EndReason.PROVIDER_LOST_STATE


async def test_a_login_right_after_the_keys_were_read_finds_the_new_ones(dex: Flows) -> None:
    key = await logged_in(dex)
    dex.first.refresh.refused(await dex.live(key))
    await dex.first.tasks.idle()
    dex.clock.advance(1)
    restart(dex)

    assert await dex.signed_in()


async def test_a_page_load_asks_whether_old_keys_are_still_good_and_no_more_often(
    dex: Flows,
) -> None:
    key = await logged_in(dex)
    before, live = dex.provider.jwks_requests, await dex.live(key)
    assert not dex.first.refresh.doubts_page(live)
    dex.clock.advance(10)
    restart(dex)

    assert dex.first.refresh.doubts_page(live)

    assert await reason_of_end(dex.first, key) == EndReason.PROVIDER_LOST_STATE
    assert not dex.first.refresh.doubts_page(live)
    assert dex.provider.jwks_requests == before + 1


async def test_a_page_load_at_a_provider_that_forgets_nothing_waits_for_nothing(
    here: Flows,
) -> None:
    live = await here.live(await here.logged_in())
    here.clock.advance(3000)

    assert not here.first.refresh.doubts_page(live)


async def test_a_refusal_at_a_provider_that_forgets_nothing_is_looked_into_seldom(
    here: Flows,
) -> None:
    live = await here.live(await here.logged_in())
    before = here.provider.jwks_requests
    for _ in range(5):
        here.clock.advance(20)
        here.first.refresh.refused(live)
        await here.first.tasks.idle()

    assert here.provider.jwks_requests == before + 1


async def test_nobody_waits_for_another_persons_doubt(dex: Flows) -> None:
    ada = await dex.logged_in()
    bob = await dex.logged_in()
    dex.clock.advance(2)
    for key in (ada, bob):
        assert await dex.first.refresh.current(key)

    dex.first.refresh.refused(await dex.live(ada))

    assert dex.first.refresh.current_now(ada) is None
    assert dex.first.refresh.current_now(bob)
    await dex.first.tasks.idle()


async def test_the_log_is_told_once_of_each_restart(dex: Flows) -> None:
    with capture_logs() as logs:
        for _ in range(2):
            keys = [await dex.logged_in() for _ in range(3)]
            dex.clock.advance(20)
            restart(dex)
            dex.first.refresh.refused(await dex.live(keys[0]))
            for key in keys:
                assert await reason_of_end(dex.first, key) == EndReason.PROVIDER_LOST_STATE

    assert [each["event"] for each in logs].count(EVENT) == 2


async def test_who_was_away_longer_than_a_token_lives_is_told_the_same_once_it_was_noticed(
    dex: Flows,
) -> None:
    idle = await dex.logged_in()
    used = await logged_in(dex)
    restart(dex)
    dex.clock.advance(220)
    await dex.first.refresh.current(used)
    await dex.first.tasks.idle()
    dex.clock.advance(3600)

    assert await reason_of_end(dex.first, idle) == EndReason.PROVIDER_LOST_STATE


async def test_where_nothing_good_was_left_to_notice_by_the_provider_has_just_ended_it(
    dex: Flows,
) -> None:
    idle = await logged_in(dex)
    restart(dex)
    dex.clock.advance(3600)

    assert await reason_of_end(dex.first, idle) == EndReason.ENDED_BY_PROVIDER


async def test_a_key_that_was_only_rotated_away_costs_a_renewal_and_no_login(
    dex: Flows,
) -> None:
    key = await logged_in(dex)
    dex.provider.rotate_keys(keep_old=False)
    dex.clock.advance(10)
    dex.first.refresh.refused(await dex.live(key))

    live = await dex.first.refresh.current(key)

    assert live
    assert dex.provider.refreshes == 1
    assert dex.first.refresh.current_now(key) == live


async def test_a_refused_refresh_token_alone_is_no_restart(dex: Flows) -> None:
    key = await logged_in(dex)
    dex.provider.end_all()
    dex.clock.advance(301)

    assert await reason_of_end(dex.first, key) == EndReason.ENDED_BY_PROVIDER


async def test_while_a_restarting_dex_is_away_good_tokens_are_served(dex: Flows) -> None:
    key = await logged_in(dex)
    restart(dex)
    dex.first.refresh.refused(await dex.live(key))
    await dex.first.tasks.idle()
    dex.provider.available = False

    assert await dex.first.refresh.current(key)

    dex.provider.available = True
    dex.clock.advance(60)
    assert await reason_of_end(dex.first, key) == EndReason.PROVIDER_LOST_STATE


async def test_a_token_that_another_replica_got_later_is_trusted_while_the_keys_are_read(
    dex: Flows,
) -> None:
    key = await logged_in(dex)
    other = await dex.add()
    await other.refresh.current(key)
    other.refresh.refused(await dex.live(key))
    await other.tasks.idle()
    dex.clock.advance(200)
    dex.provider.rotate_keys(keep_old=True)
    await dex.first.refresh.renew_behind((await dex.live(key)).grant)
    dex.clock.advance(1)

    assert await other.refresh.current(key)
    await other.tasks.idle()

    assert await other.refresh.current(key)
    assert dex.provider.refreshes == 1


async def test_a_session_without_a_refresh_token_ends_with_its_provider_or_with_its_token(
    dex: Flows,
) -> None:
    for lost, expected in (
        (True, EndReason.PROVIDER_LOST_STATE),
        (False, EndReason.NO_REFRESH_TOKEN),
    ):
        key = await dex.logged_in(refreshable=False)
        dex.clock.advance(20)
        if lost:
            restart(dex)
            dex.first.refresh.refused(await dex.live(key))
        else:
            assert await dex.first.refresh.current(key)
            dex.clock.advance(300)
        assert await reason_of_end(dex.first, key) == expected


async def test_a_replica_looks_now_and_then_while_another_finds_out_what_became_of_the_provider(
    dex: Flows,
) -> None:
    key = await logged_in(dex)
    other = await dex.add()
    await other.refresh.current(key)
    restart(dex)
    live = await dex.live(key)
    for each in dex.replicas:
        each.refresh.refused(live)
        await each.tasks.idle()
    gate = dex.provider.hold()
    asking = asyncio.ensure_future(reason_of_end(dex.first, key))
    await gate.reached()

    waiting = asyncio.ensure_future(reason_of_end(other, key))
    for _ in range(10):
        await asyncio.sleep(0.002)
    looks = metric(other, "lease_waits_total")
    gate.release()

    lost = EndReason.PROVIDER_LOST_STATE
    assert [await asking, await waiting] == [lost, lost]
    assert looks == 1


async def test_many_refusals_at_once_are_one_look_at_the_keys(dex: Flows) -> None:
    keys = [await logged_in(dex) for _ in range(3)]
    dex.clock.advance(20)
    before = dex.provider.jwks_requests

    for key in keys:
        dex.first.refresh.refused(await dex.live(key))
    looks = [task for task in dex.first.tasks._running if task.get_name() == "look at keys"]
    await dex.first.tasks.idle()

    assert len(looks) == 1
    assert dex.provider.jwks_requests == before + 1
