"""The public port: it listens, keeps time for all connections, and ends them when it is told."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from sidecar.core import messages
from sidecar.core.session import SessionKey
from sidecar.proxy.front import Front
from sidecar.proxy.site import Site
from sidecar.proxy.timed import time_next

SWEEP_SECONDS = 1.0
_FORGET_SECONDS = 60.0


class PublicPort:
    """Where browsers connect. One sweep a second serves all limits of time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._forget_at = 0.0
        self._monotonic: Callable[[], float] | None = None

    @property
    def connections(self) -> int:
        """How many browsers are connected."""
        return len(self._site.connections)

    def tell(self, monotonic: Callable[[], float]) -> None:
        """Have the metrics tell of this port: its connections, and what requests are held up by."""
        self._monotonic = monotonic
        metrics = self._site.metrics
        metrics.connections.count = self._connections_by_what_they_are_at
        metrics.upstream_connections.count = self._upstream_connections

    def _connections_by_what_they_are_at(self) -> Mapping[str, int]:
        none = dict.fromkeys(("idle", "request", "stream", "tunnel", "own_page"), 0)
        return none | Counter(front.at for front in self._site.connections)

    def _upstream_connections(self) -> Mapping[str, int]:
        pool = self._site.way.pool
        return {"in_use": pool.open - pool.idle, "idle": pool.idle}

    async def start(self, host: str | None, port: int) -> tuple[str, int]:
        """Listen; where that is."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Front(self._site), host, port, backlog=1024)
        self._sweep = loop.call_later(SWEEP_SECONDS, self._sweep_all)
        at = self._server.sockets[0].getsockname()
        return str(at[0]), int(at[1])

    def close_session(self, key: SessionKey) -> None:
        """End the streams and tunnels of a session that has ended."""
        self._site.way.open_things.close_session(key)

    def close_all(self) -> None:
        """End the streams and tunnels of all sessions."""
        self._site.way.open_things.close_all()

    async def aclose(self, *, seconds: float) -> None:
        """End what is idle or endless, wait for the answers under way, cut off the rest."""
        if self._server is None or self._sweep is None:
            return
        self._server.close()
        self._site.draining = True
        for front in list(self._site.connections):
            front.drain()
        try:
            async with asyncio.timeout(seconds):
                if self._site.connections:
                    await self._site.empty.wait()
        except TimeoutError:
            self._cut_off(self._site.connections)
        self._sweep.cancel()
        self._site.way.pool.close()
        # Since Python 3.12 this waits for every connection.
        await self._server.wait_closed()

    def _cut_off(self, fronts: Iterable[Front]) -> None:
        for front in list(fronts):
            front.transport.abort()

    def _sweep_all(self) -> None:
        loop = asyncio.get_running_loop()
        self.sweep(loop.time())
        self._sweep = loop.call_later(SWEEP_SECONDS, self._sweep_all)

    def sweep(self, now: float) -> None:
        """End what takes too long, and forget what is old."""
        for front in list(self._site.connections):
            front.check(now)
        self._site.way.pool.close_aged(now)
        if self._monotonic is not None:
            time_next(self._site, self._monotonic)
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_SECONDS
            self._site.way.gate.memories.forget()
            messages.forget()
        if self._site.certificate is not None:
            self._site.certificate.reload()
