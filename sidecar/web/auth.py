"""`/auth/login`, `/auth/callback`, `/auth/logout`: the flows, as a browser meets them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from aiohttp import web

from sidecar.core.authorization import (
    ATTEMPT_LIFE_SECONDS,
    AuthorizationResponse,
    LoginAttempt,
    Sites,
    hash_state,
    read_authorization_response,
    safe_return_url,
)
from sidecar.core.client_address import Networks, client_address
from sidecar.core.cookies import CookieJar, Crumb, TokenCookie, clear_token_lines, crumbs
from sidecar.core.heads import OwnPath, Paths
from sidecar.core.recent_logins import (
    WITHIN_SECONDS,
    recent_logins,
    wait_seconds,
    with_login,
)
from sidecar.core.session import EndReason, short_user_agent
from sidecar.errors import LoginRefused, SessionOver, SilentLoginRefused, TooMany, TryLater
from sidecar.flows.limits import LoginLimits
from sidecar.flows.login import Login
from sidecar.flows.logout import Logout
from sidecar.flows.sessions import Sessions
from sidecar.web import responses

MAX_LOGINS_IN_FLIGHT = 5

Endpoint = Callable[[web.BaseRequest, str], Awaitable[web.Response]]


class AuthEndpoints:
    """The sidecar's own endpoints."""

    def __init__(
        self,
        sessions: Sessions,
        login: Login,
        logout: Logout,
        jar: CookieJar,
        paths: Paths,
        sites: Sites,
        limits: LoginLimits,
        *,
        session_seconds: float,
        trusted_proxies: Networks,
        now: Callable[[], float],
        token_cookie: TokenCookie,
        others: Mapping[OwnPath, Endpoint],
    ) -> None:
        self._limits = limits
        self._trusted_proxies = trusted_proxies
        self._now = now
        self._sessions = sessions
        self._login = login
        self._logout = logout
        self._jar = jar
        self._paths = paths
        self._sites = sites
        self._session_seconds = session_seconds
        self._token_cookie = token_cookie
        self._others = others
        self.login_url = f"{paths.root}/auth/login"

    def began(self, request: web.BaseRequest) -> bool:
        """Whether a callback ends a login that began here."""
        try:
            state = read_authorization_response(_query(request)).state
            cookie = self._jar.login_of(_crumbs(request), hash_state(state))
            return cookie is not None and bool(self._login.open_attempt(cookie.value, state))
        except LoginRefused:
            return False

    async def answer(self, own: OwnPath, request: web.BaseRequest, request_id: str) -> web.Response:
        """The answer of an own endpoint."""
        found = _crumbs(request)
        try:
            match own:
                case OwnPath.LOGIN:
                    self._limits.check_address(self._address(request))
                    return await self._start_login(request, found)
                case OwnPath.CALLBACK:
                    self._limits.check_address(self._address(request))
                    return await self._finish_login(request, found, request_id)
                case OwnPath.LOGOUT:
                    return await self._end_session(request, found, request_id)
                case _ if own in self._others:
                    return await self._others[own](request, request_id)
                case _:
                    return web.Response(status=404, text="Not found\n")
        except LoginRefused as error:
            return responses.login_refused(error, self.login_url, request_id=request_id)
        except TooMany as error:
            accept = request.headers.get("Accept", "")
            return responses.too_many(error, self.login_url, accept, request_id=request_id)
        except TryLater as error:
            return responses.try_later(error, self.login_url, request_id=request_id)

    async def _start_login(self, request: web.BaseRequest, found: Sequence[Crumb]) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return _not_allowed("GET, HEAD")
        recent = self._recent_logins(found)
        self._limits.check_browser(wait_seconds(recent, self._now()))
        given = dict(_query(request)).get("return_url", "")
        sites = self._sites.beginning_at(request.host)
        return_url = safe_return_url(given, sites, self._paths)
        redirect_uri = f"{sites[0]}/auth/callback"
        silent = await self._lives_without_token(found)
        answer = await self._to_provider(return_url, redirect_uri, found, silent=silent)
        value = with_login(recent, self._now())
        line = self._jar.set(self._jar.recent_logins, value, max_age_seconds=WITHIN_SECONDS)
        return responses.add_cookies(answer, [line])

    def _recent_logins(self, found: Sequence[Crumb]) -> list[int]:
        values = (crumb.value for crumb in found if crumb.name == self._jar.recent_logins)
        return recent_logins(next(values, ""), self._now())

    def _address(self, request: web.BaseRequest) -> str | None:
        forwarded_for = request.headers.getall("X-Forwarded-For", [])
        return client_address(request.remote or "", forwarded_for, self._trusted_proxies)

    async def _to_provider(
        self, return_url: str, redirect_uri: str, found: Sequence[Crumb], *, silent: bool
    ) -> web.Response:
        url, attempt, sealed = await self._login.start(return_url, redirect_uri, silent=silent)
        name = self._jar.login(attempt.state_hash, attempt.started_at)
        cookies = [self._jar.set(name, sealed, max_age_seconds=ATTEMPT_LIFE_SECONDS)]
        old = self._jar.logins(found)[: -MAX_LOGINS_IN_FLIGHT + 1]
        return responses.redirect(url, [*cookies, *(self._jar.clear(c.name) for c in old)])

    async def _lives_without_token(self, found: Sequence[Crumb]) -> bool:
        """Whether the browser's session lives, and its provider renews no ID tokens.

        A session of which the store knows nothing any more is a login that was forced.
        """
        key = self._sessions.read_cookies(self._jar.sessions(found))
        if key is None:
            return False
        try:
            live = await self._sessions.load(key)
            if live is None:
                await self._sessions.end(key, "", EndReason.IDLE)
        except (SessionOver, TryLater):
            return False  # its end was counted when it ended
        return live is not None and not live.grant.renews_id_token

    async def _finish_login(
        self, request: web.BaseRequest, found: Sequence[Crumb], request_id: str
    ) -> web.Response:
        if request.method != "GET":
            return _not_allowed("GET")
        # Before the store or the provider is asked: strangers can send what they like.
        with self._login.counting_refusals():
            response = read_authorization_response(_query(request))
            cookie = self._login_cookie(found, response)
        clear = self._jar.clear(cookie.name)
        try:
            with self._login.counting_refusals():
                attempt = self._login.open_attempt(cookie.value, response.state)
            answer = await self._finish_attempt(request, found, response, attempt)
        except LoginRefused as error:
            answer = responses.login_refused(error, self.login_url, request_id=request_id)
        return responses.add_cookies(answer, [clear])

    def _login_cookie(self, found: Sequence[Crumb], response: AuthorizationResponse) -> Crumb:
        cookie = self._jar.login_of(found, hash_state(response.state))
        if cookie is None:
            raise LoginRefused(
                "state",
                "This sign-in was started in another browser, or too long ago. Start it again.",
            )
        return cookie

    async def _finish_attempt(
        self,
        request: web.BaseRequest,
        found: Sequence[Crumb],
        response: AuthorizationResponse,
        attempt: LoginAttempt,
    ) -> web.Response:
        user_agent = short_user_agent(request.headers.get("User-Agent", ""))
        try:
            session = await self._login.finish(response, attempt, user_agent=user_agent)
        except SilentLoginRefused:
            return await self._to_provider(
                attempt.return_url, attempt.redirect_uri, found, silent=False
            )
        previous = self._sessions.read_cookies(self._jar.sessions(found))
        if previous is not None:
            await self._login.end_previous(previous)
        lines = [
            self._jar.set(self._jar.session, session, max_age_seconds=self._session_seconds),
            *self._clear_tokens(found),
        ]
        return responses.redirect(attempt.return_url, lines)

    async def _end_session(
        self, request: web.BaseRequest, found: Sequence[Crumb], request_id: str
    ) -> web.Response:
        if request.method not in ("GET", "POST"):
            return _not_allowed("GET, POST")
        if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            return responses.ask_to_log_out(
                f"{self._paths.root}/auth/logout", request_id=request_id
            )
        key = self._sessions.read_cookies(self._jar.sessions(found))
        here = self._sites.at(request.host)
        return_to = f"{here}/_sidecar/signed-out"
        location = await self._logout.log_out(key, site=here, return_to=return_to) if key else None
        lines = [self._jar.clear(self._jar.session), *self._clear_tokens(found)]
        return responses.redirect(location or f"{here}/", lines)

    def _clear_tokens(self, found: Sequence[Crumb]) -> list[str]:
        return clear_token_lines(found, self._token_cookie)


def _crumbs(request: web.BaseRequest) -> list[Crumb]:
    return crumbs(request.headers.getall("Cookie", []))


def _query(request: web.BaseRequest) -> list[tuple[str, str]]:
    """The query's parameters, read from the target as it came."""
    query = request.raw_path.partition("?")[2]
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise LoginRefused("parameters", "This address could not be understood.") from None


def _not_allowed(methods: str) -> web.Response:
    return web.Response(status=405, text="Method not allowed\n", headers={"Allow": methods})
