"""Turns: each peer between two turns of the one it is compared with, so that both have the same.

A machine that others use is faster now and slower then. A ratio of two turns that stand beside
each other moves far less than either; the median over the rounds is what is said.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.load import Ran, TurnFailed

Turn = Callable[[str], Awaitable[Ran]]
Figure = Callable[[Ran], float]
_REPEATED = 2


@dataclass(frozen=True)
class Beside:
    """A turn of a peer, and those of the other before and after it."""

    ran: Ran
    before: Ran
    after: Ran

    def ratio(self, figure: Figure) -> float:
        """The peer's figure by the other's."""
        return figure(self.ran) / self.base(figure)

    def base(self, figure: Figure) -> float:
        """The other's figure."""
        return (figure(self.before) + figure(self.after)) / 2


async def rounds(
    turn: Turn, base: str, names: Sequence[str], *, times: int
) -> dict[str, list[Beside]]:
    """The turns of each peer, after one of each that does not count."""
    for name in (base, *names):
        await _counting(turn, name)
    found: dict[str, list[Beside]] = {name: [] for name in names}
    before = await _counting(turn, base)
    for _ in range(times):
        for name in names:
            ran = await _counting(turn, name)
            after = await _counting(turn, base)
            found[name].append(Beside(ran, before, after))
            before = after
    return found


async def _counting(turn: Turn, name: str) -> Ran:
    """A turn that counts: one in which a request failed is repeated, and said."""
    for _ in range(_REPEATED):
        try:
            return await turn(name)
        except TurnFailed as failed:
            print(f"once more: {failed}", file=sys.stderr)
    return await turn(name)


def medians(
    found: Mapping[str, Sequence[Beside]], base: str, figure: Figure, *, digits: int
) -> dict[str, float]:
    """Each peer's figure, and the other's."""
    values = {
        base: median(each.base(figure) for turns in found.values() for each in turns),
        **{name: median(figure(each.ran) for each in turns) for name, turns in found.items()},
    }
    return {name: round(value, digits) for name, value in values.items()}


def ratios(found: Mapping[str, Sequence[Beside]], figure: Figure) -> dict[str, float]:
    """Each peer's figure by the other's."""
    return {
        name: round(median(each.ratio(figure) for each in turns), 3)
        for name, turns in found.items()
    }
