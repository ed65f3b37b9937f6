"""Servers on this machine, for the demo's parts."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

# Argo CD takes Cookie headers of 20 chunks; aiohttp's own limit is 8190 bytes.
MAX_HEADER_BYTES = 128 * 1024


@contextlib.asynccontextmanager
async def serving(
    app: web.Application, *, host: str, port: int, leaving_cancels: bool
) -> AsyncIterator[str]:
    """The address (`http://host:port`, no slash) at which `app` answers inside the block.

    Port 0 takes a free one. A client that leaves cancels its handler if `leaving_cancels`. The
    application's `on_shutdown` must end its endless answers.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=leaving_cancels,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        shutdown_timeout=2,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
