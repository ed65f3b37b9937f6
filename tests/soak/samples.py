"""Samples of a run over its time: as many in a day as in ten minutes, further apart."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from bench.machine import resident_kib
from tests.soak.growth import Points

MOST = 480
_PREFIX = "argocd_token_refresh_"
METRICS = {
    "connections": "connections",
    "upstream_connections": "connections",
    "tasks": "tasks",
}


@dataclass
class Samples:
    """Rows of numbers by name, each with its instant; when there are too many, every other one."""

    most: int = MOST
    rows: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    _every: int = 1
    _offered: int = 0

    def add(self, at: float, row: dict[str, float]) -> None:
        """One more; it may be left out."""
        self._offered += 1
        if self._offered % self._every:
            return
        self.rows.append((at, row))
        if len(self.rows) > self.most:
            self.rows = self.rows[1::2]
            self._every *= 2

    def points(self, name: str) -> Points:
        """What was sampled under a name, where it was."""
        return [(at, row[name]) for at, row in self.rows if name in row]

    def rates(self, name: str, *, least_seconds: float = 0.0) -> Points:
        """By how much a counter rose in a second, between samples so far apart at least."""
        found: list[tuple[float, float]] = []
        before: tuple[float, float] | None = None
        for at, value in self.points(name):
            if before is None:
                before = (at, value)
            elif at - before[0] >= least_seconds:
                found.append((at, (value - before[1]) / (at - before[0])))
                before = (at, value)
        return found


def thinned(points: Points, most: int) -> Points:
    """At most so many of them, evenly taken, the last one among them."""
    step = -(-len(points) // most) if points else 1
    return list(reversed(points[::-1][::step]))


async def of_process(http: ClientSession, admin: str, pid: int) -> dict[str, float]:
    """What a process takes: of the kernel, and by its own metrics.

    Raises:
        OSError: there is no such process; aiohttp's errors: it does not answer.
    """
    row = {
        "memory_mib": resident_kib(pid) / 1024,
        "descriptors": float(len(os.listdir(f"/proc/{pid}/fd"))),
    }
    async with http.get(f"{admin}/metrics") as answer:
        text = await answer.text()
    for family in text_string_to_metric_families(text):
        name = METRICS.get(family.name.removeprefix(_PREFIX))
        if name:
            row[name] = row.get(name, 0.0) + sum(sample.value for sample in family.samples)
    return row


def as_json(points: Points, digits: int = 2) -> Sequence[Any]:
    """Points as a result file has them."""
    return [[round(at, 1), round(value, digits)] for at, value in points]
