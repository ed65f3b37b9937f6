"""Access tokens in a real Valkey, read by a reader written after Argo CD's own source."""

import os
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from sidecar.adapters.argocd_redis import ArgoCdRedis
from sidecar.app import SystemClock
from sidecar.demo.argocd_userinfo import UserinfoGroups, UserinfoSettings
from sidecar.demo.valkey import valkey
from sidecar.errors import SeedUnavailable
from sidecar.ports import AccessToken
from tests.adapters.conftest import ValkeyServer
from tests.adapters.relay import Relay
from tests.adapters.watchers import watchers
from tests.world import free_port

SECRET = b"hunter3"
TOKEN = AccessToken("auth0|ada", "access-1", 90.0)


@dataclass
class Place:
    """Argo CD's Redis, as the sidecar and as Argo CD see it."""

    ours: ArgoCdRedis
    redis: Redis
    prefix: str
    argocd: UserinfoGroups

    async def read(self, subject: str = TOKEN.subject) -> str | None:
        """The access token that Argo CD finds."""
        found = await self.argocd._read(self.redis, f"access_token_{subject}")
        return None if found is None else found.decode()


def reach(url: str, prefix: str = "", secret: bytes = SECRET) -> ArgoCdRedis:
    return ArgoCdRedis(
        url, secret, key_prefix=prefix, random=os.urandom, clock=SystemClock(), command_seconds=5
    )


@pytest.fixture
async def place(valkey_server: ValkeyServer, prefix: str) -> AsyncIterator[Place]:
    url = valkey_server.unix
    ours = reach(url, prefix)
    argocd = UserinfoGroups(UserinfoSettings(url, SECRET, prefix), "", now=lambda: 0.0)
    async with Redis.from_url(url) as redis:
        yield Place(ours, redis, prefix, argocd)
    await ours.aclose()


async def test_argocd_reads_what_was_put_there_for_as_long_as_its_id_token_lives(
    place: Place,
) -> None:
    await place.ours.put(TOKEN)

    assert await place.read() == "access-1"
    left = await place.redis.pttl(f"{place.prefix}access_token_auth0|ada")
    assert 80_000 < left <= 90_000


async def test_each_entry_is_sealed_with_a_nonce_of_its_own(place: Place) -> None:
    name = f"{place.prefix}access_token_auth0|ada"
    await place.ours.put(TOKEN)
    first = await place.redis.get(name)
    await place.ours.put(TOKEN)

    assert await place.redis.get(name) != first


async def test_argocd_asks_for_the_groups_anew_once_a_new_token_is_there(place: Place) -> None:
    names = [
        f"{place.prefix}{kind}_auth0|ada"
        for kind in ("userinfo_response", "azure_groups_overage_response")
    ]
    await place.redis.mset(dict.fromkeys(names, "old groups"))

    await place.ours.put(TOKEN)

    assert await place.redis.mget(names) == [None, None]


async def test_only_what_is_missing_is_put_back(place: Place) -> None:
    await place.ours.put(TOKEN)
    older = AccessToken(TOKEN.subject, "older", 90.0)
    many = [AccessToken(f"user-{i}", f"access-{i}", 90.0) for i in range(1200)]

    assert await place.ours.put_back([older, *many]) == 1200

    assert await place.read() == "access-1"
    assert await place.read("user-1199") == "access-1199"
    assert await place.ours.put_back([older, *many]) == 0


async def test_a_token_is_taken_back_only_if_it_is_the_one_that_is_there(place: Place) -> None:
    await place.ours.put(TOKEN)

    await place.ours.take_back(AccessToken(TOKEN.subject, "another login's", 1.0))
    assert await place.read() == "access-1"

    await place.ours.take_back(TOKEN)
    assert await place.read() is None
    await place.ours.take_back(TOKEN)  # and nothing is fine too


async def test_a_redis_that_is_not_there_is_said_without_the_token(tmp_path: str) -> None:
    ours = reach(f"unix://{tmp_path}/nobody")

    for call in (ours.put(TOKEN), ours.put_back([TOKEN]), ours.take_back(TOKEN)):
        with pytest.raises(SeedUnavailable) as caught:
            await call
        assert "access-1" not in "".join(traceback.format_exception(caught.value))


async def test_a_redis_that_refuses_is_said() -> None:
    async with valkey() as url, Redis.from_url(url) as redis:
        await redis.config_set("requirepass", "hunter4")
        ours = reach(url.replace("unix://", "unix://:wrong@"))

        with pytest.raises(SeedUnavailable, match="AuthenticationError"):
            await ours.put(TOKEN)
        await ours.aclose()


async def test_an_access_token_is_put_into_the_primary_that_sentinels_name(prefix: str) -> None:
    port = free_port()
    async with valkey("--port", str(port)) as url, watchers(1) as (watcher,):
        watcher.primary = port
        ours = reach(f"redis+sentinel://{watcher.host}/main", prefix)

        await ours.put(TOKEN)

        async with Redis.from_url(url) as redis:
            assert await redis.dbsize() == 1
        await ours.aclose()


async def test_a_redis_that_became_a_replica_is_left_for_where_the_address_leads(
    prefix: str,
) -> None:
    async with valkey() as first, valkey() as second:
        relay = Relay(first)
        async with relay.running() as url:
            ours = reach(url, prefix)
            await ours.put(TOKEN)
            async with Redis.from_url(first) as redis:
                await redis.replicaof("127.0.0.1", 1)
            relay.lead_to(second)

            with pytest.raises(SeedUnavailable):
                await ours.put(TOKEN)
            await ours.put(TOKEN)

            async with Redis.from_url(second) as redis:
                assert await redis.dbsize() == 1
            await ours.aclose()
