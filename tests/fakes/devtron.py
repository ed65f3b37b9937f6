"""A stand-in for Devtron's orchestrator, written from its public source and not from our code.

github.com/devtron-labs/devtron at c6520431 (2026-07-24) and the authenticator that it vendors:
`App.go` puts `middleware.Authorizer` around every route, `UserAuthService.go` has the paths that
need no login, `oidc/oidc.go` login and callback, `oidc/hhtpProxy.go` the way to Dex,
`UserSelfRegistrationService.go` who is registered at a first login.
"""

import base64
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import jwt
from aiohttp import ClientError, web

from sidecar.demo.argocd_credentials import cookies, join_cookies, set_cookies
from sidecar.demo.argocd_sessions import Claims, ProviderKeys
from sidecar.demo.own_login import Client, CodeRefused, OwnLogin
from sidecar.demo.server import serving

COOKIE = "argocd.token"
CLIENT_ID = "argo-cd"
LOCAL_ISSUER = "argocd"
API_TOKEN_ISSUER = "apiTokenIssuer"
_OPEN = (
    "/health",
    "/metrics",
    "/orchestrator/webhook/ci/gocd/artifact",
    "/orchestrator/auth/login",
    "/orchestrator/auth/callback",
    "/orchestrator/api/v1/session",
    "/orchestrator/app/ci-pipeline/github-webhook/trigger",
    "/orchestrator/webhook/msg/nats",
    "/orchestrator/devtron/auth/verify",
    "/orchestrator/security/policy/verify/webhook",
    "/orchestrator/sso/list",
    "/",
    "/orchestrator/dashboard-event/dashboardAccessed",
    "/orchestrator/dashboard-event/dashboardLoggedIn",
    "/orchestrator/self-register/check",
    "/orchestrator/self-register",
    "/orchestrator/telemetry/summary",
)
_OPEN_CONTAINING = (
    "/orchestrator/api/vi/pod/exec/ws",
    "/orchestrator/k8s/pod/exec/sockjs/ws",
    "/orchestrator/api/dex",
    "/orchestrator/auth/callback",
    "/orchestrator/auth/login",
    "/dashboard",
    "/orchestrator/webhook/git",
)


@dataclass(kw_only=True)
class DevtronSettings:
    """What Devtron has in `devtron-secret` (`url`, `server.secretkey`) and in its environment."""

    url: str
    """With `/orchestrator` behind it, as the single sign-on settings have it."""
    dex: str
    """`DEX_HOST:DEX_PORT`."""
    server_secret: str = field(default="devtrons-own-secret-of-32-letters", repr=False)
    self_registration: bool = True
    admin_password: str = field(default="admin", repr=False)

    @property
    def issuer(self) -> str:
        """Dex behind Devtron (its GetDexProxyUrl)."""
        return f"{self.url}/api/dex"

    @property
    def client_secret(self) -> str:
        """The secret of Dex' client (its generateDexClientSecret)."""
        digest = hashlib.sha256(self.server_secret.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode()[:40]


@dataclass(frozen=True)
class Seen:
    """One request that reached it: the claims of its token, if one was asked for and good."""

    method: str
    path: str
    claims: Claims
    cookie_names: tuple[str, ...]


class Refused(Exception):
    """The token is not good."""


class Devtron:
    """The stand-in, its users, and what it saw."""

    def __init__(self, settings: DevtronSettings, *, now: Callable[[], float]) -> None:
        self.settings = settings
        self.users: dict[str, bool] = {}
        """Every user that it knows, by email: whether they are active."""
        self.seen: list[Seen] = []
        self._now = now
        self._states: dict[str, str] = {}
        self._keys = ProviderKeys(settings.issuer, settings.dex)
        self._api_secret = secrets.token_bytes(32)
        # Its client app asks by the public address, its session manager at Dex' own.
        self.login = OwnLogin(self._client)

    @contextlib.asynccontextmanager
    async def running(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Its address, while it answers."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._authorized)
        async with serving(app, host=host, port=port, leaving_cancels=True) as address:
            yield address

    def api_token(self) -> str:
        """A token of the kind that CI jobs send in `api-token`."""
        self.users.setdefault("API-TOKEN:ci", True)
        claims = {"iss": API_TOKEN_ISSUER, "email": "API-TOKEN:ci"}
        return jwt.encode(claims, self._api_secret, algorithm="HS256")

    def tokens_at(self, path: str) -> list[Claims]:
        """The claims of the tokens that came for a path, in order."""
        return [each.claims for each in self.seen if each.path == path and each.claims]

    # middleware/AuthMiddleware.go

    async def _authorized(self, request: web.Request) -> web.StreamResponse:
        sent = cookies(
            v.decode("latin-1") for n, v in request.raw_headers if n.lower() == b"cookie"
        )
        names = tuple(name for name, _ in sent)
        api_token = request.headers.get("api-token", "")
        token = api_token or _joined(sent) or request.headers.get("token", "")
        claims: Claims = {}
        if token and not _is_open(request.path):
            try:
                claims = await self._verified(token)
            except Refused:
                answer = _answer(401, "Unauthorized")
                if not api_token:
                    gone = f"{COOKIE}={token}; Path=/; Max-Age=0"
                    answer.headers.add("Set-Cookie", gone)
                return answer
            active = self.users.get(str(claims.get("email", "")))
            if active is None:
                return _answer(401, "Invalid User")
            if not active:
                return _answer(401, "Inactive User")
        self.seen.append(Seen(request.method, request.path, claims, names))
        if claims or _is_open(request.path):
            return await self._routed(request, token)
        return _answer(401, "UN-AUTHENTICATED")

    async def _verified(self, token: str) -> Claims:
        """middleware/sessionmanager.go: by who calls himself the issuer."""
        try:
            issuer = jwt.decode_complete(token, options={"verify_signature": False})
            match issuer["payload"].get("iss"):
                case "argocd":
                    return self._of_ours(token, self.settings.server_secret.encode())
                case "apiTokenIssuer":
                    return self._of_ours(token, self._api_secret)
            return await self._of_dex(token)
        except (jwt.PyJWTError, ClientError, TimeoutError) as error:
            raise Refused from error

    def _of_ours(self, token: str, secret: bytes) -> Claims:
        claims: Claims = json.loads(jwt.PyJWS().decode(token, secret, algorithms=["HS256"]))
        if claims.get("exp", self._now() + 1) <= self._now():
            raise Refused
        return claims

    async def _of_dex(self, token: str) -> Claims:
        claims = await self._keys.claims(token)
        audience = claims.get("aud", [])
        audiences = [audience] if isinstance(audience, str) else audience
        expired = claims.get("exp", 0) < self._now()
        if claims.get("iss") != self.settings.issuer or CLIENT_ID not in audiences or expired:
            raise Refused
        return claims

    async def _routed(self, request: web.Request, token: str) -> web.StreamResponse:
        path = request.path
        if path.startswith("/orchestrator/api/dex"):
            return await self._dex(request)
        if path == "/":
            return web.Response(status=301, headers={"Location": "/dashboard"})
        if path == "/health":
            return _answer(200, "OK")
        if path.startswith("/dashboard"):
            return web.Response(text="<title>Devtron</title>", content_type="text/html")
        match path.removeprefix("/orchestrator"):
            case "/login" | "/auth/login":
                return await self._handle_login(request)
            case "/auth/callback":
                return await self._handle_callback(request)
            case "/api/v1/session":
                return await self._local_login(request)
            case "/devtron/auth/verify":
                return await self._verify(token)
        return _answer(200, {"path": path})

    async def _dex(self, request: web.Request) -> web.Response:
        """hhtpProxy.go: what Dex answers, but a page for a person in the place of its 500."""
        answer = await self.login.proxy(request)
        if answer.status != 500:
            return answer
        location = f"/dashboard/login?sso_error={quote('Unknown error')}"
        return web.Response(status=303, headers={"Location": location})

    # oidc/oidc.go

    async def _handle_login(self, request: web.Request) -> web.Response:
        return_url = request.query.get("return_url", "")
        if return_url and not return_url.startswith(self.settings.url):
            return _go_error("Invalid redirect URL", 400)
        state = secrets.token_hex(5)
        self._states[state] = return_url or "/"
        location = await self.login.begin(state)
        return web.Response(status=303, headers={"Location": location})

    async def _handle_callback(self, request: web.Request) -> web.Response:
        if error := request.query.get("error"):
            return _go_error(error, 400)
        return_url = self._states.pop(request.query.get("state", ""), None)
        if return_url is None:
            return _go_error("unknown app state", 400)
        try:
            id_token = await self.login.redeem(request.query.get("code", ""))
            claims = await self._of_dex(id_token)
        except (CodeRefused, Refused, jwt.PyJWTError) as error:
            return _go_error(f"failed to get token: {type(error).__name__}", 500)
        response = web.Response(status=303)
        if self._check_and_create_user(str(claims.get("email", ""))):
            flags = ["path=/", "SameSite=lax"]
            flags += ["Secure"] if self.settings.url.startswith("https:") else []
            for line in set_cookies(id_token, *flags):
                response.headers.add("Set-Cookie", line)
        else:
            response.headers.add("Set-Cookie", "")
            return_url = "/dashboard/login?err=NO_USER"
        if "dashboard" in return_url:
            return_url = return_url.replace("/orchestrator", "")
        response.headers["Location"] = return_url
        return response

    def _check_and_create_user(self, email: str) -> bool:
        if email not in self.users and self.settings.self_registration:
            self.users[email] = True
        return email in self.users

    async def _local_login(self, request: web.Request) -> web.Response:
        given = await request.json()
        if given != {"username": "admin", "password": self.settings.admin_password}:
            return _answer(403, "invalid username or password")
        self.users["admin"] = True
        issued_at = int(self._now())
        claims = {
            "iss": LOCAL_ISSUER,
            "sub": "admin",
            "email": "admin",
            "iat": issued_at,
            "exp": issued_at + 86400,
        }
        token = jwt.encode(claims, self.settings.server_secret.encode(), algorithm="HS256")
        response = _answer(200, {"token": token})
        response.headers.add("Set-Cookie", f"{COOKIE}={token}; Path=/")
        return response

    async def _verify(self, token: str) -> web.Response:
        """/devtron/auth/verify, whose own check takes the place of the one before every route."""
        try:
            claims = await self._verified(token)
        except Refused:
            return _answer(401, "token verification failed while getting logged in user")
        return _answer(200, {"emailId": claims.get("email", "")})

    def _client(self) -> Client:
        return Client(
            issuer=self.settings.issuer,
            client_id=CLIENT_ID,
            client_secret=self.settings.client_secret,
            redirect_uri=f"{self.settings.url}/auth/callback",
            dex_server=self.settings.dex,
            rewrites=False,
        )


def _is_open(path: str) -> bool:
    """UserAuthService.go: WhitelistChecker."""
    return path in _OPEN or any(part in path for part in _OPEN_CONTAINING)


def _joined(sent: list[tuple[str, str]]) -> str:
    try:
        return join_cookies(sent)
    except ValueError:
        return ""


def _answer(status: int, result: Any) -> web.Response:
    """AuthMiddleware.go: writeResponse."""
    body = json.dumps({"code": status, "result": result}, separators=(",", ":"))
    return web.Response(status=status, body=body.encode(), content_type="application/json")


def _go_error(message: str, status: int) -> web.Response:
    return web.Response(status=status, text=message + "\n", content_type="text/plain")
