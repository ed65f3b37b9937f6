"""Every request that is not the sidecar's own: credentials in, bytes through.

The data path on asyncio protocols takes this module's place; it is kept small until then.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import urlencode

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientWebSocketResponse,
    HttpVersion11,
    WSMessage,
    WSMsgType,
    web,
)
from multidict import CIMultiDict
from yarl import URL

from sidecar.core.cookies import (
    CookieJar,
    Crumb,
    clear_token_lines,
    crumbs,
    is_token,
    join_token,
    says_local,
    token_cookie_lines,
)
from sidecar.core.grant import Grant
from sidecar.core.heads import (
    Credential,
    Fields,
    Kind,
    Paths,
    can_be_passed,
    end_to_end,
    handshake_fields,
    has_client_credential,
    one_spelling,
    opens_websocket,
    upstream_fields,
    without_renewed_token,
)
from sidecar.core.session import EndReason, SessionKey
from sidecar.errors import (
    RequestMalformed,
    SessionOver,
    SilentLoginNeeded,
    StoreUnavailable,
    TryLater,
    UpstreamUnavailable,
)
from sidecar.flows.records import Live
from sidecar.flows.refresh import Refresh
from sidecar.flows.sessions import Sessions
from sidecar.metrics import Metrics
from sidecar.web import responses

CONNECT_FOR_SECONDS = 3.0  # argocd-server restarts its listener when its settings change
_CONNECT_EVERY_SECONDS = 0.1
HOLD_BACK_SECONDS = 5.0
HELD_BACK_AT_ONCE = 2000
_SETTINGS_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024

_T = TypeVar("_T")
# What goes on without a login while the store or the provider is away.
_NEEDS_NO_LOGIN = (Kind.PUBLIC, Kind.LOCAL_LOGIN, Kind.OTHER)
_NOT_FROM_AIOHTTP = ("Server", "Date", "Content-Type")


@dataclass(frozen=True, slots=True)
class Pass:
    """A request as it may go up: its fields, and what is to be done to the answer."""

    kind: Kind
    credential: Credential
    fields: Fields
    found: Sequence[Crumb]
    key: SessionKey | None = None
    live: Live | None = None

    @property
    def grant(self) -> Grant | None:
        """The live session's grant."""
        return self.live.grant if self.live else None


class Proxy:
    """Passes requests to the upstream, each with the credential that it should have."""

    def __init__(
        self,
        http: ClientSession,
        upstream: str,
        sessions: Sessions,
        refresh: Refresh,
        jar: CookieJar,
        paths: Paths,
        public_origin: str,
        *,
        mirror: bool,
        min_token_life: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._http = http
        self._upstream = upstream
        self._sessions = sessions
        self._refresh = refresh
        self._jar = jar
        self._paths = paths
        self._public_origin = public_origin
        self._mirror = mirror
        self._min_token_life = min_token_life
        self._monotonic = monotonic
        self._sleep = sleep
        self._metrics = metrics
        self._held_back = 0

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """The upstream's answer, or the one that stands for it.

        Raises:
            TryLater: no token, no store or no upstream now.
            RequestMalformed: a WebSocket with a session comes from another site.
        """
        kind = self._paths.kind(request.method, path, request.headers.get("Accept", ""))
        try:
            return await self._pass(request, path, kind)
        except TryLater as error:
            if kind is Kind.STREAM and self._has_session(request):
                await self._hold_back(error)
            raise

    def _has_session(self, request: web.BaseRequest) -> bool:
        found = crumbs(request.headers.getall("Cookie", []))
        return self._sessions.read_cookies(self._jar.sessions(found)) is not None

    async def _hold_back(self, error: TryLater) -> None:
        """Wait before an error on an event stream: Argo CD's UI asks again at once, for ever.

        Known sessions only, and not more at a time than the process bears.
        """
        if self._held_back >= HELD_BACK_AT_ONCE:
            return
        self._held_back += 1
        try:
            await self._sleep(min(error.retry_after_seconds, HOLD_BACK_SECONDS))
        finally:
            self._held_back -= 1

    async def _pass(self, request: web.BaseRequest, path: str, kind: Kind) -> web.StreamResponse:
        passed = await self._credentials(request, kind)
        self._metrics.requests.labels(passed.credential.value).inc()
        if passed.credential is Credential.SILENT and kind is Kind.PAGE:
            return responses.redirect(self._login_here(request))
        if passed.credential in (Credential.ENDED, Credential.SILENT):
            told = responses.session_ended(kind)
            if told is not None:
                return told
        if passed.live is None or kind not in (Kind.STREAM, Kind.COOKIE_ONLY):
            return await self._pass_on(request, passed, path)
        with self._sessions.held_open(passed.live.session):
            return await self._pass_on(request, passed, path)

    async def _pass_on(
        self, request: web.BaseRequest, passed: Pass, path: str
    ) -> web.StreamResponse:
        if opens_websocket(request.method, list(request.headers.items())):
            if request.body_exists:
                raise RequestMalformed("a WebSocket handshake with a body")
            return await self._websocket(request, passed)
        return await self._exchange(request, passed, path)

    async def _credentials(self, request: web.BaseRequest, kind: Kind) -> Pass:
        """The five rules of which credential goes up. Our own cookies never do."""
        fields = end_to_end(list(request.headers.items()))
        if not can_be_passed(fields):
            raise RequestMalformed("a header with bytes that are no text")
        found = crumbs(value for name, value in fields if name.lower() == "cookie")
        passed = Pass(kind, Credential.CLIENT, fields, found)
        if has_client_credential(fields, kind):
            return replace(passed, fields=upstream_fields(fields, found))
        key = self._sessions.read_cookies(self._jar.sessions(found))
        if key is None or kind is Kind.LOGOUT:
            return self._without_session(passed)
        bare = replace(passed, key=key, fields=upstream_fields(fields, found, drop_tokens=True))
        try:
            live = await self._live(key, kind)
        except SilentLoginNeeded:
            return replace(bare, credential=Credential.SILENT)
        except TryLater:
            if kind in _NEEDS_NO_LOGIN:
                return replace(bare, credential=Credential.NONE)
            raise
        if live is None:
            return replace(bare, credential=Credential.ENDED)
        passed = replace(passed, key=key, live=live)
        given = upstream_fields(fields, found, id_token=live.grant.tokens.id_token)
        return replace(passed, credential=Credential.SESSION, fields=given)

    def _login_here(self, request: web.BaseRequest) -> str:
        """The login that comes back to the page of this request."""
        here = {"return_url": self._public_origin + request.raw_path}
        return f"{self._paths.root}/auth/login?{urlencode(here)}"

    def _without_session(self, passed: Pass) -> Pass:
        """An `argocd.token` of the browser's own, or nothing: Argo CD decides."""
        if not any(is_token(crumb) for crumb in passed.found):
            fields = upstream_fields(passed.fields, passed.found)
            return replace(passed, credential=Credential.NONE, fields=fields)
        # In mirror mode a browser has copies of our tokens; without a session they are nothing.
        drop = self._mirror and not says_local(join_token(passed.found))
        fields = upstream_fields(passed.fields, passed.found, drop_tokens=drop)
        return replace(passed, credential=Credential.LOCAL, fields=fields)

    async def _live(self, key: SessionKey, kind: Kind) -> Live | None:
        """The session with a token that can go up, None when it has ended."""
        lasting = kind in (Kind.STREAM, Kind.COOKIE_ONLY)
        try:
            return await self._refresh.current(
                key, min_life=self._min_token_life if lasting else 0.0
            )
        except SessionOver:
            return None

    async def _exchange(
        self, request: web.BaseRequest, passed: Pass, path: str
    ) -> web.StreamResponse:
        rewrite = self._paths.inner(path) == "/api/v1/settings" and request.method == "GET"
        if rewrite:
            fields = [f for f in passed.fields if f[0].lower() != "accept-encoding"]
            passed = replace(passed, fields=[*fields, ("Accept-Encoding", "identity")])
        answer = await self._ask_upstream(request, passed.fields)
        try:
            fields = await self._answer_fields(answer, passed)
            if rewrite and answer.status == 200:
                return await _settings(answer, fields)
            return await _stream(request, answer, fields)
        finally:
            answer.close()  # gives the connection back only if the answer is whole

    async def _ask_upstream(self, request: web.BaseRequest, fields: Fields) -> ClientResponse:
        """The upstream's answer."""
        url = URL(self._upstream + request.raw_path, encoded=True)
        body = request.content if request.body_exists else None
        if body is not None and _waits_for_100(request):
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        headers = CIMultiDict(f for f in one_spelling(fields) if f[0].lower() != "expect")

        def ask() -> Awaitable[ClientResponse]:
            return self._http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            )

        return await self._connected(ask)

    async def _connected(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """What `ask` gives; a refused connection is tried again, since no byte was sent."""
        until = self._monotonic() + CONNECT_FOR_SECONDS
        while True:
            try:
                return await ask()
            except ClientConnectorError as error:
                if self._monotonic() >= until:
                    raise UpstreamUnavailable("Argo CD cannot be reached") from error
                await self._sleep(_CONNECT_EVERY_SECONDS)
            except (ClientError, TimeoutError, OSError) as error:
                raise UpstreamUnavailable("Argo CD broke off before its answer") from error
            except ValueError as error:
                raise RequestMalformed("a header that cannot be passed on") from error

    async def _answer_fields(self, answer: ClientResponse, passed: Pass) -> Fields:
        """The answer's fields, less what a browser must not see, plus the cookies it needs."""
        fields = _fields(answer)
        if passed.kind is Kind.LOCAL_LOGIN and answer.status == 200:
            return [*fields, *await self._leave_session(passed)]
        if passed.credential is not Credential.SESSION or passed.grant is None:
            return fields
        fields = without_renewed_token(fields)
        if self._mirror and passed.kind is not Kind.STREAM:
            return self._mirrored(fields, passed.found, passed.grant.tokens.id_token, passed.kind)
        return fields

    async def _leave_session(self, passed: Pass) -> Fields:
        """A local login takes the browser over: its session here ends."""
        if passed.key is None:
            return []
        grant_id = passed.grant.id if passed.grant else ""
        with contextlib.suppress(StoreUnavailable):  # then it ends at its idle timeout
            await self._sessions.end(passed.key, grant_id, EndReason.REPLACED)
        return [("Set-Cookie", self._jar.clear(self._jar.session))]

    def _mirrored(
        self, fields: Fields, found: Sequence[Crumb], id_token: str, kind: Kind
    ) -> Fields:
        """On pages and API answers, Argo CD's own cookie, whenever the browser's is not current."""
        if kind is Kind.OTHER or join_token(found) == id_token:
            return fields
        lines = token_cookie_lines(id_token, root_path=self._paths.root, secure=self._jar.secure)
        stale = clear_token_lines(
            found, root_path=self._paths.root, secure=self._jar.secure, keep=len(lines)
        )
        kept = [(n, v) for n, v in fields if n.lower() != "cache-control"]
        cookies = [("Set-Cookie", line) for line in (*lines, *stale)]
        return [*kept, ("Cache-Control", "no-store"), *cookies]

    async def _websocket(self, request: web.BaseRequest, passed: Pass) -> web.StreamResponse:
        """Terminals: messages both ways until one side closes."""
        if passed.grant and request.headers.get("Origin", "").lower() != self._public_origin:
            # SameSite=Lax does not stop a sibling site's page from opening one.
            raise RequestMalformed("a WebSocket from another site")
        protocols = [
            part.strip()
            for value in request.headers.getall("Sec-WebSocket-Protocol", [])
            for part in value.split(",")
        ]
        headers = CIMultiDict(handshake_fields(passed.fields))
        url = URL(self._upstream + request.raw_path, encoded=True)

        def ask() -> Awaitable[ClientWebSocketResponse]:
            return self._http.ws_connect(
                url,
                headers=headers,
                protocols=protocols,
                autoping=False,
                autoclose=False,
                max_msg_size=0,
            )

        try:
            up = await self._connected(ask)
        except HandshakeRefused as refused:
            return refused.answer
        async with up:
            down = web.WebSocketResponse(
                protocols=[up.protocol] if up.protocol else (),
                autoping=False,
                autoclose=False,
                max_msg_size=0,
            )
            await down.prepare(request)
            await _relay(down, up)
        return down


class HandshakeRefused(Exception):
    """The upstream answered a WebSocket handshake with something else; `answer` passes it on."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__("the upstream refused a WebSocket")
        self.answer = answer


async def refused_handshakes(request: ClientRequest, ask: ClientHandlerType) -> ClientResponse:
    """A middleware for the upstream's HTTP client: takes a handshake's answer if it is not 101.

    aiohttp would follow a redirect, lose the answer's body and use the connection again.
    """
    answer = await ask(request)
    if "Upgrade" not in request.headers or answer.status == 101:
        return answer
    try:
        body = await answer.content.read(_PIECE_BYTES)
        fields = [f for f in _fields(answer) if f[0].lower() != "content-length"]
        raise HandshakeRefused(
            web.Response(status=answer.status, headers=CIMultiDict(fields), body=body)
        )
    finally:
        answer.close()


class _Passed(web.StreamResponse):
    """An answer with the upstream's fields only: aiohttp adds none of its own."""

    def __init__(self, status: int, reason: str | None, fields: Fields) -> None:
        super().__init__(status=status, reason=reason, headers=CIMultiDict(fields))
        self._own = {name for name in _NOT_FROM_AIOHTTP if name not in self.headers}

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        for name in self._own:
            self.headers.pop(name, None)


def _fields(answer: ClientResponse) -> Fields:
    """An answer's end-to-end fields, each as it came."""
    return end_to_end(
        [(n.decode("latin-1"), v.decode("utf-8", "replace")) for n, v in answer.raw_headers]
    )


def _waits_for_100(request: web.BaseRequest) -> bool:
    """Whether the client sends its body only after a 100 (RFC 9110 section 10.1.1)."""
    expects = request.headers.get("Expect", "").lower() == "100-continue"
    return expects and request.version == HttpVersion11


async def _stream(
    request: web.BaseRequest, answer: ClientResponse, fields: Fields
) -> web.StreamResponse:
    """The answer's body as it comes: nothing is decompressed, gathered or held back."""
    response = _Passed(answer.status, answer.reason, fields)
    await response.prepare(request)
    try:
        async for piece in answer.content.iter_any():
            await response.write(piece)
    except ClientError:
        # The upstream broke off: so do we, or a cut answer would look whole.
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


async def _settings(answer: ClientResponse, fields: Fields) -> web.StreamResponse:
    """Argo CD's settings; up to 3.0 they would start a login in the browser, past the sidecar."""
    body = b""
    try:
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > _SETTINGS_BYTES:
                raise UpstreamUnavailable("Argo CD's settings are longer than 1 MiB")
    except ClientError as error:
        raise UpstreamUnavailable("Argo CD broke off in its settings") from error
    kept = [(n, v) for n, v in fields if n.lower() != "content-length"]
    return web.Response(status=200, headers=CIMultiDict(kept), body=_without_pkce(body))


def _without_pkce(body: bytes) -> bytes:
    """The settings with the UI's own PKCE flow switched off; as they came if it is not on."""
    try:
        settings = json.loads(body)
        oidc = settings["oidcConfig"]
        if not oidc["enablePKCEAuthentication"]:
            return body
    except (ValueError, KeyError, TypeError, RecursionError):
        return body
    oidc["enablePKCEAuthentication"] = False
    return json.dumps(settings, separators=(",", ":")).encode()


async def _relay(down: web.WebSocketResponse, up: ClientWebSocketResponse) -> None:
    """Messages both ways, until one side is done; then the other is closed with its code."""
    async with asyncio.TaskGroup() as both:
        both.create_task(_pump(down, up))
        both.create_task(_pump(up, down))


async def _pump(
    source: web.WebSocketResponse | ClientWebSocketResponse,
    target: web.WebSocketResponse | ClientWebSocketResponse,
) -> None:
    with contextlib.suppress(ConnectionError):  # the other pump sees the end, too
        await _pump_messages(source, target)


async def _pump_messages(
    source: web.WebSocketResponse | ClientWebSocketResponse,
    target: web.WebSocketResponse | ClientWebSocketResponse,
) -> None:
    while True:
        message = await source.receive()
        match message.type:
            case WSMsgType.TEXT:
                await target.send_str(message.data)
            case WSMsgType.BINARY:
                await target.send_bytes(message.data)
            case WSMsgType.PING:
                await target.ping(message.data)
            case WSMsgType.PONG:
                await target.pong(message.data)
            case WSMsgType.CLOSING:
                return  # the other pump closes both
            case _:
                code, reason = _close_of(message)
                await target.close(code=code, message=reason)
                await source.close(code=code)
                return


def _close_of(message: WSMessage) -> tuple[int, bytes]:
    """The code and reason to close the other side with; 1011 where a side broke off."""
    if message.type is not WSMsgType.CLOSE:
        return 1011, b""
    if message.data is None:
        return 1000, b""
    code = message.data if _may_be_sent(message.data) else 1000
    return code, (message.extra or "").encode()


def _may_be_sent(code: int) -> bool:
    """Whether a close code is one that goes over the wire (RFC 6455 section 7.4)."""
    return code in (1000, 1001, 1002, 1003, *range(1007, 1012)) or 3000 <= code < 5000
