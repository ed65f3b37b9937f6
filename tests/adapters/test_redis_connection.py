"""One connection for all that is asked: answers in their order, and an end to each wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sidecar.adapters.redis_connection import (
    AuthenticationError,
    NotSent,
    RedisConnection,
    ResponseError,
    packed,
)
from sidecar.adapters.redis_node import FAILURES, Node, error_name
from sidecar.adapters.redis_way import Access, RedisWay, always
from sidecar.core.store_address import Place
from tests.adapters.conftest import PATIENT, ValkeyServer
from tests.adapters.relay import Relay
from tests.fakes.clock import FakeClock
from tests.fakes.connections import Connections

PING = packed("PING")
HASTY_SECONDS = 0.3


def way_to(socket: str, *, seconds: float = 10) -> RedisWay:
    return RedisWay(
        socket.removeprefix("unix://"), Access(), command_seconds=seconds, connect_seconds=10
    )


@pytest.fixture
async def relay(valkey_server: ValkeyServer) -> Relay:
    return Relay(valkey_server.unix)


@pytest.fixture
async def near(valkey_server: ValkeyServer) -> AsyncIterator[RedisConnection]:
    connection, _ = await way_to(valkey_server.unix).connected()
    yield connection
    await connection.aclose()


@pytest.fixture
async def far(relay: Relay) -> AsyncIterator[RedisConnection]:
    async with relay.running() as url:
        connection, _ = await way_to(url, seconds=HASTY_SECONDS).connected()
        yield connection
        await connection.aclose()


class _Says(Connections):
    """A server that says this to everybody, once it has heard the other."""

    def __init__(self, say: bytes, wait_for: bytes) -> None:
        super().__init__()
        self._say, self._wait_for = say, wait_for

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = b""
        while self._wait_for not in heard:
            heard += await reader.read(1024) or self._wait_for
        writer.write(self._say)
        await reader.read(-1)


@asynccontextmanager
async def listening(connections: Connections) -> AsyncIterator[Callable[[], Awaitable[Place]]]:
    server = await asyncio.start_server(connections._connected, "127.0.0.1", 0)
    try:
        yield always(server.sockets[0].getsockname())
    finally:
        server.close()
        await connections.cut_all()


@asynccontextmanager
async def serving(say: bytes, *, wait_for: bytes) -> AsyncIterator[RedisWay]:
    async with listening(_Says(say, wait_for)) as where:
        yield RedisWay(where, Access(), **PATIENT)


# Answers


async def test_what_is_asked_in_one_turn_goes_out_together(
    far: RedisConnection, relay: Relay
) -> None:
    asked = [far.send(packed("ECHO", str(number))) for number in range(200)]

    answers = await asyncio.gather(*asked)

    assert answers == [[str(number).encode()] for number in range(200)]
    assert len(relay.requests_seen) == 1


async def test_a_refusal_is_an_answer_like_others(near: RedisConnection) -> None:
    before, refusal, after = await near.send(PING + packed("GET") + PING, 3)

    assert (before, after) == (b"PONG", b"PONG")
    assert isinstance(refusal, ResponseError)
    assert refusal.code == "ERR"


async def test_a_refusal_within_an_answer_stays_there(near: RedisConnection) -> None:
    commands = packed("MULTI") + packed("INCRBY", "n", "none") + packed("EXEC")

    *_, [refusal] = await near.send(commands, 3)

    assert isinstance(refusal, ResponseError)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("MOVED 12 10.0.0.1:6379", "MOVED"),
        ("READONLY You can't write", "READONLY"),
        ("NOSCRIPT", "NOSCRIPT"),
        ("ERR unknown command", "ERR"),
        ("unknown command", "ERR"),
        ("0123 what", "ERR"),
        ("", "ERR"),
    ],
)
def test_a_refusal_has_a_code(said: str, code: str) -> None:
    assert ResponseError(said).code == code
    assert error_name(ResponseError(said)) == code


@pytest.mark.parametrize("said", ["NOAUTH Authentication required.", "WRONGPASS invalid"])
def test_who_is_not_let_in_is_told_so_by_one_name(said: str) -> None:
    assert error_name(ResponseError(said)) == error_name(AuthenticationError())


async def test_who_leaves_takes_no_answer_from_others(far: RedisConnection, relay: Relay) -> None:
    relay.hold_answers()
    leaving, staying = far.send(packed("ECHO", "his")), far.send(packed("ECHO", "mine"))
    arrived = relay.arrival_of(b"mine")
    await arrived.wait()

    leaving.cancel()
    relay.let_answers_go()

    assert await staying == [b"mine"]
    assert await far.send(PING) == [b"PONG"]


# Ends


async def test_an_answer_that_is_late_ends_all_waits(far: RedisConnection, relay: Relay) -> None:
    relay.hold_answers()

    found = await asyncio.gather(*(far.send(PING) for _ in range(3)), return_exceptions=True)

    assert [type(error) for error in found] == [TimeoutError] * 3
    assert not far.is_open


async def test_each_question_has_its_own_time(far: RedisConnection, relay: Relay) -> None:
    """The alarm of one that was answered is none for those that came after it."""
    loop, answered_at = asyncio.get_running_loop(), []
    ends_at = loop.time() + 2 * HASTY_SECONDS
    while loop.time() < ends_at:
        await far.send(PING)
        answered_at.append(loop.time())
    relay.hold_answers()
    asked_at = loop.time()

    with pytest.raises(TimeoutError):
        await far.send(PING)

    assert loop.time() - asked_at >= HASTY_SECONDS


class _Slow(Connections):
    """A server that takes 0.7 s for each answer."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(0.7)
            writer.write(b"+PONG\r\n")


async def test_who_waits_for_his_turn_waits_longer_and_not_for_long() -> None:
    """The second is answered after 1.4 s, and the third would be after 2.1."""
    async with listening(_Slow()) as where:
        way = RedisWay(where, Access(), command_seconds=1.0, connect_seconds=10)
        connection, _ = await way.connected()

        found = await asyncio.gather(
            *(connection.send(PING) for _ in range(3)), return_exceptions=True
        )

    assert found[:2] == [[b"PONG"]] * 2
    assert isinstance(found[2], TimeoutError)


async def test_a_server_that_goes_ends_all_waits(far: RedisConnection, relay: Relay) -> None:
    relay.hold_answers()
    waiting = [far.send(PING) for _ in range(3)]
    await relay.arrival_of(b"PING").wait()

    await relay.cut_all()
    found = await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(error, ConnectionError) for error in found)


async def test_a_connection_that_is_closed_takes_no_question(near: RedisConnection) -> None:
    await near.aclose()

    with pytest.raises(ConnectionError):
        await near.send(PING)


async def test_what_was_not_sent_when_the_connection_closed_is_told_from_what_may_have_run(
    far: RedisConnection, relay: Relay
) -> None:
    relay.hold_answers()
    sent = far.send(PING)
    await relay.arrival_of(b"PING").wait()
    unsent = far.send(PING)

    far.abort()

    with pytest.raises(ConnectionError) as may_have_run:
        await sent
    assert not isinstance(may_have_run.value, NotSent)
    with pytest.raises(NotSent):
        await unsent
    with pytest.raises(NotSent):
        await far.send(PING)


async def test_what_was_not_sent_is_told_why(near: RedisConnection) -> None:
    why = OSError("tlsv13 alert certificate required")
    unsent = near.send(PING)

    near.abort(why)

    with pytest.raises(NotSent) as caught:
        await unsent
    assert caught.value.why is why


async def test_what_is_no_answer_breaks_the_connection(near: RedisConnection) -> None:
    waiting = near.send(PING)

    near.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with pytest.raises(ConnectionError):
        await waiting


async def test_what_nobody_asked_for_breaks_the_connection(near: RedisConnection) -> None:
    """Whose answer the next one is, nobody would know."""
    near.data_received(b"+PONG\r\n")

    assert not near.is_open


async def test_an_answer_without_an_end_breaks_the_connection(near: RedisConnection) -> None:
    waiting, sent = near.send(PING), 0

    near.data_received(b"*1000000\r\n")
    while near.is_open and sent < 100:
        near.data_received(b"$1048576\r\n" + bytes(1024 * 1024) + b"\r\n")
        sent += 1

    assert sent < 100
    with pytest.raises(ConnectionError):
        await waiting


# The greeting


@pytest.mark.parametrize("greeting", [b"-WRONGPASS no\r\n", b"-ERR invalid password\r\n"])
async def test_a_password_that_is_not_taken_has_an_error_of_its_own(greeting: bytes) -> None:
    async with serving(greeting, wait_for=b"AUTH") as plain:
        way = RedisWay(plain.where, Access(password=lambda: "hunter2"), **PATIENT)

        with pytest.raises(AuthenticationError) as refused:
            await way.connected()

    assert "hunter2" not in repr(refused.value)


def _unreadable() -> str:
    raise ValueError("not UTF-8 text")


@pytest.mark.parametrize(
    "way",
    [
        RedisWay("/nowhere", Access(), **PATIENT),
        RedisWay(always(("a" * 70, 1)), Access(), **PATIENT),
        RedisWay(always(("a..b", 1)), Access(), **PATIENT),
    ],
    ids=["no-socket", "too-long-a-name", "no-name"],
)
async def test_what_cannot_be_reached_is_an_error_of_the_connection(way: RedisWay) -> None:
    with pytest.raises(FAILURES):
        await way.connected()


async def test_a_password_that_cannot_be_read_is_an_error_of_the_connection(
    valkey_server: ValkeyServer,
) -> None:
    plain = way_to(valkey_server.unix)
    way = RedisWay(plain.where, Access(password=_unreadable), **PATIENT)

    with pytest.raises(ConnectionError):
        await way.connected()


async def test_a_connection_that_is_lost_before_the_greeting_fails_for_what_ended_it(
    valkey_server: ValkeyServer,
) -> None:
    why = OSError("tlsv13 alert certificate required")

    class Lost(RedisConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            asyncio.get_running_loop().call_soon(self.connection_lost, why)

    class Way(RedisWay):
        def _protocol(self) -> RedisConnection:
            return Lost(seconds=1)

    way = Way(valkey_server.unix.removeprefix("unix://"), Access(), **PATIENT, database=1)
    node = Node(way, FakeClock())

    for connecting in (way.connected(), node.ask("PING")):
        with pytest.raises(OSError, match="certificate required") as caught:
            await connecting
        assert caught.value is why
    assert node.failed


async def test_a_server_that_does_not_greet_back_is_left_in_time(relay: Relay) -> None:
    async with relay.running() as url:
        relay.hold_answers()
        way = RedisWay(
            url.removeprefix("unix://"),
            Access(),
            command_seconds=10,
            connect_seconds=HASTY_SECONDS,
            database=1,
        )

        with pytest.raises(TimeoutError):
            await way.connected()


# One server


@pytest.fixture
async def node(relay: Relay) -> AsyncIterator[Callable[[str], Node]]:
    made: list[Node] = []

    def make(url: str) -> Node:
        made.append(Node(way_to(url), FakeClock()))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


async def test_who_asks_while_a_connection_is_made_is_given_the_same(
    relay: Relay, node: Callable[[str], Node]
) -> None:
    async with relay.running() as url:
        asked = node(url)

        ids = await asyncio.gather(*(asked.ask("CLIENT", "ID") for _ in range(100)))

    assert len(set(ids)) == 1


async def test_who_leaves_while_a_connection_is_made_leaves_it_to_the_others(
    relay: Relay, node: Callable[[str], Node]
) -> None:
    async with relay.running() as url:
        asked = node(url)
        leaving, staying = (asyncio.create_task(asked.ask("PING")) for _ in range(2))
        await asyncio.sleep(0)

        leaving.cancel()

        assert await staying == b"PONG"


async def test_a_connection_that_broke_is_made_anew_for_the_next_question(
    relay: Relay, node: Callable[[str], Node]
) -> None:
    async with relay.running() as url:
        asked = node(url)
        first = await asked.ask("CLIENT", "ID")
        relay.cut_the_answer_to(b"PING", after=2)

        with pytest.raises(OSError, match="closed"):
            await asked.ask("PING")
        assert asked.failed

        assert await asked.ask("CLIENT", "ID") != first
        assert not asked.failed


async def test_who_asks_in_the_moment_in_which_the_server_closes_is_answered_by_another_connection(
    relay: Relay, node: Callable[[str], Node]
) -> None:
    async with relay.running() as url:
        asked = node(url)
        first = await asked.ask("CLIENT", "ID")

        asking = asyncio.create_task(asked.ask("CLIENT", "ID"))
        asyncio.get_running_loop().call_soon(asked.leave)

        assert await asking != first
        assert not asked.failed


async def test_a_server_that_wants_a_password_is_left(node: Callable[[str], Node]) -> None:
    """Somebody set one meanwhile; perhaps the next connection has read it."""
    async with serving(b"-NOAUTH Authentication required.\r\n", wait_for=PING) as way:
        asked = Node(way, FakeClock())

        with pytest.raises(ResponseError):
            await asked.ask("PING")

        assert asked.failed
        await asked.aclose()
