"""Logout: the session ends everywhere; with the grant's last, the provider and Argo CD are told."""

import asyncio

from sidecar.core.grant import Grant
from sidecar.core.session import EndReason, SessionKey
from sidecar.errors import KeyUnknown, ProviderRefused, SessionOver, TryLater
from sidecar.flows.fresh import Fresh
from sidecar.flows.records import Live, Records
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.ports import Ended, IdentityProvider, Upstream

_REVOKE_AGAIN_SECONDS = (1.0, 5.0, 25.0)


class Logout:
    """Ends a browser's session."""

    def __init__(
        self,
        sessions: Sessions,
        records: Records,
        provider: IdentityProvider,
        upstream: Upstream,
        fresh: Fresh,
        runtime: Runtime,
    ) -> None:
        self._sessions = sessions
        self._records = records
        self._provider = provider
        self._upstream = upstream
        self._fresh = fresh
        self._clock = runtime.clock
        self._tasks = runtime.tasks
        self._log = runtime.log

    async def log_out(self, key: SessionKey, *, site: str = "") -> str | None:
        """End the session; the address that Argo CD sends the browser to, or "".

        It goes there from `site`, and with a token that has not ended if one can be had: Argo CD
        sends nobody to its `logoutURL` with one that has.

        None when there was no live session. Other sessions of the grant are left alone: only
        with the last one is the refresh token revoked and Argo CD told of its token.

        Raises:
            StoreUnavailable: it could not be ended; the person is to try again.
        """
        try:
            live = await self._sessions.load(key)
            if live is None:
                return None
            live = await self._fresh.of(live)
        except SessionOver:
            return None
        # A browser that leaves here must not leave a half of a logout behind.
        return await asyncio.shield(self._tasks.start(self._end(live, site), "logout"))

    async def _end(self, live: Live, site: str) -> str:
        ended = await self._sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
        self._log.info("logout", user=live.grant.user_tag, last=ended.last)
        if not ended.last:
            return ""
        grant = self._latest(live.grant, ended)
        self._tasks.start(self._sessions.seeding.take_back(grant), "take back")
        if grant.tokens.refresh_token:
            self._tasks.start(self._revoke(grant), "revoke")
        try:
            return await self._upstream.log_out(grant.tokens.id_token, site=site)
        except TryLater:
            self._log.warning("argocd_not_told", user=grant.user_tag)
            return ""

    def _latest(self, loaded: Grant, ended: Ended) -> Grant:
        """The grant as it was when it ended: a renewal may have come in between."""
        if ended.grant is None:
            return loaded
        try:
            return self._records.open_grant(loaded.user_tag, loaded.id, ended.grant)
        except (SessionOver, KeyUnknown):
            return loaded

    async def _revoke(self, grant: Grant) -> None:
        for delay in (*_REVOKE_AGAIN_SECONDS, None):
            try:
                told = await self._provider.revoke(grant.tokens.refresh_token)
            except TryLater:
                if delay is None:
                    self._log.error("not_revoked", user=grant.user_tag)
                else:
                    await self._clock.sleep(delay)
                continue
            except ProviderRefused as refusal:
                self._log.error("revocation_refused", user=grant.user_tag, error=refusal.error)
                return
            if told:
                self._log.info("revoked", user=grant.user_tag)
            return
