"""The lease of a grant: for a while one replica only may present its refresh token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from sidecar.core.grant import Grant
from sidecar.core.timings import Timings
from sidecar.errors import StoreUnavailable
from sidecar.flows.tasks import Runtime
from sidecar.ports import IdentityProvider, Store

_RELEASE_AGAIN_SECONDS = (0.5, 2.0, 5.0)


class Lease(NamedTuple):
    """A lease that is held: by which name, and until when (`Clock.monotonic()`) one may ask."""

    owner: str
    ask_before: float


class Leases:
    """Takes leases, and gives them back."""

    def __init__(
        self, store: Store, provider: IdentityProvider, timings: Timings, runtime: Runtime
    ) -> None:
        self._store = store
        self._provider = provider
        self._timings = timings
        self._clock = runtime.clock
        self._random = runtime.random
        self._tasks = runtime.tasks
        self._log = runtime.log

    @property
    def seconds(self) -> float:
        """How long a lease is taken for, at this provider."""
        return self._timings.lease_at(self._provider.profile.reuse_window_seconds)

    @asynccontextmanager
    async def taken(self, grant: Grant) -> AsyncIterator[Lease | None]:
        """The lease of a grant, given back at the end; None: another replica has it."""
        owner = self._random(16).hex()
        tag, taken_at, seconds = grant.user_tag, self._clock.monotonic(), self.seconds
        held = True
        try:
            held = await self._store.take_lease(tag, grant.id, owner, seconds=seconds)
            yield Lease(owner, taken_at + seconds / 2) if held else None
        finally:
            if held:
                await self._release(tag, grant.id, owner)

    async def _release(self, tag: str, grant_id: str, owner: str) -> None:
        try:
            await self._store.release_lease(tag, grant_id, owner)
        except StoreUnavailable:
            self._tasks.start(self._release_behind(tag, grant_id, owner), "release")

    async def _release_behind(self, tag: str, grant_id: str, owner: str) -> None:
        """A lease that is left behind keeps all from renewing: it is given back when it can be."""
        for delay in _RELEASE_AGAIN_SECONDS:
            await self._clock.sleep(delay)
            with suppress(StoreUnavailable):
                return await self._store.release_lease(tag, grant_id, owner)
        self._log.warning("lease_not_released")  # it ends by itself
