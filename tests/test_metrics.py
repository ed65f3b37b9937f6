"""The page about metrics names each of them, with its labels, and no other."""

import asyncio
import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from sidecar.metrics import LabelledTally, ManyLabelledTally, Metrics, Tally
from tests.proxy.stack import stack

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"


def documented() -> dict[str, set[str]]:
    """The metrics of the page's table with their labels."""
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def made() -> dict[str, set[str]]:
    """The metrics that the code makes with their labels."""
    metrics = vars(Metrics()).values()
    found = [m for m in metrics if hasattr(m, "describe")]
    return {_shown(next(iter(m.describe()))): set(getattr(m, "_labelnames", ())) for m in found}


def _shown(family: object) -> str:
    name, kind = str(getattr(family, "name", "")), getattr(family, "type", "")
    suffix = "_total" if kind == "counter" else ""
    return name.removeprefix("argocd_token_refresh_") + suffix


def test_every_metric_has_a_row_and_every_row_a_metric() -> None:
    assert documented() == made()


def test_the_quick_histogram_tells_prometheus_what_the_librarys_own_would() -> None:
    buckets = (1, 5, 2.5e3, 86400)
    mine, librarys = CollectorRegistry(), CollectorRegistry()
    tally = Tally("a_seconds", "What.", mine, buckets=buckets)
    histogram = Histogram("a_seconds", "What.", registry=librarys, buckets=buckets)
    for value in (-1.0, 0.0, 1.0, 1.01, 5.0, 2500.0, 86400.0, 1e9):
        tally.observe(value)
        histogram.observe(value)

    said = generate_latest(librarys).decode().splitlines()
    assert generate_latest(mine).decode().splitlines() == [x for x in said if "_created" not in x]


def test_so_does_the_quick_counter() -> None:
    mine, librarys = CollectorRegistry(), CollectorRegistry()
    tally = LabelledTally("asked", "What.", "by", mine)
    counter = Counter("asked", "What.", ["by"], registry=librarys)
    for value in ("session", "none", "session"):
        tally.count(value)
        counter.labels(value).inc()

    said = generate_latest(librarys).decode().splitlines()
    assert generate_latest(mine).decode().splitlines() == [x for x in said if "_created" not in x]


def test_so_does_the_quick_counter_with_several_labels() -> None:
    mine, librarys = CollectorRegistry(), CollectorRegistry()
    tally = ManyLabelledTally("asked", "What.", ("by", "of"), mine)
    counter = Counter("asked", "What.", ["by", "of"], registry=librarys)
    for values in (("a", "b"), ("a", "c"), ("a", "b")):
        tally.count(values)
        counter.labels(*values).inc()

    said = generate_latest(librarys).decode().splitlines()
    assert generate_latest(mine).decode().splitlines() == [x for x in said if "_created" not in x]


async def test_what_alerts_count_on_is_there_before_its_first_event() -> None:
    async with stack() as running:
        text = generate_latest(running.site.metrics.registry).decode()

    for series in (
        'forced_logins_total{reason="reuse_detected"}',
        'forced_logins_total{reason="unreadable"}',
        'ended_sessions_total{reason="logout"}',
        'renewals_total{result="operator"}',
        'put_back_total{record="grant"}',
        'revocations_total{result="given_up"}',
        'backchannel_logouts_total{result="invalid"}',
    ):
        assert f"argocd_token_refresh_{series} 0.0" in text
    assert 'forced_logins_total{reason="logout"}' not in text


async def test_the_tasks_of_the_loop_are_counted_when_asked() -> None:
    registry = Metrics().registry
    before = registry.get_sample_value("argocd_token_refresh_tasks")
    waiting = [asyncio.ensure_future(asyncio.Event().wait()) for _ in range(3)]

    after = registry.get_sample_value("argocd_token_refresh_tasks")

    assert before == 1
    assert after == 4
    for task in waiting:
        task.cancel()


def test_without_a_loop_there_are_no_tasks() -> None:
    assert Metrics().registry.get_sample_value("argocd_token_refresh_tasks") == 0
