"""The second port, at which an upstream that makes its own logins takes the sidecar for its Dex."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from aiohttp import ClientSession, web

from sidecar import edges
from sidecar.config.settings import Config
from sidecar.core.authorization import OfflineAccess
from sidecar.flows.observed import ObservedLogins
from sidecar.flows.tasks import Runtime
from sidecar.proxy.dex_gate import DexGate, DexPaths
from sidecar.proxy.hold_back import HoldBack
from sidecar.proxy.port import PublicPort
from sidecar.proxy.registry import OpenThings
from sidecar.proxy.site import Site
from sidecar.proxy.way import Way
from sidecar.web.dex import DexTokens
from sidecar.web.server import OwnServer

DRAIN_SECONDS = 2.0


async def serve_dex(
    config: Config,
    runtime: Runtime,
    http: ClientSession,
    observed: Callable[[], ObservedLogins | None],
    request_id: Callable[[], str],
    owned: AsyncExitStack,
) -> tuple[str, int]:
    """Open the port; where it is. It passes everything while no logins are observed.

    `http` is for the token requests, which outlive the port: they are tasks of the runtime's.
    """

    def asking() -> str:
        now = observed()
        wanted = config.offline_access is not OfflineAccess.NEVER
        return now.client_id if now is not None and wanted else ""

    count = runtime.metrics.dex_requests.inc
    address = config.dex_upstream or ""
    tokens = DexTokens(http, address, observed, count, runtime.tasks, runtime.log)
    pages = OwnServer(tokens, config.max_head_size, config.max_header_fields)
    runner = web.ServerRunner(pages, shutdown_timeout=1)
    await runner.setup()
    owned.push_async_callback(runner.cleanup)
    way = Way(
        DexGate(asking, count),
        edges.dex_pool(config, runtime.clock),
        OpenThings(),
        HoldBack(runtime.clock.sleep),
        runtime.tasks,
        f"{config.root_path}/auth/login",
        request_id,
        runtime.log,
    )
    site = Site(way, DexPaths(), pages, edges.limits(config), http2=False, metrics=runtime.metrics)
    port = PublicPort(site)
    owned.push_async_callback(port.aclose, seconds=DRAIN_SECONDS)
    return await port.start(config.dex_listen.host, config.dex_listen.port)
