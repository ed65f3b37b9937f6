"""The way to a Redis server: who lets us in, and a connection that begins as it should."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sidecar.adapters.redis_connection import (
    AuthenticationError,
    NotSent,
    RedisConnection,
    ResponseError,
    packed,
)
from sidecar.core.store_address import Place, StoreAddress

Whereabouts = Callable[[], Awaitable[Place]] | str
"""Where a server is now, or its Unix socket."""


def _nothing() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Access:
    """How servers let us in. What may change meanwhile is asked for at each new connection.

    `server_name` is the name in their certificates, "" where that is their address.
    """

    username: str = ""
    password: Callable[[], str] = field(default=_nothing, repr=False)
    sentinel_password: Callable[[], str] = field(default=_nothing, repr=False)
    tls: Callable[[], ssl.SSLContext] | None = None
    server_name: str = ""

    @classmethod
    def of(cls, address: StoreAddress) -> "Access":
        """What an address alone says."""
        password = address.password
        return cls(address.username, lambda: password, tls=usual_tls if address.tls else None)


class NotPrimary(ConnectionError):
    """Who was said to be the primary is a replica."""


@dataclass(frozen=True, slots=True)
class RedisWay:
    """How a server is reached: within `connect_seconds`, greeting and all, or not at all."""

    where: Whereabouts
    access: Access
    command_seconds: float
    connect_seconds: float
    database: int = 0
    asks_role: bool = False
    """Whether it has to be a primary."""

    async def connected(self) -> tuple[RedisConnection, Place | None]:
        """A new connection, and where it leads to; None: by a Unix socket.

        Raises:
            AuthenticationError: the server does not let us in.
            NotPrimary: it should be the primary, and is none.
            ResponseError: it refuses to begin.
            OSError: it cannot be reached, or what is needed for that not be read.
            TimeoutError: not in time.
        """
        try:
            async with asyncio.timeout(self.connect_seconds):
                return await self._greeted()
        except ValueError as error:
            # A file that is read for each connection, or a name that no resolver takes.
            raise ConnectionError(str(error)) from error

    async def _greeted(self) -> tuple[RedisConnection, Place | None]:
        connection, place = await self._opened()
        try:
            await self._greet(connection)
        except NotSent as unsent:
            raise unsent.why from None
        except BaseException:
            # Half a greeting is none: whoever asks next would be given the rest of it.
            connection.abort()
            raise
        return connection, place

    async def _opened(self) -> tuple[RedisConnection, Place | None]:
        loop = asyncio.get_running_loop()
        if isinstance(self.where, str):
            _, connection = await loop.create_unix_connection(self._protocol, self.where)
            return connection, None
        place = host, port = await self.where()
        tls = self.access.tls() if self.access.tls else None
        name = (self.access.server_name or host) if tls else None
        _, connection = await loop.create_connection(
            self._protocol, host, port, ssl=tls, server_hostname=name
        )
        return connection, place

    def _protocol(self) -> RedisConnection:
        return RedisConnection(seconds=self.command_seconds)

    async def _greet(self, connection: RedisConnection) -> None:
        """Log in and choose. Nothing is sent that the user would have to be allowed for nothing."""
        words = self._greeting()
        if not words:
            return
        answers = await connection.send(b"".join(packed(*each) for each in words), len(words))
        for (command, *_), answer in zip(words, answers, strict=True):
            if isinstance(answer, ResponseError):
                # Not what AUTH was answered: it is about a password.
                raise AuthenticationError if command == "AUTH" else answer
            if command == "ROLE" and answer[0] != b"master":
                raise NotPrimary

    def _greeting(self) -> list[tuple[str | int, ...]]:
        username, password = self.access.username, self.access.password()
        greeting: list[tuple[str | int, ...]] = []
        if username:
            greeting.append(("AUTH", username, password))
        elif password:
            greeting.append(("AUTH", password))
        if self.database:
            greeting.append(("SELECT", self.database))
        if self.asks_role:
            greeting.append(("ROLE",))
        return greeting


def always(place: Place) -> Callable[[], Awaitable[Place]]:
    """Where a server is that never moves."""

    async def where() -> Place:
        return place

    return where


def usual_tls() -> ssl.SSLContext:
    """TLS by the system's authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
