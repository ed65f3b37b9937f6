"""What this process knows of sessions and grants, and since when. It asks nobody.

Two instants go with each thing known, both by `Clock.monotonic()`: when the question was sent
whose answer said so, and when that answer came. The first says how long it may be relied on;
a store whose answer to a question sent after the second says less has lost something.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from sidecar.core.grant import Grant
from sidecar.core.session import Session, SessionKey
from sidecar.flows.records import Live
from sidecar.ports import RecordKind, RecordName

HOLDS_SECONDS = 1.0
IN_USE_SECONDS = 60.0
REMEMBERED_SECONDS = 600.0
STOOD_STILL_SECONDS = 5.0  # longer than a busy machine keeps a process waiting
_SESSION_BYTES = 1500  # the object, its key, strings and place in the dictionaries; measured
_MOST_ENDS = 50_000
_NEVER = float("-inf")
_GRANT_BYTES = 2000  # the same, without its tokens

T = TypeVar("T")


@dataclass(slots=True)
class Known(Generic[T]):
    """A record as it was last known to stand in the store."""

    name: RecordName
    value: T
    write_id: str
    asked_at: float
    told_at: float
    used_at: float
    size: int
    put_back_at: float = _NEVER
    live: Live | None = None
    """A session with its grant: the same object as long as neither changes."""


@dataclass(frozen=True, slots=True)
class End:
    """A tombstone as it was written or seen."""

    reason: str
    write_id: str
    told_at: float
    fresh: bool
    """Whether it was written just then; an old one may soon end in the store by itself."""


@dataclass(slots=True)
class Cache:
    """Sessions, grants and ends, bounded in bytes; those used least lately go first."""

    max_bytes: int
    remembered_seconds: float = REMEMBERED_SECONDS
    round_at: float = _NEVER
    """When the last round began in which all that is in use was confirmed, or settled."""
    bytes: int = 0
    _beat_at: float | None = None
    _awake_since: float = _NEVER
    sessions: dict[SessionKey, Known[Session]] = field(default_factory=dict)
    grants: dict[str, Known[Grant]] = field(default_factory=dict)
    ends: dict[RecordName, End] = field(default_factory=dict)
    has_tokens: Callable[[Grant], None] = field(default=lambda _: None)
    """Told of each grant whose ID token was not known here."""

    def count(self) -> Mapping[str, int]:
        """How many sessions are known here, and of how many people."""
        people = {key.user_tag for key in self.sessions}
        return {"sessions": len(self.sessions), "people": len(people)}

    def beat(self, now: float) -> None:
        """This process runs. To be told twice a second."""
        self._awake_since, self._beat_at = self.awake_since(now), now

    def awake_since(self, now: float) -> float:
        """Since when this process has not stood still (`Clock.monotonic()`).

        While it was stopped, or its machine suspended, others renewed, logged out and died: what
        it knew from before is not to be built on where the store says nothing of it.
        """
        if self._beat_at is not None and now - self._beat_at > STOOD_STILL_SECONDS:
            return now
        return self._awake_since

    def live(self, key: SessionKey, now: float) -> Live | None:
        """A session with its grant, if both may be relied on now."""
        known, since = self.sessions.get(key), now - HOLDS_SECONDS
        if known is None or known.asked_at <= since:
            return None
        session = known.value
        grant = self.grants.get(session.grant_id)
        if grant is None or grant.asked_at <= since:
            return None
        known.used_at = grant.used_at = now
        live = known.live
        if live is None or live.grant is not grant.value or live.session is not session:
            live = known.live = Live(session, grant.value)
        return live

    def missed_by_round(self, known: Known[T]) -> bool:
        """Whether the last round left it out: somebody may have ended it meanwhile.

        What an answer told of after that round began it could not ask for, and need not.
        """
        return known.told_at < self.round_at

    def unconfirmed(
        self, key: SessionKey, since: float, now: float, *, by_round: bool = False
    ) -> Live | None:
        """A session with its grant as they were known at `since` or later, if not ended.

        `by_round`: only what the last round has not left out.
        """
        known = self.sessions.get(key)
        grant = self.grants.get(known.value.grant_id) if known else None
        if known is None or grant is None or min(known.asked_at, grant.asked_at) < since:
            return None
        if by_round and (self.missed_by_round(known) or self.missed_by_round(grant)):
            return None
        known.used_at = grant.used_at = now
        return Live(known.value, grant.value)

    def note_session(self, session: Session, write_id: str, asked_at: float, now: float) -> None:
        """A session stands in the store, as an answer has said that came now."""
        name = session_name(session.key)
        if name in self.ends:
            return
        self._forget_session(session.key)
        size = _SESSION_BYTES + len(session.user_agent) + len(session.provider_sid)
        self.sessions[session.key] = Known(name, session, write_id, asked_at, now, now, size)
        self._grow(size)

    def note_grant(
        self,
        grant: Grant,
        write_id: str,
        asked_at: float,
        now: float,
        *,
        used: bool = True,
        put_back: bool = False,
    ) -> None:
        """A grant stands in the store, as an answer has said that came now.

        It is `used` by whoever read or wrote it, not by being looked after.
        """
        name = grant_name(grant.user_tag, grant.id)
        if name in self.ends:
            return
        before = self.grants.get(grant.id)
        if before and before.value is grant and before.write_id == write_id and not put_back:
            before.asked_at, before.told_at = max(asked_at, before.asked_at), now
            before.used_at = now if used else before.used_at
            return
        if before and grant.is_behind(before.value):
            return  # a late answer
        used_at = now if used or before is None else before.used_at
        put_back_at = now if put_back else before.put_back_at if before else _NEVER
        self._forget_grant(grant.id)
        tokens = grant.tokens
        size = _GRANT_BYTES + sum(
            len(token)
            for token in (
                tokens.id_token,
                tokens.access_token,
                tokens.refresh_token,
                *(other.refresh_token for other in grant.others),
            )
        )
        self.grants[grant.id] = Known(
            name, grant, write_id, asked_at, now, used_at, size, put_back_at
        )
        self._grow(size)
        if before is None or before.value.tokens.id_token != tokens.id_token:
            self.has_tokens(grant)

    def note_end(
        self, name: RecordName, reason: str, write_id: str, now: float, *, fresh: bool
    ) -> None:
        """A record has ended. Nothing un-ends it."""
        self.forget(name)
        self.ends[name] = End(reason, write_id, now, fresh)
        if len(self.ends) > _MOST_ENDS:
            del self.ends[next(iter(self.ends))]

    def forget(self, name: RecordName) -> None:
        """Nothing is known of a record any more."""
        if name.kind is RecordKind.SESSION:
            self._forget_session(SessionKey(name.user_tag, name.id))
        else:
            self._forget_grant(name.id)

    def seen(self, session: Session, at: float) -> None:
        """A session's use was noted in the store."""
        known = self.sessions.get(session.key)
        if known:
            known.value = replace(known.value, last_seen_at=at)

    def use(self, key: SessionKey, now: float) -> None:
        """Something of a session is open, so it is in use."""
        known = self.sessions.get(key)
        if known:
            known.used_at = now
            grant = self.grants.get(known.value.grant_id)
            if grant:
                grant.used_at = now

    def to_confirm(self, now: float) -> list[tuple[RecordName, str]]:
        """What has ended lately, and what is in use, each with the write that is known of it."""
        self._forget_old(now)
        ends = ((name, end.write_id) for name, end in self.ends.items() if end.fresh)
        return [*ends, *self._in_use(now)]

    def confirmed(self, name: RecordName, write_id: str, asked_at: float, now: float) -> None:
        """A record stood as it is known when it was asked for, unless it has changed meanwhile."""
        known: Known[Session] | Known[Grant] | None
        if name.kind is RecordKind.SESSION:
            known = self.sessions.get(SessionKey(name.user_tag, name.id))
        else:
            known = self.grants.get(name.id)
        if known and known.write_id == write_id:
            known.asked_at, known.told_at = max(asked_at, known.asked_at), now

    def knows(self, name: RecordName) -> bool:
        """Whether a record is known to live."""
        if name.kind is RecordKind.SESSION:
            return SessionKey(name.user_tag, name.id) in self.sessions
        return name.id in self.grants

    def sessions_of(self, grant_id: str) -> list[SessionKey]:
        """The sessions that are known to have a grant."""
        return [key for key, known in self.sessions.items() if known.value.grant_id == grant_id]

    def _in_use(self, now: float) -> Iterator[tuple[RecordName, str]]:
        since = now - IN_USE_SECONDS
        for session in self.sessions.values():
            if session.used_at >= since:
                yield session.name, session.write_id
        for grant in self.grants.values():
            if grant.used_at >= since:
                yield grant.name, grant.write_id

    def _forget_old(self, now: float) -> None:
        since = now - self.remembered_seconds
        for key in [k for k, known in self.sessions.items() if known.told_at < since]:
            self._forget_session(key)
        for grant_id in [g for g, known in self.grants.items() if known.told_at < since]:
            self._forget_grant(grant_id)
        for name in [name for name, end in self.ends.items() if end.told_at < since]:
            del self.ends[name]

    def _forget_session(self, key: SessionKey) -> None:
        known = self.sessions.pop(key, None)
        self.bytes -= known.size if known else 0

    def _forget_grant(self, grant_id: str) -> None:
        known = self.grants.pop(grant_id, None)
        self.bytes -= known.size if known else 0

    def _grow(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self.max_bytes:
            self._forget_least_used()

    def _forget_least_used(self) -> None:
        """Make room for a tenth, so that it need not be made each time."""
        entries: list[tuple[float, RecordName]] = [
            *((known.used_at, known.name) for known in self.sessions.values()),
            *((known.used_at, known.name) for known in self.grants.values()),
        ]
        for _, name in sorted(entries):
            if self.bytes <= self.max_bytes * 9 // 10:
                return
            self.forget(name)


def session_name(key: SessionKey) -> RecordName:
    """Where a session's record stands."""
    return RecordName(RecordKind.SESSION, key.user_tag, key.digest)


def grant_name(tag: str, grant_id: str) -> RecordName:
    """Where a grant's record stands."""
    return RecordName(RecordKind.GRANT, tag, grant_id)
