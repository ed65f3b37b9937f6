"""Whom the store asks where Sentinels name its server, whatever each of them says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest
from redis.asyncio import Redis

from sidecar.adapters.redis_store import RedisStore
from sidecar.adapters.redis_way import Access, NotPrimary
from sidecar.adapters.sentinel import PrimaryNotNamed, PrimaryUnknown, SentinelsRefuse
from sidecar.demo.valkey import valkey
from sidecar.errors import StoreUnavailable
from tests.adapters.conftest import PATIENT
from tests.adapters.records import LAPTOP, attach
from tests.adapters.watchers import HOST, Watcher, watchers
from tests.fakes.clock import FakeClock
from tests.world import eventually, free_port

QUICK_SECONDS = 1.0


@pytest.fixture
async def three() -> AsyncIterator[list[Watcher]]:
    async with watchers(3) as made:
        yield made


@pytest.fixture
async def ports() -> AsyncIterator[list[int]]:
    """Two servers, each of which takes itself for the primary."""
    async with AsyncExitStack() as owned:
        found = [free_port(), free_port()]
        for port in found:
            await owned.enter_async_context(valkey("--port", str(port), "--bind", HOST))
        yield found


def url(three: list[Watcher], name: str = "main") -> str:
    return f"redis+sentinel://{','.join(each.host for each in three)}/{name}"


def new_store(
    three: list[Watcher], clock: FakeClock, *, seconds: float = 10.0, access: Access | None = None
) -> RedisStore:
    return RedisStore(
        url(three),
        prefix="p:",
        clock=clock,
        command_seconds=seconds,
        connect_seconds=seconds,
        access=access,
    )


def lead_to(port: int, three: list[Watcher]) -> None:
    for each in three:
        each.primary = port


async def cause(store: RedisStore) -> BaseException | None:
    with pytest.raises(StoreUnavailable) as refused:
        await store.ping()
    return refused.value.__cause__


async def has_keys(port: int) -> bool:
    async with Redis(host=HOST, port=port) as redis:
        return bool(await redis.dbsize())


async def test_the_newest_word_of_the_sentinels_counts(
    three: list[Watcher], ports: list[int], clock: FakeClock
) -> None:
    """One that was cut off from the others still names the primary of before."""
    lead_to(ports[0], three)
    for each in three[1:]:
        each.primary, each.epoch = ports[1], 2
    store = new_store(three, clock)

    await attach(store, LAPTOP)

    assert await has_keys(ports[1])
    assert not await has_keys(ports[0])
    await store.aclose()


async def test_a_sentinel_that_hangs_holds_up_nobody(
    three: list[Watcher], ports: list[int], clock: FakeClock
) -> None:
    lead_to(ports[0], three)
    three[0].hangs = True
    store = new_store(three, clock, seconds=QUICK_SECONDS * 10)
    asked_at = asyncio.get_running_loop().time()

    await store.ping()

    assert asyncio.get_running_loop().time() - asked_at < QUICK_SECONDS * 4
    await store.aclose()


async def test_sentinels_of_whom_only_one_answers_are_believed_after_a_while(
    three: list[Watcher], ports: list[int], clock: FakeClock
) -> None:
    lead_to(ports[0], three)
    three[0].hangs = three[1].hangs = True
    store = new_store(three, clock, seconds=QUICK_SECONDS * 3)

    await store.ping()

    await store.aclose()


async def test_sentinels_that_all_hang_are_an_error_within_the_time_for_a_connection(
    three: list[Watcher], clock: FakeClock
) -> None:
    for each in three:
        each.hangs = True
    store = new_store(three, clock, seconds=QUICK_SECONDS)
    asked_at = asyncio.get_running_loop().time()

    assert isinstance(await cause(store), PrimaryUnknown)

    assert asyncio.get_running_loop().time() - asked_at < 3 * QUICK_SECONDS
    await store.aclose()


async def test_a_primary_of_another_name_is_an_error_that_says_so(
    three: list[Watcher], clock: FakeClock
) -> None:
    store = new_store(three, clock)

    assert isinstance(await cause(store), PrimaryNotNamed)

    await store.aclose()


async def test_nobody_is_asked_while_the_sentinels_hold_the_primary_for_dead(
    three: list[Watcher], ports: list[int], clock: FakeClock
) -> None:
    """What it would still write, the next one would not have."""
    lead_to(ports[0], three)
    for each in three:
        each.flags = "master,s_down,o_down"
    store = new_store(three, clock)

    assert isinstance(await cause(store), PrimaryUnknown)

    await store.aclose()


async def test_a_replica_that_is_said_to_be_the_primary_is_not_asked(
    three: list[Watcher], ports: list[int], clock: FakeClock
) -> None:
    """Its answers would be old ones."""
    lead_to(ports[0], three)
    async with Redis(host=HOST, port=ports[0]) as redis:
        await redis.replicaof(HOST, ports[1])
    store = new_store(three, clock)

    assert isinstance(await cause(store), NotPrimary)

    await store.aclose()


async def test_a_primary_that_lives_on_after_its_time_is_left_within_a_round(
    three: list[Watcher], ports: list[int], clock: FakeClock
) -> None:
    lead_to(ports[0], three)
    store = new_store(three, clock)
    await store.changed([])
    before = store.interrupted_at
    for each in three[:2]:
        each.primary, each.epoch = ports[1], 2

    async def follows() -> bool:
        clock.advance(1.0)
        with suppress(StoreUnavailable):  # it was on its way to who is left
            await store.changed([])
        async with Redis(host=HOST, port=ports[1]) as redis:
            return "cmdstat_evalsha" in await redis.info("commandstats")

    async with asyncio.timeout(10):
        while not await follows():
            pass

    assert store.interrupted_at > before
    await store.aclose()


async def test_sentinels_are_asked_by_a_round_no_more_than_once_a_second(
    three: list[Watcher], ports: list[int], clock: FakeClock
) -> None:
    lead_to(ports[0], three)
    store = new_store(three, clock)
    await store.changed([])
    first = three[0].asked

    for _ in range(20):
        await store.changed([])
    again = three[0].asked
    clock.advance(1.0)
    await store.changed([])

    assert first == again == 1
    await eventually(lambda: three[0].asked == 2)
    await store.aclose()


async def test_sentinels_have_a_password_of_their_own(
    three: list[Watcher], ports: list[int], clock: FakeClock
) -> None:
    lead_to(ports[0], three)
    for each in three:
        each.password = "of the sentinels"
    knowing = Access(sentinel_password=lambda: "of the sentinels")
    right = new_store(three, clock, access=knowing)
    wrong = new_store(three, clock)

    await right.ping()

    assert isinstance(await cause(wrong), SentinelsRefuse)
    await wrong.aclose()
    await right.aclose()


async def test_nobody_listens_where_the_sentinels_should_be(clock: FakeClock) -> None:
    store = RedisStore(
        f"redis+sentinel://{HOST}:{free_port()}/main", prefix="p:", clock=clock, **PATIENT
    )

    assert isinstance(await cause(store), PrimaryUnknown)

    await store.aclose()
