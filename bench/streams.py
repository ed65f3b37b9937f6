"""How much memory a replica takes at rest, and for open event streams: `python -m bench.streams`.

What the requests and limits in deploy/ go by. The streams' other ends are in this process.
"""

import argparse
import asyncio
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.place import Replica, replica
from bench.serving import HOST
from tests.proxy.certificates import Pair, self_signed

_REQUEST = (
    f"GET /api/v1/stream/applications HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/event-stream\r\n\r\n"
).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\n:\n\n\r\n"
)
_AT_ONCE = 100
_MEBIBYTE = 1024.0**2

# Whether browsers speak TLS to the sidecar, and the sidecar to Argo CD.
KINDS = {"plain": (False, False), "tls in": (True, False), "tls in and out": (True, True)}


async def streams(*, connections: int = 2000) -> dict[str, dict[str, float]]:
    """For each kind: MiB at rest, and MiB more for a thousand open streams."""
    with tempfile.TemporaryDirectory() as folder:
        pair = self_signed(Path(folder) / "tls", "localhost")
        return {kind: await _one(pair, *tls, connections) for kind, tls in KINDS.items()}


async def _one(pair: Pair, tls_in: bool, tls_out: bool, connections: int) -> dict[str, float]:
    async with _upstream(pair if tls_out else None) as upstream:
        environment = {
            "SIDECAR_ISSUER": f"http://{HOST}:1",
            "SIDECAR_STORE_URL": "memory://",
            "SIDECAR_BACKGROUND_RENEWAL": "off",
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_UPSTREAM_TLS_VERIFY": "off",
        }
        if tls_in:
            environment |= dict(
                zip(("SIDECAR_TLS_CERT_FILE", "SIDECAR_TLS_KEY_FILE"), pair, strict=True)
            )
        async with replica(environment) as running:
            before = _resident_bytes(running)
            writers = await _open(running.port, connections, tls=tls_in)
            grown = _resident_bytes(running) - before
            for writer in writers:
                writer.transport.abort()
    per_thousand = grown / connections * 1000
    return {
        "at_rest": round(before / _MEBIBYTE, 1),
        "per_thousand": round(per_thousand / _MEBIBYTE, 1),
    }


@asynccontextmanager
async def _upstream(pair: Pair | None) -> AsyncIterator[str]:
    """Begins an event stream for each request, and lets it stand."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_ANSWER)
            await reader.read()
        except (OSError, EOFError):
            pass  # the end of the measurement
        finally:
            writer.close()

    context = None
    if pair:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*pair)
    async with await asyncio.start_server(answer, HOST, 0, backlog=1024, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http{'s' if pair else ''}://{HOST}:{port}"


async def _open(port: int, count: int, *, tls: bool) -> list[asyncio.StreamWriter]:
    context = ssl._create_unverified_context() if tls else None  # noqa: S323  # on loopback

    async def one() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
        writer.write(_REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        return writer

    opened: list[asyncio.StreamWriter] = []
    while len(opened) < count:
        opened += await asyncio.gather(*(one() for _ in range(min(_AT_ONCE, count - len(opened)))))
    return opened


def _resident_bytes(running: Replica) -> int:
    fields = Path(f"/proc/{running.pid}/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) * 1024


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2000)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(streams(connections=given.connections)), indent=2))


if __name__ == "__main__":
    main()
