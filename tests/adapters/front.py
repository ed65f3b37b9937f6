import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sidecar.demo.oauth import discovery_document
from sidecar.demo.provider import DemoProvider
from sidecar.demo.server import serving


@dataclass(frozen=True)
class Seen:
    path: str
    headers: dict[str, str]
    body: str


class Front:
    """An issuer whose documents a test writes, in front of the demo's provider."""

    def __init__(self, provider: DemoProvider) -> None:
        self.issuer = ""
        self.seen: list[Seen] = []
        self.reached = asyncio.Event()
        self.document: dict[str, Any] = {}
        self.answers: dict[str, Callable[[], web.Response]] = {
            "/.well-known/openid-configuration": lambda: web.json_response(self.document)
        }
        self._provider = provider

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with serving(app, host="127.0.0.1", port=0, leaving_cancels=False) as address:
            self.issuer = address
            behind = discovery_document(self._provider.issuer, revocation_endpoint=True)
            self.document = {**behind, "issuer": address}
            yield address

    def asked(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(seen.path == path for seen in self.seen)

    async def _answer(self, request: web.Request) -> web.Response:
        self.seen.append(Seen(request.path, dict(request.headers), await request.text()))
        self.reached.set()
        answer = self.answers.get(request.path)
        return answer() if answer else web.Response(status=404, text="not found")
