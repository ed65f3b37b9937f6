"""The store's records as this process may rely on them, put back where the store has lost them."""

from collections.abc import Callable
from dataclasses import replace

from sidecar.core.grant import Grant, Sharing
from sidecar.core.session import Session, SessionKey
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.flows.cache import (
    REMEMBERED_SECONDS,
    Cache,
    Known,
    T,
    grant_name,
    session_name,
)
from sidecar.flows.records import Live, Records
from sidecar.flows.schedule import Schedule
from sidecar.flows.tasks import Runtime
from sidecar.ports import Record, RecordKind, RecordName, SaveResult, Store

# After a loss is put right, nobody presents the grant's refresh token for this long: another
# replica may know of a newer one, and looks twice a second.
HOLD_SECONDS = 2.0
# For how long after a loss, or a connection made anew, there may be more that is not back yet.
_UNSURE_SECONDS = 10.0
_ATTEMPTS = 5


class Knowledge:
    """What stands in the store, by its own word and by what was known of it before.

    Only a tombstone ends a record. Where this process knows, from an answer that came before
    the question was sent, of a later state than the store has, the store has lost something
    (a failover, a lost disk, an eviction), and gets it back.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        cache: Cache,
        schedule: Schedule,
        runtime: Runtime,
        *,
        idle_seconds: float,
    ) -> None:
        self._store = store
        self._records = records
        self._cache = cache
        self._schedule = schedule
        self._idle_seconds = idle_seconds
        self.ended: Callable[[RecordName], None] = lambda _: None
        self._clock = runtime.clock
        self._metrics = runtime.metrics
        self._lost_at = float("-inf")
        self._log = runtime.log

    async def load(self, key: SessionKey) -> Live | None:
        """A session with its grant, None where the store has none and nothing is known.

        Raises:
            SessionOver: one of the two has ended, with the reason.
            StoreUnavailable: the store, or the key that a record needs, is not there.
        """
        asked_at = self._clock.monotonic()
        stored = await self._store.load(key)
        record, seen_at = (stored.session, stored.last_seen_at) if stored else (None, 0.0)
        session = await self.settle_session(key, record, asked_at, seen_at=seen_at)
        if session is None:
            return None
        if stored and stored.grant and stored.grant_id == session.grant_id:
            grant = await self.settle_grant(key.user_tag, session.grant_id, stored.grant, asked_at)
        else:  # the index beside a session is only a hint
            grant = await self.load_grant(key.user_tag, session.grant_id)
        return Live(session, grant) if grant else None

    async def load_grant(self, tag: str, grant_id: str) -> Grant | None:
        """A grant as it is now stored, None where nothing is and nothing is known.

        Raises:
            SessionOver: it has ended, with the reason.
            StoreUnavailable: the store, or the key that its record needs, is not there.
        """
        asked_at = self._clock.monotonic()
        record = await self._store.load_grant(tag, grant_id)
        return await self.settle_grant(tag, grant_id, record, asked_at)

    def sure_at(self, grant_id: str) -> float:
        """From when on (`Clock.monotonic()`) nobody else can know more of a grant.

        Until then its refresh token is not to be presented: the store may have lost a newer one.
        """
        known = self._cache.grants.get(grant_id)
        put_back_at = known.put_back_at if known else float("-inf")
        return max(put_back_at, self._store.interrupted_at) + HOLD_SECONDS

    @property
    def may_be_lost(self) -> bool:
        """Whether the store may lack what another replica will put back."""
        lately = max(self._lost_at, self._store.interrupted_at)
        return self._clock.monotonic() - lately < _UNSURE_SECONDS

    async def settle_session(
        self, key: SessionKey, record: Record | None, asked_at: float, *, seen_at: float
    ) -> Session | None:
        """A session, given what the store has answered to a question sent at `asked_at`."""
        name = session_name(key)
        self._refuse_ended(name, record)
        if record is not None:
            session = self._session_in(record, key, seen_at)
            now = self._clock.monotonic()
            self._cache.note_session(session, record.write_id, asked_at, now)
            return session
        known = self._cache.sessions.get(key)
        if known is None or asked_at < known.told_at:
            return known.value if known else None
        if not await self._may_be_put_back(known, self._idle_ends_at(known.value)):
            self._cache.forget(name)
            self.ended(name)
            return None
        return await self._put_back_session(known)

    async def settle_grant(
        self,
        tag: str,
        grant_id: str,
        record: Record | None,
        asked_at: float,
        *,
        used: bool = True,
    ) -> Grant | None:
        """A grant, given what the store has answered to a question sent at `asked_at`."""
        name = grant_name(tag, grant_id)
        for _ in range(_ATTEMPTS):
            self._refuse_ended(name, record)
            stored = self._grant_in(record, tag, grant_id) if record else None
            known = self._known_grant(tag, grant_id)
            if known is None or (stored and not stored.is_behind(known.value)):
                return self._note_grant(stored, record, asked_at, used=used)
            if asked_at < known.told_at:
                return known.value
            if not await self._may_be_put_back(known, known.value.ends_at):
                self._cache.forget(name)
                continue
            grant = await self._put_back_grant(known, stored)
            if grant is not None:
                return grant
            asked_at = self._clock.monotonic()
            record = await self._store.load_grant(tag, grant_id)
        raise StoreUnavailable("a grant changed too often to put it right")

    async def put_back_end(self, name: RecordName, record: Record | None) -> None:
        """What has ended stays ended, whatever a store says that has lost its tombstone."""
        end = self._cache.ends[name]
        if record is None or not record.ended:
            await self._store.put_back_end(name, reason=end.reason, write_id=end.write_id)
            self._count("end")
        else:
            self._cache.ends[name] = replace(end, write_id=record.write_id)

    def note_end(self, name: RecordName, reason: str, write_id: str) -> None:
        """A record has been ended here."""
        self._cache.note_end(name, reason, write_id, self._clock.monotonic(), fresh=True)
        self.ended(name)

    def _session_in(self, record: Record, key: SessionKey, seen_at: float) -> Session:
        known = self._cache.sessions.get(key)
        if known and _is_known(record, known.write_id):
            same = known.value.last_seen_at == seen_at
            return known.value if same else replace(known.value, last_seen_at=seen_at)
        return self._records.open_session(key, record, seen_at=seen_at)

    def _grant_in(self, record: Record, tag: str, grant_id: str) -> Grant:
        known = self._known_grant(tag, grant_id)
        if known and _is_known(record, known.write_id) and known.value.version == record.version:
            return known.value
        return self._records.open_grant(tag, grant_id, record)

    def _known_grant(self, tag: str, grant_id: str) -> Known[Grant] | None:
        """What is known of a user's grant: who writes to the store may copy another's here."""
        known = self._cache.grants.get(grant_id)
        return known if known and known.value.user_tag == tag else None

    def _refuse_ended(self, name: RecordName, record: Record | None) -> None:
        if record and record.ended and name not in self._cache.ends:
            fresh, now = self._cache.knows(name), self._clock.monotonic()
            self._cache.note_end(name, record.ended, record.write_id, now, fresh=fresh)
            self.ended(name)
        end = self._cache.ends.get(name)
        if end:
            raise SessionOver(end.reason)

    def _note_grant(
        self, grant: Grant | None, record: Record | None, asked_at: float, *, used: bool
    ) -> Grant | None:
        if grant and record:
            now = self._clock.monotonic()
            self._cache.note_grant(grant, record.write_id, asked_at, now, used=used)
        return grant

    async def _may_be_put_back(self, known: Known[T], ends_at: float) -> bool:
        """Whether the last round did not leave it out, and its own end has not passed.

        What no round looked after may have been ended by somebody whom the store has forgotten;
        so may what is known from before this process stood still.
        """
        now, cache = self._clock.monotonic(), self._cache
        since = max(now - REMEMBERED_SECONDS, cache.awake_since(now))
        if known.asked_at < since or cache.missed_by_round(known):
            return False
        return ends_at > await self._store.now()

    def _idle_ends_at(self, session: Session) -> float:
        return min(session.last_seen_at + self._idle_seconds, session.ends_at)

    async def _put_back_session(self, known: Known[Session]) -> Session:
        session, asked_at = known.value, self._clock.monotonic()
        self._lost_at = asked_at
        result = await self._store.put_back_session(
            session.key,
            self._records.seal_session(session, write_id=known.write_id),
            session.grant_id,
            seen_at=session.last_seen_at,
            idle_ends_at=self._idle_ends_at(session),
        )
        if result is not SaveResult.SAVED:
            self._cache.forget(session_name(session.key))
            raise StoreUnavailable("a session ended while it was put back")
        self._cache.confirmed(
            session_name(session.key), known.write_id, asked_at, self._clock.monotonic()
        )
        self._count(RecordKind.SESSION)
        return session

    async def _put_back_grant(self, known: Known[Grant], stored: Grant | None) -> Grant | None:
        """The grant as it stands in the store again, None where that has changed meanwhile."""
        grant, write_id, over = known.value, known.write_id, stored.version if stored else 0
        if grant.version <= over:
            grant, write_id = replace(grant, version=over + 1), self._records.new_write_id()
        asked_at = self._lost_at = self._clock.monotonic()
        result = await self._store.put_back_grant(
            grant.user_tag,
            grant.id,
            self._records.seal_grant(grant, write_id=write_id),
            over=over,
            hold_seconds=HOLD_SECONDS,
            shared=grant.sharing is Sharing.PER_USER,
        )
        if result is not SaveResult.SAVED:
            return None
        now = self._clock.monotonic()
        self._cache.note_grant(grant, write_id, asked_at, now, put_back=True)
        self._count(RecordKind.GRANT)
        await self._schedule.note(grant)
        return grant

    def _count(self, kind: str) -> None:
        self._metrics.put_back.labels(kind).inc()
        self._log.warning("put_back", record=kind, meaning="the store had lost it")


def _is_known(record: Record, write_id: str) -> bool:
    """Whether a record is the write that is known, which need not be opened again.

    Who forges a write id gets what was written with it, and nothing else.
    """
    return record.write_id == write_id and not record.ended and not record.newer
