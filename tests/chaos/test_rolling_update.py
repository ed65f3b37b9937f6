"""All replicas are updated one after the other: nobody notices."""

import pytest

from tests.chaos.rolling import rolling_update
from tests.chaos.run import RESULTS, write_result

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

SEEN_WITHIN_SECONDS = 1.0
MOST_BUSY = 0.01  # of all answers, where a machine is too busy to confirm a session in time


async def test_a_rolling_update_ends_no_session_and_no_stream_before_its_replica_is_told_to_end(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await rolling_update(seed, logs=RESULTS / "chaos" / "rolling")

    with capsys.disabled():
        print("\n" + write_result("rolling_update", {"seed": seed, **found.summary()}))
    evidence = found.evidence
    assert evidence
    assert {entry.kind for entry in evidence.log} <= {"login", "refresh"}
    assert len(evidence.forced_logins) == 0
    assert evidence.expired_tokens == 0
    statuses = evidence.answers.statuses
    assert set(statuses) <= {200, 503}
    assert statuses[503] <= MOST_BUSY * statuses.total()
    assert found.streams
    assert found.early_ends() == []
    assert found.late_ends(SEEN_WITHIN_SECONDS) == []
