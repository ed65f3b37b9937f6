"""A browser's connection as bytes: what is written, what holds it back, and how it ends."""

import asyncio
import socket
import struct

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Wire(asyncio.Protocol):
    """The half of a public connection that knows nothing of HTTP."""

    __slots__ = ("_answering", "_ending", "_full", "_held", "_paused", "transport")

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._answering = False
        self._ending = False
        self._held = False
        self._full = False
        self._paused = False

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._answering = True
        self.transport.write(data)

    def write_both(self, head: bytes, data: memoryview) -> None:
        """Send two pieces, without making one of them where the event loop can."""
        self._answering = True
        self.transport.writelines((head, data))

    def hold(self) -> None:
        """Read no more for now."""
        self._held = True
        self._update_reading()

    def release(self) -> None:
        """Read again."""
        self._held = False
        self._update_reading()

    def _release_all(self) -> None:
        self._held = self._full = False
        self._update_reading()

    def _update_reading(self) -> None:
        pause = self._held or self._full
        if pause is self._paused or self.transport.is_closing():
            return
        self._paused = pause
        if pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _reset(self) -> None:
        """End the connection so that nobody takes what has gone out for the whole.

        A reset says so even where the end of the connection is the end of the body.
        """
        self._ending = True
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _say_no_more(self) -> None:
        """End our side, and let the browser end its own: a reset would take the answer from it."""
        self._ending = True
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._release_all()
        else:
            self.transport.close()
