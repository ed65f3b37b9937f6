"""A token that has not ended, for a logout: renewed if it can be, and soon."""

import pytest

from sidecar.errors import SessionOver
from sidecar.flows.fresh import Fresh
from sidecar.flows.records import Live
from tests.flows.replica import Flows


def fresh(here: Flows, *, wait_seconds: float = 5.0) -> Fresh:
    return Fresh(here.first.refresh, here.clock, wait_seconds=wait_seconds)


async def live(here: Flows) -> Live:
    key = await here.logged_in()
    found = await here.first.sessions.load(key)
    assert found is not None
    return found


async def test_a_token_that_lives_is_left_alone(here: Flows) -> None:
    session = await live(here)

    assert await fresh(here).of(session) is session
    assert here.provider.refreshes == 0


async def test_a_token_that_has_ended_is_renewed(here: Flows) -> None:
    session = await live(here)
    here.clock.advance(3600)

    renewed = await fresh(here).of(session)

    assert renewed.grant.tokens.id_token_expires_at > here.clock.now()


async def test_a_provider_that_hangs_is_not_waited_for(here: Flows) -> None:
    session = await live(here)
    here.clock.advance(3600)
    gate = here.provider.hold()

    assert await fresh(here, wait_seconds=0.05).of(session) is session

    gate.release()
    await here.first.tasks.idle()
    assert here.provider.refreshes == 1  # and what it brings is kept


async def test_a_provider_that_is_away_leaves_the_token_as_it_is(here: Flows) -> None:
    session = await live(here)
    here.clock.advance(3600)
    here.provider.available = False

    assert await fresh(here).of(session) is session


async def test_a_login_that_the_provider_has_ended_is_over(here: Flows) -> None:
    session = await live(here)
    here.clock.advance(3600)
    here.provider.end_all()

    with pytest.raises(SessionOver):
        await fresh(here).of(session)
