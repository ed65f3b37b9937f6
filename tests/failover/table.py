"""The table of `docs/store.md`, from what a run has left."""

import json
from collections.abc import Sequence

from tests.failover.stories import STORIES
from tests.failover.story import BUSY, IDLE, Outcome
from tests.hostile.client import ROOT

PAGE = ROOT / "docs" / "store.md"
RESULTS = ROOT / "build" / "store-failures.json"
BEGIN, END = "<!-- failures:begin -->", "<!-- failures:end -->"
_HEAD = (
    "| What happens to the store | It lasts | Answers | of them 503 | One person without, at most "
    f"| The slowest answer | Records put back | Lost, of {BUSY} in use | Lost, of {IDLE} idle |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each, in the order of the stories."""
    by_name = {outcome.name: outcome for outcome in outcomes}
    return _HEAD + "".join(_row(by_name[story.name]) for story in STORIES if story.name in by_name)


def _row(found: Outcome) -> str:
    without = f"{found.longest_without:.1f} s" if found.longest_without else "-"
    cells = (
        found.title,
        f"{found.fault_seconds:.1f} s",
        found.requests,
        found.refused,
        without,
        f"{found.slowest:.1f} s",
        found.put_back,
        found.busy_lost,
        found.idle_lost,
    )
    return f"| {' | '.join(map(str, cells))} |\n"


def known() -> list[Outcome]:
    """What an earlier run has left."""
    if not RESULTS.exists():
        return []
    return [Outcome(**each) for each in json.loads(RESULTS.read_text())]


def write(outcomes: Sequence[Outcome]) -> None:
    """Keep the outcomes, the last of each story, and put their table into the page."""
    latest = {outcome.name: outcome.to_json() for outcome in outcomes}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(list(latest.values()), indent=1) + "\n")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(outcomes)}{END}{after}", encoding="utf-8")
