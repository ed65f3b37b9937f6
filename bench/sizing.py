"""`python -m bench.sizing`: what so many sessions need, from costs that were measured.

Without arguments: the tables of `docs/sizing.md`, by what `bench/sizing.json` has. `--sessions` and
what stands with it: the same for people of one's own. `--measure` measures anew, with real
processes on loopback, and writes that file; `--docs` writes the page's tables and its picture.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from bench.costs import costs
from bench.crowd import crowd
from bench.million import alone
from bench.report import Found, Part, measure, write
from bench.serving import ROOT
from bench.sizing_model import Costs, People
from bench.sizing_plot import plot
from bench.sizing_tables import blocks, needs_table

RESULT = ROOT / "bench" / "sizing.json"
QUICK_RESULT = ROOT / "build" / "sizing-quick.json"
PAGE = ROOT / "docs" / "sizing.md"
PICTURE = ROOT / "docs" / "images" / "sizing.svg"
WITHIN_SECONDS = 1800.0  # to write a million sessions on a busy machine
PARTS = ("costs", "alone", "crowd")
QUICK: Mapping[str, Mapping[str, Any]] = {
    "costs": {
        "sessions": 200,
        "rate": 200.0,
        "quiet_seconds": 2.0,
        "told": 50,
        "opened": 50,
        "times": 1,
    },
    "alone": {"few": 200, "more": 500, "many": 1000},
    "crowd": {"sessions": 300, "rate": 100.0, "seconds": 5.0},
}


def put(found: Found) -> None:
    """Write the page's blocks and its picture."""
    text = PAGE.read_text()
    for name, block in blocks(found).items():
        before, begin, rest = text.partition(f"<!-- {name}:begin -->")
        _, end, after = rest.partition(f"<!-- {name}:end -->")
        text = f"{before}{begin}\n\n{block}\n\n{end}{after}"
    PAGE.write_text(text)
    PICTURE.write_text(plot(Costs.read(found)))


async def measured(names: Sequence[str], *, quick: bool, file: Path) -> None:
    """Measure these parts, one after the other; the file keeps the others."""
    for name in names:
        arguments = QUICK[name] if quick else {}
        part = _part(name, file)
        found = await measure({name: part}, {name: arguments}, within_seconds=WITHIN_SECONDS)
        found[name]["date"] = datetime.now(UTC).date().isoformat()
        found[name]["load"] = found["machine"]["load"]
        write(found, file)


def _part(name: str, file: Path) -> Part:
    if name == "crowd":
        return partial(crowd, Costs.read(json.loads(file.read_text())))
    return costs if name == "costs" else alone


def main() -> None:
    """Read the command line; measure, if asked to; say what is needed."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description=__doc__)
    parser.add_argument("--measure", choices=(*PARTS, "all"), help="measure this part anew")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a look")
    parser.add_argument("--docs", action="store_true", help="write the page and its picture")
    parser.add_argument("--sessions", type=int, nargs="+", help="of your own")
    parser.add_argument("--token-minutes", type=float, default=60.0, help="an ID token's life")
    parser.add_argument("--in-use", type=float, default=1.0, help="share used in a minute")
    parser.add_argument("--requests", type=float, default=0.1, help="a second, of one in use")
    parser.add_argument("--streams", type=float, default=1.0, help="open, of one in use")
    parser.add_argument("--refresh-token-minutes", type=float, default=math.inf, help="its life")
    parser.add_argument("--yardstick", type=float, help="your machine's, in ms")
    asked = parser.parse_args()
    file = QUICK_RESULT if asked.quick else RESULT
    if asked.measure:
        names = PARTS if asked.measure == "all" else (asked.measure,)
        asyncio.run(measured(names, quick=asked.quick, file=file))
    found = json.loads(file.read_text())
    known = Costs.read(found)
    if asked.sessions:
        people = People(
            1,
            asked.token_minutes * 60,
            in_use=asked.in_use,
            requests=asked.requests,
            streams=asked.streams,
            refresh_token_seconds=asked.refresh_token_minutes * 60,
        )
        scaled = known.at(asked.yardstick or known.yardstick_ms)
        lives = {people.token_seconds: f"{asked.token_minutes:g} min"}
        print(needs_table(scaled, people, sessions=asked.sessions, lives=lives))
    else:
        print("\n\n".join(f"{name}\n\n{block}" for name, block in blocks(found).items()))
    if asked.docs:
        put(found)
        print(f"\n{PAGE.relative_to(ROOT)}, {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    main()
