"""What a store tells of all that is in it, with a server that others write to as well."""

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from sidecar.adapters.memory_store import MemoryStore
from sidecar.adapters.redis_store import RedisStore
from sidecar.adapters.store_listing import literally, name_at
from sidecar.ports import RecordKind, RecordName
from tests.adapters.conftest import PATIENT, ValkeyServer
from tests.adapters.records import LAPTOP, USER, attach
from tests.fakes.clock import FakeClock

NAME = RecordName(RecordKind.SESSION, USER, LAPTOP.digest)


@pytest.fixture
async def redis(valkey_server: ValkeyServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey_server.unix) as client:
        yield client


@pytest.fixture
async def store(
    valkey_server: ValkeyServer, prefix: str, clock: FakeClock
) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey_server.unix, prefix=prefix, clock=clock, **PATIENT)
    yield store
    await store.aclose()


async def scanned(store: RedisStore) -> list[RecordName]:
    """The names of all sessions, however often they come."""
    cursor, names = await store.scan(RecordKind.SESSION)
    while cursor:
        cursor, more = await store.scan(RecordKind.SESSION, cursor)
        names += more
    return names


async def test_a_scan_finds_nothing_of_others_in_the_same_server(
    store: RedisStore, redis: Redis, valkey_server: ValkeyServer, prefix: str, clock: FakeClock
) -> None:
    others = RedisStore(valkey_server.unix, prefix=f"other-{prefix}", clock=clock, **PATIENT)
    await attach(others, LAPTOP)
    await others.aclose()
    await redis.set(f"{prefix}session:no-user", "x")
    await redis.set(f"{prefix}{{}}:session:1a", "x")
    await attach(store, LAPTOP)

    assert set(await scanned(store)) == {NAME}


async def test_a_prefix_with_a_patterns_characters_stands_for_itself(
    valkey_server: ValkeyServer, prefix: str, clock: FakeClock
) -> None:
    names = (f"{prefix}a*[b]?\\^-:", f"{prefix}aXb?\\^-:")
    stores = [RedisStore(valkey_server.unix, prefix=name, clock=clock, **PATIENT) for name in names]
    for store in stores:
        await attach(store, LAPTOP)

    found = await scanned(stores[0])
    for store in stores:
        await store.aclose()

    assert set(found) == {NAME}
    assert literally("a*?[]\\^-") == "a\\*\\?\\[\\]\\\\\\^\\-"


@pytest.mark.parametrize(
    "key",
    ["p:session:1a", "p:{u}:session:", "p:{u}:grant:1a", "p:{u}x:session:1a", "p:{}:session:1"],
)
def test_a_key_that_is_none_of_ours_names_no_session(key: str) -> None:
    assert name_at("p:", RecordKind.SESSION, key) is None
    assert name_at("p:", RecordKind.SESSION, "p:{u}:session:1a") == (RecordKind.SESSION, "u", "1a")


async def test_a_replica_that_has_not_reported_for_a_minute_is_gone_and_the_use_of_its_key_is_not(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    two_minutes_ago = int((time.time() - 120) * 1000)
    await redis.hset(f"{prefix}keys", "has:gone/1", f"{two_minutes_ago}|its keys")
    await redis.hset(f"{prefix}keys", "used:old", str(two_minutes_ago))

    before = await store.key_reports()
    await store.report_keys("here/1", "keys", in_use="new")
    after = await store.key_reports()

    assert list(before.replicas) == []
    assert list(after.replicas) == ["here/1"]
    assert after.used_at["old"] == pytest.approx(two_minutes_ago / 1000, abs=1)
    assert await redis.hexists(f"{prefix}keys", "has:gone/1") == 0  # it is not kept for nothing


async def test_what_is_no_report_is_none_and_goes_with_the_next_one(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await redis.hset(
        f"{prefix}keys",
        mapping={"has:x": "soon|keys", "used:x": "", "": "1", "has:y": b"\xff\xfe|", "z": "-1|x"},
    )

    before = await store.key_reports()
    await store.report_keys("here/1", "keys", in_use="new")

    assert (dict(before.replicas), before.used_at.get("x", 0.0)) == ({}, 0.0)
    assert await redis.hlen(f"{prefix}keys") == 2


async def test_a_flood_of_reports_is_not_read_and_not_kept(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    now = int(time.time() * 1000)
    await redis.hset(f"{prefix}keys", mapping={f"has:{n}": f"{now}|keys" for n in range(2000)})

    before = await store.key_reports()
    await store.report_keys("here/1", "keys", in_use="new")

    assert dict(before.replicas) == {}
    assert list((await store.key_reports()).replicas) == ["here/1"]


async def test_a_report_in_memory_is_good_for_a_minute_and_a_keys_use_for_long(
    clock: FakeClock,
) -> None:
    store = MemoryStore(clock)
    await store.report_keys("here/1", "keys", in_use="old")

    clock.advance(59)
    within = await store.key_reports()
    clock.advance(2)
    after = await store.key_reports()

    assert list(within.replicas) == ["here/1"]
    assert list(after.replicas) == []
    assert list(after.used_at) == ["old"]
