"""A stand-in for argocd-server that a browser, the CLI or a proxy cannot tell from the real one.

It does what Argo CD does where logins and tokens are concerned, and little else.
"""

import contextlib
import html
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from aiohttp import web

from sidecar.demo.argocd_answers import ArgocdSettings, api_answer, go_error
from sidecar.demo.argocd_api import Handler, RestApi
from sidecar.demo.argocd_credentials import COOKIE, join_cookies, set_cookies
from sidecar.demo.argocd_guard import RENEWED, Guard, Observations, sent_cookies
from sidecar.demo.argocd_sessions import LOCAL_ISSUER, Sessions, Unauthenticated, username
from sidecar.demo.argocd_streams import Change, Streams
from sidecar.demo.own_login import Client, CodeRefused, OwnLogin
from sidecar.demo.server import serving

STATE_COOKIE = "argocd.oauthstate"
PAGE = Path(__file__).with_name("page.html")
PAGE_HEADERS = {
    "Cache-Control": "no-store, no-cache, must-revalidate, max-age=0",
    "Content-Security-Policy": "frame-ancestors 'self';",
    "X-Frame-Options": "sameorigin",
}


class Argocd:
    """The stand-in, its log, and what it saw."""

    def __init__(
        self,
        settings: ArgocdSettings,
        *,
        now: Callable[[], float],
        logins: Callable[[], int] | None = None,
    ) -> None:
        self.settings = settings
        self.seen = Observations()
        self._address = ""
        self._streams = Streams()
        self._sessions = Sessions(settings, now=now)
        self._guard = Guard(settings, self._sessions, self.seen, now=now)
        self.own_login = OwnLogin(self._client)
        self._api = RestApi(
            settings,
            self._guard,
            self._streams,
            self.seen,
            sessions=self._sessions,
            url=lambda: self.url,
            now=now,
            logins=logins,
        )

    @contextlib.asynccontextmanager
    async def running(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """The address with the root path, no slash at its end, while the stand-in answers there.

        It keeps its local accounts' tokens and its revocations between two runs.
        """
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        app.on_response_prepare.append(self.seen.note)
        app.on_response_prepare.append(self._give_renewed)
        app.on_shutdown.append(lambda _: self._streams.close())
        async with serving(app, host=host, port=port, leaving_cancels=True) as address:
            self._address = address
            yield address + self.settings.root

    @property
    def url(self) -> str:
        """Argo CD's public address, as its settings say."""
        return self.settings.url or self._address + self.settings.root

    @property
    def open_streams(self) -> int:
        """How many event streams are open."""
        return self._streams.listeners

    @property
    def open_terminals(self) -> int:
        """How many terminals are open."""
        return self._streams.terminals

    def emit(self, change: Change) -> None:
        """Send `{"type": …, "application": …}` to all open event streams."""
        self._streams.emit(change)

    def statuses(self, path: str) -> list[int]:
        """The status of every answer for `path`, in order."""
        return [entry.status for entry in self.seen.log if entry.path == path]

    async def _give_renewed(self, request: web.Request, response: web.StreamResponse) -> None:
        """A token that Argo CD has renewed by itself: as a cookie, and in a header beside it."""
        renewed = request.get(RENEWED, "")
        if renewed and response.status == 200:
            for line in set_cookies(
                renewed, f"path={self.settings.root or '/'}", "SameSite=lax", "httpOnly"
            ):
                response.headers.add("Set-Cookie", line)
            response.headers["Grpc-Metadata-Renew-Token"] = renewed

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.cookie_names.update(name for name, _ in sent_cookies(request))
        response = await self._handler(request)(request)
        zips = "gzip" in request.headers.get("Accept-Encoding", "") and self.settings.gzip
        if zips and isinstance(response, web.Response) and response.content_length:
            response.headers["Vary"] = "Accept-Encoding"
            response.enable_compression(web.ContentCoding.gzip)
        return response

    def _handler(self, request: web.Request) -> Handler:
        """Who answers, by the path below the root path."""
        path, root = request.path, self.settings.root
        if path in ("/healthz", f"{root}/healthz"):
            return self._healthz
        if path == root != "":
            return self._to_root
        if not path.startswith(f"{root}/"):
            return _not_found
        if request.headers.get("Content-Type") == "application/grpc-web+proto":
            return self._api.grpc_web
        path = path.removeprefix(root)
        if self.settings.dex_server and path.startswith("/api/dex/"):
            return self.own_login.proxy
        if path.startswith("/api/"):
            return self._api.handler(path)
        if path.startswith("/extensions/"):
            return self._extension
        routes = {
            "/terminal": self._terminal,
            "/extensions.js": _extensions_script,
            "/auth/login": self._login,
            "/auth/callback": self._callback,
            "/auth/logout": self._logout,
        }
        html_is_fine = "text/html" in request.headers.get("Accept", "")
        return routes.get(path, self._page if html_is_fine else _not_found)

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _to_root(self, _: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": f"{self.settings.root}/"})

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        found = await self._guard.cookie(request)
        if isinstance(found, web.Response):
            return found
        if not web.WebSocketResponse().can_prepare(request).ok:
            return go_error("Bad Request", 400)
        token, _ = found
        return await self._streams.serve_terminal(request, lambda: self._sessions.verify(token))

    async def _extension(self, request: web.Request) -> web.Response:
        found = await self._guard.cookie(request)
        if isinstance(found, web.Response):
            return found
        _, claims = found
        return api_answer({"username": username(claims)})

    async def _login(self, request: web.Request) -> web.Response:
        """Argo CD's own login: nothing comes here while a sidecar has taken it over."""
        self.seen.own_logins += 1
        if self.settings.dex_server:
            return await self._begin_login(request)
        return web.Response(status=303, headers={"Location": self.settings.issuer})

    async def _begin_login(self, request: web.Request) -> web.Response:
        state = secrets.token_urlsafe(18)
        nonce = {"nonce": secrets.token_urlsafe(18)}
        response = web.Response(status=303)
        response.headers["Location"] = await self.own_login.begin(state, nonce)
        kept = f"{state}:{quote(request.query.get('return_url', ''), safe='')}"
        response.headers["Set-Cookie"] = f"{STATE_COOKIE}={kept}; {self._cookie_flags}"
        return response

    async def _callback(self, request: web.Request) -> web.Response:
        self.seen.own_logins += 1
        kept = dict(sent_cookies(request)).get(STATE_COOKIE, "")
        state, _, return_url = kept.partition(":")
        if not self.settings.dex_server or not kept or state != request.query.get("state"):
            return go_error("http: named cookie not present", 400)
        try:
            id_token = await self.own_login.redeem(request.query.get("code", ""))
            await self._guard.verified(request, id_token)
        except (CodeRefused, Unauthenticated) as error:
            return go_error(str(error), 500)
        response = web.Response(status=303)
        response.headers["Location"] = unquote(return_url) or self.url
        for line in set_cookies(id_token, *self._cookie_flags.split("; ")):
            response.headers.add("Set-Cookie", line)
        response.headers.add("Set-Cookie", f"{STATE_COOKIE}=; Max-Age=0; {self._cookie_flags}")
        return response

    @property
    def _cookie_flags(self) -> str:
        secure = "; Secure" if self.url.startswith("https:") else ""
        return f"path={self.settings.root or '/'}; SameSite=lax; httpOnly{secure}"

    def _client(self) -> Client:
        return Client(
            issuer=self.settings.issuer,
            client_id=self.settings.client_id,
            client_secret=self.settings.client_secret,
            redirect_uri=f"{self.url}/auth/callback",
            dex_server=self.settings.dex_server,
        )

    async def _logout(self, request: web.Request) -> web.Response:
        sent = sent_cookies(request)
        try:
            token = join_cookies(sent)
        except ValueError:
            token = ""
        if not token:
            return go_error("Failed to retrieve ArgoCD auth token", 400)
        target = await self._end(request, token)
        response = web.Response(status=303, headers={"Location": target})
        for name, _ in sent:
            if name.startswith(COOKIE):
                response.headers.add("Set-Cookie", f"{name}=; Path={self.settings.root or '/'}")
        return response

    async def _end(self, request: web.Request, token: str) -> str:
        """Revoke `token`; where the browser goes now. A bad token only goes home."""
        try:
            claims = await self._guard.verified(request, token)
        except Unauthenticated:
            return self._home(request)
        self._sessions.revoke(claims)
        if claims["iss"] == LOCAL_ISSUER or not self.settings.logout_url:
            return self._home(request)
        target = self.settings.logout_url.replace("{{token}}", token)
        return target.replace("{{logoutRedirectURL}}", self._home(request))

    def _home(self, request: web.Request) -> str:
        """Which of its addresses a logout goes back to."""
        urls = self.settings.additional_urls if self.settings.traits.logs_out_by_host else ()
        here = (url for url in (self.url, *urls) if urlsplit(url).netloc == request.host)
        return next(here, self.url)

    async def _page(self, _: web.Request) -> web.Response:
        page = PAGE.read_text(encoding="utf-8").replace(
            "{{base}}", html.escape(f"{self.settings.root}/")
        )
        return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS)


async def _extensions_script(_: web.Request) -> web.Response:
    return web.Response(text="", content_type="application/javascript")


async def _not_found(_: web.Request) -> web.Response:
    return go_error("404 page not found", 404)
