"""`/healthz`, `/readyz` and `/metrics`, on a port of their own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from sidecar.errors import SidecarError

CHECK_SECONDS = 0.5  # a probe has one second

Check = Callable[[], Awaitable[str]]


def checked(ask: Callable[[], Awaitable[object]]) -> Check:
    """A check that says "ok" where `ask` raises nothing and answers in time."""

    async def check() -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await ask()
        except (SidecarError, OSError, TimeoutError) as error:
            return str(error) or "does not answer"
        return "ok"

    return check


class Phase(StrEnum):
    """Where the process is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Admin:
    """The operator's endpoints. `checks` name a part and give "ok" or what is wrong with it."""

    def __init__(self, registry: CollectorRegistry, checks: Mapping[str, Check]) -> None:
        self._registry = registry
        self._checks = checks
        self.phase = Phase.STARTING

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        """503 only while starting and draining.

        An outage of store or provider is detail: taking all pods out of the Service would
        take the CLI and webhooks with it.
        """
        checks = dict(self._checks)  # a changed configuration has others
        states = await asyncio.gather(*(check() for check in checks.values()))
        parts = dict(zip(checks, states, strict=True))
        status = 200 if self.phase is Phase.SERVING else 503
        return web.json_response({"phase": self.phase, **parts}, status=status)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
