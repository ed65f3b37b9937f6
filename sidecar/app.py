"""Build every object once, own its lifetime, serve."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import structlog
from aiohttp import web
from structlog.typing import FilteringBoundLogger

from sidecar.adapters.upstream import upstream_session
from sidecar.changes import Changes
from sidecar.composition import Composition, Face, request_id
from sidecar.config.settings import Config
from sidecar.config.tls import server_tls, upstream_tls
from sidecar.config.values import Listen, masked
from sidecar.core.timings import WORK_SECONDS
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.ports import Clock
from sidecar.proxy.certificate import Certificate
from sidecar.proxy.hold_back import HoldBack
from sidecar.proxy.pool import Pool, UpstreamAddress, UpstreamTls
from sidecar.proxy.port import PublicPort
from sidecar.proxy.registry import OpenThings
from sidecar.proxy.site import Limits, Site
from sidecar.proxy.way import Way
from sidecar.web.admin import Admin, Phase
from sidecar.web.server import OwnServer

KEY_PREFIX = "argocd-token-refresh:"
DRAIN_SECONDS = 6.0


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
    changes: Changes


@asynccontextmanager
async def running(
    config: Config,
    *,
    load: Callable[[], Config] | None = None,
    clock: Clock | None = None,
    log: FilteringBoundLogger | None = None,
    confirms: bool = True,
) -> AsyncIterator[Running]:
    """The sidecar and all it owns, serving until exit, closed in reverse order.

    With `load` the configuration is loaded again when its files change. Without `confirms` what
    the sidecar knows holds for a second, nothing lost is put back, and changes are looked for
    only when asked to: for a clock that only moves when it is told to.

    At exit it takes no new connections, finishes the answers that are under way, and then
    the work that outlives them: a renewed token reaches the store.
    """
    clock, log = clock or SystemClock(), log or structlog.get_logger()
    metrics = Metrics()
    async with AsyncExitStack() as owned:
        tls = _upstream_tls(config)
        http = upstream_session(config.upstream, tls.http1 if tls else None)
        upstream = await owned.enter_async_context(http)
        tasks = Tasks(log)
        runtime = Runtime(clock, os.urandom, tasks, metrics, log)
        pool = _pool(config, tls, clock)
        made = Composition(
            runtime, pool, upstream, config.timings, prefix=KEY_PREFIX, confirms=confirms
        )
        owned.push_async_callback(made.aclose)
        owned.push_async_callback(tasks.aclose, seconds=WORK_SECONDS)
        changes = Changes(config, load or (lambda: config), made.use, runtime)
        made.checks["configuration"] = changes.check
        face = await made.use(config)
        admin = Admin(metrics.registry, made.checks)
        admin_runner = web.AppRunner(admin.application(), access_log=None)
        admin_at = await _serve(admin_runner, config.admin_listen, owned)
        public_at = await _serve_public(made, face, pool, runtime, config, owned)
        if load is not None and confirms:
            tasks.start_endless(changes.run, "changes", clock)
        admin.phase = Phase.SERVING
        _say_start(config, log)
        changes.say_findings(config)
        try:
            yield Running(public_at, admin_at, metrics, tasks, changes)
        finally:
            admin.phase = Phase.DRAINING


async def _serve_public(
    made: Composition,
    face: Face,
    pool: Pool,
    runtime: Runtime,
    config: Config,
    owned: AsyncExitStack,
) -> tuple[str, int]:
    """Open the public port; closed first, so that answers under way find all they need."""
    pages = OwnServer(made.own)
    runner = web.ServerRunner(pages, shutdown_timeout=1)
    await runner.setup()
    owned.push_async_callback(runner.cleanup)
    way = Way(
        face.gate,
        pool,
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
        _limits(config),
        http2=config.http2,
        metrics=runtime.metrics,
        certificate=_certificate(config, runtime),
    )
    port = PublicPort(site)

    def show(face: Face, config: Config) -> None:
        # What is under way has the old way, and ends with it.
        site.way = replace(site.way, gate=face.gate, login_url=face.login_url)
        site.paths = face.paths
        pair = _pair(config)
        # One that is gone for a moment does not switch TLS off: the last one is served on.
        if pair is not None and (site.certificate is None or site.certificate.files != pair):
            with suppress(OSError, ValueError):  # it has changed once more, and will be looked at
                site.certificate = _certificate(config, runtime)

    made.show, made.close_session, made.close_all = show, port.close_session, port.close_all
    owned.push_async_callback(port.aclose, seconds=DRAIN_SECONDS)
    return await port.start(config.listen.host, config.listen.port)


def _upstream_tls(config: Config) -> UpstreamTls | None:
    if not config.upstream.startswith("https:"):
        return None
    http1, http2 = (
        upstream_tls(
            verify=config.upstream_tls_verify, ca_file=config.upstream_tls_ca_file, http2=http2
        )
        for http2 in (False, True)
    )
    return UpstreamTls(http1, http2)


def _pool(config: Config, tls: UpstreamTls | None, clock: Clock) -> Pool:
    address = UpstreamAddress.from_url(
        config.upstream, tls, server_name=config.upstream_tls_server_name or ""
    )
    return Pool(address, monotonic=clock.monotonic, sleep=clock.sleep)


def _certificate(config: Config, runtime: Runtime) -> Certificate | None:
    pair = _pair(config)
    if pair is None:
        return None
    return Certificate(
        pair, lambda: server_tls(*pair, http2=config.http2), runtime.metrics, runtime.log
    )


def _pair(config: Config) -> tuple[str, str] | None:
    cert, key = config.tls_cert_file, config.tls_key_file
    return (cert, key) if cert is not None and key is not None else None


def _limits(config: Config) -> Limits:
    return Limits(
        head_bytes=config.max_head_size,
        body_bytes=config.max_body_size,
        head_seconds=config.head_timeout,
        idle_seconds=config.idle_timeout,
        connections=config.max_connections,
    )


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


def configure_logging(level: str) -> None:
    """JSON lines on standard error, for the sidecar and for the libraries below it."""
    number = logging.getLevelNamesMapping()[level.upper()]
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[_without_traceback, structlog.processors.JSONRenderer()],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _without_traceback(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A library's log line with the kind of its error only: messages may quote a request."""
    record = event.pop("_record", None)
    event.pop("_from_structlog", None)
    if record is not None and record.exc_info and record.exc_info[0]:
        event["error"] = record.exc_info[0].__name__
    event.pop("exc_info", None)
    return event
