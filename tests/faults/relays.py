"""Relays in a process of their own, as a test sees them: see `tests.faults.__main__`."""

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from sidecar.demo.valkey import ended
from tests.faults.plan import Fault, Kind, Mix, Way
from tests.faults.proxy import KEPT_LOSSES, Loss
from tests.hostile.client import ROOT, START_SECONDS, STOP_SECONDS

_MOST_LINE_BYTES = 2**24


@dataclass
class Relays:
    """The handle: ports by their links, and what was told of them last."""

    ports: Mapping[str, int]
    begun: dict[str, int] = field(default_factory=dict)
    """How many faults have begun, by `link: kind`."""
    faulty: frozenset[str] = frozenset()
    losses: Mapping[str, deque[Loss]] = field(default_factory=dict)

    _process: asyncio.subprocess.Process | None = None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def address(self, link: str) -> str:
        """Where a link's relay is, as `host:port`."""
        return f"127.0.0.1:{self.ports[link]}"

    async def follow(self, seed: int, mixes: Mapping[str, Mix]) -> None:
        """Let the plans of this seed happen, from now on."""
        await self._ask(do="follow", seed=seed, mixes={k: asdict(v) for k, v in mixes.items()})

    async def look(self) -> None:
        """Learn what has happened since."""
        said = await self._ask(do="state")
        self.begun, self.faulty = said["begun"], frozenset(said["faulty"])
        for link, losses in said["losses"].items():
            self.losses[link].extend(loss_of(each) for each in losses)

    async def server_ports(self, link: str, client_ports: Iterable[int]) -> frozenset[int]:
        """What the server sees as the ports of the clients that have these now."""
        return frozenset(await self._ask(do="ports", link=link, clients=sorted(client_ports)))

    async def _ask(self, **command: Any) -> Any:
        """What comes of a command; read also if nobody waits for it any more."""
        return await asyncio.shield(asyncio.ensure_future(self._asked(command)))

    async def _asked(self, command: Mapping[str, Any]) -> Any:
        assert self._process
        assert self._process.stdin
        assert self._process.stdout
        async with self._one_at_a_time:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            return json.loads(await self._process.stdout.readline())


def loss_of(said: Mapping[str, Any]) -> Loss:
    """A loss as the process tells it."""
    fault = {**said["fault"], "kind": Kind(said["fault"]["kind"]), "way": Way(said["fault"]["way"])}
    return Loss(**{**said, "fault": Fault(**fault)})


@asynccontextmanager
async def relays(servers: Mapping[str, str], *, seed: int) -> AsyncIterator[Relays]:
    """A relay in front of each server, for as long as the block."""
    links = {name: {"server": at, "seed": seed + n} for n, (name, at) in enumerate(servers.items())}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults", json.dumps(links)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_MOST_LINE_BYTES,
    )
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(START_SECONDS):
            ports = json.loads(await process.stdout.readline())
        kept: dict[str, deque[Loss]] = {name: deque(maxlen=KEPT_LOSSES) for name in links}
        yield Relays(ports, losses=kept, _process=process)
    finally:
        process.stdin.close()
        await ended(process, seconds=STOP_SECONDS)
