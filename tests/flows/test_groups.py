"""Groups that change in a refreshed ID token: at once, everywhere, and with a trace."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from sidecar.core.grant import Sharing
from sidecar.core.groups import MAX_NAMED, groups_in
from sidecar.core.session import EndReason, SessionKey
from sidecar.demo.misbehaviour import Change
from sidecar.errors import SilentLoginNeeded
from sidecar.flows.records import Live
from tests.flows.replica import FailingStore, Flows, Replica

Opened = Callable[[Replica, Live], list[SessionKey]]


@pytest.fixture
def opened() -> Any:
    """Opens something of a session at a replica; the keys of what that replica has closed."""
    with ExitStack() as open_things:

        def begin(replica: Replica, live: Live) -> list[SessionKey]:
            closed: list[SessionKey] = []
            held = open_things.enter_context(ExitStack())
            held.enter_context(replica.sessions.held_open(live))

            def close(key: SessionKey) -> None:
                closed.append(key)
                held.close()

            replica.sessions.close_open = close
            return closed

        yield begin


async def loaded(replica: Replica, key: SessionKey) -> Live:
    live = await replica.refresh.current(key)
    assert live
    return live


async def renewed(here: Flows, key: SessionKey, **claims: Any) -> Live:
    """The session after a refresh whose ID token says this."""
    return await answered(here, key, claims=claims)


async def answered(here: Flows, key: SessionKey, **change: Any) -> Live:
    here.provider.script.append(Change(**change))
    here.clock.advance(240)
    await here.first.refresh.current(key)
    await here.first.tasks.idle()
    return await loaded(here.first, key)


def groups(live: Live, *claims: str) -> set[str]:
    return set(groups_in(live.grant.tokens.id_token, claims or ("groups",)))


def counted(replica: Replica, change: str) -> float:
    registry = replica.metrics.registry
    name = "argocd_token_refresh_group_changes_total"
    return registry.get_sample_value(name, {"change": change}) or 0.0


@pytest.mark.parametrize("now", [["auditors"], [], None, "auditors"], ids=str)
async def test_a_lost_group_is_gone_with_the_next_token_and_leaves_a_trace(
    here: Flows, now: object
) -> None:
    key = await here.logged_in()
    assert groups(await loaded(here.first, key)) == {"developers"}

    with capture_logs() as lines:
        live = await renewed(here, key, groups=now)

    assert "developers" not in groups(live)
    assert counted(here.first, "lost") == 1
    [line] = [line for line in lines if line["event"] == "groups_changed"]
    assert (line["lost"], line["lost_count"]) == (["developers"], 1)
    assert line["user"] == live.grant.user_tag
    assert line["gained"] == (["auditors"] if now else [])
    assert line["gained_count"] == counted(here.first, "gained") == (1 if now else 0)


async def test_no_token_is_in_the_trace_and_of_many_groups_some_are_named(here: Flows) -> None:
    key = await here.logged_in()

    with capture_logs() as lines:
        live = await renewed(here, key, groups=[f"{number}-{'x' * 300}" for number in range(200)])

    [line] = [line for line in lines if line["event"] == "groups_changed"]
    assert len(line["gained"]) == MAX_NAMED
    assert line["gained_count"] == 200
    assert len(str(line)) < 4000
    tokens = live.grant.tokens
    for secret in (tokens.id_token, tokens.access_token, tokens.refresh_token):
        assert secret not in str(lines)


async def test_the_same_groups_in_another_order_are_no_change(here: Flows, opened: Opened) -> None:
    key = await here.logged_in()
    live = await renewed(here, key, groups=["a", "b"])
    closed = opened(here.first, live)

    await renewed(here, key, groups=["b", "a"])

    assert counted(here.first, "gained") == 1  # the one before
    assert closed == []


@pytest.mark.parametrize("now", [None, ["developers", "denied"]], ids=["lost", "gained"])
async def test_what_is_open_with_other_groups_ends_on_every_replica_within_a_second(
    here: Flows, opened: Opened, now: object
) -> None:
    key, other = await here.logged_in(), await here.add()
    here_open = opened(here.first, await loaded(here.first, key))
    there_open = opened(other, await loaded(other, key))
    began_at = here.clock.now() + 240

    live = await renewed(here, key, groups=now)
    await other.parts.confirmations.round()

    assert here_open == there_open == [key]
    assert here.clock.now() - began_at < 1
    assert groups(await loaded(other, key)) == groups(live)


async def test_what_is_opened_after_a_change_stays_open(here: Flows, opened: Opened) -> None:
    key = await here.logged_in()
    live = await renewed(here, key, groups=None)

    closed = opened(here.first, live)
    await renewed(here, key, groups=None)

    assert closed == []


async def test_a_change_that_the_store_has_not_taken_yet_counts_here(
    here: Flows, opened: Opened
) -> None:
    key = await here.logged_in()
    closed = opened(here.first, await loaded(here.first, key))
    here.store.saves.extend(["", FailingStore.STUCK])

    here.provider.script.append(Change(claims={"groups": None}))
    here.clock.advance(301)
    live = await loaded(here.first, key)

    assert closed == [key]
    assert groups(live) == set()
    here.store.stuck.clear()
    await here.first.tasks.idle()


async def test_what_was_about_to_open_with_the_old_token_asks_again(here: Flows) -> None:
    key, other = await here.logged_in(), await here.add()
    old = await loaded(other, key)
    assert other.refresh.may_go_up(old)

    with other.sessions.held_open(old):  # so that it is confirmed all the time
        await renewed(here, key, groups=None)
        await other.parts.confirmations.round()

    assert other.sessions.known(key)
    assert not other.refresh.may_go_up(old)
    assert other.refresh.may_go_up(await loaded(other, key))


async def test_nor_does_it_go_up_while_the_new_token_is_in_this_memory_alone(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(240)
    old = await here.first.sessions.load(key)
    assert old
    here.store.saves.extend(["", FailingStore.STUCK])
    here.provider.script.append(Change(claims={"groups": None}))

    await here.first.refresh.current(key)
    while (await loaded(here.first, key)).grant.tokens == old.grant.tokens:
        await here.clock.sleep(0.01)

    assert not here.first.refresh.may_go_up(old)
    here.store.stuck.clear()
    await here.first.tasks.idle()


async def test_an_answer_without_an_id_token_changes_nothing_until_the_old_ones_end(
    here: Flows, opened: Opened
) -> None:
    key = await here.logged_in()
    before = await loaded(here.first, key)
    closed = opened(here.first, before)

    for seconds in (200, 60):
        here.provider.script.append(Change(members={"id_token": None}))
        here.clock.advance(seconds)
        await here.first.refresh.current(key)
        await here.first.tasks.idle()
    served = await loaded(here.first, key)

    assert here.provider.refreshes == 2
    assert served.grant.tokens.id_token == before.grant.tokens.id_token
    assert closed == []
    here.clock.advance(41)
    with pytest.raises(SilentLoginNeeded):
        await here.first.refresh.current(key)


async def test_a_forged_id_token_neither_takes_groups_nor_gives_them(here: Flows) -> None:
    key = await here.logged_in()
    here.provider.script.append(Change(claims={"groups": ["admins"]}, forged=True))
    here.clock.advance(240)
    await here.first.refresh.current(key)
    await here.first.tasks.idle()

    assert groups(await loaded(here.first, key)) == {"developers"}
    assert counted(here.first, "gained") == 0


async def test_the_claims_are_those_that_argocds_rbac_looks_at(here: Flows, opened: Opened) -> None:
    here.first.sessions.groups.claims = ("cognito:groups", "https://example.org/roles")
    key = await here.logged_in()
    live = await renewed(here, key, **{"cognito:groups": ["a"], "https://example.org/roles": ["b"]})
    closed = opened(here.first, live)

    await renewed(here, key, groups=None, **{"https://example.org/roles": ["b"]})

    assert closed == [key]
    assert counted(here.first, "lost") == 1


async def test_another_login_of_the_user_changes_the_groups_of_all_who_share_its_grant(
    here: Flows, opened: Opened
) -> None:
    laptop = await here.logged_in(Sharing.PER_USER)
    closed = opened(here.first, await loaded(here.first, laptop))
    here.provider.script.append(Change(claims={"groups": None}))

    await here.logged_in(Sharing.PER_USER)

    assert closed == [laptop]
    assert groups(await loaded(here.first, laptop)) == set()
    assert counted(here.first, "lost") == 1


async def test_what_one_session_has_open_outlives_the_end_of_another(
    here: Flows, opened: Opened
) -> None:
    ends, stays = await here.logged_in(), await here.logged_in()
    closed = opened(here.first, await loaded(here.first, ends))
    opened(here.first, await loaded(here.first, stays))
    here.first.sessions.close_open = closed.append

    grant = (await here.live(ends)).grant
    await here.first.sessions.end(ends, grant.id, EndReason.LOGOUT)

    assert set(closed) == {ends}


async def test_of_two_sessions_on_one_grant_the_one_that_is_still_open_has_its_new_groups(
    here: Flows,
) -> None:
    key = await here.logged_in()
    other = await here.joined(key)
    closed: list[SessionKey] = []
    sessions = here.first.sessions
    sessions.close_open = closed.append

    with sessions.held_open(await loaded(here.first, key)):
        with sessions.held_open(await loaded(here.first, other)):
            pass
        await renewed(here, key, groups=["auditors"])

    assert set(closed) == {key}
