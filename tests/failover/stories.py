"""Every fault of a store that is told of in `docs/store.md`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.failover.servers import (
    Server,
    redis_program,
    servers,
    valkey_program,
    watched,
)
from tests.failover.story import Place, Story

AWAY_SECONDS = 3.0


def at(url: str, **environment: str) -> dict[str, str]:
    """How a store is reached."""
    return {"SIDECAR_STORE_URL": url, **environment}


@asynccontextmanager
async def one(**options: str) -> AsyncIterator[Server]:
    """A server of one's own."""
    async with servers() as made:
        yield await made.new(valkey_program(), **options)


@asynccontextmanager
async def restarted_without_data() -> AsyncIterator[Place]:
    async with one() as server:

        async def fault() -> None:
            await server.kill()
            await asyncio.sleep(AWAY_SECONDS)
            await server.start()

        yield Place(environment=at(server.url), fault=fault)


@asynccontextmanager
async def restarted_with_a_log() -> AsyncIterator[Place]:
    async with one(appendonly="yes") as server:

        async def fault() -> None:
            await server.kill()
            await asyncio.sleep(AWAY_SECONDS)
            await server.start()

        yield Place(environment=at(server.url), fault=fault)


@asynccontextmanager
async def primary_killed() -> AsyncIterator[Place]:
    async with watched(redis_program()) as here:

        async def fault() -> None:
            await here.primary.kill()
            await here.until_primary_is(here.replica)

        yield Place(environment=at(here.url), fault=fault)


STORIES = (
    Story(
        name="sentinel-killed",
        title="Sentinel: the primary is killed",
        setting=primary_killed,
    ),
    Story(
        name="restart-without-data",
        title="restart of a server that keeps nothing",
        setting=restarted_without_data,
        loses_idle=True,
    ),
    Story(
        name="restart-with-aof",
        title="restart with `appendonly yes`",
        setting=restarted_with_a_log,
    ),
)
