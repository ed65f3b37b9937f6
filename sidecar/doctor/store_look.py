"""The store as it shows itself: a trial session, its own report, its clock."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from sidecar.adapters.redis_connection import ResponseError
from sidecar.adapters.redis_node import FAILURES, Node, error_name
from sidecar.adapters.redis_servers import Servers, servers_of
from sidecar.adapters.redis_store import RedisStore
from sidecar.config.settings import Config
from sidecar.core.session import SessionKey
from sidecar.core.store_address import StoreAddress
from sidecar.edges import KEY_PREFIX, store_access
from sidecar.errors import StoreUnavailable
from sidecar.ports import Clock, SaveResult, Write

_SECONDS = 3.0
_TRIAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """What was seen. Errors are by name: no text of the server's."""

    error: str = ""
    trial_error: str = ""
    saves: bool = False
    refuses_stale: bool = False
    keeps_ttl: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    clock_ahead: float = 0.0
    answer_seconds: float = 0.0


async def look_at_store(config: Config, clock: Clock) -> StoreSeen:
    """What a Redis or Valkey at the store's address shows."""
    servers = servers_of(
        StoreAddress.parse(config.store_url),
        store_access(config),
        clock,
        command_seconds=_SECONDS,
        connect_seconds=_SECONDS,
    )
    try:
        nodes = await servers.nodes()
        for node in nodes:
            await node.ask("PING")
        began = clock.monotonic()
        seconds, micros = await nodes[0].ask("TIME")
        took = clock.monotonic() - began
        ahead = int(seconds) + int(micros) / 1e6 - clock.now()
        error, saves, stale, ttl = await _trial(config, servers, clock)
        info = await _info(nodes[0])
    except FAILURES as failed:
        return StoreSeen(error=_name(failed))
    finally:
        await servers.aclose()
    return StoreSeen("", error, saves, stale, ttl, info, ahead, took)


async def _info(node: Node) -> dict[str, Any]:
    """The server's report, as far as it may be read."""
    try:
        lines = (await node.ask("INFO")).decode("utf-8", "replace").splitlines()
    except ResponseError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name: int(value) if value.isdecimal() else value for name, value in pairs}


async def _trial(config: Config, servers: Servers, clock: Clock) -> tuple[str, bool, bool, bool]:
    """A session with its grant, written by the sidecar's own scripts; it ends within a minute."""
    prefix = f"{KEY_PREFIX}doctor:{secrets.token_hex(8)}:"
    store = RedisStore(
        config.store_url,
        prefix=prefix,
        clock=clock,
        command_seconds=_SECONDS,
        access=store_access(config),
    )
    try:
        ends_at = await store.now() + _TRIAL_SECONDS
        key, grant = SessionKey("doctor", secrets.token_hex(8)), "trial"
        first = await store.attach(
            key, Write(1, "a", b"-", ends_at), grant, Write(1, "a", b"-", ends_at),
            idle_ends_at=ends_at,
        )  # fmt: skip
        second = await store.save_grant("doctor", grant, Write(2, "b", b"-", ends_at))
        stale = await store.save_grant("doctor", grant, Write(2, "c", b"-", ends_at))
        place = f"{prefix}{{doctor}}:grant:{grant}"
        ttl = await servers.ask(place, "PTTL", place)
        saves = first is second is SaveResult.SAVED
        return "", saves, stale is SaveResult.MOVED, 0 < ttl <= _TRIAL_SECONDS * 1000
    except StoreUnavailable as failed:
        return _name(failed.__cause__ or failed), False, False, False
    finally:
        await store.aclose()


def _name(error: BaseException) -> str:
    """What kind of error it is; its text is the server's, and shows what was sent."""
    text = str(error)
    if "certificate required" in text.lower() or "handshake failure" in text.lower():
        return "ClientCertificateError"
    if "certificate verify failed" in text:
        return "CertificateError"
    if "wrong version number" in text.lower() or "record layer failure" in text.lower():
        return "NoTlsError"
    if text.startswith("ERR unknown command"):
        return "NOPERM"  # switched off for everybody
    return error_name(error)
