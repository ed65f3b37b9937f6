"""A real Cluster: made, with a slot moved from one server to another, and servers killed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.failover.servers import HOST, WITHIN_SECONDS, Server, Servers, free_ports, servers

SLOTS = 16384
NODE_TIMEOUT_MS = 1000


@dataclass
class RealCluster:
    """Primaries, and a replica for each of them or none."""

    primaries: list[Server]
    replicas: list[Server]

    @property
    def url(self) -> str:
        """Its address for the sidecar."""
        hosts = ",".join(f"{HOST}:{each.port}" for each in self.primaries)
        return f"redis+cluster://{hosts}"

    @property
    def servers(self) -> list[Server]:
        """All of them."""
        return [*self.primaries, *self.replicas]

    def owner_of(self, key: str) -> Server:
        """The primary that got this key's slot at the start."""
        share = SLOTS // len(self.primaries)
        return self.primaries[min(key_slot(key.encode()) // share, len(self.primaries) - 1)]

    async def until_served(self) -> None:
        """Until every server that lives says that all slots are served."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not all([await _serves(server) for server in self._alive()]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def until_primary(self, server: Server) -> None:
        """Until a replica has its primary's place, and all know of it."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while await server.role() != "master":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await self.until_served()

    async def open_move(self, slot: int, source: Server, target: Server) -> None:
        """Begin to move a slot: what is not at the one any more is asked for at the other."""
        names = {server: await _id(server) for server in (source, target)}
        await target.told("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        await source.told("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])

    async def move_keys(self, slot: int, source: Server, target: Server, most: int = 1000) -> int:
        """Move some of a slot's keys; how many."""
        keys = await source.told("CLUSTER", "GETKEYSINSLOT", slot, most)
        if keys:
            await source.told("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    async def close_move(self, slot: int, target: Server) -> None:
        """The slot is the other's now."""
        name = await _id(target)
        for server in (target, *self.primaries):
            await server.told("CLUSTER", "SETSLOT", slot, "NODE", name)

    async def move(self, slot: int, source: Server, target: Server) -> None:
        """Move a slot with all that is in it."""
        await self.open_move(slot, source, target)
        while await self.move_keys(slot, source, target, most=2):
            pass
        await self.close_move(slot, target)

    async def slots_in_use(self, server: Server) -> list[int]:
        """Those of a server's slots that have keys."""
        keys = await server.told("KEYS", "*")
        return sorted({key_slot(key) for key in keys})

    def _alive(self) -> list[Server]:
        return [s for s in self.servers if s.process and s.process.returncode is None]


async def _id(server: Server) -> str:
    return _text(await server.told("CLUSTER", "MYID"))


async def _serves(server: Server) -> bool:
    try:
        said = await server.told("CLUSTER", "INFO")
    except (RedisError, OSError):
        return False
    if not isinstance(said, dict):
        lines = _text(said).split("\r\n")
        said = dict(line.split(":", 1) for line in lines if ":" in line)
    return (said["cluster_state"], said["cluster_slots_ok"]) == ("ok", str(SLOTS))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def made_in(
    made: Servers, program: str, *, primaries: int, replicas: int, **options: str
) -> RealCluster:
    """A Cluster that serves all slots."""
    usual = {
        "cluster_enabled": "yes",
        "cluster_node_timeout": str(NODE_TIMEOUT_MS),
        "repl_diskless_sync_delay": "0",
        **options,
    }
    found = [
        await made.new(program, cluster_port=str(port), **usual)
        for port in free_ports(primaries + replicas)
    ]
    here = RealCluster(found[:primaries], found[primaries:])
    first, share = found[0], SLOTS // primaries
    for number, server in enumerate(here.primaries):
        last = SLOTS - 1 if number == primaries - 1 else (number + 1) * share - 1
        await server.told("CLUSTER", "ADDSLOTSRANGE", number * share, last)
    for number, server in enumerate(found):
        await server.told("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for server in found[1:]:
        await first.told("CLUSTER", "MEET", HOST, server.port, server.options["cluster-port"])
    for primary, replica in zip(here.primaries, here.replicas, strict=False):
        await _follow(replica, await _id(primary))
    await here.until_served()
    async with asyncio.timeout(WITHIN_SECONDS):
        while not all([await _is_linked(replica) for replica in here.replicas]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return here


async def _follow(replica: Server, primary: str) -> None:
    """Once it has heard of its primary."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            try:
                await replica.told("CLUSTER", "REPLICATE", primary)
                return
            except RedisError:
                await asyncio.sleep(0.05)


async def _is_linked(replica: Server) -> bool:
    said = await replica.told("INFO", "replication")
    return bool(said.get("master_link_status") == "up")


@asynccontextmanager
async def cluster(
    program: str, *, primaries: int = 3, replicas: int = 3, **options: str
) -> AsyncIterator[RealCluster]:
    """A Cluster of one's own."""
    async with servers() as made:
        yield await made_in(made, program, primaries=primaries, replicas=replicas, **options)
