"""Twice a second: what this process relies on, confirmed by the store."""

import asyncio
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from sidecar.core.session import SessionKey
from sidecar.errors import RecordUnreadable, SessionOver, StoreUnavailable
from sidecar.flows.cache import Cache
from sidecar.flows.knowledge import Knowledge
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.ports import Record, RecordKind, RecordName, Store

EVERY_SECONDS = 0.5
BATCH = 256
_SETTLE_AT_ONCE = 16
_FAILURES = 32  # of single records, before a round leaves the rest to the next


class _Change(NamedTuple):
    """A record that is not as it was known, by an answer to a question sent at `asked_at`."""

    name: RecordName
    record: Record | None
    asked_at: float


class Confirmations:
    """Keeps what is in use confirmed, takes what has changed, puts right what was lost."""

    def __init__(
        self,
        store: Store,
        cache: Cache,
        knowledge: Knowledge,
        sessions: Sessions,
        runtime: Runtime,
    ) -> None:
        self._store = store
        self._cache = cache
        self._knowledge = knowledge
        self._sessions = sessions
        self._clock = runtime.clock
        self._metrics = runtime.metrics
        self._log = runtime.log

    async def beats(self) -> None:
        """Note that this process runs, beside the rounds that may be slow, until cancelled."""
        while True:
            self._cache.beat(self._clock.monotonic())
            await self._clock.sleep(EVERY_SECONDS)

    async def run(self) -> None:
        """Rounds until cancelled; a slow one delays the next."""
        while True:
            began_at = self._clock.monotonic()
            with suppress(StoreUnavailable):
                await self.round()
            took = self._clock.monotonic() - began_at
            self._metrics.confirmation_seconds.observe(took)
            self._metrics.cached_bytes.set(self._cache.bytes)
            await self._clock.sleep(max(EVERY_SECONDS - took, EVERY_SECONDS / 10))

    async def round(self) -> None:
        """Ask for what has ended lately and for all that is in use; then put it right.

        Raises:
            StoreUnavailable: not all could be asked for, or put right.
        """
        began_at = self._clock.monotonic()
        with suppress(StoreUnavailable):
            await self._sessions.look_after_held_open()
        known = iter(self._cache.to_confirm(began_at))
        # Where nothing is known the store is asked all the same: whether it is there.
        changes = await self._confirm(list(islice(known, BATCH)))
        while batch := list(islice(known, BATCH)):
            changes += await self._confirm(batch)
        await self._settle_all(changes)
        self._cache.round_at = began_at

    async def _confirm(self, batch: list[tuple[RecordName, str]]) -> list[_Change]:
        asked_at = self._clock.monotonic()
        with self._sessions.health.judged():
            changed = await self._store.changed(batch)
        told_at = self._clock.monotonic()
        for name, write_id in batch:
            if name not in changed:
                self._cache.confirmed(name, write_id, asked_at, told_at)
        return [_Change(name, record, asked_at) for name, record in changed.items()]

    async def _settle_all(self, changes: list[_Change]) -> None:
        """Some at once, in their order: ends come first. One that fails stops no other.

        Raises:
            StoreUnavailable: some are left for the next round.
        """
        failed: list[StoreUnavailable] = []
        left = iter(changes)

        async def settle() -> None:
            for change in left:
                try:
                    await self._settle_safely(change)
                except StoreUnavailable as error:
                    failed.append(error)
                    if len(failed) >= _FAILURES:
                        return

        async with asyncio.TaskGroup() as group:
            for number in range(min(len(changes), _SETTLE_AT_ONCE)):
                group.create_task(settle(), name=f"settle {number}")
        if failed:
            raise failed[0]

    async def _settle_safely(self, change: _Change) -> None:
        try:
            await self._settle(change)
        except SessionOver:
            if change.name not in self._cache.ends:
                self._cache.forget(change.name)  # it is broken, or another client's
        except RecordUnreadable:
            self._cache.forget(change.name)  # whoever uses it is told; the others go on
        except StoreUnavailable:
            raise
        except Exception as error:
            # A mistake of ours about one record must not end the looking after all.
            self._cache.forget(change.name)
            self._log.error("record_not_settled", error=type(error).__name__)

    async def _settle(self, change: _Change) -> None:
        name, record, asked_at = change
        if name in self._cache.ends:
            await self._knowledge.put_back_end(name, record)
        elif name.kind is RecordKind.GRANT:
            await self._knowledge.settle_grant(name.user_tag, name.id, record, asked_at, used=False)
        else:
            key = SessionKey(name.user_tag, name.id)
            known = self._cache.sessions.get(key)
            seen_at = known.value.last_seen_at if known else 0.0
            await self._knowledge.settle_session(key, record, asked_at, seen_at=seen_at)
