"""Refresh tokens that nobody needs any more are revoked, though the provider be away (RFC 7009)."""

from contextlib import suppress

from sidecar.core.grant import Grant
from sidecar.core.revocation import Revocation, began_at, next_try_at, read_entry
from sidecar.errors import (
    ProviderRefused,
    RecordUnreadable,
    SessionOver,
    StoreUnavailable,
    TryLater,
)
from sidecar.flows.records import Records
from sidecar.flows.tasks import Runtime
from sidecar.ports import IdentityProvider, Store

TICK_SECONDS = 5.0
BATCH = 4
MOST_QUEUED = 10_000
_UNQUEUED_AGAIN_SECONDS = (1.0, 5.0, 25.0)
_ID_BYTES = 16
# Waiting changes nothing about these (RFC 7009 section 2.2.1; RFC 6749 section 5.2).
_FINAL = frozenset(("unsupported_token_type", "invalid_request"))


class Revocations:
    """Tells the provider of ended grants: at once, and from the store's queue until it has heard.

    What is to be revoked is in the queue before it is tried, so that a process that dies leaves
    it to the others.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        provider: IdentityProvider,
        runtime: Runtime,
        *,
        provider_seconds: float,
    ) -> None:
        self._store = store
        self._records = records
        self._provider = provider
        # For as long as whoever takes some is at them at the longest.
        self.hide_seconds = BATCH * provider_seconds + 1.0
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._audit = runtime.audit

    def begin(self, grant: Grant) -> None:
        """Revoke the refresh token of a grant that has ended; nobody has to wait."""
        if grant.tokens.refresh_token:
            self._tasks.start(self._revoke(grant), "revoke")

    async def run(self) -> None:
        """Look after the queue until cancelled."""
        while True:
            # Replicas that started together do not look at the same moment.
            await self._clock.sleep(TICK_SECONDS * (0.5 + self._share()))
            with suppress(StoreUnavailable):
                while await self.tick():
                    pass

    async def tick(self) -> bool:
        """Try what is due, a few at most; whether there may be more to try at once.

        After one that the provider did not take, the others of this time are not tried.
        """
        now = await self._store.now()
        entries = await self._store.take_revocations(
            now=now, limit=BATCH, hide_seconds=self.hide_seconds
        )
        takes_them = True
        for entry in entries:
            if takes_them:
                takes_them = await self._try_entry(entry)
            else:
                await self._put_off(entry)
        return takes_them and len(entries) == BATCH

    async def _revoke(self, grant: Grant) -> None:
        tag, refresh_token = grant.user_tag, grant.tokens.refresh_token
        entry = await self.queue(grant)
        if entry:
            with suppress(StoreUnavailable):  # then it is due again after it was hidden
                await self._try_token(entry, tag, refresh_token)
            return
        for pause in (*_UNQUEUED_AGAIN_SECONDS, None):
            with suppress(TryLater):
                if await self._tell(tag, refresh_token):
                    return
            if pause is not None:
                await self._clock.sleep(pause)
        self._give_up(tag)

    async def queue(self, grant: Grant) -> bytes:
        """The entry in the queue, for whoever has time; empty where the store has not taken it."""
        try:
            now = await self._store.now()
            revocation = Revocation(
                self._random(_ID_BYTES).hex(),
                now,
                grant.issuer,
                grant.client_id,
                grant.user_tag,
                grant.tokens.refresh_token,
            )
            entry = self._records.seal_revocation(revocation)
            due_at = now + self.hide_seconds
            if await self._store.queue_revocation(entry, due_at=due_at, limit=MOST_QUEUED):
                return entry
            self._metrics.alarms.labels("revocations_full").inc()
            self._log.error("revocations_full", mend="see why the provider takes no revocations")
        except StoreUnavailable:
            self._log.warning("revocation_not_queued", user=grant.user_tag)
        return b""

    async def _try_entry(self, entry: bytes) -> bool:
        """False where the provider did not take it; one that is not ours to send is put off."""
        try:
            revocation = self._records.open_revocation(entry)
        except SessionOver:
            await self._take_out(entry)
            return True
        except RecordUnreadable:
            await self._put_off(entry)  # another replica may have its key
            return True
        if not self._records.is_for_us(revocation):
            await self._put_off(entry)  # its token goes to no other provider
            return True
        return await self._try_token(entry, revocation.user_tag, revocation.refresh_token)

    async def _try_token(self, entry: bytes, tag: str, refresh_token: str) -> bool:
        """False where the provider did not take it."""
        try:
            done = await self._tell(tag, refresh_token)
        except TryLater:
            done = False
        await (self._take_out(entry) if done else self._put_off(entry))
        return done

    async def _tell(self, tag: str, refresh_token: str) -> bool:
        """Whether there is no more to do; False: the client was refused, somebody may mend that.

        Raises:
            TryLater: the provider is away.
        """
        try:
            told = await self._provider.revoke(refresh_token)
        except TryLater:
            self._count("later")
            raise
        except ProviderRefused as refusal:
            self._count("refused")
            self._log.error("revocation_refused", user=tag, error=refusal.error)
            return refusal.over or refusal.error in _FINAL
        self._count("revoked" if told else "not_offered")
        if told:
            self._audit.info("revoked", user=tag)
        return True

    async def _take_out(self, entry: bytes) -> None:
        with suppress(StoreUnavailable):  # a token that is revoked twice harms nobody
            await self._store.put_off_revocation(entry, None)

    async def _put_off(self, entry: bytes) -> None:
        name, _ = read_entry(entry)
        now = await self._store.now()
        due_at = next_try_at(began_at(name), now, random=self._share())
        await self._store.put_off_revocation(entry, due_at)
        if due_at is None:
            self._give_up()

    def _give_up(self, tag: str = "") -> None:
        self._count("given_up")
        self._metrics.alarms.labels("not_revoked").inc()
        self._log.error(
            "not_revoked", user=tag, mend="end the person's sessions at the provider by hand"
        )

    def _count(self, result: str) -> None:
        self._metrics.revocations.labels(result).inc()

    def _share(self) -> float:
        return self._random(1)[0] / 256
