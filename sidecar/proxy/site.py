"""What all connections of the public port share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.core.framing import Body
from sidecar.core.heads import Paths
from sidecar.core.messages import MAX_FIELDS
from sidecar.metrics import Metrics
from sidecar.proxy.certificate import Certificate
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.passes import Asked, Memory
from sidecar.proxy.sides import Browser
from sidecar.proxy.way import Way

if TYPE_CHECKING:
    from sidecar.proxy.front import Front


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take, and how many there may be. In bytes and seconds."""

    head_bytes: int = 64 * 1024  # a user with 500 groups has 31 KiB of cookies
    fields: int = MAX_FIELDS
    body_bytes: int | None = None  # Argo CD has limits of its own
    pipelined_bytes: int = 64 * 1024
    head_seconds: float = 15.0
    body_seconds: float = 60.0
    idle_seconds: float = 120.0  # longer than Ingresses keep idle connections
    stalled_seconds: float = 120.0
    linger_seconds: float = 2.0  # without a byte, after the last answer
    linger_most_seconds: float = 30.0
    connections: int = 10_000


@dataclass(slots=True)
class Site:
    """Who answers on the public port, within which limits, and who is connected."""

    way: Way
    paths: Paths
    own: Callable[[], asyncio.Protocol]
    """aiohttp's server, for the sidecar's own pages."""
    limits: Limits
    http2: bool
    metrics: Metrics
    certificate: Certificate | None = None
    """With one, TLS is spoken on the port, and nothing else answered."""
    connections: set["Front"] = field(default_factory=set)
    leaving: set["Front"] = field(default_factory=set)
    """Those of the connections that have been ended to make room for others."""
    exchange: Callable[[Browser, Way, Asked, Memory, Body], Exchange] = Exchange
    """Makes the next request's: now and then one that is timed, or where somebody is told of
    each request, a `RecordedExchange`."""
    draining: bool = False
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection has ended while the port drains."""
