"""`python -m bench.proxies`: the sidecar beside nginx, haproxy and mod_auth_openidc, in one run.

Prints tables and writes `build/bench.json`. Each proxy has one core, the load and all else have
another. `--quick` measures less of everything, `--only steady` one part, and the file keeps what
it has of the others. `--docs` puts the result into `docs/benchmarks.md`, with its picture.
"""

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from bench import page, peers, report
from bench.field import DIRECT, NGINX, OPENIDC, PLAIN, SIDECAR, UNCACHED
from bench.machine import versions
from bench.rates import few, machines, saturated_1k, saturated_100k, steady
from bench.report import Found, Part, Row, at_least, at_most, below, measure, value_of
from bench.serving import ROOT
from bench.trips import trips
from bench.weight import rest, streams, uploads

RESULT = ROOT / "build" / "bench.json"
PARTS: Mapping[str, Part] = {
    "rest": rest,
    "saturated_1k": saturated_1k,
    "saturated_100k": saturated_100k,
    "steady": steady,
    "few": few,
    "machines": machines,
    "trips": trips,
    "streams": streams,
    "uploads": uploads,
}
_LESS = {"times": 1, "seconds": 1}
QUICK: Mapping[str, Mapping[str, Any]] = {
    "rest": {"seconds": 1.0},
    "saturated_1k": {"peers": (NGINX, OPENIDC, SIDECAR, PLAIN, UNCACHED), **_LESS},
    "saturated_100k": {"peers": (NGINX, SIDECAR, PLAIN), **_LESS},
    "steady": {"peers": (NGINX, SIDECAR, PLAIN), **_LESS},
    "machines": _LESS,
    "few": {"peers": (DIRECT, NGINX, SIDECAR), **_LESS},
    "trips": {"seconds": 2.0},
    "streams": {"streams": 500},
    "uploads": {"uploads": 20, "mib": 10},
}
RATIOS = {
    "cpu_per_request_vs_nginx": "steady.cpu_us_ratio.sidecar",
    "rps_1k_vs_nginx": "saturated_1k.rps_ratio.sidecar",
    "rps_1k_vs_mod_auth_openidc": "saturated_1k.rps_vs_mod_auth_openidc",
    "rps_100k_vs_nginx": "saturated_100k.rps_ratio.sidecar",
    "rps_machine_vs_session": "machines.rps_ratio.machine",
    "kib_per_idle_stream": "streams.kib_each.sidecar",
}
_PLAIN_SHARE = 0.7
ROWS: tuple[Row, ...] = (
    at_most(1.5, "steady.cpu_us_ratio.sidecar", "CPU time of a request at 4,000/s, nginx = 1"),
    Row("steady.cpu_us_ratio.sidecar_numbered", "the same, if each request has another number"),
    at_most(1.3, "steady.p99_ms_ratio.sidecar", "99 of 100 at 4,000/s, nginx = 1"),
    Row("steady.load_late_p99_ms.nginx", "ms by which the load itself was late, 99 of 100"),
    at_least(0.5, "saturated_1k.rps_ratio.sidecar", "requests/s, 1 KiB, nginx = 1"),
    at_least(0.5, "saturated_1k.per_core_ratio.sidecar", "the same for a second of CPU time"),
    at_least(10, "saturated_1k.rps_vs_mod_auth_openidc", "the same, mod_auth_openidc = 1"),
    at_least(10, "saturated_1k.per_core_vs_mod_auth_openidc", "and for a second of CPU time"),
    at_least(
        4, "saturated_1k.uncached_rps_vs_mod_auth_openidc", "with the store asked at each request"
    ),
    at_least(
        4, "saturated_1k.uncached_per_core_vs_mod_auth_openidc", "and for a second of CPU time"
    ),
    at_least(0.75, "saturated_100k.rps_ratio.sidecar", "requests/s, 100 KiB, nginx = 1"),
    at_least(0.75, "saturated_100k.per_core_ratio.sidecar", "the same for a second of CPU time"),
    below(0.08, "few.added_ms.sidecar", "ms added to half of the requests, 4 connections"),
    at_least(0.8, "machines.rps_ratio.machine", "requests/s of a machine, a session's = 1"),
    at_least(0.8, "machines.per_core_ratio.machine", "the same for a second of CPU time"),
    at_most(0.01, "trips.warm", "trips to the store for a request of a session in use"),
    Row(
        "trips.cold",
        "trips to the store for the first request of a session",
        "1",
        lambda value, _: 0.95 <= value <= 1.05,
    ),
    below(12, "streams.kib_each.sidecar", "KiB for each idle event stream"),
    at_most(1, "streams.gone_in_seconds.sidecar", "s until all are gone upstream"),
    below(100, "uploads.peak_mib.sidecar", "MiB at most, with all uploads at once"),
    below(60, "rest.mib.sidecar", "MiB of a process at rest"),
    at_least(
        _PLAIN_SHARE, "saturated_1k.asyncio_of_uvloop", "without uvloop: of its requests, 1 KiB"
    ),
    at_least(_PLAIN_SHARE, "saturated_100k.asyncio_of_uvloop", "the same, 100 KiB"),
    at_least(_PLAIN_SHARE, "steady.asyncio_of_uvloop", "the same, at 4,000/s"),
    below(
        round(12 / _PLAIN_SHARE),
        "streams.kib_each.sidecar_asyncio",
        "without uvloop: KiB for each idle event stream",
    ),
)


def ratios(found: Found) -> dict[str, float]:
    """The figures by which versions are compared, of those parts that were measured."""
    values = {name: value_of(key, found) for name, key in RATIOS.items()}
    return {name: value for name, value in values.items() if value is not None}


def main() -> None:
    """Read the command line, measure, say it."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxies", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--docs", action="store_true", help="put it into docs/benchmarks.md")
    asked = parser.parse_args()
    if asked.docs and asked.quick:
        parser.error("--docs wants a whole run, not --quick")
    if absent := peers.missing(peers.PROGRAMS):
        parser.error(f"{', '.join(absent)}: not here. {peers.how_to_install(absent)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    names = [asked.only] if asked.only else list(PARTS)
    found = asyncio.run(measure(PARTS, {n: QUICK[n] if asked.quick else {} for n in names}))
    together = report.write({**found, "versions": versions()}, RESULT)
    together = report.write({"ratios": ratios(together)}, RESULT)
    print("\n".join([report.about(found), "", page.peers_tables(found), ""]))
    print("\n".join([report.goals(found, ROWS), "", page.LIMITS]))
    print(f"\n{RESULT.relative_to(ROOT)}")
    if asked.docs:
        page.put(together, ROWS)


if __name__ == "__main__":
    main()
