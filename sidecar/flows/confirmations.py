"""Twice a second: what this process relies on, confirmed by the store."""

from contextlib import suppress
from itertools import islice

from sidecar.core.session import SessionKey
from sidecar.errors import KeyUnknown, SessionOver, StoreUnavailable
from sidecar.flows.cache import Cache
from sidecar.flows.knowledge import Knowledge
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.ports import Record, RecordKind, RecordName, Store

EVERY_SECONDS = 0.5
BATCH = 256


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
        """Ask for all that is in use, and for what has ended lately.

        Raises:
            StoreUnavailable: the rest was not asked for.
        """
        await self._sessions.look_after_held_open()
        known = iter(self._cache.to_confirm(self._clock.monotonic()))
        first = True
        while (batch := list(islice(known, BATCH))) or first:
            first = False
            await self._confirm(batch)

    async def _confirm(self, batch: list[tuple[RecordName, str]]) -> None:
        asked_at = self._clock.monotonic()
        with self._sessions.health.judged():
            changed = await self._store.changed(batch)
        told_at = self._clock.monotonic()
        for name, write_id in batch:
            if name not in changed:
                self._cache.confirmed(name, write_id, asked_at, told_at)
        for name, record in changed.items():
            try:
                await self._settle(name, record, asked_at)
            except SessionOver:
                continue
            except KeyUnknown:
                self._cache.forget(name)  # whoever uses it is told; the others go on

    async def _settle(self, name: RecordName, record: Record | None, asked_at: float) -> None:
        if name in self._cache.ends:
            await self._knowledge.put_back_end(name, record)
        elif name.kind is RecordKind.GRANT:
            await self._knowledge.settle_grant(name.user_tag, name.id, record, asked_at, used=False)
        else:
            key = SessionKey(name.user_tag, name.id)
            known = self._cache.sessions.get(key)
            seen_at = known.value.last_seen_at if known else 0.0
            await self._knowledge.settle_session(key, record, asked_at, seen_at=seen_at)
