"""A user's sessions as the user may see and end them."""

from dataclasses import replace

import pytest

from sidecar.core.session_view import public_id
from sidecar.flows.own_sessions import OwnSessions
from tests.flows.replica import Flows, logout
from tests.flows.test_backchannel import lives


def own_sessions(here: Flows) -> OwnSessions:
    replica = here.first
    return OwnSessions(
        replica.sessions,
        replica.parts.records,
        here.store,
        replica.schedule,
        logout(replica),
        replica.runtime,
    )


async def test_sessions_that_cannot_be_read_end_with_all_others_of_their_user(
    here: Flows,
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


async def test_a_session_is_shown_and_ended_with_the_grant_that_its_record_names(
    here: Flows,
) -> None:
    own, other, third = [await here.logged_in() for _ in range(3)]
    index = here.store._slots[own.user_tag].index
    index[other.digest] = index[third.digest]

    listed = await own_sessions(here).listed(await here.live(own))
    assert await own_sessions(here).end(await here.live(own), public_id(other.digest))
    await here.first.tasks.idle()

    assert len(listed.sessions) == 3
    assert not await lives(here, other)
    assert await lives(here, third)


async def test_a_session_whose_grant_is_gone_is_not_shown_and_can_be_ended(here: Flows) -> None:
    own, other = [await here.logged_in() for _ in range(2)]
    live = await here.live(own)
    here.replicas[0] = await here.add()  # it knows nothing that it could put back
    slot = here.store._slots[own.user_tag]
    del slot.grants[slot.index[other.digest]]

    listed = await own_sessions(here).listed(live)
    assert await own_sessions(here).end_others(live) == 1
    await here.first.tasks.idle()

    assert [shown.id for shown in listed.sessions] == [public_id(own.digest)]
    assert slot.sessions[other.digest].record.ended
