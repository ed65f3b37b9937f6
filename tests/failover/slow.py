"""A server that is as slow as a test wants it: each of its answers waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.failover.servers import HOST
from tests.fakes.connections import Connections, both_ways


class Slow(Connections):
    """Stands before a server at a loopback port."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.seconds = 0.0
        self._port = port

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """The port at which the server can be reached slowly."""
        listener = await asyncio.start_server(self._connected, HOST, 0)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            await self.cut_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(HOST, self._port)
        await both_ways(ours, self._pass(reader, ours, 0), self._pass(theirs, writer, 1))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, share: int
    ) -> None:
        while data := await reader.read(65536):
            if seconds := self.seconds * share:
                await asyncio.sleep(seconds)
            writer.write(data)
            await writer.drain()
