"""The refresh grant, one at a time per grant, whatever tabs and replicas do."""

import asyncio
from contextlib import suppress

from sidecar.core.grant import Grant
from sidecar.core.refresh_policy import (
    Action,
    RefreshWindow,
    usable_seconds,
    usable_until,
    used_until,
)
from sidecar.core.session import EndReason, SessionKey
from sidecar.core.timings import Timings
from sidecar.errors import (
    ProviderUnavailable,
    SessionOver,
    SilentLoginNeeded,
    StoreUnavailable,
    TryLater,
)
from sidecar.flows.health import ProviderHealth
from sidecar.flows.key_watch import KeyWatch
from sidecar.flows.lease import Leases
from sidecar.flows.records import Live
from sidecar.flows.renewal import Renewal
from sidecar.flows.revocation import Revocations
from sidecar.flows.saving import SAVED_BY_THEN_SECONDS, Saving
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Sessions
from sidecar.flows.setbacks import Setbacks
from sidecar.flows.tasks import Runtime
from sidecar.ports import IdentityProvider, Store
from sidecar.tracing import span

_REMEMBERED_UNTIL = 50_000
_FOLLOW_SECONDS = 1.0
_LOOK_EVERY_SECONDS = (0.05, 0.1)


class TokenMissing(TryLater):
    """No token is usable now; `operator` says that a login may help where waiting does not."""

    def __init__(self, *, retry_after_seconds: float, operator: bool) -> None:
        super().__init__(
            "the login could not be renewed yet", retry_after_seconds=retry_after_seconds
        )
        self.operator = operator


class Refresh:
    """Gives each request a grant whose tokens can be used, and renews it when it is due."""

    def __init__(
        self,
        sessions: Sessions,
        store: Store,
        provider: IdentityProvider,
        schedule: Schedule,
        runtime: Runtime,
        *,
        window: RefreshWindow,
        timings: Timings,
        revocations: Revocations,
    ) -> None:
        self._sessions = sessions
        self._window = window
        self._timings = timings
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._tracer = runtime.tracer
        self._running: dict[str, asyncio.Task[None]] = {}
        self._saving = Saving(sessions, revocations, runtime)
        self._setbacks = Setbacks(runtime)
        self._until: dict[tuple[str, int, float, float], tuple[float, float]] = {}
        self._health = ProviderHealth(runtime)
        self._keys = KeyWatch(provider, runtime, keys_seconds=timings.keys_seconds)
        self._provider, self._published = provider, provider.published
        self._leases = Leases(store, provider, timings, runtime)
        self._renewal = Renewal(
            sessions,
            provider,
            self._leases,
            schedule,
            self._setbacks,
            self._saving,
            self._health,
            self._keys,
            runtime,
            window=window,
            timings=timings,
        )
        self._at_once = asyncio.Semaphore(timings.renewals_at_once)

    async def current(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        """The session with tokens that can go up now; None where the store has no such session.

        Waits only when no token is usable (or has less than `min_life` seconds left).

        Raises:
            SessionOver: only a new login helps.
            SilentLoginNeeded: a login without a form may help.
            TryLater: no usable token now, but the session may live.
        """
        live = None
        try:
            async with asyncio.timeout(self._timings.wait_seconds):
                while True:
                    live = await self._load(key)
                    if live is None:
                        return None
                    await self._keys.settled(live.grant)
                    if not await self._must_wait(live.grant, min_life):
                        await self._sessions.seeding.ensure(live.grant)
                        left = usable_seconds(live.grant, self._clock.now())
                        self._metrics.token_life_left.observe(left)
                        return live
        except TimeoutError:
            if live and usable_seconds(live.grant, self._clock.now()) > 0:
                return live
            raise TokenMissing(retry_after_seconds=1.0, operator=False) from None

    def current_now(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        """What `current` would give, if there is nothing to wait for and nothing to do; else None.

        The hot path: no await, no hash, no look at the store.
        """
        live = self._sessions.known(key)
        if live is None or live.grant.id in self._keys.in_doubt:
            return None
        live = self._saving.latest(live)
        now, (used, usable) = self._clock.now(), self._ends(live.grant, min_life)
        if now >= used:
            return None
        self._metrics.token_life_left.observe(usable - now)
        return live

    def _ends(self, grant: Grant, min_life: float) -> tuple[float, float]:
        """Until when a token is used as it is, and until when it could be used at all.

        Computed once per version of a grant and reading of the keys.
        """
        if self._published is not self._provider.published:
            self._published = self._provider.published
            self._until.clear()
        # The same version may come twice with other tokens, when a store has gone back.
        name = (grant.id, grant.version, grant.tokens.id_token_expires_at, min_life)
        ends = self._until.get(name)
        if ends is None:
            if len(self._until) >= _REMEMBERED_UNTIL:
                self._until.clear()
            used = used_until(grant, window=self._window, min_life=min_life)
            used = 0.0 if self._keys.is_gone(grant) else used
            ends = self._until[name] = (used, usable_until(grant))
        return ends

    def may_go_up(self, live: Live) -> bool:
        """Whether what `current` gave may still be used: right before its request goes up."""
        return self._sessions.may_go_up(live) and self._saving.latest(live) is live

    def refused(self, live: Live) -> None:
        """The upstream has refused a session's ID token: its key may be gone."""
        self._keys.doubt(live.grant)

    def doubts_page(self, live: Live) -> bool:
        """Whether a page has to wait for a look at the provider's keys: `current` does."""
        return self._keys.doubts_page(live.grant)

    def try_again(self) -> None:
        """Forget what stood in the way: the client or the way to the provider has changed."""
        self._setbacks.clear()
        self._health.answered()

    @property
    def provider_away(self) -> bool:
        """Whether the provider is taken to be away."""
        return self._health.away

    @property
    def lease_seconds(self) -> float:
        """How long whoever renews a grant keeps the others away."""
        return self._leases.seconds

    async def renew_behind(self, grant: Grant) -> float:
        """Renew a grant without a request; when to try again if it must wait, else 0."""
        now = self._clock.now()
        retry_at = self._retry_at(grant, now)
        if retry_at <= now:
            await asyncio.shield(self._join(grant, 0.0))
            retry_at = self._retry_at(grant, self._clock.now())
        return retry_at

    def _retry_at(self, grant: Grant, now: float) -> float:
        """When a grant may be tried again, in Unix seconds: `now` is the wall clock's.

        Its own failures count, and the provider's. 0: there were none.
        """
        setback = self._setbacks.of(grant.id)
        retry_at = max(setback.retry_at if setback else 0.0, self._health.retry_at())
        return now + retry_at - self._clock.monotonic() if retry_at else 0.0

    async def _load(self, key: SessionKey) -> Live | None:
        live = await self._sessions.load(key)
        return self._saving.latest(live) if live else None

    async def _must_wait(self, grant: Grant, min_life: float) -> bool:
        """Whether the grant must be looked at again, after what there was to wait for."""
        now = self._clock.now()
        if now < self._ends(grant, min_life)[0]:
            return False
        retry_at = self._retry_at(grant, now)
        decision = self._renewal.decide(grant, now, min_life, retry_at)
        match decision.action:
            case Action.USE:
                return False
            case Action.USE_AND_RENEW:
                self._join(grant, min_life)
                return False
            case Action.BACK_OFF:
                if usable_seconds(grant, now) > 0:
                    if retry_at > now:
                        self._metrics.served_during_failure.inc()
                    return False
                setback = self._setbacks.of(grant.id)
                raise TokenMissing(
                    retry_after_seconds=max(1.0, decision.retry_at - now),
                    operator=bool(setback and setback.operator),
                )
            case Action.OVER:
                await self._renewal.end(grant, await self._end_without_refresh_token(grant))
            case Action.LOG_IN_SILENTLY:
                raise SilentLoginNeeded
            case _:  # RENEW_FIRST
                # The browser may leave; the renewal goes on.
                await asyncio.shield(self._join(grant, min_life))
        return True

    async def _end_without_refresh_token(self, grant: Grant) -> EndReason:
        """Why a grant is over that cannot be renewed: its ID token's own end, or its key's."""
        good = usable_seconds(grant, self._clock.now()) > 0
        lost = good and await self._keys.has_lost_state(grant)
        return EndReason.PROVIDER_LOST_STATE if lost else EndReason.NO_REFRESH_TOKEN

    def _join(self, grant: Grant, min_life: float) -> asyncio.Task[None]:
        """The running renewal of a grant in this process, or a new one."""
        task = self._running.get(grant.id)
        self._tracer.note(renewal="began" if task is None else "joined")
        if task is None:
            task = self._tasks.start(self._renew(grant, min_life), "renewal")
            self._running[grant.id] = task
            task.add_done_callback(lambda _: self._running.pop(grant.id, None))
        return task

    async def _renew(self, grant: Grant, min_life: float) -> None:
        """One renewal, or the wait for the one that another replica runs."""
        with span(self._tracer, "renewal", user=grant.user_tag):
            await self._renew_here(grant, min_life)

    async def _renew_here(self, grant: Grant, min_life: float) -> None:
        try:
            await self._until_sure(grant)
            async with self._at_once:
                with self._health.judged(grant.id) as may_ask:
                    held = not may_ask or await self._renewal.renew(grant, min_life)
            self._tracer.note(lease="held" if held else "elsewhere")
            if not held:
                self._metrics.lease_waits.inc()
                await self._follow(grant, min_life)
        except (StoreUnavailable, ProviderUnavailable) as error:
            self._setbacks.passing(grant, error)
            self._tracer.note(result="passing", error=type(error).__name__)
            if self._setbacks.is_over_alone(grant):
                with suppress(StoreUnavailable):
                    await self._renewal.end(grant, EndReason.ENDED_BY_PROVIDER)
        except SessionOver:
            return  # whoever loads the session next is told

    async def _until_sure(self, grant: Grant) -> None:
        """Wait for those who may know more of a grant than the store does.

        Without its lease: whoever died with that would keep all others from renewing.
        """
        now = self._clock.monotonic()
        sure_at = self._sessions.sure_at(grant.id)
        if sure_at > now:
            await self._renewal.wait_awake(sure_at - now)
        if self._renewal.may_be_answered(grant):
            await self._until_answered(grant)

    async def _until_answered(self, grant: Grant) -> None:
        """Until the answer to an open intent is stored, or whoever asked can no longer have it.

        Looks are counted, not seconds: while this process stood still, so may the other have.
        """
        shortest, longest = _LOOK_EVERY_SECONDS
        for _ in range(round(SAVED_BY_THEN_SECONDS / shortest)):
            share = self._random(1)[0] / 255
            await self._clock.sleep(shortest + share * (longest - shortest))
            stored = await self._sessions.load_grant(grant.user_tag, grant.id)
            if stored is not None and stored.renewals > grant.renewals:
                return

    async def _follow(self, grant: Grant, min_life: float) -> None:
        """Wait for the renewal that another replica runs, if no token is usable meanwhile.

        After a while the lease is tried again: its holder may have failed, and given it back.
        """
        until = self._clock.monotonic() + _FOLLOW_SECONDS
        shortest, longest = _LOOK_EVERY_SECONDS
        while self._clock.monotonic() < until:
            usable = usable_seconds(grant, self._clock.now()) > 0 and not self._keys.is_gone(grant)
            if usable and not min_life:
                return
            share = self._random(1)[0] / 255
            await self._clock.sleep(shortest + share * (longest - shortest))
            stored = await self._sessions.load_grant(grant.user_tag, grant.id)
            if stored is None or (stored.version != grant.version and not stored.intent):
                return
