"""How much gets through when there is more to do than a core can, and what one request waits."""

from collections.abc import Callable, Collection
from statistics import median
from typing import Any

from bench.field import (
    ALL,
    DIRECT,
    MACHINE,
    NGINX,
    NUMBERED,
    OPENIDC,
    PLAIN,
    SESSION,
    SIDECAR,
    UNCACHED,
    field,
)
from bench.load import Ran, paced, saturated
from bench.rounds import Turn, medians, ratios, rounds

RATE = 4000
FEW = 4
_FIGURES: dict[str, tuple[Callable[[Ran], float], int]] = {
    "rps": (lambda ran: ran.rate, 0),
    "per_core": (lambda ran: ran.requests / ran.cpu_seconds, 0),
    "cpu_us": (lambda ran: ran.cpu_us, 1),
    "cpu_share": (lambda ran: ran.cpu_seconds / ran.seconds, 2),
    "p50_ms": (lambda ran: ran.p50_us / 1000, 3),
    "p99_ms": (lambda ran: ran.p99_us / 1000, 3),
    "load_late_p99_ms": (lambda ran: ran.late_p99_us / 1000, 3),
}

# On a machine where the load's core is full first, the second says what the first cannot.
_RATES = ("rps", "per_core", "cpu_share")


async def saturated_1k(
    *, peers: Collection[str] = ALL, times: int = 3, seconds: int = 2
) -> dict[str, Any]:
    """64 connections that ask for 1 KiB as fast as they can."""
    async with field(peers) as places:

        async def turn(name: str) -> Ran:
            return await saturated(places, places.peers[name], "1k", seconds=seconds)

        found = await _compared(turn, NGINX, peers, times, _RATES)
    rps, per_core = found["rps_ratio"], found["per_core_ratio"]
    return {
        **found,
        "rps_vs_mod_auth_openidc": _against(rps, OPENIDC, SIDECAR),
        "per_core_vs_mod_auth_openidc": _against(per_core, OPENIDC, SIDECAR),
        "uncached_rps_vs_mod_auth_openidc": _against(rps, OPENIDC, UNCACHED),
        "uncached_per_core_vs_mod_auth_openidc": _against(per_core, OPENIDC, UNCACHED),
        "asyncio_of_uvloop": _against(per_core, SIDECAR, PLAIN),
    }


async def saturated_100k(
    *, peers: Collection[str] = ALL, times: int = 3, seconds: int = 2
) -> dict[str, Any]:
    """64 connections that ask for 100 KiB as fast as they can."""
    names = [name for name in peers if name != UNCACHED]
    async with field(names) as places:

        async def turn(name: str) -> Ran:
            return await saturated(places, places.peers[name], "100k", seconds=seconds)

        found = await _compared(turn, NGINX, names, times, _RATES)
    return {**found, "asyncio_of_uvloop": _against(found["per_core_ratio"], SIDECAR, PLAIN)}


async def steady(
    *, peers: Collection[str] = ALL, times: int = 3, seconds: float = 3.0, rate: int = RATE
) -> dict[str, Any]:
    """A load that all of them can bear but mod_auth_openidc, whose core is full before it."""
    names = [name for name in peers if name not in (UNCACHED, OPENIDC)]
    async with field(names) as places:

        async def turn(name: str) -> Ran:
            numbered = name == NUMBERED
            peer = places.peers[SIDECAR if numbered else name]
            return await paced(places, peer, rate=rate, seconds=seconds, numbered=numbered)

        figures = ("cpu_us", "p50_ms", "p99_ms", "load_late_p99_ms")
        found = await _compared(turn, NGINX, [*names, NUMBERED], times, figures)
    return {
        "rate": rate,
        **found,
        "asyncio_of_uvloop": _against(found["cpu_us_ratio"], PLAIN, SIDECAR),
    }


async def few(*, peers: Collection[str] = ALL, times: int = 3, seconds: int = 1) -> dict[str, Any]:
    """Four connections, which wait for each answer: what a proxy adds to half of the requests."""
    names = [name for name in peers if name != UNCACHED]
    async with field(names) as places:

        async def turn(name: str) -> Ran:
            peer = places.peers[name]
            return await saturated(places, peer, "1k", seconds=seconds, connections=FEW)

        found = await rounds(turn, DIRECT, _others(names, DIRECT), times=times)
    figure, _ = _FIGURES["p50_ms"]
    added = {
        name: round(median(figure(each.ran) - each.base(figure) for each in turns), 3)
        for name, turns in found.items()
    }
    return {"p50_ms": medians(found, DIRECT, figure, digits=3), "added_ms": added}


async def machines(*, times: int = 3, seconds: int = 2) -> dict[str, Any]:
    """A machine whose token is verified, beside a session of the same process: 1 KiB."""
    async with field([SESSION]) as places:

        async def turn(name: str) -> Ran:
            return await saturated(places, places.peers[name], "1k", seconds=seconds)

        return await _compared(turn, SESSION, [MACHINE], times, _RATES)


async def _compared(
    turn: Turn, base: str, names: Collection[str], times: int, figures: Collection[str]
) -> dict[str, Any]:
    found = await rounds(turn, base, _others(names, base, DIRECT), times=times)
    told: dict[str, Any] = {}
    for name in figures:
        figure, digits = _FIGURES[name]
        told[name] = medians(found, base, figure, digits=digits)
        told[f"{name}_ratio"] = ratios(found, figure)
    return told


def _others(names: Collection[str], *without: str) -> list[str]:
    return [name for name in names if name not in without]


def _against(found: dict[str, float], other: str, name: str) -> float | None:
    """Two ratios to the same third, by each other; None if one of them took no part."""
    if name not in found or other not in found:
        return None
    return round(found[name] / found[other], 2)
