"""The stand-in's REST gateway: /api, as far as logins and the demo's page need it."""

import hashlib
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from sidecar.demo.argocd_answers import (
    BADGE,
    EVENT_STREAM,
    ArgocdSettings,
    api_answer,
    api_error,
    go_error,
    grpc_web_answer,
    settings_body,
    stream_unauthenticated,
    unauthenticated,
)
from sidecar.demo.argocd_credentials import set_cookies
from sidecar.demo.argocd_guard import Guard, Observations, headers
from sidecar.demo.argocd_sessions import Sessions, Unauthenticated, username
from sidecar.demo.argocd_streams import Streams

ECHO = "/api/v1/echo"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestApi:
    """The handlers below /api, found by path."""

    def __init__(
        self,
        settings: ArgocdSettings,
        guard: Guard,
        streams: Streams,
        seen: Observations,
        *,
        sessions: Sessions,
        url: Callable[[], str],
        now: Callable[[], float],
        logins: Callable[[], int] | None,
    ) -> None:
        self._with, self._guard, self._streams, self._seen = settings, guard, streams, seen
        self._sessions, self._url, self._now, self._logins = sessions, url, now, logins

    def handler(self, path: str) -> Handler:
        """Who answers for `path`, which starts with /api/."""
        routes: dict[str, Handler] = {
            "/api/version": self._version,
            "/api/webhook": _webhook,
            "/api/badge": _badge,
            "/api/v1/settings": self._settings,
            "/api/v1/session": self._session,
            "/api/v1/session/userinfo": self._userinfo,
            "/api/v1/applications": self._applications,
            "/api/v1/stream/applications": self._stream,
            "/api/v1/demo/token": self._token,
        }
        return routes.get(path, _echo if path.startswith(ECHO) else _unknown_api)

    async def _version(self, _: web.Request) -> web.Response:
        return api_answer({"Version": self._with.version})

    async def _settings(self, request: web.Request) -> web.Response:
        try:
            logged_in = bool(await self._guard.rest(request))
        except Unauthenticated:
            logged_in = False
        return api_answer(settings_body(self._with, url=self._url(), logged_in=logged_in))

    async def _session(self, request: web.Request) -> web.Response:
        """Login of a local account; deleting the session clears no cookie, as in Argo CD."""
        if request.method == "DELETE":
            return api_answer({})
        if request.method != "POST":
            return api_error("Method Not Allowed", status=405, code=12)
        if request.content_type != "application/json":
            return go_error("Invalid content type", 415)
        try:
            body = json.loads(await request.read())
            token = self._sessions.log_in(str(body["username"]), str(body["password"]))
        except Unauthenticated as refusal:
            return unauthenticated(refusal.message)
        except (ValueError, KeyError, TypeError):
            return api_error("no credentials supplied", status=400, code=3)
        response = api_answer({"token": token})
        for line in set_cookies(
            token, f"path={self._with.root or '/'}", "SameSite=lax", "httpOnly"
        ):
            response.headers.add("Set-Cookie", line)
        return response

    async def _userinfo(self, request: web.Request) -> web.Response:
        """Who is asking; this never answers 401."""
        try:
            claims = await self._guard.rest(request)
        except Unauthenticated as refusal:
            self._seen.unauthorized += refusal.iss == "sso"
            known = refusal.iss and not self._with.anonymous
            return api_answer({"iss": refusal.iss} if known else {})
        who = {"loggedIn": True, "username": username(claims), "iss": claims["iss"]}
        groups = claims.get("groups")
        return api_answer({**who, "groups": groups} if groups else who)

    async def _applications(self, request: web.Request) -> web.Response:
        try:
            await self._guard.rest(request)
        except Unauthenticated as refusal:
            if not self._with.anonymous:
                return unauthenticated(refusal.message)
        return api_answer({"metadata": {}, "items": self._streams.applications})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        as_events = request.headers.get("Accept") == EVENT_STREAM
        try:
            await self._guard.rest(request)
        except Unauthenticated as refusal:
            return stream_unauthenticated(refusal.message, as_events=as_events)
        return await self._streams.serve_events(
            request, as_events=as_events, every_seconds=self._with.event_seconds
        )

    async def _token(self, request: web.Request) -> web.Response:
        """What the page shows about the token, which a browser behind the sidecar cannot see."""
        try:
            claims = await self._guard.rest(request)
        except Unauthenticated as refusal:
            return unauthenticated(refusal.message)
        times = {name: claims.get(name) for name in ("exp", "iat", "jti")}
        counts = {
            "now": self._now(),
            "renewals": self._seen.renewals(claims),
            "logins": self._logins() if self._logins else None,
            "unauthorized": self._seen.unauthorized,
            "own_login": self._seen.own_logins > 0,
        }
        return api_answer({**times, **counts})

    async def grpc_web(self, request: web.Request) -> web.Response:
        """The answer to any grpc-web call: an empty one, or that nobody is signed in."""
        try:
            await self._guard.grpc_web(request)
        except Unauthenticated as refusal:
            return grpc_web_answer(refusal.message)
        return grpc_web_answer()


async def _echo(request: web.Request) -> web.Response:
    """What arrived, byte for byte; for tests."""
    digest, length = hashlib.sha256(), 0
    async for part in request.content.iter_any():
        digest.update(part)
        length += len(part)
    return api_answer(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": headers(request),
            "sha256": digest.hexdigest(),
            "length": length,
        }
    )


async def _webhook(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


async def _badge(_: web.Request) -> web.Response:
    return web.Response(text=BADGE, content_type="image/svg+xml")


async def _unknown_api(_: web.Request) -> web.Response:
    return api_error("Not Found", status=404, code=5)
