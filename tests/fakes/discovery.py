"""An issuer with a certificate of its own, that has a discovery document and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from sidecar.config.tls import server_tls
from tests.proxy.certificates import Pair


@asynccontextmanager
async def tls_issuer(pair: Pair) -> AsyncIterator[str]:
    """Its address, which is `localhost`."""

    async def discovery(request: web.Request) -> web.Response:
        issuer = f"https://localhost:{request.url.port}"
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        return web.json_response({"issuer": issuer, **dict.fromkeys(names, issuer)})

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(
            runner, "127.0.0.1", 0, ssl_context=server_tls(*pair, http2=False)
        ).start()
        yield f"https://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
