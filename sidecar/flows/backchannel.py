"""Logouts that the provider tells of: OpenID Connect Back-Channel Logout 1.0."""

import asyncio

from sidecar.core.grant import Sharing
from sidecar.core.logout_token import REMEMBERED_SECONDS, LogoutToken
from sidecar.core.session import EndReason, SessionKey, provider_sid_hash, user_tag
from sidecar.errors import RecordUnreadable, SessionOver, StoreUnavailable, TokenInvalid, TryLater
from sidecar.flows.logout import Logout
from sidecar.flows.own_sessions import opened
from sidecar.flows.records import Client, Live, Records
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.flows.verification import verified_logout_token
from sidecar.ports import IdentityProvider, Store, StoredSession

BATCH = 500
_ROUNDS = 20
_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, *(15.0,) * 39)  # ten minutes
_MOST_WAITING = 256


class BackchannelLogout:
    """Ends the sessions that a logout token names, everywhere."""

    def __init__(
        self,
        sessions: Sessions,
        records: Records,
        store: Store,
        provider: IdentityProvider,
        logout: Logout,
        client: Client,
        runtime: Runtime,
    ) -> None:
        self._sessions = sessions
        self._records = records
        self._store = store
        self._provider = provider
        self._logout = logout
        self._client = client
        self._clock = runtime.clock
        self._tasks = runtime.tasks
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._audit = runtime.audit
        self._waiting: set[str] = set()

    async def log_out(self, token: str) -> int:
        """How many sessions a logout token has ended.

        Raises:
            TokenInvalid: it fails a check of section 2.6, or has done its work before.
            TryLater: the store or the provider's keys are away. Where it was the store, the
                logout is done as soon as that is back, though the provider ask no more.
        """
        try:
            genuine = await self._verified(token)
            return await self._log_out(genuine)
        except TokenInvalid as invalid:
            replayed = invalid.check == "replayed"
            self._count("replayed" if replayed else "invalid")
            self._audit.warning("backchannel_logout_refused", check=invalid.check)
            raise
        except TryLater as error:
            self._count("unavailable")
            self._log.warning("backchannel_logout_failed", error=str(error))
            raise

    async def _verified(self, token: str) -> LogoutToken:
        return await verified_logout_token(
            self._provider,
            token,
            issuer=self._client.issuer,
            client_id=self._client.client_id,
            now=self._clock.now(),
        )

    async def _log_out(self, token: LogoutToken) -> int:
        # A provider that hangs up must not leave a half of a logout behind.
        work = self._tasks.start(self._end_all(token), "backchannel logout", awaited=True)
        try:
            return await asyncio.shield(work)
        except StoreUnavailable:
            if token.hash not in self._waiting and len(self._waiting) < _MOST_WAITING:
                self._waiting.add(token.hash)
                self._tasks.start(self._end_later(token), "backchannel logout")
            raise

    async def _end_later(self, token: LogoutToken) -> None:
        """Most providers tell of a logout once."""
        try:
            for pause in _PAUSES_SECONDS:
                await self._clock.sleep(pause)
                try:
                    await self._end_all(token)
                except TokenInvalid:
                    return  # another replica was told, too
                except StoreUnavailable:
                    continue
                else:
                    return
            self._log.error("backchannel_logout_lost", mend="end the person's sessions by hand")
        finally:
            self._waiting.discard(token.hash)

    async def _end_all(self, token: LogoutToken) -> int:
        """End what is meant, then note that it was done: what failed half-way may come again."""
        if await self._store.knows_logout_token(token.hash):
            raise TokenInvalid("replayed")
        tag = await self._user_tag(token)
        ended = await self._end_sessions(tag, token) if tag else 0
        await self._store.note_logout_token(token.hash, seconds=REMEMBERED_SECONDS)
        self._count("ok" if ended else "no_session")
        self._audit.info(
            "backchannel_logout",
            user=tag,
            sessions=ended,
            by="sid" if token.provider_sid else "sub",
        )
        return ended

    async def _user_tag(self, token: LogoutToken) -> str:
        client_id = self._client.client_id
        if token.subject:
            return user_tag(token.issuer, client_id, token.subject)
        named = provider_sid_hash(self._client.issuer, client_id, token.provider_sid)
        return await self._store.user_of_provider_sid(named)

    async def _end_sessions(self, tag: str, token: LogoutToken) -> int:
        ended = 0
        for _ in range(_ROUNDS):
            found = await self._store.user_sessions(tag, limit=BATCH)
            ended_now = await self._end_found(found.found, token)
            ended += ended_now
            if not ended_now or found.count <= len(found.found):
                break
        return ended

    async def _end_found(
        self, found: list[tuple[SessionKey, StoredSession]], token: LogoutToken
    ) -> int:
        """End those that are meant; one that cannot be read here stops no other.

        Raises:
            StoreUnavailable: one could not be ended, or it cannot be told whether it is meant.
        """
        ended, unreadable = 0, None
        for key, stored in found:
            try:
                live = await opened(self._sessions, self._records, key, stored)
            except SessionOver:
                continue  # it is nobody's login any more
            except RecordUnreadable as error:
                if token.provider_sid:
                    unreadable = error
                    continue
                await self._sessions.end(key, stored.grant_id, EndReason.PROVIDER_LOGOUT)
            else:
                if not _is_meant(live, token):
                    continue
                await self._logout.end(live, EndReason.PROVIDER_LOGOUT)
            ended += 1
        if unreadable is not None:
            raise unreadable
        return ended

    def _count(self, result: str) -> None:
        self._metrics.backchannel_logouts.labels(result).inc()


def _is_meant(live: Live, token: LogoutToken) -> bool:
    """Whether a session of a token's user is one that it logs out.

    One of which no `sid` is known may be any of the user's: where the token names the user, it
    ends too.
    """
    sid = live.session.provider_sid
    if not sid and live.grant.sharing is Sharing.PER_SESSION:
        sid = live.grant.provider_sid  # written by an older release
    if not token.provider_sid or sid == token.provider_sid:
        return True
    return not sid and bool(token.subject)
