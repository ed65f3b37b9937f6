"""Authorization code flow with PKCE: from `/auth/login` to a session."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sidecar.core.authorization import (
    ATTEMPT_LIFE_SECONDS,
    ATTEMPT_RANDOM_BYTES,
    AuthorizationResponse,
    LoginAttempt,
    OfflineAccess,
    authorization_url,
    check_authorization_response,
    new_attempt,
    open_attempt,
    requested_scope,
)
from sidecar.core.grant import Grant, Sharing
from sidecar.core.id_token import Expected, IdTokenClaims
from sidecar.core.person import printable
from sidecar.core.sealing import SEAL_RANDOM_BYTES, KeyRing, Label
from sidecar.core.session import EndReason, SessionKey, shown_session, user_tag
from sidecar.core.tokens import TokenResponse, first_tokens
from sidecar.errors import (
    LoginRefused,
    ProviderRefused,
    RecordBroken,
    SessionOver,
    StoreUnavailable,
    TokenInvalid,
    TooMany,
    TryLater,
)
from sidecar.flows.health import insist
from sidecar.flows.joining import Joining
from sidecar.flows.limits import LoginLimits
from sidecar.flows.records import Client
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.flows.verification import verified_claims
from sidecar.ports import IdentityProvider, Store
from sidecar.tracing import span

_LOOK_EVERY_SECONDS = 0.1
_LOOK_FOR_SECONDS = 15.0
_OWNER_BYTES = 16


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """What goes into the authorization request."""

    scopes: tuple[str, ...]
    offline_access: OfflineAccess
    authorization: tuple[tuple[str, str], ...] = ()
    """More parameters of it, as Argo CD sends them: `claims`, `domain_hint`."""


class Login:
    """Makes a session out of a person's sign-in at the provider."""

    def __init__(
        self,
        sessions: Sessions,
        joining: Joining,
        store: Store,
        provider: IdentityProvider,
        ring: KeyRing,
        client: Client,
        settings: LoginSettings,
        schedule: Schedule,
        runtime: Runtime,
        limits: LoginLimits,
        *,
        prefix: str,
    ) -> None:
        self._sessions = sessions
        self._limits = limits
        self._joining = joining
        self._store = store
        self._provider = provider
        self._ring = ring
        self._client = client
        self._settings = settings
        self._schedule = schedule
        self._prefix = prefix
        # An attempt is its client's: a code goes to no other provider than gave it.
        self._attempts = f"{prefix}{user_tag(client.issuer, client.client_id, '')}:"
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._audit = runtime.audit
        self._tracer = runtime.tracer

    async def start(
        self, return_url: str, redirect_uri: str, *, silent: bool = False
    ) -> tuple[str, LoginAttempt, str]:
        """Where to send the browser, the attempt, and the value of its cookie.

        A `silent` login shows no form: the provider knows the person, or says that it does not.

        Raises:
            ProviderUnavailable: the provider's metadata is not known yet.
        """
        endpoints = await self._provider.endpoints()
        attempt = new_attempt(
            return_url,
            redirect_uri,
            now=self._clock.now(),
            random=self._random(ATTEMPT_RANDOM_BYTES),
            silent=silent,
        )
        scope, extra = requested_scope(
            self._settings.scopes,
            self._settings.offline_access,
            supported=endpoints.scopes_supported,
            profile=self._provider.profile,
        )
        if silent:
            extra = [*(pair for pair in extra if pair[0] != "prompt"), ("prompt", "none")]
        url = authorization_url(
            endpoints.authorization_endpoint,
            attempt,
            client_id=self._client.client_id,
            scope=scope,
            extra=[*extra, *self._settings.authorization],
        )
        sealed = attempt.seal(self._ring, self._attempts, random=self._random(SEAL_RANDOM_BYTES))
        return url, attempt, sealed

    def open_attempt(self, cookie: str, state: str) -> LoginAttempt:
        """The attempt that a callback's `state` and its cookie belong to.

        Raises:
            LoginRefused: they do not belong together, or are too old.
        """
        return open_attempt(cookie, state, self._ring, self._attempts, now=self._clock.now())

    @contextmanager
    def counting_refusals(self) -> Iterator[None]:
        """Count a callback that comes to nothing before anybody is asked about it."""
        try:
            yield
        except LoginRefused as refusal:
            self._metrics.logins.labels(refusal.reason).inc()
            raise

    async def finish(
        self, response: AuthorizationResponse, attempt: LoginAttempt, *, user_agent: str
    ) -> str:
        """The cookie value of a new session.

        A state is redeemed once: a browser that repeats its request must not make the
        provider revoke the grant. The second request waits for the first, and gets a session
        of its own on the same grant.

        Raises:
            LoginRefused: the person is to see a page, and may start again.
            TooMany: nothing was done yet; the same request may be repeated.
            TryLater: the provider or the store is away.
        """
        try:
            with span(self._tracer, "login", silent=attempt.silent):
                return await self._finish(response, attempt, user_agent)
        except TooMany:
            self._metrics.logins.labels("too_many").inc()
            raise
        except (LoginRefused, TryLater) as error:
            reason = error.reason if isinstance(error, LoginRefused) else "unavailable"
            self._metrics.logins.labels(reason).inc()
            self._tracer.note(login=reason)
            self._audit.warning("login_failed", reason=reason, error=str(error))
            raise

    async def _finish(
        self, response: AuthorizationResponse, attempt: LoginAttempt, user_agent: str
    ) -> str:
        endpoints = await self._provider.endpoints()
        check_authorization_response(
            response,
            issuer=self._client.issuer,
            iss_required=endpoints.iss_parameter_supported,
            silent=attempt.silent,
            aliases=self._provider.issuer_aliases,
        )
        # Before the state is redeemed: who is refused here may come again with it.
        self._limits.check_callback()
        with ExitStack() as place:
            place.enter_context(self._limits.at_once("exchanges"))
            if await self._is_first(attempt):
                # The code is spent by the exchange, so a browser that leaves does not stop it.
                work = self._redeem(response.code, attempt, user_agent, place.pop_all())
                return await asyncio.shield(self._tasks.start(work, "login"))
        with self._limits.at_once("repeats"):
            return await self._join_redeemed(attempt, user_agent)

    async def _is_first(self, attempt: LoginAttempt) -> bool:
        """Whether this request is the one that redeems the state, though a reply may be lost."""
        owner, life = self._random(_OWNER_BYTES).hex(), ATTEMPT_LIFE_SECONDS + 60
        return await insist(
            lambda: self._store.redeem(attempt.state_hash, owner, seconds=life), self._clock
        )

    async def end_previous(self, key: SessionKey) -> None:
        """End the session that the browser had before this login.

        Its refresh token is not revoked: at providers with one session per browser (Keycloak)
        that would end the new login too.
        """
        try:
            live = await self._sessions.load(key)
            await self._sessions.end(key, live.session.grant_id if live else "", EndReason.REPLACED)
        except (SessionOver, StoreUnavailable):
            return  # it ends by itself at its idle timeout

    async def _redeem(
        self, code: str, attempt: LoginAttempt, user_agent: str, place: ExitStack
    ) -> str:
        try:
            with place:
                cookie, grant = await self._exchange(code, attempt, user_agent)
        except (LoginRefused, TryLater):
            await self._remember(attempt, "", "")
            raise
        await self._remember(attempt, grant.user_tag, grant.id)
        self._metrics.logins.labels("ok").inc()
        subject, session = printable(grant.subject), shown_session(cookie, self._ring)
        self._audit.info("login", user=grant.user_tag, subject=subject, session=session)
        return cookie

    async def _exchange(
        self, code: str, attempt: LoginAttempt, user_agent: str
    ) -> tuple[str, Grant]:
        try:
            response = await self._provider.exchange(
                code, code_verifier=attempt.code_verifier, redirect_uri=attempt.redirect_uri
            )
            id_token, claims = await self._verified(response, attempt)
        except ProviderRefused as error:
            raise self._refused(f"exchange_{error.error}") from error
        except TokenInvalid as error:
            raise self._refused(f"id_token_{error.check}") from error
        tokens = first_tokens(response, id_token, claims, now=self._clock.now())
        if not tokens.refresh_token:
            self._metrics.alarms.labels("no_refresh_token").inc()
            self._log.error(
                "no_refresh_token",
                mend="let the provider's client use refresh tokens (grant type refresh_token, "
                "scope offline_access), or set SIDECAR_OFFLINE_ACCESS=consent; behind Dex: use a "
                "connector that can refresh (docs/dex.md)",
            )
        sharing = self._provider.profile.sharing
        try:
            cookie, grant = await self._joining.start(
                tokens,
                claims,
                nonce=attempt.nonce,
                user_agent=user_agent,
                sharing=sharing,
            )
        except StoreUnavailable:
            if sharing is Sharing.PER_USER:
                kept = self._joining.keep_for_others(tokens, claims, nonce=attempt.nonce)
                self._tasks.start(kept, "keep for others")
            else:
                self._tasks.start(self._give_back(tokens.refresh_token), "revoke")
            raise
        await self._schedule.note(grant)
        await self._sessions.seeding.note(grant)
        return cookie, grant

    async def _give_back(self, refresh_token: str) -> None:
        """Revoke what no session could be made of."""
        try:
            await self._provider.revoke(refresh_token)
        except (ProviderRefused, TryLater):
            self._log.warning("not_revoked")

    async def _verified(
        self, response: TokenResponse, attempt: LoginAttempt
    ) -> tuple[str, IdTokenClaims]:
        if response.id_token is None:
            raise TokenInvalid("missing")
        expected = Expected(
            issuer=self._client.issuer,
            client_id=self._client.client_id,
            access_token=response.access_token,
            nonce=attempt.nonce,
        )
        now = self._clock.now()
        claims = await verified_claims(self._provider, response.id_token, expected, now=now)
        return response.id_token, claims

    def _refused(self, reason: str) -> LoginRefused:
        self._metrics.alarms.labels("login_refused").inc()
        self._log.error("login_refused", reason=reason, mend="see docs/configuration.md: provider")
        return LoginRefused(
            reason,
            "The identity provider's answer could not be used. Sign in again; "
            "if it happens again, tell your operator.",
            status=502,
        )

    async def _remember(self, attempt: LoginAttempt, tag: str, grant_id: str) -> None:
        """What became of a redeemed state. Sealed, so that nobody is led to another's grant."""
        label = Label(self._prefix, "redeemed", attempt.state_hash)
        plain = json.dumps([tag, grant_id]).encode()
        outcome = self._ring.seal(plain, label, random=self._random(SEAL_RANDOM_BYTES))
        try:
            await self._store.set_redeemed(attempt.state_hash, outcome)
        except StoreUnavailable:
            self._log.warning("redeemed_state_not_kept")

    async def _join_redeemed(self, attempt: LoginAttempt, user_agent: str) -> str:
        again = LoginRefused("repeated", "This sign-in has been used already. Sign in again.")
        outcome = await self._redeemed_outcome(attempt)
        if not outcome:
            raise again
        try:
            plain = self._ring.open(outcome, Label(self._prefix, "redeemed", attempt.state_hash))
        except RecordBroken as error:
            raise again from error
        tag, grant_id = json.loads(plain)
        cookie = await self._joining.join(tag, grant_id, user_agent=user_agent) if tag else None
        if cookie is None:
            raise again
        self._metrics.logins.labels("repeated").inc()
        self._audit.info("login_repeated", user=tag, session=shown_session(cookie, self._ring))
        return cookie

    async def _redeemed_outcome(self, attempt: LoginAttempt) -> bytes | None:
        """The outcome of the first arrival, waited for; None if there is none in time."""
        for _ in range(int(_LOOK_FOR_SECONDS / _LOOK_EVERY_SECONDS)):
            outcome = await self._store.redeemed(attempt.state_hash)
            if outcome is None or outcome:
                return outcome
            await self._clock.sleep(_LOOK_EVERY_SECONDS)
        return None
