"""What the model says, beside what was measured of real runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.page import table
from bench.report import Found
from bench.sizing_model import Costs


@dataclass(frozen=True)
class Checked:
    """A figure that was predicted and measured."""

    name: str
    means: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """What was measured, by what was predicted."""
        return self.measured / self.predicted


_CROWD = {
    "cpu": "CPU of the replica, cores",
    "store_cpu": "CPU of the store, cores",
    "renewals": "renewals/s",
    "touches": "uses noted/s",
    "looks": "records confirmed/s",
    "scripts": "scripts that the store runs/s",
    "round_seconds": "a round of confirmations, s",
    "cached_mib": "the replica's cache, MiB",
    "resident_mib": "memory of the replica's process, MiB",
    "store_mib": "memory of the store for the sessions, MiB",
}
_ALONE = {
    "load": (3, "CPU of the store to load a session, µs"),
    "look": (1, "to look at a record, 256 at once, µs"),
    "touch": (2, "to note a use, µs"),
    "save": (1, "to save a grant, µs"),
}
"""How many records each finds."""
_RATES = {
    "load": "sessions loaded",
    "save": "grants saved",
    "touch": "uses noted",
    "look": "records looked at, 256 in one script",
}


def checked_crowd(found: Found) -> list[Checked]:
    """The real run of a replica."""
    crowd = found["crowd"]
    predicted, measured = crowd["predicted"], crowd["measured"]
    return [Checked(name, _CROWD[name], predicted[name], measured[name]) for name in _CROWD]


def checked_store(found: Found) -> list[Checked]:
    """The store alone: by what was measured with fewer records, and what with many."""
    costs, many = Costs.read(found), found["alone"]["many"]
    pace = costs.yardstick_ms / found["alone"]["yardstick_ms"]
    memory = costs.store_bytes * many["sessions"] / 2**20
    farther = costs.farther_us(many["sessions"], than=costs.more)
    return [
        Checked("used_mib", "memory of the store, MiB", memory, many["used_mib"]),
        *(
            Checked(
                name,
                means,
                getattr(costs, f"more_{name}_us") + records * farther,
                many[f"{name}_us"] * pace,
            )
            for name, (records, means) in _ALONE.items()
        ),
    ]


def checked_table(checked: Sequence[Checked]) -> str:
    """Predicted beside measured."""
    lines = [["What", "predicted", "measured", "measured/predicted"]]
    for one in checked:
        lines.append([one.means, short(one.predicted), short(one.measured), f"{one.ratio:.2f}"])
    return table(lines)


def rates_table(costs: Costs, found: Found) -> str:
    """How many a second."""
    many = found["alone"]["many"]
    pace = costs.yardstick_ms / found["alone"]["yardstick_ms"]
    lines = [["What", "a second, by one that asks", "a second, for a core of the store"]]
    for name, what in _RATES.items():
        each_us = many[f"{name}_us"] * pace
        lines.append([what, short(many[f"{name}_each_second"]), short(1e6 / each_us)])
    return table(lines)


def of_crowd(found: Found) -> str:
    """What the run was."""
    crowd = found["crowd"]
    minutes = crowd["token_seconds"] / 60
    return (
        f"{crowd['sessions']:,} sessions with ID tokens of {minutes:.0f} minutes, "
        f"{crowd['requests_each_second']:,.0f} requests a second of all of them in turn, for "
        f"{crowd['seconds']:.0f} seconds. Meanwhile the yardstick was {crowd['yardstick_ms']} ms, "
        f"and for each second on a core the replica waited {crowd['waited']:.2f} s for it, the "
        f"store {crowd['store_waited']:.2f} s ({crowd['date']}):"
    )


def of_store(found: Found) -> str:
    """What the run was."""
    many = found["alone"]["many"]
    return (
        f"{many['sessions']:,} sessions, which are {many['keys']:,} keys, written in "
        f"{many['filled_in_seconds']} seconds; {many['resident_mib']:,} MiB of the process' "
        f"resident memory ({found['alone']['date']}):"
    )


def short(value: float) -> str:
    """Two digits, or three of what begins with 1: a model says no more."""
    if value == 0 or math.isinf(value):
        return "0" if value == 0 else "never"
    size = math.floor(math.log10(abs(value)))
    rounded = round(value, 1 - size if abs(value) / 10**size >= 2 else 2 - size)
    return f"{rounded:,.0f}" if abs(rounded) >= 10 else f"{rounded:g}"
