"""What Argo CD's own UI, CLI and API do that proxies get wrong: each arrives as it was sent.

What is large is sent through a whole sidecar in a process of its own, whose memory is measured.
"""

import asyncio
import gzip
import struct

import pytest

from tests.proxy.sidecar_process import sidecar_in_front_of
from tests.proxy.stack import OK, Peer, Stack, get, request, settles, stack, status

CLOSE = "Connection: close"
MIB = 1024 * 1024
# Go's bug 21955, for which Argo CD reads the raw path: these three routes have slashes in a name.
ENCODED = [
    "/api/v1/repositories/https%3A%2F%2Fgithub.com%2Fargoproj%2Fargocd-example-apps.git",
    "/api/v1/repositories/https%3a%2f%2fgithub.com%2fa%2Fb/apps?revision=HEAD",
    "/api/v1/clusters/https%3A%2F%2F10.0.0.1:443?id.type=url",
    "/api/v1/repocreds/git%40github.com%3Aargoproj%2F",
    "/api/v1/applications/a%2Fb/resource?name=x%20y&group=&kind=%7Bz%7D",
    "/api/v1/applications?fields=items.metadata.name,-items.status&selector=a%3Db&",
    "/a//b/./c/../d;p=1/%2e%2e/e%7E~?",
]


async def arrives(here: Stack, sent: bytes) -> None:
    """With a session and without one, what is sent goes up to the byte."""
    client = await here.client()
    await client.send(sent)
    assert status(await client.answer()) == 200
    assert here.upstream.got == sent


@pytest.mark.parametrize("target", ENCODED)
async def test_a_slash_in_a_name_stays_encoded(target: str) -> None:
    async with stack() as here:
        await arrives(here, get(target))


@pytest.mark.parametrize("target", ENCODED[:3])
async def test_a_slash_in_a_name_stays_encoded_with_a_session_too(target: str) -> None:
    async with stack() as here:
        client = await here.client()
        await client.send(get(target, f"Cookie: {here.cookie}"))
        assert await client.answer() == OK

        assert here.upstream.got.startswith(b"GET " + target.encode() + b" HTTP/1.1\r\n")
        assert b"Cookie: argocd.token=" in here.upstream.got


@pytest.mark.parametrize("coding", ["Content-Length", "chunked"])
async def test_a_compressed_body_arrives_compressed(coding: str) -> None:
    packed = gzip.compress(b'{"manifests":"' + b"a" * 100_000 + b'"}')
    framing = f"Content-Length: {len(packed)}"
    body = packed
    if coding == "chunked":
        framing = "Transfer-Encoding: chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    fields = ("Content-Type: application/json", "Content-Encoding: gzip", framing)
    async with stack() as here:
        await arrives(here, request("POST", "/api/v1/applications", *fields, body=body))


async def test_a_compressed_answer_arrives_compressed() -> None:
    packed = gzip.compress(b'{"items":[' + b"1," * 10_000 + b"1]}")
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        b"Vary: Accept-Encoding\r\nContent-Length: %d\r\n\r\n" % len(packed)
    ) + packed

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/api/v1/applications", f"Cookie: {here.cookie}"))

        assert await client.answer() == answer


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Accept: text/event-stream",),  # which is why Argo CD does not compress it
        ("Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "Accept-Encoding: gzip, br"),
        ("accept: */*", "ACCEPT: text/plain"),
    ],
)
async def test_accept_arrives_as_it_was_sent_and_none_is_added(fields: tuple[str, ...]) -> None:
    async with stack() as here:
        await arrives(here, get("/api/v1/stream/applications", *fields))


def frame(flags: int, data: bytes) -> bytes:
    """A frame of grpc-web."""
    return struct.pack(">BI", flags, len(data)) + data


async def test_grpc_web_passes_with_its_trailers_in_the_body_and_behind_it() -> None:
    asked = frame(0, b"\x0a\x04argo")
    messages = [frame(0, b"one"), frame(0, b"two")]
    ending = frame(0x80, b"grpc-status: 0\r\ngrpc-message: \r\n")
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\n"
        b"Trailer: Grpc-Status, Grpc-Message\r\n"
    )
    trailers = b"0\r\nGrpc-Status: 0\r\nGrpc-Message: \r\n\r\n"
    proceed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for part in messages:
            await peer.send(b"%x\r\n%b\r\n" % (len(part), part))
            await proceed.wait()
        await peer.send(b"%x\r\n%b\r\n" % (len(ending), ending) + trailers)
        await peer.rest()

    fields = (
        "Content-Type: application/grpc-web+proto",
        "X-Grpc-Web: 1",
        "token: a.b.c",
        f"Content-Length: {len(asked)}",
    )
    sent = request("POST", "/version.VersionService/Version", *fields, body=asked)
    async with stack(talk) as here:
        client = await here.client()
        await client.send(sent)
        got = await client.until(messages[0] + b"\r\n")  # before the second one exists
        proceed.set()
        got += await client.until(trailers)

        assert here.upstream.got == sent
        assert got.startswith(head)
        assert got.endswith(b"\r\n" + ending + b"\r\n" + trailers)


async def test_a_refusal_of_grpc_web_is_a_200_with_its_status_in_the_fields() -> None:
    refusal = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nGrpc-Status: 16\r\n"
        b"Grpc-Message: no session information\r\nContent-Length: 0\r\n\r\n"
    )

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(refusal)

    async with stack(talk) as here:
        client = await here.client()
        fields = ("Content-Type: application/grpc-web+proto", "Content-Length: 0")
        await client.send(request("POST", "/application.ApplicationService/List", *fields))

        assert await client.answer() == refusal


# Large bodies, through a process of its own


async def counts_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that answers an upload with its length."""
    length = 0
    head = await reader.readuntil(b"\r\n\r\n")
    expected = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while length < expected:
        length += len(await reader.read(256 * 1024))
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n")
    writer.write(b"%010d" % length)
    writer.close()


async def gives_200_mib(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream with `argocd-linux-amd64` to download."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 209715200\r\n\r\n")
    for _ in range(200):
        writer.write(b"x" * MIB)
        await writer.drain()
    writer.close()


async def upload(port: int, mib: int) -> int:
    """The length that the upstream has counted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("POST", "/api/v1/x", f"Content-Length: {mib * MIB}", CLOSE))
    for _ in range(mib):
        writer.write(b"x" * MIB)
        await writer.drain()
    answer = await reader.read()
    writer.close()
    return int(answer[-10:])


async def download(port: int) -> int:
    """How many bytes came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get("/download/argocd-linux-amd64", CLOSE))
    head = await reader.readuntil(b"\r\n\r\n")
    assert status(head) == 200
    length = 0
    while data := await reader.read(MIB):
        length += len(data)
    writer.close()
    return length


def loop_name() -> str:
    """The event loop that this test runs on."""
    return "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"


async def test_an_upload_of_3_mib_arrives_whole() -> None:
    async with sidecar_in_front_of(counts_a_body, loop=loop_name()) as sidecar:
        assert await upload(sidecar.port, 3) == 3 * MIB


async def test_a_download_of_200_mib_takes_no_memory() -> None:
    async with sidecar_in_front_of(gives_200_mib, loop=loop_name()) as sidecar:
        before = sidecar.resident_bytes()

        assert await download(sidecar.port) == 200 * MIB
        assert sidecar.resident_bytes("VmHWM") - before < 8 * MIB


async def test_twenty_uploads_of_20_mib_at_once_take_less_memory_than_one() -> None:
    async with sidecar_in_front_of(counts_a_body, loop=loop_name()) as sidecar:
        before = sidecar.resident_bytes()
        lengths = await asyncio.gather(*(upload(sidecar.port, 20) for _ in range(20)))

        assert lengths == [20 * MIB] * 20
        assert sidecar.resident_bytes("VmHWM") - before < 20 * MIB


async def test_a_hundred_uploads_that_the_upstream_does_not_read_yet_take_300_kib_each() -> None:
    proceed = asyncio.Event()
    sent = 0

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proceed.wait()
        await counts_a_body(reader, writer)

    async def upload_slowly(port: int) -> int:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("POST", "/api/v1/x", f"Content-Length: {10 * MIB}", CLOSE))
        for _ in range(10):
            writer.write(b"x" * MIB)
            await writer.drain()
            sent += MIB
        answer = await reader.read()
        writer.close()
        return int(answer[-10:])

    async with sidecar_in_front_of(waits, loop=loop_name()) as sidecar:
        before = sidecar.resident_bytes()
        uploads = [asyncio.ensure_future(upload_slowly(sidecar.port)) for _ in range(100)]
        await settles(lambda: sent)

        assert sent < 1000 * MIB
        assert sidecar.resident_bytes("VmHWM") - before < 100 * 300 * 1024
        proceed.set()
        assert await asyncio.gather(*uploads) == [10 * MIB] * 100
