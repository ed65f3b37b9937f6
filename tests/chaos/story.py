"""What happened to one grant of a chaos run, in its order: for whoever looks for the reason."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sidecar.core.session import user_tag
from tests.chaos.evidence import Evidence, Halt
from tests.hostile.log import Entry

MOST_LINES = 120
SECONDS_BEFORE = 60.0
_SAID_ANYWAY = ("level", "timestamp", "event", "user", "request_id")

_Line = tuple[float, str]


def story(evidence: Evidence, grant: int, logs: Path) -> list[str]:
    """What the provider, the replicas and the browser had to do with a grant, and the faults.

    Instants are in seconds, before and after its last entry at the provider or its user's last
    forced login.
    """
    entries = [entry for entry in evidence.log if entry.grant == grant]
    if not entries:
        return []
    user = entries[0].user
    logins = [login for login in evidence.forced_logins if login.user == user]
    end = max(entries[-1].monotonic, *(login.at for login in logins), 0.0)
    lines: list[_Line] = [
        *((each.monotonic, _of_provider(evidence, each)) for each in entries),
        *((login.at, f"{user} is told to log in: {login.how}") for login in logins),
        *(
            (asked.at, f"browser: {asked.replica} answers {asked.status}")
            for asked in evidence.answers.asked
            if asked.user == user
        ),
        *_faults(evidence),
    ]
    tag = user_tag(evidence.issuer, evidence.client_id, user)
    wall_ahead = entries[0].wall - entries[0].monotonic
    for log in sorted(logs.glob("*.log")):
        lines += ((at - wall_ahead, line) for at, line in _of_replica(log, tag))
    near = sorted(line for line in lines if end - SECONDS_BEFORE <= line[0])
    return [f"{at - end:8.3f} {text}" for at, text in near[-MOST_LINES:]]


def _of_provider(evidence: Evidence, entry: Entry) -> str:
    what = f"provider: {entry.kind} by {entry.replica or 'nobody'}, token {entry.presented}"
    if entry.given_sha256:
        stored = evidence.stored.get(entry.given_sha256)
        later = "never" if stored is None else f"{stored - entry.monotonic:.3f} s later"
        what += f", gave {entry.given}, stored {later}"
    return f"{what} {entry.detail}".rstrip()


def _faults(evidence: Evidence) -> Iterator[_Line]:
    for kill in evidence.kills:
        yield kill.at, f"fault: {_halted(kill)} is killed"
    for stop in evidence.stops:
        yield stop.at, f"fault: {_halted(stop)} stands still"
        if stop.until is not None:
            yield stop.until, f"fault: {stop.replica} goes on"
    yield from ((at, f"fault: {what}") for at, what in evidence.faults)


def _halted(halt: Halt) -> str:
    return f"{halt.replica}, with {len(halt.ports)} requests at the provider,"


def _of_replica(log: Path, tag: str) -> Iterator[_Line]:
    for line in log.read_text(errors="replace").splitlines():
        if tag not in line:
            continue
        said = json.loads(line)
        at = datetime.fromisoformat(said["timestamp"]).timestamp()
        rest = {name: value for name, value in said.items() if name not in _SAID_ANYWAY}
        yield at, f"{log.stem}: {said['event']} {rest or ''}".rstrip()
