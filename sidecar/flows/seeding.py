"""Access tokens where Argo CD looks for them: after a login, after each renewal, after a loss.

Argo CD looks in its own Redis, where only its own callback writes, and refuses every request of a
user whose entry is missing. That Redis may lose it at any time.
"""

from collections.abc import Iterable

from sidecar.core.grant import Grant
from sidecar.errors import SeedUnavailable
from sidecar.flows.cache import IN_USE_SECONDS, Cache, grant_name
from sidecar.flows.tasks import Runtime
from sidecar.ports import AccessToken, AccessTokens

LOOK_EVERY_SECONDS = 2.0
_MEND = "see SIDECAR_ARGOCD_REDIS_URL; sidecar doctor tries it"
_SHORTEST_SECONDS = 1.0  # Argo CD's own client makes an hour of less
_ENDS_FIRST_SECONDS = 60.0


class Seeding:
    """Keeps Argo CD's entries; without a target it does nothing.

    A failure fails neither login nor renewal: it is said, counted, and tried again.
    """

    def __init__(self, cache: Cache, runtime: Runtime) -> None:
        self._target: AccessTokens | None = None
        self._cache = cache
        self._clock = runtime.clock
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._away = False
        self._short_lived = False
        # By subject: what is to be written yet, and what is known to stand, or something newer.
        self._waiting: dict[str, Grant] = {}
        self._standing: dict[str, Grant] = {}

    @property
    def target(self) -> AccessTokens | None:
        """Where access tokens go."""
        return self._target

    def use(self, target: AccessTokens | None) -> None:
        """From now on they go there; what is in use is written by the next look."""
        self._target = target
        self._standing.clear()
        self._away = False

    async def note(self, grant: Grant) -> None:
        """Write the new access token of a grant; one that cannot be written waits."""
        if self._target is None or not grant.tokens.access_token:
            return
        self._warn_of_short_life(grant)
        self._waiting[grant.subject] = grant
        try:
            await self._write(grant)
        except SeedUnavailable as error:
            self._failed(error)

    async def ensure(self, grant: Grant) -> None:
        """See that an entry stands before a request goes up whose session has just been loaded."""
        standing = self._standing.get(grant.subject)
        if self._target is None or self._away or (standing and not _is_older(standing, grant)):
            return
        try:
            await self._put_back([grant])
        except SeedUnavailable as error:
            self._failed(error)

    async def take_back(self, grant: Grant) -> None:
        """Take out the access token of a login that has ended, for one that lives if there is.

        Argo CD would go on with it until the ID token's end, and the provider refuse it.
        """
        try:
            await self._take_out(grant)
        except SeedUnavailable as error:
            self._failed(error)
        else:
            await self.look()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Take out what has ended; write what waits, and what is in use and has got lost."""
        if self._target is None:
            return
        try:
            known = [*self._waiting.values(), *self._standing.values()]
            for grant in [grant for grant in known if self._has_ended(grant)]:
                await self._take_out(grant)
            newest = _newest([*self._waiting.values(), *self._in_use()])
            for subject in list(self._waiting):
                await self._write(newest[subject])
            await self._put_back(newest.values())
        except SeedUnavailable as error:
            self._failed(error)
            return
        self._standing = {s: g for s, g in self._standing.items() if s in newest}
        if self._away:
            self._away = False
            self._log.info("access_tokens_seeded_again")

    async def _write(self, grant: Grant) -> None:
        token = self._token(grant)
        if self._target is not None and token.seconds >= _SHORTEST_SECONDS:
            await self._target.put(token)
            self._standing[grant.subject] = grant
            self._metrics.seeded_access_tokens.labels("written").inc()
        waiting = self._waiting.get(grant.subject)
        if waiting is not None and not _is_older(grant, waiting):
            del self._waiting[grant.subject]

    async def _take_out(self, grant: Grant) -> None:
        if self._target is None:
            return
        for known in (self._waiting, self._standing):
            if grant.subject in known and known[grant.subject].id == grant.id:
                del known[grant.subject]
        await self._target.take_back(self._token(grant))

    def _has_ended(self, grant: Grant) -> bool:
        return grant_name(grant.user_tag, grant.id) in self._cache.ends

    async def _put_back(self, grants: Iterable[Grant]) -> None:
        living = [g for g in grants if g.tokens.access_token]
        tokens = [t for t in map(self._token, living) if t.seconds >= _SHORTEST_SECONDS]
        if self._target is None or not tokens:
            return
        written = await self._target.put_back(tokens)
        self._metrics.seeded_access_tokens.labels("put_back").inc(written)
        for grant in living:
            standing = self._standing.get(grant.subject)
            if standing is None or _is_older(standing, grant):
                self._standing[grant.subject] = grant

    def _token(self, grant: Grant) -> AccessToken:
        """A grant's access token, for as long as Argo CD itself would keep it."""
        seconds = grant.tokens.id_token_expires_at - self._clock.now()
        return AccessToken(grant.subject, grant.tokens.access_token, seconds)

    def _in_use(self) -> Iterable[Grant]:
        since = self._clock.monotonic() - IN_USE_SECONDS
        return (known.value for known in self._cache.grants.values() if known.used_at >= since)

    def _failed(self, error: SeedUnavailable) -> None:
        """What stands there is not known any more, and nobody waits for it until it answers."""
        self._metrics.seeded_access_tokens.labels("failed").inc()
        self._standing.clear()
        now = self._clock.now()
        for subject, grant in list(self._waiting.items()):
            if grant.tokens.id_token_expires_at <= now:
                del self._waiting[subject]
        if not self._away:
            self._away = True
            self._metrics.alarms.labels("access_token_not_seeded").inc()
            self._log.error("access_token_not_seeded", error=str(error), mend=_MEND)

    def _warn_of_short_life(self, grant: Grant) -> None:
        """Argo CD asks once per ID token, and may do so at any time of its life."""
        tokens = grant.tokens
        end = tokens.access_token_expires_at
        if self._short_lived or end is None:
            return
        if end < tokens.id_token_expires_at - _ENDS_FIRST_SECONDS:
            self._short_lived = True
            self._metrics.alarms.labels("access_token_ends_first").inc()
            self._log.error(
                "access_token_ends_first",
                mend="give the client's access tokens the life of its ID tokens at the provider",
            )


def _is_older(grant: Grant, other: Grant) -> bool:
    return grant.tokens.renewed_at < other.tokens.renewed_at


def _newest(grants: Iterable[Grant]) -> dict[str, Grant]:
    """Of each user's grants the one that was renewed last."""
    newest: dict[str, Grant] = {}
    for grant in grants:
        known = newest.get(grant.subject)
        if known is None or _is_older(known, grant):
            newest[grant.subject] = grant
    return newest
