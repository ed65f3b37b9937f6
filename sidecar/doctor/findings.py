"""What the doctor finds: a level, a sentence, why it matters and the mend. No secret is in any."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What follows from a finding."""

    OK = "ok"
    """As it should be; a mend may say what cannot be seen from here."""
    WARNING = "warning"
    """It works, and something will be worse than it could be."""
    FAULT = "fault"
    """Logins or renewals fail, or will."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. The id is `part.thing`, and stays the same over releases."""

    id: str
    level: Level
    what: str
    why: str = ""
    mend: str = ""

    @property
    def part(self) -> str:
        """The part that it is about."""
        return self.id.partition(".")[0]


def ok(name: str, what: str, mend: str = "") -> Finding:
    """Something that is as it should be."""
    return Finding(name, Level.OK, what, "", mend)


def warning(name: str, what: str, why: str, mend: str) -> Finding:
    """Something that works, and not as well as it could."""
    return Finding(name, Level.WARNING, what, why, mend)


def fault(name: str, what: str, why: str, mend: str) -> Finding:
    """Something because of which logins or renewals fail."""
    return Finding(name, Level.FAULT, what, why, mend)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 for no complaint, 1 for warnings, 2 for faults."""
    levels = {finding.level for finding in findings}
    return 2 if Level.FAULT in levels else 1 if Level.WARNING in levels else 0
