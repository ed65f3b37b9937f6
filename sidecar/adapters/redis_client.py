"""A client of a Redis server that repeats nothing, and waits for nothing without an end."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.maint_notifications import MaintNotificationsConfig

from sidecar.core.store_address import Place, StoreAddress


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


def usual_tls() -> ssl.SSLContext:
    """TLS by the system's authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Login(CredentialProvider):
    """A user name and a password as they are now."""

    def __init__(self, username: str, password: Callable[[], str]) -> None:
        self._username = username
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """What AUTH is given; nothing where nothing is set."""
        password = self._password()
        if self._username:
            return self._username, password
        return (password,) if password else ()  # type: ignore[return-value]  # asks for truth

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """The same; the library's own says in the log that it is not to be used."""
        return self.get_credentials()


class _Bounded:
    """A connection that is made within its time, greeting and all, or not at all."""

    async def connect(self: Any) -> None:
        """Connect, log in and greet, if that has not been done."""
        if self.is_connected:
            return
        try:
            async with asyncio.timeout(self.socket_connect_timeout):
                await self._find()
                await super().connect()  # type: ignore[misc]
        except BaseException:
            # Half a greeting is none: the next command would be given the rest of its answers.
            await self.disconnect(nowait=True)
            raise

    async def _find(self) -> None:
        """Find out where to."""


class ServerConnection(_Bounded, Connection):
    """A connection to where the server is now, by TCP and perhaps TLS."""

    def __init__(
        self,
        *,
        where: Callable[[], Awaitable[Place]],
        tls: Callable[[], ssl.SSLContext] | None,
        server_name: str,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._where = where
        self._tls = tls
        self._server_name = server_name

    async def _find(self) -> None:
        self.host, self.port = await self._where()

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments: dict[str, Any] = {"host": self.host, "port": self.port}
        if self._tls is not None:
            arguments["ssl"] = self._tls()
            arguments["server_hostname"] = self._server_name or self.host
        return arguments


class _SocketConnection(_Bounded, UnixDomainSocketConnection):
    """A connection to a Unix socket."""


def connection_options(
    access: Access, *, password: Callable[[], str], command_seconds: float, connect_seconds: float
) -> dict[str, Any]:
    """What every connection is made with.

    A repeated script or `SET NX` whose first reply was lost would read as somebody else's.
    """
    return {
        "credential_provider": _Login(access.username, password),
        "socket_timeout": command_seconds,
        "socket_connect_timeout": connect_seconds,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        # No command is sent that a user of the server would have to be allowed for nothing.
        "protocol": 2,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def tcp_options(access: Access, where: Callable[[], Awaitable[Place]]) -> dict[str, Any]:
    """What a connection by TCP is made with."""
    return {"where": where, "tls": access.tls, "server_name": access.server_name}


def redis_client(
    where: Callable[[], Awaitable[Place]] | str,
    access: Access,
    *,
    database: int,
    max_connections: int,
    command_seconds: float,
    connect_seconds: float,
    **options: Any,
) -> Redis:
    """A client with a pool of its own, of a server or the Unix socket of one.

    `options` go to its connections.
    """
    known = connection_options(
        access,
        password=access.password,
        command_seconds=command_seconds,
        connect_seconds=connect_seconds,
    )
    kind: type[Connection | UnixDomainSocketConnection] = ServerConnection
    way: dict[str, Any]
    if isinstance(where, str):
        kind, way = _SocketConnection, {"path": where}
    else:
        way = tcp_options(access, where)
    pool = BlockingConnectionPool(
        max_connections=max_connections,
        timeout=command_seconds,
        connection_class=kind,
        db=database,
        **known,
        **way,
        **options,
    )
    return Redis.from_pool(pool)


def always(place: Place) -> Callable[[], Awaitable[Place]]:
    """Where a server is that never moves."""

    async def where() -> Place:
        return place

    return where
