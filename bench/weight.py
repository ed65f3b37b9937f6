"""What a sidecar weighs: at rest, with event streams open, and while much is uploaded."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import ClientSession

from bench.field import PLAIN, SIDECAR, ours, sidecar_environment
from bench.machine import allow_many_files, cores, on_core, resident_kib
from bench.place import TOKEN_LENGTH, Made, Replica, head, maker, use_all
from bench.provider import provider
from bench.serving import HOST, double
from bench.tokens import LIFE_SECONDS
from sidecar.demo.valkey import valkey

BOTH = (SIDECAR, PLAIN)
MIB = 1024 * 1024
STREAM = "/api/v1/stream/applications"
UPLOAD = "/api/v1/applications/manifests"
_AT_ONCE = 100  # connections that are being opened
_PIECE = memoryview(bytes(256 * 1024))
_GONE_SECONDS = 10.0


@dataclass(frozen=True)
class _Place:
    """A sidecar with one session, before an upstream that holds streams and takes bodies."""

    running: Replica
    session: Made
    upstream: str
    http: ClientSession

    async def count(self, name: str) -> int:
        """What the upstream has counted."""
        async with self.http.get(f"{self.upstream}/-/count") as answer:
            return int(json.loads(await answer.read())[name])

    def resident(self, field: str = "VmRSS") -> int:
        """The sidecar's memory, in KiB."""
        return resident_kib(self.running.pid, field)


@asynccontextmanager
async def _place(name: str) -> AsyncIterator[_Place]:
    allow_many_files()
    proxies, others = cores()
    with on_core(others), TemporaryDirectory(prefix="atr-bench-") as folder:
        async with (
            ClientSession() as http,
            valkey() as store_url,
            double("bench.held", {}) as upstream,
            provider(delay=0, length=TOKEN_LENGTH) as asked,
            maker(store_url, asked.issuer) as making,
            ours(
                name,
                sidecar_environment(upstream, asked.issuer, store_url),
                Path(folder),
                proxies,
            ) as running,
        ):
            made = await making.session("user", ends_at=time.time() + LIFE_SECONDS)
            yield _Place(running, made, upstream, http)


async def rest(*, names: Sequence[str] = BOTH, seconds: float = 5.0) -> dict[str, Any]:
    """A process that has started, and whom nobody has asked yet."""
    found = {}
    for name in names:
        async with _place(name) as place:
            await asyncio.sleep(seconds)
            found[name] = round(place.resident() / 1024, 1)
    return {"mib": found}


async def streams(*, names: Sequence[str] = BOTH, streams: int = 2000) -> dict[str, Any]:
    """Event streams on which nothing comes after the first event; then all browsers leave."""
    found = {name: await _streams(name, streams) for name in names}
    return {
        "streams": streams,
        "kib_each": {name: kib for name, (kib, _) in found.items()},
        "gone_in_seconds": {name: gone for name, (_, gone) in found.items()},
    }


async def _streams(name: str, count: int) -> tuple[float, float]:
    async with _place(name) as place:
        await use_all(place.running.port, [place.session] * _AT_ONCE)
        await asyncio.sleep(1.0)
        before = place.resident()
        asked = head(place.session.cookie, f"GET {STREAM}", "Accept: text/event-stream")
        made = await _opened(place.running.port, asked, count)
        await asyncio.sleep(1.0)
        if await place.count("streams") != count:
            raise RuntimeError("not every stream is open upstream")
        grown = place.resident() - before
        left_at = time.monotonic()
        for each in made:
            each.abort()
        await _until_gone(place)
        gone = time.monotonic() - left_at
    return round(grown / count, 2), round(gone, 2)


async def _until_gone(place: _Place) -> None:
    async with asyncio.timeout(_GONE_SECONDS):
        while await place.count("streams"):  # noqa: ASYNC110 - another process tells
            await asyncio.sleep(0.02)


class _Reader(asyncio.Protocol):
    """A browser that has its stream once the first event has come."""

    def __init__(self, asked: bytes) -> None:
        self._asked = asked
        self._read = b""
        self.has_event = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._asked)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._read += data
        if b"data: " in self._read and not self.has_event.done():
            self.has_event.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.has_event.done():
            self.has_event.set_exception(RuntimeError(f"no stream: {self._read[:80]!r}"))


async def _opened(port: int, asked: bytes, count: int) -> list[asyncio.Transport]:
    loop = asyncio.get_running_loop()

    async def open_one() -> asyncio.Transport:
        transport, reader = await loop.create_connection(lambda: _Reader(asked), HOST, port)
        await reader.has_event
        return transport

    found: list[asyncio.Transport] = []
    while len(found) < count:
        some = min(_AT_ONCE, count - len(found))
        found += await asyncio.gather(*(open_one() for _ in range(some)))
    return found


async def uploads(
    *, names: Sequence[str] = BOTH, uploads: int = 100, mib: int = 50
) -> dict[str, Any]:
    """Bodies that all come at once, as fast as the upstream takes them."""
    found = {name: await _uploads(name, uploads, mib * MIB) for name in names}
    return {
        "uploads": uploads,
        "mib_each": mib,
        "peak_mib": {name: peak for name, (peak, _, _) in found.items()},
        "before_mib": {name: before for name, (_, before, _) in found.items()},
        "took_seconds": {name: took for name, (_, _, took) in found.items()},
    }


async def _uploads(name: str, count: int, length: int) -> tuple[float, float, float]:
    async with _place(name) as place:
        await use_all(place.running.port, [place.session])
        before, began_at = place.resident(), time.monotonic()
        asked = head(place.session.cookie, f"POST {UPLOAD}", f"Content-Length: {length}")
        await asyncio.gather(*(_upload(place.running.port, asked, length) for _ in range(count)))
        took = time.monotonic() - began_at
        if await place.count("uploads") != count:
            raise RuntimeError("not every upload has come whole")
        peak = place.resident("VmHWM")
    return round(peak / 1024, 1), round(before / 1024, 1), round(took, 1)


async def _upload(port: int, asked: bytes, length: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(asked)
    for start in range(0, length, len(_PIECE)):
        writer.write(_PIECE[: length - start])
        await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    if answer[9:12] != b"200":
        raise RuntimeError(f"an upload was answered with {answer[:80]!r}")
