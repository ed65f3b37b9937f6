"""A store that is a real Cluster: what spans users, what moves, and what dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
from redis.crc import key_slot

from sidecar.adapters.redis_store import RedisStore
from sidecar.app import SystemClock
from sidecar.core.session import SessionKey
from sidecar.core.store_acl import CLUSTER, COMMANDS, SERVING, acl_line
from sidecar.errors import StoreUnavailable
from sidecar.ports import RecordKind, RecordName, SaveResult
from tests.adapters.conftest import PATIENT
from tests.adapters.records import attach, write
from tests.failover.cluster import RealCluster, cluster
from tests.failover.servers import Server, valkey_program
from tests.fakes.clock import FakeClock

USERS = [f"user{number}" for number in range(24)]
MOVERS = [f"mover{number}" for number in range(3)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def here() -> AsyncIterator[RealCluster]:
    async with cluster(valkey_program(), replicas=0) as made:
        yield made


@pytest.fixture
async def store(here: RealCluster, clock: FakeClock) -> AsyncIterator[RedisStore]:
    """As the user that the documents have."""
    line = acl_line("sidecar", "p:", commands=f"{SERVING} {COMMANDS} {CLUSTER}")
    for server in here.primaries:
        await server.told("FLUSHALL")
        await server.told(*line.split(), ">secret")
    url = here.url.replace("://", "://sidecar:secret@")
    store = RedisStore(url, prefix="p:", clock=clock, **PATIENT)
    yield store
    await store.aclose()


def session_of(user: str) -> SessionKey:
    return SessionKey(user, "1a")


async def test_users_are_everywhere_and_one_question_is_about_all(
    here: RealCluster, store: RedisStore
) -> None:
    for user in USERS:
        await attach(store, session_of(user))
    known = [
        name
        for user in USERS
        for name in (
            (RecordName(RecordKind.SESSION, user, "1a"), "another"),
            (RecordName(RecordKind.GRANT, user, "grant"), "another"),
        )
    ]

    changed = await store.changed(known)
    loaded = await asyncio.gather(*(store.load(session_of(user)) for user in USERS))

    assert set(changed) == {name for name, _ in known}
    assert all(loaded)
    assert await store.changed([]) == {}
    assert all([await server.told("DBSIZE") for server in here.primaries])


async def test_a_scan_goes_through_all_servers(store: RedisStore) -> None:
    for user in USERS:
        await attach(store, session_of(user))

    cursor, names = await store.scan(RecordKind.SESSION)
    while cursor:
        cursor, more = await store.scan(RecordKind.SESSION, cursor)
        names += more

    assert {name.user_tag for name in names} == set(USERS)


async def test_a_slot_that_has_moved_is_followed_and_nothing_runs_twice(
    here: RealCluster, store: RedisStore
) -> None:
    user = MOVERS[0]
    await attach(store, session_of(user))
    key = f"p:{{{user}}}:index"
    source = here.owner_of(key)
    target = next(server for server in here.primaries if server is not source)
    await here.move(_slot(key), source, target)
    before = await _writes(target)

    saved = await store.save_grant(user, "grant", await write(store, 2))
    found = await store.load(session_of(user))

    assert saved is SaveResult.SAVED
    assert await _writes(target) == before + 1
    assert found
    assert found.grant
    assert found.grant.version == 2


async def test_what_a_server_did_not_answer_is_not_sent_again(
    here: RealCluster, store: RedisStore, clock: FakeClock
) -> None:
    user = USERS[0]
    await attach(store, session_of(user))
    hasty = RedisStore(here.url, prefix="p:", clock=clock, command_seconds=0.5)
    await _until_loaded(hasty, user)
    server = here.owner_of(f"p:{{{user}}}:index")
    renewed = await write(store, 2)
    before = await _calls(server)

    server.stop()
    with pytest.raises(StoreUnavailable):
        await hasty.save_grant(user, "grant", renewed)
    server.go_on()
    await here.until_served()
    async with asyncio.timeout(10):
        while await _calls(server) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert await _calls(server) == before + 1
    assert await store.save_grant(user, "grant", renewed) is SaveResult.SAVED
    await hasty.aclose()


async def test_a_scan_over_servers_that_are_others_now_is_refused(
    here: RealCluster, store: RedisStore
) -> None:
    cursor, _ = await store.scan(RecordKind.SESSION)

    with pytest.raises(StoreUnavailable, match="others now"):
        await store.scan(RecordKind.SESSION, f"0123456789abcdef/{cursor.partition('/')[2]}")


async def test_a_slot_that_is_on_its_way_is_asked_for_where_its_keys_are(
    here: RealCluster, store: RedisStore
) -> None:
    user = MOVERS[1]
    await attach(store, session_of(user))
    key = f"p:{{{user}}}:index"
    source, slot = here.owner_of(key), _slot(key)
    target = next(server for server in here.primaries if server is not source)

    await here.open_move(slot, source, target)
    at_source = await store.load(session_of(user))
    while await here.move_keys(slot, source, target):
        pass
    at_target = await store.load(session_of(user))
    saved = await store.save_grant(user, "grant", await write(store, 2))
    taken = await store.take_lease(user, "grant", "owner", seconds=60)
    again = await store.take_lease(user, "grant", "another", seconds=60)
    await here.close_move(slot, target)

    assert at_source == at_target
    assert at_source
    assert saved is SaveResult.SAVED
    assert (taken, again) == (True, False)
    assert await store.load(session_of(user))


async def test_a_slot_half_of_whose_keys_have_moved_is_waited_for(
    here: RealCluster, store: RedisStore
) -> None:
    user = MOVERS[2]
    await attach(store, session_of(user))
    patient = RedisStore(here.url, prefix="p:", clock=SystemClock(), **PATIENT)
    await patient.load(session_of(user))
    key = f"p:{{{user}}}:index"
    source, slot = here.owner_of(key), _slot(key)
    target = next(server for server in here.primaries if server is not source)
    await here.open_move(slot, source, target)
    await here.move_keys(slot, source, target, most=1)

    loading = asyncio.ensure_future(patient.load(session_of(user)))
    seen_at = await patient.now()
    touching = asyncio.ensure_future(
        patient.touch(
            session_of(user),
            "grant",
            seen_at=seen_at,
            idle_ends_at=seen_at + 60,
            ends_at=seen_at + 60,
        )
    )
    while await _errors(source, "TRYAGAIN") < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    while await here.move_keys(slot, source, target, most=1):
        pass
    await here.close_move(slot, target)

    assert await loading
    await touching
    await patient.aclose()


async def test_a_server_that_dies_is_an_error_for_its_users_alone_until_its_replica_serves(
    clock: FakeClock,
) -> None:
    async with cluster(valkey_program()) as here:
        store = RedisStore(here.url, prefix="p:", clock=clock, **PATIENT)
        for user in USERS:
            await attach(store, session_of(user))
        for server in here.primaries:
            await server.told("WAIT", 1, 5000)
        dies = here.primaries[0]
        theirs = [user for user in USERS if here.owner_of(f"p:{{{user}}}:index") is dies]
        others = [user for user in USERS if user not in theirs]
        before = store.interrupted_at
        clock.advance(5.0)

        await dies.kill()
        with pytest.raises(StoreUnavailable):
            await store.save_grant(theirs[0], "grant", await write(store, 2))
        meanwhile = await store.load(session_of(others[0]))
        await here.until_primary(here.replicas[0])
        for user in USERS:
            clock.advance(1.0)
            await _until_loaded(store, user)

        assert meanwhile
        assert theirs
        assert store.interrupted_at > before
        await store.aclose()


async def _until_loaded(store: RedisStore, user: str) -> None:
    """Errors may come before; a miss never."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):
                found = await store.load(session_of(user))
                assert found
                return
            await asyncio.sleep(0.02)


async def _writes(server: Server) -> int:
    statistics = await server.told("INFO", "commandstats")
    return int(statistics.get("cmdstat_pexpireat", {"calls": 0})["calls"])


async def _errors(server: Server, word: str) -> int:
    statistics = await server.told("INFO", "errorstats")
    return int(statistics.get(f"errorstat_{word}", {"count": 0})["count"])


async def _calls(server: Server) -> int:
    statistics = await server.told("INFO", "commandstats")
    return int(statistics["cmdstat_evalsha"]["calls"])


def _slot(key: str) -> int:
    return int(key_slot(key.encode()))
