"""The picture of `docs/sizing.md`: at how many sessions in use each thing is full."""

import math
from dataclasses import replace

from bench.plot import BAR, GAP, HEAD, LEFT, WIDTH, picture
from bench.sizing_checks import short
from bench.sizing_limits import Most, full_at
from bench.sizing_model import Costs
from bench.sizing_tables import EVERYBODY, FULL_NAMES, LIVES, SESSIONS, SHORT

_FIRST, _LAST = 100.0, 3_000_000.0
_OF_A_REPLICA = frozenset(FULL_NAMES) - {"provider_rate", "store_cpu", "store_mib"}


def plot(costs: Costs) -> str:
    """An SVG with bars for each life of a token, by a scale on which each step is tenfold."""
    lines: list[str] = []
    top = 0
    for life, shown in LIVES.items():
        full = full_at(costs, replace(EVERYBODY, token_seconds=life), Most())
        lines += _panel(f"Sessions in use that fill it, ID tokens of {shown}", full, top)
        top += HEAD + len(full) * (BAR + GAP) + 34
    title = "At how many sessions in use each thing is full, of a replica and of all that it needs"
    return picture(title, lines, height=top)


def _panel(title: str, full: dict[str, float], top: int) -> list[str]:
    names = sorted(FULL_NAMES, key=lambda name: full[name])
    bottom = top + HEAD + len(names) * (BAR + GAP)
    lines = [f'<text class="title" x="0" y="{top + 20}">{title}</text>']
    for sessions in SESSIONS:
        x = _x(sessions)
        lines += [
            f'<line class="goal" x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEAD - 4}" y2="{bottom}"/>',
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{sessions:,}</text>',
        ]
    for number, name in enumerate(names):
        y = top + HEAD + number * (BAR + GAP)
        kind = "ours" if name in _OF_A_REPLICA else "other"
        width = _x(full[name]) - LEFT
        lines += [
            f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{SHORT[name]}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>',
            f'<text x="{WIDTH - 4}" y="{y + 14}" text-anchor="end">{short(full[name])}</text>',
        ]
    return lines


def _x(sessions: float) -> float:
    share = math.log10(min(max(sessions, _FIRST), _LAST) / _FIRST) / math.log10(_LAST / _FIRST)
    return LEFT + share * (WIDTH - LEFT - 80)
