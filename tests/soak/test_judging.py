"""What a soak counts of the provider's log, once store and relays have been asked too."""

import math
from collections import deque
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import ClientSession

from tests.faults.proxy import Loss
from tests.faults.relays import Relays
from tests.hostile.client import Hostile
from tests.soak.judge import Forced, Why
from tests.soak.judging import STORIES, Judging
from tests.soak.test_judge import CUT, GIVEN, LOGIN, REUSE

ADA_LOGS_IN = Forced(user="ada", grant=1, at=125.0, how="401 at /")


@pytest.fixture
async def nobody() -> AsyncIterator[Hostile]:
    """A provider that is not asked: what it has written is given by hand."""
    async with ClientSession() as http:
        yield Hostile("", "", http)


def judging(
    hostile: Hostile, *, losses: Sequence[Loss] = (), stored: Sequence[str] = ("first",)
) -> Judging:
    links = Relays({}, losses={"provider": deque(losses)})
    found = Judging(hostile, dict.fromkeys(stored, 1.0), links)
    found.take([LOGIN, GIVEN, REUSE])
    return found


async def test_a_login_and_a_reuse_that_nothing_explains_are_counted_and_told(
    nobody: Hostile,
) -> None:
    found = judging(nobody)
    found.add(ADA_LOGS_IN)

    found.judge(until=math.inf)

    assert found.logins == {Why.UNEXPLAINED: 1}
    assert found.reuses == {Why.UNEXPLAINED: 1}
    assert [story.splitlines()[0] for story in found.stories] == [
        "reuse of ada, grant 1",
        "forced login of ada, grant 1: 401 at /",
    ]


async def test_a_lost_answer_explains_both(nobody: Hostile) -> None:
    found = judging(nobody, losses=[CUT])
    found.add(ADA_LOGS_IN)

    found.judge(until=math.inf)

    assert found.logins == {Why.WIRE: 1}
    assert found.reuses == {Why.WIRE: 1}
    assert not found.stories


async def test_nothing_is_judged_before_it_has_settled(nobody: Hostile) -> None:
    found = judging(nobody)
    found.add(ADA_LOGS_IN)

    found.judge(until=ADA_LOGS_IN.at)

    assert not found.logins
    assert found.reuses.total() == 1


async def test_a_renewal_counts_if_its_token_has_reached_the_store(nobody: Hostile) -> None:
    lost, saved = judging(nobody), judging(nobody, stored=["first", "second"])

    for each in (lost, saved):
        each.judge(until=math.inf)

    assert (lost.renewals, saved.renewals) == (0, 1)


async def test_of_many_stories_the_first_are_kept(nobody: Hostile) -> None:
    found = judging(nobody)
    for _ in range(3 * STORIES):
        found.add(ADA_LOGS_IN)

    found.judge(until=math.inf)

    assert found.logins[Why.UNEXPLAINED] == 3 * STORIES
    assert len(found.stories) == STORIES
