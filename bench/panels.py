"""The dashboard's panels, with its own queries, as one SVG that is readable on light and dark."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parents[1] / "deploy/monitoring/dashboard.json"
_ACROSS, _WIDTH, _HEIGHT, _GAP, _ROW = 3, 400, 210, 16, 34
_LEFT, _TOP, _BOTTOM, _LEGEND = 52, 28, 66, 3  # of a plot in its panel; lines of its legend
_LETTER = 6.2  # about the width of one
_COLOURS = ("#2f81f7", "#3fb950", "#d29922", "#f85149", "#a371f7", "#39c5cf", "#db61a2", "#8b949e")
_TIME_STEPS, _MOST_TIMES = (30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200), 8
_STYLE = """\
text { font: 11px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 12px }
.row { font-weight: 600; font-size: 14px }
.grid { stroke: #d0d7de }
.frame { fill: none; stroke: #d0d7de }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .grid, .frame { stroke: #30363d }
}"""
_SCALES = {
    "s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "percentunit": ((0.01, "%"),),
    "ops": ((1, "/s"),),
    "reqps": ((1, "/s"),),
    "MiB": ((1, " MiB"),),
}

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One panel: its queries, each with the form of its lines' names. A row has none."""

    title: str
    unit: str = ""
    stacked: bool = False
    queries: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Line:
    """What a query gave: a name, and values over Unix seconds."""

    name: str
    points: Points


def panels(*, rate_interval: str, namespace: str = ".*") -> list[Panel]:
    """The dashboard's panels and rows in their order, with its variables filled in."""
    board: dict[str, Any] = json.loads(DASHBOARD.read_text())
    found = []
    for each in board["panels"]:
        if each["type"] == "row":
            found.append(Panel(each["title"]))
            continue
        defaults = each["fieldConfig"]["defaults"]
        queries = [
            (
                t["expr"]
                .replace("$__rate_interval", rate_interval)
                .replace("$namespace", namespace),
                t["legendFormat"],
            )
            for t in each["targets"]
        ]
        stacked = defaults["custom"]["stacking"]["mode"] == "normal"
        found.append(Panel(each["title"], defaults["unit"], stacked, queries))
    return found


def named(form: str, labels: Mapping[str, str]) -> str:
    """A line's name, as Grafana makes it of `{{label}}`."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), form)


def picture(
    shown: Sequence[tuple[Panel, Sequence[Line]]], *, begins: float, ends: float, title: str
) -> str:
    """An SVG of panels with their lines between two instants."""
    lines: list[str] = []
    column, top = 0, 0
    for panel, found in shown:
        if not panel.queries:
            top += (_HEIGHT + _GAP) * bool(column)
            column = 0
            lines.append(f'<text class="row" x="0" y="{top + 22}">{escape(panel.title)}</text>')
            top += _ROW
            continue
        at = f"translate({column * (_WIDTH + _GAP)} {top})"
        lines += [f'<g transform="{at}">', *_panel(panel, found, begins, ends), "</g>"]
        column = (column + 1) % _ACROSS
        top += (_HEIGHT + _GAP) * (column == 0)
    width, height = _ACROSS * (_WIDTH + _GAP) - _GAP, top + (_HEIGHT + _GAP) * bool(column)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'width="{width}" height="{height}">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            *lines,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, found: Sequence[Line], begins: float, ends: float) -> list[str]:
    bands = _bands(found, stacked=panel.stacked)
    highest = max((high for band in bands for _, _, high in band), default=0.0)
    most = _round_up(highest) if highest else 1.0
    x_of = _scale(begins, ends, _LEFT, _WIDTH - 10)
    y_of = _scale(0, most, _HEIGHT - _BOTTOM, _TOP)
    drawn = [
        f'<rect class="frame" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="4"/>',
        f'<text class="title" x="10" y="18">{escape(panel.title)}</text>',
    ]
    for part in (0, 0.5, 1):
        y = y_of(most * part)
        drawn += [
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_value(most * part, panel.unit)}</text>",
        ]
    drawn += _times(begins, ends, x_of)
    for number, band in enumerate(bands):
        drawn += _drawn(band, _COLOURS[number % len(_COLOURS)], x_of, y_of, filled=panel.stacked)
    return drawn + _legend([line.name for line in found])


def _bands(found: Sequence[Line], *, stacked: bool) -> list[list[tuple[float, float, float]]]:
    """For each line its instants, each with the lower and the upper value."""
    ground: dict[float, float] = {}
    bands = []
    for line in found:
        band = []
        for at, value in line.points:
            low = ground.get(at, 0.0) if stacked else 0.0
            band.append((at, low, low + value))
            ground[at] = low + value
        bands.append(band)
    return bands


def _drawn(
    band: Sequence[tuple[float, float, float]], colour: str, x_of: Any, y_of: Any, *, filled: bool
) -> list[str]:
    drawn = []
    for piece in _unbroken(band):
        upper = [f"{x_of(at):.1f},{y_of(high):.1f}" for at, _, high in piece]
        lower = [f"{x_of(at):.1f},{y_of(low):.1f}" for at, low, _ in reversed(piece)]
        if filled:
            drawn.append(
                f'<polygon points="{" ".join(upper + lower)}" fill="{colour}" opacity="0.4"/>'
            )
        drawn.append(f'<polyline points="{" ".join(upper)}" fill="none" stroke="{colour}"/>')
    return drawn


def _unbroken(band: Sequence[tuple[float, float, float]]) -> list[list[tuple[float, float, float]]]:
    """Its pieces between which a value is missing."""
    if len(band) < 2:
        return [list(band)] if band else []
    step = min(b[0] - a[0] for a, b in pairwise(band))
    pieces = [[band[0]]]
    for before, point in pairwise(band):
        if point[0] - before[0] > step * 1.5:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def _times(begins: float, ends: float, x_of: Any) -> list[str]:
    seconds = int(ends - begins)
    step = next((each for each in _TIME_STEPS if seconds // each < _MOST_TIMES), seconds)
    return [
        f'<text x="{x_of(begins + at):.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">'
        f"{_time(at, hours=step >= 3600)}</text>"
        for at in range(0, seconds + 1, step)
    ]


def _time(at: int, *, hours: bool) -> str:
    return f"{at // 3600} h" if hours else f"{at // 60}:{at % 60:02d}"


def _legend(names: Sequence[str]) -> list[str]:
    drawn, x, line = [], 10.0, 0
    for number, name in enumerate(names):
        width = 16 + len(name) * _LETTER + 8
        if x > 10 and x + width > _WIDTH:
            x, line = 10.0, line + 1
        if line == _LEGEND:
            break
        y = _HEIGHT - _BOTTOM + 33 + line * 14
        colour = _COLOURS[number % len(_COLOURS)]
        drawn += [
            f'<rect x="{x:.0f}" y="{y - 8}" width="9" height="9" fill="{colour}"/>',
            f'<text x="{x + 13:.0f}" y="{y}">{escape(name)}</text>',
        ]
        x += width
    return drawn or [f'<text x="10" y="{_HEIGHT - _BOTTOM + 33}">nothing</text>']


def _scale(low: float, high: float, first: float, last: float) -> Any:
    return lambda value: first + (value - low) / (high - low) * (last - first)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 4, 10) if value <= step * power * 1.0001))


def _value(value: float, unit: str) -> str:
    scales = _SCALES.get(unit, ((1, ""),))
    factor, suffix = next((s for s in scales if value >= s[0]), scales[-1 if value else 0])
    return f"{value / factor:.4g}{suffix}"
