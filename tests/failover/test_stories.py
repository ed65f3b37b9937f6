"""What a store does to people who work, and to those who come back: real processes, real faults."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.failover.stories import STORIES
from tests.failover.story import Outcome, Story, told_some
from tests.hostile.client import ROOT

SHORT = [story for story in STORIES if story.short]

pytestmark = [pytest.mark.failover, pytest.mark.timeout(240)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outcomes(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Outcome]]:
    """The stories that are asked for, some at once: most of each is waiting."""
    names = {
        item.callspec.params["story"].name  # type: ignore[attr-defined]
        for item in request.session.items
        if "story" in getattr(getattr(item, "callspec", None), "params", {})
    }
    stories = [story for story in SHORT if story.name in names]
    found = {}
    async for outcome in told_some(stories, ROOT / "build" / "failover"):
        found[outcome.name] = outcome
    yield found


@pytest.mark.parametrize("story", SHORT, ids=lambda story: story.name)
def test_nobody_in_use_is_lost_and_no_token_is_presented_twice(
    story: Story, outcomes: dict[str, Outcome]
) -> None:
    found = outcomes[story.name]

    assert found.busy_lost == 0, found
    assert found.reuses == 0, found
    assert found.strange == [], found
    assert found.put_back > 0 or not story.heals, found
    assert story.loses_idle or found.idle_lost == 0, found
