"""What the data path tells whoever watches it."""

import asyncio
import time
from dataclasses import replace

from sidecar.proxy.port import PublicPort
from tests.proxy.stack import OK, Peer, answers_ok, get, stack
from tests.world import eventually

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"


async def by_kind(peer: Peer) -> None:
    asked = await peer.request()
    if b"Upgrade: websocket" in asked:
        await peer.send(SWITCH)
    elif b"text/event-stream" in asked:
        await peer.send(EVENTS)
    elif b"/waits" not in asked:
        await peer.send(OK)
        return await by_kind(peer)
    await peer.rest()


async def test_connections_are_told_by_what_they_are_at() -> None:
    async with stack(by_kind) as served:
        stream, terminal, waits, idle = [await served.client() for _ in range(4)]
        await stream.send(get("/api/v1/stream/applications", "Accept: text/event-stream"))
        await stream.until(b"data: 1\n\n")
        websocket = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        await terminal.send(get("/terminal", *websocket, "Sec-WebSocket-Key: AAAA"))
        await terminal.until(b"\r\n\r\n")
        await idle.send(get())
        await idle.answer()
        await waits.send(get("/waits"))
        await eventually(lambda: served.metric("connections", at="request") == 1)

        for at in ("stream", "tunnel", "request", "idle"):
            assert served.metric("connections", at=at) == 1, at
        # The idle one's has gone to the request that waits.
        assert served.metric("upstream_connections", state="in_use") == 3
        assert served.metric("upstream_connections", state="idle") == 0


async def test_known_sessions_and_people_are_told() -> None:
    async with stack() as served:
        await served.another_session("head.of.another")

        assert served.metric("known", what="sessions") == 2
        assert served.metric("known", what="people") == 1


async def test_of_a_timed_request_only_what_it_waits_for_here_counts() -> None:
    at = 100.0

    async def slow(peer: Peer) -> None:
        nonlocal at
        await peer.request()
        at += 7  # the upstream's own time
        await peer.send(OK)

    async with stack(slow) as served:
        served.port.tell(lambda: at)
        served.renewing.gate.clear()
        served.renewing.at_hand.clear()
        served.port.sweep(time.monotonic())
        client = await served.client()
        await client.send(get("/x", f"Cookie: {served.cookie}"))
        await eventually(lambda: bool(served.renewing.asked))
        at += 3  # a renewal
        served.renewing.gate.set()
        await client.answer()

        assert served.metric("added_seconds_count") == 1
        assert served.metric("added_seconds_sum") == 3


async def test_one_request_is_timed_for_each_sweep() -> None:
    async with stack(answers_ok) as served:
        client = await served.client()
        for _ in range(2):
            served.port.sweep(asyncio.get_running_loop().time())
            for _ in range(5):
                await client.send(get())
                await client.answer()

        # The port sweeps by itself, too.
        assert 2 <= served.metric("added_seconds_count") < 10


async def test_another_port_that_is_not_told_of_changes_no_figure() -> None:
    async with stack(answers_ok) as served:
        site = replace(served.site, connections=set(), empty=asyncio.Event())
        another = PublicPort(site)
        host, port = await another.start("127.0.0.1", 0)
        another.sweep(time.monotonic())
        peer = Peer(*await asyncio.open_connection(host, port))
        await peer.send(get())
        await peer.answer()

        connected = another.connections
        peer.close()
        await another.aclose(seconds=0.2)

        assert connected == 1
        assert served.metric("connections", at="idle") == 0
        assert served.metric("added_seconds_count") == 0
