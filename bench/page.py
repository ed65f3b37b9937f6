"""The result of `make bench` as `docs/benchmarks.md` shows it."""

from collections.abc import Sequence

from bench.field import DIRECT, HAPROXY, NGINX, NUMBERED, OPENIDC, PLAIN, SIDECAR, UNCACHED
from bench.plot import plot
from bench.report import Found, Row, value_of
from bench.serving import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "images" / "benchmarks.svg"
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
NAMES = {
    DIRECT: "no proxy",
    NGINX: "nginx, passes all on",
    HAPROXY: "haproxy, passes all on",
    OPENIDC: "Apache, mod_auth_openidc",
    SIDECAR: "**the sidecar**",
    PLAIN: "the sidecar without uvloop",
    UNCACHED: "the sidecar without its cache",
    NUMBERED: "the sidecar, requests with a number in a field",
}
_Column = tuple[str, str, str]
_SATURATED: tuple[_Column, ...] = (
    ("1 KiB: requests/s", "saturated_1k.rps", "{:,.0f}"),
    ("nginx = 1", "saturated_1k.rps_ratio", "{:.2f}"),
    ("of its core", "saturated_1k.cpu_share", "{:.0%}"),
    ("per CPU time, nginx = 1", "saturated_1k.per_core_ratio", "{:.2f}"),
    ("100 KiB: requests/s", "saturated_100k.rps", "{:,.0f}"),
    ("nginx = 1", "saturated_100k.rps_ratio", "{:.2f}"),
    ("of its core", "saturated_100k.cpu_share", "{:.0%}"),
    ("per CPU time, nginx = 1", "saturated_100k.per_core_ratio", "{:.2f}"),
)
_STEADY: tuple[_Column, ...] = (
    ("4,000/s: CPU µs", "steady.cpu_us", "{:.0f}"),
    ("nginx = 1", "steady.cpu_us_ratio", "{:.2f}"),
    ("p50 ms", "steady.p50_ms", "{:.2f}"),
    ("p99 ms", "steady.p99_ms", "{:.2f}"),
    ("p99, nginx = 1", "steady.p99_ms_ratio", "{:.2f}"),
    ("4 connections: p50 ms", "few.p50_ms", "{:.3f}"),
    ("added ms", "few.added_ms", "{:.3f}"),
)
LIMITS = """\
What these figures cannot say: everything runs on one machine. The load, the upstream and the
store share a core; where it is full before the proxy's, "of its core" shows it, and only the figure
for a second of CPU time compares. Two cores may be two threads of one, and what else the machine
does is in every time, in p99 most of all. Nothing is encrypted, and no network is crossed. One
session asks on 64 connections, with the same fields each time, which the sidecar is made for: the
row with numbered requests shows what that is worth. Streams share a session, whose own bytes are
not in them. The kernel's memory for sockets is in no figure."""


def peers_tables(found: Found) -> str:
    """Two tables with a line for each server: what gets through, and what it is like to wait."""
    return "\n\n".join(
        table(lines)
        for columns in (_SATURATED, _STEADY)
        if len(lines := _peers(columns, found)) > 1
    )


def _peers(columns: Sequence[_Column], found: Found) -> list[list[str]]:
    measured = [each for each in columns if value_of(each[1], found)]
    lines = [["", *(title for title, _, _ in measured)]]
    for name, title in NAMES.items():
        values = [_value(f"{key}.{name}", form, found) for _, key, form in measured]
        if any(values):
            lines.append([title, *values])
    return lines


def goals_table(found: Found, rows: Sequence[Row]) -> str:
    """A line for each figure that has a goal."""
    lines = [["What", "Measured", "Goal"]]
    for row in rows:
        value = value_of(row.key, found)
        if value is not None:
            missed = "" if row.holds(value, found) else ": **missed**"
            lines.append([f"{row.means} (`{row.key}`)", f"{value:g}", row.must + missed])
    return table(lines)


def block(found: Found, rows: Sequence[Row]) -> str:
    """What stands between the two marks."""
    told = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    about = (
        f"`make bench`, {told['date']}, {told['cores']} cores of {told['cpu']}, load "
        f"{told['load']} before the run, yardstick {told['yardstick_ms']} ms; {told['system']}, "
        f"Python {told['python']}; {versions}."
    )
    return "\n\n".join([about, peers_tables(found), goals_table(found, rows)])


def put(found: Found, rows: Sequence[Row]) -> None:
    """Write the block and the picture."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{block(found, rows)}\n\n{END}{after}")
    PICTURE.write_text(plot(found))


def _value(key: str, form: str, found: Found) -> str:
    value = value_of(key, found)
    return "" if value is None else form.format(value)


def table(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown whose first line is its head."""
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *rest = lines
    ruled = [head, ["-" * width for width in wide], *rest]
    return "\n".join(
        f"| {' | '.join(word.ljust(width) for word, width in zip(line, wide, strict=True))} |"
        for line in ruled
    )
