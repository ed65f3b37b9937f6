"""`docs/logs.md` against the code: every event, with its level and fields, and no other."""

import re
from pathlib import Path

import pytest

from tests.logged import Event, events

ROOT = Path(__file__).parents[1]
# Bound by commands to all that they write, and by the data path to all that happens for a request.
BOUND = {"by", "host", "request_id"}


@pytest.fixture(scope="module")
def written() -> dict[str, Event]:
    return events(ROOT / "sidecar")


def table(name: str) -> dict[str, tuple[set[str], set[str]]]:
    """The levels and fields of each event in a table of the page."""
    page = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    part = page.partition(f"<!-- {name}:begin -->")[2].partition(f"<!-- {name}:end -->")[0]
    rows = [line.strip("|").split("|") for line in part.strip().splitlines()[2:]]
    return {
        event.strip().strip("`"): (set(levels.replace(",", " ").split()), set(_names(fields)))
        for event, levels, fields, _ in rows
    }


def _names(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", cell)


def test_every_event_is_in_the_page_and_no_other(written: dict[str, Event]) -> None:
    assert set(table("audit")) | set(table("events")) == set(written)


def test_the_audit_events_are_those_of_the_audit_log(written: dict[str, Event]) -> None:
    assert set(table("audit")) == {name for name, event in written.items() if event.audit == {True}}
    assert not [name for name, event in written.items() if len(event.audit) > 1]


def test_every_event_has_its_levels_and_fields_in_the_page(written: dict[str, Event]) -> None:
    for name, (levels, fields) in (table("audit") | table("events")).items():
        assert levels == written[name].levels, name
        assert fields - BOUND == written[name].fields - BOUND, name


def test_events_are_in_order() -> None:
    names = list(table("events"))

    assert names == sorted(names)
