"""Connections to the upstream: the idle ones, and new ones."""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from sidecar.errors import UpstreamSlow, UpstreamUnavailable
from sidecar.proxy.sides import MOST_UNSENT, UpstreamUser

CONNECT_FOR_SECONDS = 3.0  # argocd-server restarts its listener when its settings change
CONNECT_SECONDS = 3.0
_CONNECT_EVERY_SECONDS = 0.1
MAX_IDLE = 256  # an upstream's files are bounded; this is more than one core keeps busy
MAX_IDLE_SECONDS = 30.0  # shorter than any server keeps an idle connection


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """Where the upstream listens: a host and port, with `tls` or without, or a Unix socket."""

    host: str = ""
    port: int = 0
    unix_socket: str = ""
    tls: "UpstreamTls | None" = None
    server_name: str = ""
    """The name that its certificate is for, where that is not `host`."""

    @classmethod
    def from_url(
        cls, url: str, tls: "UpstreamTls | None" = None, server_name: str = ""
    ) -> "UpstreamAddress":
        """The address in `http://host:port`, `https://host:port` or `unix:///path`.

        Raises:
            ValueError: it is https, and nobody says how TLS is spoken.
        """
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return cls(unix_socket=parts.path)
        if parts.scheme == "https":
            if tls is None:
                raise ValueError("an https address needs TLS")
            return cls(parts.hostname or "", parts.port or 443, "", tls, server_name)
        return cls(parts.hostname or "", parts.port or 80)


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """How TLS is spoken to the upstream; ALPN says before the first byte which HTTP follows."""

    http1: ssl.SSLContext
    http2: ssl.SSLContext


class Upstream(asyncio.Protocol):
    """One connection to the upstream, which one exchange after the other uses."""

    __slots__ = ("_pool", "idle_since", "paused", "transport", "used_before", "user")

    transport: asyncio.Transport

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self.user: UpstreamUser | None = None
        self.used_before = False
        self.idle_since = 0.0
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by form only
        self.transport.set_write_buffer_limits(MOST_UNSENT)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """To whoever has the connection; an idle one that speaks is out of step."""
        if self.user is None:
            self.close()
        else:
            self.user.from_upstream(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever has the connection is told."""
        self._pool.closed(self)
        if self.user is not None:
            self.user.upstream_lost(error)

    def pause_writing(self) -> None:
        """What was written has not gone out yet."""
        if self.user is not None:
            self.user.upstream_slow()

    def resume_writing(self) -> None:
        """Most of it has."""
        if self.user is not None:
            self.user.upstream_ready()

    def pause_reading(self) -> None:
        """Take no more from the upstream for now."""
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more again."""
        if self.paused and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """End it; nobody is told."""
        self.user = None
        self.transport.abort()


class Pool:
    """The upstream's connections: the idle ones bounded and aged, the newest used first."""

    def __init__(
        self,
        address: UpstreamAddress,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        max_idle: int = MAX_IDLE,
        max_idle_seconds: float = MAX_IDLE_SECONDS,
        name: str = "Argo CD",
    ) -> None:
        self.name = name
        self._address = address
        self._monotonic = monotonic
        self._sleep = sleep
        self._max_idle = max_idle
        self._max_idle_seconds = max_idle_seconds
        self._idle: deque[Upstream] = deque()
        self._open: set[Upstream] = set()

    @property
    def idle(self) -> int:
        """How many connections wait to be used."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._open)

    def take(self) -> Upstream | None:
        """An idle connection, None where there is none."""
        while self._idle:
            upstream = self._idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def give_back(self, upstream: Upstream) -> None:
        """Keep a connection whose last answer is whole."""
        upstream.user = None
        upstream.used_before = True
        upstream.idle_since = 0.0
        if upstream.paused:
            upstream.resume_reading()
        self._idle.append(upstream)
        if len(self._idle) > self._max_idle:
            self._idle.popleft().close()

    def close_aged(self, now: float) -> None:
        """End the connections that nobody has used for long, counted from the first look."""
        for upstream in list(self._idle):
            upstream.idle_since = upstream.idle_since or now
            if now - upstream.idle_since > self._max_idle_seconds:
                self._idle.remove(upstream)
                upstream.close()

    async def connect(self, *, http2: bool = False) -> Upstream:
        """A new connection; a refused one is tried again, since no byte was sent.

        Raises:
            UpstreamUnavailable: there is none to be had.
        """
        until = self._monotonic() + CONNECT_FOR_SECONDS
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._dial(http2=http2)
            except TimeoutError as error:
                raise UpstreamSlow(f"{self.name} does not accept connections") from error
            except ssl.SSLError as error:
                raise UpstreamUnavailable(
                    f"the certificate of {self.name} is not accepted"
                ) from error
            except OSError as error:
                if self._monotonic() >= until:
                    raise UpstreamUnavailable(f"{self.name} cannot be reached") from error
            await self._sleep(_CONNECT_EVERY_SECONDS)

    async def _dial(self, *, http2: bool) -> Upstream:
        loop, to = asyncio.get_running_loop(), self._address
        if to.unix_socket:
            _, upstream = await loop.create_unix_connection(self._new, to.unix_socket)
            return upstream
        if to.tls is None:
            _, upstream = await loop.create_connection(self._new, to.host, to.port)
            return upstream
        tls = to.tls.http2 if http2 else to.tls.http1
        _, upstream = await loop.create_connection(
            self._new, to.host, to.port, ssl=tls, server_hostname=to.server_name or to.host
        )
        return upstream

    async def probe(self) -> None:
        """That the upstream takes a connection now.

        Raises:
            OSError: it does not.
        """
        (await self._dial(http2=False)).close()

    def _new(self) -> Upstream:
        return Upstream(self)

    def opened(self, upstream: Upstream) -> None:
        """A connection was made."""
        self._open.add(upstream)

    def closed(self, upstream: Upstream) -> None:
        """A connection has ended."""
        self._open.discard(upstream)
        if upstream.user is None and upstream in self._idle:
            self._idle.remove(upstream)

    def close(self) -> None:
        """End all connections."""
        for upstream in list(self._open):
            upstream.transport.abort()
