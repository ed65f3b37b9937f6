"""Build every object once, own its lifetime, serve."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog
from aiohttp import web
from structlog.typing import FilteringBoundLogger

from sidecar import edges
from sidecar.changes import Changes
from sidecar.composition import Composition, Face, request_id
from sidecar.config.settings import Config
from sidecar.config.values import Listen, LoginMode, LogLevel, masked
from sidecar.core.timings import WORK_SECONDS
from sidecar.dex_port import serve_dex
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.logs import audit_log
from sidecar.metrics import Metrics
from sidecar.ports import Clock
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.hold_back import HoldBack
from sidecar.proxy.port import PublicPort
from sidecar.proxy.recorded import RecordedExchange
from sidecar.proxy.registry import OpenThings
from sidecar.proxy.request_log import in_log
from sidecar.proxy.site import Site
from sidecar.proxy.traced import Exchanges
from sidecar.proxy.way import Way
from sidecar.tracing import NO_TRACING, Tracer
from sidecar.web.admin import Admin, Check, Phase
from sidecar.web.server import OwnServer

DRAIN_SECONDS = 6.0


# Linux' monotonic clock stands still while a machine is suspended; a lease does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's time."""

    # Every request asks both: without a frame of ours between.
    now = staticmethod(time.time)
    monotonic = staticmethod(partial(time.clock_gettime, _CLOCK))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Running:
    """A sidecar that serves: where its ports are, and the work behind its requests."""

    public: tuple[str, int]
    admin: tuple[str, int]
    dex: tuple[str, int] | None
    """Where the upstream reaches it as its Dex; None unless it observes the upstream's logins."""
    metrics: Metrics
    tasks: Tasks
    changes: Changes


@asynccontextmanager
async def running(
    config: Config,
    *,
    load: Callable[[], Config] | None = None,
    clock: Clock | None = None,
    log: FilteringBoundLogger | None = None,
    checks: Mapping[str, Check] | None = None,
    confirms: bool = True,
    tracer: Tracer | None = None,
    account: Path = edges.ACCOUNT,
) -> AsyncIterator[Running]:
    """The sidecar and all it owns, serving until exit, closed in reverse order.

    With `load` the configuration is loaded again when its files change. What readiness tells of
    more than its own parts is in `checks`. A `tracer` takes the place of the configured one. In the
    folder `account` is the pod's service account, for who asks the Kubernetes API.
    Without `confirms` what the sidecar knows holds for a second, nothing lost is put back, and
    changes are looked for only when asked to: for a clock that only moves when it is told to.

    At exit it takes no new connections, finishes the answers that are under way, and then
    the work that outlives them: a renewed token reaches the store.
    """
    clock, log = clock or SystemClock(), log or structlog.get_logger()
    metrics = Metrics()
    async with AsyncExitStack() as owned:
        tasks = Tasks(log)
        failed = metrics.alarms.labels("audit_log_not_written").inc
        audit = owned.enter_context(audit_log(config.audit_log, log, failed=failed))
        if tracer is None:
            tracer = await owned.enter_async_context(edges.tracing(config, log))
        runtime = Runtime(clock, os.urandom, tasks, metrics, log, audit, tracer)
        made = Composition(runtime, config, confirms=confirms, account=account)
        owned.push_async_callback(made.aclose)
        owned.push_async_callback(tasks.aclose, seconds=WORK_SECONDS)
        changes = Changes(config, load or (lambda: config), made.use, runtime)
        made.checks |= {"configuration": changes.check, **(checks or {})}
        face = await made.use(config)
        admin = Admin(metrics.registry, made.checks)
        admin_runner = web.AppRunner(admin.application(), access_log=None)
        admin_at = await _serve(admin_runner, config.admin_listen, owned)
        dex_at = None
        if made.dex_http is not None:
            dex_at = await serve_dex(
                config, runtime, made.dex_http, lambda: made.observed, request_id, owned
            )
        public_at = await _serve_public(made, face, runtime, config, owned)
        if load is not None and confirms:
            tasks.start_endless(changes.run, "changes", clock)
        admin.phase = Phase.SERVING
        _say_start(config, log)
        changes.say_findings(config)
        try:
            yield Running(public_at, admin_at, dex_at, metrics, tasks, changes)
        finally:
            admin.phase = Phase.DRAINING


async def _serve_public(
    made: Composition,
    face: Face,
    runtime: Runtime,
    config: Config,
    owned: AsyncExitStack,
) -> tuple[str, int]:
    """Open the public port; closed first, so that answers under way find all they need."""
    pages = OwnServer(made.own, config.max_head_size, config.max_header_fields)
    runner = web.ServerRunner(pages, shutdown_timeout=1)
    await runner.setup()
    owned.push_async_callback(runner.cleanup)
    way = Way(
        face.gate,
        made.pool,
        OpenThings(),
        HoldBack(runtime.clock.sleep),
        runtime.tasks,
        face.login_url,
        request_id,
        runtime.log,
    )
    site = Site(
        way,
        face.paths,
        pages,
        edges.limits(config),
        http2=edges.splices_http2(config),
        metrics=runtime.metrics,
        certificate=edges.certificate(config, runtime),
    )
    site.exchange = _exchanges(config, runtime)
    port = PublicPort(site)
    port.tell(runtime.clock.monotonic)

    def show(face: Face, config: Config) -> None:
        # What is under way has the old way, and ends with it.
        way = replace(site.way, gate=face.gate, pool=made.pool, login_url=face.login_url)
        site.way = way
        site.paths = face.paths
        pair = edges.certificate_files(config)
        # One that is gone for a moment does not switch TLS off: the last one is served on.
        if pair is not None and (site.certificate is None or site.certificate.files != pair):
            with suppress(OSError, ValueError):  # it has changed once more, and will be looked at
                site.certificate = edges.certificate(config, runtime)

    made.show, made.close_session, made.close_all = show, port.close_session, port.close_all
    owned.push_async_callback(port.aclose, seconds=DRAIN_SECONDS)
    return await port.start(config.listen.host, config.listen.port)


def _exchanges(config: Config, runtime: Runtime) -> Callable[..., Exchange]:
    """What each request of the data path is, told of as far as somebody wants to know."""
    tell = in_log(runtime.log) if config.log_level is LogLevel.DEBUG else None
    if runtime.tracer is not NO_TRACING:
        return Exchanges(runtime.tracer, tell)
    return partial(RecordedExchange, tell=tell) if tell is not None else Exchange


async def _serve(runner: web.BaseRunner, listen: Listen, owned: AsyncExitStack) -> tuple[str, int]:
    await runner.setup()
    owned.push_async_callback(runner.cleanup)
    # Without a host asyncio listens on both IP families, as Go does.
    site = web.TCPSite(runner, listen.host, listen.port, backlog=1024)
    await site.start()
    host, port = runner.addresses[0][:2]
    return str(host), int(port)


def _say_start(config: Config, log: FilteringBoundLogger) -> None:
    log.info(
        "serving",
        listen=str(config.listen),
        tls=config.tls_cert_file is not None,
        admin=str(config.admin_listen),
        upstream=config.upstream,
        dex=str(config.dex_listen) if config.login is LoginMode.OBSERVED else None,
        public_url=config.public_url,
        issuer=config.issuer,
        store=masked(config.store_url),
    )
    if config.argocd.takes_over_logins and config.store_url == "memory://":
        log.warning(
            "memory_store",
            meaning="one replica only; a restart ends all sessions",
            mend="set SIDECAR_STORE_URL to a Redis",
        )
