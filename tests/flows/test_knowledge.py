"""What a replica knows of the store's records: relied on, confirmed, put back."""

import copy
from dataclasses import replace

import pytest

from sidecar.core.grant import Grant
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.ports import SaveResult
from tests.flows.replica import Flows, Replica


async def _known(replica: Replica, here: Flows) -> Grant:
    """The grant of a new session, which this replica knows."""
    key = await here.logged_in()
    live = await replica.sessions.load(key)
    assert live
    return live.grant


async def test_of_two_replicas_that_put_back_at_once_the_one_that_knows_more_wins(
    here: Flows,
) -> None:
    one, two = here.first, await here.add()
    older = await _known(one, here)
    await two.sessions.load_grant(older.user_tag, older.id)
    newer = older.with_tokens(older.tokens)
    assert await one.sessions.save(newer) is SaveResult.SAVED
    here.store._slots.clear()

    here.store.then["load_grant"].append(lambda: one.sessions.load_grant(older.user_tag, older.id))
    found = await two.sessions.load_grant(older.user_tag, older.id)

    assert found == newer
    assert await one.sessions.load_grant(older.user_tag, older.id) == newer


async def test_a_write_that_is_known_is_not_opened_again_whatever_stands_behind_its_name(
    here: Flows,
) -> None:
    grant = await _known(here.first, here)
    slot = here.store._slots[grant.user_tag]
    for entry in (*slot.sessions.values(), *slot.grants.values()):
        entry.record = replace(entry.record, sealed=b"nothing that opens")
        entry.last_seen_at += 7
    here.clock.advance(2)

    key = next(iter(here.first.parts.cache.sessions))
    seen_at = here.first.parts.cache.sessions[key].value.last_seen_at
    live = await here.first.sessions.load(key)

    assert live
    assert live.grant is grant
    assert live.session.last_seen_at == seen_at + 7


@pytest.mark.parametrize("change", [{"ended": "logout"}, {"version": 9}, {"write_id": "another"}])
async def test_a_record_that_only_resembles_a_known_one_is_not_taken_for_it(
    here: Flows, change: dict[str, object]
) -> None:
    grant = await _known(here.first, here)
    entry = here.store._slots[grant.user_tag].grants[grant.id]
    entry.record = replace(entry.record, sealed=b"nothing that opens", **change)  # type: ignore[arg-type]

    with pytest.raises(SessionOver):
        await here.first.sessions.load_grant(grant.user_tag, grant.id)


async def test_what_others_keep_writing_over_is_an_error_and_not_an_older_grant(
    here: Flows,
) -> None:
    """A store that went back, and a replica that knows of no loss and goes on from there."""
    one, two = here.first, await here.add()
    older = await _known(one, here)
    before = copy.deepcopy(here.store._slots)
    newer = older.with_tokens(older.tokens)
    assert await one.sessions.save(newer) is SaveResult.SAVED
    here.store._slots = before
    await two.sessions.load_grant(older.user_tag, older.id)
    versions = iter(range(older.version + 1, 100))

    async def written_over() -> None:
        behind = replace(older, version=next(versions))
        assert await two.sessions.save(behind) is SaveResult.SAVED

    here.store.then["load_grant"].extend([written_over] * 5)
    with pytest.raises(StoreUnavailable):
        await one.sessions.load_grant(older.user_tag, older.id)

    found = await one.sessions.load_grant(older.user_tag, older.id)
    assert found
    assert found.renewals == newer.renewals
