"""`python -m tests.chaos.upstream`: stands for Argo CD, and notes when each token came.

Prints its port. It says little and does less, so that its clock is to be trusted: a request's
instant is that of its arrival. `GET /-/seen` gives what it noted; `GET /-/away/<seconds>` lets
it refuse connections for so long.
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession

from tests.hostile.client import ROOT, START_SECONDS

COOKIE = b"argocd.token="
STREAM = b"/api/v1/stream/applications"
# A machine with two busy cores may take as long from the check to the arrival.
EXPIRED_FOR_SECONDS = 1.0
_ANSWER = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n"
_HELD_UP_BY_SECONDS = 0.02


@dataclass
class Seen:
    """What came: by token the last instant, and those that were out of date."""

    last: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    expired: int = 0
    held_up_seconds: float = 0.0
    """The longest time for which this process itself had not looked."""


class Upstream:
    """The server, which may close its port for a while."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.connections: set[asyncio.BaseTransport] = set()
        self._ends: dict[str, float] = {}
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Listen; the port stays the same."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self._port, backlog=1024
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self._port

    async def watch(self) -> None:
        """Note how late this process is."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_HELD_UP_BY_SECONDS)
            late = time.monotonic() - before - _HELD_UP_BY_SECONDS
            self.seen.held_up_seconds = max(self.seen.held_up_seconds, late)

    def answer(self, head: bytes, at: float) -> bytes:
        """The answer to a request whose head this is."""
        _, target, *_ = head.split(b" ", 2)
        if target == b"/-/seen":
            body = json.dumps(vars(self.seen)).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        if target.startswith(b"/-/away/"):
            away = asyncio.ensure_future(self._away(float(target.rpartition(b"/")[2])))
            self._tasks.add(away)
            return _ANSWER % b"200 OK"
        if target == b"/auth/logout":
            return b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
        self.seen.requests += 1
        token = _token(head)
        if not token:
            return _ANSWER % b"200 OK"
        self.seen.last[token] = at
        if self._end_of(token) + EXPIRED_FOR_SECONDS < time.time():
            self.seen.expired += 1
            return _ANSWER % b"401 Unauthorized"
        return _EVENTS if target == STREAM else _ANSWER % b"200 OK"

    async def _away(self, seconds: float) -> None:
        if self._server:
            self._server.close()
        await asyncio.sleep(0.01)  # the answer to whoever asked for it
        for connection in list(self.connections):
            connection.close()
        await asyncio.sleep(seconds)
        await self.open()

    def _end_of(self, token: str) -> float:
        if token not in self._ends:
            self._ends[token] = end_of(token)
        return self._ends[token]


class Connection(asyncio.Protocol):
    """One connection: GET requests, one after another."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._upstream.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        at = time.monotonic()
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            self._transport.write(self._upstream.answer(head, at))


def _token(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"cookie:"):
            for crumb in line[7:].split(b";"):
                if crumb.strip().startswith(COOKIE):
                    return crumb.strip().removeprefix(COOKIE).decode()
    return ""


def end_of(token: str) -> float:
    """A token's `exp`, unchecked; what is no JWT has no end."""
    with suppress(ValueError, IndexError, KeyError, TypeError):
        body = token.split(".")[1]
        claims: Any = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    return float("inf")


@dataclass(frozen=True)
class UpstreamHandle:
    """The stand-in, as a test sees it."""

    address: str
    http: ClientSession

    async def seen(self) -> Seen:
        """What came so far."""
        async with self.http.get(f"{self.address}/-/seen") as answer:
            return Seen(**json.loads(await answer.read()))

    async def go_away(self, seconds: float) -> None:
        """Refuse connections for so long."""
        async with self.http.get(f"{self.address}/-/away/{seconds}") as answer:
            await answer.read()


@asynccontextmanager
async def upstream(module: str = "tests.chaos.upstream") -> AsyncIterator[UpstreamHandle]:
    """A stand-in that lives as long as the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(START_SECONDS):
            port = int(await process.stdout.readline())
        async with ClientSession() as http:
            yield UpstreamHandle(f"http://127.0.0.1:{port}", http)
    finally:
        process.kill()
        await process.wait()


async def serve() -> None:
    """Serve until standard input ends."""
    made = Upstream()
    print(await made.open(), flush=True)
    watching = asyncio.ensure_future(made.watch())
    await asyncio.to_thread(sys.stdin.read)
    watching.cancel()


if __name__ == "__main__":
    asyncio.run(serve())
