"""Who of a store's servers is asked for a key: the one there is, or the primary of now."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from redis.exceptions import RedisError

from sidecar.adapters.redis_client import Access
from sidecar.adapters.redis_cluster import Cluster
from sidecar.adapters.redis_node import Node
from sidecar.adapters.sentinel import sentinels_of, way_to
from sidecar.core.store_address import Place, StoreAddress, StoreKind
from sidecar.ports import Clock

_LOOK_EVERY_SECONDS = 1.0


class Servers(Protocol):
    """The servers of a store. Errors are the library's; nothing is sent twice that may have run."""

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
        self._node = Node(
            self._find if self._sentinels else way_to(address, None),
            access,
            clock,
            command_seconds=command_seconds,
            connect_seconds=connect_seconds,
            database=address.database,
            asks_role=self._sentinels is not None,
        )

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
        with suppress(RedisError, OSError):
            await self._node.leave_others(await self._sentinels.where())

    async def _find(self) -> Place:
        assert self._sentinels  # noqa: S101 - nobody else has to be found
        found = await self._sentinels.where()
        # Those that lead to the one before would go on there for as long as it lives.
        await self._node.leave_others(found)
        return found


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
