"""What a look at all of the store finds of a session that cannot be opened."""

from dataclasses import replace

from sidecar.flows.walk import Walk
from sidecar.ports import Record
from tests.flows.replica import Flows


async def test_a_damaged_session_is_found_by_a_walk_and_said_to_be_one(here: Flows) -> None:
    key = await here.logged_in()
    other = await here.live(await here.logged_in())
    grant = (await here.live(key)).grant
    foreign = here.first.parts.records.seal_grant(replace(other.grant, version=grant.version + 1))
    await here.store.save_grant(grant.user_tag, grant.id, foreign)

    (found,) = await Walk(here.store, here.first.parts.records).look([key])

    assert found.grant is None
    assert "damaged" in found.unreadable


async def test_a_session_of_a_newer_release_is_found_and_said_to_be_one(here: Flows) -> None:
    key = await here.logged_in()
    slot = here.store._slots[key.user_tag]
    slot.sessions[key.digest].record = Record(1, "newer", b"?", newer=True)

    (found,) = await Walk(here.store, here.first.parts.records).look([key])

    assert found.session is None
    assert "newer release" in found.unreadable
    assert found.grant_id == slot.index[key.digest]  # so that it can be ended all the same
