"""Sessions and grants as the flows see them: sealed on the way out, opened on the way back."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from sidecar.core.grant import GRANT_ID_BYTES, Grant, Sharing
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.sealing import SEAL_RANDOM_BYTES, KeyRing, Label
from sidecar.core.session import (
    SESSION_SECRET_BYTES,
    EndReason,
    Session,
    SessionKey,
    new_session_cookie,
    read_session_cookie,
    user_tag,
)
from sidecar.core.tokens import TokenSet
from sidecar.errors import KeyUnknown, RecordBroken, SessionOver, StoreUnavailable
from sidecar.flows.tasks import Runtime
from sidecar.ports import Ended, Record, SaveResult, Store, StoredSession, Write

TOUCH_EVERY_SECONDS = 60.0
_ATTEMPTS = 3
_RETRY_SECONDS = 0.1

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a session may live: unused, and at all. In seconds."""

    idle_seconds: float
    max_seconds: float


@dataclass(frozen=True, slots=True)
class Client:
    """The OIDC client whose grants these are; tokens go to no other provider and client."""

    issuer: str
    client_id: str
    sharing: Sharing = Sharing.PER_SESSION


@dataclass(frozen=True, slots=True)
class Live:
    """A session that may be used, with its grant."""

    session: Session
    grant: Grant


class Sessions:
    """The records of sessions and grants, by their keys."""

    def __init__(
        self,
        store: Store,
        ring: KeyRing,
        client: Client,
        lifetimes: Lifetimes,
        runtime: Runtime,
        *,
        prefix: str,
    ) -> None:
        self._store = store
        self._ring = ring
        self._client = client
        self._lifetimes = lifetimes
        self._prefix = prefix
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._touching: set[str] = set()
        self._held_open: dict[SessionKey, tuple[Session, int]] = {}

    def read_cookies(self, values: list[str]) -> SessionKey | None:
        """The session that the first genuine cookie value names, without a store trip."""
        keys = (read_session_cookie(value, self._ring) for value in values)
        return next((key for key in keys if key is not None), None)

    async def load(self, key: SessionKey) -> Live | None:
        """A session with its grant, None where the store has none.

        Raises:
            SessionOver: it has ended, with the reason.
            StoreUnavailable: the store, or the key that a record needs, is not there.
        """
        stored = await self._store.load(key)
        if stored is None:
            return None
        if stored.session.ended:
            raise SessionOver(stored.session.ended)
        session = await self._open_session(key, stored)
        now = await self._store.now()
        if session.ends_at <= now:
            await self.end(key, session.grant_id, EndReason.ABSOLUTE)
            raise SessionOver(EndReason.ABSOLUTE)
        grant = await self._grant_of(session, stored)
        if grant is None:
            return None
        self._touch(session, now)
        return Live(session, grant)

    async def load_grant(self, tag: str, grant_id: str) -> Grant | None:
        """A grant as it is now stored, None where nothing is.

        Raises:
            SessionOver: it has ended, with the reason.
        """
        record = await self._store.load_grant(tag, grant_id)
        return None if record is None else self.open_grant(tag, grant_id, record)

    def open_grant(self, tag: str, grant_id: str, record: Record) -> Grant:
        """The grant in a record.

        Raises:
            SessionOver: the record is a tombstone, broken, or another client's.
            KeyUnknown: this replica lacks its key.
        """
        if record.ended:
            raise SessionOver(record.ended)
        label = Label(self._prefix, "grant", f"{tag}/{grant_id}", record.version)
        try:
            plain = self._open(record, label)
        except RecordBroken as error:
            raise SessionOver(EndReason.UNREADABLE) from error
        grant = Grant.from_bytes(grant_id, tag, record.version, plain)
        if (grant.issuer, grant.client_id) != (self._client.issuer, self._client.client_id):
            raise SessionOver(EndReason.OTHER_PROVIDER)
        return grant

    def seal_grant(self, grant: Grant) -> Write:
        """A write of this version; repeated as it is, it counts once."""
        label = Label(self._prefix, "grant", f"{grant.user_tag}/{grant.id}", grant.version)
        return Write(
            grant.version,
            self._hex(16),
            self._seal(grant.to_bytes(), label),
            grant.ends_at,
        )

    async def save(self, grant: Grant) -> SaveResult:
        """Put this version of a grant in the place of the one before.

        A reply that is lost must not leave an intent behind of which nobody knows: the same
        write is tried again, and counts once.

        Raises:
            StoreUnavailable: after a few tries; it is not known whether it was written.
        """
        write = self.seal_grant(grant)
        return await self._insist(lambda: self._store.save_grant(grant.user_tag, grant.id, write))

    async def start(
        self, tokens: TokenSet, claims: IdTokenClaims, *, nonce: str, user_agent: str
    ) -> tuple[str, Grant]:
        """A new session on a new grant: its cookie value, and the grant."""
        tag = user_tag(claims.issuer, self._client.client_id, claims.subject)
        grant = Grant(
            id=self._hex(GRANT_ID_BYTES),
            user_tag=tag,
            version=1,
            issuer=self._client.issuer,
            client_id=self._client.client_id,
            subject=claims.subject,
            sharing=self._client.sharing,
            tokens=tokens,
            ends_at=await self._store.now() + self._lifetimes.max_seconds,
            nonce=nonce,
            provider_sid=claims.provider_sid,
        )
        cookie, result = await self._attach(grant, user_agent)
        if result is not SaveResult.SAVED:
            raise StoreUnavailable("a new session met another of the same name")
        return cookie, grant

    async def join(self, tag: str, grant_id: str, *, user_agent: str) -> str | None:
        """A new session on a grant that is there: its cookie value, None if it has ended."""
        for _ in range(10 * _ATTEMPTS):
            try:
                grant = await self.load_grant(tag, grant_id)
            except SessionOver:
                return None
            if grant is None:
                return None
            ends_at = max(grant.ends_at, await self._store.now() + self._lifetimes.max_seconds)
            later = replace(grant, version=grant.version + 1, ends_at=ends_at)
            cookie, result = await self._attach(later, user_agent)
            if result is SaveResult.SAVED:
                return cookie
            if result is not SaveResult.MOVED:
                return None
            await self._clock.sleep(_RETRY_SECONDS)
        raise StoreUnavailable("a grant changed too often to join it")

    async def end(self, key: SessionKey, grant_id: str, reason: EndReason) -> Ended:
        """End a session, and its grant if it was the last; repeated until the store says so.

        Raises:
            StoreUnavailable: after a few tries; it is not known whether it ended.
        """
        write_id = self._hex(16)
        ended = await self._insist(
            lambda: self._store.end_session(key, grant_id, reason=reason, write_id=write_id)
        )
        self._count_end(reason)
        return ended

    async def end_grant(self, grant: Grant, reason: EndReason) -> bool:
        """End a grant at its version, with all its sessions; False if it has moved on."""
        result = await self._store.end_grant(
            grant.user_tag, grant.id, version=grant.version, reason=reason, write_id=self._hex(16)
        )
        if result is SaveResult.SAVED:
            self._count_end(reason)
        return result is not SaveResult.MOVED

    async def _attach(self, grant: Grant, user_agent: str) -> tuple[str, SaveResult]:
        cookie, key = new_session_cookie(
            grant.user_tag, self._ring, random=self._random(SESSION_SECRET_BYTES)
        )
        now = await self._store.now()
        session = Session(key, grant.id, now, now + self._lifetimes.max_seconds, user_agent)
        label = Label(self._prefix, "session", f"{key.user_tag}/{key.digest}", 1)
        sealed = self._seal(session.to_bytes(), label)
        writes = Write(1, self._hex(16), sealed, session.ends_at), self.seal_grant(grant)
        idle_end = min(now + self._lifetimes.idle_seconds, session.ends_at)
        result = await self._insist(
            lambda: self._store.attach(key, writes[0], grant.id, writes[1], idle_ends_at=idle_end)
        )
        return cookie, result

    async def _insist(self, step: Callable[[], Awaitable[_T]]) -> _T:
        """What a step of the store gives; with its own write id it may be tried a few times.

        Raises:
            StoreUnavailable: after the last try; it is not known whether the step happened.
        """
        for _ in range(_ATTEMPTS - 1):
            with suppress(StoreUnavailable):
                return await step()
            await self._clock.sleep(_RETRY_SECONDS)
        return await step()

    async def _open_session(self, key: SessionKey, stored: StoredSession) -> Session:
        label = Label(
            self._prefix, "session", f"{key.user_tag}/{key.digest}", stored.session.version
        )
        try:
            plain = self._open(stored.session, label)
        except RecordBroken as error:
            await self.end(key, "", EndReason.UNREADABLE)
            raise SessionOver(EndReason.UNREADABLE) from error
        return Session.from_bytes(key, plain, last_seen_at=stored.last_seen_at)

    async def _grant_of(self, session: Session, stored: StoredSession) -> Grant | None:
        """The grant that the sealed session names; the index beside it is only a hint."""
        tag = session.key.user_tag
        if stored.grant is None or stored.grant_id != session.grant_id:
            return await self.load_grant(tag, session.grant_id)
        return self.open_grant(tag, session.grant_id, stored.grant)

    @contextmanager
    def held_open(self, session: Session) -> Iterator[None]:
        """While this lasts the session is in use: an open stream or terminal is no idle time."""
        _, count = self._held_open.get(session.key, (session, 0))
        self._held_open[session.key] = (session, count + 1)
        try:
            yield
        finally:
            _, count = self._held_open[session.key]
            self._held_open[session.key] = (session, count - 1)
            if count == 1:
                del self._held_open[session.key]

    async def touch_held_open(self) -> None:
        """Note the use of all sessions that have something open here.

        Raises:
            StoreUnavailable: the rest is noted the next time.
        """
        for session, _ in list(self._held_open.values()):
            await self._write_touch(session)

    def _touch(self, session: Session, now: float) -> None:
        """Note the use behind the request, once a minute at most."""
        digest = session.key.digest
        age = now - session.last_seen_at
        if digest in self._touching or 0 <= age < TOUCH_EVERY_SECONDS:
            return
        self._touching.add(digest)
        task = self._tasks.start(self._write_touch(session), "touch")
        task.add_done_callback(lambda _: self._touching.discard(digest))

    async def _write_touch(self, session: Session) -> None:
        now = await self._store.now()
        idle_end = min(now + self._lifetimes.idle_seconds, session.ends_at)
        await self._store.touch(session.key, seen_at=now, idle_ends_at=idle_end)

    def _open(self, record: Record, label: Label) -> bytes:
        try:
            return self._ring.open(record.sealed, label)
        except KeyUnknown:
            self._metrics.alarms.labels("key_unknown").inc()
            self._log.error("record_key_unknown", record=label.kind, mend="SIDECAR_SESSION_KEYS")
            raise
        except RecordBroken:
            self._metrics.alarms.labels("record_broken").inc()
            self._log.error("record_broken", record=label.kind)
            raise

    def _seal(self, plain: bytes, label: Label) -> bytes:
        return self._ring.seal(plain, label, random=self._random(SEAL_RANDOM_BYTES))

    def _hex(self, size: int) -> str:
        return self._random(size).hex()

    def _count_end(self, reason: EndReason) -> None:
        if reason not in (EndReason.LOGOUT, EndReason.REPLACED):
            self._metrics.forced_logins.labels(reason.value).inc()
