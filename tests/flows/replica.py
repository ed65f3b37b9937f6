"""The flows of one or more replicas, over one store that fails when it is told to."""

import os
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.adapters.memory_store import MemoryStore
from sidecar.adapters.openid_provider import OpenIdProvider
from sidecar.adapters.provider_http import provider_session
from sidecar.core.client_authentication import Credentials
from sidecar.core.grant import Sharing
from sidecar.core.id_token import Expected, IdTokenClaims
from sidecar.core.provider_addresses import ProviderAddresses
from sidecar.core.provider_profiles import GENERIC, ProviderProfile
from sidecar.core.refresh_policy import Background as BackgroundMode
from sidecar.core.refresh_policy import RefreshWindow
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import SessionKey
from sidecar.core.timings import Timings
from sidecar.core.tokens import TokenResponse, TokenSet, first_tokens
from sidecar.demo.oauth import ProviderSettings
from sidecar.demo.provider import DemoProvider
from sidecar.errors import StoreUnavailable
from sidecar.flows.assembly import SessionParts, session_parts
from sidecar.flows.background import Background
from sidecar.flows.fresh import Fresh
from sidecar.flows.logout import Logout
from sidecar.flows.records import Client, Live
from sidecar.flows.refresh import Refresh
from sidecar.flows.revocation import Revocations
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes, Sessions
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.flows.verification import verified_claims
from sidecar.metrics import Metrics
from sidecar.ports import Record, SaveResult, Upstream, Write
from tests.demo.client import REDIRECT_URI
from tests.demo.client import Client as OAuthClient
from tests.world import PacedClock, plain_http

PREFIX = "test:"
RING = KeyRing([Key("k", b"k" * 32)])
Happens = Callable[[], Awaitable[object]]


class SkewedClock:
    """The same time as others', but for a wall clock that is ahead of theirs, and may step."""

    def __init__(self, clock: PacedClock, ahead: float) -> None:
        self.ahead = ahead
        self._clock = clock

    def now(self) -> float:
        """Unix seconds, as this machine thinks."""
        return self._clock.now() + self.ahead

    def monotonic(self) -> float:
        """What no step changes."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """As the others sleep."""
        await self._clock.sleep(seconds)


class FailingStore(MemoryStore):
    """A store whose next saves fail: before they happen, or with their reply lost.

    A save that is `STUCK` fails each time it is tried, while others go through.
    """

    BEFORE, AFTER, STUCK = "before", "after", "stuck"

    def __init__(self, clock: PacedClock) -> None:
        super().__init__(clock)
        self.saves: deque[str] = deque()
        self.stuck: set[str] = set()
        self.failing_releases = 0
        self.failing_looks = 0
        self.failing_logout_tokens = 0
        self.refuses_revocations = False
        self.order: list[str] = []
        """Which of the two writes of a login came first."""
        self.then: dict[str, deque[Happens]] = defaultdict(deque)
        """What happens after each of the next calls of a name, before their callers hear of it."""
        self._happens = False

    async def release_lease(self, user_tag: str, grant_id: str, owner: str) -> None:
        """Give a lease back, if it may be."""
        if self.failing_releases:
            self.failing_releases -= 1
            raise StoreUnavailable("told to fail")
        await super().release_lease(user_tag, grant_id, owner)

    async def last_seen(self, user_tag: str, grant_id: str) -> float | None:
        """When a grant was last used, if it may be looked at."""
        if self.failing_looks:
            self.failing_looks -= 1
            raise StoreUnavailable("told to fail")
        return await super().last_seen(user_tag, grant_id)

    async def knows_logout_token(self, token_hash: str) -> bool:
        """Whether a logout token came before, if that may be asked."""
        if self.failing_logout_tokens:
            self.failing_logout_tokens -= 1
            raise StoreUnavailable("told to fail")
        return await super().knows_logout_token(token_hash)

    async def note_provider_sid(self, sid_hash: str, user_tag: str, *, seconds: float) -> None:
        """Note it, and when that was."""
        self.order.append("note_provider_sid")
        await super().note_provider_sid(sid_hash, user_tag, seconds=seconds)

    async def attach(
        self,
        key: SessionKey,
        session: Write,
        grant_id: str,
        grant: Write,
        *,
        idle_ends_at: float,
        shared: bool = False,
    ) -> SaveResult:
        """Attach, and note when that was."""
        self.order.append("attach")
        return await super().attach(
            key, session, grant_id, grant, idle_ends_at=idle_ends_at, shared=shared
        )

    async def queue_revocation(self, entry: bytes, *, due_at: float, limit: int) -> bool:
        """Take a revocation, if it may be."""
        if self.refuses_revocations:
            raise StoreUnavailable("told to fail")
        return await super().queue_revocation(entry, due_at=due_at, limit=limit)

    async def load_grant(self, user_tag: str, grant_id: str) -> Record | None:
        """What is there."""
        record = await super().load_grant(user_tag, grant_id)
        await self._then("load_grant")
        return record

    async def shared_grant(self, user_tag: str) -> str:
        """The grant that a user's sessions share."""
        grant_id = await super().shared_grant(user_tag)
        await self._then("shared_grant")
        return grant_id

    async def take_lease(self, user_tag: str, grant_id: str, owner: str, *, seconds: float) -> bool:
        """Take it."""
        taken = await super().take_lease(user_tag, grant_id, owner, seconds=seconds)
        await self._then("take_lease")
        return taken

    async def save_grant(self, user_tag: str, grant_id: str, grant: Write) -> SaveResult:
        """Save, unless told otherwise."""
        fails = self.saves.popleft() if self.saves else ""
        if fails == self.STUCK:
            self.stuck.add(grant.write_id)
        if fails == self.BEFORE or grant.write_id in self.stuck:
            raise StoreUnavailable("told to fail")
        result = await super().save_grant(user_tag, grant_id, grant)
        await self._then("save_grant")
        if fails == self.AFTER:
            raise StoreUnavailable("told to lose the reply")
        return result

    async def _then(self, call: str) -> None:
        if self.then[call] and not self._happens:
            self._happens = True
            await self.then[call].popleft()()
            self._happens = False


@dataclass
class Replica:
    """One process' flows."""

    parts: SessionParts
    sessions: Sessions
    refresh: Refresh
    schedule: Schedule
    background: Background
    tasks: Tasks
    metrics: Metrics
    runtime: Runtime
    identity: OpenIdProvider
    revocations: Revocations


@dataclass
class Flows:
    """A provider, a store, a clock, replicas, and a session that is logged in."""

    clock: PacedClock
    store: FailingStore
    provider: DemoProvider
    owned: AsyncExitStack
    profile: ProviderProfile = GENERIC
    replicas: list[Replica] = field(default_factory=list)

    @property
    def first(self) -> Replica:
        """The first replica."""
        return self.replicas[0]

    async def add(
        self, clock: SkewedClock | None = None, *, timings: Timings | None = None
    ) -> Replica:
        """Another replica; with a clock or timings of its own."""
        own = clock or self.clock
        log = structlog.get_logger()
        tasks, metrics = Tasks(log), Metrics()
        http = await self.owned.enter_async_context(provider_session(total_seconds=10))
        identity = OpenIdProvider(
            http,
            ProviderAddresses(self.provider.issuer),
            "argo-cd",
            lambda: Credentials(secret="demo-secret"),
            clock=own,
            metrics=metrics,
            keys_seconds=5,
            profile=self.profile,
        )
        runtime = Runtime(own, os.urandom, tasks, metrics, log)
        schedule = Schedule(self.store, RefreshWindow(), BackgroundMode.ACTIVE)
        parts = session_parts(
            self.store,
            RING,
            Client(self.provider.issuer, "argo-cd"),
            schedule,
            Lifetimes(72 * 3600, 168 * 3600, max_sessions=1000),
            runtime,
            prefix=PREFIX,
        )
        sessions = parts.sessions
        revocations = Revocations(
            self.store, parts.records, identity, runtime, provider_seconds=10.0
        )
        refresh = Refresh(
            sessions,
            self.store,
            identity,
            schedule,
            runtime,
            window=RefreshWindow(),
            timings=timings or Timings(),
            revocations=revocations,
        )
        background = Background(sessions, self.store, refresh, schedule, runtime)
        replica = Replica(
            parts,
            sessions,
            refresh,
            schedule,
            background,
            tasks,
            metrics,
            runtime,
            identity,
            revocations,
        )
        self.replicas.append(replica)
        return replica

    async def live(self, key: SessionKey) -> Live:
        """A session that is there, as the first replica finds it."""
        live = await self.first.sessions.load(key)
        assert live
        return live

    async def logged_in(
        self, sharing: Sharing = Sharing.PER_SESSION, *, refreshable: bool = True
    ) -> SessionKey:
        """A session with a fresh grant, or with the one that the user's sessions share."""
        tokens, claims = await self.signed_in()
        tokens = tokens if refreshable else replace(tokens, refresh_token="")
        cookie, grant = await self.first.parts.joining.start(
            tokens, claims, nonce="a-nonce", user_agent="test", sharing=sharing
        )
        await self.first.schedule.note(grant)
        key = self.first.sessions.read_cookies([cookie])
        assert key
        return key

    async def joined(self, key: SessionKey) -> SessionKey:
        """Another session, on the grant of one that is there."""
        grant = (await self.live(key)).grant
        joining = self.first.parts.joining
        cookie = await joining.join(grant.user_tag, grant.id, user_agent="another")
        found = self.first.sessions.read_cookies([cookie or ""])
        assert found
        return found

    async def signed_in(self) -> tuple[TokenSet, IdTokenClaims]:
        """What a login at the provider gave, without a session."""
        async with plain_http() as http:
            given = await OAuthClient(http, self.provider).log_in()
        response = TokenResponse(
            given["access_token"],
            given["id_token"],
            given["refresh_token"],
            None,
            given.get("refresh_expires_in"),
        )
        expected = Expected(self.provider.issuer, "argo-cd", nonce="a-nonce")
        identity = self.first.identity
        now = self.clock.now()
        claims = await verified_claims(identity, given["id_token"], expected, now=now)
        return first_tokens(response, given["id_token"], claims, now=now), claims


def logs_in(other: Replica, given: tuple[TokenSet, IdTokenClaims]) -> Happens:
    """A login of the same user, which another replica finishes."""
    joining, (tokens, claims) = other.parts.joining, given
    return lambda: joining.start(
        tokens, claims, nonce="a-nonce", user_agent="another", sharing=Sharing.PER_USER
    )


class NoUpstream:
    """An Argo CD that has nothing to say."""

    async def log_out(self, id_token: str, *, site: str) -> str:
        """Nothing."""
        return ""


def logout(
    replica: Replica, upstream: Upstream | None = None, *, at_provider: bool = False
) -> Logout:
    """How a replica ends sessions, in front of this Argo CD."""
    return Logout(
        replica.sessions,
        replica.parts.records,
        replica.identity,
        replica.revocations,
        upstream or NoUpstream(),
        Fresh(replica.refresh, replica.runtime.clock),
        replica.runtime,
        at_provider=at_provider,
    )


@asynccontextmanager
async def flows(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[Flows]:
    """One replica, whose tokens live for 300 seconds."""
    clock = PacedClock()
    settings = ProviderSettings(redirect_uris=(REDIRECT_URI,), id_token_seconds=300)
    provider = DemoProvider(settings, now=clock.now, key=signing_key)
    async with AsyncExitStack() as owned:
        await owned.enter_async_context(provider.running())
        made = Flows(clock, FailingStore(clock), provider, owned)
        await made.add()
        yield made
