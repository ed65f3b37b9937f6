"""What a replica knows of the store's records: relied on, confirmed, put back."""

from sidecar.core.grant import Grant
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

    here.store.meanwhile = lambda: one.sessions.load_grant(older.user_tag, older.id)
    found = await two.sessions.load_grant(older.user_tag, older.id)

    assert found == newer
    assert await one.sessions.load_grant(older.user_tag, older.id) == newer
