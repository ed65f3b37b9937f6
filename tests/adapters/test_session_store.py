"""What every store promises, whichever it is.

The stores' clock here is months away from the machine's: a store that judged an end by its
own side's clock would be found out in every test of an end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
from redis.asyncio import Redis

from sidecar.adapters.memory_store import MemoryStore
from sidecar.adapters.redis_store import RedisStore
from sidecar.core.session import SessionKey
from sidecar.core.store_acl import COMMANDS, SERVING, acl_line
from sidecar.ports import (
    Ended,
    Record,
    RecordKind,
    RecordName,
    SaveResult,
    Store,
    Write,
    due_shard,
)
from tests.adapters.conftest import PATIENT, ValkeyServer
from tests.adapters.records import (
    IDLE_SECONDS,
    LAPTOP,
    LIFE_SECONDS,
    PHONE,
    TABLET,
    USER,
    attach,
    ended,
    grant_ended,
    save,
    version_of,
    write,
)
from tests.fakes.clock import FakeClock

SOON = 0.05
LAPTOP_NAME = RecordName(RecordKind.SESSION, USER, LAPTOP.digest)
GRANT_NAME = RecordName(RecordKind.GRANT, USER, "grant")


@dataclass(frozen=True)
class Time:
    """How time passes for a store: by the test's clock, or really."""

    clock: FakeClock
    real: bool

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(10):
            while not await holds():
                if self.real:
                    await asyncio.sleep(0.005)
                else:
                    self.clock.advance(0.005)


@pytest.fixture(params=["memory", "valkey", "valkey over TCP", "valkey's least user", "cluster"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def store(
    kind: str,
    clock: FakeClock,
    valkey_server: ValkeyServer,
    valkey_cluster: str,
    prefix: str,
) -> AsyncIterator[Store]:
    if kind == "memory":
        yield MemoryStore(clock)
        return
    url = valkey_server.unix if kind == "valkey" else valkey_server.tcp
    if kind == "cluster":
        url = valkey_cluster
    if kind == "valkey's least user":
        async with Redis.from_url(url) as operator:
            line = acl_line(prefix[:-1], prefix, commands=f"{SERVING} {COMMANDS}")
            await operator.execute_command(*line.split(), ">secret")  # type: ignore[no-untyped-call]
        url = url.replace("redis://", f"redis://{prefix[:-1]}:secret@")
    redis = RedisStore(url, prefix=prefix, clock=clock, **PATIENT)
    yield redis
    await redis.aclose()


@pytest.fixture
def time(kind: str, clock: FakeClock) -> Time:
    return Time(clock, real=kind != "memory")


# Attach and load


async def test_a_login_is_found_again_with_its_grant_in_one_load(store: Store) -> None:
    session, grant = await write(store, sealed=b"a session"), await write(store, sealed=b"a grant")
    now = await store.now()

    result = await store.attach(LAPTOP, session, "grant", grant, idle_ends_at=now + 600)

    found = await store.load(LAPTOP)
    assert result is SaveResult.SAVED
    assert found
    assert found.session == Record(1, session.write_id, b"a session")
    assert found.grant_id == "grant"
    assert found.grant == Record(1, grant.write_id, b"a grant")
    assert found.grant == await store.load_grant(USER, "grant")
    assert now - 1 < found.last_seen_at < now + 60


async def test_any_bytes_come_back_as_they_were(store: Store) -> None:
    sealed = bytes(range(256)) * 300
    grant = await write(store, sealed=sealed)

    await store.attach(
        LAPTOP, await write(store), "grant", grant, idle_ends_at=await store.now() + 600
    )

    record = await store.load_grant(USER, "grant")
    assert record
    assert record.sealed == sealed


async def test_what_was_never_stored_is_a_miss_and_no_end(store: Store) -> None:
    assert await store.load(LAPTOP) is None
    assert await store.load_grant(USER, "grant") is None
    assert await save(store, 2) is SaveResult.MISSING
    assert await attach(store, LAPTOP, version=2) is SaveResult.MISSING

    assert await store.load(LAPTOP) is None
    assert await store.load_grant(USER, "grant") is None


async def test_a_second_session_joins_the_grant_at_its_next_version(store: Store) -> None:
    await attach(store, LAPTOP)

    result = await attach(store, PHONE, version=2)

    first, second = await store.load(LAPTOP), await store.load(PHONE)
    assert result is SaveResult.SAVED
    assert first
    assert second
    assert first.grant == second.grant
    assert await version_of(store) == 2


@pytest.mark.parametrize("version", [1, 2, 4])
async def test_a_session_that_comes_with_another_version_than_the_next_is_not_made(
    store: Store, version: int
) -> None:
    await attach(store, LAPTOP)
    await save(store, 2)
    before = await store.load_grant(USER, "grant")

    result = await attach(store, PHONE, version=version)

    assert result is SaveResult.MOVED
    assert await store.load(PHONE) is None
    assert await store.load_grant(USER, "grant") == before


async def test_a_login_written_twice_counts_once(store: Store) -> None:
    session, grant = await write(store), await write(store)
    idle_ends_at = await store.now() + 600
    await store.attach(LAPTOP, session, "grant", grant, idle_ends_at=idle_ends_at)
    await save(store, 2)

    again = await store.attach(LAPTOP, session, "grant", grant, idle_ends_at=idle_ends_at)

    assert again is SaveResult.SAVED
    assert await version_of(store) == 2


async def test_a_session_id_that_is_taken_is_not_given_to_another_login(store: Store) -> None:
    await attach(store, LAPTOP)
    before = await store.load(LAPTOP)

    result = await attach(store, LAPTOP, "another grant")

    assert result is SaveResult.MOVED
    assert await store.load(LAPTOP) == before
    assert await store.load_grant(USER, "another grant") is None


async def test_of_50_logins_at_once_on_one_grant_each_version_belongs_to_one(store: Store) -> None:
    keys = [SessionKey(USER, f"digest{i}") for i in range(50)]

    results = await asyncio.gather(*(attach(store, key) for key in keys))

    loaded = [await store.load(key) for key in keys]
    assert results.count(SaveResult.SAVED) == 1
    assert results.count(SaveResult.MOVED) == 49
    assert [session is not None for session in loaded] == [
        result is SaveResult.SAVED for result in results
    ]


async def test_users_do_not_share_sessions_grants_or_leases(store: Store) -> None:
    other = SessionKey("b3RoZXI", LAPTOP.digest)
    await attach(store, LAPTOP)
    await attach(store, other)
    await store.take_lease(USER, "grant", "owner", seconds=60)

    await store.end_grant(USER, "grant", version=1, reason="logout", write_id="end")

    assert await ended(store, LAPTOP) == "logout"
    assert await ended(store, other) == ""
    assert await store.take_lease("b3RoZXI", "grant", "owner", seconds=60)


# Save


async def test_a_grants_next_version_takes_the_place_of_the_one_before(store: Store) -> None:
    await attach(store, LAPTOP)
    renewed = await write(store, 2, sealed=b"renewed")

    result = await store.save_grant(USER, "grant", renewed)

    found = await store.load(LAPTOP)
    assert result is SaveResult.SAVED
    assert found
    assert found.grant == Record(2, renewed.write_id, b"renewed")


@pytest.mark.parametrize("version", [1, 2, 4])
async def test_another_version_than_the_next_is_not_saved(store: Store, version: int) -> None:
    await attach(store, LAPTOP)
    await save(store, 2)
    before = await store.load_grant(USER, "grant")

    result = await save(store, version)

    assert result is SaveResult.MOVED
    assert await store.load_grant(USER, "grant") == before


async def test_a_version_saved_twice_counts_once(store: Store) -> None:
    await attach(store, LAPTOP)
    renewed = await write(store, 2)
    await store.save_grant(USER, "grant", renewed)

    again = await store.save_grant(USER, "grant", renewed)

    assert again is SaveResult.SAVED
    assert await version_of(store) == 2


async def test_a_version_that_comes_again_after_newer_ones_does_not_replace_them(
    store: Store,
) -> None:
    await attach(store, LAPTOP)
    renewed = await write(store, 2)
    await store.save_grant(USER, "grant", renewed)
    await save(store, 3)

    again = await store.save_grant(USER, "grant", renewed)

    assert again is SaveResult.MOVED
    assert await version_of(store) == 3


async def test_of_50_writers_at_once_exactly_one_saves_each_version(store: Store) -> None:
    await attach(store, LAPTOP)

    for version in range(2, 6):
        writes = [await write(store, version) for _ in range(50)]
        results = await asyncio.gather(
            *(store.save_grant(USER, "grant", renewed) for renewed in writes)
        )

        record = await store.load_grant(USER, "grant")
        assert record
        assert results.count(SaveResult.SAVED) == 1
        assert results.count(SaveResult.MOVED) == 49
        assert record.write_id == writes[results.index(SaveResult.SAVED)].write_id


# Ends by time


async def test_a_session_is_gone_at_its_idle_end_and_its_grant_stays(
    store: Store, time: Time
) -> None:
    idle_ends_at = await store.now() + SOON
    await attach(store, LAPTOP, idle_in=SOON)

    await time.until(lambda: _gone(store, LAPTOP))

    assert await store.now() >= idle_ends_at
    assert await version_of(store) == 1


async def test_a_grant_is_gone_at_its_end(store: Store, time: Time) -> None:
    ends_at = await store.now() + SOON
    await attach(store, LAPTOP, idle_in=SOON, ends_in=SOON)

    await time.until(lambda: _grant_gone(store))

    await store.load(TABLET)  # every script brings the store's time
    assert await store.now() >= ends_at
    await time.until(lambda: _gone(store, LAPTOP))
    assert await save(store, 2) is SaveResult.MISSING


async def test_a_grant_lives_as_long_as_its_newest_version_says(store: Store, time: Time) -> None:
    await attach(store, LAPTOP, ends_in=SOON)
    await save(store, 2)
    await attach(store, TABLET, "short", idle_in=2 * SOON, ends_in=2 * SOON)

    await time.until(lambda: _grant_gone(store, "short"))

    assert await version_of(store) == 2


async def test_a_session_that_is_used_lives_on(store: Store, time: Time) -> None:
    now = await store.now()
    await attach(store, LAPTOP, idle_in=0.5)
    await attach(store, PHONE, "another", idle_in=0.5)

    await store.touch(
        LAPTOP, "grant", seen_at=now + 5, idle_ends_at=now + 600, ends_at=now + LIFE_SECONDS
    )

    await time.until(lambda: _gone(store, PHONE))
    found = await store.load(LAPTOP)
    assert found
    assert found.last_seen_at == pytest.approx(now + 5, abs=0.01)


async def test_use_does_not_bring_back_a_session_that_is_gone(store: Store, time: Time) -> None:
    await attach(store, LAPTOP, idle_in=SOON)
    await time.until(lambda: _gone(store, LAPTOP))

    now = await store.now()
    await store.touch(
        LAPTOP, "grant", seen_at=now, idle_ends_at=now + 600, ends_at=now + LIFE_SECONDS
    )

    assert await store.load(LAPTOP) is None


async def test_use_does_not_change_a_tombstone(store: Store) -> None:
    await attach(store, LAPTOP)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")
    tombstone = await store.load(LAPTOP)

    now = await store.now()
    await store.touch(
        LAPTOP, "grant", seen_at=now + 5, idle_ends_at=now - 5, ends_at=now + LIFE_SECONDS
    )

    assert tombstone is not None
    assert await store.load(LAPTOP) == tombstone


# Ends by somebody


async def test_ending_the_only_session_ends_its_grant_and_hands_out_its_record(
    store: Store,
) -> None:
    await attach(store, LAPTOP)
    await save(store, 2)
    grant = await store.load_grant(USER, "grant")

    result = await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    assert result == Ended(last=True, grant=grant)
    assert await ended(store, LAPTOP) == "logout"
    assert await grant_ended(store) == "logout"


async def test_a_tombstone_holds_nothing_but_its_reason(store: Store) -> None:
    await attach(store, LAPTOP)

    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    await _holds_nothing_but_its_reason(store)


async def test_the_tombstones_of_an_ended_grant_hold_nothing_but_their_reason(
    store: Store,
) -> None:
    await attach(store, LAPTOP)

    await store.end_grant(USER, "grant", version=1, reason="logout", write_id="end")

    await _holds_nothing_but_its_reason(store)


async def test_ending_one_of_two_sessions_leaves_the_grant_to_the_other(store: Store) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)

    result = await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    assert result == Ended(last=False)
    assert await ended(store, LAPTOP) == "logout"
    assert await ended(store, PHONE) == ""
    assert await version_of(store) == 2


async def test_ending_the_second_of_two_sessions_ends_the_grant(store: Store) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="first")
    grant = await store.load_grant(USER, "grant")

    result = await store.end_session(PHONE, "grant", reason="logout", write_id="second")

    assert result == Ended(last=True, grant=grant)
    assert await grant_ended(store) == "logout"


async def test_of_all_sessions_ended_at_once_exactly_one_is_the_last(store: Store) -> None:
    keys = [SessionKey(USER, f"digest{i}") for i in range(20)]
    for version, key in enumerate(keys, start=1):
        await attach(store, key, version=version)

    results = await asyncio.gather(
        *(store.end_session(key, "grant", reason="logout", write_id=key.digest) for key in keys)
    )

    assert [result.last for result in results].count(True) == 1
    assert [result.grant is not None for result in results].count(True) == 1
    assert await grant_ended(store) == "logout"


async def test_sessions_on_other_grants_keep_no_grant_alive(store: Store) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, "another")

    result = await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    assert result.last
    assert await ended(store, PHONE) == ""
    assert await version_of(store, "another") == 1


async def test_a_session_that_has_idled_out_keeps_no_grant_alive(store: Store, time: Time) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2, idle_in=SOON)
    await time.until(lambda: _gone(store, PHONE))

    result = await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    assert result.last
    assert await grant_ended(store) == "logout"


async def test_a_session_ended_twice_by_the_same_write_gives_the_same_answer_without_the_record(
    store: Store,
) -> None:
    await attach(store, LAPTOP)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    again = await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    assert again == Ended(last=True)


async def test_the_repeated_end_of_a_session_that_was_not_the_last_does_not_become_the_last(
    store: Store,
) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="first")
    await store.end_session(PHONE, "grant", reason="logout", write_id="second")

    again = await store.end_session(LAPTOP, "grant", reason="logout", write_id="first")

    assert again == Ended(last=False)


async def test_a_session_that_somebody_else_has_ended_is_not_ours_to_end(store: Store) -> None:
    await attach(store, LAPTOP)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="theirs")

    result = await store.end_session(LAPTOP, "grant", reason="idle", write_id="ours")

    assert result == Ended(last=False)
    assert await ended(store, LAPTOP) == "logout"


async def test_a_session_that_is_not_there_cannot_be_made_after_its_end(store: Store) -> None:
    result = await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    assert result == Ended(last=False)
    assert await ended(store, LAPTOP) == "logout"
    assert await attach(store, LAPTOP) is SaveResult.ENDED
    assert await store.load_grant(USER, "grant") is None


async def test_a_grant_that_has_ended_is_not_ended_again_by_a_session(store: Store) -> None:
    await attach(store, LAPTOP)
    await store.end_grant(USER, "grant", version=1, reason="over", write_id="end")

    result = await store.end_session(PHONE, "grant", reason="logout", write_id="late")

    assert result == Ended(last=False)
    assert await grant_ended(store) == "over"


async def test_ending_a_grant_ends_all_its_sessions_and_no_other(store: Store) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await attach(store, TABLET, "another")

    result = await store.end_grant(USER, "grant", version=2, reason="over", write_id="end")

    assert result is SaveResult.SAVED
    assert await grant_ended(store) == "over"
    assert await ended(store, LAPTOP) == "over"
    assert await ended(store, PHONE) == "over"
    assert await ended(store, TABLET) == ""
    assert await version_of(store, "another") == 1


@pytest.mark.parametrize("version", [1, 3])
async def test_a_grant_at_another_version_is_not_ended(store: Store, version: int) -> None:
    await attach(store, LAPTOP)
    await save(store, 2)

    result = await store.end_grant(USER, "grant", version=version, reason="over", write_id="end")

    assert result is SaveResult.MOVED
    assert await ended(store, LAPTOP) == ""
    assert await version_of(store) == 2


async def test_a_grant_ended_twice_by_the_same_write_has_been_ended_by_it(store: Store) -> None:
    await attach(store, LAPTOP)
    await store.end_grant(USER, "grant", version=1, reason="over", write_id="ours")

    ours = await store.end_grant(USER, "grant", version=1, reason="over", write_id="ours")
    theirs = await store.end_grant(USER, "grant", version=1, reason="idle", write_id="theirs")

    assert ours is SaveResult.SAVED
    assert theirs is SaveResult.ENDED
    assert await grant_ended(store) == "over"


async def test_a_grant_that_is_not_there_cannot_be_made_after_its_end(store: Store) -> None:
    result = await store.end_grant(USER, "grant", version=1, reason="over", write_id="end")

    assert result is SaveResult.SAVED
    assert await attach(store, LAPTOP) is SaveResult.ENDED
    assert await store.load(LAPTOP) is None


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_nothing_is_written_over_the_tombstone_of_a_grant(store: Store, version: int) -> None:
    await attach(store, LAPTOP)
    await store.end_grant(USER, "grant", version=1, reason="over", write_id="end")
    tombstone = await store.load_grant(USER, "grant")

    saved = await save(store, version)
    attached = await attach(store, PHONE, version=version)

    assert saved is SaveResult.ENDED
    assert attached is SaveResult.ENDED
    assert await store.load(PHONE) is None
    assert await store.load_grant(USER, "grant") == tombstone


async def test_the_write_that_ended_a_grant_does_not_pass_for_a_version_of_it(
    store: Store,
) -> None:
    await attach(store, LAPTOP)
    await store.end_grant(USER, "grant", version=1, reason="over", write_id="end")

    result = await store.save_grant(USER, "grant", replace(await write(store, 2), write_id="end"))

    assert result is SaveResult.ENDED


async def test_a_session_id_that_has_ended_is_not_used_again(store: Store) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    same_grant = await attach(store, LAPTOP, version=3)
    another_grant = await attach(store, LAPTOP, "another")

    assert same_grant is SaveResult.ENDED
    assert another_grant is SaveResult.ENDED
    assert await ended(store, LAPTOP) == "logout"
    assert await version_of(store) == 2


async def test_a_login_that_is_written_again_after_its_logout_stays_ended(store: Store) -> None:
    session, grant = await write(store), await write(store)
    idle_ends_at = await store.now() + 600
    await store.attach(LAPTOP, session, "grant", grant, idle_ends_at=idle_ends_at)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    again = await store.attach(LAPTOP, session, "grant", grant, idle_ends_at=idle_ends_at)

    assert again is SaveResult.ENDED
    assert await ended(store, LAPTOP) == "logout"


# Leases


async def test_a_lease_is_given_to_one_of_50_at_once(store: Store) -> None:
    taken = await asyncio.gather(
        *(store.take_lease(USER, "grant", f"owner{i}", seconds=60) for i in range(50))
    )

    assert taken.count(True) == 1


async def test_a_lease_concerns_no_other_grant(store: Store) -> None:
    await store.take_lease(USER, "grant", "owner", seconds=60)

    assert await store.take_lease(USER, "another", "another owner", seconds=60)


async def test_a_lease_is_given_back_by_its_owner(store: Store) -> None:
    await store.take_lease(USER, "grant", "owner", seconds=60)

    await store.release_lease(USER, "grant", "owner")

    assert await store.take_lease(USER, "grant", "another", seconds=60)


async def test_a_lease_is_not_given_back_by_another(store: Store) -> None:
    await store.take_lease(USER, "grant", "owner", seconds=60)

    await store.release_lease(USER, "grant", "another")

    assert not await store.take_lease(USER, "grant", "another", seconds=60)


async def test_a_lease_ends_by_itself_and_its_late_owner_does_not_take_the_next_ones(
    store: Store, time: Time
) -> None:
    taken_at = await store.now()
    await store.take_lease(USER, "grant", "slow", seconds=SOON)

    await time.until(lambda: store.take_lease(USER, "grant", "next", seconds=60))
    await store.release_lease(USER, "grant", "slow")

    assert await store.now() >= taken_at + SOON - 0.002  # the server counts milliseconds
    assert not await store.take_lease(USER, "grant", "slow", seconds=60)


# Redeemed states


async def test_a_state_is_redeemed_by_one_of_50_at_once(store: Store) -> None:
    firsts = await asyncio.gather(
        *(store.redeem("state", f"owner {number}", seconds=60) for number in range(50))
    )

    assert firsts.count(True) == 1
    assert await store.redeem("another state", "owner 1", seconds=60)


async def test_a_state_stays_its_redeemers_who_may_ask_again(store: Store) -> None:
    first = await store.redeem("state", "one", seconds=60)
    await store.set_redeemed("state", b"an outcome")

    assert first
    assert await store.redeem("state", "one", seconds=60)
    assert not await store.redeem("state", "another", seconds=60)


async def test_what_became_of_a_state_is_seen_by_those_who_come_second(store: Store) -> None:
    assert await store.redeemed("state") is None

    await store.redeem("state", "owner", seconds=60)
    while_running = await store.redeemed("state")
    await store.set_redeemed("state", b"\x00the outcome\xff")

    assert while_running == b""
    assert await store.redeemed("state") == b"\x00the outcome\xff"
    assert not await store.redeem("state", "another", seconds=60)


async def test_no_outcome_is_kept_of_a_state_that_was_not_redeemed(store: Store) -> None:
    await store.set_redeemed("state", b"an outcome")

    assert await store.redeemed("state") is None
    assert await store.redeem("state", "owner", seconds=60)


async def test_a_redeemed_state_is_forgotten_at_its_time_though_it_has_an_outcome(
    store: Store, time: Time
) -> None:
    await store.redeem("state", "owner", seconds=SOON)
    await store.set_redeemed("state", b"an outcome")

    await time.until(lambda: _is_none(store.redeemed("state")))

    assert await store.redeem("state", "owner", seconds=60)


async def test_a_store_that_is_there_answers(store: Store) -> None:
    await store.ping()


async def _holds_nothing_but_its_reason(store: Store) -> None:
    found, grant = await store.load(LAPTOP), await store.load_grant(USER, "grant")
    assert found
    assert grant
    assert found.session.ended == grant.ended == "logout"
    assert found.session.sealed == grant.sealed == b""
    assert found.session.write_id == grant.write_id == "end"
    assert found.grant is None


async def _gone(store: Store, key: SessionKey) -> bool:
    return await store.load(key) is None


async def _grant_gone(store: Store, grant_id: str = "grant") -> bool:
    return await store.load_grant(USER, grant_id) is None


async def _is_none(answer: Awaitable[object]) -> bool:
    return await answer is None


async def test_a_due_grant_is_taken_by_one_and_due_again_after_a_while(store: Store) -> None:
    shard = due_shard("grant")
    await store.schedule(USER, "grant", 100.0)

    early = await store.take_due(shard, now=99.0, limit=10, hide_seconds=45)
    taken = await store.take_due(shard, now=100.0, limit=10, hide_seconds=45)
    hidden = await store.take_due(shard, now=144.0, limit=10, hide_seconds=45)
    again = await store.take_due(shard, now=145.0, limit=10, hide_seconds=45)

    assert (early, taken, hidden, again) == ([], [(USER, "grant")], [], [(USER, "grant")])


async def test_due_grants_come_in_their_order_and_no_more_than_asked_for(store: Store) -> None:
    names = [name for name in (f"grant-{n}" for n in range(400)) if due_shard(name) == 3][:5]
    for at, name in enumerate(names):
        await store.schedule(USER, name, 100.0 + at)

    first = await store.take_due(3, now=200.0, limit=2, hide_seconds=45)
    rest = await store.take_due(3, now=200.0, limit=10, hide_seconds=45)

    assert [name for _, name in first + rest] == names
    assert len(first) == 2


async def test_a_grant_that_is_scheduled_anew_or_not_at_all_is_not_due_at_its_old_time(
    store: Store,
) -> None:
    for name in ("later", "never"):
        await store.schedule(USER, name, 100.0)
    await store.schedule(USER, "later", 500.0)
    await store.schedule(USER, "never", None)

    due = [
        name
        for shard in {due_shard("later"), due_shard("never")}
        for name in await store.take_due(shard, now=499.0, limit=10, hide_seconds=45)
    ]

    assert due == []


async def test_a_grant_was_seen_when_its_last_used_live_session_was(store: Store) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await attach(store, TABLET, "another")
    now = await store.now()
    idle_end = now + IDLE_SECONDS
    await store.touch(
        LAPTOP, "grant", seen_at=now + 10, idle_ends_at=idle_end, ends_at=now + LIFE_SECONDS
    )
    await store.touch(
        PHONE, "grant", seen_at=now + 20, idle_ends_at=idle_end, ends_at=now + LIFE_SECONDS
    )
    await store.touch(
        TABLET, "another", seen_at=now + 30, idle_ends_at=idle_end, ends_at=now + LIFE_SECONDS
    )

    both = await store.last_seen(USER, "grant")
    await store.end_session(PHONE, "grant", reason="logout", write_id="w")
    one = await store.last_seen(USER, "grant")
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="w")

    assert both == pytest.approx(now + 20, abs=0.01)
    assert one == pytest.approx(now + 10, abs=0.01)
    assert await store.last_seen(USER, "grant") is None


# Sessions beyond a number


async def _seen(store: Store, key: SessionKey, at: float) -> None:
    now = await store.now()
    await store.touch(
        key, "grant", seen_at=at, idle_ends_at=now + IDLE_SECONDS, ends_at=now + LIFE_SECONDS
    )


async def _several(store: Store, number: int) -> list[SessionKey]:
    """So many sessions on one grant; the first was used last, the last of them the longest ago."""
    keys = [SessionKey(USER, f"digest{i}") for i in range(number)]
    now = await store.now()
    for version, key in enumerate(keys, start=1):
        await attach(store, key, version=version)
        await _seen(store, key, now - version)
    return keys


async def test_the_sessions_beyond_a_number_are_those_unused_the_longest(store: Store) -> None:
    keys = await _several(store, 6)

    assert await store.surplus(keys[0], most=4) == [(keys[5], "grant"), (keys[4], "grant")]
    assert await store.surplus(keys[0], most=6) == []
    assert len(await store.surplus(keys[0], most=1)) == 5


async def test_the_session_that_is_asked_for_is_never_among_them(store: Store) -> None:
    keys = await _several(store, 3)

    assert await store.surplus(keys[2], most=2) == [(keys[1], "grant")]
    assert {key for key, _ in await store.surplus(keys[2], most=1)} == {keys[0], keys[1]}


async def test_what_has_ended_or_is_anothers_counts_for_nothing(store: Store) -> None:
    keys = await _several(store, 4)
    stranger = SessionKey("c3RyYW5nZXI", "1a")
    await attach(store, stranger)
    await attach(store, PHONE, "the phone's", shared=True)
    await store.end_session(keys[3], "grant", reason="logout", write_id="w")

    assert await store.surplus(PHONE, most=3) == [(keys[2], "grant")]
    assert await store.surplus(stranger, most=1) == []
    assert await store.surplus(SessionKey("bm9ib2R5", "1a"), most=1) == []


async def test_a_session_whose_time_is_over_does_not_count_either(store: Store, time: Time) -> None:
    await attach(store, LAPTOP, idle_in=SOON)
    await attach(store, PHONE, version=2)

    async def gone() -> bool:
        return await store.load(LAPTOP) is None

    await time.until(gone)

    assert await store.surplus(PHONE, most=1) == []
    assert await store.surplus(TABLET, most=1) == []


# What is known of it elsewhere


async def _both(store: Store) -> tuple[Write, Write]:
    """A session with its grant, as they were written."""
    session, grant = await write(store), await write(store)
    idle_ends_at = await store.now() + IDLE_SECONDS
    await store.attach(LAPTOP, session, "grant", grant, idle_ends_at=idle_ends_at)
    return session, grant


async def test_records_that_are_as_they_are_known_have_not_changed(store: Store) -> None:
    session, grant = await _both(store)

    changed = await store.changed([(LAPTOP_NAME, session.write_id), (GRANT_NAME, grant.write_id)])

    assert changed == {}
    assert await store.changed([]) == {}


async def test_what_has_changed_comes_with_its_record_and_what_is_gone_as_nothing(
    store: Store,
) -> None:
    session, grant = await _both(store)
    await save(store, 2)
    nowhere = RecordName(RecordKind.GRANT, USER, "nowhere")
    known = [(LAPTOP_NAME, session.write_id), (nowhere, "w"), (GRANT_NAME, grant.write_id)]

    changed = await store.changed(known)

    assert changed == {nowhere: None, GRANT_NAME: await store.load_grant(USER, "grant")}


async def test_an_end_is_a_change_with_its_reason(store: Store) -> None:
    session, grant = await _both(store)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    changed = await store.changed([(LAPTOP_NAME, session.write_id), (GRANT_NAME, grant.write_id)])

    reasons = {name: record and record.ended for name, record in changed.items()}
    assert reasons == {LAPTOP_NAME: "logout", GRANT_NAME: "logout"}


@pytest.mark.parametrize(
    ("stored", "over"), [(0, 0), (3, 3)], ids=["where nothing stands", "over an older one"]
)
async def test_a_lost_grant_is_put_back_and_its_lease_is_held_for_a_while(
    store: Store, time: Time, stored: int, over: int
) -> None:
    for version in range(1, stored + 1):
        await (attach(store, LAPTOP) if version == 1 else save(store, version))
    lost = await write(store, 5)

    result = await store.put_back_grant(USER, "grant", lost, over=over, hold_seconds=SOON)
    leased = await store.take_lease(USER, "grant", "owner", seconds=60)

    assert result is SaveResult.SAVED
    assert await store.load_grant(USER, "grant") == Record(5, lost.write_id, lost.sealed)
    assert await save(store, 6) is SaveResult.SAVED
    assert not leased
    await time.until(lambda: store.take_lease(USER, "grant", "owner", seconds=60))


async def test_a_lost_grant_is_not_put_back_over_what_was_written_meanwhile(store: Store) -> None:
    await attach(store, LAPTOP)
    await save(store, 2)
    lost = await write(store, 5)

    result = await store.put_back_grant(USER, "grant", lost, over=1, hold_seconds=2)
    on_nothing = await store.put_back_grant(USER, "grant", lost, over=0, hold_seconds=2)

    assert result is on_nothing is SaveResult.MOVED
    assert await version_of(store) == 2


async def test_a_lost_grant_put_back_twice_counts_once(store: Store) -> None:
    lost = await write(store, 5)
    await store.put_back_grant(USER, "grant", lost, over=0, hold_seconds=2)

    again = await store.put_back_grant(USER, "grant", lost, over=0, hold_seconds=2)

    assert again is SaveResult.SAVED
    assert await version_of(store) == 5


async def test_what_has_ended_is_not_put_back(store: Store) -> None:
    session, grant = await _both(store)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")
    now = await store.now()

    of_grant = await store.put_back_grant(USER, "grant", grant, over=1, hold_seconds=2)
    of_session = await store.put_back_session(
        LAPTOP, session, "grant", seen_at=now, idle_ends_at=now + IDLE_SECONDS
    )

    assert of_grant is of_session is SaveResult.ENDED
    await _holds_nothing_but_its_reason(store)


async def test_a_lost_session_is_put_back_on_its_grant(store: Store) -> None:
    session, grant = await write(store), await write(store, 5)
    now = await store.now()
    await store.put_back_grant(USER, "grant", grant, over=0, hold_seconds=2)

    result = await store.put_back_session(
        LAPTOP, session, "grant", seen_at=now - 20, idle_ends_at=now + IDLE_SECONDS
    )

    found = await store.load(LAPTOP)
    assert result is SaveResult.SAVED
    assert found
    assert found.session == Record(1, session.write_id, session.sealed)
    assert found.grant == Record(5, grant.write_id, grant.sealed)
    assert found.last_seen_at == pytest.approx(now - 20, abs=0.01)
    assert await store.end_session(LAPTOP, "grant", reason="logout", write_id="end") == Ended(
        True, found.grant
    )


async def test_a_session_that_is_there_is_not_written_over(store: Store) -> None:
    await attach(store, LAPTOP)
    before = await store.load(LAPTOP)
    other, now = await write(store), await store.now()

    result = await store.put_back_session(
        LAPTOP, other, "grant", seen_at=now, idle_ends_at=now + IDLE_SECONDS
    )

    assert result is SaveResult.SAVED
    assert await store.load(LAPTOP) == before


async def test_a_session_that_was_put_back_ends_at_its_idle_end(store: Store, time: Time) -> None:
    await attach(store, PHONE)
    now = await store.now()
    await store.put_back_session(
        LAPTOP, await write(store), "grant", seen_at=now, idle_ends_at=now + SOON
    )

    await time.until(lambda: _gone(store, LAPTOP))


@pytest.mark.parametrize("came_back", [True, False], ids=["it came back", "nothing stands there"])
async def test_a_lost_end_is_written_again(store: Store, *, came_back: bool) -> None:
    if came_back:
        await attach(store, LAPTOP)

    for name in (LAPTOP_NAME, GRANT_NAME):
        await store.put_back_end(name, reason="logout", write_id="end")

    assert await ended(store, LAPTOP) == await grant_ended(store) == "logout"
    assert await store.last_seen(USER, "grant") is None


async def test_an_end_that_stands_keeps_its_reason(store: Store) -> None:
    await attach(store, LAPTOP)
    await store.end_session(LAPTOP, "grant", reason="idle", write_id="first")

    for name in (LAPTOP_NAME, GRANT_NAME):
        await store.put_back_end(name, reason="logout", write_id="second")

    assert await ended(store, LAPTOP) == await grant_ended(store) == "idle"


# A grant that a user's sessions share


async def test_a_shared_grant_is_found_by_its_user_and_another_is_not(store: Store) -> None:
    await attach(store, LAPTOP, shared=True)
    await attach(store, PHONE, "own")

    assert await store.shared_grant(USER) == "grant"
    assert await store.shared_grant("b3RoZXI") == ""


async def test_of_two_first_logins_at_once_one_makes_the_shared_grant(store: Store) -> None:
    first = await attach(store, LAPTOP, shared=True)
    second = await attach(store, PHONE, "another", shared=True)
    joined = await attach(store, PHONE, version=2, shared=True)

    assert (first, second) == (SaveResult.SAVED, SaveResult.MOVED)
    assert joined is SaveResult.SAVED
    assert await store.load_grant(USER, "another") is None
    assert await store.shared_grant(USER) == "grant"


async def test_with_its_last_session_a_shared_grant_ends_and_the_next_login_makes_another(
    store: Store,
) -> None:
    await attach(store, LAPTOP, shared=True)
    await attach(store, PHONE, version=2, shared=True)

    first = await store.end_session(LAPTOP, "grant", reason="logout", write_id="one")
    still = await store.shared_grant(USER)
    last = await store.end_session(PHONE, "grant", reason="logout", write_id="two")

    assert (first.last, still, last.last) == (False, "grant", True)
    assert await store.shared_grant(USER) == ""
    assert await attach(store, TABLET, version=3, shared=True) is SaveResult.ENDED
    assert await attach(store, TABLET, "new", shared=True) is SaveResult.SAVED
    assert await store.shared_grant(USER) == "new"


async def test_a_shared_grant_that_the_provider_ended_is_shared_no_more(store: Store) -> None:
    await attach(store, LAPTOP, shared=True)

    await store.end_grant(USER, "grant", version=1, reason="over", write_id="end")

    assert await store.shared_grant(USER) == ""
    assert await ended(store, LAPTOP) == "over"
    assert await attach(store, PHONE, "new", shared=True) is SaveResult.SAVED


async def test_a_shared_grant_that_was_put_back_is_shared_again(store: Store) -> None:
    lost = await write(store, 5)

    await store.put_back_grant(USER, "grant", lost, over=0, hold_seconds=2, shared=True)
    await store.put_back_grant(USER, "own", lost, over=0, hold_seconds=2)

    assert await store.shared_grant(USER) == "grant"
    assert await store.last_seen(USER, "grant") is None


async def test_a_use_indexes_nothing_that_does_not_live_or_has_another_grant(
    store: Store,
) -> None:
    now = await store.now()
    idle_ends_at = now + IDLE_SECONDS
    await store.put_back_grant(USER, "grant", await write(store, 1), over=0, hold_seconds=0.01)
    await attach(store, LAPTOP, "another")
    lost = await store.last_seen(USER, "grant")

    for key, grant_id in ((PHONE, "grant"), (LAPTOP, "grant")):
        await store.touch(
            key, grant_id, seen_at=now, idle_ends_at=idle_ends_at, ends_at=now + LIFE_SECONDS
        )

    assert lost is None
    assert await store.load(PHONE) is None  # it is no session that lives
    assert await store.last_seen(USER, "grant") is None  # the index knows better
    assert await store.last_seen(USER, "another") == pytest.approx(now, abs=0.01)


# A user's sessions


async def test_a_users_sessions_come_with_their_grants_those_used_latest_first(
    store: Store,
) -> None:
    now = await store.now()
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await attach(store, TABLET, "another")
    for key, grant_id, ago in ((TABLET, "another", 30), (LAPTOP, "grant", 20), (PHONE, "grant", 9)):
        await store.touch(
            key, grant_id, seen_at=now - ago, idle_ends_at=now + 600, ends_at=now + 3600
        )

    listed = await store.user_sessions(USER, limit=10)

    assert listed.count == 3
    assert [key for key, _ in listed.found] == [PHONE, LAPTOP, TABLET]
    assert [stored.grant_id for _, stored in listed.found] == ["grant", "grant", "another"]
    for key, stored in listed.found:
        assert stored == await store.load(key)
    assert listed.found[0][1].last_seen_at == pytest.approx(now - 9, abs=0.01)


async def test_no_more_of_a_users_sessions_come_than_asked_for(store: Store) -> None:
    for number in range(5):
        await attach(store, SessionKey(USER, f"{number:02x}"), f"grant{number}")

    listed = await store.user_sessions(USER, limit=3)

    assert listed.count == 5
    assert len(listed.found) == 3


async def test_what_has_ended_or_idled_out_is_none_of_a_users_sessions(
    store: Store, time: Time
) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, "another", idle_in=SOON)
    await attach(store, TABLET, "shared", shared=True)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    async def only_one_is_left() -> bool:
        return (await store.user_sessions(USER, limit=10)).count == 1

    await time.until(only_one_is_left)

    assert [key for key, _ in (await store.user_sessions(USER, limit=10)).found] == [TABLET]


async def test_a_user_without_sessions_has_none_and_others_are_not_shown(store: Store) -> None:
    await attach(store, SessionKey("b3RoZXI", "1a"))

    listed = await store.user_sessions(USER, limit=10)

    assert (listed.found, listed.count) == ([], 0)


# Logouts by the provider


async def test_a_providers_session_names_its_user_until_its_end(store: Store, time: Time) -> None:
    assert await store.user_of_provider_sid("hash") == ""

    await store.note_provider_sid("hash", "somebody", seconds=600)
    await store.note_provider_sid("hash", USER, seconds=600)
    await store.note_provider_sid("another", USER, seconds=SOON)

    assert await store.user_of_provider_sid("hash") == USER

    async def is_forgotten() -> bool:
        return await store.user_of_provider_sid("another") == ""

    await time.until(is_forgotten)
    assert await store.user_of_provider_sid("hash") == USER


async def test_a_logout_token_is_known_from_its_work_on_and_for_its_time(
    store: Store, time: Time
) -> None:
    assert not await store.knows_logout_token("hash")

    await store.note_logout_token("hash", seconds=600)
    await store.note_logout_token("soon", seconds=SOON)

    assert await store.knows_logout_token("hash")
    assert not await store.knows_logout_token("another")

    async def is_forgotten() -> bool:
        return not await store.knows_logout_token("soon")

    await time.until(is_forgotten)
    assert await store.knows_logout_token("hash")


# Revocations to repeat


async def test_a_due_revocation_is_taken_by_one_and_due_again_after_a_while(store: Store) -> None:
    entry = b"\x00sealed\xff/"
    assert await store.queue_revocation(entry, due_at=100.0, limit=10)

    early = await store.take_revocations(now=99.0, limit=10, hide_seconds=45)
    taken = await store.take_revocations(now=100.0, limit=10, hide_seconds=45)
    hidden = await store.take_revocations(now=144.0, limit=10, hide_seconds=45)
    again = await store.take_revocations(now=145.0, limit=10, hide_seconds=45)

    assert (early, taken, hidden, again) == ([], [entry], [], [entry])


async def test_revocations_come_in_their_order_and_no_more_than_asked_for(store: Store) -> None:
    for number in (3, 1, 2):
        await store.queue_revocation(b"%d" % number, due_at=float(number), limit=10)

    assert await store.take_revocations(now=9.0, limit=2, hide_seconds=45) == [b"1", b"2"]
    assert await store.take_revocations(now=9.0, limit=2, hide_seconds=45) == [b"3"]


async def test_a_revocation_is_put_off_or_taken_out(store: Store) -> None:
    for entry in (b"later", b"done"):
        await store.queue_revocation(entry, due_at=1.0, limit=10)

    await store.put_off_revocation(b"later", 50.0)
    await store.put_off_revocation(b"done", None)
    await store.put_off_revocation(b"never queued", 1.0)

    assert await store.take_revocations(now=49.0, limit=10, hide_seconds=45) == []
    assert await store.take_revocations(now=50.0, limit=10, hide_seconds=45) == [b"later"]


async def test_a_full_queue_takes_no_more_revocations_and_loses_none(store: Store) -> None:
    assert await store.queue_revocation(b"first", due_at=1.0, limit=2)
    assert await store.queue_revocation(b"second", due_at=2.0, limit=2)

    assert not await store.queue_revocation(b"third", due_at=0.0, limit=2)
    assert await store.queue_revocation(b"first", due_at=9.0, limit=2)

    assert await store.take_revocations(now=2.0, limit=9, hide_seconds=45) == [b"first", b"second"]


async def test_looking_at_the_queue_takes_nothing_out_and_hides_nothing(store: Store) -> None:
    for number in (1, 2, 3):
        await store.queue_revocation(b"%d" % number, due_at=float(number), limit=10)

    assert sorted(await store.queued_revocations(limit=10)) == [b"1", b"2", b"3"]
    assert len(await store.queued_revocations(limit=2)) == 2
    assert await store.take_revocations(now=9.0, limit=9, hide_seconds=45) == [b"1", b"2", b"3"]


# All that is there


async def scanned(store: Store, kind: RecordKind) -> set[RecordName]:
    """The names of all records of a kind."""
    found: set[RecordName] = set()
    cursor = ""
    while True:
        cursor, names = await store.scan(kind, cursor)
        found.update(names)
        if not cursor:
            return found


async def test_a_scan_finds_every_record_of_a_kind_whoevers_it_is(store: Store) -> None:
    keys = [SessionKey(f"user{number}", f"{number:04x}") for number in range(700)]
    for key in keys:
        await attach(store, key, f"grant-of-{key.user_tag}")

    sessions = await scanned(store, RecordKind.SESSION)
    grants = await scanned(store, RecordKind.GRANT)

    assert sessions == {RecordName(RecordKind.SESSION, *key) for key in keys}
    tags = [key.user_tag for key in keys]
    assert grants == {RecordName(RecordKind.GRANT, tag, f"grant-of-{tag}") for tag in tags}


async def test_a_scan_finds_tombstones_too_and_nothing_in_an_empty_store(store: Store) -> None:
    assert await scanned(store, RecordKind.SESSION) == set()
    await attach(store, LAPTOP)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    assert await scanned(store, RecordKind.SESSION) == {LAPTOP_NAME}
    assert await scanned(store, RecordKind.GRANT) == {GRANT_NAME}


# Sealed anew


async def opened(store: Store, name: RecordName) -> Record:
    """A record as it is now."""
    record = (await store.changed([(name, "")]))[name]
    assert record
    return record


@pytest.mark.parametrize("name", [LAPTOP_NAME, GRANT_NAME])
async def test_what_is_sealed_anew_is_the_same_write_of_the_same_version(
    store: Store, name: RecordName
) -> None:
    await attach(store, LAPTOP)
    before = await opened(store, name)

    result = await store.reseal(name, before, b"sealed anew")

    assert result is SaveResult.SAVED
    assert await opened(store, name) == replace(before, sealed=b"sealed anew")
    assert await store.changed([(name, before.write_id)]) == {}  # nobody who knows it notices


async def test_who_is_about_to_write_the_next_version_does_so_though_it_was_sealed_anew(
    store: Store,
) -> None:
    await attach(store, LAPTOP)

    await store.reseal(GRANT_NAME, await opened(store, GRANT_NAME), b"sealed anew")

    assert await save(store, 2) is SaveResult.SAVED


async def test_a_record_that_was_renewed_meanwhile_is_not_sealed_anew(store: Store) -> None:
    await attach(store, LAPTOP)
    before = await opened(store, GRANT_NAME)
    await save(store, 2)
    renewed = await opened(store, GRANT_NAME)

    result = await store.reseal(GRANT_NAME, before, b"sealed anew")

    assert result is SaveResult.MOVED
    assert await opened(store, GRANT_NAME) == renewed


async def test_a_write_of_the_same_version_with_another_write_id_is_not_sealed_anew(
    store: Store,
) -> None:
    await attach(store, LAPTOP)
    before = replace(await opened(store, GRANT_NAME), write_id="another")

    assert await store.reseal(GRANT_NAME, before, b"sealed anew") is SaveResult.MOVED


@pytest.mark.parametrize("name", [LAPTOP_NAME, GRANT_NAME])
async def test_what_has_ended_meanwhile_is_not_brought_back_by_sealing_it_anew(
    store: Store, name: RecordName
) -> None:
    await attach(store, LAPTOP)
    before = await opened(store, name)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    result = await store.reseal(name, before, b"sealed anew")

    assert result is SaveResult.ENDED
    assert (await opened(store, name)).ended == "logout"
    assert (await opened(store, name)).sealed == b""


async def test_what_is_gone_meanwhile_is_not_brought_back_by_sealing_it_anew(
    store: Store, time: Time
) -> None:
    await attach(store, LAPTOP, idle_in=SOON)
    before = await opened(store, LAPTOP_NAME)

    async def is_gone() -> bool:
        return await store.load(LAPTOP) is None

    await time.until(is_gone)

    assert await store.reseal(LAPTOP_NAME, before, b"sealed anew") is SaveResult.MISSING
    assert await store.load(LAPTOP) is None


async def test_what_is_sealed_anew_ends_when_it_would_have(store: Store, time: Time) -> None:
    await attach(store, LAPTOP, idle_in=SOON)

    await store.reseal(LAPTOP_NAME, await opened(store, LAPTOP_NAME), b"sealed anew")

    async def is_gone() -> bool:
        return await store.load(LAPTOP) is None

    await time.until(is_gone)


# Reports of keys


async def test_each_replica_has_its_last_report_and_each_key_its_last_use(store: Store) -> None:
    now = await store.now()
    await store.report_keys("one/1", "old keys", in_use="old")
    await store.report_keys("one/1", "new keys", in_use="new")
    await store.report_keys("two/2", "old keys|with a bar", in_use="old")

    said = await store.key_reports()

    assert {name: report for name, (_, report) in said.replicas.items()} == {
        "one/1": "new keys",
        "two/2": "old keys|with a bar",
    }
    assert set(said.used_at) == {"old", "new"}
    for at in (*said.used_at.values(), *(at for at, _ in said.replicas.values())):
        assert at == pytest.approx(now, abs=5)


async def test_where_nobody_has_reported_there_is_nothing(store: Store) -> None:
    said = await store.key_reports()

    assert (dict(said.replicas), dict(said.used_at)) == ({}, {})
