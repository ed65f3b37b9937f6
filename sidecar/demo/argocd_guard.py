"""Who is asking the stand-in, and what it saw of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from sidecar.demo.argocd_answers import ArgocdSettings, go_error
from sidecar.demo.argocd_credentials import cookies, grpc_web_token, join_cookies, rest_token
from sidecar.demo.argocd_sessions import LOCAL_ISSUER, Claims, Sessions, Unauthenticated, username
from sidecar.demo.argocd_userinfo import UserinfoGroups, UserinfoRefused

USER = web.RequestKey("user", str)
RENEWED = web.RequestKey("renewed", str)


@dataclass(frozen=True)
class Entry:
    """One answered request; `user` is empty where nobody was asked for."""

    method: str
    path: str
    status: int
    user: str


@dataclass
class Observations:
    """What the stand-in saw, for tests and for the demo's page.

    `unauthorized` counts answers of 401 and the "sso" of userinfo, `own_logins` the requests that
    reached Argo CD's own login. `cookie_names` has every name that ever came in a Cookie header,
    `seen_jti` each accepted token of the provider, in order.
    """

    log: list[Entry] = field(default_factory=list)
    cookie_names: set[str] = field(default_factory=set)
    seen_jti: list[str] = field(default_factory=list)
    unauthorized: int = 0
    expired_tokens: int = 0
    own_logins: int = 0
    _families: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    async def note(self, request: web.Request, response: web.StreamResponse) -> None:
        """Take down a request whose answer is about to go out."""
        self.unauthorized += response.status == 401
        path, _, _ = request.raw_path.partition("?")
        self.log.append(Entry(request.method, path, response.status, request.get(USER, "")))

    def note_claims(self, claims: Claims) -> None:
        """Take down an accepted token of the provider, if it is a new one."""
        token_id = str(claims.get("jti") or claims.get("at_hash") or claims.get("iat"))
        if token_id not in self.seen_jti:
            self.seen_jti.append(token_id)
        self._families.setdefault(_login(claims), set()).add(token_id)

    def renewals(self, claims: Claims) -> int:
        """How many tokens came after the first one of the same login."""
        return max(0, len(self._families.get(_login(claims), ())) - 1)


class Guard:
    """Finds a request's token where Argo CD does, and judges it."""

    def __init__(
        self,
        settings: ArgocdSettings,
        sessions: Sessions,
        seen: Observations,
        *,
        now: Callable[[], float],
    ) -> None:
        self._with, self._sessions, self._seen, self._now = settings, sessions, seen, now
        given = settings.userinfo
        self.userinfo = UserinfoGroups(given, settings.issuer, now=now) if given else None

    async def rest(self, request: web.Request) -> Claims:
        """The claims of a REST request.

        Raises:
            Unauthenticated: Argo CD would refuse it.
        """
        token = rest_token(headers(request))
        try:
            claims = await self.verified(request, token)
        except Unauthenticated as refusal:
            renewed = await self._renewed(refusal.expired) if refusal.expired else ""
            if not renewed:
                raise
            request[RENEWED] = renewed
            claims = await self.verified(request, renewed)
        else:
            request[RENEWED] = await self._renewed(claims)
        return await self._with_groups(claims)

    async def grpc_web(self, request: web.Request) -> Claims:
        """The claims of a grpc-web request; raises as `rest` does."""
        claims = await self.verified(request, grpc_web_token(headers(request)))
        return await self._with_groups(claims)

    async def cookie(self, request: web.Request) -> tuple[str, Claims] | web.Response:
        """The token and its claims where only the cookie counts; or the refusal."""
        try:
            token = join_cookies(sent_cookies(request))
        except ValueError:
            return go_error("Auth cookie not found", 400)
        try:
            claims = await self.verified(request, token)
        except Unauthenticated:
            return go_error("Invalid token", 401)
        try:
            return token, await self._with_groups(claims)
        except Unauthenticated:
            return go_error("Invalid session", 401)

    async def _renewed(self, claims: Claims) -> str:
        """What Argo CD's own renewal puts into the place of the token."""
        if claims.get("iss") == LOCAL_ISSUER:
            return self._sessions.renewed(claims)
        native = self._with.native
        if native is None:
            return ""
        mode = self._with.traits.native_refresh
        return await native.renewed(dict(claims), mode, now=self._now)

    async def _with_groups(self, claims: Claims) -> Claims:
        """The claims with the groups that the userinfo endpoint tells, where that is switched on.

        Raises:
            Unauthenticated: they cannot be had, so the session is no good.
        """
        asks = self.userinfo is not None and self._with.traits.asks_userinfo
        if self.userinfo is None or not asks or claims.get("iss") == LOCAL_ISSUER:
            return claims
        try:
            return {**claims, "groups": await self.userinfo.groups(dict(claims))}
        except UserinfoRefused as refusal:
            raise Unauthenticated(f"invalid session: {refusal}") from refusal

    async def verified(self, request: web.Request, token: str) -> Claims:
        """The claims of `token`, whose user is the request's; raises as `rest` does."""
        try:
            claims = await self._sessions.verify(token)
        except Unauthenticated as refusal:
            self._seen.expired_tokens += refusal.iss == "sso"
            raise
        request[USER] = username(claims)
        if claims["iss"] != LOCAL_ISSUER:
            self._seen.note_claims(claims)
        return claims


def headers(request: web.Request) -> list[tuple[str, str]]:
    """All header pairs as they came, repeated ones too."""
    return [(name.decode("latin-1"), text.decode("latin-1")) for name, text in request.raw_headers]


def sent_cookies(request: web.Request) -> list[tuple[str, str]]:
    """The cookies of all Cookie lines together."""
    return cookies(text for name, text in headers(request) if name.lower() == "cookie")


def _login(claims: Claims) -> tuple[str, str]:
    return str(claims.get("sub")), str(claims.get("sid") or claims.get("nonce") or "")
