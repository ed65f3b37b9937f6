"""Replicas in processes of their own, sessions that need no login, and requests of them."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from bench.serving import HOST
from bench.tokens import CLIENT_ID, LIFE_SECONDS, id_token, opaque, refresh_token
from sidecar.adapters.redis_store import RedisStore
from sidecar.app import SystemClock
from sidecar.core.cookies import CookieJar
from sidecar.core.grant import Grant
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.sealing import KeyRing, parse_keys
from sidecar.core.session import SessionKey
from sidecar.core.tokens import TokenSet
from sidecar.edges import KEY_PREFIX
from sidecar.flows.assembly import SessionParts, session_parts
from sidecar.flows.records import Client
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.ports import Store
from tests.system.process import sidecar_process, until_ready
from tests.world import KEYS, free_port

PUBLIC_URL = "http://argocd.example.org"
TOKEN_LENGTH = 2048
API = "/api/v1/applications"
_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_AT_ONCE = 8  # a busy machine keeps more than that waiting for longer than the store's timeout
_TRIES = 20
_S = TypeVar("_S")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Replica:
    """A running sidecar."""

    port: int
    admin: str
    pid: int

    async def metrics(self) -> dict[str, float]:
        """Its counters, with the labels in their names as `renewals_total{renewed}`."""
        async with ClientSession() as http, http.get(f"{self.admin}/metrics") as answer:
            text = await answer.text()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("argocd_token_refresh_")
                labels = ",".join(sample.labels.values())
                found[f"{name}{{{labels}}}" if labels else name] = sample.value
        return found


@asynccontextmanager
async def replica(
    environment: Mapping[str, str], *, port: int = 0, module: str = "sidecar"
) -> AsyncIterator[Replica]:
    """A sidecar that lives as long as the block, on a port that was free or on this one."""
    port, admin_port = port or free_port(), free_port()
    places = {
        "SIDECAR_LISTEN": f"{HOST}:{port}",
        "SIDECAR_ADMIN_LISTEN": f"{HOST}:{admin_port}",
        "SIDECAR_PUBLIC_URL": PUBLIC_URL,
        "SIDECAR_SESSION_KEYS": KEYS,
        "SIDECAR_CLIENT_ID": CLIENT_ID,
        "SIDECAR_CLIENT_SECRET": "demo-secret",
    }
    async with sidecar_process({**places, **environment}, module=module) as running:
        admin = f"http://{HOST}:{admin_port}"
        await until_ready(admin)
        yield Replica(port, admin, running.process.pid)


@dataclass(frozen=True)
class Made:
    """A session that was put into the store: its user, its Cookie field, its grant."""

    user: str
    cookie: str
    grant: Grant


class Maker:
    """Puts sessions into a store as a login would, each of a user of its own."""

    def __init__(
        self,
        store: Store,
        parts: SessionParts,
        schedule: Schedule,
        issuer: str,
        life_seconds: int,
    ) -> None:
        self._store, self._parts, self._schedule = store, parts, schedule
        self._issuer, self._life_seconds = issuer, life_seconds
        self._cookie = CookieJar(PUBLIC_URL).session

    async def session(self, user: str, *, ends_at: float) -> Made:
        """A session whose ID token ends at an instant, in Unix seconds, noted as due."""
        claims = IdTokenClaims(self._issuer, user, ends_at - self._life_seconds, ends_at, "")
        cookie, grant = await self._parts.joining.start(
            self._tokens(user, ends_at), claims, nonce="", user_agent=_USER_AGENT
        )
        await self._schedule.note(grant)
        return Made(user, f"{self._cookie}={cookie}", grant)

    async def sessions(self, users: Iterable[str], *, ends_at: float) -> list[Made]:
        """Many of them."""
        return await at_once(lambda user: self.session(user, ends_at=ends_at), users)

    async def unseen(self, made: Made, *, seconds: float) -> None:
        """Have it in the store that a session was used that long ago, and not since."""
        now, end = await self._store.now(), made.grant.ends_at
        await self._store.touch(
            self.key_of(made), made.grant.id, seen_at=now - seconds, idle_ends_at=end, ends_at=end
        )

    def key_of(self, made: Made) -> SessionKey:
        """Where the session stands in the store."""
        key = self._parts.sessions.read_cookies([made.cookie.partition("=")[2]])
        if key is None:
            raise RuntimeError("what was made is no session's cookie")
        return key

    async def with_end(self, made: Made, ends_at: float) -> Made:
        """The session with another ID token, which ends then."""
        tokens = self._tokens(made.user, ends_at)
        grant = replace(made.grant, version=made.grant.version + 1, tokens=tokens)
        await self._parts.sessions.save(grant)
        return replace(made, grant=grant)

    def _tokens(self, user: str, ends_at: float) -> TokenSet:
        life, length = self._life_seconds, TOKEN_LENGTH
        issued_at = ends_at - life
        return TokenSet(
            id_token=id_token(
                self._issuer, user, length=length, ends_at=ends_at, life_seconds=life
            ),
            id_token_issued_at=issued_at,
            id_token_expires_at=ends_at,
            access_token=opaque(TOKEN_LENGTH),
            access_token_expires_at=ends_at,
            refresh_token=refresh_token(user, 0, length=TOKEN_LENGTH),
            refresh_token_expires_at=None,
            renewed_at=issued_at,
        )


@asynccontextmanager
async def maker(
    store_url: str,
    issuer: str,
    *,
    window_seconds: float = 300.0,
    life_seconds: int = LIFE_SECONDS,
    store_of: Callable[..., RedisStore] = RedisStore,
) -> AsyncIterator[Maker]:
    """A maker of sessions for replicas with this refresh window."""
    clock, log = SystemClock(), structlog.get_logger()
    store = store_of(store_url, prefix=KEY_PREFIX, clock=clock)
    tasks = Tasks(log)
    runtime = Runtime(clock, os.urandom, tasks, Metrics(), log)
    schedule = Schedule(store, RefreshWindow(seconds=window_seconds), Background.ACTIVE)
    parts = session_parts(
        store,
        KeyRing(parse_keys(KEYS)),
        Client(issuer, CLIENT_ID),
        schedule,
        Lifetimes(idle_seconds=72 * 3600, max_seconds=168 * 3600),
        runtime,
        prefix=KEY_PREFIX,
        cache_bytes=0,
    )
    try:
        yield Maker(store, parts, schedule, issuer, life_seconds)
    finally:
        await tasks.aclose(seconds=5)
        await store.aclose()


async def at_once(
    work: Callable[[_S], Awaitable[_T]], of: Iterable[_S], *, limit: int = _AT_ONCE
) -> list[_T]:
    """What the work gives for each of them, in their order, with so many at a time."""
    todo = iter(list(enumerate(of)))
    done: dict[int, _T] = {}

    async def worker() -> None:
        for number, each in todo:
            done[number] = await work(each)

    async with asyncio.TaskGroup() as workers:
        for _ in range(limit):
            workers.create_task(worker())
    return [done[number] for number in sorted(done)]


class Connection:
    """A kept connection to a replica."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, cookie: str) -> tuple[int, bytes]:
        """The status and the body of an answer to a session's request."""
        self._writer.write(head(cookie))
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", answer)
        body = await self._reader.readexactly(int(length[1]) if length else 0)
        return int(answer[9:12]), body

    def close(self) -> None:
        """Leave."""
        self._writer.close()


@asynccontextmanager
async def connections(ports: Iterable[int]) -> AsyncIterator[list[Connection]]:
    """A connection to each of these ports."""
    made = [Connection(*await asyncio.open_connection(HOST, port)) for port in ports]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def head(cookie: str, asked: str = f"GET {API}", *fields: str) -> bytes:
    """A request of a session."""
    host = f"Host: {PUBLIC_URL.removeprefix('http://')}"
    lines = (f"{asked} HTTP/1.1", host, *fields, f"Cookie: {cookie}", "", "")
    return "\r\n".join(lines).encode()


async def use_all(port: int, sessions: list[Made]) -> None:
    """One request of each session."""
    async with connections([port] * _AT_ONCE) as made:
        todo = iter(sessions)

        async def worker(connection: Connection) -> None:
            for each in todo:
                await _use(connection, each)

        async with asyncio.TaskGroup() as workers:
            for connection in made:
                workers.create_task(worker(connection))


async def _use(connection: Connection, session: Made) -> None:
    for _ in range(_TRIES):
        status, _ = await connection.ask(session.cookie)
        if status == 200:
            return
        if status != 503:
            break
        await asyncio.sleep(0.2)
    raise RuntimeError(f"no answer of 200 for {session.user}")


async def valkey_cpu(store: Redis) -> float:
    """The CPU time that a Valkey has used so far, in seconds."""
    found = await store.info("cpu")
    return float(found["used_cpu_sys"]) + float(found["used_cpu_user"])


async def until(instant: float) -> None:
    """Wait for an instant, in Unix seconds."""
    await asyncio.sleep(max(instant - time.time(), 0))


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of all lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
