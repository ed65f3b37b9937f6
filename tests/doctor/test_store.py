"""Ways to break the store: real Valkeys that are badly set up."""

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from sidecar.config.settings import Config
from sidecar.demo.valkey import valkey
from sidecar.doctor.findings import Level
from sidecar.doctor.store import of_store
from sidecar.doctor.store_look import StoreSeen
from tests.adapters.watchers import watchers
from tests.doctor.patient import Patient
from tests.failover.cluster import cluster
from tests.failover.servers import valkey_program
from tests.world import free_port


async def told(url: str, command: str) -> None:
    """Tell a server something, as its operator."""
    async with Redis.from_url(url) as redis:
        await redis.execute_command(*command.split())  # type: ignore[no-untyped-call]


async def test_doctor_finds_nothing_wrong_with_a_healthy_store(here: Patient) -> None:
    async with valkey() as url:
        assert await here.complaints(SIDECAR_STORE_URL=url) == {}


async def test_doctor_leaves_nothing_in_the_store_that_does_not_end(here: Patient) -> None:
    async with valkey() as url, Redis.from_url(url) as redis:
        await here.findings(SIDECAR_STORE_URL=url)

        keys = await redis.keys("*")
        assert keys
        assert all([0 < await redis.ttl(key) <= 60 for key in keys])


async def test_doctor_finds_sessions_in_memory(here: Patient) -> None:
    found = {each.id: each for each in await here.findings()}

    assert found["store.kind"].level is Level.WARNING


async def test_doctor_finds_a_store_that_is_away(here: Patient) -> None:
    url = f"redis://user:hush@127.0.0.1:{free_port()}/0"
    found = await here.complaints(SIDECAR_STORE_URL=url)

    assert set(found) == {"store.reach"}
    assert found["store.reach"].level is Level.FAULT
    assert "hush" not in repr(found)


async def test_doctor_finds_a_wrong_store_password(here: Patient) -> None:
    port = free_port()
    async with valkey("--port", str(port)) as url:
        await told(url, "CONFIG SET requirepass right")
        found = await here.complaints(SIDECAR_STORE_URL=f"redis://:wrong@127.0.0.1:{port}/0")

    assert set(found) == {"store.reach"}
    assert "refuses the password" in found["store.reach"].what


async def test_doctor_finds_a_missing_store_password(here: Patient) -> None:
    async with valkey() as url:
        await told(url, "CONFIG SET requirepass right")
        found = await here.complaints(SIDECAR_STORE_URL=url)

    assert set(found) == {"store.reach"}
    assert "argocd-redis" in found["store.reach"].mend


async def test_doctor_finds_a_store_that_evicts(here: Patient) -> None:
    async with valkey("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as url:
        found = await here.complaints(SIDECAR_STORE_URL=url)

    assert set(found) == {"store.eviction"}
    assert "noeviction" in found["store.eviction"].mend


async def test_doctor_finds_a_store_that_is_full(here: Patient) -> None:
    async with valkey("--maxmemory", "1mb") as url:
        found = await here.complaints(SIDECAR_STORE_URL=url)

    assert "store.eviction" in found
    assert "full" in found["store.eviction"].what


async def test_doctor_finds_a_store_that_is_a_replica(here: Patient) -> None:
    async with valkey("--replicaof", f"127.0.0.1 {free_port()}") as url:
        found = await here.complaints(SIDECAR_STORE_URL=url)

    assert set(found) == {"store.scripts"}
    assert "replica" in found["store.scripts"].what


async def test_doctor_finds_a_store_without_scripts(here: Patient) -> None:
    async with valkey() as url:
        await told(url, "ACL SETUSER default -@scripting")
        found = await here.complaints(SIDECAR_STORE_URL=url)

    assert set(found) == {"store.scripts"}
    assert "+evalsha" in found["store.scripts"].mend


async def test_doctor_says_what_it_cannot_see_of_a_store(here: Patient) -> None:
    async with valkey() as url:
        await told(url, "ACL SETUSER default -info")
        found = await here.complaints(SIDECAR_STORE_URL=url)

    assert set(found) == {"store.report"}


async def test_doctor_finds_tls_that_the_store_does_not_speak(here: Patient) -> None:
    port = free_port()
    async with valkey("--port", str(port)):
        found = await here.complaints(SIDECAR_STORE_URL=f"rediss://127.0.0.1:{port}/0")

    assert set(found) == {"store.reach"}
    assert "redis://" in found["store.reach"].mend


GOOD = StoreSeen(saves=True, refuses_stale=True, keeps_ttl=True, info={"redis_version": "7.2.4"})


@pytest.mark.parametrize(
    ("seen", "name", "level"),
    [
        pytest.param({"info": {"redis_version": "6.0.16"}}, "store.version", "fault", id="old"),
        pytest.param(
            {"info": {"rdb_last_bgsave_status": "err"}}, "store.persistence", "fault", id="disk"
        ),
        pytest.param({"refuses_stale": False}, "store.scripts", "fault", id="no-cas"),
        pytest.param({"keeps_ttl": False}, "store.ttl", "fault", id="no-end"),
        pytest.param({"clock_ahead": 40.0}, "store.clock", "warning", id="clock"),
        pytest.param({"answer_seconds": 0.2}, "store.reach", "warning", id="slow"),
    ],
)
async def test_doctor_judges_what_a_store_shows(
    here: Patient, seen: dict[str, Any], name: str, level: str
) -> None:
    config = Config.load({**here.environment, "SIDECAR_STORE_URL": "redis://127.0.0.1/0"})
    found = {each.id: each for each in of_store(config, replace(GOOD, **seen))}

    assert {each.id for each in found.values() if each.level is not Level.OK} == {name}
    assert found[name].level == level


async def test_doctor_finds_a_password_on_its_way_in_clear_text(here: Patient) -> None:
    config = Config.load({**here.environment, "SIDECAR_STORE_URL": "redis://redis.example.org/0"})

    assert "store.tls" in {each.id for each in of_store(config, GOOD) if each.level != "ok"}


async def test_doctor_finds_a_primary_that_its_sentinels_do_not_know(here: Patient) -> None:
    async with watchers(3) as three:
        hosts = ",".join(each.host for each in three)
        url = f"redis+sentinel://:hush@{hosts}/main"
        found = await here.complaints(SIDECAR_STORE_URL=url)

    assert set(found) == {"store.reach"}
    assert "SENTINEL MASTERS" in found["store.reach"].mend
    assert "hush" not in repr(found)


async def test_doctor_finds_sentinels_that_are_away(here: Patient) -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()}/main"
    found = await here.complaints(SIDECAR_STORE_URL=url)

    assert set(found) == {"store.reach"}
    assert "Sentinels" in found["store.reach"].what


async def test_doctor_looks_at_the_primary_behind_sentinels(here: Patient) -> None:
    port = free_port()
    async with valkey("--port", str(port)), watchers(1) as (watcher,):
        watcher.primary = port

        assert (
            await here.complaints(SIDECAR_STORE_URL=f"redis+sentinel://{watcher.host}/main") == {}
        )


async def test_doctor_finds_nothing_wrong_with_a_healthy_cluster(here: Patient) -> None:
    async with cluster(valkey_program(), replicas=0) as made:
        assert await here.complaints(SIDECAR_STORE_URL=made.url) == {}


async def test_doctor_finds_one_server_of_a_cluster(here: Patient) -> None:
    async with cluster(valkey_program(), replicas=0) as made:
        found = [await here.complaints(SIDECAR_STORE_URL=one.url) for one in made.primaries]

    moved = [each["store.scripts"] for each in found if each]
    assert len(moved) >= 2  # one of them may have the slot that is asked for
    assert all("redis+cluster://" in finding.mend for finding in moved)


async def test_doctor_finds_a_cluster_that_is_none(here: Patient) -> None:
    port = free_port()
    async with valkey("--port", str(port)):
        found = await here.complaints(SIDECAR_STORE_URL=f"redis+cluster://127.0.0.1:{port}")

    assert set(found) == {"store.reach"}
    assert "no Cluster" in found["store.reach"].what
