"""What all exchanges share."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from sidecar.core.answers import Answer, try_later
from sidecar.core.heads import Kind
from sidecar.errors import TryLater
from sidecar.flows.records import Live
from sidecar.flows.tasks import Tasks
from sidecar.proxy.gate import Gate
from sidecar.proxy.hold_back import HoldBack
from sidecar.proxy.pool import Pool
from sidecar.proxy.registry import Lasting, OpenThings


@dataclass(frozen=True, slots=True)
class Way:
    """The way to the upstream, and who decides on it."""

    gate: Gate
    pool: Pool
    open_things: OpenThings
    hold_back: HoldBack
    tasks: Tasks
    login_url: str
    request_ids: Callable[[], str]
    log: FilteringBoundLogger

    def hold_open(self, live: Live, thing: Lasting) -> ExitStack:
        """Until this is closed, the session is in use, and `thing` ends with it or its groups."""
        held = ExitStack()
        held.enter_context(self.gate.held_open(live))
        held.enter_context(self.open_things.holding(live.session.key, thing))
        return held

    def apology(self, error: TryLater, kind: Kind, request_id: str) -> Answer:
        """What a request of this kind is told that cannot be answered now; the log knows, too."""
        self.log.warning("try_later", error=str(error), status=error.status, request_id=request_id)
        return try_later(error, kind, self.login_url, request_id=request_id)
