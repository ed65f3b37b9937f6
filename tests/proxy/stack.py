"""The data path alone, on loopback: a recorder as the upstream, one session, raw clients."""

import asyncio
import os
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from sidecar.adapters.memory_store import MemoryStore
from sidecar.app import SystemClock
from sidecar.config.tls import server_tls
from sidecar.core.authorization import Sites
from sidecar.core.cookies import CookieJar
from sidecar.core.heads import Paths
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import SessionKey
from sidecar.core.tokens import TokenSet
from sidecar.flows.assembly import SessionParts, session_parts
from sidecar.flows.records import Client, Live
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes, Sessions
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.proxy.certificate import Certificate
from sidecar.proxy.gate import Gate
from sidecar.proxy.hold_back import HoldBack
from sidecar.proxy.passes import Rules
from sidecar.proxy.pool import Pool, UpstreamAddress
from sidecar.proxy.port import PublicPort
from sidecar.proxy.registry import OpenThings
from sidecar.proxy.site import Limits, Site
from sidecar.proxy.way import Way
from tests.proxy.certificates import Pair
from tests.world import eventually

PUBLIC_URL = "http://argocd.example.org"
TOKEN = "head.body.signature"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Talk = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection, on either side, and all the bytes that came over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.got = b""

    async def send(self, *pieces: bytes) -> None:
        """Send each piece by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0)

    async def until(self, end: bytes) -> bytes:
        """The bytes up to and with `end`."""
        async with asyncio.timeout(10):
            data = await self.reader.readuntil(end)
        self.got += data
        return data

    async def exactly(self, count: int) -> bytes:
        """As many bytes."""
        async with asyncio.timeout(10):
            data = await self.reader.readexactly(count)
        self.got += data
        return data

    async def rest(self) -> bytes:
        """All that comes until the other side closes."""
        async with asyncio.timeout(10):
            data = await self.reader.read()
        self.got += data
        return data

    async def answer(self) -> bytes:
        """One answer with a Content-Length, or without a body."""
        head = await self.until(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        return head + (await self.exactly(int(length[1])) if length else b"")

    async def request(self) -> bytes:
        """One request, whole."""
        head = await self.until(b"\r\n\r\n")
        if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            return head + await self.until(b"0\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        return head + (await self.exactly(int(length[1])) if length else b"")

    async def closed(self) -> bool:
        """Whether the other side ends the connection, without another byte."""
        with suppress(ConnectionError):
            return await self.rest() == b""
        return True

    def close(self) -> None:
        """Leave."""
        self.writer.close()

    def reset(self) -> None:
        """Break off, so that the other side sees a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def answers_ok(peer: Peer) -> None:
    """An upstream that says yes to every request."""
    while True:
        await peer.request()
        await peer.send(OK)


@dataclass
class Recorder:
    """An upstream that keeps every byte, and does as it is told with each connection."""

    talk: Talk = answers_ok
    connections: list[Peer] = field(default_factory=list)
    port: int = 0

    @property
    def got(self) -> bytes:
        """All the bytes that have come."""
        return b"".join(peer.got for peer in self.connections)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        peer = Peer(reader, writer)
        self.connections.append(peer)
        try:
            await self.talk(peer)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
            peer.got += getattr(error, "partial", b"")
        finally:
            writer.close()


class Renewing:
    """A working stand-in for `Refresh`: what it knows goes up at once, or after a wait."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.at_hand: dict[SessionKey, Live] = {}
        self.at_hand_once = False
        self.forbidden: set[SessionKey] = set()
        self.asked: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.refusals = 0
        self.doubting = False

    async def current(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        """After a wait, as the store has it."""
        self.asked.append(min_life)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.forbidden.discard(key)
        return await self._sessions.load(key)

    def current_now(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        """What is at hand."""
        live = self.at_hand.get(key)
        if self.at_hand_once:
            self.at_hand.pop(key, None)
        return live

    def may_go_up(self, live: Live) -> bool:
        """Whether nobody has ended it."""
        return live.session.key not in self.forbidden

    def refused(self, live: Live) -> None:
        """The upstream has refused a token."""
        self.refusals += 1

    def doubts_page(self, live: Live) -> bool:
        """Whether a page is to wait for `current`."""
        return self.doubting


@dataclass
class Stack:
    """Everything between a raw client and the recorder."""

    upstream: Recorder
    site: Site
    port: PublicPort
    renewing: Renewing
    sessions: Sessions
    at: int
    cookie: str
    live: Live
    own: list[bytes]
    parts: SessionParts
    clients: list[Peer] = field(default_factory=list)

    @property
    def key(self) -> SessionKey:
        """The one session's."""
        return self.live.session.key

    @property
    def pool(self) -> Pool:
        """The upstream's connections."""
        return self.site.way.pool

    async def client(self, **options: Any) -> Peer:
        """A connection to the public port."""
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.at, **options))
        self.clients.append(peer)
        return peer

    async def ask(self, *pieces: bytes) -> bytes:
        """What comes back for these bytes, until the sidecar closes."""
        client = await self.client()
        await client.send(*pieces)
        return await client.rest()

    def metric(self, name: str, **labels: str) -> float:
        """One of the metrics."""
        found = self.site.metrics.registry.get_sample_value(f"argocd_token_refresh_{name}", labels)
        return found or 0.0

    def renewed(self, id_token: str) -> None:
        """The session has another token."""
        tokens = replace(self.live.grant.tokens, id_token=id_token)
        self.live = self.live._replace(grant=replace(self.live.grant, tokens=tokens))
        self.renewing.at_hand[self.key] = self.live

    async def another_session(self, id_token: str) -> tuple[str, SessionKey]:
        """The cookie and the key of another session, with this token at hand."""
        cookie, live = await _a_session(self.parts, id_token)
        self.renewing.at_hand[live.session.key] = live
        return f"{self.cookie.partition('=')[0]}={cookie}", live.session.key

    async def idle(self) -> None:
        """Until an upstream connection waits for the next request."""
        await eventually(lambda: self.pool.idle > 0)


class _OwnPage(asyncio.Protocol):
    """Stands for aiohttp: keeps what it is handed, answers, closes."""

    def __init__(self, got: list[bytes]) -> None:
        self._got = got

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got.append(data)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nown"
        self._transport.write(answer)  # type: ignore[attr-defined]
        self._transport.close()


@asynccontextmanager
async def stack(
    talk: Talk = answers_ok,
    *,
    limits: Limits | None = None,
    http2: bool = True,
    mirror: bool = False,
    address: Callable[[int], UpstreamAddress] | None = None,
    certificate: Pair | None = None,
) -> AsyncIterator[Stack]:
    """The data path in front of a recorder, with one session at hand."""
    upstream = Recorder(talk)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    to = address(upstream.port) if address else UpstreamAddress("127.0.0.1", upstream.port)
    made = await _assemble(
        upstream, to, limits or Limits(), http2=http2, mirror=mirror, pair=certificate
    )
    try:
        yield made
    finally:
        for client in made.clients:
            client.close()
        await made.port.aclose(seconds=0.2)
        server.close()
        for peer in upstream.connections:
            with suppress(AttributeError):  # asyncio's, where it ended after its last byte
                peer.writer.transport.abort()
        await made.site.way.tasks.aclose(seconds=1)


async def _assemble(
    upstream: Recorder,
    address: UpstreamAddress,
    limits: Limits,
    *,
    http2: bool,
    mirror: bool,
    pair: Pair | None,
) -> Stack:
    clock, metrics, log = SystemClock(), Metrics(), structlog.get_logger()
    tasks = Tasks(log)
    runtime = Runtime(clock, os.urandom, tasks, metrics, log)
    ring = KeyRing([Key("test", b"0" * 32)])
    store = MemoryStore(clock)
    schedule = Schedule(store, RefreshWindow(), Background.OFF)
    lifetimes = Lifetimes(3600, 3600)
    parts = session_parts(store, ring, Client("i", "c"), schedule, lifetimes, runtime, prefix="p")
    sessions = parts.sessions
    cookie, live = await _a_session(parts)
    jar, paths, renewing = CookieJar(PUBLIC_URL), Paths(), Renewing(sessions)
    renewing.at_hand[live.session.key] = live
    rules = Rules(
        jar, paths, Sites(PUBLIC_URL), frozenset({PUBLIC_URL}), mirror=mirror, min_token_life=30.0
    )
    gate = Gate(sessions, renewing, rules, metrics=metrics)
    pool = Pool(address, monotonic=clock.monotonic, sleep=clock.sleep)
    way = Way(
        gate,
        pool,
        OpenThings(),
        HoldBack(clock.sleep),
        tasks,
        "/auth/login",
        lambda: "request-1",
        log,
    )
    own: list[bytes] = []
    site = Site(
        way,
        paths,
        lambda: _OwnPage(own),
        limits,
        http2=http2,
        metrics=metrics,
    )
    if pair is not None:
        site.certificate = Certificate(
            pair, lambda: server_tls(*pair, http2=http2), metrics, structlog.get_logger()
        )
    port = PublicPort(site)
    port.tell(clock.monotonic)
    _, at = await port.start("127.0.0.1", 0)
    name = f"{jar.session}={cookie}"
    return Stack(upstream, site, port, renewing, sessions, at, name, live, own, parts)


async def _a_session(parts: SessionParts, id_token: str = TOKEN) -> tuple[str, Live]:
    now = time.time()
    tokens = TokenSet(id_token, now, now + 3600, "access", now + 3600, "refresh", None, now)
    claims = IdTokenClaims("i", "ada", now, now + 3600, "")
    cookie, _ = await parts.joining.start(tokens, claims, nonce="", user_agent="")
    key = parts.sessions.read_cookies([cookie])
    assert key is not None
    live = await parts.sessions.load(key)
    assert live is not None
    return cookie, live


def get(target: str = "/x", *fields: str) -> bytes:
    """A GET, as a browser sends it."""
    return request("GET", target, *fields)


def request(method: str, target: str, *fields: str, body: bytes = b"") -> bytes:
    """A request with one Host, these fields, and this body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: argocd.example.org", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def waited(asked: bytes) -> bytes:
    """A request as it goes up after it has waited for its login."""
    line, _, rest = asked.partition(b"\r\n")
    return line + b"\r\nX-Request-Id: request-1\r\n" + rest


def status(answer: bytes) -> int:
    """An answer's status; 0 where there is none."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


async def settles(value: Callable[[], int]) -> None:
    """Until a number has not moved for a while."""
    last = None
    while value() != last or not last:
        last = value()
        await asyncio.sleep(0.1)
