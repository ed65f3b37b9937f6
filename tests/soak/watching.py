"""Samples of all that a soak counts, over its time."""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from bench.machine import resident_kib
from tests.chaos.replicas import Fleet
from tests.faults.relays import Relays
from tests.soak.growth import ALLOWED
from tests.soak.judge import Why
from tests.soak.judging import Judging
from tests.soak.samples import Samples, as_json, of_process, thinned
from tests.soak.tally import Tally, quantile

SAMPLE_EVERY_SECONDS = 1.0
PLOTTED = 120
LEAST_APART_SECONDS = 4.0
LINKS = ("provider", "store", "upstream")
REPLICAS = ("ann", "ben", "cat")
COUNTERS = ("200", "502 and 504", "503", "no answer", "renewals")


@dataclass
class Watching:
    """Samples of all that is counted, over the time since the start."""

    fleet: Fleet
    links: Relays
    tally: Tally
    judging: Judging
    began_at: float = field(default_factory=time.monotonic)
    crowd: Samples = field(default_factory=Samples)
    replicas: dict[str, Samples] = field(default_factory=dict)
    own_mib: float = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        last_waits: list[int] = []
        async with ClientSession(timeout=ClientTimeout(total=5)) as http:
            while True:
                at = time.monotonic() - self.began_at
                self.crowd.add(at, self._counted(last_waits))
                for replica in self.fleet.in_service():
                    with suppress(OSError, ClientError, TimeoutError, IndexError):
                        row = await of_process(http, replica.admin, replica.pid)
                        self.replicas.setdefault(replica.name, Samples()).add(at, row)
                self.own_mib = max(self.own_mib, resident_kib(os.getpid()) / 1024)
                await asyncio.sleep(SAMPLE_EVERY_SECONDS)

    def _counted(self, last_waits: list[int]) -> dict[str, float]:
        tally, judging = self.tally, self.judging
        waits = tally.waits.counts
        since = [a - b for a, b in zip(waits, last_waits or [0] * len(waits), strict=True)]
        last_waits[:] = waits
        row = {
            "200": tally.statuses[200],
            "502 and 504": tally.statuses[502] + tally.statuses[504],
            "503": tally.statuses[503],
            "no answer": tally.unheard.total(),
            "renewals": judging.renewals,
            "p50": quantile(since, 0.5),
            "p99": quantile(since, 0.99),
            **{str(each): judging.logins[each] for each in Why},
            **{link: float(link in self.links.faulty) for link in LINKS},
        }
        return {name: float(value) for name, value in row.items()}


def series(watching: Watching) -> dict[str, Any]:
    """What the plots are drawn from."""
    crowd, found = watching.crowd, {}
    apart = max((crowd.rows[-1][0] - crowd.rows[0][0]) / PLOTTED, LEAST_APART_SECONDS)
    for name in COUNTERS:
        found[name] = as_json(crowd.rates(name, least_seconds=apart))
    for name in ("p50", "p99", *LINKS, *(str(each) for each in Why)):
        found[name] = as_json(thinned(crowd.points(name), PLOTTED), 3)
    for replica, samples in watching.replicas.items():
        for name in ALLOWED:
            found[f"{name} {replica}"] = as_json(thinned(samples.points(name), PLOTTED), 1)
    return found
