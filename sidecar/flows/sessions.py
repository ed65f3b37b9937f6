"""Sessions as the flows see them: known here, or asked for; used, changed and ended."""

import asyncio
from collections.abc import Callable, Container
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from sidecar.core.grant import Grant
from sidecar.core.session import (
    EndReason,
    Session,
    SessionKey,
    read_session_cookie,
)
from sidecar.errors import Busy, RecordUnreadable, SessionOver, StoreUnavailable
from sidecar.flows.cache import Cache, grant_name, session_name
from sidecar.flows.health import StoreHealth, insist
from sidecar.flows.held_open import HeldOpen
from sidecar.flows.knowledge import Knowledge
from sidecar.flows.records import Live, Records
from sidecar.flows.seeding import Seeding
from sidecar.flows.tasks import Runtime
from sidecar.ports import Ended, SaveResult, Store, Write

TOUCH_EVERY_SECONDS = 60.0
_LOADS_AT_ONCE = 32  # fewer than the store has connections: others need some too
_WAITERS = 5000
_MISSED_FOR_SECONDS = 0.75  # others look twice a second at what they know
_LOST_FOR_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a session may live: unused, at all, and while the store is away. In seconds."""

    idle_seconds: float
    max_seconds: float
    grace_seconds: float = 300.0
    max_sessions: int = 20
    """How many sessions a user may have."""


class Sessions:
    """The sessions and their grants, by their keys."""

    def __init__(
        self,
        store: Store,
        records: Records,
        cache: Cache,
        knowledge: Knowledge,
        health: StoreHealth,
        lifetimes: Lifetimes,
        runtime: Runtime,
    ) -> None:
        self._store = store
        self._records = records
        self._cache = cache
        self.seeding = Seeding(cache, runtime)
        self._knowledge = knowledge
        self.health = health
        self.lifetimes = lifetimes
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._audit = runtime.audit
        self._loading: dict[SessionKey, asyncio.Task[Live | None]] = {}
        self._loads_at_once = asyncio.Semaphore(_LOADS_AT_ONCE)
        self._waiters = 0
        self.store_is_ahead = 0.0
        """By how many seconds the store's clock is ahead of the local one, as last seen."""
        self._touching: set[str] = set()
        self._held_open = HeldOpen(runtime)
        self.groups = self._held_open.groups
        knowledge.ended = self._held_open.ended
        cache.has_tokens = self.has_tokens

    @property
    def close_open(self) -> Callable[[SessionKey], None]:
        """Told of each session whose open things must end: it has ended, or has other groups."""
        return self._held_open.close

    @close_open.setter
    def close_open(self, close: Callable[[SessionKey], None]) -> None:
        self._held_open.close = close

    def has_tokens(self, grant: Grant) -> None:
        """From now on this grant has these tokens: what is open with other groups ends."""
        self._held_open.has_tokens(grant)

    def read_cookies(self, values: list[str]) -> SessionKey | None:
        """The session that the first genuine cookie value names, without a store trip."""
        keys = (read_session_cookie(value, self._records.ring) for value in values)
        return next((key for key in keys if key is not None), None)

    # Reading

    async def load(self, key: SessionKey) -> Live | None:
        """A session with its grant, None where the store has none.

        The store is asked only if what is known was not confirmed within the last second.
        While it is away, what was known is served for the grace time.

        Raises:
            SessionOver: it has ended, with the reason.
            StoreUnavailable: the store, or the key that a record needs, is not there.
        """
        live = self._cache.live(key, self._clock.monotonic()) or await self._ask(key)
        if live is None:
            return None
        now = await self.store_now()
        if live.session.ends_at <= now:
            await self.end(key, live.session.grant_id, EndReason.ABSOLUTE)
            raise SessionOver(EndReason.ABSOLUTE)
        self._touch(live.session, now)
        return live

    async def store_now(self) -> float:
        """The time by the store's clock, in Unix seconds.

        Raises:
            StoreUnavailable: it has never been told.
        """
        now = await self._store.now()
        self.store_is_ahead = now - self._clock.now()
        return now

    def known(self, key: SessionKey) -> Live | None:
        """A session that may be relied on right now, without a look at the store; else None."""
        live = self._cache.live(key, self._clock.monotonic())
        if live is None:
            return None
        now = self._clock.now() + self.store_is_ahead
        session = live.session
        if session.ends_at <= now:
            return None
        if not 0 <= now - session.last_seen_at < TOUCH_EVERY_SECONDS:
            self._touch(session, now)
        return live

    def may_go_up(self, live: Live) -> bool:
        """Whether a session that was loaded may still be used: right before its request goes up."""
        key = live.session.key
        current = self._cache.live(key, self._clock.monotonic())
        if current is None:
            return self.health.failing and self._in_grace(key) is not None
        return current is live or not _has_older_token(live.grant, current.grant)

    async def load_grant(self, tag: str, grant_id: str) -> Grant | None:
        """A grant as it is now stored, None where nothing is.

        Raises:
            SessionOver: it has ended, with the reason.
        """
        return await self._knowledge.load_grant(tag, grant_id)

    def sure_at(self, grant_id: str) -> float:
        """From when on (`Clock.monotonic()`) a grant's refresh token may be presented."""
        return self._knowledge.sure_at(grant_id)

    async def _ask(self, key: SessionKey) -> Live | None:
        """What the store says; a load that runs is joined."""
        end = self._cache.ends.get(session_name(key))
        if end:
            raise SessionOver(end.reason)
        try:
            return await self._join_load(key)
        except (Busy, RecordUnreadable):
            raise  # that is not the store's absence
        except StoreUnavailable:
            known = self._in_grace(key)
            if known is None:
                raise
            self._metrics.served_unconfirmed.inc()
            return known

    def _in_grace(self, key: SessionKey) -> Live | None:
        """What was last known of a session, while the store does not answer.

        A single failed question is covered for those only that the last round has confirmed:
        the others may have ended while the store was there, or while this process stood still.
        """
        now = self._clock.monotonic()
        since = max(now - self.lifetimes.grace_seconds, self._cache.awake_since(now))
        return self._cache.unconfirmed(key, since, now, by_round=not self.health.away)

    async def _join_load(self, key: SessionKey) -> Live | None:
        if self._waiters >= _WAITERS:
            raise Busy("too many requests wait for the store")
        task = self._loading.get(key)
        if task is None:
            tries = self.health.refuse_while_away()
            task = self._tasks.start(self._load(key, tries=tries), "load", awaited=True)
            self._loading[key] = task
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        self._waiters += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiters -= 1

    async def _load(self, key: SessionKey, *, tries: bool) -> Live | None:
        """What is stored. A store that has lost it gets it back from whoever knows it."""
        missed_at = self._clock.monotonic()
        while (live := await self._load_once(key, tries=tries)) is None:
            missed_for = self._clock.monotonic() - missed_at
            most = _LOST_FOR_SECONDS if self._knowledge.may_be_lost else _MISSED_FOR_SECONDS
            if missed_for >= most:
                break
            await self._clock.sleep(_MISSED_FOR_SECONDS)
        return live

    async def _load_once(self, key: SessionKey, *, tries: bool) -> Live | None:
        async with self._loads_at_once:
            if self.health.away and not tries:
                raise StoreUnavailable("the store went away; see SIDECAR_STORE_URL")
            try:
                with self.health.judged():
                    return await self._knowledge.load(key)
            except SessionOver as over:
                if over.reason == EndReason.UNREADABLE:
                    await self.end(key, "", EndReason.UNREADABLE)
                raise

    # Writing

    def seal_grant(self, grant: Grant) -> Write:
        """A write of this version; repeated as it is, it counts once."""
        return self._records.seal_grant(grant)

    async def save(self, grant: Grant) -> SaveResult:
        """Put this version of a grant in the place of the one before.

        A reply that is lost must not leave an intent behind of which nobody knows: the same
        write is tried again, and counts once.

        Raises:
            StoreUnavailable: after a few tries; it is not known whether it was written.
        """
        write = self.seal_grant(grant)
        return await insist(lambda: self.write(grant, write), self._clock)

    async def write(self, grant: Grant, write: Write) -> SaveResult:
        """One try at putting a sealed version of a grant in the place of the one before.

        Raises:
            StoreUnavailable: it is not known whether it was written.
        """
        asked_at = self._clock.monotonic()
        result = await self._store.save_grant(grant.user_tag, grant.id, write)
        if result is SaveResult.SAVED:
            self._cache.note_grant(grant, write.write_id, asked_at, self._clock.monotonic())
        return result

    async def end(self, key: SessionKey, grant_id: str, reason: EndReason) -> Ended:
        """End a session, and its grant if it was the last; repeated until the store says so.

        Raises:
            StoreUnavailable: after a few tries; it is not known whether it ended.
        """
        # What the store has lost of it comes back first, or it would not be seen to end.
        with suppress(SessionOver, StoreUnavailable):
            await self._knowledge.load(key)
        # From here on nobody here relies on it, or brings it back, whatever the store says.
        self._cache.forget(session_name(key))
        write_id = self._records.new_write_id()
        ended = await insist(
            lambda: self._store.end_session(key, grant_id, reason=reason, write_id=write_id),
            self._clock,
        )
        self._knowledge.note_end(session_name(key), reason, write_id)
        if ended.last:
            self._knowledge.note_end(grant_name(key.user_tag, grant_id), reason, write_id)
        self._count_end(reason)
        self._audit.info(
            "session_ended",
            user=key.user_tag,
            session=key.shown,
            reason=reason.value,
            last=ended.last,
        )
        return ended

    async def end_surplus(self, key: SessionKey) -> None:
        """End what a user has too many of, now that there is the session `key`.

        Not in one step with its attaching: the last of several logins at once sees them all.

        Raises:
            StoreUnavailable: some may be left; the user's next login looks again.
        """
        most = self.lifetimes.max_sessions
        for old, grant_id in await self._store.surplus(key, most=most):
            await self.end(old, grant_id, EndReason.TOO_MANY_SESSIONS)

    async def end_grant(self, grant: Grant, reason: EndReason) -> bool:
        """End a grant at its version, with all its sessions; False if it has moved on."""
        write_id = self._records.new_write_id()
        result = await self._store.end_grant(
            grant.user_tag, grant.id, version=grant.version, reason=reason, write_id=write_id
        )
        if result is SaveResult.SAVED:
            for key in self._cache.sessions_of(grant.id):
                self._knowledge.note_end(session_name(key), reason, write_id)
            self._knowledge.note_end(grant_name(grant.user_tag, grant.id), reason, write_id)
            self._count_end(reason)
        return result is not SaveResult.MOVED

    # Use

    def held_open(self, live: Live) -> AbstractContextManager[None]:
        """While this lasts the session is in use: an open stream or terminal is no idle time."""
        return self._held_open.holding(live)

    async def look_after_held_open(self) -> None:
        """Sessions that have something open are in use; those whose time is over end.

        Raises:
            StoreUnavailable: one could not be ended; it is tried again.
        """
        now = self._clock.monotonic()
        sessions = self._held_open.sessions()
        for session in sessions:
            self._cache.use(session.key, now)
        store_now = await self.store_now()
        for session in sessions:
            if session.ends_at <= store_now:
                await self.end(session.key, session.grant_id, EndReason.ABSOLUTE)

    def close_signed_by(self, key_ids: Container[str]) -> None:
        """Close what sessions have open whose cookies nobody takes any more, or may not."""
        for session in self._held_open.sessions():
            if not session.signed_by or session.signed_by in key_ids:
                self.close_open(session.key)

    async def touch_held_open(self) -> None:
        """Note the use of all sessions that have something open here.

        Raises:
            StoreUnavailable: the rest is noted the next time.
        """
        for session in self._held_open.sessions():
            await self._write_touch(session)

    def _touch(self, session: Session, now: float) -> None:
        """Note the use behind the request, once a minute at most."""
        digest = session.key.digest
        age = now - session.last_seen_at
        if digest in self._touching or 0 <= age < TOUCH_EVERY_SECONDS or self.health.failing:
            return
        self._touching.add(digest)
        task = self._tasks.start(self._write_touch(session), "touch", awaited=True)
        task.add_done_callback(lambda _: self._touching.discard(digest))

    async def _write_touch(self, session: Session) -> None:
        now = await self._store.now()
        idle_end = min(now + self.lifetimes.idle_seconds, session.ends_at)
        await self._store.touch(
            session.key,
            session.grant_id,
            seen_at=now,
            idle_ends_at=idle_end,
            ends_at=session.ends_at,
        )
        self._cache.seen(session, now)

    def _count_end(self, reason: EndReason) -> None:
        self._metrics.ended_sessions.labels(reason.value).inc()
        if reason.forces_login:
            self._metrics.forced_logins.labels(reason.value).inc()


def _has_older_token(grant: Grant, current: Grant) -> bool:
    """Whether a grant's ID token has been replaced: what it says may no longer be so."""
    same = grant is current or grant.tokens.id_token == current.tokens.id_token
    return not same and grant.is_behind(current)
