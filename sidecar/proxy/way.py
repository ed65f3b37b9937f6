"""What all exchanges share."""

from collections.abc import Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from sidecar.core.answers import Answer, try_later
from sidecar.core.heads import Kind
from sidecar.errors import TryLater
from sidecar.flows.tasks import Tasks
from sidecar.proxy.gate import Gate
from sidecar.proxy.hold_back import HoldBack
from sidecar.proxy.pool import Pool
from sidecar.proxy.registry import OpenThings


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

    def apology(self, error: TryLater, kind: Kind) -> Answer:
        """What a request of this kind is told that cannot be answered now; the log knows, too."""
        request_id = self.request_ids()
        self.log.warning("try_later", error=str(error), status=error.status, request_id=request_id)
        return try_later(error, kind, self.login_url, request_id=request_id)
