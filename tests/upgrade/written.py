"""What a release leaves in the store, and back: `python -m tests.upgrade.written FILE` writes it.

A file is written once, by the release that it is named after, and never again.
"""

import asyncio
import base64
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from redis.asyncio import Redis

from sidecar.adapters.redis_store import RedisStore
from sidecar.app import SystemClock
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.revocation import Revocation
from sidecar.core.sealing import KeyRing, parse_keys
from sidecar.core.session import EndReason
from sidecar.core.tokens import TokenSet
from sidecar.demo.valkey import valkey
from sidecar.edges import KEY_PREFIX
from sidecar.flows.assembly import SessionParts, session_parts
from sidecar.flows.records import Client
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from tests.world import KEYS

ISSUER, CLIENT_ID = "https://idp.example.com", "argo-cd"
# A release's file must last: its sessions end in the year 2076.
LIFE_SECONDS = 50 * 365 * 86400.0
USERS = ("ada", "bob", "eve")


@dataclass(frozen=True)
class Release:
    """A release at work on a store."""

    store: RedisStore
    parts: SessionParts
    schedule: Schedule


@asynccontextmanager
async def release(url: str) -> AsyncIterator[Release]:
    """This release, on the store at an address."""
    clock, log = SystemClock(), structlog.get_logger()
    store = RedisStore(url, prefix=KEY_PREFIX, clock=clock)
    ring, client = KeyRing(parse_keys(KEYS)), Client(ISSUER, CLIENT_ID)
    runtime = Runtime(clock, random.Random(1).randbytes, Tasks(log), Metrics(), log)
    schedule = Schedule(store, RefreshWindow(), Background.ACTIVE)
    lifetimes = Lifetimes(LIFE_SECONDS, LIFE_SECONDS)
    parts = session_parts(store, ring, client, schedule, lifetimes, runtime, prefix=KEY_PREFIX)
    try:
        yield Release(store, parts, schedule)
    finally:
        await runtime.tasks.aclose(seconds=5)
        await store.aclose()


async def leave(here: Release) -> dict[str, str]:
    """What people do: all log in, ada's token is renewed, eve logs out; the cookies by user."""
    now = await here.store.now()
    cookies = {}
    for user in USERS:
        claims = IdTokenClaims(ISSUER, user, now, now + 3600, f"sid-of-{user}")
        cookies[user], grant = await here.parts.joining.start(
            tokens_of(user, now), claims, nonce=f"nonce-of-{user}", user_agent="A browser"
        )
        await here.schedule.note(grant)
    sessions = here.parts.sessions
    key = sessions.read_cookies([cookies["ada"]])
    assert key
    live = await sessions.load(key)
    assert live
    intended = live.grant.with_intent(now=now, asker="a-replica")
    await sessions.save(intended)
    await sessions.save(intended.with_tokens(tokens_of("ada", now, generation=2)))
    out = sessions.read_cookies([cookies["eve"]])
    assert out
    left = await sessions.load(out)
    assert left
    await sessions.end(out, left.grant.id, EndReason.LOGOUT)
    grant = left.grant
    revocation = Revocation(
        "a1", now, ISSUER, CLIENT_ID, grant.user_tag, grant.tokens.refresh_token
    )
    entry = here.parts.records.seal_revocation(revocation)
    await here.store.queue_revocation(entry, due_at=now, limit=10)
    return cookies


def tokens_of(user: str, now: float, *, generation: int = 1) -> TokenSet:
    """The tokens that a provider gave."""
    return TokenSet(
        id_token=f"id-token-{generation}-of-{user}",
        id_token_issued_at=now,
        id_token_expires_at=now + 3600,
        access_token=f"access-token-{generation}-of-{user}",
        access_token_expires_at=now + 3600,
        refresh_token=f"refresh-token-{generation}-of-{user}",
        refresh_token_expires_at=None,
        renewed_at=now,
    )


async def dump(redis: "Redis") -> dict[str, Any]:
    """All keys with what they have, as JSON takes it; how long they live is not kept."""
    client: Any = redis
    found: dict[str, Any] = {}
    for key in sorted(await client.keys("*")):
        match await client.type(key):
            case b"hash":
                fields = await client.hgetall(key)
                found[key.decode()] = {
                    name.decode(): _text(fields[name]) for name in sorted(fields)
                }
            case b"zset":
                members = await client.zrange(key, 0, -1, withscores=True)
                found[key.decode()] = [[_text(member), score] for member, score in members]
            case b"string":
                found[key.decode()] = _text(await client.get(key))
            case other:
                raise ValueError(f"{key!r} is a {other!r}")
    return found


async def restore(redis: "Redis", found: dict[str, Any]) -> None:
    """Put a dump into an empty store."""
    client: Any = redis
    for key, value in found.items():
        if isinstance(value, dict):
            await client.hset(key, mapping={name: _bytes(text) for name, text in value.items()})
        elif isinstance(value, list):
            await client.zadd(key, {_bytes(member): score for member, score in value})
        else:
            await client.set(key, _bytes(value))


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


async def written() -> dict[str, Any]:
    """What this release leaves, with the cookies that its browsers have."""
    async with valkey() as url, Redis.from_url(url) as redis, release(url) as here:
        cookies = await leave(here)
        return {"cookies": cookies, "store": await dump(redis)}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(written()), indent=1) + "\n")
