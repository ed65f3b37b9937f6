"""Logins that the upstream makes itself: its token answer passes by, and a session comes of it.

The refresh token is kept for a short time under the hash of the ID token that came with it, sealed
in the store, since the callback's answer may pass by another replica. Whoever brings that ID token
first, in the answer to a callback, has the session.
"""

from collections import deque
from contextlib import suppress

from sidecar.core.grant import Sharing
from sidecar.core.id_token import Expected
from sidecar.core.observing import Kept, id_token_hash
from sidecar.core.person import printable
from sidecar.core.sealing import SEAL_RANDOM_BYTES, KeyRing, Label
from sidecar.core.session import shown_session
from sidecar.core.tokens import TokenResponse, first_tokens
from sidecar.errors import (
    KeyUnknown,
    ProviderRefused,
    RecordBroken,
    StoreUnavailable,
    TokenInvalid,
    TryLater,
)
from sidecar.flows.health import insist
from sidecar.flows.joining import Joining
from sidecar.flows.records import Client
from sidecar.flows.schedule import Schedule
from sidecar.flows.tasks import Runtime
from sidecar.flows.verification import verified_claims
from sidecar.ports import IdentityProvider, Store

# A callback's answer follows its token answer in milliseconds; an upstream may be slow.
KEPT_SECONDS = 60.0
MAX_KEPT = 1000  # in that time, by one process: more is no people who log in
_OWNER_BYTES = 16


class ObservedLogins:
    """Keeps the refresh tokens of the upstream's logins, and makes sessions of them."""

    def __init__(
        self,
        joining: Joining,
        store: Store,
        provider: IdentityProvider,
        ring: KeyRing,
        client: Client,
        schedule: Schedule,
        runtime: Runtime,
        *,
        prefix: str,
    ) -> None:
        self._joining = joining
        self._store = store
        self._provider = provider
        self._ring = ring
        self._client = client
        self._schedule = schedule
        self._prefix = prefix
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._audit = runtime.audit
        self._kept_at: deque[float] = deque()

    @property
    def client_id(self) -> str:
        """The client whose logins are observed."""
        return self._client.client_id

    async def keep(self, response: TokenResponse) -> None:
        """Keep the refresh token of a token answer for the callback that belongs to it.

        It never fails: the upstream's login goes on without a session of ours.
        """
        if not response.refresh_token:
            self._say("no_refresh_token")
            return
        try:
            kept = await self._verified(response)
        except TokenInvalid as error:
            self._say("id_token", error=error.check)
            return
        except TryLater as error:
            self._say("unavailable", error=str(error))
            return
        if not self._has_room():
            self._say("too_many")
            await self._give_up(kept)
            return
        try:
            await self._put(id_token_hash(kept.tokens.id_token), kept)
        except StoreUnavailable as error:
            self._say("unavailable", error=str(error))
            await self._give_up(kept)
            return
        self._metrics.observed_logins.labels("kept").inc()
        self._share(kept)

    async def _verified(self, response: TokenResponse) -> Kept:
        if response.id_token is None:
            raise TokenInvalid("missing")
        expected = Expected(
            self._client.issuer, self._client.client_id, access_token=response.access_token
        )
        now = self._clock.now()
        claims = await verified_claims(self._provider, response.id_token, expected, now=now)
        return Kept(first_tokens(response, response.id_token, claims, now=now), claims)

    def _has_room(self) -> bool:
        """Whether this process may keep another one; it counts those that it kept lately."""
        now = self._clock.monotonic()
        while self._kept_at and self._kept_at[0] <= now - KEPT_SECONDS:
            self._kept_at.popleft()
        if len(self._kept_at) >= MAX_KEPT:
            return False
        self._kept_at.append(now)
        return True

    async def _put(self, name: str, kept: Kept) -> None:
        sealed = self._ring.seal(
            kept.to_bytes(), self._label(name), random=self._random(SEAL_RANDOM_BYTES)
        )
        await self._is_first(_place(name), KEPT_SECONDS)
        await insist(lambda: self._store.set_redeemed(_place(name), sealed), self._clock)

    def _share(self, kept: Kept) -> None:
        """Give the user's other sessions the token at once, where it has ended theirs."""
        if self._provider.profile.sharing is Sharing.PER_USER:
            shared = self._joining.keep_for_others(
                kept.tokens, kept.claims, nonce=kept.claims.nonce
            )
            self._tasks.start(shared, "keep for others")

    async def _give_up(self, kept: Kept) -> None:
        """What no session can come of: to the user's other sessions, or back to the provider."""
        if self._provider.profile.sharing is Sharing.PER_USER:
            self._share(kept)
            return
        with suppress(ProviderRefused, TryLater):
            await self._provider.revoke(kept.tokens.refresh_token)

    async def begin(self, id_token: str, *, user_agent: str) -> str | None:
        """The cookie value of a new session for the login with this ID token; None: no session.

        Whoever comes first has it: a second answer with the same ID token gets none.
        """
        name = id_token_hash(id_token)
        try:
            kept = await self._take(name)
        except StoreUnavailable as error:
            self._say("unavailable", error=str(error))
            return None
        if kept is None or kept.claims.expires_at <= self._clock.now():
            self._metrics.observed_logins.labels("unknown").inc()
            return None
        return await self._start(kept, user_agent)

    async def _take(self, name: str) -> Kept | None:
        sealed = await insist(lambda: self._store.redeemed(_place(name)), self._clock)
        if not sealed or not await self._is_first(f"{_place(name)}-taken", 2 * KEPT_SECONDS):
            return None
        with suppress(StoreUnavailable):  # it ends by itself
            await self._store.set_redeemed(_place(name), b"")
        try:
            return Kept.from_bytes(self._ring.open(sealed, self._label(name)))
        except (RecordBroken, KeyUnknown):
            self._say("unreadable")
            return None

    async def _is_first(self, place: str, seconds: float) -> bool:
        """Whether nobody has come to a place before, though a reply may be lost."""
        owner = self._random(_OWNER_BYTES).hex()
        return await insist(lambda: self._store.redeem(place, owner, seconds=seconds), self._clock)

    async def _start(self, kept: Kept, user_agent: str) -> str | None:
        try:
            cookie, grant = await self._joining.start(
                kept.tokens,
                kept.claims,
                nonce=kept.claims.nonce,
                user_agent=user_agent,
                sharing=self._provider.profile.sharing,
            )
        except StoreUnavailable as error:
            self._say("unavailable", error=str(error))
            await self._give_up(kept)
            return None
        await self._schedule.note(grant)
        self._metrics.logins.labels("ok").inc()
        self._metrics.observed_logins.labels("session").inc()
        subject, session = printable(grant.subject), shown_session(cookie, self._ring)
        self._audit.info(
            "login", user=grant.user_tag, subject=subject, session=session, observed=True
        )
        return cookie

    def _label(self, name: str) -> Label:
        return Label(self._prefix, "observed", name)

    def _say(self, reason: str, error: str = "") -> None:
        """A login of which no session comes; the upstream's own goes on."""
        self._metrics.observed_logins.labels(reason).inc()
        mend = _MENDS[reason]
        if reason == "unavailable":  # which passes by itself
            self._log.warning("login_not_observed", reason=reason, error=error, mend=mend)
            return
        self._metrics.alarms.labels("login_not_observed").inc()
        self._log.error("login_not_observed", reason=reason, error=error, mend=mend)


_MENDS = {
    "no_refresh_token": "use a Dex connector that can refresh, and keep refresh_token in "
    "oauth2.grantTypes; see docs/observed-logins.md",
    "id_token": "make SIDECAR_ISSUER and SIDECAR_CLIENT_ID what Dex' tokens say",
    "unavailable": "see to the store and to Dex: the login had no session",
    "too_many": "more logins came in a minute than people make: look at who asks for tokens",
    "unreadable": "give every replica the same SIDECAR_SESSION_KEYS",
}


def _place(name: str) -> str:
    """Where it is kept, beside the states of our own logins."""
    return f"observed-{name}"
