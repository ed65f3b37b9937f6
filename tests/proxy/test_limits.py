"""What one connection may take, in bytes and in time, and what it is told."""

import asyncio

import pytest

from sidecar.proxy.site import Limits
from tests.proxy.stack import OK, Peer, Stack, get, request, settles, stack, status
from tests.world import eventually

CLOSE = "Connection: close"


def later(here: Stack, seconds: float) -> None:
    """What the sweep does when so much time has passed."""
    now = asyncio.get_running_loop().time() + seconds
    for front in list(here.site.connections):
        front.check(now)
    here.pool.close_aged(now)


async def test_a_head_of_64_kib_passes_and_a_longer_one_is_431() -> None:
    async with stack() as here:
        room = 64 * 1024 - len(get("/x", "A: ", CLOSE))
        answer = await here.ask(get("/x", "A: " + "b" * room, CLOSE))
        longer = await here.ask(get("/x", "A: " + "b" * (room + 1), CLOSE))

    assert answer.endswith(b"ok")
    assert status(longer) == 431


async def test_an_address_without_an_end_is_414_and_endless_fields_are_431() -> None:
    async with stack() as here:
        assert status(await here.ask(b"GET /" + b"x" * 70_000)) == 414
        assert status(await here.ask(get("/x")[:-2] + b"A: " + b"x" * 70_000)) == 431
        assert here.metric("refused_requests_total", status="414") == 1


async def test_256_fields_pass_and_one_more_is_431() -> None:
    async with stack() as here:
        fields = [f"A{i}: b" for i in range(255)]
        passed = await here.ask(get("/x", *fields[:-1], CLOSE))
        refused = await here.ask(get("/x", *fields, CLOSE))

    assert status(passed) == 200
    assert status(refused) == 431


async def test_how_many_fields_there_may_be_can_be_set() -> None:
    async with stack(limits=Limits(fields=3)) as here:
        passed = await here.ask(get("/x", "A: b", CLOSE))
        refused = await here.ask(get("/x", "A: b", "C: d", CLOSE))

    assert status(passed) == 200
    assert status(refused) == 431


@pytest.mark.parametrize(
    "body",
    [
        ("Content-Length: 11", b"hello, worl"),
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\n6\r\n, worl\r\n0\r\n\r\n"),
    ],
)
async def test_a_body_longer_than_the_limit_is_413(body: tuple[str, bytes]) -> None:
    async with stack(limits=Limits(body_bytes=10)) as here:
        answer = await here.ask(request("POST", "/x", body[0], body=body[1]))

    assert status(answer) == 413
    assert b"worl" not in here.upstream.got


async def test_one_connection_too_many_is_503_and_its_place_comes_back() -> None:
    async with stack(limits=Limits(connections=1)) as here:
        first = await here.client()
        await first.send(get("/x"))
        assert await first.answer() == OK
        answer = await here.ask()
        first.close()
        await eventually(lambda: here.port.connections == 0)
        after = await here.ask(get("/x", CLOSE))

    assert status(answer) == 503
    assert b"Retry-After" in answer
    assert status(after) == 200


async def test_a_head_that_does_not_come_in_time_is_408() -> None:
    async with stack() as here:
        client = await here.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: ")
        await eventually(lambda: any(front._buffer for front in here.site.connections))
        later(here, 10)
        await client.send(b"a")
        later(here, 16)

        assert status(await client.rest()) == 408


async def test_a_body_that_does_not_come_is_408_and_its_request_ends_upstream() -> None:
    async def talk(peer: Peer) -> None:
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(request("POST", "/x", "Content-Length: 10", body=b"hello"))
        await eventually(lambda: here.pool.open == 1)
        later(here, 61)

        assert status(await client.rest()) == 408
        await eventually(lambda: here.pool.open == 0)


async def test_an_upstream_may_take_as_long_as_it_likes() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await proceed.wait()
        await peer.send(OK)

    proceed = asyncio.Event()
    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/slow"))
        await eventually(lambda: b"/slow" in here.upstream.got)
        later(here, 3600)
        proceed.set()

        assert await client.answer() == OK


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with stack() as here:
        used, unused = await here.client(), await here.client()
        await used.send(get("/x"))
        assert await used.answer() == OK
        await eventually(lambda: here.port.connections == 2)
        later(here, 119)
        assert here.port.connections == 2
        later(here, 121)

        assert await used.closed()
        assert await unused.closed()


async def test_a_browser_that_reads_nothing_for_long_is_let_go() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            await peer.send(b"x" * 100_000)

    async with stack(talk) as here:
        client = await here.client(limit=1024)
        await client.send(get("/big"))
        await eventually(lambda: any(front._slow_since for front in here.site.connections))
        later(here, 121)

        await eventually(lambda: here.pool.open == 0 and here.port.connections == 0)


async def test_after_a_refusal_the_rest_of_the_body_is_read_so_that_the_answer_arrives() -> None:
    async with stack() as here:
        client = await here.client()
        await client.send(request("POST", "/x", "Content-Length: 5, 5"))
        for _ in range(100):
            await client.send(b"x" * 10_000)

        assert status(await client.rest()) == 400


async def test_a_connection_that_does_not_close_after_its_last_answer_is_cut_off() -> None:
    async with stack() as here:
        client = await here.client()
        await client.send(get("/x", CLOSE))
        await client.rest()
        assert here.port.connections == 1
        later(here, 3)

        await eventually(lambda: here.port.connections == 0)


async def test_nor_does_a_browser_that_never_stops_sending_keep_its_connection() -> None:
    async with stack() as here:
        client = await here.client()
        await client.send(request("POST", "/x", "Content-Length: 5, 5"))
        await client.rest()
        front = next(iter(here.site.connections))
        front._head_since -= 31
        later(here, 0)

        await eventually(lambda: here.port.connections == 0)


# Back-pressure


async def test_a_slow_reader_holds_the_upstream_back() -> None:
    sent = 0

    async def talk(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        for _ in range(2000):
            peer.writer.write(b"x" * 100_000)
            await peer.writer.drain()
            sent += 100_000

    async with stack(talk) as here:
        client = await here.client(limit=1024)
        await client.send(get("/big"))
        await settles(lambda: sent)

        assert sent < 30_000_000  # what the kernel's buffers take
        front = next(iter(here.site.connections))
        assert front.transport.get_write_buffer_size() < 1_000_000

        async with asyncio.timeout(20):
            await client.reader.readuntil(b"\r\n\r\n")
            left = 200_000_000
            while left:
                left -= len(await client.reader.read(1 << 20))


async def test_the_next_request_waits_until_a_slow_reader_has_read_the_last_answer() -> None:
    async def talk(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)

    async with stack(talk) as here:
        client = await here.client(limit=1024)
        client.writer.write(get("/x") * 200)
        await settles(lambda: len(here.upstream.got))

        front = next(iter(here.site.connections))
        assert front.transport.get_write_buffer_size() < 1_000_000


async def test_a_slow_upstream_holds_the_browser_back() -> None:
    proceed = asyncio.Event()
    got = 0

    async def talk(peer: Peer) -> None:
        nonlocal got
        await peer.until(b"\r\n\r\n")
        await proceed.wait()
        while got < 100_000_000:
            got += len(await peer.reader.read(1 << 20))
        await peer.send(OK)

    async with stack(talk) as here:
        client = await here.client()
        await client.send(request("POST", "/x", "Content-Length: 100000000"))
        sent = 0

        async def upload() -> None:
            nonlocal sent
            for _ in range(1000):
                client.writer.write(b"x" * 100_000)
                await client.writer.drain()
                sent += 100_000

        uploading = asyncio.ensure_future(upload())
        await settles(lambda: sent)
        assert sent < 30_000_000
        proceed.set()
        await uploading
        async with asyncio.timeout(20):
            assert await client.answer() == OK


async def test_a_body_waits_outside_while_there_is_no_connection_for_it() -> None:
    async with stack() as here:
        del here.renewing.at_hand[here.key]
        here.renewing.gate.clear()
        client = await here.client()
        head = request("POST", "/x", f"Cookie: {here.cookie}", "Content-Length: 30000000")
        client.writer.write(head)
        sent = 0

        async def upload() -> None:
            nonlocal sent
            for _ in range(300):
                client.writer.write(b"x" * 100_000)
                await client.writer.drain()
                sent += 100_000

        uploading = asyncio.ensure_future(upload())
        await settles(lambda: sent)
        assert sent < 20_000_000
        here.renewing.gate.set()
        await uploading
        async with asyncio.timeout(20):
            assert await client.answer() == OK


async def test_pipelined_requests_wait_outside_while_one_is_answered() -> None:
    proceed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await proceed.wait()
        await peer.send(OK)
        while True:
            await peer.request()
            await peer.send(OK)

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/first"))
        client.writer.write(get("/x", "A: " + "b" * 10_000) * 50)
        await eventually(lambda: any(front._full for front in here.site.connections))
        front = next(iter(here.site.connections))
        assert len(front._buffer) < 400_000
        proceed.set()

        assert await client.exactly(51 * len(OK)) == OK * 51


SWITCH = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
WEBSOCKET = ("Upgrade: websocket", "Connection: Upgrade")


async def test_in_a_tunnel_a_slow_browser_holds_the_upstream_back() -> None:
    sent = 0

    async def talk(peer: Peer) -> None:
        nonlocal sent
        await peer.until(b"\r\n\r\n")
        await peer.send(SWITCH)
        while sent < 100_000_000:
            peer.writer.write(b"x" * 100_000)
            await peer.writer.drain()
            sent += 100_000

    async with stack(talk) as here:
        client = await here.client(limit=1024)
        await client.send(get("/terminal", *WEBSOCKET))
        await settles(lambda: sent)
        assert sent < 30_000_000

        async with asyncio.timeout(20):
            await client.reader.readuntil(b"\r\n\r\n")
            left = 100_000_000
            while left:
                left -= len(await client.reader.read(1 << 20))


async def test_in_a_tunnel_a_slow_upstream_holds_the_browser_back() -> None:
    proceed = asyncio.Event()
    got = sent = 0

    async def talk(peer: Peer) -> None:
        nonlocal got
        await peer.until(b"\r\n\r\n")
        await peer.send(SWITCH)
        await proceed.wait()
        while got < 100_000_000:
            got += len(await peer.reader.read(1 << 20))
        await peer.send(b"all")

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/terminal", *WEBSOCKET))
        await client.until(b"\r\n\r\n")

        async def upload() -> None:
            nonlocal sent
            for _ in range(1000):
                client.writer.write(b"x" * 100_000)
                await client.writer.drain()
                sent += 100_000

        uploading = asyncio.ensure_future(upload())
        await settles(lambda: sent)
        assert sent < 30_000_000
        proceed.set()
        await uploading
        async with asyncio.timeout(20):
            assert await client.exactly(3) == b"all"
