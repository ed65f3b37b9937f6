"""What people see while a link of a real sidecar has a fault: for each link, each fault."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.world import (
    FAULT_SECONDS,
    PROVIDER,
    SERVED,
    STORE,
    UPSTREAM,
    Case,
    Outcome,
    every_case,
    outcomes,
)

CASES = every_case()
# What people are told of each link. The upstream's own silence is not ended by the sidecar:
# some of Argo CD's answers take minutes.
MAY_SEE = {PROVIDER: {SERVED, 503}, STORE: {SERVED, 503}, UPSTREAM: {SERVED, 502, 503, 504}}
# A request waits 15 s for a renewal, and a busy machine has other work.
LONGEST_SECONDS = {PROVIDER: 20.0, STORE: 20.0, UPSTREAM: FAULT_SECONDS + 10.0}

pytestmark = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, Outcome]]:
    logs: Path = tmp_path_factory.mktemp("faults")
    async with outcomes(CASES, logs) as each:
        yield each


def test_people_are_served_or_told_to_come_again_and_never_to_log_in(
    case: Case, found: Mapping[str, Outcome]
) -> None:
    seen = found[case.name]

    allowed = MAY_SEE[case.link] | ({401} if case.loses_answers else set())
    assert seen.statuses() <= allowed
    answers = [*seen.during, *seen.afterwards]
    assert [each for each in answers if each.status >= 500 and not each.retry_after] == []


def test_nobody_waits_for_longer_than_is_promised(case: Case, found: Mapping[str, Outcome]) -> None:
    assert found[case.name].longest_seconds() <= LONGEST_SECONDS[case.link]


def test_once_the_fault_is_over_the_same_session_is_served_unless_its_answer_was_lost(
    case: Case, found: Mapping[str, Outcome]
) -> None:
    seen = found[case.name]

    assert seen.afterwards[-1].status in ({SERVED, 401} if case.loses_answers else {SERVED})
    assert [entry.kind for entry in seen.log].count("login") == 1


def test_a_spent_refresh_token_is_presented_only_where_nobody_has_heard_its_answer(
    case: Case, found: Mapping[str, Outcome]
) -> None:
    seen = found[case.name]
    heard = [entry for entry in seen.log if entry.peer_port not in seen.lost_ports]

    reuses = [entry for entry in seen.log if entry.kind == "reuse"]
    given = {e.presented_sha256: e for e in seen.log if e.kind == "refresh"}
    assert [
        given[each.presented_sha256] for each in reuses if given[each.presented_sha256] in heard
    ] == []
    # A try whose refusal was lost, too, is made once more.
    assert len([each for each in reuses if each in heard]) <= 1
    assert bool(reuses) <= case.loses_answers
