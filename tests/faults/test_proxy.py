"""Each fault does to connections what it says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.faults.plan import Fault, Kind, Timed, Way
from tests.faults.proxy import FaultProxy

ANSWER = b"x" * 100
BOTH = pytest.mark.parametrize("way", list(Way))
SECONDS = 0.2


@dataclass
class Server:
    """Answers each line with `ANSWER`, and keeps what it was asked, and by which ports."""

    port: int = 0
    heard: bytes = b""
    peers: tuple[int, ...] = ()
    ended: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers += (writer.get_extra_info("peername")[1],)
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    self.heard += data
                    writer.write(ANSWER * data.count(b"\n"))
                    await writer.drain()
        finally:
            self.ended += 1
            writer.close()


@dataclass
class Link:
    """A server, the proxy in front of it, and clients of that."""

    server: Server
    proxy: FaultProxy

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.proxy.port)

    async def asked(self, line: bytes = b"question\n", size: int = len(ANSWER)) -> bytes:
        """What comes of one line on a connection of its own, until it is whole or there is no more.

        Raises:
            ConnectionResetError: the connection was reset.
        """
        reader, writer = await self.client()
        try:
            writer.write(line)
            found = b""
            while len(found) < size and (data := await reader.read(size)):
                found += data
            return found
        finally:
            writer.close()


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    server = Server()
    async with server.running():
        proxy = FaultProxy(f"127.0.0.1:{server.port}", seed=1)
        async with proxy.running():
            yield Link(server, proxy)


async def test_without_a_fault_all_passes_both_ways(link: Link) -> None:
    assert await link.asked() == ANSWER
    assert link.server.heard == b"question\n"
    assert not link.proxy.losses


@BOTH
async def test_a_delay_holds_one_way_back(link: Link, way: Way) -> None:
    link.proxy.begin(Fault(kind=Kind.DELAY, way=way, seconds=SECONDS))
    began_at = time.monotonic()

    assert await link.asked() == ANSWER

    assert time.monotonic() - began_at >= SECONDS


async def test_a_cut_ends_an_answer_in_order_after_so_many_bytes(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.CUT, after_bytes=30))

    assert await link.asked() == ANSWER[:30]


async def test_a_cut_request_reaches_the_server_in_part_and_is_not_answered(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.CUT, way=Way.REQUESTS, after_bytes=4))

    assert await link.asked() == b""
    await until(lambda: link.server.ended == 1)
    assert link.server.heard == b"ques"


async def test_a_cut_counts_from_when_it_began_also_where_a_connection_is_older(link: Link) -> None:
    reader, writer = await link.client()
    writer.write(b"before\n")
    assert await reader.readexactly(len(ANSWER)) == ANSWER
    link.proxy.begin(Fault(kind=Kind.CUT, after_bytes=150))

    writer.write(b"first\n")
    assert await reader.readexactly(len(ANSWER)) == ANSWER
    writer.write(b"second\n")

    assert await reader.read() == ANSWER[:50]
    writer.close()


@BOTH
async def test_a_reset_is_told_to_both_sides(link: Link, way: Way) -> None:
    link.proxy.begin(Fault(kind=Kind.RESET, way=way))

    with pytest.raises(ConnectionResetError):
        await link.asked()
    await until(lambda: link.server.ended == 1)


async def test_a_half_open_link_takes_connections_and_leaves_the_old_ones_alone(link: Link) -> None:
    reader, writer = await link.client()
    writer.write(b"known\n")
    await reader.readexactly(len(ANSWER))
    link.proxy.begin(Fault(kind=Kind.HALF_OPEN))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await link.asked()
    writer.write(b"still\n")

    assert await reader.readexactly(len(ANSWER)) == ANSWER
    assert link.server.heard == b"known\nstill\n"
    writer.close()


async def test_who_waits_at_a_half_open_link_is_reset_when_it_is_over(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.HALF_OPEN))
    waiting = asyncio.ensure_future(link.asked())
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), SECONDS)

    link.proxy.end()

    with pytest.raises(ConnectionResetError):
        await waiting
    assert await link.asked() == ANSWER


async def test_a_silent_request_does_not_arrive_and_nobody_is_told(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.SILENT, way=Way.REQUESTS))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await link.asked()
    assert link.server.heard == b""


async def test_a_silent_answer_was_given_and_does_not_arrive(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.SILENT, after_bytes=10))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await link.asked()
    assert link.server.heard == b"question\n"


async def test_what_was_silent_is_reset_when_it_is_over_since_its_bytes_are_gone(
    link: Link,
) -> None:
    link.proxy.begin(Fault(kind=Kind.SILENT, after_bytes=10))
    reader, writer = await link.client()
    writer.write(b"question\n")
    assert await reader.readexactly(10) == ANSWER[:10]

    link.proxy.end()

    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_an_answer_drips(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.DRIP, bytes_per_second=400))
    began_at = time.monotonic()

    assert await link.asked() == ANSWER

    assert time.monotonic() - began_at >= 0.25  # 40 bytes every tenth of a second


async def test_reordered_answers_come_in_another_order_and_each_is_whole(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.REORDER, seconds=0.5))
    order: list[int] = []

    async def ask(number: int) -> None:
        assert await link.asked() == ANSWER
        order.append(number)

    await asyncio.gather(*(ask(number) for number in range(12)))

    assert sorted(order) == list(range(12))
    assert order != list(range(12))


async def test_a_fault_befalls_its_share_of_the_connections(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.CUT, share=0.5))

    found = await asyncio.gather(*(link.asked() for _ in range(40)))

    assert set(found) == {b"", ANSWER}
    assert 8 <= found.count(b"") <= 32


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.RESET])
async def test_a_lost_answer_is_kept_with_the_ports_that_both_sides_saw(
    link: Link, kind: Kind
) -> None:
    assert await link.asked() == ANSWER
    link.proxy.begin(Fault(kind=kind, after_bytes=99))

    reader, writer = await link.client()
    own_port = writer.get_extra_info("sockname")[1]
    writer.write(b"question\n")
    with suppress(ConnectionResetError):
        await reader.read()
    writer.close()

    await until(lambda: len(link.proxy.losses) == 1)
    [loss] = link.proxy.losses
    assert (loss.client_port, loss.server_port) == (own_port, link.server.peers[-1])
    assert loss.fault.kind is kind


async def test_an_answer_that_got_through_was_not_lost_whatever_befell_it(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.DELAY, seconds=0.01))
    assert await link.asked() == ANSWER
    link.proxy.begin(Fault(kind=Kind.CUT, after_bytes=len(ANSWER)))
    assert await link.asked() == ANSWER

    await until(lambda: not link.proxy.wires)
    assert not link.proxy.losses


async def test_an_answer_for_which_its_client_did_not_wait_is_lost(link: Link) -> None:
    link.proxy.begin(Fault(kind=Kind.DELAY, seconds=30))
    with suppress(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await link.asked()

    await until(lambda: len(link.proxy.losses) == 1)


async def test_a_client_that_left_by_itself_has_lost_nothing(link: Link) -> None:
    _, writer = await link.client()
    writer.close()

    await until(lambda: not link.proxy.wires and len(link.server.peers) == 1)
    assert not link.proxy.losses


async def test_ports_are_told_while_a_connection_is_open(link: Link) -> None:
    reader, writer = await link.client()
    writer.write(b"question\n")
    await reader.readexactly(len(ANSWER))

    seen = link.proxy.server_ports([writer.get_extra_info("sockname")[1], 1])

    assert seen == {link.server.peers[-1]}
    writer.close()


async def test_a_plan_is_followed_from_now_on_and_ends_well(link: Link) -> None:
    cut = Fault(kind=Kind.CUT)
    following = asyncio.ensure_future(link.proxy.follow([Timed(at=0.0, until=SECONDS, fault=cut)]))
    await until(lambda: link.proxy.fault == cut)
    assert await link.asked() == b""

    await following

    assert await link.asked() == ANSWER


async def until(there: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(5):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
