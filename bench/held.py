"""`python -m bench.held`: an upstream that holds event streams open, and takes any body.

`GET /-/count` says how many streams are open now, and how many uploads have come whole.
"""

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

from bench.serving import HOST

_BUFFER = 256 * 1024
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
EVENT = b"data: {}\n\n"


@dataclass
class _Counted:
    streams: int = 0
    uploads: int = 0


class _Connection(asyncio.BufferedProtocol):
    """One connection; a body is dropped as it comes."""

    def __init__(self, counted: _Counted) -> None:
        self._counted = counted
        self._buffer = memoryview(bytearray(_BUFFER))
        self._head = b""
        self._left = 0
        self._streams = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._counted.streams -= self._streams

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left:
            self._take(nbytes)
            return
        self._head += bytes(self._buffer[:nbytes])
        head, empty_line, rest = self._head.partition(b"\r\n\r\n")
        if empty_line:
            self._head = b""
            self._begin(head, len(rest))

    def _begin(self, head: bytes, have: int) -> None:
        path = head.split(b" ", 2)[1]
        start = head.lower().find(b"\r\ncontent-length:")
        self._left = int(head[start + 17 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        if self._left:
            self._take(have)
        elif path == b"/-/count":
            self._answer(json.dumps(vars(self._counted)).encode())
        elif path.startswith(b"/api/v1/stream/"):
            self._streams = True
            self._counted.streams += 1
            self._transport.write(_STREAM_HEAD + b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        else:
            self._answer(b"{}")

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left == 0:
            self._counted.uploads += 1
            self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )


async def _serve() -> None:
    counted = _Counted()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(counted), HOST, 0, backlog=4096)
    print(f"http://{HOST}:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
