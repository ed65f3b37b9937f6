"""What is full first, and how many replicas it takes so that nothing is."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.sizing_model import MIB, Costs, People, Replicas, Takes, takes
from sidecar.core.timings import Timings
from sidecar.flows.assembly import CACHE_BYTES
from sidecar.flows.confirmations import EVERY_SECONDS

_MOST_REPLICAS = 1 << 20
_ENDLESS, _EXACT = 1e15, 1e-9


@dataclass(frozen=True)
class Most:
    """What one replica, its provider and one store may take."""

    cpu: float = 0.5
    """Of a core: the other half is for bursts, and for the replica that has died."""
    cached_mib: float = CACHE_BYTES / MIB
    streams: float = 10_000.0
    """`SIDECAR_MAX_CONNECTIONS`."""
    round_seconds: float = EVERY_SECONDS
    provider_seconds: float = 0.3
    """What the provider takes for an answer."""
    provider_rate: float = 100.0
    """Of renewals, in a second; many providers have such a limit."""
    store_cpu: float = 0.5
    store_mib: float = 1024.0

    @property
    def renewals(self) -> float:
        """A second, at one replica: so many run at once."""
        return Timings().renewals_at_once / self.provider_seconds


def fits(taken: Takes, most: Most) -> bool:
    """Whether a replica that takes so much is within all limits."""
    return (
        taken.cpu <= most.cpu
        and taken.cached_mib <= most.cached_mib
        and taken.streams <= most.streams
        and taken.round_seconds <= most.round_seconds
        and taken.renewals <= most.renewals
    )


def replicas_for(costs: Costs, people: People, most: Most, *, together: bool) -> Replicas:
    """The fewest replicas that take it.

    Raises:
        ValueError: no number of them does.
    """
    low, high = 0, 1
    while not fits(takes(costs, people, Replicas(high, together)), most):
        low, high = high, high * 2
        if high > _MOST_REPLICAS:
            raise ValueError("one replica alone takes more than it may, with nobody at work")
    while high - low > 1:
        middle = (low + high) // 2
        if fits(takes(costs, people, Replicas(middle, together)), most):
            high = middle
        else:
            low = middle
    return Replicas(high, together)


def nodes_for(taken: Takes, most: Most) -> int:
    """How many primaries the store needs, if each person's records are on one of them."""
    return max(1, math.ceil(taken.store_cpu / most.store_cpu))


def full_at(costs: Costs, people: People, most: Most) -> dict[str, float]:
    """How many sessions fill each thing, alone: of one replica, its provider, one store.

    Who has them works as `people` do; their number does not count.
    """

    def until(name: str, limit: float, costs: Costs = costs) -> float:
        def taken(sessions: float) -> float:
            some = replace(people, sessions=sessions)
            return float(getattr(takes(costs, some, Replicas()), name))

        return _last(lambda sessions: taken(sessions) <= limit)

    nothing = replace(costs, idle_us=0.0, look_us=0.0, request_us=0.0, touch_us=0.0, renewal_us=0.0)
    return {
        "cpu": until("cpu", most.cpu),
        "cpu_requests": until("cpu", most.cpu, replace(nothing, request_us=costs.request_us)),
        "cpu_looks": until("cpu", most.cpu, replace(nothing, look_us=costs.look_us)),
        "cpu_renewals": until("cpu", most.cpu, replace(nothing, renewal_us=costs.renewal_us)),
        "cache": until("cached_mib", most.cached_mib),
        "round": until("round_seconds", most.round_seconds),
        "streams": until("streams", most.streams),
        "renewals": until("renewals", most.renewals),
        "provider_rate": until("renewals", most.provider_rate),
        "store_cpu": until("store_cpu", most.store_cpu),
        "store_mib": until("store_mib", most.store_mib),
    }


def _last(holds: Callable[[float], bool]) -> float:
    """The greatest number for which it still holds, if it holds for all below; maybe all do."""
    low, high = 0.0, 1.0
    while holds(high):
        low, high = high, high * 2
        if high > _ENDLESS:
            return math.inf
    while high - low > high * _EXACT:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
