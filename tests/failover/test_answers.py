"""What servers say that cannot do what they are asked, or say only a part of: never a miss."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sidecar.adapters.redis_store import RedisStore
from sidecar.core.session import SessionKey
from sidecar.demo.valkey import valkey
from sidecar.errors import StoreUnavailable
from sidecar.ports import SaveResult
from tests.adapters.conftest import PATIENT
from tests.adapters.records import LAPTOP, USER, attach, save, version_of, write
from tests.adapters.relay import Relay
from tests.failover.servers import HOST, Server, Servers, servers, valkey_program
from tests.fakes.clock import FakeClock
from tests.world import free_port

MISS = None


@pytest.fixture
async def made() -> AsyncIterator[Servers]:
    async with servers() as here:
        yield here


@pytest.fixture
async def server(made: Servers) -> Server:
    return await made.new(valkey_program(), enable_debug_command="yes")


@pytest.fixture
async def store(server: Server, clock: FakeClock) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url, prefix="p:", clock=clock, **PATIENT)
    yield store
    await store.aclose()


async def until_found(store: RedisStore) -> None:
    """Until the session is there again; an error may come before, a miss never."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):
                assert await store.load(LAPTOP) is not MISS
                return
            await asyncio.sleep(0.01)


# A server that refuses


async def test_a_primary_that_became_a_replica_is_left_for_where_the_address_leads_now(
    made: Servers, server: Server, clock: FakeClock
) -> None:
    """As behind a Service: connections that are open stay where they are."""
    other = await made.new(valkey_program(), unixsocket=str(made.folder / "other"))
    port = free_port()
    options = ("--port", str(port), "--bind", HOST, "--repl-diskless-sync-delay", "0")
    async with valkey(*options) as first:
        relay = Relay(first)
        async with relay.running() as url:
            store = RedisStore(url, prefix="p:", clock=clock, **PATIENT)
            await attach(store, LAPTOP)
            before = store.interrupted_at
            clock.advance(5.0)
            await other.told("REPLICAOF", HOST, port)
            await _until_linked(other)
            await other.told("REPLICAOF", "NO", "ONE")
            relay.lead_to(str(made.folder / "other"))
            old = Server(server.program, made.folder, {}, port=port)
            await old.told("REPLICAOF", HOST, other.port)

            with pytest.raises(StoreUnavailable, match="READONLY"):
                await save(store, 2)

            assert await save(store, 2) is SaveResult.SAVED
            assert store.interrupted_at > before
            await store.aclose()


async def _until_linked(server: Server) -> None:
    async with asyncio.timeout(20):
        while True:
            said = await server.told("INFO", "replication")
            if said["master_link_status"] == "up":
                return
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Refusal:
    """Why a server takes no writes, and how it comes to that."""

    error: str
    commands: tuple[tuple[Any, ...], ...]


REFUSALS = {
    "full": Refusal("OOM", (("CONFIG", "SET", "maxmemory", "1"),)),
    "without-replicas": Refusal("NOREPLICAS", (("CONFIG", "SET", "min-replicas-to-write", "1"),)),
    "read-only": Refusal("READONLY", (("REPLICAOF", HOST, "1"),)),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_server_that_takes_no_writes_is_an_error_for_these_and_read_all_the_same(
    server: Server, store: RedisStore, refusal: Refusal
) -> None:
    await attach(store, LAPTOP)
    for command in refusal.commands:
        await server.told(*command)

    with pytest.raises(StoreUnavailable, match=refusal.error):
        await save(store, 2)
    with pytest.raises(StoreUnavailable, match=refusal.error):
        await store.take_lease(USER, "grant", "owner", seconds=9)

    assert await version_of(store) == 1


async def test_a_server_that_is_still_loading_its_data_is_an_error_until_it_has(
    server: Server, store: RedisStore
) -> None:
    await attach(store, LAPTOP)
    await server.told("CONFIG", "SET", "rdbcompression", "no")
    await server.told("DEBUG", "POPULATE", 300, "key", 2048)
    await server.told("SAVE")
    await server.kill()
    await server.launch(key_load_delay="3000", loading_process_events_interval_bytes="1024")
    await _until_it_says(server, "LOADING")

    with pytest.raises(StoreUnavailable, match="LOADING"):
        await store.load(LAPTOP)
    await until_found(store)

    assert await version_of(store) == 1


async def test_a_server_that_is_busy_with_a_script_is_an_error_until_that_ends(
    server: Server, store: RedisStore
) -> None:
    await attach(store, LAPTOP)
    await server.told("CONFIG", "SET", "busy-reply-threshold", 20)
    busy = asyncio.ensure_future(server.told("EVAL", "while true do end", 0))
    await _until_it_says(server, "BUSY")

    with pytest.raises(StoreUnavailable, match="BUSY"):
        await store.load(LAPTOP)
    with pytest.raises(StoreUnavailable, match="BUSY"):
        await save(store, 2)
    await server.told("SCRIPT", "KILL")
    with suppress(RedisError):
        await busy

    assert await version_of(store) == 1
    assert await save(store, 2) is SaveResult.SAVED


async def _until_it_says(server: Server, word: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await server.told("GET", "anything")
            except RedisError as error:
                if word.lower() in f"{type(error).__name__} {error}".lower():
                    return
            await asyncio.sleep(0.005)


# A connection that is cut in the middle of an answer


@pytest.fixture
async def far(clock: FakeClock) -> AsyncIterator[tuple[RedisStore, Relay]]:
    """A store behind a relay, which knows the scripts."""
    async with valkey() as url:
        relay = Relay(url)
        async with relay.running() as near:
            store = RedisStore(near, prefix="p:", clock=clock, **PATIENT)
            await attach(store, SessionKey("stranger", "1a"))
            await store.save_grant("stranger", "grant", await write(store, 2))
            await store.load(SessionKey("stranger", "1a"))
            yield store, relay
            await store.aclose()


async def _length_of_answer(call: Callable[[], Awaitable[object]], relay: Relay) -> int:
    relay.answers_seen.clear()
    await call()
    return len(b"".join(relay.answers_seen))


async def test_a_load_whose_answer_is_cut_at_any_byte_is_an_error_and_no_other_session(
    far: tuple[RedisStore, Relay],
) -> None:
    store, relay = far
    await attach(store, LAPTOP)
    expected = await store.load(LAPTOP)
    length = await _length_of_answer(lambda: store.load(LAPTOP), relay)

    for after in range(length):
        relay.cut_the_answer_to(b"EVALSHA", after=after)
        with pytest.raises(StoreUnavailable):
            await store.load(LAPTOP)
        assert await store.load(LAPTOP) == expected

    assert length > 100


async def test_a_renewal_whose_answer_is_cut_at_any_byte_was_saved_once_and_counts_when_repeated(
    far: tuple[RedisStore, Relay],
) -> None:
    store, relay = far
    await attach(store, LAPTOP)
    version, after, length = 2, 0, 1
    while after < length:
        renewed = await write(store, version)
        relay.answers_seen.clear()
        relay.cut_the_answer_to(b"EVALSHA", after=after)
        with pytest.raises(StoreUnavailable):
            await store.save_grant(USER, "grant", renewed)
        length = len(relay.answers_seen[-1])

        assert await version_of(store) == version
        assert await store.save_grant(USER, "grant", renewed) is SaveResult.SAVED
        assert await version_of(store) == version
        version, after = version + 1, after + 1

    assert length > 20


async def test_a_lease_whose_answer_is_cut_at_any_byte_is_had_by_nobody_else(
    far: tuple[RedisStore, Relay],
) -> None:
    store, relay = far

    for after in range(len(b"+OK\r\n")):
        grant = f"grant{after}"
        relay.cut_the_answer_to(b"SET", after=after)
        with pytest.raises(StoreUnavailable):
            await store.take_lease(USER, grant, "owner", seconds=60)

        assert not await store.take_lease(USER, grant, "another", seconds=60)
        await store.release_lease(USER, grant, "owner")
        assert await store.take_lease(USER, grant, "another", seconds=60)


async def test_a_greeting_that_is_cut_at_any_byte_is_an_error_and_the_next_is_whole(
    clock: FakeClock,
) -> None:
    async with valkey() as url:
        async with Redis.from_url(url) as operator:
            await operator.config_set("requirepass", "right")
        relay = Relay(url)
        async with relay.running() as near:
            store = RedisStore(
                near.replace("unix://", "unix://:right@"), prefix="p:", clock=clock, **PATIENT
            )
            for after in range(len(b"+OK\r\n")):
                await relay.cut_all()
                relay.cut_the_answer_to(b"AUTH", after=after)
                with pytest.raises(StoreUnavailable):
                    await store.load(LAPTOP)

                assert await store.load(LAPTOP) is MISS
            await store.aclose()


async def test_who_leaves_in_the_middle_of_a_greeting_leaves_half_of_it_to_nobody(
    clock: FakeClock,
) -> None:
    async with valkey() as url:
        async with Redis.from_url(url) as operator:
            await operator.config_set("requirepass", "right")
        relay = Relay(url)
        async with relay.running() as near:
            store = RedisStore(
                near.replace("unix://", "unix://:right@"), prefix="p:", clock=clock, **PATIENT
            )
            relay.hold_answers()
            arrived = relay.arrival_of(b"AUTH")
            leaving = asyncio.ensure_future(store.take_lease(USER, "grant", "owner", seconds=60))
            await arrived.wait()
            leaving.cancel()
            await asyncio.wait([leaving])
            taking = asyncio.ensure_future(store.take_lease(USER, "grant", "owner", seconds=60))
            await asyncio.sleep(0)
            relay.let_answers_go()

            assert await taking
            await store.aclose()
