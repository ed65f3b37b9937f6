"""How often something may happen: so many at once, and as many again within a time.

For each name one instant is kept (the generic cell rate algorithm): until when what it did lately
fills its share. A name whose instant has passed is as good as one that never came.
"""

from collections import OrderedDict
from dataclasses import dataclass

MOST_NAMES = 10_000
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` within any `seconds`, when nothing came before; then evenly spaced."""

    count: int
    seconds: float


class Rates:
    """Counts by name, for so many names at most: those that came least lately are forgotten.

    Whoever comes by very many names has a share for each: what all of them cost together has to
    be bounded elsewhere. Instants are `Clock.monotonic()`'s.
    """

    def __init__(self, rate: Rate, *, most: int = MOST_NAMES) -> None:
        self.rate = rate
        self._most = most
        self._filled_until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Of how many names something is known."""
        return len(self._filled_until)

    def wait_seconds(self, name: str, now: float) -> float:
        """0 if one more is within the rate, and counted; else for how long it is not."""
        share = self.rate.seconds / self.rate.count
        filled = max(self._filled_until.get(name, now), now) + share
        wait = filled - self.rate.seconds - now
        if wait > _ROUNDING:
            return wait
        self._filled_until[name] = filled
        self._filled_until.move_to_end(name)
        if len(self._filled_until) > self._most:
            self._filled_until.popitem(last=False)
        return 0.0
