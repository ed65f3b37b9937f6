"""Where a rotation of the keys is, and what is to be done next. Plain functions over values.

A new key is added behind the others, so that every replica opens by it before any seals by it;
then it is written first; then what the others sealed is sealed anew; then they are taken out, when
no cookie that they signed can still come.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import NamedTuple

from sidecar.core.authorization import ATTEMPT_LIFE_SECONDS
from sidecar.core.sealing import Key, is_derived, key_check

# What a key sealed that is in no record, a login's state, has ended by then.
LOGINS_END_SECONDS = ATTEMPT_LIFE_SECONDS + 60.0
# In a tally: what does not open by the key whose id it has. It may be another installation's.
NOT_OURS = "?"
_MOST_KEYS = 64


class KeyMark(NamedTuple):
    """A key without the key: its id, and a word by which two keys of one id are told apart."""

    id: str
    check: str


class Step(StrEnum):
    """What comes next, by a word for programs."""

    BEGIN = auto()
    """Nothing has to be done; a rotation begins with a new key."""
    DERIVED = auto()
    """Nothing can be done: the key follows from Argo CD's own."""
    NO_REPORTS = auto()
    TWO_KEYS_OF_ONE_ID = auto()
    WAIT_ADDED = auto()
    WRITE_FIRST = auto()
    WAIT_IN_USE = auto()
    RESEAL = auto()
    WAIT_REVOCATIONS = auto()
    WAIT_COOKIES = auto()
    WAIT_LOGINS = auto()
    TAKE_OUT = auto()
    WAIT_TAKEN_OUT = auto()


@dataclass(frozen=True, slots=True)
class ReplicaKeys:
    """What a replica has said of its keys; the first one is in use there."""

    name: str
    reported_at: float
    keys: tuple[KeyMark, ...]


@dataclass(slots=True)
class Tally:
    """What lives by the key that sealed it, and sessions by the key that signed their cookie.

    "" is a key that is not known, as with sessions that an earlier release made.
    """

    sessions: Counter[str] = field(default_factory=Counter)
    grants: Counter[str] = field(default_factory=Counter)
    revocations: Counter[str] = field(default_factory=Counter)
    signed: Counter[str] = field(default_factory=Counter)
    signed_until: dict[str, float] = field(default_factory=dict)

    def sealed(self, key_id: str) -> int:
        """How many records a key has sealed."""
        return self.sessions[key_id] + self.grants[key_id]

    def note_signed(self, key_id: str, ends_at: float) -> None:
        """Count a live session's cookie."""
        self.signed[key_id] += 1
        self.signed_until[key_id] = max(ends_at, self.signed_until.get(key_id, 0.0))


@dataclass(frozen=True, slots=True)
class Advice:
    """The next step, about which key, and who or what is waited for."""

    step: Step
    key_id: str = ""
    replicas: tuple[str, ...] = ()
    count: int = 0
    until: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether nothing is left of a rotation."""
        return self.step in (Step.BEGIN, Step.DERIVED)


def marks(keys: Iterable[Key]) -> tuple[KeyMark, ...]:
    """Keys as they are told of; the first one is in use."""
    return tuple(KeyMark(key.id, key_check(key)) for key in keys)


def write_report(keys: Iterable[Key]) -> str:
    """What a replica says of its keys."""
    return json.dumps(marks(keys))


def read_reports(said: Mapping[str, tuple[float, str]]) -> list[ReplicaKeys]:
    """What the replicas have said; who says nothing that makes sense has not reported."""
    found = ((name, at, _read_marks(report)) for name, (at, report) in sorted(said.items()))
    return [ReplicaKeys(_printable(name), at, keys) for name, at, keys in found if keys]


def next_step(
    own: Sequence[KeyMark],
    replicas: Sequence[ReplicaKeys],
    used_at: Mapping[str, float],
    tally: Tally,
    *,
    now: float,
) -> Advice:
    """What is to be done next, with the keys that are configured here.

    `used_at` is when a key was last in use at any replica. Instants are by the store's clock.
    """
    if not replicas:
        return Advice(Step.NO_REPORTS)
    if two := next(_two_of_one_id(own, replicas), None):
        return Advice(Step.TWO_KEYS_OF_ONE_ID, *two)
    first, others = own[0], own[1:]
    used = {*used_at, *tally.sessions, *tally.grants, *tally.signed}
    if unused := [key for key in others if key.id not in used]:
        return _to_be_used(unused[0], replicas)
    if late := _without(replicas, lambda r: r.keys[0] == first):
        return Advice(Step.WAIT_IN_USE, first.id, late)
    if others:
        return _to_be_taken_out(others, used_at, tally, now)
    if late := _without(replicas, lambda r: r.keys == tuple(own)):
        return Advice(Step.WAIT_TAKEN_OUT, first.id, late)
    return Advice(Step.DERIVED if is_derived(first.id) else Step.BEGIN, first.id)


def missing_keys(own: Sequence[KeyMark], tally: Tally) -> dict[str, int]:
    """How many live records a key has sealed that is not here, by its id.

    What a derived key has replaced nobody will ever have again, and nobody misses.
    """
    here, derived = {key.id for key in own}, is_derived(own[0].id)
    ids = {*tally.sessions, *tally.grants} - here - {NOT_OURS}
    ids = {key_id for key_id in ids if not (derived and is_derived(key_id))}
    return {key_id: tally.sealed(key_id) for key_id in sorted(ids) if tally.sealed(key_id)}


def _to_be_used(key: KeyMark, replicas: Sequence[ReplicaKeys]) -> Advice:
    late = _without(replicas, lambda r: key in r.keys)
    return Advice(Step.WAIT_ADDED if late else Step.WRITE_FIRST, key.id, late)


def _to_be_taken_out(
    others: Sequence[KeyMark], used_at: Mapping[str, float], tally: Tally, now: float
) -> Advice:
    """The first of the old keys that may go; else what the first one is waited with for."""
    advice = [_to_be_ended(key.id, used_at, tally, now) for key in others]
    if reseal := [one for one in advice if one.step is Step.RESEAL]:
        return Advice(Step.RESEAL, reseal[0].key_id, count=sum(one.count for one in reseal))
    return next((one for one in advice if one.step is Step.TAKE_OUT), advice[0])


def _to_be_ended(key_id: str, used_at: Mapping[str, float], tally: Tally, now: float) -> Advice:
    if sealed := tally.sealed(key_id):
        return Advice(Step.RESEAL, key_id, count=sealed)
    if waiting := tally.revocations[key_id]:
        return Advice(Step.WAIT_REVOCATIONS, key_id, count=waiting)
    if signed := tally.signed[key_id] + tally.signed[""]:
        until = max(tally.signed_until.get(of, 0.0) for of in (key_id, ""))
        return Advice(Step.WAIT_COOKIES, key_id, count=signed, until=until)
    logins_end_at = used_at[key_id] + LOGINS_END_SECONDS
    if logins_end_at > now:
        return Advice(Step.WAIT_LOGINS, key_id, until=logins_end_at)
    return Advice(Step.TAKE_OUT, key_id)


def _two_of_one_id(
    own: Sequence[KeyMark], replicas: Sequence[ReplicaKeys]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Keys that have the id of one of ours and are others, with the replicas that have them."""
    for key in own:
        having = [r.name for r in replicas if any(_is_another(key, theirs) for theirs in r.keys)]
        if having:
            yield key.id, tuple(having)


def _is_another(key: KeyMark, theirs: KeyMark) -> bool:
    return theirs.id == key.id and theirs.check != key.check


def _without(
    replicas: Sequence[ReplicaKeys], has: Callable[[ReplicaKeys], bool]
) -> tuple[str, ...]:
    return tuple(replica.name for replica in replicas if not has(replica))


def _read_marks(report: str) -> tuple[KeyMark, ...]:
    """The keys of a report, none of them if it cannot be understood."""
    try:
        said = json.loads(report[:16384])
        found = [KeyMark(str(key_id), str(check)) for key_id, check in said]
    except (ValueError, TypeError, RecursionError):
        return ()
    usable = all(k.id.isalnum() and len(k.id) <= 32 and k.check.isalnum() for k in found)
    return tuple(found) if usable and len(found) <= _MOST_KEYS else ()


def _printable(text: str) -> str:
    """A name that does nothing to a terminal."""
    return "".join(c for c in text if c.isprintable())[:100]
