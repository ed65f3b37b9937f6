import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fakes.connections import Connections, both_ways


class Relay(Connections):
    """Stands between a store and its server, and loses what a network loses."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self.lead_to(server)
        self._cuts: list[tuple[bytes, int]] = []
        self.requests_seen: list[bytes] = []
        self.answers_seen: list[bytes] = []
        self._answering = asyncio.Event()
        self._answering.set()
        self._arrivals: list[tuple[bytes, asyncio.Event]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        with TemporaryDirectory(prefix="atr-") as folder:
            socket = Path(folder, "relay")
            listener = await asyncio.start_unix_server(self._connected, str(socket))
            try:
                yield f"unix://{socket}"
            finally:
                listener.close()
                await self.cut_all()

    async def cut_all(self) -> None:
        """Close all connections, and let the event loop tell whoever had them."""
        await super().cut_all()
        for _ in range(20):
            await asyncio.sleep(0)

    def cut_the_answer_to(self, command: bytes, *, after: int = 0) -> None:
        """The server gets the next request with this word in it; of the answer come some bytes."""
        self._cuts.append((command, after))

    def hold_answers(self) -> None:
        """Let requests through, and keep what the server says to them."""
        self._answering.clear()

    def let_answers_go(self) -> None:
        self._answering.set()

    def arrival_of(self, command: bytes) -> asyncio.Event:
        """Set once the server has got the next request with this word in it."""
        arrived = asyncio.Event()
        self._arrivals.append((command, arrived))
        return arrived

    def lead_to(self, server: str) -> None:
        """Where new connections go."""
        self._server = server.removeprefix("unix://")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(self._server)
        cut: asyncio.Queue[int] = asyncio.Queue()
        await both_ways(ours, self._requests(reader, ours, cut), self._answers(theirs, writer, cut))

    async def _requests(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, cut: asyncio.Queue[int]
    ) -> None:
        while data := await reader.read(65536):
            self.requests_seen.append(data)
            for planned in [planned for planned in self._cuts if planned[0] in data]:
                self._cuts.remove(planned)
                cut.put_nowait(planned[1])
            server.write(data)
            await server.drain()
            for arrival in [(word, event) for word, event in self._arrivals if word in data]:
                self._arrivals.remove(arrival)
                arrival[1].set()

    async def _answers(
        self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Queue[int]
    ) -> None:
        while data := await server.read(65536):
            await self._answering.wait()
            self.answers_seen.append(data)
            if not cut.empty():
                # The server has done it, and said so to nobody.
                writer.write(data[: cut.get_nowait()])
                await writer.drain()
                return
            writer.write(data)
            await writer.drain()
