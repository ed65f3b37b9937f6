"""aiohttp's server for the sidecar's own endpoints, on connections that the front hands over."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from aiohttp import web
from structlog.contextvars import bound_contextvars
from structlog.typing import FilteringBoundLogger

from sidecar.core.heads import OwnPath, Paths, clean_path
from sidecar.core.request_id import FIELD, usable_request_id
from sidecar.errors import RequestMalformed, TryLater
from sidecar.tracing import NO_TRACING, Tracer, span
from sidecar.web import responses
from sidecar.web.auth import AuthEndpoints

_LONGEST_PATH = 256


class OwnSite:
    """What the sidecar answers itself on the public port.

    Its endpoints are replaced when the configuration changes. `earlier` ones answer for the
    logins that began with them.
    """

    def __init__(self, *, request_ids: Any, log: Any, tracer: Tracer = NO_TRACING) -> None:
        self.auth: AuthEndpoints | None = None
        self.earlier: Sequence[AuthEndpoints] = ()
        self.paths = Paths(takes_over_logins=False)
        self._request_ids = request_ids
        self._log: FilteringBoundLogger = log
        self._tracer = tracer

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request's answer, the last one of its connection."""
        given = request.headers.getall(FIELD, [])
        request_id: str = usable_request_id(given) or self._request_ids()
        path = request.raw_path.partition("?")[0][:_LONGEST_PATH]
        with bound_contextvars(request_id=request_id):
            began_at = asyncio.get_running_loop().time()
            response = await self._traced(request, path, request_id)
            took = asyncio.get_running_loop().time() - began_at
            self._log.debug(
                "request",
                method=request.method,
                path=path,
                kind="own",
                status=response.status,
                ended="whole",
                took_ms=round(took * 1000, 3),
            )
        response.force_close()
        return response

    async def _traced(self, request: web.BaseRequest, path: str, request_id: str) -> web.Response:
        parents = request.headers.getall("traceparent", [])
        about = {"method": request.method, "path": path, "request_id": request_id}
        parent = parents[0] if len(parents) == 1 else ""
        with span(self._tracer, "request own", kind="server", traceparent=parent, **about) as own:
            response = await self._answer(request, request_id)
            own.note(status=response.status)
            if response.status >= 500:
                own.note(error=str(response.status))
            return response

    async def _answer(self, request: web.BaseRequest, request_id: str) -> web.Response:
        path = clean_path(request.raw_path)
        own = self.paths.own(path) if path is not None else None
        if own is None or self.auth is None:
            return responses.malformed()
        try:
            auth = self._who_began(request, self.auth) if own is OwnPath.CALLBACK else self.auth
            return await auth.answer(own, request, request_id)
        except RequestMalformed as error:
            return responses.malformed(error.status)
        except TryLater as error:
            self._log.warning("try_later", error=str(error), status=error.status)
            return responses.try_later(error, self.auth.login_url, request_id=request_id)

    def _who_began(self, request: web.BaseRequest, now: AuthEndpoints) -> AuthEndpoints:
        return next((auth for auth in (now, *self.earlier) if auth.began(request)), now)


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
            response = responses.malformed()
        else:
            response = web.Response(status=status, text="Internal error.\n")
        response.force_close()
        return response


class Answering(Protocol):
    """What answers the requests of an `OwnServer`: an `OwnSite`, or Dex' token endpoint."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request's answer, the last one of its connection."""
        ...


class OwnServer(web.Server):
    """aiohttp's server for what answers; each call makes a connection's protocol.

    What is handed over to it is within the front's limits, which its own must not undercut.
    """

    def __init__(self, site: Answering, head_bytes: int, fields: int) -> None:
        # A browser that leaves ends what is done for it; by default it would run on.
        super().__init__(site.answer, handler_cancellation=True)
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "max_field_size": head_bytes,
            "max_line_size": head_bytes,
            "max_headers": fields,
        }

    def __call__(self) -> web.RequestHandler:
        """A new connection."""
        return _Connection(self, loop=self._loop, **self._options)
