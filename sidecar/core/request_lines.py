"""The lines of a request's fields: those that are read here, and the runs between that pass."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from operator import ne

from sidecar.core.heads import connection_options
from sidecar.core.machine_fields import is_read_for_machines
from sidecar.errors import RequestMalformed

# The fields of which something is read or changed here; and those that a Connection field names.
# All others pass, and nothing is decided by them: a field that is to be read has to be named here.
_READ = frozenset(
    ("accept", "accept-encoding", "api-token", "authorization", "connection", "content-length",
     "cookie", "expect", "host", "keep-alive", "origin", "proxy-authenticate",
     "proxy-authorization", "proxy-connection", "te", "token", "transfer-encoding", "upgrade")
)  # fmt: skip
_NO_FIELDS = {"close"}  # options of Connection that name none
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class Line:
    """One line of a head, read. As long as it is remembered, the same line is the same object."""

    __slots__ = ("field", "names_others", "passes", "to_bytes")

    def __init__(self, raw: bytes) -> None:
        found = _FIELD_LINE.fullmatch(raw)
        if not found:
            raise RequestMalformed("a line that is no field")
        name, value = found[1], found[2].strip()
        self.to_bytes = b"%b: %b\r\n" % (name, value)
        self.field = (name.decode(), value.decode("latin-1"))
        lowered = self.field[0].lower()
        # A name with an underscore may be another's twin.
        self.passes = lowered not in _READ and "_" not in lowered
        self.passes = self.passes and not is_read_for_machines(lowered)
        is_connection = lowered == "connection"
        self.names_others = is_connection and bool(
            connection_options([self.field]) - _NO_FIELDS - _READ
        )


Lines = tuple[Line | None, ...]
REMEMBERED_LENGTH = 4096  # bounds what strangers can fill the memories of lines with


@lru_cache(maxsize=1024)
def _line(raw: bytes) -> Line:
    return Line(raw)


def forget_lines() -> None:
    """Begin anew with what is remembered of lines: some are credentials."""
    _line.cache_clear()


def lines_of(raw: bytes, most: int) -> Sequence[Line]:
    """The lines in `raw`, each of which ends with CRLF.

    Raises:
        RequestMalformed: they are more than `most`, or one is no field.
    """
    parts = raw.split(b"\r\n")[:-1]
    if len(parts) > most:
        raise RequestMalformed("more fields than anybody sends", status=431)
    read = Line if len(raw) > REMEMBERED_LENGTH else _line
    return [read(part) for part in parts]


def told_apart(lines: Sequence[Line]) -> tuple[Lines, Sequence[bytes]]:
    """The lines that are read, with None for each run between them, and these runs."""
    read: list[Line | None] = []
    passing: list[bytes] = []
    for line in lines:
        if line.names_others:
            return tuple(lines), ()
        if not line.passes:
            read.append(line)
        elif read and read[-1] is None:
            passing[-1] += line.to_bytes
        else:
            read.append(None)
            passing.append(line.to_bytes)
    return tuple(read), passing


class ChangingValue:
    """Where in a connection's heads the one value stands that is another each time.

    Nothing of a head is kept: its place is counted from the beginning of the lines, and from
    their end, and so it is in the run that it passes with.
    """

    __slots__ = ("_at", "_before", "_behind", "_run_before", "_run_behind")

    def __init__(self, before: int, behind: int, at: int, run_before: int, run_behind: int) -> None:
        self._before, self._behind = before, behind
        self._at, self._run_before, self._run_behind = at, run_before, run_behind

    def put(self, passing: Sequence[bytes], was: bytes, now: bytes) -> Sequence[bytes] | None:
        """The runs with the value in the lines `now`; None if more differs from what `was`.

        All else has been checked, and a value that passes is only a value.
        """
        before, behind = self._before, len(now) - self._behind
        if behind < before or now[:before] != was[:before] or now[behind:] != was[-self._behind :]:
            return None
        value = now[before:behind].strip(b" \t")
        if not _VALUE.fullmatch(value):
            return None
        runs = list(passing)
        run = runs[self._at]
        runs[self._at] = run[: self._run_before] + value + run[len(run) - self._run_behind :]
        return runs


def changing_value(
    was: bytes, now: bytes, lines: Sequence[Line], passing: Sequence[bytes]
) -> ChangingValue | None:
    """Where `now`, with these lines and runs, differs from what `was`.

    None if it does not in one value alone that passes.
    """
    old, new = was.split(b"\r\n"), now.split(b"\r\n")
    if not passing or len(old) != len(new):
        return None
    changed = list(compress(range(len(new)), map(ne, old, new)))
    if len(changed) != 1 or not lines[changed[0]].passes:
        return None
    number = changed[0]
    before = sum(len(line) + 2 for line in new[:number]) + len(lines[number].field[0]) + 1
    behind = sum(len(line) + 2 for line in new[number + 1 :])
    return ChangingValue(before, behind, *_place(lines, number, passing))


def _place(lines: Sequence[Line], number: int, passing: Sequence[bytes]) -> tuple[int, int, int]:
    """The run that a line passes with, and how much of it stands before and behind its value."""
    read, runs = told_apart(lines[:number])
    goes_on = bool(read) and read[-1] is None
    at = len(runs) - goes_on
    line = lines[number]
    begins = len(runs[-1]) if goes_on else 0
    ends = begins + len(line.to_bytes)
    value_begins = begins + len(line.field[0]) + len(": ")
    return at, value_begins, len(passing[at]) - ends + len("\r\n")
