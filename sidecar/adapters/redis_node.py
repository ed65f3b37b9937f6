"""One server of a store: its connections, and when they were last made anew."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

from redis.asyncio.connection import AbstractConnection, Connection
from redis.exceptions import AskError, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from sidecar.adapters.redis_client import Access, redis_client
from sidecar.core.store_address import Place
from sidecar.ports import Clock

MAX_CONNECTIONS = 64

FAILURES = (RedisError, OSError, TimeoutError)
"""What a server that was asked may end with."""


class NotPrimary(RedisConnectionError):
    """Who was said to be the primary is a replica."""


class Node:
    """A server, or the one that is the primary now: wherever `where` leads."""

    def __init__(
        self,
        where: Callable[[], Awaitable[Place]] | str,
        access: Access,
        clock: Clock,
        *,
        command_seconds: float,
        connect_seconds: float,
        database: int = 0,
        asks_role: bool = False,
        name: str = "",
    ) -> None:
        self.name = name
        self.interrupted_at = float("-inf")
        self.failed = False
        """Whether it could not be asked lately, and no connection was made since."""
        self._clock = clock
        self._asks_role = asks_role
        self._connected: WeakSet[AbstractConnection] = WeakSet()
        self._broken = True
        self.redis: Any = redis_client(
            where,
            access,
            database=database,
            max_connections=MAX_CONNECTIONS,
            command_seconds=command_seconds,
            connect_seconds=connect_seconds,
            redis_connect_func=self._on_connect,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self.redis.aclose(close_connection_pool=True)

    async def ask(self, *command: Any, source: str = "") -> Any:
        """A command's answer. A script that the server does not know is loaded, and asked again.

        Raises:
            RedisError, OSError, TimeoutError: it is not known whether the command was run.
        """
        try:
            try:
                return await self.redis.execute_command(*command)
            except NoScriptError:
                # What the server did not know it has not run.
                await self.redis.script_load(source)
                return await self.redis.execute_command(*command)
        except FAILURES as error:
            await self.note(error)
            raise

    async def ask_importing(self, *command: Any, source: str = "") -> Any:
        """The same of a slot that is on its way here."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            if source:
                pipeline.execute_command("SCRIPT LOAD", source)
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*command)
            try:
                return (await pipeline.execute())[-1]
            except FAILURES as error:
                await self.note(error)
                raise

    async def note(self, error: Exception) -> None:
        """Learn from an error: which connections are of no use, and whether one broke."""
        if is_read_only(error):
            await self.leave()
        elif not isinstance(error, ResponseError):
            self._broken = self.failed = True

    async def leave(self) -> None:
        """Give up all connections: they lead to a server that is not the primary any more."""
        self._broken = True
        await self.redis.connection_pool.disconnect()

    async def leave_others(self, place: Place) -> None:
        """Give up those connections that lead elsewhere."""
        others = [
            one
            for one in self._connected
            if isinstance(one, Connection) and one.is_connected and (one.host, one.port) != place
        ]
        if others:
            self._broken = True
            await asyncio.gather(*(one.disconnect(nowait=True) for one in others))

    async def _on_connect(self, connection: AbstractConnection) -> None:
        """The library's own greeting; after a break there may be another server.

        So there may at the first one: what ended the process before this one may have ended a
        server.
        """
        await connection.on_connect()
        if self._asks_role:
            await connection.send_command("ROLE")
            if (await connection.read_response())[0] != b"master":
                raise NotPrimary
        if self._broken or connection in self._connected:
            self._broken = False
            self.interrupted_at = self._clock.monotonic()
        self._connected.add(connection)
        self.failed = False


def is_read_only(error: Exception) -> bool:
    """Whether the server is a replica. Before Redis 7 a script's error is told in another's."""
    said = isinstance(error, ResponseError) and not isinstance(error, AskError)
    return isinstance(error, ReadOnlyError) or (said and "-READONLY" in str(error))
