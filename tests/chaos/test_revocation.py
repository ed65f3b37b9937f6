"""A session that was logged out is over on all replicas a second later, whoever dies meanwhile."""

import time

import pytest
import pytest_asyncio

from tests.chaos.revocation import SESSIONS, Outcome, revocation, summary, too_late
from tests.chaos.run import RESULTS, write_result

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcome(seed: int, pytestconfig: pytest.Config) -> Outcome:
    began_at = time.monotonic()
    found = await revocation(seed, logs=RESULTS / "chaos" / "revocation")
    seconds = round(time.monotonic() - began_at)
    line = write_result("revocation", {"seed": seed, "seconds": seconds, **summary(found)})
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture
    with capture.global_and_fixture_disabled():
        print("\n" + line)
    return found


async def test_a_revoked_session_goes_up_on_no_replica_a_second_after_it_was_acknowledged(
    outcome: Outcome,
) -> None:
    assert len(outcome.revoked) == SESSIONS
    assert len(outcome.kills) >= 5
    assert any(each.tries > 1 for each in outcome.revoked)

    assert too_late(outcome.revoked, upstream_away=False) == []


async def test_a_request_that_waited_for_argo_cd_does_not_go_up_for_a_session_revoked_meanwhile(
    outcome: Outcome,
) -> None:
    assert too_late(outcome.revoked, upstream_away=True) == []


async def test_nobody_is_told_anything_but_that_it_works_that_it_is_over_or_when_to_come_again(
    outcome: Outcome,
) -> None:
    assert set(outcome.statuses) <= {200, 401, 502, 503}
    assert outcome.statuses[200] > 3 * SESSIONS
    assert outcome.statuses[401] > SESSIONS
