import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bench.confirm import confirm
from bench.due import due
from bench.machine import machine
from bench.memory import memory
from bench.refresh import PARTS, QUICK, ROWS, table
from bench.report import write
from bench.storm import storm
from bench.window import window

ABOUT = {"date": "2026-01-01T00:00+00:00", "cores": 2, "cpu": "any", "load": 0.1}


FEW, MANY = 5, 20

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found() -> dict[str, dict[str, Any]]:
    """A tiny version of every part, all at once."""
    parts = (
        storm(requests=30, rounds=1, replicas=2, token_seconds=3),
        window(rounds=1, provider_seconds=0.5),
        due(sessions=40, within_seconds=2.0),
        memory(sessions=50),
        confirm(few=FEW, many=MANY, seconds=1.5),
    )
    return dict(zip(PARTS, await asyncio.gather(*parts), strict=True))


async def test_a_storm_at_a_tokens_end_is_measured_at_real_replicas(
    found: dict[str, dict[str, Any]],
) -> None:
    # On a busy machine the next token's end may come before the last answer: that is no storm.
    assert found["storm"]["status"] == {"200": 30}
    assert 1 <= found["storm"]["grants"] <= 3


async def test_requests_outside_and_inside_of_the_window_are_told_apart(
    found: dict[str, dict[str, Any]],
) -> None:
    assert found["window"]["renewals"] == 1
    assert found["window"]["samples_inside"] > 10


async def test_every_session_that_comes_due_is_renewed_and_counted_once(
    found: dict[str, dict[str, Any]],
) -> None:
    seen = found["due"]
    assert seen["renewed"] == seen["refreshes"] == 40
    assert 0 < seen["most_at_once"] <= seen["most_allowed"]


async def test_the_bytes_of_a_session_are_those_of_all_its_keys(
    found: dict[str, dict[str, Any]],
) -> None:
    seen = found["memory"]
    assert set(seen["bytes_by_key"]) == {"due", "grant", "index", "session"}
    assert seen["bytes_per_session"] > seen["token_bytes"]


async def test_a_round_confirms_the_session_and_the_grant_of_all_in_use(
    found: dict[str, dict[str, Any]],
) -> None:
    seen = found["confirm"]
    for sessions in (FEW, MANY):  # a round may begin between the looks at the two counters
        assert sessions < seen[f"records_each_round_{sessions}"] < 4 * sessions


async def test_all_that_the_table_shows_is_measured(found: dict[str, dict[str, Any]]) -> None:
    sizes = {"1000": str(FEW), "10000": str(MANY)}
    measured = {f"{part}.{name}" for part, figures in found.items() for name in figures}

    for row in ROWS:
        name, _, size = row.key.rpartition("_")
        assert (f"{name}_{sizes[size]}" if size in sizes else row.key) in measured


async def test_the_table_says_what_is_missed_and_of_what_machine_it_is() -> None:
    two_grants = {
        "machine": {**ABOUT, "python": "3.11", "yardstick_ms": 15.0},
        "storm": {"requests": 2, "grants": 2, "status": {"200": 2}},
    }

    lines = table(two_grants).splitlines()

    assert lines[0].startswith("2026-01-01T00:00+00:00  2 x any, load 0.1")
    assert [line.split()[0] for line in lines if "MISSED" in line] == ["storm.grants"]


async def test_the_file_keeps_the_parts_that_were_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "build" / "result.json"

    write({"storm": {"grants": 1}}, file)
    write({"memory": {"bytes_per_session": 2}}, file)

    assert json.loads(file.read_text()) == {
        "storm": {"grants": 1},
        "memory": {"bytes_per_session": 2},
    }


async def test_every_part_has_a_quick_way_and_rows() -> None:
    assert set(PARTS) == set(QUICK) == {row.key.partition(".")[0] for row in ROWS}


async def test_the_machine_says_what_it_is() -> None:
    assert {*ABOUT, "yardstick_ms", "python"} <= set(machine())
