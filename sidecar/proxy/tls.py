"""TLS on a connection that has begun: a transport over a transport, and nothing else changes."""

import asyncio
import ssl
from contextlib import suppress
from typing import Any

from prometheus_client import Counter

HANDSHAKE = 0x16  # the first byte of a TLS connection (RFC 8446 section 5.1), and of no request
_READ_BYTES = 64 * 1024
_MOST_UNSENT = 1024 * 1024  # of records that nobody reads, which a client can ask for without end


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """Stands between a plain transport, `below`, and the protocol that it had, `above`.

    The event loops' own TLS cannot begin with bytes that were read already, and asyncio's takes
    256 KiB for each connection. This one takes what OpenSSL does.
    """

    __slots__ = (
        "_above", "_below", "_handshakes", "_incoming", "_loop", "_outgoing", "_paused",
        "_said_bye", "_tls", "shaking",
    )  # fmt: skip

    def __init__(
        self,
        below: asyncio.Transport,
        above: asyncio.Protocol,
        context: ssl.SSLContext,
        handshakes: Counter,
    ) -> None:
        super().__init__()
        self._below = below
        self._above = above
        self._handshakes = handshakes
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.shaking = True
        self._paused = False
        self._said_bye = False
        self._loop = asyncio.get_running_loop()
        below.set_protocol(self)

    # What comes from below

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes."""
        if self._said_bye:
            self._above.data_received(b"")  # it counts, but nobody reads it
            return
        self._incoming.write(data)
        self._advance()

    def _advance(self) -> None:
        try:
            if self.shaking:
                self._tls.do_handshake()
                self._end_shaking("ok")
            self._deliver()
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError:
            self._send()  # OpenSSL says in an alert what it does not like
            self._below.close()
        if self._below.get_write_buffer_size() > _MOST_UNSENT:
            self._below.abort()

    def _deliver(self) -> None:
        while self._hands_out() and not self._said_bye:
            data = self._tls.read(_READ_BYTES)
            if not data:  # its goodbye
                self._above.eof_received()
                self.close()
                return
            self._above.data_received(data)
        self._send()

    def _send(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    def _end_shaking(self, result: str) -> None:
        self.shaking = False
        self._handshakes.labels(result).inc()

    def eof_received(self) -> bool:
        """The other side says no more; with or without TLS's own goodbye it has left."""
        self._above.eof_received()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended."""
        if self.shaking:
            self._end_shaking("failed")
        self._above.connection_lost(error)

    def pause_writing(self) -> None:
        """The other side takes no more for now."""
        self._above.pause_writing()

    def resume_writing(self) -> None:
        """It takes more again."""
        self._above.resume_writing()

    # What is asked from above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; before the handshake has ended nobody could read them."""
        if self.shaking or self._said_bye or self._below.is_closing():
            return
        left = memoryview(data)
        try:
            while left:
                left = left[self._tls.write(left) :]
        except ssl.SSLError:
            self.abort()
        else:
            self._send()

    def pause_reading(self) -> None:
        """Hand out no more for now."""
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Hand out more again: first what has been read already, soon."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._hands_out() and not self._said_bye:
            self._advance()
        if self._hands_out():
            self._below.resume_reading()

    def _hands_out(self) -> bool:
        return not self._paused and not self._below.is_closing()

    def can_write_eof(self) -> bool:
        """One side can end before the other."""
        return True

    def write_eof(self) -> None:
        """Say no more."""
        if self.shaking:
            self._below.close()
        elif not self._said_bye:
            self._say_bye()
            self._below.write_eof()

    def close(self) -> None:
        """Send what there is to send, and end."""
        if not self._below.is_closing():
            self._say_bye()
            self._below.close()

    def abort(self) -> None:
        """End now."""
        self._below.abort()

    def _say_bye(self) -> None:
        if not self._said_bye and not self.shaking:
            self._said_bye = True
            with suppress(ssl.SSLError):  # the other side has not said it yet
                self._tls.unwrap()
            self._send()
            self._incoming.read()  # nobody will

    def is_closing(self) -> bool:
        """Whether it ends, or has ended."""
        return self._below.is_closing()

    def get_write_buffer_size(self) -> int:
        """How many bytes have not gone out yet."""
        return self._below.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol takes over."""
        assert isinstance(protocol, asyncio.Protocol)  # noqa: S101 - aiohttp's is
        self._above = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whose the bytes are."""
        return self._above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._tls.context
        return self._below.get_extra_info(name, default)
