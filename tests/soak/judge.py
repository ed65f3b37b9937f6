"""Why somebody had to log in: by what the provider wrote, the store had, and what was broken.

At a provider with strict rotation no client survives that the answer to a refresh, once
committed, reaches nobody: it died with the process that asked, or was cut off on the wire. All
that is left then is one try with the spent token, which ends the grant. Such a login is
explained where all witnesses agree, and by nothing less. Instants are monotonic.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.evidence import Answers, Evidence, Halt
from tests.chaos.verdict import COMMITTED_WITHIN_SECONDS, lost_with
from tests.faults.proxy import Loss
from tests.hostile.log import Entry

KEPT_GRANTS, KEPT_ENTRIES = 3000, 60
KEPT_HALTS = 500


class Why(StrEnum):
    """Why a grant was over."""

    SCRIPT = "ended_by_script"
    PROCESS = "answer_died_with_its_process"
    WIRE = "answer_cut_on_the_wire"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, kw_only=True)
class Forced:
    """A browser that was logged in, and was told to log in."""

    user: str
    grant: int
    at: float
    how: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known about a grant, and what was broken."""

    log: Sequence[Entry]
    stored: Mapping[str, float]
    kills: Sequence[Halt] = ()
    losses: Sequence[Loss] = ()


def why(facts: Facts, *, at: float) -> Why:
    """Why the grant was over at an instant."""
    past = [entry for entry in facts.log if entry.monotonic <= at]
    if any(entry.kind == "ended_by_script" for entry in past):
        return Why.SCRIPT
    reuse = next((entry for entry in past if entry.kind == "reuse"), None)
    return Why.UNEXPLAINED if reuse is None else why_reused(facts, reuse)


def why_reused(facts: Facts, reuse: Entry) -> Why:
    """Why a spent token was presented: its answer was lost, and to whom, or there is no reason."""
    given = next((entry for entry in facts.log if _answers(entry, reuse)), None)
    if given is None or _is_known(facts, given.given_sha256):
        return Why.UNEXPLAINED
    if any(_is_of(loss, given) for loss in facts.losses):
        return Why.WIRE
    evidence = Evidence(
        log=facts.log,
        stored=facts.stored,
        kills=facts.kills,
        stops=(),
        forced_logins=(),
        answers=Answers(),
    )
    return Why.PROCESS if lost_with(evidence, reuse) else Why.UNEXPLAINED


def _answers(entry: Entry, reuse: Entry) -> bool:
    """Whether an entry is the first exchange of the token that came again."""
    return (
        entry.kind == "refresh"
        and entry.presented_sha256 == reuse.presented_sha256
        and entry.sequence < reuse.sequence
    )


def _is_known(facts: Facts, given_sha256: str) -> bool:
    """Whether anybody has had the token that was given: the store, or who presented it."""
    presented = any(entry.presented_sha256 == given_sha256 for entry in facts.log)
    return presented or given_sha256 in facts.stored


def _is_of(loss: Loss, given: Entry) -> bool:
    """Whether what was lost is this answer: by the port that the provider saw, at that time."""
    return (
        loss.server_port == given.peer_port
        and loss.began_at <= given.monotonic
        and given.monotonic <= loss.at + COMMITTED_WITHIN_SECONDS
    )


@dataclass
class Ledger:
    """What the provider has written, by grant, and no more of it than is needed."""

    counts: Counter[str] = field(default_factory=Counter)
    last: int = 0
    """The last sequence number that was read."""

    _grants: OrderedDict[int, deque[Entry]] = field(default_factory=OrderedDict)
    _latest: dict[str, int] = field(default_factory=dict)

    def add(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Read these; the reuses among them."""
        for entry in entries:
            self.last = entry.sequence
            self.counts[entry.kind] += 1
            if entry.kind == "login":
                self._latest[entry.user] = entry.grant
            if entry.grant:
                grant = self._grants.setdefault(entry.grant, deque(maxlen=KEPT_ENTRIES))
                grant.append(entry)
                self._grants.move_to_end(entry.grant)
            if entry.kind == "reuse":
                yield entry
        while len(self._grants) > KEPT_GRANTS:
            self._grants.popitem(last=False)

    def of(self, grant: int) -> list[Entry]:
        """What is kept of a grant."""
        return list(self._grants.get(grant, ()))

    def latest(self, user: str) -> int:
        """The grant of somebody's last login; 0 without one."""
        return self._latest.get(user, 0)


def told(facts: Facts, *, at: float) -> list[str]:
    """What was known of a grant, in lines, for whoever looks for the reason."""
    lines = []
    for entry in facts.log:
        stored = facts.stored.get(entry.given_sha256)
        known = f", stored {stored - entry.monotonic:+.2f} s" if stored else ""
        lines.append(
            f"{entry.monotonic - at:9.3f} {entry.kind} by {entry.replica or 'nobody'}, port "
            f"{entry.peer_port}, token {entry.presented} for {entry.given}{known} {entry.detail}"
        )
    ports = {entry.peer_port for entry in facts.log}
    lines += [
        f"{loss.at - at:9.3f} link: {loss.fault} lost the answer at port {loss.server_port}"
        for loss in facts.losses
        if loss.server_port in ports
    ]
    lines += [f"{kill.at - at:9.3f} {kill.replica} is killed" for kill in facts.kills]
    return sorted(lines, key=lambda line: float(line.split()[0]))
