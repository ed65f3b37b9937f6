"""Build every object once, own its lifetime, serve."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web
from structlog.typing import FilteringBoundLogger

from sidecar import edges
from sidecar.adapters.upstream import ArgoCd
from sidecar.config.settings import Config
from sidecar.config.values import CookieMode, Listen, masked
from sidecar.core.authorization import origin
from sidecar.core.cookies import CookieJar
from sidecar.core.heads import Paths
from sidecar.core.sealing import KEY_BYTES, Key, KeyRing
from sidecar.core.timings import WORK_SECONDS, Timings
from sidecar.errors import SidecarError
from sidecar.flows.assembly import session_parts
from sidecar.flows.background import Background
from sidecar.flows.login import Login, LoginSettings
from sidecar.flows.logout import Logout
from sidecar.flows.outages import Outages
from sidecar.flows.records import Client
from sidecar.flows.refresh import Refresh
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes, Sessions
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.ports import Clock, IdentityProvider, Store
from sidecar.proxy.gate import Gate
from sidecar.proxy.hold_back import HoldBack
from sidecar.proxy.passes import Rules
from sidecar.proxy.pool import Pool
from sidecar.proxy.port import PublicPort
from sidecar.proxy.registry import OpenThings
from sidecar.proxy.site import Site
from sidecar.proxy.way import Way
from sidecar.web.admin import Admin, Check, Phase
from sidecar.web.auth import AuthEndpoints
from sidecar.web.server import OwnServer, OwnSite

DRAIN_SECONDS = 6.0
CHECK_SECONDS = 0.5  # a probe has one second


# Linux' monotonic clock stands still while a machine is suspended; a lease does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's time."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never step, and go on while the process or the machine is paused."""
        return time.clock_gettime(_CLOCK)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Running:
    """A sidecar that serves: where its two ports are, and the work behind its requests."""

    public: tuple[str, int]
    admin: tuple[str, int]
    metrics: Metrics
    tasks: Tasks


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the public port needs, and what is checked for readiness."""

    sessions: Sessions
    gate: Gate
    own: OwnSite
    paths: Paths
    login_url: str
    checks: dict[str, Check]


@asynccontextmanager
async def running(
    config: Config,
    *,
    clock: Clock | None = None,
    log: FilteringBoundLogger | None = None,
    confirms: bool = True,
) -> AsyncIterator[Running]:
    """The sidecar and all it owns, serving until exit, closed in reverse order.

    Without `confirms` what it knows holds for a second, and nothing lost is put back: for a
    clock that only moves when it is told to.

    At exit it takes no new connections, finishes the answers that are under way, and then
    the work that outlives them: a renewed token reaches the store.
    """
    clock, log = clock or SystemClock(), log or structlog.get_logger()
    metrics = Metrics()
    async with AsyncExitStack() as owned:
        timings = config.timings
        store = await edges.open_store(config, clock, owned)
        provider = await edges.open_provider(config, timings, clock, metrics, owned)
        tls = edges.upstream_contexts(config)
        argocd = await edges.open_argocd(config, tls, owned)
        tasks = Tasks(log)
        owned.push_async_callback(tasks.aclose, seconds=WORK_SECONDS)
        runtime = Runtime(clock, os.urandom, tasks, metrics, log)
        pool = edges.upstream_pool(config, tls, clock)
        parts = _compose(config, store, provider, argocd, pool, timings, runtime, confirms=confirms)
        admin = Admin(metrics.registry, parts.checks)
        admin_runner = web.AppRunner(admin.application(), access_log=None)
        admin_at = await _serve(admin_runner, config.admin_listen, owned)
        public_at = await _serve_public(parts, pool, runtime, config, owned)
        admin.phase = Phase.SERVING
        _say_start(config, log)
        try:
            yield Running(public_at, admin_at, metrics, tasks)
        finally:
            admin.phase = Phase.DRAINING


def _compose(
    config: Config,
    store: Store,
    provider: IdentityProvider,
    argocd: ArgoCd,
    pool: Pool,
    timings: Timings,
    runtime: Runtime,
    *,
    confirms: bool,
) -> _Parts:
    """Everything between the sockets."""
    ring = KeyRing(config.session_keys or [Key("start", os.urandom(KEY_BYTES))])
    client = Client(config.issuer, config.client_id)
    paths = Paths(config.root_path)
    jar = CookieJar(config.public_url)
    schedule = Schedule(store, config.refresh_window, config.background_renewal)
    lifetimes = Lifetimes(
        config.session_idle_timeout, config.session_max_lifetime, config.store_grace
    )
    parts = session_parts(
        store, ring, client, schedule, lifetimes, runtime, prefix=edges.KEY_PREFIX
    )
    sessions = parts.sessions
    refresh = Refresh(
        sessions,
        store,
        provider,
        schedule,
        runtime,
        window=config.refresh_window,
        timings=timings,
    )
    login = Login(
        sessions,
        store,
        provider,
        ring,
        client,
        LoginSettings(config.scopes, config.offline_access, config.redirect_uri),
        schedule,
        runtime,
        prefix=edges.KEY_PREFIX,
    )
    background = Background(sessions, store, refresh, schedule, runtime)
    runtime.tasks.start_endless(background.run, "background", runtime.clock)
    if confirms:
        runtime.tasks.start_endless(parts.confirmations.beats, "beats", runtime.clock)
        runtime.tasks.start_endless(parts.confirmations.run, "confirmations", runtime.clock)
        away = {"store": lambda: sessions.health.away, "provider": lambda: refresh.provider_away}
        runtime.tasks.start_endless(Outages(away, runtime).run, "outages", runtime.clock)
    logout = Logout(sessions, parts.records, provider, argocd, runtime)
    auth = AuthEndpoints(
        sessions,
        login,
        logout,
        jar,
        paths,
        config.public_url,
        session_seconds=config.session_max_lifetime,
    )
    rules = Rules(
        jar,
        paths,
        origin(config.public_url),
        frozenset({origin(config.public_url), *(config.websocket_origins or ())}),
        mirror=config.cookie_mode is CookieMode.MIRROR,
        min_token_life=config.min_token_life,
    )
    gate = Gate(sessions, refresh, rules, metrics=runtime.metrics)
    own = OwnSite(auth, paths, request_ids=_request_id, log=runtime.log)
    checks = {
        "store": _check(store.ping),
        "provider": _check(provider.endpoints),
        "upstream": _check(pool.probe),
    }
    return _Parts(sessions, gate, own, paths, auth.login_url, checks)


def _request_id() -> str:
    return os.urandom(8).hex()


async def _serve_public(
    parts: _Parts, pool: Pool, runtime: Runtime, config: Config, owned: AsyncExitStack
) -> tuple[str, int]:
    """Open the public port; closed first, so that answers under way find all they need."""
    clock = runtime.clock
    pages = OwnServer(parts.own, config.max_head_size, config.max_header_fields)
    runner = web.ServerRunner(pages, shutdown_timeout=1)
    await runner.setup()
    owned.push_async_callback(runner.cleanup)
    way = Way(
        parts.gate,
        pool,
        OpenThings(),
        HoldBack(clock.sleep),
        runtime.tasks,
        parts.login_url,
        _request_id,
        runtime.log,
    )
    site = Site(
        way,
        parts.paths,
        pages,
        edges.limits(config),
        http2=config.http2,
        metrics=runtime.metrics,
        certificate=edges.certificate(config, runtime),
    )
    port = PublicPort(site)
    parts.sessions.close_open = port.close_session
    owned.push_async_callback(port.aclose, seconds=DRAIN_SECONDS)
    return await port.start(config.listen.host, config.listen.port)


async def _serve(runner: web.BaseRunner, listen: Listen, owned: AsyncExitStack) -> tuple[str, int]:
    await runner.setup()
    owned.push_async_callback(runner.cleanup)
    # Without a host asyncio listens on both IP families, as Go does.
    site = web.TCPSite(runner, listen.host, listen.port, backlog=1024)
    await site.start()
    host, port = runner.addresses[0][:2]
    return str(host), int(port)


def _check(ask: Callable[[], Awaitable[object]]) -> Check:
    async def check() -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await ask()
        except (SidecarError, OSError, TimeoutError) as error:
            return str(error) or "does not answer"
        return "ok"

    return check


def _say_start(config: Config, log: FilteringBoundLogger) -> None:
    log.info(
        "serving",
        listen=str(config.listen),
        tls=config.tls_cert_file is not None,
        admin=str(config.admin_listen),
        upstream=config.upstream,
        public_url=config.public_url,
        issuer=config.issuer,
        store=masked(config.store_url),
    )
    if config.store_url == "memory://":
        log.warning(
            "memory_store",
            meaning="one replica only; a restart ends all sessions",
            mend="set SIDECAR_STORE_URL to a Redis",
        )
