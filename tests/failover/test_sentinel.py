"""The primary behind real Sentinels, as the store finds it and leaves it."""

import asyncio
from contextlib import suppress

import pytest

from sidecar.adapters.redis_store import RedisStore
from sidecar.errors import StoreUnavailable
from sidecar.ports import SaveResult, StoredSession
from tests.adapters.conftest import PATIENT
from tests.adapters.records import LAPTOP, USER, attach, write
from tests.failover.servers import redis_program, watched
from tests.fakes.clock import FakeClock


async def test_the_store_follows_its_primary_and_what_failed_is_not_sent_again() -> None:
    clock = FakeClock()
    async with watched(redis_program()) as here:
        store = RedisStore(here.url, prefix="p:", clock=clock, **PATIENT)
        await attach(store, LAPTOP)
        await here.primary.told("WAIT", 1, 5000)
        first, renewed = store.interrupted_at, await write(store, 2)
        clock.advance(5.0)

        await here.primary.kill()
        with pytest.raises(StoreUnavailable):
            await store.save_grant(USER, "grant", renewed)
        await here.until_primary_is(here.replica)
        found = await _loaded(store)

        assert found.grant
        assert found.grant.version == 1
        assert await store.save_grant(USER, "grant", renewed) is SaveResult.SAVED
        assert store.interrupted_at > first
        await store.aclose()


async def _loaded(store: RedisStore) -> StoredSession:
    """The session, once the store finds the new primary."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):
                found = await store.load(LAPTOP)
                assert found
                return found
            await asyncio.sleep(0.02)
