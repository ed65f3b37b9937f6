"""Where there are as many connections as there may be, those that ask for nothing give way."""

import asyncio

from sidecar.proxy.room import SPARED_SECONDS, make_room
from sidecar.proxy.site import Limits
from tests.proxy.stack import OK, Peer, Stack, get, request, stack, status
from tests.world import eventually


def room(here: Stack, *, later: float = 10 * SPARED_SECONDS) -> bool:
    return make_room(here.site, asyncio.get_running_loop().time() + later)


async def idle(here: Stack) -> Peer:
    """A connection that has had an answer, and waits for the next request."""
    client = await here.client()
    await client.send(get("/x"))
    assert await client.answer() == OK
    return client


async def works(client: Peer) -> bool:
    await client.send(get("/x"))
    return await client.answer() == OK


async def test_who_has_waited_the_longest_without_a_request_gives_way() -> None:
    async with stack(limits=Limits(connections=2)) as here:
        first = await idle(here)
        loop = asyncio.get_running_loop()
        answered_at = loop.time()
        await eventually(lambda: loop.time() > answered_at)
        second = await idle(here)

        assert room(here)
        assert await first.closed()

        assert await works(second)
        third = await idle(here)
        assert await works(third)


async def test_a_head_that_comes_a_byte_at_a_time_gives_way() -> None:
    async with stack(limits=Limits(connections=1)) as here:
        slow = await here.client()
        await slow.send(b"GET / HTTP/1.1\r\nHost: ")
        await eventually(lambda: any(front._buffer for front in here.site.connections))

        assert room(here)
        assert await slow.closed()


async def test_a_body_that_does_not_come_gives_way_with_408() -> None:
    async def talk(peer: Peer) -> None:
        await peer.until(b"hello")
        await peer.rest()

    async with stack(talk, limits=Limits(connections=1)) as here:
        slow = await here.client()
        await slow.send(request("POST", "/x", "Content-Length: 10", body=b"hello"))
        await eventually(lambda: b"hello" in here.upstream.got)

        assert room(here)
        assert status(await slow.rest()) == 408


async def test_who_has_connected_or_been_answered_lately_is_spared() -> None:
    async with stack(limits=Limits(connections=1)) as here:
        client = await idle(here)

        assert not room(here, later=SPARED_SECONDS / 2)
        assert await works(client)


async def test_a_request_that_is_under_way_gives_way_to_nobody() -> None:
    gate = asyncio.Event()

    async def held(upstream: Peer) -> None:
        await upstream.request()
        await gate.wait()
        await upstream.send(OK)

    async with stack(held, limits=Limits(connections=1)) as here:
        client = await here.client()
        await client.send(get("/x"))
        await eventually(lambda: any(front._middle for front in here.site.connections))

        assert not room(here)
        gate.set()
        assert await client.answer() == OK


async def test_a_fiftieth_gives_way_at_once_and_makes_room_for_as_many() -> None:
    async with stack(limits=Limits(connections=100)) as here:
        clients = [await idle(here) for _ in range(100)]

        assert [room(here) for _ in range(3)] == [True, True, True]

        assert len(here.site.leaving) == 2
        await eventually(lambda: not here.site.leaving)
        assert len(here.site.connections) == 98
        assert await works(clients[-1])
