"""`/auth/backchannel-logout`: what the provider asks, and how it is told what became of it."""

import json
import math

from aiohttp import web

from sidecar.core.logout_token import MAX_LENGTH
from sidecar.errors import RequestMalformed, TokenInvalid, TryLater
from sidecar.flows.backchannel import BackchannelLogout
from sidecar.web.forms import read_form

_MOST_BYTES = 2 * MAX_LENGTH
_NO_STORE = {"Cache-Control": "no-store"}


class BackchannelEndpoint:
    """OpenID Connect Back-Channel Logout 1.0 sections 2.5 and 2.8."""

    def __init__(self, flow: BackchannelLogout) -> None:
        self._flow = flow

    async def answer(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """200 when it is done, 400 when it is refused, 503 when the provider should ask again."""
        if request.method != "POST":
            headers = {"Allow": "POST", **_NO_STORE}
            return web.Response(status=405, text="Method not allowed\n", headers=headers)
        try:
            form = await read_form(request, most_bytes=_MOST_BYTES)
            await self._flow.log_out(form.get("logout_token", ""))
        except RequestMalformed as error:
            return _refused(error.status, f"the request cannot be used: {error}", request_id)
        except TokenInvalid as invalid:
            return _refused(400, f"the logout token fails its check: {invalid.check}", request_id)
        except TryLater as error:
            response = web.Response(status=error.status, headers=_NO_STORE)
            response.headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
            return response
        return web.Response(status=200, headers=_NO_STORE)


def _refused(status: int, why: str, request_id: str) -> web.Response:
    body = {"error": "invalid_request", "error_description": f"{why} (request {request_id})"}
    return web.Response(
        status=status,
        text=json.dumps(body),
        content_type="application/json",
        headers=_NO_STORE,
    )
