"""How long a request is held up here: one is timed for each sweep, and no other pays for it."""

from collections.abc import Callable

from sidecar.core.framing import Body
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.passes import Asked, Memory, Pass
from sidecar.proxy.pool import Upstream
from sidecar.proxy.sides import Browser
from sidecar.proxy.site import Site
from sidecar.proxy.way import Way


class TimedExchange(Exchange):
    """One that counts the time from head to head, less what the upstream took of it.

    A wait for a renewal, the store or a connection counts as ours. So does a first try that an
    idle connection lost.
    """

    __slots__ = ("_answer_at", "_came_at", "_now", "_observe", "_went_up_at")

    def __init__(
        self,
        browser: Browser,
        way: Way,
        asked: Asked,
        memory: Memory,
        body: Body,
        now: Callable[[], float],
        observe: Callable[[float], None],
    ) -> None:
        super().__init__(browser, way, asked, memory, body)
        self._now = now
        self._observe: Callable[[float], None] | None = observe
        self._came_at = now()
        self._went_up_at = 0.0
        self._answer_at: float | None = None

    def _send(self, passed: Pass, upstream: Upstream) -> bool:
        sent = super()._send(passed, upstream)
        self._went_up_at = self._now()
        return sent

    def from_upstream(self, data: bytes) -> None:
        """The same, timed until the answer's head has gone out."""
        at = self._now()
        super().from_upstream(data)
        reply = self._reply
        if self._observe is None or reply is None or reply.head is None:
            return
        if self._answer_at is None:
            self._answer_at = at
        if reply.begun:
            upstream_took = self._answer_at - self._went_up_at
            self._observe(self._now() - self._came_at - upstream_took)
            self._observe = None


def time_next(site: Site, now: Callable[[], float]) -> None:
    """Have the next request timed; not where somebody is told of each, with its times."""
    if site.exchange is not Exchange:
        return

    def timed(browser: Browser, way: Way, asked: Asked, memory: Memory, body: Body) -> Exchange:
        site.exchange = Exchange
        observe = site.metrics.added_seconds.observe
        return TimedExchange(browser, way, asked, memory, body, now, observe)

    site.exchange = timed
