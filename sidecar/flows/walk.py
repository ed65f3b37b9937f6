"""Every session that the store has, a batch at a time: a million need no more memory than a few."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sidecar.core.grant import Grant
from sidecar.core.sealing import sealed_by
from sidecar.core.session import EndReason, Session, SessionKey
from sidecar.errors import KeyUnknown, RecordUnreadable, SessionOver
from sidecar.flows.records import Records
from sidecar.ports import Record, RecordKind, RecordName, Store

_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Found:
    """A live session of the store, opened as far as it can be.

    `grant_id` is known without opening, so that what cannot be opened can be ended. `unreadable`
    says why it could not be.
    """

    key: SessionKey
    grant_id: str
    session: Session | None = None
    grant: Grant | None = None
    unreadable: str = ""


class Walk:
    """Looks at all sessions, or at those of one user."""

    def __init__(self, store: Store, records: Records) -> None:
        self._store = store
        self._records = records

    async def names(self, kind: RecordKind) -> AsyncIterator[list[RecordName]]:
        """The names of all records of a kind; some may come twice.

        Raises:
            StoreUnavailable: the rest is not known.
        """
        cursor = ""
        while True:
            cursor, names = await self._store.scan(kind, cursor)
            for first in range(0, len(names), _AT_ONCE):
                yield names[first : first + _AT_ONCE]
            if not cursor:
                return

    async def sessions(self) -> AsyncIterator[list[Found]]:
        """All live sessions of this issuer and client, and what cannot be opened.

        Raises:
            StoreUnavailable: the rest is not known.
        """
        async for names in self.names(RecordKind.SESSION):
            yield await self.look([SessionKey(name.user_tag, name.id) for name in names])

    async def look(self, keys: Sequence[SessionKey]) -> list[Found]:
        """Those of these sessions that live; loads of one moment are one trip.

        Raises:
            StoreUnavailable: none of them is known.
        """
        found = await asyncio.gather(*(self._look_at(key) for key in keys))
        return [one for one in found if one]

    async def _look_at(self, key: SessionKey) -> Found | None:
        """A live session; None for one that has ended, or is another client's."""
        stored = await self._store.load(key)
        if stored is None or stored.session.ended:
            return None
        grant_id, record = stored.grant_id, stored.grant
        try:
            session = self._records.open_session(key, stored.session, seen_at=stored.last_seen_at)
            if session.grant_id != grant_id:  # the index beside a session is only a hint
                grant_id = session.grant_id
                record = await self._store.load_grant(key.user_tag, grant_id)
            grant = self._records.open_grant(key.user_tag, grant_id, record) if record else None
        except SessionOver as over:
            other = over.reason == EndReason.OTHER_PROVIDER or (record and record.ended)
            # What a key sealed that followed from Argo CD's former one is over for everybody.
            if other or self._records.ring.has_replaced(stored.session.sealed):
                return None
            return Found(key, grant_id, unreadable="damaged, or under another key of the same id")
        except KeyUnknown:
            return Found(key, grant_id, unreadable=self._lacking(stored.session, record))
        except RecordUnreadable:
            return Found(key, grant_id, unreadable="written by a newer release")
        return Found(key, grant_id, session, grant)

    def _lacking(self, *records: Record | None) -> str:
        here = {key.id for key in self._records.ring.keys}
        ids = [sealed_by(record.sealed) for record in records if record]
        return f"sealed by key {next((key_id for key_id in ids if key_id not in here), '')!r}"
