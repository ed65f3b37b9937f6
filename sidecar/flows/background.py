"""Renewal without a request: for sessions in use, and before a refresh token's own end."""

from contextlib import suppress

from sidecar.core.refresh_policy import Background as Mode
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.flows.refresh import Refresh
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.ports import DUE_SHARDS, Store

TICK_SECONDS = 1.0
BATCH = 64
LOOKS_AT_ONCE = 512
# Whoever took a grant is at it for as long as its lease; whoever died with it is replaced then.
TAKEN_OVER_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = (0.5, 2.0)
_TOUCH_EVERY_TICKS = 60


class Background:
    """Looks after due grants. Any replica may; the lease lets one of them renew."""

    def __init__(
        self,
        sessions: Sessions,
        store: Store,
        refresh: Refresh,
        schedule: Schedule,
        runtime: Runtime,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._refresh = refresh
        self._schedule = schedule
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._log = runtime.log
        self._looking: set[str] = set()

    async def run(self) -> None:
        """Tick until cancelled."""
        ticks = 0
        while self._schedule.background is not Mode.OFF:
            # Replicas that started together do not look at the same moment.
            await self._clock.sleep(TICK_SECONDS * (0.5 + self._random(1)[0] / 255))
            ticks += 1
            with suppress(StoreUnavailable):
                await self.tick()
                if ticks % _TOUCH_EVERY_TICKS == 0:
                    await self._sessions.touch_held_open()

    async def tick(self) -> int:
        """Begin to look at what is due now; how many grants that are.

        A provider that is slow for some must not hold up the others: nobody waits here.
        """
        first = self._random(1)[0] % DUE_SHARDS
        begun = 0
        for shard in range(DUE_SHARDS):
            room = min(BATCH, LOOKS_AT_ONCE - len(self._looking))
            if room <= 0:
                break
            due = await self._store.take_due(
                (first + shard) % DUE_SHARDS,
                now=self._clock.now(),
                limit=room,
                hide_seconds=self._refresh.lease_seconds + TAKEN_OVER_SECONDS,
            )
            for tag, grant_id in due:
                if grant_id not in self._looking:  # a queue at the provider may outlast the hiding
                    self._looking.add(grant_id)
                    begun += 1
                    self._tasks.start(self._look_at(tag, grant_id), "background look")
        return begun

    async def _look_at(self, tag: str, grant_id: str) -> None:
        """Renew a grant if it is due indeed, and note when it is due next."""
        try:
            for pause in (*_LOOK_AGAIN_SECONDS, None):
                with suppress(StoreUnavailable):
                    if not await self._renewed_or_noted(tag, grant_id):
                        await self._store.schedule(tag, grant_id, None)
                    return
                if pause is not None:
                    await self._clock.sleep(pause)
            self._log.debug("background_store_away")  # it is due again, after it was hidden
        finally:
            self._looking.discard(grant_id)

    async def _renewed_or_noted(self, tag: str, grant_id: str) -> bool:
        """False when the grant is not to be looked at again."""
        try:
            grant = await self._sessions.load_grant(tag, grant_id)
        except SessionOver:
            return False
        seen_at = await self._store.last_seen(tag, grant_id)
        if grant is None or seen_at is None:
            return False
        unused = await self._store.now() - seen_at
        due_at = self._schedule.due_at(grant, unused_seconds=unused)
        if due_at is None:
            return False
        retry_at = due_at
        if due_at <= self._clock.now():
            retry_at = await self._refresh.renew_behind(grant)
        if retry_at:
            await self._store.schedule(tag, grant_id, retry_at)
        return True
