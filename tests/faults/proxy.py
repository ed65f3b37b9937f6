"""A relay on loopback that does to a link what networks do: see `tests.faults.plan.Kind`."""

import asyncio
import random
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes.connections import Connections, both_ways
from tests.faults.plan import Fault, Kind, Timed, Way

KEPT_LOSSES = 5000
_PIECE_BYTES = 65536
_DRIPS_A_SECOND = 10


@dataclass(frozen=True, kw_only=True)
class Loss:
    """An answer of which a fault left nothing, or not all, and the connection that it was for.

    `client_port` is the client's own, `server_port` what the server saw as its peer's.
    """

    client_port: int
    server_port: int
    began_at: float
    at: float
    fault: Fault


@dataclass(eq=False)
class Wire:
    """One connection through the relay: its ports, and how much of the answers got through."""

    client_port: int
    server_port: int = 0
    began_at: float = field(default_factory=time.monotonic)
    came: int = 0
    handed_over: int = 0
    met: Fault | None = None
    """The last fault that did anything to it."""

    _drawn: tuple[int, bool, float] = (0, False, 0.0)
    _passed: dict[Way, int] = field(default_factory=dict)

    def draw(self, number: int, fault: Fault, dice: random.Random) -> bool:
        """Whether the fault of that number befalls it: drawn once."""
        if self._drawn[0] != number:
            self._drawn = (number, dice.random() < fault.share, dice.random() * fault.seconds)
            self._passed.clear()
        return self._drawn[1]

    @property
    def own_seconds(self) -> float:
        """For how long its pieces are held back by `REORDER`."""
        return self._drawn[2]

    def lets_through(self, way: Way, fault: Fault, size: int) -> int:
        """How many of so many bytes still pass before `after_bytes` are reached."""
        passed = self._passed.get(way, 0)
        self._passed[way] = passed + size
        return max(0, min(size, fault.after_bytes - passed))

    def loss(self) -> Loss | None:
        """What a fault has lost of the answers, if it has."""
        if self.met is None or 0 < self.handed_over >= self.came:
            return None
        return Loss(
            client_port=self.client_port,
            server_port=self.server_port,
            began_at=self.began_at,
            at=time.monotonic(),
            fault=self.met,
        )


class FaultProxy(Connections):
    """Leads to a server, `host:port` or `unix://…`, and has one fault at a time, or none."""

    def __init__(self, server: str, *, seed: int = 0) -> None:
        super().__init__()
        self.port = 0
        self.losses: deque[Loss] = deque(maxlen=KEPT_LOSSES)
        self.wires: set[Wire] = set()
        self.fault: Fault | None = None
        self._server = server
        self._dice = random.Random(seed)
        self._number = 0
        self._over = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its address, as `127.0.0.1:port`."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"127.0.0.1:{self.port}"
        finally:
            server.close()
            self.end()
            await self.cut_all()

    def begin(self, fault: Fault) -> None:
        """From now on this befalls the link, in the place of what did before."""
        self.end()
        self.fault = fault
        self._number += 1
        self._over = asyncio.Event()

    def end(self) -> None:
        """The link is well again. Connections that were silent are reset: their bytes are gone."""
        self.fault = None
        self._over.set()

    async def follow(self, plan: Iterable[Timed]) -> None:
        """Do what a plan says, counted from now, until it ends or this is cancelled."""
        began_at = time.monotonic()
        try:
            for timed in plan:
                await asyncio.sleep(max(0.0, began_at + timed.at - time.monotonic()))
                self.begin(timed.fault)
                await asyncio.sleep(max(0.0, began_at + timed.until - time.monotonic()))
                self.end()
        finally:
            self.end()

    def server_ports(self, client_ports: Iterable[int]) -> frozenset[int]:
        """What the server sees as the ports of the clients that have these now."""
        wanted = set(client_ports)
        return frozenset(each.server_port for each in self.wires if each.client_port in wanted)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(writer.get_extra_info("peername")[1])
        if self._befalls(wire, Kind.HALF_OPEN):
            await self._until_over(reader)
            _reset(writer)
            return
        theirs, ours = await self._connect()
        if own := ours.get_extra_info("sockname"):
            wire.server_port = own[1] if isinstance(own, tuple) else 0
        self.wires.add(wire)
        try:
            await both_ways(
                ours,
                self._pass(wire, Way.REQUESTS, reader, ours, writer),
                self._pass(wire, Way.ANSWERS, theirs, writer, ours),
            )
        finally:
            self.wires.discard(wire)
            if loss := wire.loss():
                self.losses.append(loss)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server.startswith("unix://"):
            return await asyncio.open_unix_connection(self._server.removeprefix("unix://"))
        host, _, port = self._server.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _pass(
        self,
        wire: Wire,
        way: Way,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
    ) -> None:
        """Hand over what comes; `back` leads to where it comes from."""
        while data := await reader.read(_PIECE_BYTES):
            if way is Way.ANSWERS:
                wire.came += len(data)
            fault = self._befalling(wire, way)
            if fault is None:
                await _write(wire, way, writer, data)
            elif fault.kind in (Kind.CUT, Kind.RESET, Kind.SILENT):
                left = wire.lets_through(way, fault, len(data))
                await _write(wire, way, writer, data[:left])
                if left < len(data):
                    await self._break(fault, reader, writer, back)
                    return
            else:
                await _slowly(wire, way, writer, data, fault)

    async def _break(
        self,
        fault: Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
    ) -> None:
        if fault.kind is Kind.SILENT:
            await self._until_over(reader)
        if fault.kind is not Kind.CUT:
            _reset(writer)
            _reset(back)

    def _befalling(self, wire: Wire, way: Way) -> Fault | None:
        """The fault that befalls this piece of a connection."""
        fault = self.fault
        if fault is None or fault.way is not way or not self._befalls(wire, fault.kind):
            return None
        if fault.kind is Kind.HALF_OPEN:
            return None
        wire.met = fault
        return fault

    def _befalls(self, wire: Wire, kind: Kind) -> bool:
        fault = self.fault
        return (
            fault is not None and fault.kind is kind and wire.draw(self._number, fault, self._dice)
        )

    async def _until_over(self, reader: asyncio.StreamReader) -> None:
        """Drop what comes, until the fault is over or the sender has left."""
        over = asyncio.ensure_future(self._over.wait())
        left = asyncio.ensure_future(_dropped(reader))
        try:
            await asyncio.wait((over, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            left.cancel()
            await asyncio.gather(over, left, return_exceptions=True)


async def _slowly(
    wire: Wire, way: Way, writer: asyncio.StreamWriter, data: bytes, fault: Fault
) -> None:
    if fault.kind is Kind.DRIP:
        size = max(1, fault.bytes_per_second // _DRIPS_A_SECOND)
        for start in range(0, len(data), size):
            await asyncio.sleep(1 / _DRIPS_A_SECOND)
            await _write(wire, way, writer, data[start : start + size])
        return
    await asyncio.sleep(wire.own_seconds if fault.kind is Kind.REORDER else fault.seconds)
    await _write(wire, way, writer, data)


async def _write(wire: Wire, way: Way, writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
    if way is Way.ANSWERS:
        wire.handed_over += len(data)


async def _dropped(reader: asyncio.StreamReader) -> None:
    while await reader.read(_PIECE_BYTES):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Let the kernel say that nothing more is known of this connection."""
    found = writer.get_extra_info("socket")
    if found is not None and found.family != socket.AF_UNIX:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
