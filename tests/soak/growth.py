"""Whether something grew after the warm-up: a plain function of samples over time.

What goes up and down with the load is no growth, and neither is one peak: of each eighth of the
time the lower quartile counts, which is what is there when little is going on. It grows where
nearly each eighth has more than those before it, and the whole rise is more than an allowance.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

WARM_UP_SHARE = 0.3
WINDOWS = 8
LEAST_SECONDS = 200.0
LEAST_SAMPLES = 5 * WINDOWS
# Of the 28 pairs of windows: by chance alone as many rise in one of a hundred runs.
RISING_PAIRS = 23

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Allowance:
    """What a quantity may gain though nothing is wrong: the greater of the two counts."""

    least: float
    share: float = 0.1


ALLOWED: Mapping[str, Allowance] = {
    "memory_mib": Allowance(6.0),
    "descriptors": Allowance(25.0),
    "connections": Allowance(25.0),
    "tasks": Allowance(25.0),
}


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a quantity moved: its first and its last window, and what it gains in an hour."""

    first: float
    last: float
    per_hour: float
    rising_pairs: int
    grows: bool

    def summary(self) -> dict[str, Any]:
        """The same, as JSON takes it."""
        found = asdict(self)
        return {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items()}


def growth(points: Points, allowance: Allowance) -> Growth | None:
    """How it moved after the warm-up; None where there is too little to tell."""
    windows = _windows(points)
    if windows is None:
        return None
    pairs = list(combinations(windows, 2))
    rising = sum(later > earlier for (_, earlier), (_, later) in pairs)
    slope = statistics.median((b - a) / (t - s) for (s, a), (t, b) in pairs)  # Theil and Sen's
    rise = slope * (windows[-1][0] - windows[0][0])
    allowed = max(allowance.least, allowance.share * statistics.median(v for _, v in windows))
    return Growth(
        first=windows[0][1],
        last=windows[-1][1],
        per_hour=slope * 3600,
        rising_pairs=rising,
        grows=rising >= RISING_PAIRS and rise > allowed,
    )


def _windows(points: Points) -> list[tuple[float, float]] | None:
    """The middle of each window, and the lower quartile of what was in it."""
    if not points:
        return None
    begins, ends = points[0][0], points[-1][0]
    begins += (ends - begins) * WARM_UP_SHARE
    kept = [(at, value) for at, value in points if at >= begins]
    if ends - begins < LEAST_SECONDS or len(kept) < LEAST_SAMPLES:
        return None
    length = (ends - begins) / WINDOWS
    found = []
    for number in range(WINDOWS):
        low = begins + number * length
        inside = [value for at, value in kept if low <= at <= low + length]
        if len(inside) < 2:
            return None
        found.append((low + length / 2, statistics.quantiles(inside, n=4)[0]))
    return found
