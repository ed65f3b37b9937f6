"""However many sessions there are, a command holds few of them at a time."""

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import structlog

from sidecar.adapters.redis_store import RedisStore
from sidecar.core.grant import Grant, Sharing
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import SESSION_SECRET_BYTES, Session, new_session_cookie, user_tag
from sidecar.core.tokens import TokenSet
from sidecar.flows.records import Client, Records
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.flows.walk import Walk
from sidecar.metrics import Metrics
from tests.adapters.conftest import PATIENT
from tests.fakes.clock import FakeClock

CLIENT = Client("https://idp.example.org", "argo-cd")
FEW, MANY = 600, 1800


@dataclass
class Crowd:
    """A store with as many sessions as one likes, each of a user of its own."""

    store: RedisStore
    records: Records
    count: int = 0

    async def grow(self, count: int) -> None:
        """Until there are so many."""
        now = await self.store.now()
        while self.count < count:
            await asyncio.gather(*(self._log_in(f"user-{self.count + n}", now) for n in range(100)))
            self.count += 100

    async def peak(self) -> int:
        """How many bytes a walk over all of them takes at most, while each is looked at."""
        seen = 0
        tracemalloc.start()
        async for batch in Walk(self.store, self.records).sessions():
            seen += len(batch)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seen >= self.count
        return peak

    async def _log_in(self, subject: str, now: float) -> None:
        tag = user_tag(CLIENT.issuer, CLIENT.client_id, subject)
        tokens = TokenSet("i" * 2000, now, now + 300, "a" * 1000, now + 300, "r" * 500, None, now)
        grant = Grant(
            subject, tag, 1, CLIENT.issuer, CLIENT.client_id, subject, Sharing.PER_SESSION, tokens,
            now + 9000,
        )  # fmt: skip
        _, key = new_session_cookie(tag, self.records.ring, random=os.urandom(SESSION_SECRET_BYTES))
        session = Session(key, grant.id, now, now + 9000, "a browser", now)
        await self.store.attach(
            key,
            self.records.seal_session(session),
            grant.id,
            self.records.seal_grant(grant),
            idle_ends_at=now + 9000,
        )


@pytest.fixture
async def crowd(store_url: str, fake_clock: FakeClock) -> AsyncIterator[Crowd]:
    log = structlog.get_logger()
    store = RedisStore(store_url, prefix="p:", clock=fake_clock, **PATIENT)
    runtime = Runtime(fake_clock, os.urandom, Tasks(log), Metrics(), log)
    yield Crowd(store, Records(KeyRing([Key("k", b"k" * 32)]), CLIENT, runtime, prefix="p:"))
    await store.aclose()


async def test_three_times_as_many_sessions_take_no_more_memory_to_look_at(crowd: Crowd) -> None:
    await crowd.grow(FEW)
    few = await crowd.peak()
    await crowd.grow(MANY)

    assert await crowd.peak() < 1.5 * few
