"""`python -m bench.refresh`: what renewals and the cache cost, measured on this machine.

Prints a table and writes `build/bench-refresh.json`. Real processes on loopback: replicas, a
Valkey, providers. `--quick` measures less of everything; `--only due` one part, and the file
keeps what it has of the others.
"""

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from bench import report
from bench.confirm import confirm
from bench.due import due
from bench.memory import memory
from bench.report import Part, Row, measure
from bench.serving import ROOT
from bench.storm import storm
from bench.window import window

RESULT = ROOT / "build" / "bench-refresh.json"
PARTS: Mapping[str, Part] = {
    "storm": storm,
    "window": window,
    "due": due,
    "memory": memory,
    "confirm": confirm,
}
QUICK: Mapping[str, Mapping[str, Any]] = {
    "storm": {"requests": 60, "rounds": 1},
    "window": {"rounds": 4},
    "due": {"sessions": 1000, "within_seconds": 15.0},
    "memory": {"sessions": 200},
    "confirm": {"few": 100, "many": 1000, "seconds": 5.0},
}


ROWS = (
    Row(
        "storm.grants",
        "refreshes at the provider, most in a round",
        "1",
        lambda value, _: value == 1,
    ),
    Row(
        "storm.status",
        "answers by status, of the worst round",
        "200 only",
        lambda value, found: value == {"200": found["storm"]["requests"]},
    ),
    Row("storm.ended_tokens", "requests with a token that had ended", "0", lambda v, _: v == 0),
    Row("storm.slowest_ms", "the slowest answer; the provider takes 500 ms"),
    Row("window.p50_outside_ms", "half of the requests, outside of the window"),
    Row("window.p50_inside_ms", "half, while a renewal of 2 s runs"),
    Row("window.p99_outside_ms", "99 of 100, outside of the window"),
    Row("window.p99_inside_ms", "99 of 100, while a renewal of 2 s runs"),
    Row(
        "window.p99_added_ms",
        "what the renewal adds to 99 of 100",
        "1 at most",
        lambda value, _: value <= 1,
    ),
    Row("window.over_2ms_outside", "share of requests over 2 ms, outside of the window"),
    Row("window.over_2ms_inside", "share of requests over 2 ms, while a renewal runs"),
    Row("window.p99_noise_ms", "what two sessions without a renewal differ by"),
    Row("due.sessions", "sessions that came due, in one replica"),
    Row(
        "due.renewed",
        "renewed exactly once",
        "all",
        lambda value, found: value == found["due"]["sessions"] == found["due"]["refreshes"],
    ),
    Row(
        "due.most_at_once",
        "in flight at the provider, at most",
        "32 at most",
        lambda value, found: 0 < value <= found["due"]["most_allowed"],
    ),
    Row(
        "due.cpu_seconds",
        "CPU time of the replica meanwhile, all it did",
        "under 30",
        lambda value, _: value < 30,
    ),
    Row("due.cpu_ms_each", "the same for each session"),
    Row("due.valkey_cpu_seconds", "CPU time of Valkey"),
    Row("due.late_p99_seconds", "99 of 100 were asked for that soon after their time"),
    Row(
        "memory.bytes_per_session",
        "of Valkey, with 6 KiB of tokens",
        "under 12288",
        lambda value, _: value < 12 * 1024,
    ),
    Row("confirm.cpu_share", "of a core, all sessions in use"),
    Row("confirm.cpu_share_1000", "of a core, 1,000 sessions in use"),
    Row("confirm.cpu_share_idle", "of a core, no session in use"),
    Row("confirm.round_ms_1000", "a round, 1,000 sessions"),
    Row("confirm.round_ms_10000", "a round, 10,000 sessions; what is known holds for 1,000 ms"),
    Row("confirm.round_cpu_ms_1000", "CPU time of the replica for each round, 1,000 sessions"),
    Row("confirm.round_cpu_ms_10000", "CPU time of the replica for each round, 10,000 sessions"),
    Row("confirm.rounds_each_second_10000", "rounds, 10,000 sessions; 2 if there is time"),
    Row("confirm.valkey_cpu_share", "of a core, Valkey's, all sessions in use"),
    Row("confirm.valkey_cpu_share_1000", "of a core, Valkey's, 1,000 sessions"),
)
LIMITS = """\
What these figures cannot say: everything runs on one machine and shares its cores and caches,
so CPU times are too high, and latencies have the load generator's turns in them. Nothing is
encrypted on the way, no network is crossed, and another provider or Valkey behaves in its own
way. A busy machine moves every time, p99 most of all: compare ratios, and the yardstick (a fixed
piece of work) beside them. Where fewer than two rounds a second got through, the share of a core
is too low: take twice the CPU time of a round."""


def table(found: Mapping[str, Any]) -> str:
    """The figures, each with what it must be and whether it is."""
    return "\n".join([report.about(found), "", report.goals(found, ROWS), "", LIMITS])


def main() -> None:
    """Read the command line, measure, say it."""
    parser = argparse.ArgumentParser(prog="python -m bench.refresh", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--only", choices=PARTS, help="one part")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    names = [asked.only] if asked.only else list(PARTS)
    found = asyncio.run(measure(PARTS, {n: QUICK[n] if asked.quick else {} for n in names}))
    report.write(found, RESULT)
    print(table(found))
    print(f"\n{RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
