"""One server of a store: its connection, and when that was last made anew."""

import asyncio
from contextlib import suppress
from typing import Any

from sidecar.adapters.redis_connection import (
    AuthenticationError,
    NotSent,
    RedisConnection,
    ResponseError,
    packed,
    taken,
)
from sidecar.adapters.redis_way import RedisWay
from sidecar.core.store_address import Place
from sidecar.ports import Clock

FAILURES = (ResponseError, OSError)
"""What a server that was asked may end with. A `TimeoutError` is an `OSError`."""

_NOT_LET_IN = ("NOAUTH", "WRONGPASS")


class Node:
    """A server, or the one that is the primary now: wherever its way leads.

    All that is asked of it goes by one connection, which is made when it is needed.
    """

    def __init__(self, way: RedisWay, clock: Clock, *, name: str = "") -> None:
        self.name = name
        self.interrupted_at = float("-inf")
        """When a connection was last made: behind it there may be another server.

        So there may behind the first one: what ended the process before this one may have
        ended a server.
        """
        self.failed = False
        """Whether it could not be asked lately, and no connection was made since."""
        self._way = way
        self._clock = clock
        self._connection: RedisConnection | None = None
        self._place: Place | None = None
        self._connecting: asyncio.Task[RedisConnection] | None = None

    async def aclose(self) -> None:
        """Close the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._connection is not None:
            await self._connection.aclose()

    async def send(self, commands: bytes, count: int = 1) -> list[Any]:
        """The answers to so many commands, refusals (`ResponseError`) among them.

        Raises:
            OSError, TimeoutError: it is not known whether they were run.
            ResponseError: the server refuses to begin.
        """
        try:
            answers = await self._sent(commands, count)
        except NotSent as unsent:
            self.failed = True
            raise unsent.why from None
        except OSError:
            self.failed = True
            raise
        for answer in answers:
            if isinstance(answer, ResponseError):
                self._learn_from(answer)
        return answers

    async def _sent(self, commands: bytes, count: int) -> list[Any]:
        """The answers, by a connection that may have just been found to be closed."""
        if self._connection is not None:
            with suppress(NotSent):
                return await self._connection.send(commands, count)
        connection = await self._connected()
        return await connection.send(commands, count)

    async def ask(self, *command: Any, source: str = "") -> Any:
        """A command's answer. A script that the server does not know is loaded, and asked again.

        Raises:
            ResponseError: the server refuses the command.
            OSError, TimeoutError: it is not known whether the command was run.
        """
        asked = packed(*command)
        [answer] = await self.send(asked)
        if isinstance(answer, ResponseError) and answer.code == "NOSCRIPT":
            # What the server did not know it has not run.
            return taken(await self.send(packed("SCRIPT", "LOAD", source) + asked, 2))[-1]
        return taken([answer])[0]

    async def ask_importing(self, *command: Any, source: str = "") -> Any:
        """The same of a slot that is on its way here."""
        loading = [packed("SCRIPT", "LOAD", source)] if source else []
        commands = [*loading, packed("ASKING"), packed(*command)]
        return taken(await self.send(b"".join(commands), len(commands)))[-1]

    def leave(self) -> None:
        """Give up the connection: it leads to a server that is of no use any more."""
        if self._connection is not None:
            self._connection.abort()

    def leave_others(self, place: Place) -> None:
        """Give up the connection, if it leads elsewhere."""
        if self._place not in (None, place):
            self.leave()

    async def _connected(self) -> RedisConnection:
        """A connection; who asks while one is made for others is given that."""
        if self._connecting is None or self._connecting.done():
            making = self._make_connection()
            self._connecting = asyncio.get_running_loop().create_task(making, name="connecting")
        return await asyncio.shield(self._connecting)

    async def _make_connection(self) -> RedisConnection:
        if self._connection is not None:
            await self._connection.aclose()
        self._connection, self._place = await self._way.connected()
        self.interrupted_at = self._clock.monotonic()
        self.failed = False
        return self._connection

    def _learn_from(self, refusal: ResponseError) -> None:
        """What a server says that is loading its data it says until a restart is over."""
        if refusal.code in ("LOADING", *_NOT_LET_IN):
            self.failed = True
            self.leave()
        elif is_read_only(refusal):
            self.leave()


def is_read_only(refusal: ResponseError) -> bool:
    """Whether the server is a replica. Before Redis 7 a script's error is told in another's."""
    return refusal.code == "READONLY" or "-READONLY" in str(refusal)


def error_name(error: BaseException) -> str:
    """What kind of error it is, without its text, which may show what was sent."""
    if isinstance(error, ResponseError):
        return AuthenticationError.__name__ if error.code in _NOT_LET_IN else error.code
    return type(error).__name__
