"""Bytes both ways between two connections, until one of them ends."""

from collections.abc import Callable, Coroutine
from typing import Any

from sidecar.errors import TryLater
from sidecar.flows.tasks import Tasks
from sidecar.proxy.pool import Pool, Upstream
from sidecar.proxy.sides import Browser


class Tunnel:
    """An upgraded connection, or one in HTTP/2: nothing of it is read.

    Neither side grows a buffer here: the one that is slow stops the other from being read.
    """

    __slots__ = ("_ended", "_front", "_upstream")

    name = "tunnel"

    def __init__(self, front: Browser, upstream: Upstream, ended: Callable[[], None]) -> None:
        self._front = front
        self._upstream = upstream
        self._ended = ended
        upstream.user = self

    def from_browser(self, data: bytes) -> bytes:
        """To the upstream; nothing is left over."""
        self._upstream.transport.write(data)
        return b""

    def from_upstream(self, data: bytes) -> None:
        """To the browser."""
        self._front.write(data)

    def browser_slow(self) -> None:
        """The browser takes no more for now."""
        self._upstream.pause_reading()

    def browser_ready(self) -> None:
        """The browser takes more again."""
        self._upstream.resume_reading()

    def upstream_slow(self) -> None:
        """The upstream takes no more for now."""
        self._front.hold()

    def upstream_ready(self) -> None:
        """The upstream takes more again."""
        self._front.release()

    def upstream_lost(self, error: Exception | None) -> None:
        """What came from it still goes out; then the browser's side ends too."""
        self._ended()
        if error is None:
            self._front.finish(keep=False)
        else:
            self._front.break_off()

    def browser_lost(self) -> None:
        """What came from it still goes out; then the upstream's side ends too."""
        self._upstream.user = None
        self._upstream.transport.close()
        self._ended()

    def end_politely(self) -> None:
        """End both sides."""
        self.browser_lost()
        self._front.finish(keep=False)

    def drain(self) -> None:
        """The process ends, and a tunnel would not by itself."""
        self.end_politely()

    def waits_for_browser(self) -> bool:
        """Both sides may be silent for as long as they like."""
        return False


async def splice(front: Browser, pool: Pool, count: Callable[[], None]) -> None:
    """Make a connection in HTTP/2 a tunnel to an upstream connection of its own, and count it."""
    try:
        upstream = await pool.connect(http2=True)
    except TryLater:
        front.break_off()
        return
    count()
    front.becomes(Tunnel(front, upstream, lambda: None))


class Waiting:
    """Stands in the middle while something is waited for; the browser's bytes wait, too."""

    __slots__ = ("_task",)

    name = "request"

    def __init__(self, tasks: Tasks, work: Coroutine[Any, Any, None]) -> None:
        self._task = tasks.start(work, "request")

    def from_browser(self, data: bytes) -> bytes:
        """All are for later."""
        return data

    def browser_lost(self) -> None:
        """Nobody waits any more."""
        self._task.cancel()

    def waits_for_browser(self) -> bool:
        """It is the browser that waits."""
        return False

    def _nothing(self, *_: object) -> None:
        """There is no other side yet."""

    from_upstream = upstream_lost = upstream_slow = upstream_ready = _nothing
    browser_slow = browser_ready = end_politely = drain = _nothing
