"""When grants are to be renewed without a request: noted in the store, for any replica."""

from contextlib import suppress
from dataclasses import dataclass

from sidecar.core.grant import Grant
from sidecar.core.refresh_policy import Background, RefreshWindow, background_due_at
from sidecar.errors import StoreUnavailable
from sidecar.ports import Store


@dataclass(frozen=True, slots=True)
class Schedule:
    """The due times of grants. They are hints: what they name is looked at again."""

    store: Store
    window: RefreshWindow
    background: Background

    def due_at(self, grant: Grant, *, unused_seconds: float) -> float | None:
        """When a grant is due, in Unix seconds; None: not at all."""
        return background_due_at(
            grant,
            window=self.window,
            background=self.background,
            unused_seconds=unused_seconds,
        )

    async def note(self, grant: Grant) -> None:
        """Note when a grant with new tokens is due; without a store, a request will renew it."""
        if self.background is not Background.OFF:
            due_at = self.due_at(grant, unused_seconds=0.0)
            with suppress(StoreUnavailable):
                await self.store.schedule(grant.user_tag, grant.id, due_at)
