"""What so many sessions take of replicas and of the store, from what one of each thing costs.

Plain arithmetic: costs are measured (`bench.costs`), how people work is said by whoever asks, and
what the sidecar does by the clock is read from its own constants.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sidecar.core.refresh_policy import (
    JITTER_SHARE,
    REFRESH_TOKEN_MARGIN_SECONDS,
    RefreshWindow,
)
from sidecar.flows.cache import IN_USE_SECONDS
from sidecar.flows.confirmations import BATCH, EVERY_SECONDS
from sidecar.flows.sessions import TOUCH_EVERY_SECONDS

MIB = 1024.0 * 1024.0
RECORDS = 2  # a session and its grant
_MEAN_JITTER = JITTER_SHARE * 255 / 2 / 256  # of a byte of a hash, by 256
_MICRO = 1e-6


@dataclass(frozen=True)
class Costs:
    """What was measured: CPU times in µs by a machine of this yardstick, and memory."""

    yardstick_ms: float
    token_bytes: float
    idle_us: float
    """Of a second in which nothing happens; `store_…`: what the same takes of the store."""
    look_us: float
    """To confirm one record of the two that a session has."""
    request_us: float
    load_us: float
    """Of a session that was not known, beside its request."""
    touch_us: float
    """To note that a session was used, once a minute."""
    renewal_us: float
    store_idle_us: float
    store_look_us: float
    store_load_us: float
    store_touch_us: float
    store_renewal_us: float
    idle_scripts: float
    """What a replica asks of the store in a second in which nothing happens."""
    renewal_scripts: float
    renewal_commands: float
    """With the scripts."""
    rest_mib: float
    resident_bytes: float
    """What the process grows by for a session in use; `cached_bytes` by its own count."""
    cached_bytes: float
    stream_kib: float
    """Of an open event stream."""
    few: float
    """Sessions of a store that has few; `more`: of one that has more."""
    more: float
    few_look_us: float
    """Of a store that is asked by nobody else; `more_…`: the same."""
    more_look_us: float
    more_load_us: float
    more_touch_us: float
    more_save_us: float
    store_bytes: float

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> "Costs":
        """The costs among all that was measured."""
        stores = found["alone"]
        pace = found["costs"]["yardstick_ms"] / stores["yardstick_ms"]
        asked = {
            f"{store}_{name}": stores[store][name] * pace
            for store in ("few", "more")
            for name in ("look_us", "load_us", "touch_us", "save_us")
        }
        held = {store: stores[store]["sessions"] for store in ("few", "more")}
        known = {**found["costs"], **asked, **held, "store_bytes": stores["more"]["store_bytes"]}
        return cls(**{each.name: float(known[each.name]) for each in fields(cls)})

    def farther_us(self, sessions: float, than: float) -> float:
        """What a record takes longer to be found in a store that has more than so many.

        The more there are, the more of them are in none of the CPU's caches: measured at two
        stores, and so much again for each further step of that size.
        """
        step = max(self.more_look_us - self.few_look_us, 0.0) / math.log(self.more / self.few)
        return step * math.log(max(sessions, than) / than)

    def at(self, yardstick_ms: float) -> "Costs":
        """The same on a machine that takes as long for the yardstick."""
        pace = yardstick_ms / self.yardstick_ms
        times = {f.name: getattr(self, f.name) * pace for f in fields(self) if f.name[-3:] == "_us"}
        return replace(self, **times, yardstick_ms=yardstick_ms)


@dataclass(frozen=True)
class People:
    """Who has a session, and what they do with it."""

    sessions: float
    token_seconds: float
    """How long an ID token lives."""
    in_use: float = 1.0
    """The share of the sessions that were used within the last minute."""
    requests: float = 0.1
    """A second, of a session in use."""
    streams: float = 1.0
    """Open event streams of a session in use."""
    refresh_token_seconds: float = math.inf
    """How long a refresh token lives; with an end, idle sessions are renewed before it."""

    @property
    def using(self) -> float:
        """How many sessions are in use."""
        return self.sessions * self.in_use

    @property
    def renewals(self) -> float:
        """A second."""
        margin = min(REFRESH_TOKEN_MARGIN_SECONDS, self.refresh_token_seconds / 4)
        idle = (self.sessions - self.using) / (self.refresh_token_seconds - margin)
        return self.using / renewal_seconds(self.token_seconds) + idle

    @property
    def touches(self) -> float:
        """A second: of each session in use at its first use after a minute, or by its stream."""
        if self.streams:
            return self.using / TOUCH_EVERY_SECONDS
        return self.using / (TOUCH_EVERY_SECONDS + 1 / self.requests) if self.requests else 0.0


@dataclass(frozen=True)
class Replicas:
    """How many there are, and whether a person's requests all go to the same one."""

    count: int = 1
    together: bool = True

    def knowing(self, people: People) -> float:
        """The share of the sessions in use that a replica knows, and confirms."""
        if self.together or self.count == 1:
            return 1 / self.count
        uses = people.requests * IN_USE_SECONDS + people.streams
        return float(1 - (1 - 1 / self.count) ** uses)


@dataclass(frozen=True)
class Takes:
    """What one replica takes, and the store."""

    cpu: float
    """Cores; `store_cpu` of the one that the store has."""
    resident_mib: float
    cached_mib: float
    streams: float
    round_seconds: float
    """How long the sessions in use take to be confirmed, beside all else that the core does."""
    renewals: float
    looks: float
    store_cpu: float
    store_mib: float
    scripts: float
    commands: float


def renewal_seconds(token_seconds: float) -> float:
    """From one renewal of a grant in use to the next, by the default window, on average."""
    window = RefreshWindow().length_seconds(token_seconds)
    return token_seconds - window * (1 - _MEAN_JITTER)


@dataclass(frozen=True)
class Cores:
    """How long replica and store wait for a core, by how long they have it: 0 on a free machine."""

    wait: float = 0.0
    store_wait: float = 0.0


FREE = Cores()


def takes(costs: Costs, people: People, replicas: Replicas, cores: Cores = FREE) -> Takes:
    """What each of the replicas takes, and the store of all of them."""
    count, knowing = replicas.count, replicas.knowing(people)
    known = people.using * knowing
    requests = people.using * people.requests
    # Where a request comes to a replica that has not seen its session for a minute.
    loads = 0.0 if replicas.together else requests * (1 - knowing)
    others_us = (
        costs.idle_us
        + requests / count * costs.request_us
        + loads / count * costs.load_us
        + people.touches / count * costs.touch_us
        + people.renewals / count * costs.renewal_us
    )
    store_look_us = costs.store_look_us + costs.farther_us(people.using, than=costs.few)
    look_us = costs.look_us * (1 + cores.wait), store_look_us * (1 + cores.store_wait)
    each = _look_seconds(*look_us, others=others_us * (1 + cores.wait) * _MICRO)
    took = known * each if known else 0.0
    looks = known * RECORDS / _every(took, cores)
    store_us = (
        count * (costs.store_idle_us + looks * store_look_us)
        + loads * costs.store_load_us
        + people.touches * costs.store_touch_us
        + people.renewals * costs.store_renewal_us
    )
    scripts = count * (costs.idle_scripts + looks / BATCH) + loads + people.touches
    streams = people.using * people.streams / count
    return Takes(
        cpu=(others_us + looks * costs.look_us) * _MICRO,
        resident_mib=costs.rest_mib
        + (known * costs.resident_bytes + streams * costs.stream_kib * 1024) / MIB,
        cached_mib=known * costs.cached_bytes / MIB,
        streams=streams,
        round_seconds=took,
        renewals=people.renewals / count,
        looks=looks,
        store_cpu=store_us * _MICRO,
        store_mib=people.sessions * costs.store_bytes / MIB,
        scripts=scripts + people.renewals * costs.renewal_scripts,
        commands=scripts + people.renewals * costs.renewal_commands,
    )


def _look_seconds(look_us: float, store_look_us: float, *, others: float) -> float:
    """To confirm both records of a session, by the share of the core that other work has."""
    if others >= 1:
        return math.inf
    return RECORDS * (look_us / (1 - others) + store_look_us) * _MICRO


def _every(took: float, cores: Cores) -> float:
    """From one round to the next: a slow one delays it, which a machine that is full is not let."""
    return EVERY_SECONDS if cores is FREE else max(EVERY_SECONDS, took + EVERY_SECONDS / 10)
