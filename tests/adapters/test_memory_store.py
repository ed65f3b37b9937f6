import pytest

from sidecar.adapters.memory_store import MemoryStore
from sidecar.core.session import SessionKey
from tests.adapters.records import LAPTOP, PHONE, USER, attach, ended, grant_ended, version_of
from tests.fakes.clock import FakeClock


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.mark.parametrize("lives_in", [5.0, 90_000.0])
async def test_tombstones_stand_for_an_hour_however_long_the_record_would_have_lived(
    store: MemoryStore, clock: FakeClock, lives_in: float
) -> None:
    await attach(store, LAPTOP, idle_in=lives_in, ends_in=lives_in)
    await attach(store, PHONE, "another", idle_in=lives_in, ends_in=lives_in)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")
    await store.end_grant(USER, "another", version=1, reason="over", write_id="end")

    clock.advance(3599)
    within = [await ended(store, LAPTOP), await ended(store, PHONE)]
    within += [await grant_ended(store), await grant_ended(store, "another")]
    clock.advance(2)
    after = [await ended(store, LAPTOP), await ended(store, PHONE)]
    after += [await grant_ended(store), await grant_ended(store, "another")]

    assert within == ["logout", "over", "logout", "over"]
    assert after == [None] * 4


async def test_the_local_time_is_the_stores(store: MemoryStore, clock: FakeClock) -> None:
    clock.advance(77)

    assert await store.now() == clock.now()


async def test_users_of_whom_nothing_is_left_are_forgotten_and_no_others(
    store: MemoryStore, clock: FakeClock
) -> None:
    gone = [SessionKey(f"gone{i}", "1a") for i in range(100)]
    living = [SessionKey(f"living{i}", "1a") for i in range(5)]
    for key in gone:
        await attach(store, key, idle_in=10, ends_in=10)
    for key in living:
        await attach(store, key)
    await store.take_lease("leaseholder", "grant", "owner", seconds=60)
    await attach(store, SessionKey("ended", "1a"))
    await store.end_grant("ended", "grant", version=1, reason="over", write_id="end")
    await attach(store, SessionKey("idled out", "1a"), idle_in=10)

    clock.advance(11)
    for _ in range(300):
        await store.load(LAPTOP)

    # Nothing but the memory itself shows what it still holds.
    assert len(store._slots) <= 5 + 3 + 1
    assert [await ended(store, key) for key in living] == [""] * 5
    assert not await store.take_lease("leaseholder", "grant", "another", seconds=60)
    assert await ended(store, SessionKey("ended", "1a")) == "over"
    assert await store.load_grant("idled out", "grant")
    assert await version_of(store) is None
