"""What goes wrong on a link, and when: a plain function of a seed and the link's name."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile


class Kind(StrEnum):
    """What a link does to the connections on it.

    `DELAY` holds each piece back for `seconds`. `CUT` ends a connection in order, `RESET` by a
    reset, once `after_bytes` have passed. `HALF_OPEN` takes new connections, and answers none.
    `SILENT` drops what comes after `after_bytes`, and tells nobody. `DRIP` lets
    `bytes_per_second` through. `REORDER` holds back each connection's pieces for a time of their
    own, `seconds` at most: the bytes of one connection keep their order, as TCP sees to that,
    but the answers on several come in another one than they were given in.
    """

    DELAY = "delay"
    CUT = "cut"
    RESET = "reset"
    HALF_OPEN = "half-open"
    SILENT = "silent"
    DRIP = "drip"
    REORDER = "reorder"


class Way(StrEnum):
    """A direction of a connection."""

    REQUESTS = "requests"
    ANSWERS = "answers"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What befalls that `share` of a link's connections which dice choose, on one way."""

    kind: Kind
    way: Way = Way.ANSWERS
    seconds: float = 0.0
    after_bytes: int = 0
    bytes_per_second: int = 0
    share: float = 1.0

    def __str__(self) -> str:
        said = {
            Kind.DELAY: f"by {self.seconds:.2f} s",
            Kind.REORDER: f"by {self.seconds:.2f} s at most",
            Kind.DRIP: f"at {self.bytes_per_second} bytes a second",
            Kind.HALF_OPEN: "",
        }.get(self.kind, f"after {self.after_bytes} bytes")
        where = "new connections" if self.kind is Kind.HALF_OPEN else self.way
        return f"{f'{self.kind} {said}'.strip()}, {where}, {self.share:.0%}"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A fault with its time, in seconds from the start."""

    at: float
    until: float
    fault: Fault


Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What is drawn for a link, and from where to where; lengths in seconds.

    `lossy_share` is for what loses an answer on its way, `share` for all else.
    """

    kinds: Sequence[Kind] = tuple(Kind)
    quiet: Range = (4.0, 12.0)
    lasts: Range = (1.0, 6.0)
    seconds: Range = (0.05, 1.0)
    after_bytes: Range = (0, 2000)
    bytes_per_second: Range = (500, 5000)
    share: Range = (0.2, 1.0)
    lossy_share: Range = (0.2, 1.0)


LOSSY = (Kind.CUT, Kind.RESET, Kind.SILENT)


def faults(seed: int, link: str, mix: Mix) -> Iterator[Timed]:
    """The link's faults, one after another, without end; the same ones for the same seed."""
    dice = random.Random(f"{seed} {link}")
    at = 0.0
    while True:
        at += dice.uniform(*mix.quiet)
        until = at + dice.uniform(*mix.lasts)
        yield Timed(at=round(at, 3), until=round(until, 3), fault=_drawn(dice, mix))
        at = until


def plan(seed: int, mixes: Mapping[str, Mix], *, seconds: float) -> dict[str, list[Timed]]:
    """By link the faults that begin within so many seconds."""
    return {
        link: list(takewhile(lambda each: each.at < seconds, faults(seed, link, mix)))
        for link, mix in mixes.items()
    }


@dataclass(frozen=True)
class Again:
    """How a run is made once more."""

    seed: int
    command: str
    variables: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        named = "".join(f"{name}={value} " for name, value in self.variables.items())
        return f"Once more: CHAOS_SEED={self.seed} {named}{self.command}"


def _drawn(dice: random.Random, mix: Mix) -> Fault:
    """Every number is drawn, needed or not, so that a kind more or less shifts no other."""
    kind, way = dice.choice(list(mix.kinds)), dice.choice(list(Way))
    return Fault(
        kind=kind,
        way=way,
        seconds=round(dice.uniform(*mix.seconds), 3),
        after_bytes=round(dice.uniform(*mix.after_bytes)),
        bytes_per_second=round(dice.uniform(*mix.bytes_per_second)),
        share=round(dice.uniform(*(mix.lossy_share if kind in LOSSY else mix.share)), 3),
    )
