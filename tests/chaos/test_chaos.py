"""Replicas are killed and stopped, the store stalls and forgets: nobody has to log in again."""

import time

import pytest

from tests.chaos.run import RESULTS, REUSE_WINDOW, STRICT, Mode, chaos, write_result
from tests.chaos.story import story
from tests.chaos.verdict import verdict

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

SHOWN, STORIES = 12, 3


@pytest.mark.parametrize("mode", [STRICT, REUSE_WINDOW], ids=lambda mode: mode.name)
async def test_nobody_is_made_to_log_in_but_by_an_answer_that_died_with_its_process(
    mode: Mode, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    began_at = time.monotonic()
    logs = RESULTS / "chaos" / mode.name
    evidence = await chaos(mode, seed, logs=logs)

    found = verdict(evidence, excuses=mode.excuses)

    result = {"seed": seed, "seconds": round(time.monotonic() - began_at), **found.summary()}
    with capsys.disabled():
        print("\n" + write_result(mode.name, result))
    shown = found.failures[:SHOWN]
    if len(found.failures) > SHOWN:
        shown.append(f"and {len(found.failures) - SHOWN} more: build/chaos.json")
    for grant in sorted(found.of_grants)[:STORIES]:
        shown += ["", f"Grant {grant}:", *story(evidence, grant, logs)]
    again = f"CHAOS_SEED={seed} make test-chaos ARGS='-k {mode.name}'"
    if found.failures:
        pytest.fail("\n".join([*shown, f"Once more: {again}"]), pytrace=False)
