"""The rotation of the keys, over all records of the store: counted, and sealed anew.

Nothing is remembered of how far it came: what is sealed by the key in use is passed over, so that
one that was broken off goes on when it is begun again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from sidecar.core.key_rotation import NOT_OURS, Tally
from sidecar.core.revocation import read_entry
from sidecar.core.sealing import sealed_by
from sidecar.core.session import SessionKey
from sidecar.errors import KeyUnknown, RecordBroken, RecordUnreadable, SessionOver
from sidecar.flows.records import Records
from sidecar.flows.revocation import MOST_QUEUED
from sidecar.flows.walk import Walk
from sidecar.ports import Record, RecordKind, RecordName, SaveResult, Store

_ATTEMPTS = 5
_AT_ONCE = 32


class Rotation:
    """Counts which key has sealed and signed what, and seals anew what another one has sealed.

    `passed` is told of each batch how many records were looked at.
    """

    def __init__(
        self, store: Store, records: Records, passed: Callable[[int], None] = lambda _: None
    ) -> None:
        self._store = store
        self._records = records
        self._walk = Walk(store, records)
        self._passed = passed

    async def tally(self) -> Tally:
        """What each key has sealed and signed that lives.

        Raises:
            StoreUnavailable: the rest is not known.
        """
        tally = Tally()
        async for name, record in self._live(RecordKind.GRANT):
            tally.grants[self._sealer(name, record)] += 1
        async for name, record in self._live(RecordKind.SESSION):
            tally.sessions[self._sealer(name, record)] += 1
            self._note_signed(tally, SessionKey(name.user_tag, name.id), record)
        for entry in await self._store.queued_revocations(limit=MOST_QUEUED):
            with suppress(ValueError):  # it is none
                tally.revocations[sealed_by(read_entry(entry)[1])] += 1
        return tally

    async def reseal(self) -> AsyncIterator[int]:
        """Seal anew what another key than the one in use has sealed: how many records at a time.

        Raises:
            StoreUnavailable: the rest is as it was.
        """
        for kind in (RecordKind.GRANT, RecordKind.SESSION):
            async for names in self._walk.names(kind):
                records = await self._records_of(names)
                stale = [(n, r) for n, r in records if self._is_stale(r)]
                for first in range(0, len(stale), _AT_ONCE):
                    some = stale[first : first + _AT_ONCE]
                    yield sum(await asyncio.gather(*(self._reseal(n, r) for n, r in some)))

    async def _reseal(self, name: RecordName, record: Record | None) -> bool:
        """Whether a record was sealed anew; what has changed meanwhile is looked at again."""
        for _ in range(_ATTEMPTS):
            if record is None or not self._is_stale(record):
                return False
            try:
                sealed = self._records.resealed(name, record)
            except (KeyUnknown, RecordBroken):
                return False
            result = await self._store.reseal(name, record, sealed)
            if result is not SaveResult.MOVED:
                return result is SaveResult.SAVED
            record = (await self._store.changed([(name, "")])).get(name)
        return False

    def _sealer(self, name: RecordName, record: Record) -> str:
        """The key that sealed a record, `NOT_OURS` where it only has the same id."""
        key_id, ring = sealed_by(record.sealed), self._records.ring
        old = key_id in {key.id for key in ring.keys[1:]}
        return NOT_OURS if old and not self._records.opens(name, record) else key_id

    def _is_stale(self, record: Record) -> bool:
        ours = sealed_by(record.sealed) == self._records.ring.sealing_id
        return not (record.ended or record.newer or ours)

    async def _live(self, kind: RecordKind) -> AsyncIterator[tuple[RecordName, Record]]:
        async for names in self._walk.names(kind):
            for name, record in await self._records_of(names):
                if not record.ended:
                    yield name, record
            self._passed(len(names))

    async def _records_of(self, names: list[RecordName]) -> list[tuple[RecordName, Record]]:
        # Known by no write id, each one that is there has changed.
        found = await self._store.changed([(name, "") for name in names])
        return [(name, record) for name, record in found.items() if record]

    def _note_signed(self, tally: Tally, key: SessionKey, record: Record) -> None:
        try:
            session = self._records.open_session(key, record, seen_at=0.0)
        except (RecordUnreadable, SessionOver):
            return
        tally.note_signed(session.signed_by, session.ends_at)
