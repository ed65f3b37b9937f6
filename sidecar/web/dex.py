"""The token endpoint of Dex, as the upstream reaches it through the sidecar.

Its answers are small and rare. All others are passed by the data path.
"""

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import ClientError, ClientSession, web
from multidict import CIMultiDict
from structlog.typing import FilteringBoundLogger
from yarl import URL

from sidecar.core.heads import end_to_end
from sidecar.core.observing import redeems_code, without_refresh_token
from sidecar.core.tokens import TokenResponse, read_token_response
from sidecar.errors import ProviderUnavailable

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
        address: Callable[[], str],
        keeper: Callable[[], Keeper | None],
        count: Callable[[], None],
        log: Any,
    ) -> None:
        self._http = http
        self._address = address
        self._keeper = keeper
        self._came = count
        self._log: FilteringBoundLogger = log

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Dex' answer, the last one of its connection."""
        self._came()
        response = await self._answer(request)
        response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        form = await request.content.read(MAX_FORM_BYTES + 1) if request.can_read_body else b""
        while not request.content.at_eof() and len(form) <= MAX_FORM_BYTES:
            form += await request.content.read(MAX_FORM_BYTES + 1 - len(form))
        if len(form) > MAX_FORM_BYTES:
            return web.Response(status=413, text="The request is longer than is taken here.\n")
        try:
            status, fields, body = await self._ask(request, form)
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            # Not chained, and not told: it may show the request's headers, and so a secret.
            self._log.warning("dex_did_not_answer", error=type(error).__name__)
            return web.Response(status=502, text=_BAD_GATEWAY)
        keeper = self._keeper()
        if keeper is not None and status == 200 and _redeems_code(request, form, keeper):
            body = await self._kept_back(keeper, body)
        return _response(status, fields, body)

    async def _ask(
        self, request: web.BaseRequest, form: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        url = URL(self._address() + request.raw_path, encoded=True)
        headers = CIMultiDict(
            (name, value)
            for name, value in end_to_end(_fields(request.raw_headers))
            if name.lower() not in _WRITTEN_ANEW
        )
        headers["Accept-Encoding"] = "identity"
        async with self._http.post(
            url,
            data=form,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
        ) as answer:
            body = await answer.content.read(MAX_ANSWER_BYTES + 1)
            while not answer.content.at_eof() and len(body) <= MAX_ANSWER_BYTES:
                body += await answer.content.read(MAX_ANSWER_BYTES + 1 - len(body))
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError("longer than any token answer")
            return answer.status, end_to_end(_fields(answer.raw_headers)), body

    async def _kept_back(self, keeper: Keeper, body: bytes) -> bytes:
        """The answer as the upstream gets it, once its refresh token is where it belongs."""
        try:
            await keeper.keep(read_token_response(body))
        except ProviderUnavailable as error:  # it is no token answer, whatever it says
            self._log.warning("login_not_observed", reason="answer", error=str(error))
        return without_refresh_token(body)


def _redeems_code(request: web.BaseRequest, form: bytes, keeper: Keeper) -> bool:
    return redeems_code(form, request.headers.get("Authorization", ""), keeper.client_id)


def _fields(raw: tuple[tuple[bytes, bytes], ...]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]


def _response(status: int, fields: list[tuple[str, str]], body: bytes) -> web.Response:
    response = web.Response(status=status, body=body)
    response.headers.pop("Content-Type", None)  # a response begins with one of its own
    for name, value in fields:
        if name.lower() not in _WRITTEN_ANEW:
            response.headers.add(name, value)
    return response
