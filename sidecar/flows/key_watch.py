"""Tokens in use whose key is no longer published, and a provider that has lost its state."""

import asyncio
from contextlib import suppress

from sidecar.core.grant import Grant
from sidecar.core.published_keys import (
    KeyState,
    is_lost_with_provider,
    key_state,
)
from sidecar.errors import ProviderUnavailable
from sidecar.flows.tasks import Runtime
from sidecar.ports import IdentityProvider

_WAIT_SECONDS = 1.0
# How old the keys may be: for a page; for a refusal, where a restart may have taken them or not.
_FRESH_SECONDS = 10.0
_NOW_SECONDS = 2.0
_SELDOM_SECONDS = 60.0


class KeyWatch:
    """Knows which tokens are as good as ended, and looks at the keys again where that is open."""

    def __init__(
        self, provider: IdentityProvider, runtime: Runtime, *, keys_seconds: float
    ) -> None:
        self._provider = provider
        self._keys_seconds = keys_seconds
        self._clock = runtime.clock
        self._tasks = runtime.tasks
        self._log = runtime.log
        self._looking: asyncio.Task[None] | None = None
        self.in_doubt: set[str] = set()
        """The grants on whose behalf the keys are being read again: they may be refused."""
        self._noticed_at = 0.0
        self._told_of: frozenset[str] = frozenset()

    def is_gone(self, grant: Grant) -> bool:
        """Whether the provider has taken back the key of a grant's ID token.

        Where that is open, the keys are read again, behind this.
        """
        state = key_state(grant.tokens, self._provider.published)
        if state is KeyState.UNKNOWN:
            self._look(_FRESH_SECONDS)
        return state is KeyState.GONE

    def doubt(self, grant: Grant) -> None:
        """The upstream has refused the ID token of a session that lives."""
        forgets = self._provider.profile.may_forget
        self._look_for(grant, _NOW_SECONDS if forgets else _SELDOM_SECONDS)

    def doubts_page(self, grant: Grant) -> bool:
        """Whether a page has to wait for a look at the keys: they are old, and may be forgotten.

        A page that begins with a token whose key is gone would find its user unknown.
        """
        if self._provider.profile.may_forget and grant.id not in self.in_doubt:
            published = self._provider.published
            age = self._clock.now() - published.read_at if published else _FRESH_SECONDS
            if age >= _FRESH_SECONDS:
                self._look_for(grant, _FRESH_SECONDS)
        return grant.id in self.in_doubt

    async def settled(self, grant: Grant) -> None:
        """Wait for what a doubt has begun, but not long."""
        if self._looking is not None and grant.id in self.in_doubt:
            await asyncio.wait([self._looking], timeout=_WAIT_SECONDS)
            self.in_doubt.discard(grant.id)

    async def has_lost_state(self, grant: Grant) -> bool:
        """Whether a provider that refused a grant's refresh token does not know its key either.

        The first time that this is seen of new keys, the log is told.
        """
        if key_state(grant.tokens, self._provider.published) is not KeyState.GONE:
            await self._read_again(_NOW_SECONDS)
        published = self._provider.published
        if published is None or key_state(grant.tokens, published) is not KeyState.GONE:
            return False
        now = self._clock.now()
        if not is_lost_with_provider(grant.tokens, now, noticed_at=self._noticed_at):
            return False
        if published.ids != self._told_of:
            self._noticed_at, self._told_of = now, published.ids
            self._log.warning(
                "provider_lost_its_state",
                meaning="the provider has new keys and knows no refresh token from before: "
                "each session from before ends, and its browser logs in anew",
                mend="a Dex with storage in memory forgets all at each restart: see docs/dex.md",
            )
        return True

    def _look_for(self, grant: Grant, max_age_seconds: float) -> None:
        self.in_doubt.add(grant.id)
        self._look(max_age_seconds).add_done_callback(lambda _: self.in_doubt.clear())

    def _look(self, max_age_seconds: float) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            work = self._read_again(max_age_seconds)
            self._looking = self._tasks.start(work, "look at keys")
        return self._looking

    async def _read_again(self, max_age_seconds: float) -> None:
        with suppress(ProviderUnavailable, TimeoutError):
            async with asyncio.timeout(self._keys_seconds):
                await self._provider.read_keys(max_age_seconds=max_age_seconds)
