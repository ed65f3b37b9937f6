"""Whether a chaos run was good: by the logs alone, and without mercy."""

import bisect
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.evidence import Evidence, ForcedLogin, Halt
from tests.hostile.log import Entry

RENEWALS = 500
LEASE_HOLDER_KILLS = 20
# The provider goes on with a request whose sender has died: it waits, then commits.
COMMITTED_WITHIN_SECONDS = 2.0
SEEN_WITHIN_SECONDS = 1.0  # the store is looked at more often than that


@dataclass(kw_only=True)
class Verdict:
    """What happened, and what of it must not."""

    renewals: int
    kills: int
    lease_holder_kills: int
    lease_holder_stops: int
    requests: int
    status_503: int
    forced_logins: int = 0
    ended_by_script: int = 0
    excused_by_kill: int = 0
    excused_by_stop: int = 0
    reuse_after_lost_answer: int = 0
    reuse_after_lost_refusal: int = 0
    reuse: int = 0
    expired_tokens: int = 0
    unheard: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    of_grants: set[int] = field(default_factory=set)
    """The grants that the failures are about."""

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {**asdict(self), "of_grants": sorted(self.of_grants)}


def verdict(evidence: Evidence, *, excuses: bool) -> Verdict:
    """The verdict; with `excuses` an answer that died with its process may cost a login."""
    answers = evidence.answers
    found = Verdict(
        renewals=renewals(evidence),
        kills=len(evidence.kills),
        lease_holder_kills=sum(kill.held_a_lease for kill in evidence.kills),
        lease_holder_stops=sum(stop.held_a_lease for stop in evidence.stops),
        requests=answers.statuses.total(),
        status_503=answers.statuses[503],
        expired_tokens=evidence.expired_tokens,
        unheard=dict(answers.unheard),
    )
    if found.renewals < RENEWALS:
        found.failures.append(f"only {found.renewals} renewals of {RENEWALS}")
    if found.lease_holder_kills < LEASE_HOLDER_KILLS:
        found.failures.append(
            f"only {found.lease_holder_kills} kills of a lease holder of {LEASE_HOLDER_KILLS}"
        )
    if not found.lease_holder_stops:
        found.failures.append("no lease holder was stopped")
    if answers.without_retry_after:
        found.failures.append(f"{answers.without_retry_after} answers of 503 without Retry-After")
    found.failures += answers.strange
    if evidence.expired_tokens:
        found.failures.append(f"{evidence.expired_tokens} expired tokens went up")
    _judge_reuses(evidence, found)
    for login in evidence.forced_logins:
        _judge_login(evidence, login, found, excuses=excuses)
    return found


def renewals(evidence: Evidence) -> int:
    """How many refreshes the provider has given whose token has reached the store."""
    return sum(e.kind == "refresh" and e.given_sha256 in evidence.stored for e in evidence.log)


def lost_with(evidence: Evidence, reuse: Entry) -> tuple[Entry, Halt] | None:
    """The answer that a reused token had been given before, and the process that it was lost with.

    None unless all speak for it: the commit log (what was given for this very token, to which
    replica and port), the store (it never had it, nor did anybody present it), and the list of
    kills and stops (that process ended with it, or stood still all the while).
    """
    for given in evidence.log:
        if given.kind != "refresh" or given.grant != reuse.grant or given.repeated:
            continue
        if given.presented_sha256 != reuse.presented_sha256 or given.sequence > reuse.sequence:
            continue
        halt = _holder(evidence, given)
        if halt is None or halt.at > reuse.monotonic:
            return None
        known = evidence.stored.get(given.given_sha256)
        if halt.until is None:
            never_known = known is None and not _presented(evidence.log, given.given_sha256)
            return (given, halt) if never_known else None
        unknown = known is None or known > reuse.monotonic
        return (given, halt) if unknown and reuse.monotonic <= halt.until else None
    return None


def _presented(log: Sequence[Entry], sha256: str) -> bool:
    return any(entry.presented_sha256 == sha256 for entry in log)


def _holder(evidence: Evidence, given: Entry) -> Halt | None:
    """The halt of the process that had asked: it waited for the answer, or had it in hand."""
    for halt in sorted((*evidence.kills, *evidence.stops), key=lambda each: each.at):
        if halt.replica != given.replica:
            continue
        waited = given.peer_port in halt.ports
        if waited and halt.at - COMMITTED_WITHIN_SECONDS <= given.monotonic:
            late = COMMITTED_WITHIN_SECONDS if halt.until is None else halt.until - halt.at
            if given.monotonic <= halt.at + late:
                return halt
        if halt.started_at <= given.monotonic <= halt.at and _in_hand(halt, given, evidence):
            return halt
    return None


def _in_hand(halt: Halt, given: Entry, evidence: Evidence) -> bool:
    """Whether a process had an answer that it had not saved when it was halted."""
    known = evidence.stored.get(given.given_sha256)
    return halt.until is None or known is None or known > halt.at + SEEN_WITHIN_SECONDS


def _judge_reuses(evidence: Evidence, found: Verdict) -> None:
    """One try for each lost answer, another where its refusal died too; the rest is ours."""
    tries: dict[str, Entry] = {}
    for entry in evidence.log:
        if entry.kind != "reuse":
            continue
        before = tries.get(entry.presented_sha256)
        tries[entry.presented_sha256] = entry
        if before is None and lost_with(evidence, entry):
            found.reuse_after_lost_answer += 1
        elif before is not None and _refusal_was_lost(evidence, before, entry):
            found.reuse_after_lost_refusal += 1
        else:
            found.reuse += 1
            found.of_grants.add(entry.grant)
            found.failures.append(f"reuse of {_named(entry)}: {_history(evidence, entry)}")


def _refusal_was_lost(evidence: Evidence, refused: Entry, again: Entry) -> bool:
    """Whether the process that was refused had ended before it could say so to the others."""
    halt = _holder(evidence, refused)
    return (
        halt is not None
        and halt.at <= refused.monotonic + COMMITTED_WITHIN_SECONDS
        and halt.at < again.monotonic
    )


def _judge_login(evidence: Evidence, login: ForcedLogin, found: Verdict, *, excuses: bool) -> None:
    """A forced login is the script's, excused, or a failure."""
    number = grant_of(evidence.log, login)
    ends = [e for e in evidence.log if e.grant == number and e.monotonic <= login.at]
    if any(e.kind == "ended_by_script" for e in ends):
        found.ended_by_script += 1
        return
    found.forced_logins += 1
    reuse = next((e for e in ends if e.kind == "reuse"), None)
    lost = lost_with(evidence, reuse) if reuse else None
    if excuses and lost:
        if lost[1].until is None:
            found.excused_by_kill += 1
        else:
            found.excused_by_stop += 1
        return
    found.of_grants.add(number)
    why = f"after {_history(evidence, reuse)}" if reuse else "though the provider had ended nothing"
    found.failures.append(f"forced login ({login.how}) of {login.user}, grant {number}, {why}")


def grant_of(log: Sequence[Entry], login: ForcedLogin) -> int:
    """The grant that somebody had: their last login's before that instant, 0 without one."""
    logins = [e for e in log if e.kind == "login" and e.user == login.user]
    place = bisect.bisect([e.monotonic for e in logins], login.at)
    return logins[place - 1].grant if place else 0


def _named(entry: Entry) -> str:
    return f"token {entry.presented} of grant {entry.grant} ({entry.user}) by {entry.replica}"


def _history(evidence: Evidence, reuse: Entry) -> str:
    """What the log says of the token that was reused."""
    given = next(
        (
            e
            for e in evidence.log
            if e.kind == "refresh" and e.presented_sha256 == reuse.presented_sha256
        ),
        None,
    )
    if given is None:
        return f"{_named(reuse)}, which was never exchanged"
    halt = _holder(evidence, given)
    ended = "which went on" if halt is None else "which was killed"
    if halt and halt.until is not None:
        ended = "which was stopped"
    stored = "stored" if given.given_sha256 in evidence.stored else "never stored"
    return (
        f"{_named(reuse)} {reuse.monotonic - given.monotonic:.1f} s after it had been exchanged "
        f"by {given.replica}, {ended}; the new token was {stored}"
    )
