"""A user's sessions: listed, and ended one by one or all but one."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from sidecar.core.refresh_policy import used_until
from sidecar.core.session import EndReason, SessionKey, form_token, is_form_token
from sidecar.core.session_view import SessionView, person, public_id, view
from sidecar.errors import RecordUnreadable, SessionOver
from sidecar.flows.logout import Logout
from sidecar.flows.records import Live, Records
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.ports import Store, StoredSession

MOST_SHOWN = 50
_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """A user's sessions, the asking one first, and how many are not among them."""

    person: str
    sessions: list[SessionView]
    more: int = 0


class OwnSessions:
    """What a user may see and end: the sessions that carry the user tag of theirs."""

    def __init__(
        self,
        sessions: Sessions,
        records: Records,
        store: Store,
        schedule: Schedule,
        logout: Logout,
        runtime: Runtime,
    ) -> None:
        self._sessions = sessions
        self._records = records
        self._store = store
        self._schedule = schedule
        self._logout = logout
        self._clock = runtime.clock
        self._tasks = runtime.tasks

    async def own(self, cookies: list[str]) -> Live | None:
        """The session that a browser's cookies name, None where none of them lives.

        Raises:
            StoreUnavailable: that is not known.
        """
        key = self._sessions.read_cookies(cookies)
        try:
            return await self._sessions.load(key) if key is not None else None
        except SessionOver:
            return None

    def form_token(self, own: Live) -> str:
        """What a change must bring along: only who may read the own page knows it."""
        return form_token(own.session.key, self._records.ring)

    def is_form_token(self, own: Live, given: str) -> bool:
        """Whether `form_token` made it for this session."""
        return is_form_token(own.session.key, given, self._records.ring)

    async def listed(self, own: Live) -> Listed:
        """The user's sessions, the own one first, then those used latest.

        Raises:
            StoreUnavailable: the store is away.
        """
        found = await self._store.user_sessions(own.session.key.user_tag, limit=MOST_SHOWN)
        ahead = await self._store.now() - self._clock.now()
        shown = [self._view(own, ahead, current=True)]
        for key, stored in found.found:
            if key == own.session.key:
                continue
            # One that this replica cannot read is none that it could show.
            with suppress(SessionOver, RecordUnreadable):
                shown.append(self._view(await self._opened(key, stored), ahead, current=False))
        return Listed(person(own.grant), shown, max(0, found.count - len(shown)))

    def _view(self, live: Live, ahead: float, *, current: bool) -> SessionView:
        unused = self._clock.now() + ahead - live.session.last_seen_at
        due_at = self._schedule.due_at(live.grant, unused_seconds=unused)
        used_at = used_until(live.grant, window=self._schedule.window)
        return view(
            live.session,
            live.grant,
            current=current,
            store_is_ahead=ahead,
            next_renewal_at=used_at if due_at is None else due_at,
            unasked=due_at is not None,
        )

    async def end(self, own: Live, session_id: str) -> bool:
        """End another of the user's sessions; False if there is none of that name.

        Raises:
            StoreUnavailable: it is not known whether it ended.
        """
        tag = own.session.key.user_tag
        found = await self._store.user_sessions(tag, limit=MOST_SHOWN)
        for key, stored in found.found:
            if public_id(key.digest) == session_id and key != own.session.key:
                work = self._tasks.start(self._end(key, stored), "end session", awaited=True)
                await asyncio.shield(work)
                return True
        return False

    async def end_others(self, own: Live) -> int:
        """End all of the user's sessions but the own one; how many those were.

        Raises:
            StoreUnavailable: not all have ended.
        """
        # A browser that leaves here must not leave some of them behind.
        work = self._tasks.start(self._end_others(own), "end others", awaited=True)
        return await asyncio.shield(work)

    async def _end_others(self, own: Live) -> int:
        ended = 0
        for _ in range(_ROUNDS):
            tag = own.session.key.user_tag
            found = await self._store.user_sessions(tag, limit=MOST_SHOWN)
            others = [(key, stored) for key, stored in found.found if key != own.session.key]
            if not others:
                break
            for key, stored in others:
                await self._end(key, stored)
            ended += len(others)
        return ended

    async def _end(self, key: SessionKey, stored: StoredSession) -> None:
        try:
            live = await self._opened(key, stored)
        except (SessionOver, RecordUnreadable):
            # Nothing is known of it but that it is the user's.
            await self._sessions.end(key, stored.grant_id, EndReason.ENDED_BY_USER)
        else:
            await self._logout.end(live, EndReason.ENDED_BY_USER)

    async def _opened(self, key: SessionKey, stored: StoredSession) -> Live:
        return await opened(self._sessions, self._records, key, stored)


async def opened(
    sessions: Sessions, records: Records, key: SessionKey, stored: StoredSession
) -> Live:
    """A session from a list, with its grant.

    Raises:
        SessionOver: one of the two is broken, or has ended meanwhile.
        RecordUnreadable: a newer release wrote it, or this replica lacks its key.
    """
    session = records.open_session(key, stored.session, seen_at=stored.last_seen_at)
    if stored.grant is not None and stored.grant_id == session.grant_id:
        return Live(session, records.open_grant(key.user_tag, session.grant_id, stored.grant))
    grant = await sessions.load_grant(key.user_tag, session.grant_id)  # the index is a hint
    if grant is None:
        raise SessionOver(EndReason.UNREADABLE)
    return Live(session, grant)
