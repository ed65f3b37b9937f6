"""The stand-in's endless answers: the stream of application events, and the terminal."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import WSMsgType, web

from sidecar.demo.argocd_answers import (
    APPLICATIONS,
    EVENT_STREAM,
    application,
    compact,
    stream_message,
)
from sidecar.demo.argocd_sessions import Claims, Unauthenticated

Change = Mapping[str, Any]

# What one application goes through, event by event, in the demo.
STATES = (("OutOfSync", "Healthy"), ("Synced", "Progressing"), ("Synced", "Healthy"))
RECONNECT = "\nReconnect because the token was refreshed...\n"


class Streams:
    """The applications, and who is listening to their changes."""

    def __init__(self) -> None:
        self._applications = {name: application(name) for name in APPLICATIONS}
        self._states = itertools.cycle(itertools.product(APPLICATIONS, STATES))
        self._listeners: set[asyncio.Queue[Change | None]] = set()
        self._terminals: set[web.WebSocketResponse] = set()

    @property
    def applications(self) -> list[dict[str, Any]]:
        """All applications as they are now."""
        return list(self._applications.values())

    @property
    def listeners(self) -> int:
        """How many event streams are open."""
        return len(self._listeners)

    @property
    def terminals(self) -> int:
        """How many terminals are open."""
        return len(self._terminals)

    def emit(self, change: Change) -> None:
        """Send `change`, of the form `{"type": …, "application": …}`, to all open streams."""
        for listener in self._listeners:
            listener.put_nowait(change)

    async def close(self) -> None:
        """End all streams and terminals."""
        for listener in self._listeners:
            listener.put_nowait(None)
        await asyncio.gather(*(terminal.close(code=1001) for terminal in self._terminals))

    async def serve_events(
        self, request: web.Request, *, as_events: bool, every_seconds: float | None
    ) -> web.StreamResponse:
        """An answer that ends when the client leaves or the server closes, and not with a token."""
        content_type = EVENT_STREAM if as_events else "application/json"
        response = web.StreamResponse(headers={"Content-Type": content_type})
        changes: asyncio.Queue[Change | None] = asyncio.Queue()
        for each in self.applications:
            changes.put_nowait({"type": "ADDED", "application": each})
        self._listeners.add(changes)
        try:
            await response.prepare(request)
            while change := await self._next(changes, every_seconds):
                await response.write(stream_message(change, as_events=as_events))
            await response.write_eof()
        except ConnectionResetError:
            pass  # the client left
        finally:
            self._listeners.discard(changes)
        return response

    async def serve_terminal(
        self, request: web.Request, verified: Callable[[], Awaitable[Claims]]
    ) -> web.StreamResponse:
        """A terminal that echoes; `verified` judges the handshake's token before every message."""
        terminal = web.WebSocketResponse()
        await terminal.prepare(request)
        self._terminals.add(terminal)
        try:
            async for message in terminal:
                try:
                    await verified()
                except Unauthenticated:
                    await _send_away(terminal)
                    break
                if message.type is WSMsgType.TEXT:
                    await terminal.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await terminal.send_bytes(message.data)
        finally:
            self._terminals.discard(terminal)
        return terminal

    async def _next(
        self, changes: asyncio.Queue[Change | None], every_seconds: float | None
    ) -> Change | None:
        """The next change; one is made up if none has come for `every_seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_seconds):
                return await changes.get()
        name, (sync, health) = next(self._states)
        self._applications[name] = application(name, sync=sync, health=health)
        return {"type": "MODIFIED", "application": self._applications[name]}


async def _send_away(terminal: web.WebSocketResponse) -> None:
    """Tell Argo CD's terminal to come back with a new token."""
    await terminal.send_str(compact({"operation": "stdout", "data": RECONNECT}))
    await terminal.send_str(compact({"Code": 1}))
    await terminal.close()
