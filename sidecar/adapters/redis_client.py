"""A client of a Redis server that repeats nothing, and waits for nothing without an end."""

import ssl
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo


def redis_client(
    url: str,
    *,
    max_connections: int,
    command_seconds: float,
    connect_seconds: float,
    **options: Any,
) -> Redis:
    """A client with a pool of its own; `options` go to its connections.

    A repeated script or `SET NX` whose first reply was lost would read as somebody else's.
    """
    tls: dict[str, Any] = {"ssl_min_version": ssl.TLSVersion.TLSv1_2}
    return Redis.from_pool(
        BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=command_seconds,
            socket_timeout=command_seconds,
            socket_connect_timeout=connect_seconds,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            # Once: each connection would read the library's version from its metadata.
            driver_info=DriverInfo(),
            **options,
            **(tls if url.startswith("rediss:") else {}),
        )
    )
