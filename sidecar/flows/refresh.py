"""The refresh grant, one at a time per grant, whatever tabs and replicas do."""

import asyncio
from contextlib import suppress

from sidecar.core.breaker import CLOSED
from sidecar.core.failures import known_error
from sidecar.core.grant import Grant, Intent, Sharing
from sidecar.core.id_token import Expected, IdTokenClaims
from sidecar.core.refresh_policy import (
    Action,
    Decision,
    RefreshWindow,
    decide,
    is_harmless_again,
    usable_seconds,
    used_until,
)
from sidecar.core.session import EndReason, SessionKey
from sidecar.core.timings import Timings
from sidecar.core.tokens import TokenResponse, renew
from sidecar.errors import (
    ProviderRefused,
    ProviderUnavailable,
    SessionOver,
    SilentLoginNeeded,
    StoreUnavailable,
    TokenInvalid,
    TryLater,
)
from sidecar.flows.records import Live
from sidecar.flows.saving import SAVED_BY_THEN_SECONDS, Saving
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Sessions
from sidecar.flows.setbacks import Setbacks
from sidecar.flows.tasks import Runtime
from sidecar.flows.verification import verified_claims
from sidecar.ports import IdentityProvider, SaveResult, Store

_REMEMBERED_UNTIL = 50_000
_FOLLOW_SECONDS = 1.0
_LOOK_EVERY_SECONDS = (0.05, 0.1)
_RELEASE_AGAIN_SECONDS = (0.5, 2.0, 5.0)
_STOOD_STILL_SECONDS = 1.0
_SHORTEST_LEASE_SECONDS = 5.0
_LONGEST_WINDOW_SECONDS = 60.0  # longer ones are as good as endless
_ATTEMPTS = 5
_LOGIN_STORED_SECONDS = 2.0


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
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._provider = provider
        self._schedule = schedule
        self._window = window
        self._timings = timings
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._running: dict[str, asyncio.Task[None]] = {}
        self._saving = Saving(sessions, provider, runtime)
        self._setbacks = Setbacks(runtime)
        self._until: dict[tuple[str, int, float, float], float] = {}
        self._breaker = CLOSED
        self._metrics.provider_away.set_function(lambda: self.provider_away)
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
                    if not await self._must_wait(live.grant, min_life):
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
        if live is None:
            return None
        live = self._saving.latest(live)
        now = self._clock.now()
        if now >= self._used_until(live.grant, min_life):
            return None
        self._metrics.token_life_left.observe(usable_seconds(live.grant, now))
        return live

    def _used_until(self, grant: Grant, min_life: float) -> float:
        """`used_until`, computed once per version of a grant."""
        # The same version may come twice with other tokens, when a store has gone back.
        name = (grant.id, grant.version, grant.tokens.id_token_expires_at, min_life)
        until = self._until.get(name)
        if until is None:
            if len(self._until) >= _REMEMBERED_UNTIL:
                self._until.clear()
            until = used_until(grant, window=self._window, min_life=min_life)
            self._until[name] = until
        return until

    def may_go_up(self, live: Live) -> bool:
        """Whether what `current` gave may still be used: right before its request goes up."""
        return self._sessions.may_go_up(live)

    def try_again(self) -> None:
        """Forget what stood in the way: the client or the way to the provider has changed."""
        self._setbacks.clear()
        self._breaker = CLOSED

    @property
    def provider_away(self) -> bool:
        """Whether the provider is taken to be away."""
        return bool(self._breaker.opened)

    async def renew_behind(self, grant: Grant) -> float:
        """Renew a grant without a request; when to try again if it must wait, else 0."""
        now = self._clock.now()
        retry_at = self._retry_at(grant, now)
        if retry_at <= now:
            await asyncio.shield(self._join(grant, 0.0))
            retry_at = self._retry_at(grant, now)
        return retry_at

    def _decide(self, grant: Grant, now: float, min_life: float, retry_at: float) -> Decision:
        return decide(
            grant,
            now,
            window=self._window,
            min_life=min_life,
            retry_at=retry_at,
            reuse_window=self._provider.profile.reuse_window_seconds,
        )

    def _retry_at(self, grant: Grant, now: float) -> float:
        """When a grant may be tried again: its own failures count, and the provider's."""
        setback = self._setbacks.of(grant.id)
        return max(setback.retry_at if setback else 0.0, self._breaker.retry_at(now))

    async def _load(self, key: SessionKey) -> Live | None:
        live = await self._sessions.load(key)
        return self._saving.latest(live) if live else None

    async def _must_wait(self, grant: Grant, min_life: float) -> bool:
        """Whether the grant must be looked at again, after what there was to wait for."""
        now = self._clock.now()
        retry_at = self._retry_at(grant, now)
        decision = self._decide(grant, now, min_life, retry_at)
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
                await self._end(grant, EndReason.NO_REFRESH_TOKEN)
            case Action.LOG_IN_SILENTLY:
                raise SilentLoginNeeded
            case Action.RENEW_FIRST:
                # The browser may leave; the renewal goes on.
                await asyncio.shield(self._join(grant, min_life))
        return True

    def _join(self, grant: Grant, min_life: float) -> asyncio.Task[None]:
        """The running renewal of a grant in this process, or a new one."""
        task = self._running.get(grant.id)
        if task is None:
            task = self._tasks.start(self._renew(grant, min_life), "renewal")
            self._running[grant.id] = task
            task.add_done_callback(lambda _: self._running.pop(grant.id, None))
        return task

    async def _renew(self, grant: Grant, min_life: float) -> None:
        """One renewal, or the wait for the one that another replica runs."""
        try:
            await self._until_sure(grant)
            async with self._at_once:
                held = await self._renew_unless_away(grant, min_life)
            if not held:
                self._metrics.lease_waits.inc()
                await self._follow(grant, min_life)
        except (StoreUnavailable, ProviderUnavailable) as error:
            self._setbacks.passing(grant, error)
            if self._setbacks.is_over_alone(grant):
                with suppress(StoreUnavailable):
                    await self._end(grant, EndReason.ENDED_BY_PROVIDER)
        except SessionOver:
            return  # whoever loads the session next is told

    async def _until_sure(self, grant: Grant) -> None:
        """Wait for those who may know more of a grant than the store does.

        Without its lease: whoever died with that would keep all others from renewing.
        """
        now = self._clock.monotonic()
        sure_at = self._sessions.sure_at(grant.id)
        if sure_at > now:
            await self._wait_awake(sure_at - now)
        if self._may_be_answered(grant):
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

    async def _wait_awake(self, seconds: float) -> None:
        """Wait, and once more if we stood still meanwhile: whom we wait for may have, too."""
        for _ in range(2):
            began_at = self._clock.monotonic()
            await self._clock.sleep(seconds)
            if self._clock.monotonic() - began_at < seconds + _STOOD_STILL_SECONDS:
                return

    def _may_be_answered(self, grant: Grant) -> bool:
        """Whether somebody may hold the answer to an open intent, and a second try would cost."""
        window = self._provider.profile.reuse_window_seconds
        return grant.answer_unknown and not is_harmless_again(grant, self._clock.now(), window)

    async def _renew_unless_away(self, grant: Grant, min_life: float) -> bool:
        """Renew, unless the provider is taken to be away; False: another replica does."""
        asking = self._breaker.ask(self._clock.now())
        if asking is None:
            return True
        self._breaker = asking
        try:
            return await self._renew_with_lease(grant, min_life)
        except ProviderUnavailable as error:
            if not error.only_this_grant:
                self._breaker = self._breaker.failed(
                    grant.id,
                    self._clock.now(),
                    at_least=error.retry_after_seconds,
                    share=int.from_bytes(self._random(2)) / 65536,
                )
            raise
        finally:
            if asking.probing and self._breaker is asking:
                self._breaker = asking.unanswered()

    async def _renew_with_lease(self, grant: Grant, min_life: float) -> bool:
        """Renew under the lease; False when another replica has it."""
        owner = self._random(16).hex()
        tag, taken_at = grant.user_tag, self._clock.monotonic()
        held = True
        try:
            seconds = self.lease_seconds
            held = await self._store.take_lease(tag, grant.id, owner, seconds=seconds)
            if held:
                by = taken_at + seconds / 2
                await self._ask_provider(grant, min_life, by, asker=owner)
            return held
        finally:
            if held:
                await self._release(tag, grant.id, owner)

    async def _release(self, tag: str, grant_id: str, owner: str) -> None:
        try:
            await self._store.release_lease(tag, grant_id, owner)
        except StoreUnavailable:
            self._tasks.start(self._release_behind(tag, grant_id, owner), "release")

    async def _release_behind(self, tag: str, grant_id: str, owner: str) -> None:
        """A lease that is left behind keeps all from renewing: it is given back when it can be."""
        for delay in _RELEASE_AGAIN_SECONDS:
            await self._clock.sleep(delay)
            with suppress(StoreUnavailable):
                return await self._store.release_lease(tag, grant_id, owner)
        self._log.warning("lease_not_released")  # it ends by itself

    @property
    def lease_seconds(self) -> float:
        """How long a lease is taken for.

        Where a second use of a refresh token is harmless for a while, the lease of a process
        that died ends early enough for another try or two within that time.
        """
        window = self._provider.profile.reuse_window_seconds
        if not window:
            return self._timings.lease_seconds
        short = max(min(window, _LONGEST_WINDOW_SECONDS) / 6, _SHORTEST_LEASE_SECONDS)
        return min(short, self._timings.lease_seconds)

    async def _ask_provider(
        self, grant: Grant, min_life: float, send_before: float, *, asker: str
    ) -> None:
        """Read again, decide again, write the intent, ask, and keep the answer."""
        known = grant.intent
        asked = await self._surely_due(grant, min_life, send_before, waited_for=known)
        if asked is None:
            return
        was_unknown = asked.answer_unknown
        asked = asked.with_intent(now=self._clock.now(), asker=asker)
        if await self._sessions.save(asked) is not SaveResult.SAVED:
            self._metrics.lost_races.inc()
            return
        try:
            response = await self._provider.refresh(
                asked.tokens.refresh_token, send_before=send_before
            )
        except ProviderUnavailable as error:
            if error.token_untouched and not was_unknown:
                await self._take_back_intent(asked)
            raise
        except ProviderRefused as refusal:
            await self._refused(asked, refusal, was_unknown=was_unknown)
            return
        self._breaker = CLOSED
        await self._keep(asked, response)

    async def _surely_due(
        self, grant: Grant, min_life: float, by: float, *, waited_for: Intent | None
    ) -> Grant | None:
        """The grant, read again once nobody can know more of it than the store does."""
        asked = await self._due(grant, min_life)
        sure_at = self._sessions.sure_at(grant.id)
        if asked is not None and asked.intent != waited_for and self._may_be_answered(asked):
            # Whoever asked may live, and hold the answer in memory until the store is back.
            sure_at = max(sure_at, self._clock.monotonic() + SAVED_BY_THEN_SECONDS)
        while asked is not None and sure_at > self._clock.monotonic():
            if sure_at > by:
                raise StoreUnavailable("the store breaks off too often to rely on it")
            await self._wait_awake(sure_at - self._clock.monotonic())
            asked = await self._due(grant, min_life)
            sure_at = self._sessions.sure_at(grant.id)
        return asked

    async def _due(self, grant: Grant, min_life: float) -> Grant | None:
        """The grant as stored now, None if somebody has renewed it or it must not be renewed."""
        if grant.id in self._saving:
            # What is stored has a spent refresh token; ours must get there first.
            raise StoreUnavailable("the last renewal is not stored yet")
        stored = await self._sessions.load_grant(grant.user_tag, grant.id)
        if stored is None:
            return None
        decision = self._decide(stored, self._clock.now(), min_life, retry_at=0.0)
        due = decision.action in (Action.USE_AND_RENEW, Action.RENEW_FIRST)
        return stored if due else None

    async def _refused(self, asked: Grant, refusal: ProviderRefused, *, was_unknown: bool) -> None:
        """The provider said no: the grant is over, or the operator has something to mend."""
        self._metrics.renewals.labels("over" if refusal.over else "operator").inc()
        self._metrics.renewal_failures.labels(known_error(refusal.error)).inc()
        self._breaker = CLOSED  # it answers
        if not refusal.over:
            if not was_unknown:
                await self._take_back_intent(asked)
            self._setbacks.alarm(asked, "provider_refuses_client", error=refusal.error)
            return
        stored = await self._not_newer(asked)
        if stored is None:
            return  # a newer refresh token is there: use that
        if stored.others:
            await self._try_next(stored)
            return
        if stored.sharing is Sharing.PER_USER:
            # A login that ended our refresh token may not be stored yet.
            await self._clock.sleep(_LOGIN_STORED_SECONDS)
            stored = await self._not_newer(asked)
            if stored is None:
                return
        reason = EndReason.REUSE_DETECTED if refusal.reused else EndReason.ENDED_BY_PROVIDER
        await self._end(stored, EndReason.LOST_ANSWER if was_unknown else reason)

    async def _not_newer(self, asked: Grant) -> Grant | None:
        """The grant as it is stored, None if it has another refresh token than was asked with."""
        stored = await self._sessions.load_grant(asked.user_tag, asked.id)
        if stored is None or stored.tokens.refresh_token != asked.tokens.refresh_token:
            return None
        return stored

    async def _try_next(self, stored: Grant) -> None:
        """The refused refresh token makes way for the next candidate, which a new look tries."""
        await self._sessions.save(stored.without_refused())
        await self._schedule.note(stored)

    async def _take_back_intent(self, asked: Grant) -> None:
        """Note that the refresh token is not spent, whatever else has changed meanwhile.

        Only an intent of our own: whoever woke up too late finds that of the one that asks now.
        """
        grant: Grant | None = asked
        for _ in range(_ATTEMPTS):
            if grant is None or grant.intent != asked.intent:
                return
            if await self._sessions.save(grant.without_intent()) is not SaveResult.MOVED:
                return
            grant = await self._sessions.load_grant(asked.user_tag, asked.id)

    async def _end(self, grant: Grant, reason: EndReason) -> None:
        """End a grant, unless it has got another refresh token meanwhile."""
        refresh_token = grant.tokens.refresh_token
        for _ in range(_ATTEMPTS):
            if await self._sessions.end_grant(grant, reason):
                self._setbacks.forget(grant.id)
                self._log.info("grant_ended", reason=reason.value, user=grant.user_tag)
                return
            stored = await self._sessions.load_grant(grant.user_tag, grant.id)
            if stored is None or stored.tokens.refresh_token != refresh_token:
                return
            grant = stored

    async def _keep(self, asked: Grant, response: TokenResponse) -> None:
        """Check the answer, and keep what is good of it. A new refresh token is never dropped."""
        try:
            claims = await self._verified(asked, response)
        except TokenInvalid as invalid:
            if invalid.other_subject:
                self._metrics.renewals.labels("wrong_answer").inc()
                self._metrics.renewal_failures.labels("other_subject").inc()
                self._setbacks.alarm(asked, "other_subject")
                await self._end(asked, EndReason.WRONG_ANSWER)
                return
            claims = None
            self._metrics.renewal_failures.labels("id_token").inc()
            self._setbacks.alarm(asked, "id_token_refused", check=invalid.check)
        except (ProviderUnavailable, ProviderRefused, TimeoutError):
            claims = None
            away = ProviderUnavailable("the provider's keys could not be read")
            self._setbacks.passing(asked, away)
        else:
            if claims is None:
                self._setbacks.tell_once("no_id_token_on_refresh")
            self._setbacks.renewed(asked.id)
        tokens = renew(asked.tokens, response, claims, now=self._clock.now())
        renewed = asked.with_tokens(tokens, has_id_token=response.id_token is not None)
        await self._saving.save(asked, renewed)
        await self._schedule.note(renewed)
        self._metrics.renewals.labels("renewed" if claims else "without_id_token").inc()
        self._log.info("renewed", user=asked.user_tag, new_id_token=claims is not None)

    async def _verified(self, asked: Grant, response: TokenResponse) -> IdTokenClaims | None:
        """The new ID token's claims, None without one; within the time that the lease has left."""
        if response.id_token is None:
            return None
        expected = Expected(
            issuer=asked.issuer,
            client_id=asked.client_id,
            access_token=response.access_token,
            nonce=asked.nonce,
            subject=asked.subject,
        )
        now = self._clock.now()
        async with asyncio.timeout(self._timings.keys_seconds):
            return await verified_claims(self._provider, response.id_token, expected, now=now)

    async def _follow(self, grant: Grant, min_life: float) -> None:
        """Wait for the renewal that another replica runs, if no token is usable meanwhile.

        After a while the lease is tried again: its holder may have failed, and given it back.
        """
        until = self._clock.monotonic() + _FOLLOW_SECONDS
        shortest, longest = _LOOK_EVERY_SECONDS
        while self._clock.monotonic() < until:
            if usable_seconds(grant, self._clock.now()) > 0 and not min_life:
                return
            share = self._random(1)[0] / 255
            await self._clock.sleep(shortest + share * (longest - shortest))
            stored = await self._sessions.load_grant(grant.user_tag, grant.id)
            if stored is None or (stored.version != grant.version and not stored.intent):
                return
