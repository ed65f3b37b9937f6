"""A public connection in time: how long each of its states may last."""

import asyncio
from abc import abstractmethod

from sidecar.proxy.sides import Middle
from sidecar.proxy.site import Site
from sidecar.proxy.tls import TlsTransport
from sidecar.proxy.wire import Wire


class Watched(Wire):
    """The half of a connection that the sweep over all of them looks at."""

    __slots__ = (
        "_buffer", "_head_since", "_middle", "_now", "_own", "_since", "_site", "_slow_since",
        "_tls",
    )  # fmt: skip

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._site = site
        self._now = asyncio.get_running_loop().time
        self._buffer = b""
        self._middle: Middle | None = None
        self._own: asyncio.Protocol | None = None
        self._tls: TlsTransport | None = None
        self._since = self._head_since = self._now()
        self._slow_since = 0.0

    @abstractmethod
    def refuse(self, status: int) -> None:
        """Answer a request that is not passed on, and close."""

    def _end(self) -> None:
        self._buffer = b""
        self._say_no_more()

    def _hold_if_full(self) -> None:
        self._full = len(self._buffer) > self._site.limits.pipelined_bytes
        self._update_reading()

    def check(self, now: float) -> None:
        """End what takes too long; the sweep over all connections asks this."""
        limits = self._site.limits
        waited = now - self._since
        if self._slow_since and now - self._slow_since > limits.stalled_seconds:
            self.transport.abort()
        elif self._tls is not None and self._tls.shaking:
            if waited > limits.head_seconds:
                self.transport.abort()
        elif self._ending:
            self._check_lingering(now)
        elif self._middle is not None:
            if waited > limits.body_seconds and self._middle.waits_for_browser():
                self._too_slow(self._middle)
        elif self._buffer and now - self._head_since > limits.head_seconds:
            self.refuse(408)
        elif waited > limits.idle_seconds:
            self.transport.close()

    def waits_since(self) -> float | None:
        """Since when the browser owes bytes of a request; None where it does not, or it ends."""
        if self._own is not None or self._ending:
            return None
        if self._middle is not None:
            return self._since if self._middle.waits_for_browser() else None
        return self._head_since if self._buffer else self._since

    def give_way(self) -> None:
        """End, so that another connection has its place."""
        if self._middle is not None:
            self._too_slow(self._middle)
        else:
            self._ending = True
            self.transport.close()

    def _check_lingering(self, now: float) -> None:
        limits, unsent = self._site.limits, self.transport.get_write_buffer_size()
        silent = now - self._since > limits.linger_seconds and not unsent
        if silent or (now - self._head_since > limits.linger_most_seconds and not unsent):
            self.transport.abort()

    def _too_slow(self, middle: Middle) -> None:
        middle.browser_lost()
        self.refuse(408)
