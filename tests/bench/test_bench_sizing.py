import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from bench import sizing
from bench.costs import costs, medians
from bench.crowd import crowd
from bench.million import FilledStore, alone
from bench.place import maker, replica, use_all
from bench.provider import provider
from bench.serving import double
from bench.sizing import PAGE, PARTS, PICTURE, QUICK, RESULT, put
from bench.sizing_checks import Checked, checked_crowd, checked_store, short
from bench.sizing_model import Costs, People, Replicas
from bench.sizing_plot import plot
from bench.sizing_tables import EVERYBODY, blocks, needs_table
from sidecar.adapters.redis_store import RedisStore
from sidecar.demo.valkey import valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_OFF = 0.15
ROUND_OFF = 0.4  # a busy machine makes a round wait between its trips, which the page says
WRITTEN: Mapping[str, Any] = json.loads(RESULT.read_text())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found() -> Mapping[str, Any]:
    """A tiny version of every part, all at once."""
    known = Costs.read(WRITTEN)
    usable = os.sched_getaffinity(0)
    try:
        parts = await asyncio.gather(
            costs(sessions=60, rate=100.0, quiet_seconds=1.5, told=20, opened=20, times=1),
            alone(few=100, more=200, many=300),
            crowd(known, sessions=100, rate=50.0, seconds=3.0),
        )
    finally:
        os.sched_setaffinity(0, usable)  # what weighs a stream leaves its own
    return dict(zip(PARTS, ({**part, "date": "2026-01-01"} for part in parts), strict=True))


async def test_every_cost_of_the_model_is_measured(found: Mapping[str, Any]) -> None:
    measured = Costs.read(found)

    # The costs of small things are differences, which a short run on a busy machine may not find.
    assert measured.renewal_us > 0
    assert math.isfinite(measured.look_us)
    assert measured.store_bytes > measured.token_bytes
    assert measured.cached_bytes > measured.token_bytes
    assert math.isfinite(measured.stream_kib)


async def test_of_several_runs_the_one_in_the_middle_counts_at_the_machines_pace() -> None:
    runs = [{"look_us": 0.3, "rest_mib": 62.0}, {"look_us": -1.0, "rest_mib": 63.0}]
    runs.append({"look_us": 0.2, "rest_mib": 90.0})

    assert medians(runs, 14.04) == {"look_us": 2.81, "rest_mib": 63.0, "yardstick_ms": 14.0}


async def test_a_renewal_asks_the_store_eight_things_four_of_them_scripts(
    found: Mapping[str, Any],
) -> None:
    assert found["costs"]["renewal_commands"] == pytest.approx(8, abs=0.5)
    assert found["costs"]["renewal_scripts"] == pytest.approx(4, abs=0.5)


async def test_a_crowd_is_served_and_weighed(found: Mapping[str, Any]) -> None:
    seen = {one.name: one for one in checked_crowd({"crowd": found["crowd"]})}

    assert found["crowd"]["reused_refresh_tokens"] == 0
    assert all(seen[name].measured > 0 for name in ("cached_mib", "store_mib", "cpu"))
    # Of these seconds may see none; how many is for the long run to say.
    assert all(seen[name].measured >= 0 for name in ("renewals", "touches"))


async def test_a_store_of_its_own_keeps_all_that_is_written(found: Mapping[str, Any]) -> None:
    many = found["alone"]["many"]

    # A session, its grant and its user's index, of these and of those before; the due times.
    assert 3 * (300 + 24) < many["keys"] <= 3 * (300 + 24) + 16
    assert all(many[f"{name}_us"] >= 0 for name in ("load", "look", "touch", "save"))


async def test_tables_are_made_of_a_quick_run_too(found: Mapping[str, Any]) -> None:
    assert set(blocks(found)) == set(blocks(WRITTEN))


async def test_what_is_written_together_is_what_a_login_writes() -> None:
    sizes = []
    for kind in (FilledStore, RedisStore):
        async with valkey() as url, Redis.from_url(url) as redis:
            async with maker(url, "https://issuer.example.org", store_of=kind) as making:
                made = await making.session("ada", ends_at=4e9)
                await making.unseen(made, seconds=1)  # it is there, and live
            keys = sorted([key async for key in redis.scan_iter()])
            kinds = [key.decode().split(":")[-2:][0] for key in keys]
            sizes.append((kinds, [await redis.object("encoding", key) for key in keys]))

    assert sizes[0] == sizes[1]
    assert len(sizes[0][0]) == 4


async def test_replicas_share_people_only_where_each_comes_to_one_of_them() -> None:
    async with (
        valkey() as url,
        provider(delay=0, length=100) as asked,
        double("bench.upstream", {}) as upstream,
        maker(url, asked.issuer) as making,
    ):
        environment = {
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_ISSUER": asked.issuer,
            "SIDECAR_STORE_URL": url,
        }
        async with replica(environment) as one, replica(environment) as other:
            users = (f"user-{number}" for number in range(40))
            made = await making.sessions(users, ends_at=time.time() + 3600)
            await use_all(one.port, made[:20])
            await use_all(other.port, made[20:])
            together = [(await each.metrics())["known{sessions}"] for each in (one, other)]
            await use_all(one.port, made[20:])
            await use_all(other.port, made[:20])
            spread = [(await each.metrics())["known{sessions}"] for each in (one, other)]

    often = People(40, 3600, requests=1.0)
    shares = [40 * Replicas(2, together=kept).knowing(often) for kept in (True, False)]
    assert together == [20, 20] == pytest.approx([shares[0]] * 2)
    assert spread == [40, 40] == pytest.approx([shares[1]] * 2)


async def test_the_page_says_what_was_measured_and_reckoned() -> None:
    page = PAGE.read_text()

    for name, block in blocks(WRITTEN).items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        assert page.count(begin) == page.count(end) == 1
        assert page.partition(begin)[2].partition(end)[0].strip() == block, name
    assert f"images/{PICTURE.name}" in page
    assert PICTURE.read_text() == plot(Costs.read(WRITTEN))


@pytest.mark.parametrize(
    "one", [*checked_crowd(WRITTEN), *checked_store(WRITTEN)], ids=lambda one: one.name
)
async def test_the_model_is_not_far_from_what_was_measured(one: Checked) -> None:
    most = ROUND_OFF if one.name in ("round_seconds", "looks") else MOST_OFF
    assert one.ratio == pytest.approx(1, abs=most)


async def test_all_that_the_page_tells_of_was_measured_in_full() -> None:
    assert WRITTEN["crowd"]["sessions"] == 10_000
    assert WRITTEN["alone"]["many"]["sessions"] == 1_000_000
    assert WRITTEN["crowd"]["reused_refresh_tokens"] == 0


async def test_every_part_has_a_quick_way() -> None:
    assert set(PARTS) == set(QUICK)


async def test_a_page_is_written_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = "\n".join(
        f"<!-- {name}:begin -->\nof last year\n<!-- {name}:end -->" for name in blocks(WRITTEN)
    )
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    page.write_text(f"before\n{marks}\nafter\n")
    monkeypatch.setattr(sizing, "PAGE", page)
    monkeypatch.setattr(sizing, "PICTURE", picture)

    put(WRITTEN)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "of last year" not in text
    assert all(block in text for block in blocks(WRITTEN).values())


async def test_the_picture_has_a_bar_for_each_thing_and_each_life() -> None:
    drawn = ElementTree.fromstring(plot(Costs.read(WRITTEN)))

    space = "{http://www.w3.org/2000/svg}"
    bars = [float(bar.get("width", 0)) for bar in drawn.iter(f"{space}rect")]
    assert len(bars) == 2 * len(blocks(WRITTEN)["full"].splitlines()[2:])
    assert all(0 < bar < 760 for bar in bars)


async def test_the_command_reckons_for_people_of_ones_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["sizing", "--sessions", "2500", "--token-minutes", "5"]
    monkeypatch.setattr(sys, "argv", asked)

    await asyncio.to_thread(sizing.main)

    expected = needs_table(Costs.read(WRITTEN), EVERYBODY, sessions=[2500], lives={300.0: "5 min"})
    assert capsys.readouterr().out.strip() == expected


async def test_the_command_says_all_that_the_page_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sizing"])

    await asyncio.to_thread(sizing.main)

    said = capsys.readouterr().out
    assert all(block in said for block in blocks(WRITTEN).values())


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (float("inf"), "never"), (0.1234, "0.123"), (2.34, "2.3"), (12_345, "12,300")],
)
async def test_a_figure_has_as_many_digits_as_it_is_worth(value: float, shown: str) -> None:
    assert short(value) == shown
