"""An operator at the command line, whose commands run in the test's own process."""

import json
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from sidecar.commands import keys, sessions
from sidecar.operating import add_keys, add_sessions
from sidecar.ports import Clock

_WORK = {
    ("sessions", "list"): sessions.list_sessions,
    ("sessions", "end"): sessions.end_sessions,
    ("keys", "status"): keys.status,
    ("keys", "rotate"): keys.rotate,
    ("keys", "derived"): keys.derived,
}


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    error: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its answer for programs, where that is a line for each.

        The sidecar that the tests have beside it logs to the same place.
        """
        read = [json.loads(line) for line in self.out.splitlines()]
        return [line for line in read if "event" not in line]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The audit events."""
        return [json.loads(line) for line in self.error.splitlines() if line.startswith("{")]

    @property
    def words(self) -> str:
        """What it said to the person."""
        rest = [line for line in self.error.splitlines() if not line.startswith("{")]
        return "\n".join([self.out, *rest])


@dataclass
class Operator:
    """Who has a sidecar's environment, as `kubectl exec` gives it."""

    environ: Mapping[str, str]
    clock: Clock
    captured: pytest.CaptureFixture[str]

    async def run(self, *arguments: str, **changes: str) -> Said:
        """Run a command, with the environment changed by so much."""
        parser = ArgumentParser()
        commands = parser.add_subparsers()
        add_sessions(commands)
        add_keys(commands)
        given = parser.parse_args(arguments)
        if arguments[:2] == ("sessions", "list") and given.limit is None:
            given.limit = 0
        self.captured.readouterr()
        code = await _WORK[arguments[0], arguments[1]](
            given, {**self.environ, **changes}, self.clock
        )
        said = self.captured.readouterr()
        return Said(code, said.out, said.err)
