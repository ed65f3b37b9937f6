"""The token endpoint of Dex, as the upstream reaches it through the sidecar.

Its answers are small and rare. All others are passed by the data path.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import ClientError, ClientSession, StreamReader, web
from multidict import CIMultiDict
from structlog.typing import FilteringBoundLogger
from yarl import URL

from sidecar.core.heads import Fields, end_to_end, values
from sidecar.core.observing import redeems_code, without_refresh_token
from sidecar.core.tokens import TokenResponse, read_token_response
from sidecar.errors import ProviderUnavailable
from sidecar.flows.tasks import Tasks

MAX_FORM_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 1024 * 1024
_WRITTEN_ANEW = frozenset(("content-length", "expect", "accept-encoding"))
_BAD_GATEWAY = "Dex did not answer.\n"


class Keeper(Protocol):
    """What the endpoint needs of `flows.observed.ObservedLogins`."""

    @property
    def client_id(self) -> str:
        """The client whose logins are observed."""
        ...

    async def keep(self, response: TokenResponse) -> None:
        """Keep the refresh token of a token answer for the callback that belongs to it."""
        ...


class DexTokens:
    """Passes token requests to the real Dex, and keeps back the refresh tokens of our client."""

    def __init__(
        self,
        http: ClientSession,
        address: str,
        keeper: Callable[[], Keeper | None],
        count: Callable[[], None],
        tasks: Tasks,
        log: Any,
    ) -> None:
        self._http = http
        self._address = address
        self._keeper = keeper
        self._came = count
        self._tasks = tasks
        self._log: FilteringBoundLogger = log

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Dex' answer, the last one of its connection."""
        self._came()
        response = await self._answer(request)
        response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        form = await _read(request.content, MAX_FORM_BYTES)
        if form is None:
            return web.Response(status=413, text="The request is longer than is taken here.\n")
        # Dex commits what it was asked for: an upstream that leaves here, since its browser has
        # left, must not leave the user's other sessions without their refresh token.
        asked = _Asked(request.raw_path, _fields(request.raw_headers), form)
        return await asyncio.shield(self._tasks.start(self._pass_on(asked), "token request"))

    async def _pass_on(self, asked: "_Asked") -> web.Response:
        try:
            status, fields, body = await self._ask(asked)
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            # Not chained, and not told: it may show the request's headers, and so a secret.
            self._log.warning("dex_did_not_answer", error=type(error).__name__)
            return web.Response(status=502, text=_BAD_GATEWAY)
        keeper = self._keeper()
        if keeper is not None and status == 200 and asked.redeems_code_of(keeper.client_id):
            body = await self._kept_back(keeper, body)
        return _response(status, fields, body)

    async def _ask(self, asked: "_Asked") -> tuple[int, Fields, bytes]:
        headers = CIMultiDict(_to_pass(asked.fields))
        headers["Accept-Encoding"] = "identity"
        async with self._http.post(
            URL(self._address + asked.target, encoded=True),
            data=asked.form,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
        ) as answer:
            body = await _read(answer.content, MAX_ANSWER_BYTES)
            if body is None:
                raise ValueError("longer than any token answer")
            return answer.status, _fields(answer.raw_headers), body

    async def _kept_back(self, keeper: Keeper, body: bytes) -> bytes:
        """The answer as the upstream gets it, once its refresh token is where it belongs."""
        try:
            await keeper.keep(read_token_response(body))
        except ProviderUnavailable as error:  # it is no token answer, whatever it says
            self._log.warning("login_not_observed", reason="answer", error=str(error))
        return without_refresh_token(body)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A token request, as it came."""

    target: str
    fields: Fields
    form: bytes

    def redeems_code_of(self, client_id: str) -> bool:
        """Whether it redeems a code for this client."""
        authorization = values(self.fields, "authorization")
        return redeems_code(self.form, authorization[0] if authorization else "", client_id)


async def _read(content: StreamReader, most: int) -> bytes | None:
    """A whole body; None for one that is longer."""
    body = b""
    async for part in content.iter_chunked(65536):
        body += part
        if len(body) > most:
            return None
    return body


def _fields(raw: Sequence[tuple[bytes, bytes]]) -> Fields:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]


def _to_pass(fields: Fields) -> Fields:
    """What goes on to the next hop as it came."""
    return [(n, v) for n, v in end_to_end(fields) if n.lower() not in _WRITTEN_ANEW]


def _response(status: int, fields: Fields, body: bytes) -> web.Response:
    response = web.Response(status=status, body=body)
    response.headers.pop("Content-Type", None)  # a response begins with one of its own
    for name, value in _to_pass(fields):
        if name.lower() != "content-encoding":  # it came decoded
            response.headers.add(name, value)
    return response
