"""Replicas over one store and one strict provider, each port call of which waits for its turn.

Every call passes one step before its effect and one after it: between the two it has happened,
and its caller does not know. The world looks after what must hold at every instant; what must
hold at the end, the scenarios look after.
"""

import copy
import functools
import hashlib
import logging
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, TypeVar, cast

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sidecar.adapters.memory_store import MemoryStore
from sidecar.core.authorization import AuthorizationResponse, LoginAttempt, OfflineAccess
from sidecar.core.grant import Grant, Sharing
from sidecar.core.id_token import IdTokenClaims, SigningKey
from sidecar.core.provider_profiles import GENERIC, ProviderProfile
from sidecar.core.published_keys import PublishedKeys
from sidecar.core.refresh_policy import Background, RefreshWindow, usable_seconds
from sidecar.core.sealing import Key, KeyRing, Label
from sidecar.core.session import SessionKey
from sidecar.core.timings import Timings
from sidecar.core.tokens import TokenResponse, TokenSet
from sidecar.errors import (
    LoginRefused,
    ProviderRefused,
    ProviderUnavailable,
    SessionOver,
    StoreUnavailable,
    TryLater,
)
from sidecar.flows.assembly import SessionParts, session_parts
from sidecar.flows.confirmations import EVERY_SECONDS, Confirmations
from sidecar.flows.fresh import Fresh
from sidecar.flows.joining import Joining
from sidecar.flows.limits import LoginLimits
from sidecar.flows.login import Login, LoginSettings
from sidecar.flows.logout import Logout
from sidecar.flows.records import Client, Live
from sidecar.flows.refresh import Refresh
from sidecar.flows.revocation import Revocations
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes, Sessions
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.ports import ProviderEndpoints, Record, Store
from tests.interleavings.explorer import LOCAL, REPLICA, Access, Turns

_T = TypeVar("_T")

ISSUER, CLIENT_ID, SUBJECT, NONCE = "https://idp.test", "argo-cd", "alice", "a-nonce"
CODE, STATE = "a-code", "a-state"
PREFIX = "test:"
TOKEN_SECONDS = 300.0
# Shorter than the real ones, in the same order: a lease that is waited for is many polls.
TIMINGS = Timings(provider_seconds=2.0, keys_seconds=1.0, command_seconds=0.0, wait_seconds=6.0)
LEASE = TIMINGS.lease_seconds
LOOKS = 6  # rounds of confirmations, half a second apart: longer than anybody waits for them
PATIENCE_SECONDS = 2 * LEASE + 60.0
WALL = 1_800_000_000.0
RING = KeyRing([Key("k", b"k" * 32)])
CLIENT = Client(ISSUER, CLIENT_ID)
ATTEMPT = LoginAttempt(STATE, NONCE, "a-verifier", "/", "https://cd.test/auth/callback", WALL)
_SIGNS = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
_METRICS = Metrics()  # nobody reads them here, and a registry per run takes longer than a run
_LOG = structlog.wrap_logger(
    None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
)

_GRANT = Access(reads=frozenset({"grant"}))
_DUE = Access(writes=frozenset({"due"}))
_WRITES_GRANT = Access(writes=frozenset({"grant"}))
_LEASE = Access(writes=frozenset({"lease"}))
_ASKS = Access(reads=frozenset({"grant"}), writes=frozenset({"provider"}))
_TELLS = Access(writes=frozenset({"provider"}))
_REVOKE = Access(writes=frozenset({"revoke"}))
_REDEEMED = Access(writes=frozenset({"redeemed"}))
# What each call of the store touches; one that is not named here meets all that touch the grant.
_TOUCHES = {
    "now": LOCAL, "ping": LOCAL, "load": _GRANT, "load_grant": _GRANT, "last_seen": _GRANT,
    "surplus": _GRANT,
    "take_lease": _LEASE, "release_lease": _LEASE, "schedule": _DUE, "take_due": _DUE,
    "queue_revocation": _REVOKE, "take_revocations": _REVOKE, "put_off_revocation": _REVOKE,
    "redeem": _REDEEMED, "set_redeemed": _REDEEMED, "redeemed": _REDEEMED,
}  # fmt: skip
_MAY_CHANGE_GRANT = ("attach", "save_grant", "end_session", "end_grant")


@functools.lru_cache(maxsize=4096)
def _id_token(issued_at: int, number: int) -> str:
    claims = {
        "iss": ISSUER, "aud": CLIENT_ID, "sub": SUBJECT, "nonce": NONCE, "jti": str(number),
        "iat": issued_at, "exp": issued_at + int(TOKEN_SECONDS),
    }  # fmt: skip
    return jwt.encode(claims, _SIGNS, algorithm="EdDSA")


@dataclass
class Family:
    """One lineage of refresh tokens: `holders` are those who were given the current one."""

    current: str
    count: int = 0
    revoked: bool = False
    asker: str = ""


@dataclass(frozen=True)
class Commit:
    """What the provider did: for whom, with which token, and what came of it."""

    kind: str
    asker: str
    token: str
    became: str = ""


class StrictProvider:
    """Rotates at every use, and ends the family when a spent token is presented."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.families: list[Family] = []
        self.log: list[Commit] = []
        self._tokens: dict[str, Family] = {}
        self._codes: dict[str, Family | None] = {CODE: None}

    def begin(self) -> Family:
        """A new family, with its first token."""
        family = Family("")
        self.families.append(family)
        self._rotate(family)
        return family

    def _rotate(self, family: Family) -> None:
        number = self.families.index(family)
        family.current, family.count = f"rt-{number}-{family.count}", family.count + 1
        self._tokens[family.current] = family

    def answer(self, family: Family) -> TokenResponse:
        """Its current tokens."""
        issued_at = int(self._world.wall())
        return TokenResponse(
            "at", _id_token(issued_at, family.count), family.current, TOKEN_SECONDS, None
        )

    def exchange(self, asker: str, code: str) -> TokenResponse:
        """The tokens for a code; a code that comes twice ends what it gave (RFC 6749 4.1.2).

        Where a user has one refresh token, a login deletes the one before (Dex).
        """
        if self._world.shared:
            return self._only_login(asker)
        if code not in self._codes:
            raise ProviderRefused("invalid_grant", over=True)
        family = self._codes[code]
        if family is not None:
            family.revoked = True
            self.log.append(Commit("code_reuse", asker, code))
            raise ProviderRefused("invalid_grant", over=True)
        self._codes[code] = family = self.begin()
        family.asker = asker
        self.log.append(Commit("exchange", asker, code, family.current))
        return self.answer(family)

    def _only_login(self, asker: str) -> TokenResponse:
        for family in self.families:
            family.revoked = True
        family = self.begin()
        family.asker = asker
        self.log.append(Commit("exchange", asker, "", family.current))
        return self.answer(family)

    def refresh(self, asker: str, token: str) -> TokenResponse:
        """The next tokens."""
        family = self._tokens[token]
        if self._world.shared and (family.revoked or token != family.current):
            # Dex knows tokens by their id, and ends nothing when a spent one comes.
            self.log.append(Commit("refused", asker, token))
            raise ProviderRefused("invalid_request", over=True)
        if family.revoked:
            self.log.append(Commit("refused", asker, token))
            raise ProviderRefused("invalid_grant", over=True)
        if token != family.current:
            kind = "one_try" if (asker, token) in self._world.tries else "reuse"
            self.log.append(Commit(kind, asker, token))
            family.revoked = True
            raise ProviderRefused("invalid_grant", over=True)
        self._rotate(family)
        family.asker = asker
        self.log.append(Commit("refresh", asker, token, family.current))
        self._world.look("the provider's commit")
        return self.answer(family)

    def revoke(self, asker: str, token: str) -> bool:
        """Only the current token ends its family: a spent one is nobody's any more."""
        family = self._tokens[token]
        self.log.append(Commit("revoke", asker, token))
        if token == family.current:
            family.revoked = True
        return True

    def count(self, kind: str) -> int:
        """How often it did that."""
        return sum(commit.kind == kind for commit in self.log)


@dataclass
class World:
    """One store, one provider, replicas, and what came of each caller."""

    turns: Turns
    watched: bool = False
    """Whether each call notes who awaits it."""
    shared: bool = False
    """Whether the provider has one refresh token per user, as Dex has."""
    provider: StrictProvider = field(init=False)
    memory: MemoryStore = field(init=False)
    replicas: dict[str, "Replica"] = field(default_factory=dict)
    callers: dict[str, "Any"] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    excused: set[str] = field(default_factory=set)
    lost_by_failover: bool = False
    lease_left_behind: bool = False
    tries: set[tuple[str, str]] = field(default_factory=set)
    """Who has noted, when that was right, to try which token once more."""
    older: list[tuple[str, Any]] = field(default_factory=list)
    store_interrupted_at: float = float("-inf")
    store_down_until: dict[str, float] = field(default_factory=dict)
    _when_new: dict[str, Any] = field(default_factory=dict)
    grant_id: str = ""
    user_tag: str = ""

    def __post_init__(self) -> None:
        self.provider = StrictProvider(self)
        self.memory = MemoryStore(WorldClock(self, ""))

    def wall(self) -> float:
        """The wall time of all."""
        return WALL + self.turns.loop.instant

    def add(self, name: str) -> "Replica":
        """A replica."""
        self.replicas[name] = made = Replica.build(self, name)
        return made

    def start(self, name: str, replica: str, work: Coroutine[Any, Any, object]) -> None:
        """A caller's task in a replica."""
        token = REPLICA.set(replica)
        try:
            self.callers[name] = self.turns.loop.create_task(work, name=name)
        finally:
            REPLICA.reset(token)

    def logged_in(self, *, age: float, idle: bool = False) -> SessionKey:
        """A session whose ID token is `age` seconds old; used just now, unless it is `idle`."""
        family = self.provider.begin()
        response = self.provider.answer(family)
        now = self.wall()
        tokens = TokenSet(
            response.id_token or "", int(now), int(now) + TOKEN_SECONDS, "at", None,
            family.current, None, now,
        )  # fmt: skip
        parts = Replica.parts_over(self, self.memory, "setup")
        claims = IdTokenClaims(ISSUER, SUBJECT, int(now), int(now) + TOKEN_SECONDS, "")
        sharing = Sharing.PER_USER if self.shared else Sharing.PER_SESSION
        cookie, grant = at_once(
            parts.joining.start(tokens, claims, nonce=NONCE, user_agent="t", sharing=sharing)
        )
        self.grant_id, self.user_tag = grant.id, grant.user_tag
        key = parts.sessions.read_cookies([cookie])
        assert key
        self.turns.loop.instant += age
        if not idle:
            end = now + 72 * 3600
            at_once(
                self.memory.touch(key, grant.id, seen_at=self.wall(), idle_ends_at=end, ends_at=end)
            )
        self.remember()
        self._when_new = copy.deepcopy(self.memory._slots)
        return key

    def stored(self) -> Grant | None:
        """The grant in the store, None when it has ended or is not there."""
        if not self.grant_id:
            return None
        record = at_once(self.memory.load_grant(self.user_tag, self.grant_id))
        if record is None or record.ended:
            return None
        return _opened(self.user_tag, self.grant_id, record)

    @property
    def family(self) -> Family:
        """The family of the stored grant; where there is one per user, the last one."""
        return self.provider.families[-1 if self.shared else 0]

    def remember(self) -> None:
        """Keep the grant's entry as it is, for a failover that brings it back."""
        entry = self.memory._slots[self.user_tag].grants.get(self.grant_id)
        if entry and not entry.record.ended:
            self.older.append((entry.record.write_id, replace(entry)))

    def look(self, when: str) -> None:
        """A spent refresh token never stands in the store without an open intent.

        Else whoever reads it next presents it without a doubt, and the provider ends the family.
        """
        grant = self.stored()
        if grant is None or self.lost_by_failover or self.family.revoked or self.shared:
            return
        if grant.tokens.refresh_token != self.family.current and not grant.answer_unknown:
            self.violations.append(f"after {when} a spent token stands in the store, no intent")

    def note_try(self, replica: str) -> None:
        """An intent was written: who had the answer is gone or away, and the token has ended.

        What is stored between that and the request, nobody could have known.
        """
        grant, family = self.stored(), self.family
        answer_is_away = (
            family.current in self.excused
            or family.asker in self.turns.paused
            or family.asker in self.store_down_until
        )
        if (
            answer_is_away
            and grant is not None
            and grant.answer_unknown
            and usable_seconds(grant, self.wall()) <= 0
        ):
            self.tries.add((replica, grant.tokens.refresh_token))

    def holds_unsaved_answer(self, replica: str) -> bool:
        """Whether the provider's last answer is with this replica alone."""
        grant = self.stored()
        if self.shared:
            known = (
                [grant.tokens.refresh_token, *(o.refresh_token for o in grant.others)]
                if grant
                else []
            )
            return self.family.asker == replica and self.family.current not in known
        return (
            grant is not None
            and self.family.asker == replica
            and grant.tokens.refresh_token != self.family.current
        )

    def kill(self, replica: str) -> None:
        """Its tasks never run again, its memory is gone."""
        if self.holds_unsaved_answer(replica):
            self.excused.add(self.family.current)
        self.turns.dead.add(replica)

    def pause(self, replica: str, seconds: float) -> None:
        """It stands still, and all clocks go on."""
        self.turns.paused[replica] = self.turns.loop.instant + seconds

    def put_back(self, entry: Any) -> None:
        """A failover: the store has an older version of the grant."""
        grants = self.memory._slots[self.user_tag].grants
        grants[self.grant_id] = replace(entry)
        self.lost_by_failover = True
        self.store_interrupted_at = self.turns.loop.instant

    def go_back(self) -> None:
        """A failover: the store has what it had when the session was new."""
        self.memory._slots = copy.deepcopy(self._when_new)
        self.lost_by_failover = True
        self.store_interrupted_at = self.turns.loop.instant

    def empty(self, *, noticed: bool) -> None:
        """The store loses all that it has, at a restart or by hand."""
        self.memory._slots.clear()
        self.memory._due.clear()
        self.lost_by_failover = True
        if noticed:
            self.store_interrupted_at = self.turns.loop.instant

    @property
    def survivors(self) -> list["Replica"]:
        """The replicas that live."""
        return [r for name, r in self.replicas.items() if name not in self.turns.dead]

    async def use(self, replica: "Replica", key: SessionKey, name: str) -> None:
        """A request of a browser."""
        try:
            live = await replica.refresh.current(key)
        except SessionOver as over:
            self.outcomes[name] = f"over: {over.reason}"
        except TryLater:
            self.outcomes[name] = "later"
        else:
            self.given(live, name)

    async def insist(self, replica: "Replica", key: SessionKey, name: str) -> None:
        """A browser that tries again when it is told to."""
        until = replica.clock.monotonic() + PATIENCE_SECONDS
        while replica.clock.monotonic() <= until:
            try:
                live = await replica.refresh.current(key)
            except SessionOver as over:
                self.outcomes[name] = f"over: {over.reason}"
                return
            except TryLater as later:
                await replica.clock.sleep(later.retry_after_seconds)
            else:
                self.given(live, name)
                return
        self.outcomes[name] = "never served"

    async def use_late(self, replica: "Replica", key: SessionKey, name: str) -> None:
        """A browser that comes when a lease taken now has ended."""
        await replica.clock.sleep(LEASE + 0.5)
        await self.insist(replica, key, name)

    def given(self, live: Live | None, name: str) -> None:
        if live is None:
            self.outcomes[name] = "missing"
            return
        self.outcomes[name] = "served"
        if live.grant.tokens.id_token_expires_at <= self.wall():
            self.violations.append(f"{name} was given an ended ID token")

    async def look_after(self, replica: "Replica", name: str) -> None:
        """A replica's confirmations, for some seconds."""
        for _ in range(LOOKS):
            await replica.clock.sleep(EVERY_SECONDS)
            with suppress(StoreUnavailable):
                await replica.confirmations.round()
        self.outcomes[name] = "looked"

    async def log_out(self, replica: "Replica", key: SessionKey, name: str) -> None:
        """A browser logs out, and tries again if it must."""
        while True:
            try:
                told = await replica.logout.log_out(key)
            except TryLater:
                await replica.clock.sleep(1.0)
                continue
            self.outcomes[name] = "no session" if told is None else "logged out"
            return

    async def replace_login(self, replica: "Replica", key: SessionKey, name: str) -> None:
        """The browser has logged in anew: its previous session ends."""
        await replica.login.end_previous(key)
        self.outcomes[name] = "replaced"

    async def join(self, replica: "Replica", name: str) -> None:
        """Another browser gets a session on the same grant."""
        try:
            cookie = await replica.joining.join(self.user_tag, self.grant_id, user_agent="t")
        except TryLater:
            self.outcomes[name] = "later"
            return
        self.outcomes[name] = cookie or "none"

    async def finish_login(self, replica: "Replica", name: str) -> None:
        """A browser goes to the provider, and comes back; where grants are shared, each its own."""
        state = f"{STATE} of {name}" if self.shared else STATE
        response = AuthorizationResponse(state, CODE, ISSUER, "")
        attempt = replace(ATTEMPT, state=state)
        try:
            await replica.login.start("/", ATTEMPT.redirect_uri)
            cookie = await replica.login.finish(response, attempt, user_agent="t")
        except (LoginRefused, TryLater) as error:
            self.outcomes[name] = f"refused: {getattr(error, 'reason', 'later')}"
            return
        self.outcomes[name] = cookie

    def key_of(self, cookie: str) -> SessionKey:
        """The key that a cookie names."""
        key = next(iter(self.replicas.values())).sessions.read_cookies([cookie])
        assert key
        return key


class WorldClock:
    """A replica's clock: its sleeps end when the world's time has come, and it has its turn."""

    def __init__(self, world: World, replica: str) -> None:
        self._world = world
        self._replica = replica

    def now(self) -> float:
        return self._world.wall()

    def monotonic(self) -> float:
        return self._world.turns.loop.instant

    async def sleep(self, seconds: float) -> None:
        turns = self._world.turns
        calls = _callers("sleep") if self._world.watched else frozenset()
        await turns.step(
            self._replica, "clock.sleep", wakes_at=turns.loop.instant + seconds, calls=calls
        )


class Ports:
    """The steps around each call of a replica's store, provider and upstream."""

    def __init__(self, world: World, replica: str) -> None:
        self._world = world
        self._replica = replica

    async def _call(self, method: str, access: Access, effect: Callable[[], _T]) -> _T:
        calls = _callers(method.partition(".")[2]) if self._world.watched else frozenset()
        turns = self._world.turns
        await turns.step(self._replica, method, access, calls=calls)
        down_until = self._world.store_down_until.get(self._replica, 0.0)
        if method.startswith("store.") and down_until > turns.loop.instant:
            raise StoreUnavailable("cut off")
        result: _T | Exception
        try:
            result = effect()
        except (ProviderRefused, ProviderUnavailable) as refusal:
            result = refusal
        await turns.step(self._replica, method, after=True)
        if isinstance(result, Exception):
            raise result
        return result


class StorePort(Ports):
    """The store, as one replica reaches it: whatever the memory store can do, with steps."""

    @property
    def interrupted_at(self) -> float:
        """When this replica had to connect anew."""
        return self._world.store_interrupted_at

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*args: Any, **named: Any) -> Any:
            return await self._call(
                f"store.{name}", _TOUCHES.get(name, _WRITES_GRANT), lambda: effect(args, named)
            )

        def effect(args: tuple[Any, ...], named: dict[str, Any]) -> Any:
            world = self._world
            if name == "attach" and not world.grant_id:
                world.user_tag, world.grant_id = args[0].user_tag, args[2]
            result = at_once(getattr(world.memory, name)(*args, **named))
            if name in _MAY_CHANGE_GRANT and world.grant_id:
                world.look(f"{self._replica}'s {name}")
                if name == "save_grant":
                    world.note_try(self._replica)
                world.remember()
            return result

        return call


class ProviderPort(Ports):
    """The provider, as one replica reaches it."""

    @property
    def profile(self) -> ProviderProfile:
        """One refresh token per user, or per login."""
        sharing = Sharing.PER_USER if self._world.shared else Sharing.PER_SESSION
        return replace(GENERIC, sharing=sharing)

    async def endpoints(self) -> ProviderEndpoints:
        return await self._call(
            "provider.endpoints",
            LOCAL,
            lambda: ProviderEndpoints(ISSUER, f"{ISSUER}/a", f"{ISSUER}/t", f"{ISSUER}/k"),
        )

    @property
    def issuer_aliases(self) -> tuple[str, ...]:
        return ()

    async def exchange(self, code: str, *, code_verifier: str, redirect_uri: str) -> TokenResponse:
        provider = self._world.provider
        return await self._call(
            "provider.exchange", _TELLS, lambda: provider.exchange(self._replica, code)
        )

    async def refresh(self, refresh_token: str, *, send_before: float) -> TokenResponse:
        def effect() -> TokenResponse:
            # The step before is the connection; what is decided here is sent at once.
            if self._world.turns.loop.instant > send_before:
                raise ProviderUnavailable("too late to ask", token_untouched=True)
            return self._world.provider.refresh(self._replica, refresh_token)

        return await self._call("provider.refresh", _ASKS, effect)

    async def revoke(self, refresh_token: str) -> bool:
        provider = self._world.provider
        return await self._call(
            "provider.revoke", _TELLS, lambda: provider.revoke(self._replica, refresh_token)
        )

    async def read_keys(self, *, max_age_seconds: float) -> None:
        raise ProviderUnavailable("there are none to read")

    @property
    def published(self) -> PublishedKeys | None:
        return None

    async def signing_keys(self, id_token: str, *, again: bool = False) -> Sequence[SigningKey]:
        keys = [SigningKey(None, None, _SIGNS.public_key())]
        return await self._call("provider.signing_keys", LOCAL, lambda: keys)


class UpstreamPort(Ports):
    """Argo CD, as one replica reaches it."""

    async def log_out(self, id_token: str, *, site: str) -> str:
        return await self._call("upstream.log_out", LOCAL, lambda: "")


@dataclass
class Replica:
    """One process: what it remembers is in its flows."""

    name: str
    clock: WorldClock
    tasks: Tasks
    sessions: Sessions
    joining: Joining
    confirmations: Confirmations
    refresh: Refresh
    login: Login
    logout: Logout

    @classmethod
    def build(cls, world: World, name: str) -> "Replica":
        """The flows over ports that wait for their turns; the one place that constructs them."""
        clock, tasks = WorldClock(world, name), Tasks(_LOG)
        runtime = Runtime(clock, _random(name), tasks, _METRICS, _LOG)
        store, provider = cast(Store, StorePort(world, name)), ProviderPort(world, name)
        schedule = Schedule(store, RefreshWindow(), Background.ACTIVE)
        parts = session_parts(store, RING, CLIENT, schedule, _LIFETIMES, runtime, prefix=PREFIX)
        sessions = parts.sessions
        revocations = Revocations(
            store, parts.records, provider, runtime, provider_seconds=TIMINGS.provider_seconds
        )
        refresh = Refresh(
            sessions, store, provider, schedule, runtime,
            window=RefreshWindow(), timings=TIMINGS, revocations=revocations,
        )  # fmt: skip
        settings = LoginSettings(("openid",), OfflineAccess.AUTO)
        login = Login(
            sessions, parts.joining, store, provider, RING, CLIENT, settings, schedule, runtime,
            LoginLimits(runtime), prefix=PREFIX,
        )  # fmt: skip
        upstream, fresh = UpstreamPort(world, name), Fresh(refresh, clock)
        logout = Logout(sessions, parts.records, provider, revocations, upstream, fresh, runtime)
        return cls(
            name, clock, tasks, sessions, parts.joining, parts.confirmations, refresh, login, logout
        )

    @staticmethod
    def parts_over(world: World, store: MemoryStore, name: str) -> SessionParts:
        """Sessions over a store that waits for nobody."""
        runtime = Runtime(WorldClock(world, name), _random(name), Tasks(_LOG), _METRICS, _LOG)
        schedule = Schedule(store, RefreshWindow(), Background.ACTIVE)
        return session_parts(store, RING, CLIENT, schedule, _LIFETIMES, runtime, prefix=PREFIX)


_LIFETIMES = Lifetimes(72 * 3600, 168 * 3600)


@functools.lru_cache(maxsize=4096)
def _opened(tag: str, grant_id: str, record: Record) -> Grant:
    label = Label(PREFIX, "grant", f"{tag}/{grant_id}", record.version)
    return Grant.from_bytes(grant_id, tag, record.version, RING.open(record.sealed, label))


def at_once(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


def _random(replica: str) -> Callable[[int], bytes]:
    """Bytes that are the same in every run, and different in every replica and call."""
    count = 0

    def random(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_128(f"{replica}/{count}".encode()).digest(size)

    return random


def _callers(method: str) -> frozenset[tuple[str, str]]:
    """Which functions of the flows are on the stack, each with the method that it awaits.

    The innermost awaits the port's `method`.
    """
    found, called = [], method
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if "/sidecar/flows/" in code.co_filename:
            found.append((code.co_qualname, called))
            called = code.co_name
        frame = frame.f_back
    return frozenset(found)
