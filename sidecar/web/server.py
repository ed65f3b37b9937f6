"""The public port: each request to the own endpoints or to the proxy, errors to answers."""

from typing import Any

from aiohttp import HttpVersion10, web
from structlog.contextvars import bound_contextvars
from structlog.typing import FilteringBoundLogger

from sidecar.core.heads import Paths, clean_path, is_well_formed
from sidecar.errors import RequestMalformed, TryLater
from sidecar.web import responses
from sidecar.web.auth import AuthEndpoints
from sidecar.web.proxy import Proxy

# A user with 500 groups has 31 KiB of cookies, and Argo CD takes them.
MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 256


class Site:
    """What the public port answers."""

    def __init__(
        self, auth: AuthEndpoints, proxy: Proxy, paths: Paths, *, request_ids: Any, log: Any
    ) -> None:
        self._auth = auth
        self._proxy = proxy
        self._paths = paths
        self._request_ids = request_ids
        self._log: FilteringBoundLogger = log

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request's answer."""
        path = clean_path(request.raw_path)
        hosts = request.headers.getall("Host", [])
        old = request.version <= HttpVersion10
        if path is None or not is_well_formed(request.raw_path, hosts, http_1_0=old):
            return responses.malformed()
        if request.method in ("CONNECT", "TRACE"):
            return web.Response(status=405, text="Method not allowed\n")
        request_id: str = self._request_ids()
        with bound_contextvars(request_id=request_id):
            return await self._answer(request, path, request_id)

    async def _answer(
        self, request: web.BaseRequest, path: str, request_id: str
    ) -> web.StreamResponse:
        own = self._paths.own(path)
        try:
            if own is not None:
                response = await self._auth.answer(own, request, request_id)
                if response is not None:
                    return response
            return await self._proxy.answer(request, path)
        except RequestMalformed:
            return responses.malformed()
        except TryLater as error:
            self._log.warning("try_later", error=str(error), status=error.status)
            kind = self._paths.kind(request.method, path, request.headers.get("Accept", ""))
            return responses.try_later(error, kind, self._auth.login_url, request_id=request_id)


class _Connection(web.RequestHandler):
    """aiohttp's connection, whose errors repeat nothing of what the client sent."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A bare answer; the log gets the kind of error only."""
        self.logger.warning("request failed: %s %s", status, type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; it can only be broken off")
        if status < 500:
            return responses.malformed()
        response = web.Response(status=status, text="Internal error.\n")
        response.force_close()
        return response


class PublicServer(web.Server):
    """aiohttp's server for one `Site`, tuned for a proxy."""

    def __init__(self, site: Site) -> None:
        # A browser that leaves ends its endless streams; by default they would run on.
        super().__init__(site.answer, handler_cancellation=True)
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "max_field_size": MAX_FIELD_BYTES,
            "max_line_size": MAX_FIELD_BYTES,
            "max_headers": MAX_FIELDS,
        }

    def __call__(self) -> web.RequestHandler:
        """A new connection."""
        return _Connection(self, loop=self._loop, **self._options)
