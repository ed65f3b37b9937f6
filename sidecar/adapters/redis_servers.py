"""Who of a store's servers is asked for a key: the one there is, or the primary of now."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from sidecar.adapters.redis_cluster import Cluster
from sidecar.adapters.redis_node import FAILURES, Node
from sidecar.adapters.redis_way import Access, RedisWay
from sidecar.adapters.sentinel import sentinels_of, where_is
from sidecar.core.store_address import StoreAddress, StoreKind
from sidecar.ports import Clock

_LOOK_EVERY_SECONDS = 1.0


class Servers(Protocol):
    """The servers of a store. Nothing is sent twice that may have run."""

    @property
    def interrupted_at(self) -> float:
        """When (`Clock.monotonic()`) a connection was last made that took another's place."""
        ...

    async def node_of(self, key: str) -> Node:
        """The server that has this key, as far as that is known."""
        ...

    async def ask(self, key: str, *command: Any, source: str = "") -> Any:
        """A command's answer by the server that has this key."""
        ...

    async def nodes(self) -> Sequence[Node]:
        """All that have keys, always in the same order while they are the same."""
        ...

    def parted(self, keys: Sequence[str]) -> list[list[int]]:
        """Which of these keys may be in one script, by their places."""
        ...

    def look(self) -> None:
        """Have it looked, behind, whether they are still the same."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class OneServer:
    """A single server, or whoever the Sentinels say is the primary."""

    def __init__(
        self,
        address: StoreAddress,
        access: Access,
        clock: Clock,
        *,
        command_seconds: float,
        connect_seconds: float,
    ) -> None:
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._looking: asyncio.Task[None] | None = None
        # Half of the time for a connection: the primary itself has to be reached in it, too.
        self._sentinels = sentinels_of(address, access, seconds=connect_seconds / 2)
        way = RedisWay(
            where_is(address, self._sentinels),
            access,
            command_seconds=command_seconds,
            connect_seconds=connect_seconds,
            database=address.database,
            asks_role=self._sentinels is not None,
        )
        self._node = Node(way, clock)

    @property
    def interrupted_at(self) -> float:
        """When a connection was last made that took another's place."""
        return self._node.interrupted_at

    async def node_of(self, key: str) -> Node:
        """The server."""
        return self._node

    async def ask(self, key: str, *command: Any, source: str = "") -> Any:
        """A command's answer."""
        return await self._node.ask(*command, source=source)

    async def nodes(self) -> Sequence[Node]:
        """The server."""
        return (self._node,)

    def parted(self, keys: Sequence[str]) -> list[list[int]]:
        """All of them."""
        return [list(range(len(keys)))]

    def look(self) -> None:
        """Ask the Sentinels, not more than once a second, whether the primary is another.

        A primary that is cut off from them goes on for those who can reach it: until it is told
        better it would take writes that nobody keeps.
        """
        if self._sentinels is None or self._is_looking():
            return
        if self._clock.monotonic() - self._looked_at < _LOOK_EVERY_SECONDS:
            return
        self._looked_at = self._clock.monotonic()
        self._looking = asyncio.get_running_loop().create_task(self._look(), name="primary")

    async def aclose(self) -> None:
        """Close all connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._sentinels is not None:
            await self._sentinels.aclose()
        await self._node.aclose()

    def _is_looking(self) -> bool:
        return self._looking is not None and not self._looking.done()

    async def _look(self) -> None:
        assert self._sentinels  # noqa: S101 - nobody else looks
        with suppress(*FAILURES):
            self._node.leave_others(await self._sentinels.where())


def servers_of(
    address: StoreAddress,
    access: Access,
    clock: Clock,
    *,
    command_seconds: float,
    connect_seconds: float,
) -> Servers:
    """The servers that an address leads to."""
    made = Cluster if address.kind is StoreKind.CLUSTER else OneServer
    return made(
        address,
        access,
        clock,
        command_seconds=command_seconds,
        connect_seconds=connect_seconds,
    )


def shape_of(nodes: Sequence[Node]) -> str:
    """A name for these servers together; other ones have another."""
    names = ",".join(node.name for node in nodes)
    return hashlib.sha256(names.encode()).hexdigest()[:16]
