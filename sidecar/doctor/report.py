"""What was found, for people in 80 columns and for programs."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

from sidecar.doctor.findings import Finding, Level, exit_code

_WIDTH = 80
_MARKS = {Level.OK: "ok  ", Level.WARNING: "WARN", Level.FAULT: "FAIL"}
_INDENT = " " * 7


def as_text(findings: Sequence[Finding]) -> str:
    """The parts in order, then a line that counts."""
    lines: list[str] = []
    for part, of_part in groupby(findings, key=lambda finding: finding.part):
        lines += ["", part]
        for finding in of_part:
            lines += _lines(finding)
    return "\n".join([*lines[1:], "", _count(findings)])


def as_json(findings: Sequence[Finding]) -> str:
    """The same for programs."""
    counts = {level.value: _number(findings, level) for level in Level}
    report = {
        "exit_code": exit_code(findings),
        "counts": counts,
        "findings": [{**asdict(finding), "part": finding.part} for finding in findings],
    }
    return json.dumps(report, indent=2)


def _lines(finding: Finding) -> Iterator[str]:
    thing = finding.id.partition(".")[2].replace("_", " ")
    yield from _wrapped(f"  {_MARKS[finding.level]} {thing}: {finding.what}")
    if finding.why:
        yield from _wrapped(_INDENT + finding.why)
    if finding.mend:
        yield from _wrapped(f"{_INDENT}-> {finding.mend}", further=_INDENT + "   ")


def _wrapped(text: str, further: str = _INDENT) -> Iterable[str]:
    return textwrap.wrap(
        # Some of it is what others answered, and a terminal obeys control characters.
        "".join(char if char.isprintable() else "?" for char in text),
        _WIDTH,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _count(findings: Sequence[Finding]) -> str:
    faults, warnings = (_number(findings, level) for level in (Level.FAULT, Level.WARNING))
    if not faults and not warnings:
        return f"All {len(findings)} checks are fine."
    return f"{_plural(faults, 'fault')}, {_plural(warnings, 'warning')}, {len(findings)} checks."


def _number(findings: Sequence[Finding], level: Level) -> int:
    return sum(finding.level is level for finding in findings)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
