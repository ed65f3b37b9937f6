"""One renewal of a grant, under its lease: read, note, ask, check, keep."""

import asyncio

from sidecar.core.failures import known_error
from sidecar.core.grant import Grant, Intent, Sharing
from sidecar.core.id_token import Expected, IdTokenClaims
from sidecar.core.refresh_policy import (
    Action,
    Decision,
    RefreshWindow,
    decide,
    is_harmless_again,
)
from sidecar.core.session import EndReason
from sidecar.core.timings import Timings
from sidecar.core.tokens import TokenResponse, renew
from sidecar.errors import (
    ProviderRefused,
    ProviderUnavailable,
    StoreUnavailable,
    TokenInvalid,
)
from sidecar.flows.health import ProviderHealth
from sidecar.flows.key_watch import KeyWatch
from sidecar.flows.lease import Lease, Leases
from sidecar.flows.saving import SAVED_BY_THEN_SECONDS, Saving
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Sessions
from sidecar.flows.setbacks import Setbacks
from sidecar.flows.tasks import Runtime
from sidecar.flows.verification import verified_claims
from sidecar.ports import IdentityProvider, SaveResult

_STOOD_STILL_SECONDS = 1.0
_ATTEMPTS = 5
_LOGIN_STORED_SECONDS = 2.0


class Renewal:
    """Renews a grant whose lease it can get; whoever calls it looks after the rest."""

    def __init__(
        self,
        sessions: Sessions,
        provider: IdentityProvider,
        leases: Leases,
        schedule: Schedule,
        setbacks: Setbacks,
        saving: Saving,
        health: ProviderHealth,
        keys: KeyWatch,
        runtime: Runtime,
        *,
        window: RefreshWindow,
        timings: Timings,
    ) -> None:
        self._sessions = sessions
        self._provider = provider
        self._leases = leases
        self._schedule = schedule
        self._setbacks = setbacks
        self._saving = saving
        self._health = health
        self._keys = keys
        self._window = window
        self._timings = timings
        self._clock = runtime.clock
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._audit = runtime.audit
        self._tracer = runtime.tracer

    async def renew(self, grant: Grant, min_life: float) -> bool:
        """Renew under the lease; False when another replica has it.

        Raises:
            StoreUnavailable, ProviderUnavailable: it is to be tried again.
        """
        async with self._leases.taken(grant) as lease:
            if lease is not None:
                await self._ask(grant, min_life, lease)
            return lease is not None

    def decide(self, grant: Grant, now: float, min_life: float, retry_at: float) -> Decision:
        """What to do for a request now, at this provider."""
        return decide(
            grant,
            now,
            window=self._window,
            min_life=min_life,
            retry_at=retry_at,
            reuse_window=self._provider.profile.reuse_window_seconds,
            store_is_ahead=self._sessions.store_is_ahead,
            key_gone=self._keys.is_gone(grant),
        )

    def may_be_answered(self, grant: Grant) -> bool:
        """Whether somebody may hold the answer to an open intent, and a second try would cost."""
        window = self._provider.profile.reuse_window_seconds
        now = self._clock.now() + self._sessions.store_is_ahead
        return grant.answer_unknown and not is_harmless_again(grant, now, window)

    async def wait_awake(self, seconds: float) -> None:
        """Wait, and once more if we stood still meanwhile: whom we wait for may have, too."""
        for _ in range(2):
            began_at = self._clock.monotonic()
            await self._clock.sleep(seconds)
            if self._clock.monotonic() - began_at < seconds + _STOOD_STILL_SECONDS:
                return

    async def _ask(self, grant: Grant, min_life: float, lease: Lease) -> None:
        """Read again, decide again, write the intent, ask, and keep the answer."""
        known = grant.intent
        asked = await self._surely_due(grant, min_life, lease.ask_before, waited_for=known)
        if asked is None:
            return
        was_unknown = asked.answer_unknown
        asked = asked.with_intent(now=await self._sessions.store_now(), asker=lease.owner)
        if await self._sessions.save(asked) is not SaveResult.SAVED:
            self._metrics.lost_races.inc()
            return
        try:
            response = await self._provider.refresh(
                asked.tokens.refresh_token, send_before=lease.ask_before
            )
        except ProviderUnavailable as error:
            if error.token_untouched and not was_unknown:
                await self._take_back_intent(asked)
            raise
        except ProviderRefused as refusal:
            await self._refused(asked, refusal, was_unknown=was_unknown)
            return
        self._health.answered()
        await self._keep(asked, response)

    async def _surely_due(
        self, grant: Grant, min_life: float, by: float, *, waited_for: Intent | None
    ) -> Grant | None:
        """The grant, read again once nobody can know more of it than the store does."""
        asked = await self._due(grant, min_life)
        sure_at = self._sessions.sure_at(grant.id)
        if asked is not None and asked.intent != waited_for and self.may_be_answered(asked):
            # Whoever asked may live, and hold the answer in memory until the store is back.
            sure_at = max(sure_at, self._clock.monotonic() + SAVED_BY_THEN_SECONDS)
        while asked is not None and sure_at > self._clock.monotonic():
            if sure_at > by:
                raise StoreUnavailable("the store breaks off too often to rely on it")
            await self.wait_awake(sure_at - self._clock.monotonic())
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
        decision = self.decide(stored, self._clock.now(), min_life, retry_at=0.0)
        due = decision.action in (Action.USE_AND_RENEW, Action.RENEW_FIRST)
        return stored if due else None

    async def _refused(self, asked: Grant, refusal: ProviderRefused, *, was_unknown: bool) -> None:
        """The provider said no: the grant is over, or the operator has something to mend."""
        self._count("over" if refusal.over else "operator")
        self._metrics.renewal_failures.labels(known_error(refusal.error)).inc()
        self._health.answered()
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
        lost = await self._keys.has_lost_state(asked)
        if stored.sharing is Sharing.PER_USER and not lost:
            # A login that ended our refresh token may not be stored yet.
            await self._clock.sleep(_LOGIN_STORED_SECONDS)
            stored = await self._not_newer(asked)
            if stored is None:
                return
        reason = EndReason.REUSE_DETECTED if refusal.reused else EndReason.ENDED_BY_PROVIDER
        reason = EndReason.LOST_ANSWER if was_unknown else reason
        await self.end(stored, EndReason.PROVIDER_LOST_STATE if lost else reason)

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

    async def end(self, grant: Grant, reason: EndReason) -> None:
        """End a grant, unless it has got another refresh token meanwhile."""
        refresh_token = grant.tokens.refresh_token
        for _ in range(_ATTEMPTS):
            if await self._sessions.end_grant(grant, reason):
                self._setbacks.forget(grant.id)
                self._audit.info("grant_ended", reason=reason.value, user=grant.user_tag)
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
                self._count("wrong_answer")
                self._metrics.renewal_failures.labels("other_subject").inc()
                self._setbacks.alarm(asked, "other_subject")
                await self.end(asked, EndReason.WRONG_ANSWER)
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
        self._sessions.groups.note(asked.tokens.id_token, tokens.id_token, user=asked.user_tag)
        await self._saving.save(asked, renewed)
        # Not under the lease: nobody else has to wait for Argo CD's Redis.
        self._tasks.start(self._sessions.seeding.note(renewed), "seed")
        await self._schedule.note(renewed)
        self._count("renewed" if claims else "without_id_token")
        self._audit.info("renewed", user=asked.user_tag, new_id_token=claims is not None)

    def _count(self, result: str) -> None:
        self._metrics.renewals.labels(result).inc()
        self._tracer.note(result=result)

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
            user_tag=asked.user_tag,
        )
        now = self._clock.now()
        async with asyncio.timeout(self._timings.keys_seconds):
            return await verified_claims(self._provider, response.id_token, expected, now=now)
