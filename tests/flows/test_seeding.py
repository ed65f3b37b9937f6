"""Access tokens for Argo CD: when they are written, put back, and taken out."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import cast

import pytest
import structlog
from redis.asyncio import Redis
from structlog.testing import capture_logs

from sidecar.adapters.argocd_redis import ArgoCdRedis
from sidecar.app import SystemClock
from sidecar.core.argocd_access_token import encryption_key, open_entry
from sidecar.core.grant import Grant
from sidecar.demo.valkey import valkey
from sidecar.flows.cache import Cache, grant_name
from sidecar.flows.seeding import Seeding
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.ports import AccessToken
from tests.core.examples import grant, token_set
from tests.fakes.clock import FakeClock

SECRET = b"hunter3"


@dataclass
class Here:
    """One replica's seeding, and Argo CD's Redis."""

    seeding: Seeding
    cache: Cache
    clock: FakeClock
    metrics: Metrics
    redis: Redis
    url: str
    owned: AsyncExitStack

    def at(self, url: str) -> ArgoCdRedis:
        """Argo CD's Redis, reached there."""
        made = ArgoCdRedis(
            url, SECRET, key_prefix="", random=os.urandom, clock=SystemClock(), command_seconds=5
        )
        self.owned.push_async_callback(made.aclose)
        return made

    def reach(self, url: str) -> None:
        """From now on access tokens go there."""
        self.seeding.use(self.at(url))

    def knows(self, known: Grant) -> None:
        """This replica has a grant in use."""
        now = self.clock.monotonic()
        self.cache.note_grant(known, f"w{known.id}{known.version}", now, now)

    async def stands(self, subject: str = "alice") -> str | None:
        """The access token that stands there."""
        value = cast(bytes | None, await self.redis.get(f"access_token_{subject}"))
        return open_entry(value, encryption_key(SECRET)) if value else None

    def count(self, result: str) -> float:
        """How many writes ended so."""
        name = "argocd_token_refresh_seeded_access_tokens_total"
        return self.metrics.registry.get_sample_value(name, {"result": result}) or 0.0


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    log, clock, metrics = structlog.get_logger(), FakeClock(start=1000.0), Metrics()
    cache = Cache(1_000_000)
    seeding = Seeding(cache, Runtime(clock, os.urandom, Tasks(log), metrics, log))
    async with valkey() as url, Redis.from_url(url) as redis, AsyncExitStack() as owned:
        made = Here(seeding, cache, clock, metrics, redis, url, owned)
        made.reach(url)
        yield made


def renewed(old: Grant, access_token: str, *, at: float, life: float = 300.0) -> Grant:
    tokens = replace(
        old.tokens,
        access_token=access_token,
        id_token_expires_at=at + life,
        access_token_expires_at=at + life,
        renewed_at=at,
    )
    return old.with_tokens(tokens)


async def test_a_login_and_each_renewal_write_the_token(here: Here) -> None:
    await here.seeding.note(grant())
    assert await here.stands() == "access-1"

    await here.seeding.note(renewed(grant(), "access-2", at=1200.0))

    assert await here.stands() == "access-2"
    assert here.count("written") == 2


async def test_without_a_target_nothing_happens(here: Here) -> None:
    here.seeding.use(None)
    here.knows(grant())

    await here.seeding.note(grant())
    await here.seeding.ensure(grant())
    await here.seeding.look()
    await here.seeding.take_back(grant())

    assert await here.stands() is None


async def test_a_token_that_got_lost_is_put_back_for_whoever_is_in_use(here: Here) -> None:
    idle = grant(id="idle", subject="bob")
    here.knows(idle)
    here.clock.advance(61)
    here.knows(grant())
    await here.seeding.note(grant())
    await here.redis.flushall()

    await here.seeding.look()

    assert await here.stands() == "access-1"
    assert await here.stands("bob") is None
    await here.seeding.ensure(idle)  # its next request
    assert await here.stands("bob") == "access-1"
    assert here.count("put_back") == 2


async def test_of_a_users_logins_the_one_renewed_last_is_put_back(here: Here) -> None:
    second = renewed(grant(id="grant-2"), "second", at=1100.0)
    here.clock.advance(100)
    here.knows(second)
    here.knows(grant())

    await here.seeding.look()

    assert await here.stands() == "second"


async def test_a_session_that_another_replica_began_finds_its_token_there(here: Here) -> None:
    await here.seeding.ensure(grant())
    assert await here.stands() == "access-1"

    await here.redis.set("access_token_alice", "written by another")
    await here.seeding.ensure(renewed(grant(), "access-2", at=1200.0))

    assert await here.redis.get("access_token_alice") == b"written by another"


async def test_a_redis_that_is_away_fails_nothing_and_gets_the_newest_later(here: Here) -> None:
    here.reach("unix:///nowhere/at/all")
    with capture_logs() as logs:
        await here.seeding.note(grant())
        await here.seeding.note(renewed(grant(), "access-2", at=1200.0))
        await here.seeding.ensure(grant(id="other", subject="bob"))
        await here.seeding.look()

    assert here.count("failed") == 3  # nobody's request waits for it a second time
    said = [entry for entry in logs if entry["event"] == "access_token_not_seeded"]
    assert len(said) == 1
    assert "SIDECAR_ARGOCD_REDIS_URL" in said[0]["mend"]
    assert "access-" not in str(logs)

    here.seeding._target = here.at(here.url)  # the same Redis is back
    with capture_logs() as logs:
        await here.seeding.look()

    assert await here.stands() == "access-2"
    assert [entry["event"] for entry in logs] == ["access_tokens_seeded_again"]


async def test_what_waits_never_overwrites_a_later_renewal(here: Here) -> None:
    here.reach("unix:///nowhere/at/all")
    await here.seeding.note(grant())
    here.reach(here.url)
    here.knows(renewed(grant(), "access-2", at=1200.0))

    await here.seeding.look()

    assert await here.stands() == "access-2"


async def test_a_token_whose_id_token_has_ended_is_written_by_nobody(here: Here) -> None:
    here.clock.advance(300)
    here.knows(grant())

    await here.seeding.note(grant())
    await here.seeding.ensure(grant())
    await here.seeding.look()

    assert await here.stands() is None
    assert here.count("failed") == 0


async def test_the_token_of_a_login_that_ended_makes_room_for_the_other_login(here: Here) -> None:
    other = grant(id="grant-2", tokens=token_set(access_token="other"))
    await here.seeding.note(other)
    await here.seeding.note(grant())
    here.knows(other)

    await here.seeding.take_back(grant())

    assert await here.stands() == "other"


async def test_whatever_ends_a_login_its_token_makes_room_by_the_next_look(here: Here) -> None:
    other = grant(id="grant-2", tokens=token_set(access_token="other"))
    here.knows(other)
    here.knows(grant())
    await here.seeding.note(grant())
    name = grant_name("alice", "grant-1")
    here.cache.note_end(name, "ended_by_provider", "w", here.clock.monotonic(), fresh=True)

    await here.seeding.look()

    assert await here.stands() == "other"


async def test_a_login_that_ended_while_its_token_waited_is_not_written(here: Here) -> None:
    here.reach("unix:///nowhere/at/all")
    await here.seeding.note(grant())
    here.reach(here.url)
    name = grant_name("alice", "grant-1")
    here.cache.note_end(name, "logout", "w", here.clock.monotonic(), fresh=True)

    await here.seeding.look()

    assert await here.stands() is None


async def test_the_token_of_the_last_login_goes_with_it(here: Here) -> None:
    await here.seeding.note(grant())

    await here.seeding.take_back(grant())

    assert await here.stands() is None


async def test_access_tokens_that_end_before_their_id_tokens_are_told_once(here: Here) -> None:
    short = grant(tokens=token_set(life=600.0))
    with capture_logs() as logs:
        await here.seeding.note(short)
        await here.seeding.note(short)

    assert [entry["event"] for entry in logs] == ["access_token_ends_first"]


async def test_the_rounds_go_on_until_they_are_ended(here: Here) -> None:
    here.knows(grant())
    tasks = Tasks(structlog.get_logger())
    running = tasks.start_endless(here.seeding.run, "seeding", here.clock)
    async with asyncio.timeout(10):
        while not here.count("put_back"):
            await here.redis.ping()

    await tasks.aclose(seconds=1)
    assert running.cancelled()
    assert await here.stands() == "access-1"


async def test_a_redis_that_went_away_fails_no_request_and_no_logout(here: Here) -> None:
    for fails in (here.seeding.ensure, here.seeding.take_back):
        here.reach("unix:///nowhere/at/all")
        with capture_logs() as logs:
            await fails(grant())

        assert [entry["event"] for entry in logs] == ["access_token_not_seeded"]
    assert here.count("failed") == 2


async def test_a_token_that_waits_until_its_end_is_given_up(here: Here) -> None:
    here.reach("unix:///nowhere/at/all")
    await here.seeding.note(grant())
    here.clock.advance(301)
    await here.seeding.look()

    here.seeding._target = here.at(here.url)  # the same Redis is back
    await here.seeding.look()

    assert await here.stands() is None
    assert here.count("written") == 0


async def test_a_token_that_is_got_while_an_older_one_is_written_is_written_too(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = renewed(grant(), "access-2", at=1200.0)
    target = here.seeding.target
    assert target
    put = target.put

    async def slowly(token: AccessToken) -> None:
        monkeypatch.undo()
        here.reach("unix:///nowhere/at/all")
        await here.seeding.note(newer)
        await put(token)

    monkeypatch.setattr(target, "put", slowly)
    await here.seeding.note(grant())
    here.seeding._target = target

    await here.seeding.look()

    assert await here.stands() == "access-2"


async def test_what_waits_for_a_redis_that_stays_away_is_forgotten_at_its_end(here: Here) -> None:
    here.reach("unix:///nowhere/at/all")
    lasting = grant(id="grant-2", subject="bob", tokens=token_set(life=10_000.0))
    await here.seeding.note(lasting)
    await here.seeding.note(grant())
    here.clock.advance(301)

    await here.seeding.look()

    assert list(here.seeding._waiting) == ["bob"]
