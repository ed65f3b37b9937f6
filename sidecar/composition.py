"""Everything between the sockets, built from a configuration, and built anew where that changes.

What is known of sessions outlives a change: a *line* lasts as long as its issuer and client do.
A *face* is cheap: the pages and the gate, with all that a configuration says of them.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import ClientSession

from sidecar import edges
from sidecar.adapters.redis_store import RedisStore
from sidecar.adapters.upstream import upstream_session
from sidecar.config.settings import Config
from sidecar.config.values import CookieMode, LoginMode
from sidecar.core.authorization import ATTEMPT_LIFE_SECONDS, Sites, origin
from sidecar.core.cookies import CookieJar
from sidecar.core.heads import OwnPath, Paths
from sidecar.core.sealing import KEY_BYTES, Key, KeyRing
from sidecar.core.session import SessionKey
from sidecar.flows.backchannel import BackchannelLogout
from sidecar.flows.fresh import Fresh
from sidecar.flows.limits import LoginLimits
from sidecar.flows.login import Login, LoginSettings
from sidecar.flows.logout import Logout
from sidecar.flows.observed import ObservedLogins
from sidecar.flows.own_sessions import OwnSessions
from sidecar.flows.records import Client
from sidecar.flows.tasks import Runtime
from sidecar.line import Line
from sidecar.machine_accounts import MachineAccounts
from sidecar.machine_line import MachineLine
from sidecar.proxy.gate import Gate
from sidecar.proxy.machine_gate import MachineGate
from sidecar.proxy.passes import NoLogins, Rules
from sidecar.proxy.workflows_gate import WorkflowsGate
from sidecar.web.admin import Check, checked
from sidecar.web.auth import AuthEndpoints, Endpoint
from sidecar.web.backchannel import BackchannelEndpoint
from sidecar.web.server import OwnSite
from sidecar.web.sessions import SessionPages

if TYPE_CHECKING:
    from sidecar.adapters.memory_store import MemoryStore

# What began with a configuration that is gone has ended by then: logins take the longest.
KEPT_SECONDS = ATTEMPT_LIFE_SECONDS + 60.0

_BESIDE_THE_TOKEN = 8 * 1024  # of a request's head, for its line, other fields and other cookies


@dataclass(frozen=True, slots=True)
class Face:
    """What the public port asks: the gate, and the pages behind own paths if there are any."""

    gate: Gate
    paths: Paths
    login_url: str
    auth: AuthEndpoints | None = None
    observed: ObservedLogins | None = None


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
        config: Config,
        *,
        confirms: bool,
        account: Path,
    ) -> None:
        self._runtime = runtime
        self._reach(config)
        self._confirms = confirms
        self._start_key = Key("start", os.urandom(KEY_BYTES))
        # Opened when it is needed first; another one needs another process.
        self._store: RedisStore | MemoryStore | None = None
        self._line: Line | None = None
        self._machines = MachineLine(runtime)
        self._accounts = MachineAccounts(runtime, os.environ, account)
        self.observed: ObservedLogins | None = None
        """Who keeps what comes of the upstream's own logins, while they are observed."""
        observes = config.login is LoginMode.OBSERVED
        self.dex_http = edges.dex_http(config) if observes else None
        """For token requests of the upstream, which its port does not wait for."""
        self._keys: tuple[Key, ...] | None = None
        self._retired: list[_Retired] = []
        self._limits = LoginLimits(runtime)
        self.own = OwnSite(request_ids=request_id, log=runtime.log, tracer=runtime.tracer)
        self.checks: dict[str, Check] = {"upstream": checked(lambda: self.pool.probe())}
        self.show: Callable[[Face, Config], None] = lambda face, config: None
        self.close_session: Callable[[SessionKey], None] = lambda _: None
        self.close_all: Callable[[], None] = lambda: None

    async def aclose(self) -> None:
        """Close the connections to provider and store; nobody uses them any more."""
        in_use = [self._upstream, self.dex_http, *([self._line.http] if self._line else [])]
        for http in [*in_use, *(old.http for old in self._retired)]:
            if http is not None:
                await http.close()
        if self._line is not None:
            await self._line.stop_seeding()
        await self._machines.aclose()
        if isinstance(self._store, RedisStore):
            await self._store.aclose()

    async def use(self, config: Config) -> Face:
        """Build what this configuration needs and is not there yet; from now on it is in force."""
        await self._tidy()
        if edges.upstream_way(config) != self._way:
            await self._reach_anew(config)
        line = self._line_for(config) if config.argocd.takes_over_logins else None
        if self._line is not None and self._line is not line:
            self._leave(self._line)
        if config.argocd.leaves_logins:
            face = self._workflows_face(config)
        else:
            face = self._login_face(config, line) if line else self._open_face(config)
        if self.own.auth is not None:
            self._retire(auth=self.own.auth)
        self._line, self.observed = line, face.observed
        self.own.auth, self.own.paths = face.auth, face.paths
        self.own.earlier = [old.auth for old in reversed(self._retired) if old.auth is not None]
        self._check(line)
        leaves = config.argocd.leaves_logins
        self._runtime.metrics.takes_over_logins.set(line is not None or leaves)
        self.show(face, config)
        return face

    # The upstream

    def _reach(self, config: Config) -> None:
        tls = edges.upstream_contexts(config)
        self._way = edges.upstream_way(config)
        self.pool = edges.upstream_pool(config, tls, self._runtime.clock, self._runtime.tracer)
        self._upstream = upstream_session(config.upstream, tls.http1 if tls else None)

    async def _reach_anew(self, config: Config) -> None:
        """Only where the start did not know the way: what took the wrong one has failed."""
        pool, upstream = self.pool, self._upstream
        self._reach(config)
        pool.close()
        await upstream.close()

    # Lines

    def _line_for(self, config: Config) -> Line:
        """The line of this issuer and client: the one that is there, with what has changed."""
        line, ring = self._line, KeyRing(config.session_keys or [self._start_key])
        before, self._keys = self._keys, config.session_keys
        if line is None or line.client != Client(config.issuer, config.client_id):
            self._store = self._store or edges.store(config, self._runtime.clock)
            store = edges.shared_store(self._store, self._runtime.tracer)
            line = Line(config, store, ring, self._runtime)
            line.begin(lambda key: self.close_session(key), confirms=self._confirms)
            return line
        if replaced := line.follow(config, ring):
            self._retire(http=replaced)
        if before != config.session_keys:
            was, now = _ids(before), _ids(config.session_keys)
            self._runtime.audit.info("session_keys_changed", before=was, now=now)
        if gone := set(before or ()) - set(config.session_keys or ()):
            line.parts.sessions.close_signed_by({key.id for key in gone})
        return line

    def _leave(self, line: Line) -> None:
        """The issuer or client is another now: this one's sessions are no longer served."""
        line.end()
        self._runtime.tasks.start(line.stop_seeding(), "close Argo CD's Redis")
        self._retire(http=line.http)
        self.close_all()

    # Faces

    def _login_face(self, config: Config, line: Line) -> Face:
        sessions, records, runtime = line.parts.sessions, line.parts.records, self._runtime
        paths, jar = _paths(config), CookieJar(config.public_url)
        observed = self._observed(config, line)
        login = Login(
            sessions,
            line.parts.joining,
            line.store,
            line.provider,
            records.ring,
            line.client,
            _login_settings(config),
            line.schedule,
            runtime,
            self._limits,
            prefix=edges.KEY_PREFIX,
        )
        self._limits.allow_each_address(config.max_logins_per_address)
        argocd = edges.told_of_logouts(config, self._upstream)
        fresh = Fresh(line.refresh, runtime.clock)
        logout = Logout(
            sessions,
            records,
            line.provider,
            line.revocations,
            argocd,
            fresh,
            runtime,
            argocd_url=config.public_url,
            at_provider=config.provider_logout,
        )
        sites = Sites(config.public_url, config.additional_urls or ())
        auth = AuthEndpoints(
            sessions,
            login,
            logout,
            jar,
            paths,
            sites,
            self._limits,
            session_seconds=config.session_max_lifetime,
            trusted_proxies=config.trusted_proxies or (),
            now=runtime.clock.now,
            token_cookie=edges.token_cookie(config),
            others=self._other_endpoints(line, logout, jar, sites, paths.root),
        )
        rules = _rules(config, jar, paths)
        gate = Gate(
            sessions,
            line.refresh,
            rules,
            metrics=runtime.metrics,
            observer=observed,
            log_out=logout.log_out,
            machines=self._machine_gate(config),
        )
        return Face(gate, paths, auth.login_url, auth, observed)

    def _observed(self, config: Config, line: Line) -> ObservedLogins | None:
        """Who keeps what comes of the upstream's own logins; None where they are taken over."""
        if config.login is not LoginMode.OBSERVED:
            return None
        return ObservedLogins(
            line.parts.joining,
            line.store,
            line.provider,
            line.parts.records.ring,
            line.client,
            line.schedule,
            self._runtime,
            prefix=edges.KEY_PREFIX,
        )

    def _other_endpoints(
        self, line: Line, logout: Logout, jar: CookieJar, sites: Sites, root: str
    ) -> dict[OwnPath, Endpoint]:
        """What the sidecar answers beside login and logout."""
        sessions, records, runtime = line.parts.sessions, line.parts.records, self._runtime
        own = OwnSessions(sessions, records, line.store, line.schedule, logout, runtime)
        pages = SessionPages(own, records.ring, jar, sites, root, runtime.clock.now)
        told = BackchannelLogout(
            sessions, records, line.store, line.provider, logout, line.client, runtime
        )
        return {
            OwnPath.BACKCHANNEL_LOGOUT: BackchannelEndpoint(told).answer,
            OwnPath.SESSIONS: pages.answer,
            OwnPath.SIGNED_OUT: pages.signed_out,
        }

    def _workflows_face(self, config: Config) -> Face:
        """Where logins and sessions are Argo Workflows': these are renewed, and machines enter."""
        # Its paths are those behind an Ingress that takes the base path away.
        paths = Paths(takes_over_logins=False, upstream=config.upstream_kind)
        gate = WorkflowsGate(
            _open_rules(config, paths),
            public_url=config.public_url,
            renews=config.sso_renewal,
            remembered_seconds=config.session_idle_timeout,
            now=self._runtime.clock.now,
            metrics=self._runtime.metrics,
            machines=self._machine_gate(config),
        )
        return Face(gate, paths, f"{config.root_path}/login")

    def _open_face(self, config: Config) -> Face:
        """Where logins are Argo CD's: everything passes, less our cookies."""
        paths = Paths(config.root_path, takes_over_logins=False, upstream=config.upstream_kind)
        gate = Gate(
            NoLogins(),
            NoLogins(),
            _open_rules(config, paths),
            metrics=self._runtime.metrics,
            machines=self._machine_gate(config),
        )
        return Face(gate, paths, f"{paths.root}/auth/login")

    def _machine_gate(self, config: Config) -> MachineGate | None:
        """Who decides over machines' requests; None where no rules are set."""
        if config.machine_rules is None:
            return None
        rules = config.machine_rules
        self._machines.accounts = self._accounts.tokens(rules)
        machines = self._machines.follow(rules, config, self._accounts.annotated(rules, config))
        for http in self._machines.leaving():
            self._retire(http=http)
        return MachineGate(machines, config.upstream_kind)

    def _check(self, line: Line | None) -> None:
        """What readiness tells of; the mapping is the same for as long as the process lives."""
        for name in ("store", "provider"):
            self.checks.pop(name, None)
        if line is not None:
            self.checks["store"] = checked(line.store.ping)
            self.checks["provider"] = checked(line.provider.endpoints)

    # What is kept for a while

    def _retire(
        self, *, auth: AuthEndpoints | None = None, http: ClientSession | None = None
    ) -> None:
        until = self._runtime.clock.monotonic() + KEPT_SECONDS
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


def _ids(keys: tuple[Key, ...] | None) -> list[str]:
    return [key.id for key in keys or ()]


def _login_settings(config: Config) -> LoginSettings:
    return LoginSettings(config.scopes, config.offline_access, config.argocd.authorization)


def _rules(config: Config, jar: CookieJar, paths: Paths) -> Rules:
    sites = Sites(config.public_url, config.additional_urls or ())
    here = {origin(url) for url in (sites.public, *sites.additional)}
    return Rules(
        jar,
        paths,
        sites,
        frozenset({*here, *(config.websocket_origins or ())}),
        mirror=config.cookie_mode is CookieMode.MIRROR,
        min_token_life=config.min_token_life,
        token_cookie=edges.token_cookie(config),
        session_seconds=config.session_max_lifetime,
        most_mirrored=config.max_head_size - _BESIDE_THE_TOKEN,
    )


def _open_rules(config: Config, paths: Paths) -> Rules:
    """Where no session is ours."""
    return Rules(
        CookieJar(config.public_url),
        paths,
        Sites(config.public_url),
        frozenset(),
        mirror=False,
        min_token_life=0.0,
    )


def _paths(config: Config) -> Paths:
    observes = config.login is LoginMode.OBSERVED
    return Paths(config.root_path, observes_logins=observes, upstream=config.upstream_kind)
