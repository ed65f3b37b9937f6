"""HTTP as bytes: an upstream that answers as it is told, and a client that sends so."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.world import World


@dataclass
class RawUpstream:
    """Where it listens, and the request heads that it got."""

    address: str = ""
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def raw_upstream(
    answer: bytes, *, close: bool = False, port: int = 0
) -> AsyncIterator[RawUpstream]:
    """An upstream that gives every request head the same bytes."""
    upstream = RawUpstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                upstream.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer)
                await writer.drain()
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    upstream.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()


@dataclass(frozen=True)
class RawAnswer:
    """An answer's status, its header lines and its body, as they came."""

    status: int
    fields: list[str]
    body: bytes


async def http(here: World, request: str, *, stays_open: bool = False) -> RawAnswer:
    """Send bytes to the first sidecar, and read until it closes, or one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.sidecars[0].port)
    try:
        writer.write(request.encode("latin-1"))
        async with asyncio.timeout(10):
            answer = await (_one_answer(reader) if stays_open else reader.read())
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    return RawAnswer(int(status.split()[1]), fields, body)


async def _one_answer(reader: asyncio.StreamReader) -> bytes:
    """An answer with a Content-Length, on a connection that stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")
