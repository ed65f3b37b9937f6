"""Logout: the session ends everywhere; with the grant's last, the provider and Argo CD are told."""

import asyncio

from sidecar.core.end_session import STATE_RANDOM_BYTES, end_session_url, new_state
from sidecar.core.grant import Grant
from sidecar.core.session import EndReason, SessionKey
from sidecar.errors import RecordUnreadable, SessionOver, TryLater
from sidecar.flows.fresh import Fresh
from sidecar.flows.records import Live, Records
from sidecar.flows.revocation import Revocations
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.ports import Ended, IdentityProvider, Upstream
from sidecar.tracing import span


class Logout:
    """Ends sessions, whoever asks for it."""

    def __init__(
        self,
        sessions: Sessions,
        records: Records,
        provider: IdentityProvider,
        revocations: Revocations,
        upstream: Upstream,
        fresh: Fresh,
        runtime: Runtime,
        *,
        argocd_url: str = "",
        at_provider: bool = False,
    ) -> None:
        self._sessions = sessions
        self._records = records
        self._provider = provider
        self._revocations = revocations
        self._upstream = upstream
        self._fresh = fresh
        self._argocd_url = argocd_url
        self._at_provider = at_provider
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._log = runtime.log
        self._tracer = runtime.tracer

    async def log_out(self, key: SessionKey, *, site: str = "", return_to: str = "") -> str | None:
        """End the session; where Argo CD's `logoutURL` or the provider wants the browser, or "".

        It goes there from `site`, and with a token that has not ended if one can be had: Argo CD
        sends nobody to its `logoutURL` with one that has.

        None when there was no live session. Other sessions of the grant are left alone: only
        with the last one is the refresh token revoked, Argo CD told of its token, and the
        person logged out at the provider, which sends the browser to `return_to`.

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
        with span(self._tracer, "logout", user=live.grant.user_tag):
            leaving = self._tasks.start(self._leave(live, site, return_to), "logout")
            return await asyncio.shield(leaving)

    async def end(self, live: Live, reason: EndReason) -> None:
        """End a session that is not the asking browser's own; Argo CD is told behind it.

        Raises:
            StoreUnavailable: it is not known whether it ended.
        """
        grant = await self._end(live, reason)
        if grant is not None:
            self._tasks.start(self._tell_argocd(grant), "tell argocd")

    async def _leave(self, live: Live, site: str, return_to: str) -> str:
        grant = await self._end(live, EndReason.LOGOUT)
        if grant is None:
            return ""
        location = await self._tell_argocd(grant, site)
        if location.rstrip("/") not in ("", self._argocd_url, site):
            return location  # what an operator wrote as Argo CD's `logoutURL` is what they want
        return await self._provider_logout(grant, return_to) if self._at_provider else ""

    async def _end(self, live: Live, reason: EndReason) -> Grant | None:
        """The grant that has ended with its last session, None where others have it."""
        ended = await self._sessions.end(live.session.key, live.grant.id, reason)
        if not ended.last:
            return None
        grant = self._latest(live.grant, ended)
        self._tasks.start(self._sessions.seeding.take_back(grant), "take back")
        self._revocations.begin(grant)
        return grant

    async def _tell_argocd(self, grant: Grant, site: str = "") -> str:
        try:
            return await self._upstream.log_out(grant.tokens.id_token, site=site)
        except TryLater:
            self._log.warning("argocd_not_told", user=grant.user_tag)
            return ""

    async def _provider_logout(self, grant: Grant, return_to: str) -> str:
        """Where the provider ends its own session of this browser; "" where it cannot."""
        try:
            endpoint = (await self._provider.endpoints()).end_session_endpoint
        except TryLater:
            endpoint = ""
        if not endpoint:
            self._log.warning("provider_logout_not_offered", user=grant.user_tag)
            return ""
        return end_session_url(
            endpoint,
            self._provider.profile.provider,
            client_id=grant.client_id,
            id_token=grant.tokens.id_token,
            return_to=return_to,
            state=new_state(self._records.ring, random=self._random(STATE_RANDOM_BYTES)),
        )

    def _latest(self, loaded: Grant, ended: Ended) -> Grant:
        """The grant as it was when it ended: a renewal may have come in between."""
        if ended.grant is None:
            return loaded
        try:
            return self._records.open_grant(loaded.user_tag, loaded.id, ended.grant)
        except (SessionOver, RecordUnreadable):
            return loaded
