"""The picture of `make bench`: bars beside nginx's, readable on light and on dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.field import HAPROXY, NGINX, OPENIDC, PLAIN, SIDECAR
from bench.report import Found, value_of

WIDTH, LEFT, BAR, GAP, HEAD = 760, 210, 18, 6, 34
_NAMES = {
    NGINX: "nginx",
    HAPROXY: "haproxy",
    SIDECAR: "sidecar",
    PLAIN: "sidecar, no uvloop",
    OPENIDC: "mod_auth_openidc",
}
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.other { fill: #8c959f }
.ours { fill: #0969da }
.goal { stroke: #cf222e; stroke-width: 2; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .other { fill: #6e7681 }
  .ours { fill: #58a6ff }
  .goal { stroke: #ff7b72 }
}"""


@dataclass(frozen=True)
class _Panel:
    title: str
    key: str
    goal: float
    """Of the sidecar, by nginx."""


_PANELS = (
    _Panel(
        "Requests for a second of CPU time, 1 KiB: more is better", "saturated_1k.per_core", 0.5
    ),
    _Panel("The same, 100 KiB", "saturated_100k.per_core", 0.75),
    _Panel("CPU time of a request at 4,000/s: less is better", "steady.cpu_us", 1.5),
    _Panel("99 of 100 answers at 4,000/s: less is better", "steady.p99_ms", 1.3),
)


def plot(found: Found) -> str:
    """An SVG of the parts that were measured."""
    lines: list[str] = []
    top = 0
    for panel in _PANELS:
        bars = _bars(panel, found)
        if len(bars) > 1:
            lines += _drawn(panel, bars, top)
            top += HEAD + len(bars) * (BAR + GAP) + 14
    title = "The sidecar beside nginx, haproxy and mod_auth_openidc; nginx is 1"
    return picture(title, lines, height=top)


def picture(title: str, lines: Sequence[str], *, height: int) -> str:
    """An SVG as wide as all of them."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'width="{WIDTH}" height="{height}">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            *lines,
            "</svg>\n",
        ]
    )


def _bars(panel: _Panel, found: Found) -> dict[str, float]:
    ratios = value_of(f"{panel.key}_ratio", found) or {}
    together = {NGINX: 1.0, **ratios}
    return {name: together[name] for name in _NAMES if name in together}


def _drawn(panel: _Panel, bars: dict[str, float], top: int) -> list[str]:
    scale = (WIDTH - LEFT - 60) / max(*bars.values(), panel.goal)
    title = escape(f"{panel.title}; the sidecar's goal: {panel.goal:g}")
    lines = [f'<text class="title" x="0" y="{top + 20}">{title}</text>']
    for number, (name, value) in enumerate(bars.items()):
        y = top + HEAD + number * (BAR + GAP)
        kind = "ours" if name in (SIDECAR, PLAIN) else "other"
        width = max(value * scale, 1)
        goal = panel.goal * scale if name == SIDECAR else 0
        end = LEFT + max(width, goal) + 8
        lines += [
            f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{_NAMES[name]}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>',
            f'<text x="{end:.1f}" y="{y + 14}">{value:.2f}</text>',
        ]
        if goal:
            x = LEFT + goal
            lines += [
                f'<line class="goal" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + BAR + 4}"/>',
            ]
    return lines
