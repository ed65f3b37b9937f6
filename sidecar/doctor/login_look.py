"""A whole login and its refreshes at the provider, as the sidecar would do them, for a test user.

It goes past the sidecar: what is learned is the provider's. What may end the login comes last.
"""

import os
from dataclasses import dataclass, replace

from sidecar import edges
from sidecar.adapters.openid_provider import OpenIdProvider
from sidecar.adapters.upstream import upstream_session
from sidecar.config.settings import Config
from sidecar.core.authorization import (
    ATTEMPT_RANDOM_BYTES,
    LoginAttempt,
    authorization_url,
    new_attempt,
    requested_scope,
)
from sidecar.core.client_authentication import Credentials
from sidecar.core.groups import claims_in
from sidecar.core.id_token import Expected, verify
from sidecar.core.provider_profiles import GENERIC, ProviderProfile
from sidecar.core.tokens import TokenResponse
from sidecar.core.upstream_kinds import UpstreamKind
from sidecar.doctor.provider_look import redirect_uri
from sidecar.doctor.signing_in import ByHand, Returned, User, signed_in
from sidecar.doctor.upstream_look import ask
from sidecar.errors import ProviderRefused, ProviderUnavailable, TokenInvalid
from sidecar.metrics import Metrics
from sidecar.ports import Clock

# After how many seconds a spent token is presented again, until it is refused.
REUSE_AFTER_SECONDS = (0.0, 2.0, 8.0, 20.0)


@dataclass(frozen=True, slots=True)
class IdTokenSeen:
    """A verified ID token, as far as it may be shown. `groups` is None where it has none."""

    life_seconds: float
    groups: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of a refresh: the word of a refusal, or what the answer had."""

    error: str = ""
    over: bool = False
    rotated: bool = False
    id_token: IdTokenSeen | None = None


@dataclass(frozen=True, slots=True)
class LoginSeen:
    """What was seen of a login; it ends at the first thing without which nothing follows."""

    returned: Returned
    profile: ProviderProfile = GENERIC
    error: str = ""
    """Why the code gave no ID token that can be used."""
    id_token: IdTokenSeen | None = None
    argocd_takes_it: bool | None = None
    has_refresh_token: bool = False
    refreshes: tuple[Refreshed, ...] = ()
    wrong_secret: Refreshed | None = None
    reused_after: float | None = None
    """How long after its use a spent token was still taken; None: it was not, or none is spent."""
    reuse_refused: bool = False
    lives_on: bool | None = None
    """Whether the newest token was good after a spent one had been refused."""


async def look_at_login(
    config: Config, user: User | None, by_hand: ByHand, clock: Clock
) -> LoginSeen:
    """A login with two refreshes, a wrong secret, a spent token, and the revocation."""
    async with edges.provider_http(config) as http:
        metrics = Metrics()
        provider = edges.provider(config, http, config.read_credentials, clock, metrics)

        def wrong() -> Credentials:
            credentials = config.read_credentials()
            return replace(credentials, secret=f"{credentials.secret}x")

        impostor = edges.provider(config, http, wrong, clock, metrics)
        look = _Look(config, provider, impostor, clock)
        seen = await look.login(user, by_hand)
        if look.refresh_token:
            seen = await look.refreshes(seen)
            await look.revoke()
        return replace(seen, profile=provider.profile)


class _Look:
    """One login; it holds what must not be seen."""

    def __init__(
        self, config: Config, provider: OpenIdProvider, impostor: OpenIdProvider, clock: Clock
    ) -> None:
        self._config = config
        self._provider = provider
        self._impostor = impostor
        self._clock = clock
        self._subject = self._nonce = ""
        self.refresh_token = ""

    async def login(self, user: User | None, by_hand: ByHand) -> LoginSeen:
        attempt, url = await self._attempt()
        returned = await signed_in(
            self._config, url, attempt.redirect_uri, user, by_hand, self._clock
        )
        seen = LoginSeen(returned)
        if not returned.code:
            return seen
        try:
            response = await self._provider.exchange(
                returned.code,
                code_verifier=attempt.code_verifier,
                redirect_uri=attempt.redirect_uri,
            )
            self.refresh_token = response.refresh_token or ""
            self._nonce = attempt.nonce
            id_token = await self._verified(response)
        except (ProviderRefused, ProviderUnavailable, TokenInvalid) as error:
            return replace(seen, error=str(error))
        if id_token is None:
            return replace(seen, error="the answer to the code has no ID token")
        return replace(
            seen,
            id_token=id_token,
            argocd_takes_it=await self._taken_by_argocd(response.id_token or ""),
            has_refresh_token=bool(self.refresh_token),
        )

    async def refreshes(self, seen: LoginSeen) -> LoginSeen:
        """Two refreshes, a wrong secret between them; then what a spent token does."""
        first = await self._refresh()
        if first.error:
            return replace(seen, refreshes=(first,))
        wrong = await self._with_wrong_secret()
        spent = self.refresh_token
        second = await self._refresh()
        seen = replace(seen, refreshes=(first, second), wrong_secret=wrong)
        return await self._reuse(seen, spent) if second.rotated else seen

    async def revoke(self) -> None:
        """Leave nothing behind, where the provider lets one."""
        try:
            await self._provider.revoke(self.refresh_token)
        except (ProviderRefused, ProviderUnavailable):
            return

    async def _attempt(self) -> tuple[LoginAttempt, str]:
        config = self._config
        endpoints = await self._provider.endpoints()
        scope, extra = requested_scope(
            config.scopes,
            config.offline_access,
            supported=endpoints.scopes_supported,
            profile=self._provider.profile,
        )
        attempt = new_attempt(
            "",
            redirect_uri(config),
            now=self._clock.now(),
            random=os.urandom(ATTEMPT_RANDOM_BYTES),
        )
        url = authorization_url(
            endpoints.authorization_endpoint,
            attempt,
            client_id=config.client_id,
            scope=scope,
            extra=[*extra, *config.argocd.authorization],
        )
        return attempt, url

    async def _refresh(self) -> Refreshed:
        before = self.refresh_token
        try:
            response = await self._provider.refresh(before, send_before=float("inf"))
            self.refresh_token = response.refresh_token or before
            id_token = await self._verified(response)
        except ProviderRefused as error:
            return Refreshed(error.error, over=error.over)
        except (ProviderUnavailable, TokenInvalid) as error:
            return Refreshed(str(error))
        return Refreshed(rotated=self.refresh_token != before, id_token=id_token)

    async def _with_wrong_secret(self) -> Refreshed | None:
        if not self._config.read_credentials().secret:
            return None
        try:
            response = await self._impostor.refresh(self.refresh_token, send_before=float("inf"))
        except ProviderRefused as error:
            return Refreshed(error.error, over=error.over)
        except ProviderUnavailable as error:
            return Refreshed(str(error))
        self.refresh_token = response.refresh_token or self.refresh_token
        return Refreshed()

    async def _reuse(self, seen: LoginSeen, spent: str) -> LoginSeen:
        """Present a spent token at growing distances, until it is refused."""
        began, taken_after = self._clock.monotonic(), None
        for after in REUSE_AFTER_SECONDS:
            await self._clock.sleep(max(0.0, began + after - self._clock.monotonic()))
            try:
                response = await self._provider.refresh(spent, send_before=float("inf"))
            except ProviderRefused as error:
                lives_on = not (await self._refresh()).error
                return replace(
                    seen, reused_after=taken_after, reuse_refused=error.over, lives_on=lives_on
                )
            except ProviderUnavailable:
                break
            taken_after = after
            self.refresh_token = response.refresh_token or self.refresh_token
        return replace(seen, reused_after=taken_after)

    async def _verified(self, response: TokenResponse) -> IdTokenSeen | None:
        """The answer's ID token; the first one says whose the others must be."""
        token = response.id_token
        if token is None:
            return None
        expected = Expected(
            self._config.issuer,
            self._config.client_id,
            response.access_token,
            self._nonce,
            self._subject,
            self._config.issuer_aliases or (),
        )
        keys = await self._provider.signing_keys(token)
        claims = verify(token, keys, expected, now=self._clock.now())
        self._subject = claims.subject
        return IdTokenSeen(claims.expires_at - claims.issued_at, _groups(token))

    async def _taken_by_argocd(self, id_token: str) -> bool | None:
        """Whether Argo CD knows who has this token; None where it did not answer, or is not there.

        Devtron knows only those whom its own callback has registered.
        """
        if self._config.upstream_kind is UpstreamKind.DEVTRON:
            return None
        tls = edges.upstream_contexts(self._config)
        async with upstream_session(self._config.upstream, tls.http1 if tls else None) as http:
            headers = {"Authorization": f"Bearer {id_token}"}
            path = "/api/v1/session/userinfo"
            page = await ask(self._config, http, path, self._clock, headers=headers)
        answer = page.json() if page.status == 200 else None
        return answer.get("loggedIn") is True if isinstance(answer, dict) else None


def _groups(id_token: str) -> tuple[str, ...] | None:
    """The groups in an ID token that has been verified."""
    groups = claims_in(id_token).get("groups")
    if isinstance(groups, str):
        return (groups,)
    return tuple(map(str, groups)) if isinstance(groups, list) else None
