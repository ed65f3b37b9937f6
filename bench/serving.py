"""The fastest HTTP server that is one: for doubles whose own time must not be measured."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.demo.valkey import ended

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
START_SECONDS = STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its path, its head as it came, its body."""

    path: str
    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, that goes out after `delay` seconds; `sent` is told when it does."""

    body: bytes
    status: str = "200 OK"
    delay: float = 0.0
    location: str = ""
    sent: Callable[[], None] = lambda: None


Handler = Callable[[Request], Reply]


class _Connection(asyncio.Protocol):
    """One connection: requests with a Content-Length or without a body, one after another."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (request := self._next()) is not None:
            reply = self._handler(request)
            if reply.delay:
                asyncio.get_running_loop().call_later(reply.delay, self._send, reply)
            else:
                self._send(reply)

    def _next(self) -> Request | None:
        head, empty_line, rest = self._read.partition(b"\r\n\r\n")
        if not empty_line:
            return None
        length = _length(head)
        if len(rest) < length:
            return None
        self._read = rest[length:]
        return Request(head.split(b" ", 2)[1].decode(), head, rest[:length])

    def _send(self, reply: Reply) -> None:
        reply.sent()
        location = f"Location: {reply.location}\r\n".encode() if reply.location else b""
        self._transport.write(
            b"HTTP/1.1 %s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (reply.status.encode(), location, len(reply.body), reply.body)
        )


def _length(head: bytes) -> int:
    start = head.lower().find(b"\r\ncontent-length:")
    return int(head[start + 17 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


async def serve(make: Callable[[str], Handler]) -> None:
    """Serve until standard input ends; the handler is made for the address, which is printed."""
    handler: list[Handler] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(handler[0]), HOST, 0, backlog=1024)
    address = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    handler.append(make(address))
    print(address, flush=True)
    await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def double(module: str, settings: Mapping[str, Any]) -> AsyncIterator[str]:
    """The address of a double in a process of its own, that lives as long as the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, json.dumps(settings)),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process without its pipes")
    try:
        async with asyncio.timeout(START_SECONDS):
            address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise RuntimeError(f"{module} did not start")
        yield address
    finally:
        process.stdin.close()
        await ended(process, seconds=STOP_SECONDS)
