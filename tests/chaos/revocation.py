"""A thousand sessions in use on all replicas, logged out while replicas are killed."""

import asyncio
import random
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from sidecar.adapters.redis_store import RedisStore
from sidecar.app import SystemClock
from sidecar.core.cookies import CookieJar
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.sealing import KeyRing, parse_keys
from sidecar.core.tokens import TokenSet
from sidecar.edges import KEY_PREFIX
from sidecar.flows.assembly import session_parts
from sidecar.flows.records import Client
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from tests.chaos.evidence import Halt
from tests.chaos.people import API
from tests.chaos.replicas import Fleet, Replica, addresses, fleet
from tests.chaos.store import store
from tests.chaos.upstream import Seen, UpstreamHandle, upstream
from tests.world import KEYS

NAMES = ("ann", "ben", "cat")
SESSIONS = 1000
BATCH = 25
BATCH_EVERY_SECONDS = 1.0
KILL_EVERY_BATCHES = 4
# Where Argo CD is away for two seconds, requests wait for it that had been let through.
AWAY_BATCHES, AWAY_SECONDS = 2, 2.0
LOOKS = 3  # of each revoked session, at each replica
LOOK_BEFORE_SECONDS, LOOK_AFTER_SECONDS = 0.3, 1.6
HOLDS_SECONDS = 1.0
ISSUER, CLIENT_ID = "http://127.0.0.1:9/nobody", "argo-cd"
LIFE_SECONDS = 3600.0
_AGAIN_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """A session that was logged out: when that was acknowledged, and when its token last went up.

    `tries`: how many logouts were sent until one was acknowledged.
    """

    number: int
    acknowledged_at: float
    went_up_at: float
    tries: int = 1
    upstream_was_away: bool = False

    @property
    def late_seconds(self) -> float:
        """How long after the acknowledgment it last went up; negative: before it."""
        return self.went_up_at - self.acknowledged_at


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happened to the sessions, the replicas and the requests."""

    revoked: list[Revoked]
    kills: list[Halt]
    statuses: dict[int, int]
    requests_upstream: int
    upstream_held_up_seconds: float


def too_late(revoked: list[Revoked], *, upstream_away: bool) -> list[Revoked]:
    """Those whose token went up when it was not to be relied on any more."""
    return [
        each
        for each in revoked
        if each.upstream_was_away == upstream_away and each.late_seconds > HOLDS_SECONDS
    ]


def largest_lateness(revoked: list[Revoked], *, upstream_away: bool) -> float:
    """The latest that a token went up after its session's end was acknowledged."""
    return max(each.late_seconds for each in revoked if each.upstream_was_away == upstream_away)


@dataclass
class Users:
    """All sessions, and those who use them."""

    http: ClientSession
    fleet: Fleet
    upstream: UpstreamHandle
    cookies: list[str]
    dice: random.Random
    statuses: dict[int, int] = field(default_factory=dict)
    revoked: list[Revoked] = field(default_factory=list)
    kills: list[Halt] = field(default_factory=list)
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(60))

    async def use_all_everywhere(self) -> None:
        """Every session on every replica."""
        async with asyncio.TaskGroup() as looks:
            for number in range(len(self.cookies)):
                for replica in self.fleet.replicas:
                    looks.create_task(self._look(number, replica))

    async def revoke_all(self) -> None:
        """Batch after batch, while each batch is in use everywhere."""
        began_at = time.monotonic()
        batches = [
            range(first, min(first + BATCH, len(self.cookies)))
            for first in range(0, len(self.cookies), BATCH)
        ]
        async with asyncio.TaskGroup() as running:
            for place, batch in enumerate(batches):
                at = began_at + (place + 1) * BATCH_EVERY_SECONDS
                away = place >= len(batches) - AWAY_BATCHES
                if away:  # what is away for one batch must be back for the next
                    at += (place - len(batches) + AWAY_BATCHES + 1) * (AWAY_SECONDS + 1)
                kills = place % KILL_EVERY_BATCHES == 1
                running.create_task(self._batch(batch, at, kills=kills, away=away))

    async def _batch(self, batch: range, at: float, *, kills: bool, away: bool) -> None:
        through = self.dice.choice(self.fleet.replicas)
        async with asyncio.TaskGroup() as running:
            for number in batch:
                for replica in [*self.fleet.replicas] * LOOKS:
                    when = at + self.dice.uniform(-LOOK_BEFORE_SECONDS, LOOK_AFTER_SECONDS)
                    running.create_task(self._look(number, replica, when))
            if away:
                await asyncio.sleep(max(0.0, at - 2 * LOOK_BEFORE_SECONDS - time.monotonic()))
                await self.upstream.go_away(AWAY_SECONDS)
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            first = asyncio.Event()
            for number in batch:
                running.create_task(self._log_out(number, through, first, away=away))
            if kills:
                # Its others' acknowledgments are lost; what they have written is not.
                await first.wait()
                self.kills.append(await through.kill())

    async def _look(self, number: int, replica: Replica, when: float = 0.0) -> None:
        await asyncio.sleep(max(0.0, when - time.monotonic()))
        async with self.at_once:
            with suppress(ClientError, ConnectionError, TimeoutError):
                await self._get(number, replica, API)

    async def _log_out(
        self, number: int, through: Replica, first: asyncio.Event, *, away: bool
    ) -> None:
        """Log out; who is not answered tries another replica."""
        tries = 1
        while not await self._logged_out(number, through):
            await asyncio.sleep(_AGAIN_SECONDS)
            through = self.dice.choice(self.fleet.in_service())
            tries += 1
        revoked = Revoked(
            number=number,
            acknowledged_at=time.monotonic(),
            went_up_at=0.0,
            tries=tries,
            upstream_was_away=away,
        )
        first.set()
        self.revoked.append(revoked)

    async def _logged_out(self, number: int, through: Replica) -> bool:
        with suppress(ClientError, ConnectionError, TimeoutError):
            return await self._get(number, through, "/auth/logout") == 303
        return False

    async def _get(self, number: int, replica: Replica, path: str) -> int:
        cookie = {"Cookie": self.cookies[number]}
        request = self.http.get(replica.base + path, headers=cookie, allow_redirects=False)
        async with request as answer:
            await answer.read()
            if path == API:
                self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            return answer.status


async def revocation(seed: int, *, logs: Path, sessions: int = SESSIONS) -> Outcome:
    """Start all, log everybody out, and see what went up."""
    places = addresses(NAMES)
    public_url = "http://" + places[NAMES[0]]["SIDECAR_LISTEN"]
    async with AsyncExitStack() as owned:
        view = await owned.enter_async_context(store())
        argocd = await owned.enter_async_context(upstream())
        common = {
            "SIDECAR_UPSTREAM": argocd.address,
            "SIDECAR_PUBLIC_URL": public_url,
            "SIDECAR_ISSUER": ISSUER,
            "SIDECAR_PROVIDER": "generic",
            "SIDECAR_CLIENT_ID": CLIENT_ID,
            "SIDECAR_STORE_URL": view.url,
            "SIDECAR_SESSION_KEYS": KEYS,
        }
        environments = {name: {**common, **places[name]} for name in NAMES}
        replicas = await owned.enter_async_context(fleet(environments, logs))
        name = CookieJar(public_url).session
        cookies = [f"{name}={value}" for value in await begun(view.url, sessions)]
        http = await owned.enter_async_context(
            ClientSession(
                connector=TCPConnector(limit=0),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=20),
            )
        )
        users = Users(http, replicas, argocd, cookies, random.Random(seed))
        await users.use_all_everywhere()
        await users.revoke_all()
        seen = await argocd.seen()
    return Outcome(
        revoked=[_with_last_use(each, seen) for each in users.revoked],
        kills=users.kills,
        statuses=users.statuses,
        requests_upstream=seen.requests,
        upstream_held_up_seconds=seen.held_up_seconds,
    )


def _with_last_use(revoked: Revoked, seen: Seen) -> Revoked:
    return Revoked(**{**vars(revoked), "went_up_at": seen.last[token_of(revoked.number)]})


def token_of(number: int) -> str:
    """The ID token of a session: the stand-in asks for no signature."""
    return f"session.{number}.token"


async def begun(store_url: str, sessions: int) -> list[str]:
    """The cookie values of new sessions, made as a login makes them, of a user each."""
    clock, log, metrics = SystemClock(), structlog.get_logger(), Metrics()
    opened = RedisStore(store_url, prefix=KEY_PREFIX, clock=clock)
    tasks = Tasks(log)
    schedule = Schedule(opened, RefreshWindow(), Background.OFF)
    parts = session_parts(
        opened,
        KeyRing(parse_keys(KEYS)),
        Client(ISSUER, CLIENT_ID),
        schedule,
        Lifetimes(LIFE_SECONDS, LIFE_SECONDS),
        Runtime(clock, random.Random().randbytes, tasks, metrics, log),
        prefix=KEY_PREFIX,
    )
    cookies = []
    now = clock.now()
    for number in range(sessions):
        claims = IdTokenClaims(ISSUER, f"user-{number}", now, now + LIFE_SECONDS, "")
        tokens = TokenSet(
            id_token=token_of(number),
            id_token_issued_at=now,
            id_token_expires_at=now + LIFE_SECONDS,
            access_token="an-access-token",
            access_token_expires_at=None,
            refresh_token="",
            refresh_token_expires_at=None,
            renewed_at=now,
        )
        cookie, _ = await parts.joining.start(tokens, claims, nonce="", user_agent="")
        cookies.append(cookie)
    await tasks.aclose(seconds=5)
    await opened.aclose()
    return cookies


def summary(outcome: Outcome) -> dict[str, Any]:
    """The numbers, as JSON takes them."""
    with_upstream = [each for each in outcome.revoked if not each.upstream_was_away]
    return {
        "sessions": len(outcome.revoked),
        "kills": len(outcome.kills),
        "lost_acknowledgments": sum(each.tries > 1 for each in outcome.revoked),
        "requests_upstream": outcome.requests_upstream,
        "statuses": outcome.statuses,
        "went_up_after_acknowledgment": sum(each.late_seconds > 0 for each in with_upstream),
        "largest_lateness_seconds": round(
            largest_lateness(outcome.revoked, upstream_away=False), 3
        ),
        "largest_lateness_with_argocd_away_seconds": round(
            largest_lateness(outcome.revoked, upstream_away=True), 3
        ),
        "too_late": len(too_late(outcome.revoked, upstream_away=False)),
        "too_late_with_argocd_away": len(too_late(outcome.revoked, upstream_away=True)),
        "upstream_held_up_seconds": round(outcome.upstream_held_up_seconds, 3),
    }
