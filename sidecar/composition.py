"""Everything between the sockets, built from a configuration, and built anew where that changes.

What is known of sessions outlives a change: a *line* lasts as long as its issuer and client do.
A *face* is cheap: the pages and the gate, with all that a configuration says of them.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import ClientSession

from sidecar.adapters.memory_store import MemoryStore
from sidecar.adapters.openid_provider import OpenIdProvider, provider_session
from sidecar.adapters.redis_store import RedisStore
from sidecar.adapters.upstream import ArgoCd
from sidecar.config.settings import Config
from sidecar.config.tls import provider_tls
from sidecar.config.values import CookieMode
from sidecar.core.authorization import ATTEMPT_LIFE_SECONDS, origin
from sidecar.core.cookies import CookieJar
from sidecar.core.heads import Paths
from sidecar.core.provider_profiles import profile_of
from sidecar.core.sealing import KEY_BYTES, Key, KeyRing
from sidecar.core.session import SessionKey
from sidecar.core.timings import Timings
from sidecar.errors import SidecarError
from sidecar.flows.assembly import SessionParts, session_parts
from sidecar.flows.background import Background
from sidecar.flows.login import Login, LoginSettings
from sidecar.flows.logout import Logout
from sidecar.flows.outages import Outages
from sidecar.flows.records import Client
from sidecar.flows.refresh import Refresh
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes
from sidecar.flows.tasks import Runtime
from sidecar.ports import Store
from sidecar.proxy.gate import Gate
from sidecar.proxy.passes import NoLogins, Rules
from sidecar.proxy.pool import Pool
from sidecar.web.admin import Check
from sidecar.web.auth import AuthEndpoints
from sidecar.web.server import OwnSite

CHECK_SECONDS = 0.5  # a probe has one second
# What began with a configuration that is gone has ended by then: logins take the longest.
_KEPT_SECONDS = ATTEMPT_LIFE_SECONDS + 60.0


@dataclass(slots=True)
class Line:
    """One issuer and client: the provider, and what this process knows of its sessions."""

    client: Client
    config: Config
    parts: SessionParts
    http: ClientSession
    provider: OpenIdProvider
    refresh: Refresh
    store: Store
    schedule: Schedule
    endless: list[asyncio.Task[None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Face:
    """What the public port asks: the gate, and the pages behind own paths if there are any."""

    gate: Gate
    paths: Paths
    login_url: str
    auth: AuthEndpoints | None = None


@dataclass(frozen=True, slots=True)
class _Retired:
    """What is kept for those who began with it."""

    until: float
    auth: AuthEndpoints | None = None
    http: ClientSession | None = None


class Composition:
    """The parts of one sidecar. Whoever owns the sockets is told by `show`, `close_…`."""

    def __init__(
        self,
        runtime: Runtime,
        pool: Pool,
        upstream: ClientSession,
        timings: Timings,
        *,
        prefix: str,
        confirms: bool,
    ) -> None:
        self._runtime = runtime
        self._pool = pool
        self._upstream = upstream
        self._prefix = prefix
        self._confirms = confirms
        self._timings = timings
        self._start_key = Key("start", os.urandom(KEY_BYTES))
        self._store: RedisStore | MemoryStore | None = None
        self._line: Line | None = None
        self._retired: list[_Retired] = []
        self.own = OwnSite(request_ids=request_id, log=runtime.log)
        self.checks: dict[str, Check] = {}
        self.show: Callable[[Face, Config], None] = lambda face, config: None
        self.close_session: Callable[[SessionKey], None] = lambda _: None
        self.close_all: Callable[[], None] = lambda: None

    async def aclose(self) -> None:
        """Close the connections to provider and store; nobody uses them any more."""
        lines = [self._line] if self._line else []
        for http in [*(line.http for line in lines), *(old.http for old in self._retired)]:
            if http is not None:
                await http.close()
        if isinstance(self._store, RedisStore):
            await self._store.aclose()

    async def use(self, config: Config) -> Face:
        """Build what this configuration needs and is not there yet; from now on it is in force."""
        await self._tidy()
        before, line = self._line, None
        if config.argocd.takes_over_logins:
            line = self._line_for(config)
        face = self._login_face(config, line) if line else self._open_face(config)
        if self.own.auth is not None:
            self._retire(auth=self.own.auth)
        if before is not None and before is not line:
            self._end(before)
        self._line = line
        self.own.auth, self.own.paths = face.auth, face.paths
        self.own.earlier = [old.auth for old in reversed(self._retired) if old.auth is not None]
        self._check(line)
        self._runtime.metrics.takes_over_logins.set(line is not None)
        self.show(face, config)
        return face

    # Lines

    def _line_for(self, config: Config) -> Line:
        """The line of this issuer and client: the one that is there, with what has changed."""
        line = self._line
        if line is None or line.client != Client(config.issuer, config.client_id):
            return self._new_line(config)
        before, line.config = line.config, config
        if _provider_way(before) != _provider_way(config):
            self._retire(http=line.http)
            line.http = self._provider_http(config)
            line.provider.use(line.http)
            line.refresh.try_again()
        if not config.has_secret_of(before):
            line.refresh.try_again()
        line.parts.sessions.lifetimes = _lifetimes(config)
        if before.session_keys != config.session_keys:
            self._turn_keys(line, before)
        return line

    def _turn_keys(self, line: Line, before: Config) -> None:
        line.parts.records.ring = self._ring(line.config)
        kept = {key.id for key in line.config.session_keys or ()}
        if any(key.id not in kept for key in before.session_keys or ()):
            self.close_all()  # what is open belongs to sessions that nobody can open any more

    def _new_line(self, config: Config) -> Line:
        runtime, client = self._runtime, Client(config.issuer, config.client_id)
        store = self._opened_store(config)
        schedule = Schedule(store, config.refresh_window, config.background_renewal)
        parts = session_parts(
            store, self._ring(config), client, schedule, _lifetimes(config), runtime,
            prefix=self._prefix,
        )  # fmt: skip
        http = self._provider_http(config)
        provider = OpenIdProvider(
            http,
            config.issuer,
            config.client_id,
            lambda: line.config.read_client_secret(),
            clock=runtime.clock,
            metrics=runtime.metrics,
            keys_seconds=self._timings.keys_seconds,
            profile=profile_of(config.provider),
        )
        refresh = Refresh(
            parts.sessions, store, provider, schedule, runtime,
            window=config.refresh_window, timings=self._timings,
        )  # fmt: skip
        line = Line(client, config, parts, http, provider, refresh, store, schedule)
        self._begin(line)
        return line

    def _begin(self, line: Line) -> None:
        """The work of a line that no request asks for."""
        sessions, runtime = line.parts.sessions, self._runtime
        sessions.close_open = lambda key: self.close_session(key)
        background = Background(sessions, line.store, line.refresh, line.schedule, runtime)
        work = {"background": background.run}
        if self._confirms:
            away = {
                "store": lambda: sessions.health.away,
                "provider": lambda: line.refresh.provider_away,
            }
            work["beats"] = line.parts.confirmations.beats
            work["confirmations"] = line.parts.confirmations.run
            work["outages"] = Outages(away, runtime).run
        for name, run in work.items():
            line.endless.append(runtime.tasks.start_endless(run, name, runtime.clock))

    def _end(self, line: Line) -> None:
        """The issuer or client is another now: this one's sessions are no longer served."""
        for task in line.endless:
            task.cancel()
        self._retire(http=line.http)
        self.close_all()

    # Faces

    def _login_face(self, config: Config, line: Line) -> Face:
        parts, runtime = line.parts, self._runtime
        paths, jar = Paths(config.root_path), CookieJar(config.public_url)
        argocd = ArgoCd(
            self._upstream,
            config.upstream,
            config.root_path,
            server_name=config.upstream_tls_server_name,
        )
        settings = LoginSettings(
            config.scopes, config.offline_access, config.redirect_uri, config.argocd.authorization
        )
        login = Login(
            parts.sessions, line.store, line.provider, parts.records.ring, line.client, settings,
            line.schedule, runtime, prefix=self._prefix,
        )  # fmt: skip
        auth = AuthEndpoints(
            parts.sessions,
            login,
            Logout(parts.sessions, parts.records, line.provider, argocd, runtime),
            jar,
            paths,
            config.public_url,
            session_seconds=config.session_max_lifetime,
        )
        gate = Gate(
            parts.sessions, line.refresh, _rules(config, jar, paths), metrics=runtime.metrics
        )
        return Face(gate, paths, auth.login_url, auth)

    def _open_face(self, config: Config) -> Face:
        """Where logins are Argo CD's: everything passes, less our cookies."""
        paths = Paths(config.root_path, takes_over_logins=False)
        rules = Rules(
            CookieJar(config.public_url), paths, "", frozenset(), mirror=False, min_token_life=0.0
        )
        gate = Gate(NoLogins(), NoLogins(), rules, metrics=self._runtime.metrics)
        return Face(gate, paths, f"{paths.root}/auth/login")

    # What they are made of

    def _opened_store(self, config: Config) -> Store:
        """The store, opened when it is needed first; another one needs another process."""
        if self._store is None and config.store_url == "memory://":
            self._store = MemoryStore(self._runtime.clock)
        elif self._store is None:
            self._store = RedisStore(
                config.store_url, prefix=self._prefix, clock=self._runtime.clock,
                command_seconds=self._timings.command_seconds,
            )  # fmt: skip
        return self._store

    def _ring(self, config: Config) -> KeyRing:
        return KeyRing(config.session_keys or [self._start_key])

    def _provider_http(self, config: Config) -> ClientSession:
        ca, verify = _provider_way(config)
        tls = provider_tls(ca, verify=verify) if ca or not verify else None
        return provider_session(total_seconds=self._timings.provider_seconds, tls=tls)

    def _check(self, line: Line | None) -> None:
        """What readiness tells of; the mapping is the same for as long as the process lives."""
        self.checks["upstream"] = _check(self._pool.probe)
        for name in ("store", "provider"):
            self.checks.pop(name, None)
        if line is not None:
            self.checks["store"] = _check(line.store.ping)
            self.checks["provider"] = _check(line.provider.endpoints)

    def _retire(
        self, *, auth: AuthEndpoints | None = None, http: ClientSession | None = None
    ) -> None:
        until = self._runtime.clock.monotonic() + _KEPT_SECONDS
        self._retired.append(_Retired(until, auth, http))

    async def _tidy(self) -> None:
        """Let go of what nobody can be using any more."""
        now = self._runtime.clock.monotonic()
        over = [old for old in self._retired if old.until <= now]
        self._retired = [old for old in self._retired if old.until > now]
        for old in over:
            if old.http is not None:
                await old.http.close()


def request_id() -> str:
    """A name for one request, in its log lines and on its page."""
    return os.urandom(8).hex()


def _provider_way(config: Config) -> tuple[str, bool]:
    return config.argocd.provider_ca, config.argocd.provider_tls_verify


def _lifetimes(config: Config) -> Lifetimes:
    return Lifetimes(config.session_idle_timeout, config.session_max_lifetime, config.store_grace)


def _rules(config: Config, jar: CookieJar, paths: Paths) -> Rules:
    here = origin(config.public_url)
    return Rules(
        jar,
        paths,
        here,
        frozenset({here, *(config.websocket_origins or ())}),
        mirror=config.cookie_mode is CookieMode.MIRROR,
        min_token_life=config.min_token_life,
    )


def _check(ask: Callable[[], Awaitable[object]]) -> Check:
    async def check() -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await ask()
        except (SidecarError, OSError, TimeoutError) as error:
            return str(error) or "does not answer"
        return "ok"

    return check
