"""`python -m tests.faults`: relays in a process of their own, until standard input ends.

What else a test does would hold up all that passes through them. Its argument is
`{"link": {"server": …, "seed": …}}`, and it prints `{"link": port}`. Each line on standard input
is a command, `{"do": …}`, and is answered by a line: `follow` plans, `state`, `ports`.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from typing import Any

import uvloop

from tests.faults.plan import Mix, Timed, faults
from tests.faults.proxy import FaultProxy


class Relays:
    """The relays by their links, and how many faults of each kind have begun."""

    def __init__(self, links: dict[str, FaultProxy]) -> None:
        self._links = links
        self._begun: Counter[str] = Counter()
        self._following: set[asyncio.Task[None]] = set()

    def answer(self, asked: dict[str, Any]) -> Any:
        """What comes of a command."""
        if asked["do"] == "follow":
            return self._follow(asked["seed"], asked["mixes"])
        if asked["do"] == "ports":
            return sorted(self._links[asked["link"]].server_ports(asked["clients"]))
        return self._state()

    def _follow(self, seed: int, mixes: dict[str, Any]) -> None:
        for name, said in mixes.items():
            mix = Mix(**{key: tuple(value) for key, value in said.items()})
            plan = self._counted(name, faults(seed, name, mix))
            self._following.add(asyncio.ensure_future(self._links[name].follow(plan)))

    def _counted(self, name: str, plan: Iterator[Timed]) -> Iterator[Timed]:
        for timed in plan:
            self._begun[f"{name}: {timed.fault.kind}"] += 1
            yield timed

    def _state(self) -> dict[str, Any]:
        """What befalls each link now, and the losses since this was asked before."""
        found: dict[str, Any] = {"begun": self._begun, "faulty": [], "losses": {}}
        for name, link in self._links.items():
            found["faulty"] += [name] if link.fault else []
            found["losses"][name] = [asdict(loss) for loss in link.losses]
            link.losses.clear()
        return found


async def serve(said: dict[str, Any]) -> None:
    """Serve until standard input ends."""
    async with AsyncExitStack() as owned:
        links = {name: FaultProxy(**each) for name, each in said.items()}
        for link in links.values():
            await owned.enter_async_context(link.running())
        print(json.dumps({name: link.port for name, link in links.items()}), flush=True)
        reader, relays = asyncio.StreamReader(limit=2**20), Relays(links)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            print(json.dumps(relays.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    with suppress(PermissionError):
        os.nice(-10)  # a cable waits for no processor
    uvloop.run(serve(json.loads(sys.argv[1])))
