import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import pytest_asyncio

from bench import page, peers
from bench.field import (
    ALL,
    DIRECT,
    MACHINE,
    NGINX,
    NUMBERED,
    OF_OURS,
    OPENIDC,
    PLAIN,
    SESSION,
    SIDECAR,
    UNCACHED,
    field,
)
from bench.load import Ran, TurnFailed, paced, saturated
from bench.machine import tree_cpu_seconds, yardstick_ms
from bench.plot import plot
from bench.proxies import PARTS, QUICK, RATIOS, ROWS, ratios
from bench.rates import few, machines, saturated_1k, saturated_100k, steady
from bench.report import goals, value_of
from bench.rounds import medians, rounds
from bench.rounds import ratios as ratios_of
from bench.trips import trips
from bench.weight import rest, streams, uploads

FOUND: Mapping[str, Any] = {
    "machine": {
        "date": "2026-01-01T00:00+00:00",
        "cores": 2,
        "cpu": "any",
        "load": 0.1,
        "yardstick_ms": 15.0,
        "system": "Linux",
        "python": "3.11",
    },
    "versions": {"nginx-light": "1.22"},
    "saturated_1k": {
        "rps": {NGINX: 10_000, SIDECAR: 6000},
        "rps_ratio": {SIDECAR: 0.6},
        "per_core_ratio": {SIDECAR: 0.4},
        "rps_vs_mod_auth_openidc": 12.0,
    },
    "saturated_100k": {"rps_ratio": {SIDECAR: 0.9}},
    "steady": {"cpu_us": {NGINX: 10, SIDECAR: 14}, "cpu_us_ratio": {SIDECAR: 1.4, PLAIN: 1.6}},
    "machines": {"rps_ratio": {MACHINE: 0.95}},
    "streams": {"kib_each": {SIDECAR: 11.0}},
}

GONE = frozenset(peers.missing(peers.PROGRAMS))
needs_nginx = pytest.mark.skipif(NGINX in GONE, reason=peers.how_to_install([NGINX]))
needs_load = pytest.mark.skipif(
    bool(GONE & {NGINX, "wrk"}), reason=peers.how_to_install([NGINX, "wrk"])
)
needs_openidc = pytest.mark.skipif(
    bool(GONE & {NGINX, OPENIDC, "wrk"}), reason=peers.how_to_install([NGINX, OPENIDC, "wrk"])
)
HERE = tuple(name for name in ALL if name not in GONE)
Measured = Mapping[str, dict[str, Any]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found() -> AsyncIterator[Measured]:
    """A tiny version of every part that can run here, all at once."""
    parts: dict[str, Coroutine[Any, Any, dict[str, Any]]] = {
        "rest": rest(names=[SIDECAR], seconds=0.1),
        "streams": streams(streams=30),
        "uploads": uploads(names=[SIDECAR], uploads=3, mib=2),
    }
    if NGINX not in GONE:
        parts["trips"] = trips(seconds=1.0, sessions=40)
        parts["steady"] = steady(peers=HERE, times=1, seconds=0.5, rate=50)
    if not GONE & {NGINX, "wrk"}:
        some = [name for name in HERE if name in (NGINX, OPENIDC, SIDECAR)]
        parts["saturated_1k"] = saturated_1k(peers=some, times=1, seconds=1)
        parts["saturated_100k"] = saturated_100k(peers=(NGINX, SIDECAR), times=1, seconds=1)
        parts["machines"] = machines(times=1, seconds=1)
        parts["few"] = few(peers=(DIRECT, SIDECAR), times=1, seconds=1)
    usable = os.sched_getaffinity(0)
    try:
        yield dict(zip(parts, await asyncio.gather(*parts.values()), strict=True))
    finally:
        os.sched_setaffinity(0, usable)  # parts that overlap leave each other's


async def test_a_sidecar_is_weighed_at_rest_with_streams_and_with_uploads(found: Measured) -> None:
    assert 10 < found["rest"]["mib"][SIDECAR] < 300
    assert set(found["streams"]["kib_each"]) == {SIDECAR, PLAIN}
    assert found["uploads"]["peak_mib"][SIDECAR] >= found["uploads"]["before_mib"][SIDECAR]


@needs_nginx
async def test_every_peer_that_is_here_is_measured_at_a_steady_rate(found: Measured) -> None:
    steadily = found["steady"]

    names = {name for name in HERE if name not in (DIRECT, OPENIDC, UNCACHED)} | {NUMBERED}
    assert set(steadily["cpu_us"]) == names
    assert all(steadily["cpu_us"][name] > 0 for name in names)
    assert all(steadily["p50_ms"][name] <= steadily["p99_ms"][name] for name in names)


@needs_load
async def test_a_proxy_at_its_limit_is_measured_beside_nginx(found: Measured) -> None:
    for part in ("saturated_1k", "saturated_100k"):
        assert found[part]["rps"][SIDECAR] > 0
        assert 0 < found[part]["per_core_ratio"][SIDECAR] < 10


@needs_load
async def test_what_a_proxy_adds_is_measured_beside_none(found: Measured) -> None:
    assert set(found["few"]["p50_ms"]) == {DIRECT, SIDECAR}
    assert set(found["few"]["added_ms"]) == {SIDECAR}


@needs_load
async def test_a_machine_is_measured_beside_a_session_of_the_same_process(found: Measured) -> None:
    assert found["machines"]["rps"][MACHINE] > 0
    assert found["machines"]["rps"][SESSION] > 0
    assert 0 < found["machines"]["per_core_ratio"][MACHINE] < 10


@needs_openidc
async def test_mod_auth_openidc_takes_part_logged_in(found: Measured) -> None:
    assert found["saturated_1k"]["rps"][OPENIDC] > 0
    assert found["saturated_1k"]["per_core_vs_mod_auth_openidc"] > 1


@needs_nginx
async def test_a_new_session_costs_one_trip_to_the_store_and_one_in_use_none(
    found: Measured,
) -> None:
    assert found["trips"]["warm"] < 0.1
    assert 0.5 < found["trips"]["cold"] < 1.5
    assert found["trips"]["cold_again"] < 0.5


def loaded(pid: int) -> str:
    """The files that a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text()


@needs_nginx
async def test_the_sidecars_are_what_they_are_called() -> None:
    async with field(OF_OURS) as places, places.store() as store:
        libraries = {name: loaded(places.peers[name].pid) for name in OF_OURS}
        asked = {}
        for name in OF_OURS:
            before = int((await store.info("commandstats"))["cmdstat_evalsha"]["calls"])
            ran = await paced(places, places.peers[name], rate=800, seconds=1)
            after = int((await store.info("commandstats"))["cmdstat_evalsha"]["calls"])
            asked[name] = (after - before) / ran.requests

    assert [name for name in OF_OURS if "/uvloop/" in libraries[name]] == [SIDECAR, UNCACHED]
    assert asked[UNCACHED] >= 1
    assert asked[SIDECAR] < 0.5 > asked[PLAIN]  # confirmations of all three, by the clock


@needs_nginx
async def test_an_answer_to_somebody_unknown_is_not_measured() -> None:
    async with field([]) as places:
        stranger = replace(places.peers[DIRECT], cookie="argocd.token=")

        with pytest.raises(RuntimeError, match="failed"):
            await paced(places, stranger, rate=50, seconds=0.1)


@needs_openidc
async def test_a_login_that_is_answered_in_the_place_of_the_upstream_is_not_measured() -> None:
    async with field([OPENIDC]) as places:
        logged_out = replace(places.peers[OPENIDC], cookie="mod_auth_openidc_session=none")

        with pytest.raises(RuntimeError, match="answers, of 0 upstream"):
            await saturated(places, logged_out, "1k", seconds=1)


async def test_each_peer_is_compared_with_the_turns_beside_it() -> None:
    asked: list[str] = []
    rates = {"base": iter([0, 100, 200, 400]), "other": iter([0, 75, 150])}

    async def turn(name: str) -> Ran:
        asked.append(name)
        return Ran(next(rates[name]), 1.0, 1.0, 0.0, 0.0)

    turns = await rounds(turn, "base", ["other"], times=2)

    assert asked == ["base", "other", "base", "other", "base", "other", "base"]
    assert ratios_of(turns, lambda ran: ran.rate) == {"other": 0.5}
    assert medians(turns, "base", lambda ran: ran.rate, digits=0) == {"base": 225, "other": 112}


async def test_a_turn_in_which_a_request_failed_is_repeated_and_does_not_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rates = iter([1, 1, 100, None, 75, 100])

    async def turn(name: str) -> Ran:
        rate = next(rates)
        if rate is None:
            raise TurnFailed(f"{name}: 1 requests failed")
        return Ran(rate, 1.0, 1.0, 0.0, 0.0)

    turns = await rounds(turn, "base", ["other"], times=1)

    assert medians(turns, "base", lambda ran: ran.rate, digits=0) == {"base": 100, "other": 75}
    assert "once more: other: 1 requests failed" in capsys.readouterr().err


async def test_the_ratios_are_those_of_the_parts_that_were_measured() -> None:
    assert ratios(FOUND) == {
        "cpu_per_request_vs_nginx": 1.4,
        "rps_1k_vs_nginx": 0.6,
        "rps_1k_vs_mod_auth_openidc": 12.0,
        "rps_100k_vs_nginx": 0.9,
        "rps_machine_vs_session": 0.95,
        "kib_per_idle_stream": 11.0,
    }
    assert set(ratios({"streams": FOUND["streams"]})) == {"kib_per_idle_stream"}


async def test_a_goal_that_is_missed_is_said_to_be() -> None:
    missed = [line.split()[0] for line in goals(FOUND, ROWS).splitlines() if "MISSED" in line]

    assert missed == ["saturated_1k.per_core_ratio.sidecar"]
    assert page.goals_table(FOUND, ROWS).count("**missed**") == 1


@needs_openidc
async def test_all_that_the_table_and_the_ratios_show_is_measured(found: Measured) -> None:
    shown = {*RATIOS.values(), *(row.key for row in ROWS)}
    left_out = {
        "saturated_1k.asyncio_of_uvloop",
        "saturated_1k.uncached_per_core_vs_mod_auth_openidc",
        "saturated_1k.uncached_rps_vs_mod_auth_openidc",
        "saturated_100k.asyncio_of_uvloop",
    }

    assert {key for key in shown if value_of(key, found) is None} == left_out


async def test_what_is_missing_is_said_as_debian_has_it() -> None:
    assert peers.how_to_install([NGINX, OPENIDC]) == (
        "apt-get install nginx-light apache2 libapache2-mod-auth-openidc"
    )


async def test_cpu_time_is_that_of_all_threads() -> None:
    before = tree_cpu_seconds(os.getpid())

    await asyncio.to_thread(yardstick_ms)

    assert tree_cpu_seconds(os.getpid()) - before > 0.01


async def test_every_part_has_a_quick_way() -> None:
    assert set(PARTS) == set(QUICK)
    assert {row.key.partition(".")[0] for row in ROWS} == set(PARTS)


async def test_the_page_keeps_what_is_around_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    file.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    monkeypatch.setattr(page, "PAGE", file)
    monkeypatch.setattr(page, "PICTURE", picture)

    page.put(FOUND, ROWS)

    assert file.read_text() == (
        f"before\n{page.BEGIN}\n\n{page.block(FOUND, ROWS)}\n\n{page.END}\nafter\n"
    )
    assert picture.read_text() == plot(FOUND)


async def test_the_picture_has_a_bar_for_each_server_and_is_well_formed() -> None:
    space = "{http://www.w3.org/2000/svg}"

    drawn = ElementTree.fromstring(plot(FOUND))

    widths = [float(bar.get("width", 0)) for bar in drawn.iter(f"{space}rect")]
    assert len(widths) == 2 + 3  # what has two bars or more: 1 KiB, and the CPU time
    assert [each.text for each in drawn.iter(f"{space}text")][2] == "1.00"
    assert "prefers-color-scheme: dark" in plot(FOUND)


async def test_the_page_in_the_documentation_can_be_written_anew() -> None:
    text = page.PAGE.read_text()

    assert text.count(page.BEGIN) == text.count(page.END) == 1
    assert f"images/{page.PICTURE.name}" in text
    assert page.PICTURE.exists()
