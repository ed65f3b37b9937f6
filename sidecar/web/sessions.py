"""`/_sidecar/session`: a user's own sessions, shown and ended; and where a logout comes back to."""

import json
from collections.abc import Callable
from urllib.parse import urlencode

from aiohttp import web

from sidecar.core import answers
from sidecar.core.answers import Answer
from sidecar.core.authorization import Sites, origin
from sidecar.core.cookies import CookieJar, crumbs
from sidecar.core.end_session import is_our_state
from sidecar.core.heads import Fields
from sidecar.core.sealing import KeyRing
from sidecar.errors import RequestMalformed
from sidecar.flows.own_sessions import OwnSessions
from sidecar.flows.records import Live
from sidecar.web import responses, session_page
from sidecar.web.forms import query_value, read_form

_MOST_BYTES = 4096


class SessionPages:
    """The user's page, in HTML and in JSON."""

    def __init__(
        self,
        own: OwnSessions,
        ring: KeyRing,
        jar: CookieJar,
        sites: Sites,
        root: str,
        now: Callable[[], float],
    ) -> None:
        self._own = own
        self._ring = ring
        self._jar = jar
        self._sites = sites
        self._root = root
        self._at = f"{root}/_sidecar/session"
        self._now = now

    async def answer(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The page, or what became of a change."""
        if request.method not in ("GET", "HEAD", "POST"):
            allowed = ("Allow", "GET, HEAD, POST")
            return responses.rendered(answers.plain(405, "Method not allowed\n", allowed))
        found = crumbs(request.headers.getall("Cookie", []))
        live = await self._own.own(self._jar.sessions(found))
        if live is None:
            return self._not_signed_in(request, request_id)
        if request.method == "POST":
            return await self._change(request, live, request_id)
        return await self._show(request, live)

    async def signed_out(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Where the provider sends a browser after its logout; anybody else goes on to Argo CD."""
        state = query_value(request, "state")
        if request.method not in ("GET", "HEAD") or not is_our_state(state, self._ring):
            return responses.redirect(f"{self._root}/")
        return responses.rendered(
            answers.page(
                200,
                "You are signed out",
                "Your session here has ended, and so has the identity provider's.",
                request_id=request_id,
                action=answers.link(f"{self._root}/", "Back to Argo CD"),
            )
        )

    async def _show(self, request: web.BaseRequest, live: Live) -> web.Response:
        listed = await self._own.listed(live)
        token = self._own.form_token(live)
        if _wants_json(request):
            return _json(200, session_page.to_json(listed, form_token=token))
        done = query_value(request, "done")
        text = session_page.page(
            listed, root=self._root, form_token=token, done=done, now=self._now()
        )
        return responses.rendered(Answer(200, list(session_page.FIELDS), text.encode()))

    async def _change(self, request: web.BaseRequest, live: Live, request_id: str) -> web.Response:
        origins = request.headers.getall("Origin", [])
        if [sent.lower() for sent in origins] != [origin(self._sites.at(request.host))]:
            return self._refused(request, request_id)
        form = await read_form(request, most_bytes=_MOST_BYTES)
        if not self._own.is_form_token(live, form.get("token", "")):
            return self._refused(request, request_id)
        match form.get("action"):
            case "end":
                ended = int(await self._own.end(live, form.get("session", "")))
                done = "ended" if ended else "gone"
            case "end-others":
                ended, done = await self._own.end_others(live), "others"
            case _:
                raise RequestMalformed("a change that is not known")
        if _wants_json(request):
            return _json(200, {"ended": ended})
        return responses.redirect(f"{self._at}?done={done}")

    def _refused(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """For a change that did not come from this page, as it is now."""
        if _wants_json(request):
            return _json(403, {"error": "the Origin or the token is wrong"})
        return responses.rendered(
            answers.page(
                403,
                "Nothing was changed",
                "This request did not come from your page of sessions, or the page is an old one.",
                request_id=request_id,
                action=answers.link(self._at, "Your sessions"),
            )
        )

    def _not_signed_in(self, request: web.BaseRequest, request_id: str) -> web.Response:
        back = origin(self._sites.at(request.host)) + self._at
        login_url = f"{self._root}/auth/login?{urlencode({'return_url': back})}"
        if _wants_json(request):
            return _json(401, {"error": "not signed in", "login": login_url})
        return responses.rendered(
            answers.page(
                401,
                "You are not signed in",
                "Sign in to see your sessions.",
                request_id=request_id,
                action=answers.link(login_url, "Sign in"),
            )
        )


def _wants_json(request: web.BaseRequest) -> bool:
    accept = request.headers.get("Accept", "")
    return "application/json" in accept and "text/html" not in accept


def _json(status: int, value: dict[str, object]) -> web.Response:
    fields: Fields = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
    return responses.rendered(Answer(status, fields, json.dumps(value).encode()))
