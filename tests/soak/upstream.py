"""`python -m tests.soak.upstream`: stands for Argo CD, with event streams and terminals.

Prints its port. Keeps counts only, so that a day of it takes no more memory than a minute.
`GET /-/seen` gives them.
"""

import asyncio
import sys
import time
from collections import Counter

from aiohttp import WSMsgType, web

from tests.chaos.upstream import STREAM, end_of

COOKIE = "argocd.token"
TERMINAL = "/terminal"
EXPIRED = 410
# A link may hold a request back for a while after the sidecar has looked at the clock.
EXPIRED_FOR_SECONDS = 10.0
EVENT_SECONDS = 5.0
_BODY = b'{"items":[' + b",".join(b'{"metadata":{"name":"app-%d"}}' % n for n in range(40)) + b"]}"


class Upstream:
    """Answers everything to everybody, but for tokens that have long ended."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def application(self) -> web.Application:
        """All of its paths."""
        app = web.Application()
        app.router.add_get("/-/seen", self._counts)
        app.router.add_get(STREAM.decode(), self._stream)
        app.router.add_get(TERMINAL, self._terminal)
        app.router.add_get("/auth/logout", self._logout)
        app.router.add_route("*", "/{path:.*}", self._anything)
        return app

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response(self._seen)

    async def _logout(self, _: web.Request) -> web.Response:
        return web.Response(status=303, headers={"Location": "/"})

    async def _anything(self, request: web.Request) -> web.Response:
        refused = self._refused(request)
        return refused or web.Response(body=_BODY, content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refused(request):
            return refused
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        while True:
            await answer.write(b'data: {"result":{}}\n\n')
            await asyncio.sleep(EVENT_SECONDS)

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        """Every line comes back."""
        if refused := self._refused(request):
            return refused
        terminal = web.WebSocketResponse()
        await terminal.prepare(request)
        async for message in terminal:
            if message.type is WSMsgType.TEXT:
                await terminal.send_str(message.data)
        return terminal

    def _refused(self, request: web.Request) -> web.Response | None:
        """What somebody without a good token is told."""
        self._seen["requests"] += 1
        token = request.cookies.get(COOKIE, "")
        if not token:
            self._seen["without_token"] += 1
            return web.Response(status=401)
        if end_of(token) + EXPIRED_FOR_SECONDS < time.time():
            self._seen["expired"] += 1
            return web.Response(status=EXPIRED)
        return None


async def serve() -> None:
    """Serve until standard input ends."""
    runner = web.AppRunner(
        Upstream().application(), access_log=None, handler_cancellation=True, shutdown_timeout=1
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
