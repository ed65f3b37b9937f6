"""How a session comes by its grant: a new one, the user's shared one, or one that is there."""

from contextlib import suppress
from dataclasses import replace

from sidecar.core.grant import GRANT_ID_BYTES, Grant, Sharing
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.session import (
    SESSION_SECRET_BYTES,
    Session,
    new_session_cookie,
    provider_sid_hash,
    user_tag,
)
from sidecar.core.tokens import TokenSet
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.flows.cache import Cache
from sidecar.flows.health import insist
from sidecar.flows.records import Records
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.ports import SaveResult, Store

_KEEP_FOR_SECONDS = 60.0
_ATTEMPTS = 30
_RETRY_SECONDS = 0.1


class Joining:
    """Begins sessions, each on a grant of its own or on one that others have too."""

    def __init__(
        self,
        store: Store,
        records: Records,
        cache: Cache,
        sessions: Sessions,
        runtime: Runtime,
    ) -> None:
        self._store = store
        self._records = records
        self._cache = cache
        self._sessions = sessions
        self._clock = runtime.clock
        self._random = runtime.random

    async def start(
        self,
        tokens: TokenSet,
        claims: IdTokenClaims,
        *,
        nonce: str,
        user_agent: str,
        sharing: Sharing = Sharing.PER_SESSION,
    ) -> tuple[str, Grant]:
        """A new session after a login: its cookie value, and its grant.

        The grant is a new one, or the one that the user's sessions share, with its new tokens.
        """
        for _ in range(_ATTEMPTS):
            grant = await insist(
                lambda: self._grant_for(tokens, claims, nonce=nonce, sharing=sharing),
                self._clock,
            )
            cookie, result = await self._attach(grant, user_agent, claims.provider_sid)
            if result is SaveResult.SAVED:
                return cookie, grant
            await self._clock.sleep(_RETRY_SECONDS)
        raise StoreUnavailable("a shared grant changed too often to log in")

    async def keep_for_others(self, tokens: TokenSet, claims: IdTokenClaims, *, nonce: str) -> None:
        """Give a user's other sessions the tokens of a login that could not get a session.

        Where a user has one refresh token, theirs was deleted by it.
        """
        tag = user_tag(claims.issuer, self._records.client.client_id, claims.subject)
        give_up_at = self._clock.monotonic() + _KEEP_FOR_SECONDS
        while self._clock.monotonic() < give_up_at:
            with suppress(StoreUnavailable):
                shared = await self._shared(tag)
                if shared is None:
                    return
                later = shared.with_login(tokens, nonce=nonce, ends_at=0.0)
                if await self._sessions.save(later) is SaveResult.SAVED:
                    self._note_groups(shared, later)
                    return
            await self._clock.sleep(_RETRY_SECONDS)

    async def _grant_for(
        self, tokens: TokenSet, claims: IdTokenClaims, *, nonce: str, sharing: Sharing
    ) -> Grant:
        """The version of a grant that comes with a login."""
        client = self._records.client
        tag = user_tag(claims.issuer, client.client_id, claims.subject)
        ends_at = await self._ends_at()
        if sharing is Sharing.PER_USER:
            shared = await self._shared(tag)
            if shared is not None and shared.subject == claims.subject:
                return shared.with_login(tokens, nonce=nonce, ends_at=ends_at)
        return Grant(
            id=self._hex(GRANT_ID_BYTES),
            user_tag=tag,
            version=1,
            issuer=client.issuer,
            client_id=client.client_id,
            subject=claims.subject,
            sharing=sharing,
            tokens=tokens,
            ends_at=ends_at,
            nonce=nonce,
            provider_sid=claims.provider_sid,
        )

    async def _shared(self, tag: str) -> Grant | None:
        """The live grant that a user's sessions share; None: there is none."""
        grant_id = await self._store.shared_grant(tag)
        try:
            return await self._sessions.load_grant(tag, grant_id) if grant_id else None
        except SessionOver as over:
            await self._end_unusable(tag, grant_id, over.reason)
            return None

    async def _end_unusable(self, tag: str, grant_id: str, reason: str) -> None:
        """End a grant that is over for us and not for the store, or no other could be shared."""
        record = await self._store.load_grant(tag, grant_id)
        if record is not None and not record.ended:
            write_id = self._records.new_write_id()
            await self._store.end_grant(
                tag, grant_id, version=record.version, reason=reason, write_id=write_id
            )

    async def join(self, tag: str, grant_id: str, *, user_agent: str) -> str | None:
        """A new session on a grant that is there: its cookie value, None if it has ended."""
        for _ in range(_ATTEMPTS):
            try:
                grant = await self._sessions.load_grant(tag, grant_id)
            except SessionOver:
                return None
            if grant is None:
                return None
            ends_at = max(grant.ends_at, await self._ends_at())
            later = replace(grant, version=grant.version + 1, ends_at=ends_at)
            # Whose login a shared grant's `sid` is from is not known.
            sid = "" if grant.sharing is Sharing.PER_USER else grant.provider_sid
            cookie, result = await self._attach(later, user_agent, sid)
            if result is SaveResult.SAVED:
                return cookie
            await self._clock.sleep(_RETRY_SECONDS)
        raise StoreUnavailable("a grant changed too often to join it")

    async def _ends_at(self) -> float:
        """When what begins now must end, by the store's clock."""
        return await self._store.now() + self._sessions.lifetimes.max_seconds

    async def _attach(
        self, grant: Grant, user_agent: str, provider_sid: str
    ) -> tuple[str, SaveResult]:
        ring = self._records.ring
        cookie, key = new_session_cookie(
            grant.user_tag, ring, random=self._random(SESSION_SECRET_BYTES)
        )
        now = await self._store.now()
        ends_at = now + self._sessions.lifetimes.max_seconds
        session = Session(
            key, grant.id, now, ends_at, user_agent, now, provider_sid, ring.sealing_id
        )
        await self._note_provider_sid(grant, provider_sid)
        writes = self._records.seal_session(session), self._records.seal_grant(grant)
        idle_end = min(now + self._sessions.lifetimes.idle_seconds, session.ends_at)
        asked_at = self._clock.monotonic()
        result = await insist(
            lambda: self._store.attach(
                key,
                writes[0],
                grant.id,
                writes[1],
                idle_ends_at=idle_end,
                shared=grant.sharing is Sharing.PER_USER,
            ),
            self._clock,
        )
        if result is SaveResult.SAVED:
            told_at = self._clock.monotonic()
            if known := self._cache.grants.get(grant.id):
                self._note_groups(known.value, grant)
            self._cache.note_session(session, writes[0].write_id, asked_at, told_at)
            self._cache.note_grant(grant, writes[1].write_id, asked_at, told_at)
            with suppress(StoreUnavailable):  # the login is done; the next one looks again
                await self._sessions.end_surplus(key)
        return cookie, result

    def _note_groups(self, before: Grant, after: Grant) -> None:
        """Another login of the same user may bring other groups to all of the user's sessions."""
        old, new = before.tokens.id_token, after.tokens.id_token
        self._sessions.groups.note(old, new, user=after.user_tag)

    async def _note_provider_sid(self, grant: Grant, provider_sid: str) -> None:
        """Before the session is there, so that none is that the provider could not end."""
        if provider_sid:
            named = provider_sid_hash(grant.issuer, grant.client_id, provider_sid)
            seconds = self._sessions.lifetimes.max_seconds
            await insist(
                lambda: self._store.note_provider_sid(named, grant.user_tag, seconds=seconds),
                self._clock,
            )

    def _hex(self, size: int) -> str:
        return self._random(size).hex()
