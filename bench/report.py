"""Figures as a table with goals, and in a file that keeps what was not measured again."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import machine, yardstick_ms

PART_SECONDS = 240.0  # several times what a part takes on a machine that has time
Part = Callable[..., Awaitable[dict[str, Any]]]
Found = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A figure of the table: where it is, what it says, and what it must be, if anything."""

    key: str
    means: str
    must: str = ""
    holds: Callable[[Any, Found], bool] = lambda *_: True


def at_most(limit: float, key: str, means: str) -> Row:
    """A figure with a most that it may be."""
    return Row(key, means, f"≤ {limit:g}", lambda value, _: value <= limit)


def at_least(limit: float, key: str, means: str) -> Row:
    """A figure with a least that it must be."""
    return Row(key, means, f"≥ {limit:g}", lambda value, _: value >= limit)


def below(limit: float, key: str, means: str) -> Row:
    """A figure that must stay under a limit."""
    return Row(key, means, f"< {limit:g}", lambda value, _: value < limit)


async def measure(
    all_parts: Mapping[str, Part],
    parts: Mapping[str, Mapping[str, Any]],
    *,
    within_seconds: float = PART_SECONDS,
) -> dict[str, Any]:
    """What these parts give, with these arguments."""
    found: dict[str, Any] = {"machine": machine()}
    for name, arguments in parts.items():
        began_at = time.monotonic()
        async with asyncio.timeout(within_seconds):
            found[name] = await all_parts[name](**arguments)
        found[name]["measured_in_seconds"] = round(time.monotonic() - began_at, 1)
        found[name]["yardstick_ms"] = round(yardstick_ms(), 1)
    return found


def about(found: Found) -> str:
    """What it was measured on, in a line."""
    told = found["machine"]
    return (
        f"{told['date']}  {told['cores']} x {told['cpu']}, load {told['load']}, "
        f"Python {told['python']}, yardstick {told['yardstick_ms']} ms"
    )


def value_of(key: str, found: Found) -> Any:
    """The figure that a key names, None where it was not measured."""
    value: Any = found
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def goals(found: Found, rows: Sequence[Row]) -> str:
    """The figures, each with what it must be and whether it is."""
    wide = max(len(row.key) for row in rows)
    lines = [f"{'figure':{wide}} {'measured':>14}  {'must be':14} meaning"]
    for row in rows:
        value = value_of(row.key, found)
        if value is not None:
            must = row.must if row.holds(value, found) else f"{row.must} MISSED"
            lines.append(f"{row.key:{wide}} {_text(value):>14}  {must:14} {row.means}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else f"{value}"


def write(found: Found, file: Path) -> dict[str, Any]:
    """All that the file has now; the parts that were not measured stay as they are."""
    file.parent.mkdir(exist_ok=True)
    kept: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(file.read_text())
    together = {**kept, **found}
    file.write_text(json.dumps(together, indent=2) + "\n")
    return together
