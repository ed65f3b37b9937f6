"""Every fault of a store that is told of in `docs/store.md`."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from redis.exceptions import RedisError

from tests.failover.cluster import RealCluster, cluster
from tests.failover.servers import (
    HOST,
    Server,
    Watched,
    redis_program,
    servers,
    valkey_program,
    watched,
)
from tests.failover.slow import Slow
from tests.failover.story import Place, Setting, Story

AWAY_SECONDS = 3.0
FULL_SECONDS = 4.0
LONG_SECONDS = 12.0
AHEAD = 4  # writes of grants: two renewals
JUNK = "x" * 8192
POLICIES = {
    "noeviction": False,
    "allkeys-lru": True,
    "allkeys-lfu": True,
    "allkeys-random": True,
    "volatile-lru": True,
    "volatile-lfu": True,
    "volatile-random": True,
    "volatile-ttl": True,
}
"""Whether sessions may be thrown away."""


def at(url: str, **environment: str) -> dict[str, str]:
    """How a store is reached."""
    return {"SIDECAR_STORE_URL": url, **environment}


def with_server(fault: Callable[[Server], Awaitable[None]], **options: str) -> Setting:
    """A Valkey of one's own, and what happens to it."""

    @asynccontextmanager
    async def setting() -> AsyncIterator[Place]:
        async with servers() as made:
            server = await made.new(valkey_program(), **options)
            yield Place(environment=at(server.url), fault=lambda: fault(server))

    return setting


def with_sentinels(fault: Callable[[Watched], Awaitable[None]], **options: str) -> Setting:
    """A primary and a replica behind Sentinels, and what happens to them."""

    @asynccontextmanager
    async def setting() -> AsyncIterator[Place]:
        async with watched(redis_program(), **options) as here:
            yield Place(environment=at(here.url), fault=lambda: fault(here))

    return setting


# One server


async def restarted(server: Server) -> None:
    """Killed, and started again."""
    await server.kill()
    await asyncio.sleep(AWAY_SECONDS)
    await server.start()


async def away_for_long(server: Server) -> None:
    """Killed, and started again when every token has ended."""
    await server.kill()
    await asyncio.sleep(LONG_SECONDS)
    await server.start()


async def loading(server: Server) -> None:
    """Ended in order, and started again with data that take a while."""
    await server.told("CONFIG", "SET", "rdbcompression", "no")
    await server.told("DEBUG", "POPULATE", 600, "junk", 2048)
    await server.told("SAVE")
    await server.kill()
    await server.launch(key_load_delay="5000", loading_process_events_interval_bytes="1024")
    await asyncio.sleep(AWAY_SECONDS)
    await server.until_it_answers()


async def busy(server: Server) -> None:
    """A script that does not end by itself."""
    await server.told("CONFIG", "SET", "busy-reply-threshold", 100)
    running = asyncio.ensure_future(server.told("EVAL", "while true do end", 0))
    await asyncio.sleep(AWAY_SECONDS)
    await server.told("SCRIPT", "KILL")
    with suppress(RedisError):
        await running


async def hanging(server: Server) -> None:
    """Connections stay open, and nothing is answered."""
    server.stop()
    await asyncio.sleep(AWAY_SECONDS)
    server.go_on()


async def read_only(server: Server) -> None:
    """A replica for a while, of a server that is not there."""
    await server.told("REPLICAOF", HOST, 1)
    await asyncio.sleep(AWAY_SECONDS)
    await server.told("REPLICAOF", "NO", "ONE")


async def without_replicas(server: Server) -> None:
    """What `min-replicas-to-write` does when no replica follows."""
    await server.told("CONFIG", "SET", "min-replicas-to-write", 1)
    await asyncio.sleep(AWAY_SECONDS)
    await server.told("CONFIG", "SET", "min-replicas-to-write", 0)


async def cut(server: Server) -> None:
    """All connections, again and again."""
    until = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < until:
        await server.told("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0.2)


async def flushed(server: Server) -> None:
    """Everything is gone."""
    await server.told("FLUSHALL")


async def full(server: Server) -> None:
    """Others fill the memory that there is."""
    used = (await server.told("INFO", "memory"))["used_memory"]
    await server.told("CONFIG", "SET", "maxmemory", used + 256 * 1024)
    until, number = time.monotonic() + FULL_SECONDS, 0
    async with server.client() as redis:
        while time.monotonic() < until:
            with suppress(RedisError):
                for _ in range(10):
                    number += 1
                    await redis.set(f"junk:{number}", JUNK)
            await asyncio.sleep(0.05)
        await redis.config_set("maxmemory", 0)
        await redis.delete(*(f"junk:{each}" for each in range(1, number + 1)))


def slow(seconds: float) -> Setting:
    """Each answer comes later than it could."""

    @asynccontextmanager
    async def setting() -> AsyncIterator[Place]:
        async with servers() as made:
            server = await made.new(valkey_program())
            relay = Slow(server.port)

            async def fault() -> None:
                relay.seconds = seconds
                await asyncio.sleep(AWAY_SECONDS)
                relay.seconds = 0.0

            async with relay.running() as port:
                yield Place(environment=at(f"redis://{HOST}:{port}/0"), fault=fault)

    return setting


@asynccontextmanager
async def password_rotated() -> AsyncIterator[Place]:
    """As `docs/store.md` has it."""
    async with servers() as made:
        server = await made.new(valkey_program())
        user = ("ACL", "SETUSER", "sidecar")
        await server.told(*user, "on", "~*", "+@all", ">old")
        file = Path(made.folder, "password")
        write_text(file, "old")

        async def fault() -> None:
            await server.told(*user, ">new")
            write_text(file, "new")
            await server.told(*user, "<old")
            await server.told("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        environment = at(
            server.url.replace("redis://", "redis://sidecar@"),
            SIDECAR_STORE_PASSWORD_FILE=str(file),
        )
        yield Place(environment=environment, fault=fault)


def write_text(file: Path, text: str) -> None:
    """Put it there."""
    file.write_text(text)


# A Cluster


def with_cluster(fault: Callable[[RealCluster], Awaitable[None]]) -> Setting:
    """Three primaries with a replica each, and what happens to them."""

    @asynccontextmanager
    async def setting() -> AsyncIterator[Place]:
        async with cluster(valkey_program()) as here:
            yield Place(environment=at(here.url), fault=lambda: fault(here))

    return setting


async def server_killed(here: RealCluster) -> None:
    """One of three; its replica gets its place."""
    await here.primaries[0].kill()
    await here.until_primary(here.replicas[0])


async def slots_moved(here: RealCluster) -> None:
    """All that have something in them go from one server to another."""
    source, target = here.primaries[0], here.primaries[1]
    for slot in await here.slots_in_use(source):
        await here.move(slot, source, target)


# Sentinels


async def primary_killed(here: Watched) -> None:
    """And nothing was lost on the way to the replica."""
    await here.primary.kill()
    await here.until_primary_is(here.replica)


async def primary_hangs(here: Watched) -> None:
    """Until another has its place; then it goes on, and takes itself for the primary."""
    here.primary.stop()
    await here.until_primary_is(here.replica)
    here.primary.go_on()
    async with asyncio.timeout(30):
        while await here.primary.role() != "slave":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def primary_killed_ahead(here: Watched) -> None:
    """The replica has not heard of what was written since it stopped following."""
    await here.primary.told("ACL", "SETUSER", "follower", "off")
    await here.primary.told("CLIENT", "KILL", "TYPE", "replica")
    async with asyncio.timeout(20):
        while await _grants(here.primary) - await _grants(here.replica) < AHEAD:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await here.primary.kill()
    await here.until_primary_is(here.replica)


async def _grants(server: Server) -> int:
    """How often grants have changed."""
    async with server.client() as redis:
        keys = await redis.keys("*:grant:*")
        return sum([int(await redis.hget(key, "v") or 0) for key in keys])


_FOLLOWER = {
    "user": "follower on ~* &* +@all >follows",
    "masteruser": "follower",
    "masterauth": "follows",
}

STORIES = (
    Story(
        name="sentinel-killed",
        short=True,
        title="Sentinel: the primary is killed",
        setting=with_sentinels(primary_killed),
    ),
    Story(
        name="sentinel-hangs",
        title="Sentinel: the primary hangs, and comes back when another has its place",
        setting=with_sentinels(primary_hangs),
    ),
    Story(
        name="sentinel-lost-writes",
        short=True,
        title="Sentinel: the primary is killed, and the replica lacks its last writes",
        setting=with_sentinels(primary_killed_ahead, **_FOLLOWER),
        heals=True,
    ),
    Story(
        name="cluster-killed",
        short=True,
        title="Cluster: one of three primaries is killed (`cluster-node-timeout` 1 s)",
        setting=with_cluster(server_killed),
    ),
    Story(
        name="cluster-moved",
        short=True,
        title="Cluster: all keys of one server are moved to another",
        setting=with_cluster(slots_moved),
    ),
    Story(
        name="restart-with-aof",
        title="`kill -9`, 3 s later started again, `appendonly yes`",
        setting=with_server(restarted, appendonly="yes"),
    ),
    Story(
        name="away-for-long",
        title="the same, 12 s later: longer than tokens live",
        setting=with_server(away_for_long, appendonly="yes"),
    ),
    Story(
        name="restart-without-data",
        short=True,
        title="`kill -9`, 3 s later started again, without a disk",
        setting=with_server(restarted),
        loses_idle=True,
        heals=True,
    ),
    Story(
        name="flushed",
        title="`FLUSHALL`",
        setting=with_server(flushed),
        loses_idle=True,
        heals=True,
    ),
    Story(
        name="flushed-and-killed",
        title="`FLUSHALL`, and at once one of the two replicas is killed",
        setting=with_server(flushed),
        loses_idle=True,
        heals=True,
        short=True,
        kills=True,
    ),
    Story(
        name="loading",
        title="restart from a dump that takes 3 s to load (`LOADING`)",
        setting=with_server(loading, enable_debug_command="yes"),
    ),
    Story(
        name="busy", short=True, title="a script runs for 3 s (`BUSY`)", setting=with_server(busy)
    ),
    Story(
        name="hangs",
        title="the server stands still for 3 s, connections open",
        setting=with_server(hanging),
    ),
    Story(
        name="slow",
        title="each answer takes 150 ms more, for 3 s",
        setting=slow(0.15),
    ),
    Story(
        name="too-slow",
        title="each answer takes 400 ms more, for 3 s",
        setting=slow(0.4),
    ),
    Story(
        name="read-only",
        short=True,
        title="the server is a replica for 3 s (`READONLY`)",
        setting=with_server(read_only),
    ),
    Story(
        name="no-replicas",
        title="`min-replicas-to-write 1` without one for 3 s (`NOREPLICAS`)",
        setting=with_server(without_replicas),
    ),
    Story(
        name="cut",
        title="all connections cut five times a second, for 3 s",
        setting=with_server(cut),
    ),
    Story(
        name="password",
        short=True,
        title="another password, in the order of this page",
        setting=password_rotated,
    ),
    *(
        Story(
            name=f"full-{policy}",
            short=policy in ("noeviction", "volatile-ttl"),
            title=f"others fill the memory for 4 s, `{policy}`",
            setting=with_server(full, maxmemory_policy=policy),
            loses_idle=loses,
        )
        for policy, loses in POLICIES.items()
    ),
)
