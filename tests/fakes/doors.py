"""Ways to a server on loopback that keep what came through: a door, and an egress proxy."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator

from sidecar.config.tls import server_tls
from tests.fakes.connections import Connections, both_ways
from tests.proxy.certificates import Pair

_HEAD = re.compile(rb"[A-Z]+ (\S+) HTTP/1\.1\r\n(?:[^\r]+\r\n)*?[Hh]ost: (\S+)\r\n")


class Door(Connections):
    """Leads to a port, with TLS in front of it if there is a certificate.

    `paths` and `hosts` are of the requests that came through, `names` the server names for which
    TLS was asked.
    """

    def __init__(self, leads_to: int = 0, *, pair: Pair | None = None) -> None:
        super().__init__()
        self.leads_to = leads_to
        self.port = 0
        self.paths: list[str] = []
        self.hosts: set[str] = set()
        self.names: set[str | None] = set()
        self._tls = self._context(pair) if pair else None

    def _context(self, pair: Pair) -> ssl.SSLContext:
        context = server_tls(*pair, http2=False)
        context.sni_callback = lambda _, name, __: self.names.add(name)
        return context

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """The port on which it is open."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self.port
        finally:
            server.close()
            await self.cut_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await self._lets_in(reader, writer):
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.leads_to)
            await both_ways(ours, self._pass(reader, ours), self._pass(theirs, writer))

    async def _lets_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        return True

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if head := _HEAD.match(data):
                self.paths.append(head[1].decode().partition("?")[0])
                self.hosts.add(head[2].decode())
            writer.write(data)
            await writer.drain()


class EgressProxy(Door):
    """A proxy that knows one server: whatever is asked for by CONNECT leads there."""

    def __init__(self, leads_to: int = 0) -> None:
        super().__init__(leads_to)
        self.asked_for: list[str] = []

    async def _lets_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        self.asked_for.append(target)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            return True
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        return False
