"""Argo CD as it shows itself to anybody, where the sidecar reaches it."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import ClientSession

from sidecar import edges
from sidecar.adapters.upstream import upstream_session
from sidecar.config.settings import Config
from sidecar.doctor.addresses import is_loopback
from sidecar.doctor.fetch import Page, fetch
from sidecar.ports import Clock

_CONNECT_SECONDS = 1.0
_NONE = Page()


@dataclass(frozen=True, slots=True)
class UpstreamSeen:
    """What was seen. `also_at` are addresses of this pod at which it listens besides loopback."""

    version: Page
    settings: Page = _NONE
    login: Page = _NONE
    also_at: tuple[str, ...] = ()


async def look_at_upstream(config: Config, clock: Clock) -> UpstreamSeen:
    """Argo CD's version and public settings, and whose login it is."""
    tls = edges.upstream_contexts(config)
    async with upstream_session(config.upstream, tls.http1 if tls else None) as http:
        version = await ask(config, http, "/api/version", clock)
        if version.problem is not None:
            return UpstreamSeen(version)
        return UpstreamSeen(
            version,
            await ask(config, http, "/api/v1/settings", clock),
            await ask(config, http, "/auth/login", clock),
            await _also_at(config.upstream),
        )


async def ask(
    config: Config,
    http: ClientSession,
    path: str,
    clock: Clock,
    *,
    headers: Mapping[str, str] | None = None,
) -> Page:
    """The upstream's answer below the root path."""
    base = "http://localhost" if config.upstream.startswith("unix:") else config.upstream
    return await fetch(
        http,
        f"{base}{config.root_path}{path}",
        clock,
        headers=headers,
        server_hostname=config.upstream_tls_server_name,
    )


async def _also_at(upstream: str) -> tuple[str, ...]:
    """This pod's own addresses at which an upstream on loopback can be connected to."""
    parts = urlsplit(upstream)
    if parts.scheme == "unix" or not is_loopback(parts.hostname or ""):
        return ()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return tuple([host for host in await _own_addresses() if await _listens(host, port)])


async def _own_addresses() -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            found = await loop.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return []
    hosts = {str(address[0]) for *_, address in found}
    return sorted(host for host in hosts if not is_loopback(host))[:4]


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
