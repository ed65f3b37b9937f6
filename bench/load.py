"""The two kinds of load: as much as there is room for, by wrk, and so much a second, by ours."""

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

from bench.field import Field, Peer
from bench.machine import tree_cpu_seconds
from bench.serving import HOST, ROOT

CONNECTIONS = 64
_SETTLE_SECONDS = 0.1


class TurnFailed(RuntimeError):
    """A turn in which not every request was answered as it had to be: it is no measurement."""


@dataclass(frozen=True)
class Ran:
    """What a run gave, all of it answered with 200 by an upstream that saw the token."""

    requests: int
    seconds: float
    cpu_seconds: float
    p50_us: float
    p99_us: float
    late_p99_us: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time for each request."""
        return self.cpu_seconds / self.requests * 1e6


async def saturated(
    field: Field, peer: Peer, size: str, *, seconds: int, connections: int = CONNECTIONS
) -> Ran:
    """As many requests as the connections get through."""
    fields = (word for line in field.fields(peer) for word in ("-H", line))
    arguments = ("-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(ROOT / "bench" / "wrk.lua"))
    url = f"http://{HOST}:{peer.port}{field.path(size)}"
    ran, cpu = await _counted(field, peer, "wrk", *arguments, *fields, url)
    found = json.loads(ran.rpartition("result ")[2])
    if found["failed"]:
        raise TurnFailed(f"{peer.name}: {found['failed']} requests failed")
    return Ran(
        found["requests"], found["microseconds"] / 1e6, cpu, found["p50_us"], found["p99_us"]
    )


async def paced(
    field: Field, peer: Peer, *, rate: int, seconds: float, numbered: bool = False
) -> Ran:
    """So many requests of 1 KiB a second; each with another number in a field, if they are to."""
    head = "\r\n".join([f"GET {field.path('1k')} HTTP/1.1", *field.fields(peer), "", ""])
    asked = {
        "port": peer.port,
        "head": head,
        "numbered": numbered,
        "connections": CONNECTIONS,
        "rate": rate,
        "seconds": seconds,
    }
    ran, cpu = await _counted(field, peer, sys.executable, "-m", "bench.paced", json.dumps(asked))
    found = json.loads(ran)
    return Ran(
        found["answered"],
        seconds,
        cpu,
        found["p50_us"],
        found["p99_us"],
        found["late_p99_us"],
    )


async def _counted(field: Field, peer: Peer, *command: str) -> tuple[str, float]:
    """What the load wrote, and the CPU time of the peer meanwhile.

    The upstream must have answered as many requests as the load counts, or what was measured
    is not the proxy.
    """
    before = await _settled(field)
    cpu = tree_cpu_seconds(peer.pid)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    written, _ = await process.communicate()
    cpu = tree_cpu_seconds(peer.pid) - cpu
    if process.returncode:
        raise TurnFailed(f"the load of {peer.name} failed with {process.returncode}")
    text = written.decode()
    counted = _requests(text)
    reached = await field.answered() - before - 1  # its own question is one of them
    # What was under way at the end, here and on a slow machine in the turn before.
    if not counted <= reached <= counted + 2 * CONNECTIONS:
        raise TurnFailed(f"{peer.name}: {counted} answers, of {reached} upstream")
    return text, cpu


async def _settled(field: Field) -> int:
    """What the upstream has answered, once it has no more to do of the turn before."""
    before, now = 0, await field.answered()
    while now != before + 1:
        await asyncio.sleep(_SETTLE_SECONDS)
        before, now = now, await field.answered()
    return now


def _requests(text: str) -> int:
    found: dict[str, Any] = json.loads(text.rpartition("result ")[2])
    return int(found.get("requests", found.get("answered", 0)))
