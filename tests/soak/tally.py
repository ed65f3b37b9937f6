"""What people were told, in numbers: a day of it takes no more memory than a minute."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

KEPT_STRANGE = 20
# From a millisecond to a minute, each a fifth longer than the one before.
BOUNDS = tuple(0.001 * 1.2**number for number in range(61))


@dataclass
class Waits:
    """How long answers took, by `BOUNDS`."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """One more answer."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.longest = max(self.longest, seconds)


def quantile(counts: Sequence[int], share: float) -> float:
    """So many of the answers took at most this long, in seconds; 0 without any."""
    total = sum(counts)
    if not total:
        return 0.0
    upto = list(accumulate(counts))
    place = bisect_left(upto, share * total)
    return BOUNDS[min(place, len(BOUNDS) - 1)]


@dataclass
class Tally:
    """All counts of a run."""

    statuses: Counter[int] = field(default_factory=Counter)
    unheard: Counter[str] = field(default_factory=Counter)
    habits: Counter[str] = field(default_factory=Counter)
    forced: Counter[str] = field(default_factory=Counter)
    waits: Waits = field(default_factory=Waits)
    without_retry_after: int = 0
    strange: list[str] = field(default_factory=list)

    def note_strange(self, what: str) -> None:
        """Something that nobody should be told; the first few are kept in words."""
        self.habits["strange"] += 1
        if len(self.strange) < KEPT_STRANGE:
            self.strange.append(what)
