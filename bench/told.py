"""What it costs to tell of each request: `python -m bench.told`. What docs/tracing.md goes by.

The CPU time of a real process, the same requests in turns; the collector is none that answers.
"""

import argparse
import asyncio
import json
from collections.abc import Mapping

from bench.machine import resident_kib, tree_cpu_seconds
from bench.place import Replica, replica
from bench.serving import HOST, double
from tests.world import free_port

_REQUEST = f"GET /api/v1/applications HTTP/1.1\r\nHost: {HOST}\r\nVia: 1.1 x\r\n\r\n".encode()
_TRACED = {"SIDECAR_TRACING": "on", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
KINDS: Mapping[str, Mapping[str, str]] = {
    "off": {},
    "one in a hundred": {**_TRACED, "OTEL_TRACES_SAMPLER_ARG": "0.01"},
    "all": {**_TRACED, "OTEL_TRACES_SAMPLER_ARG": "1"},
    "debug": {"SIDECAR_LOG_LEVEL": "debug"},
}


async def told(*, requests: int = 3000, rounds: int = 4) -> dict[str, dict[str, float]]:
    """For each kind: µs of CPU a request, the least of some rounds, and MiB resident before."""
    found: dict[str, dict[str, float]] = {}
    async with double("bench.upstream", {}) as upstream:
        for _ in range(rounds):
            for kind, settings in KINDS.items():
                one = await _one(upstream, settings, requests)
                best = found.get(kind, one)
                found[kind] = {name: min(one[name], best[name]) for name in one}
    return found


async def _one(upstream: str, settings: Mapping[str, str], requests: int) -> dict[str, float]:
    environment = {
        "SIDECAR_ISSUER": f"http://{HOST}:1",
        "SIDECAR_STORE_URL": "memory://",
        "SIDECAR_BACKGROUND_RENEWAL": "off",
        "SIDECAR_UPSTREAM": upstream,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{free_port()}",
        **settings,
    }
    async with replica(environment) as running:
        memory = resident_kib(running.pid) / 1024
        await _ask(running, requests // 10)
        before = tree_cpu_seconds(running.pid)
        await _ask(running, requests)
        spent = tree_cpu_seconds(running.pid) - before
    return {"microseconds": round(spent / requests * 1e6, 1), "mib": round(memory, 1)}


async def _ask(running: Replica, count: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, running.port)
    for _ in range(count):
        writer.write(_REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split()[0]
        await reader.readexactly(int(length))
    writer.close()
    await writer.wait_closed()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(told(requests=given.requests)), indent=2))


if __name__ == "__main__":
    main()
