"""A stand-in for Argo Workflows' `argo-server`, written from its public source and not from ours.

github.com/argoproj/argo-workflows at f016ad89 (v4.1.2, 2026-08-21). `server/auth/gatekeeper.go`
and `mode.go` are who is let in, `server/auth/sso/sso.go` login, callback and cookie,
`config/sso.go` how long that lasts, `util/kubeconfig` what becomes of a bearer token,
`server/artifacts` how files are asked for, `server/apiserver/argoserver.go` which path is whose,
`server/info/info_server.go` what a user is told of themselves. What earlier releases do otherwise
is named in `ArgoServerSettings`.
"""

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

import jwt
from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    encode_basic_auth,
    web,
)
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from sidecar.demo.argocd_sessions import Claims, ProviderKeys
from sidecar.demo.server import serving

PREFIX = "Bearer v2:"
COOKIE = "authorization"
ISSUER = "argo-server"
_NOT_VALID = "token not valid. see https://argo-workflows.readthedocs.io/en/latest/faq/"
# sso.go: copied there from oauth2-proxy.
_INVALID_REDIRECT = re.compile(r"[/\\](?:[\s\v]*|\.{1,2})[/\\]")
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_GRPC = {401: (16, "Unauthorized"), 403: (7, "Forbidden")}
_ARTIFACTS = ("artifacts", "input-artifacts", "artifact-files", "upload-artifacts")


@dataclass(kw_only=True)
class ArgoServerSettings:
    """`--auth-mode`, `--base-href`, `--secure`, and `sso` of workflow-controller-configmap."""

    modes: tuple[str, ...] = ("client", "sso")
    base_href: str = "/"
    secure: bool = False
    issuer: str = ""
    client_id: str = "argo-workflows"
    client_secret: str = field(default="workflows-secret", repr=False)
    redirect_url: str = ""
    scopes: tuple[str, ...] = ("groups",)
    session_seconds: float = 10 * 3600
    """`sessionExpiry`."""
    takes_absolute_redirects: bool = False
    """Up to 3.6 the page to come back to is an absolute address of its own, or it is lost."""


@dataclass(frozen=True)
class Seen:
    """One request that the gatekeeper was asked about."""

    method: str
    target: str
    mode: str
    """`client`, `sso` or `server`; "" for one that is let in nowhere."""
    account: str
    """Whose token a client's is to Kubernetes, as namespace/name; "" for one that it refuses."""
    subject: str
    headers: Mapping[str, str] = field(repr=False)
    cookie_names: tuple[str, ...] = ()


class Refused(Exception):
    """Nobody is let in; with the status that the gateway makes of gRPC's code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class ArgoServer:
    """The stand-in, and what it saw."""

    def __init__(
        self,
        settings: ArgoServerSettings,
        *,
        now: Callable[[], float],
        who: Callable[[str], str] = lambda token: "",
    ) -> None:
        self.settings = settings
        self.seen: list[Seen] = []
        self.pages: list[str] = []
        """The targets of the pages that it gave, in order."""
        self.events: asyncio.Queue[str | None] = asyncio.Queue()
        """What open event streams are sent; None ends one."""
        self._now = now
        self._who = who
        self._key = OctKey.import_key(secrets.token_bytes(32))
        self._keys: ProviderKeys | None = None

    @contextlib.asynccontextmanager
    async def running(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Its address, while it answers."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with serving(app, host=host, port=port, leaving_cancels=True) as address:
            yield address

    def session(self, subject: str, **claims: Any) -> str:
        """The value of the cookie of somebody who has logged in, without a login."""
        return self._minted({"sub": subject, **claims})

    # argoserver.go: newHTTPServer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith("/api/"):
            return await self._api(request)
        if path.split("/")[1] in _ARTIFACTS:
            return self._artifact(request)
        if path.startswith("/oauth2/") and "sso" not in self.settings.modes:
            return web.Response(status=501)  # null_sso.go
        if path == "/oauth2/redirect":
            return await self._handle_redirect(request)
        if path == "/oauth2/callback":
            return await self._handle_callback(request)
        if path == "/metrics":
            return self._metrics(request)
        self.pages.append(request.raw_path)
        return web.Response(text="<title>Argo</title>", content_type="text/html")

    async def _api(self, request: web.Request) -> web.StreamResponse:
        streams = request.path.startswith(("/api/v1/workflow-events/", "/api/v1/stream/"))
        try:
            claims, account = self._authorized(request, _authorizations(request))
            if account == "" and not _needs_no_kubernetes(request.path):
                raise Refused(401, "Unauthorized")
        except Refused as error:
            return _grpc_error(error, stream=streams)
        if streams:
            return await self._stream(request)
        if request.path == "/api/v1/userinfo":
            return web.json_response(
                {
                    "subject": claims.get("sub", ""),
                    "issuer": claims.get("iss", ""),
                    "groups": claims.get("groups", []),
                }
            )
        return web.json_response({"path": request.path, "account": account})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Asked for once: what is open goes on past the end of whatever opened it."""
        is_event_source = request.headers.get("Accept") == "text/event-stream"
        kind = "text/event-stream" if is_event_source else "application/json"
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        while (event := await self.events.get()) is not None:
            line = json.dumps({"result": {"type": event}})
            await response.write((f"data: {line}\n\n" if is_event_source else f"{line}\n").encode())
        return response

    def _artifact(self, request: web.Request) -> web.Response:
        """artifact_server.go: gateKeeping knows the first cookie alone."""
        header = request.headers.get("Authorization", "")
        try:
            _, account = self._authorized(
                request, [header or (_authorization_cookies(request) or [""])[0]]
            )
        except Refused:
            return web.Response(status=401, text="Unauthorized\n")
        return web.Response(text=f"artifact for {account}")

    def _metrics(self, request: web.Request) -> web.Response:
        """It takes the header alone, even an empty one."""
        try:
            self._authorized(request, [request.headers.get("Authorization", "")])
        except Refused:
            return web.Response(status=403)
        return web.Response(text="# metrics\n")

    # gatekeeper.go and mode.go

    def _authorized(self, request: web.Request, authorizations: list[str]) -> tuple[Claims, str]:
        """getClients: the claims, and the account in whose name Kubernetes is asked."""
        found = next(((self._mode(a), a) for a in authorizations or [""] if self._mode(a)), None)
        mode, authorization = found or ("", "")
        claims: Claims = {}
        account = "argo/argo-server" if mode in ("server", "sso") else ""
        try:
            if not mode:
                raise Refused(401, _NOT_VALID)
            if mode == "sso":
                claims = self._authorize(authorization)
            elif mode == "client":
                token = _bearer_token(authorization)
                account = self._who(token)
                claims = _unverified(token)
            return claims, account
        finally:
            names = tuple(name for name, _ in _cookies(request))
            self.seen.append(
                Seen(
                    request.method,
                    request.raw_path,
                    mode,
                    account,
                    str(claims.get("sub", "")),
                    dict(request.headers),
                    names,
                )
            )

    def _mode(self, authorization: str) -> str:
        """GetMode."""
        modes = self.settings.modes
        if "sso" in modes and authorization.startswith(PREFIX):
            return "sso"
        if "client" in modes and authorization.startswith(("Bearer ", "Basic ")):
            return "client"
        return "server" if "server" in modes else ""

    # sso.go

    def _authorize(self, authorization: str) -> Claims:
        try:
            opened = jwe.decrypt_compact(authorization.removeprefix(PREFIX), self._key)
            claims: Claims = json.loads(opened.plaintext or b"")
        except (JoseError, ValueError) as error:
            raise Refused(401, "failed to parse encrypted token") from error
        if claims["iss"] != ISSUER or claims["exp"] + 60 < self._now():  # go-jose's own leeway
            raise Refused(401, "failed to validate claims")
        return claims

    def _minted(self, claims: Mapping[str, Any]) -> str:
        all_claims = {
            **claims,
            "iss": ISSUER,
            "exp": int(self._now() + self.settings.session_seconds),
        }
        header = {"alg": "dir", "enc": "A256GCM", "zip": "DEF"}
        return PREFIX + jwe.encrypt_compact(header, json.dumps(all_claims).encode(), self._key)

    async def _handle_redirect(self, request: web.Request) -> web.Response:
        final = request.query.get("redirect", "")
        if not self.settings.takes_absolute_redirects and not _is_valid(final):
            final = self.settings.base_href
        state = secrets.token_hex(5)
        query = {
            "client_id": self.settings.client_id,
            "redirect_uri": self._redirect_uri(request),
            "response_type": "code",
            "scope": " ".join([*self.settings.scopes, "openid"]),
            "state": state,
        }
        endpoint = (await self._discovery())["authorization_endpoint"]
        response = web.Response(status=302, headers={"Location": f"{endpoint}?{urlencode(query)}"})
        expires = formatdate(self._now() + 180, usegmt=True)
        secure = "; Secure" if self.settings.secure else ""
        line = f"{state}={_go_value(final)}; Expires={expires}; HttpOnly{secure}; SameSite=Lax"
        response.headers.add("Set-Cookie", line)
        return response

    async def _handle_callback(self, request: web.Request) -> web.Response:
        """`error` is not looked at: without a code the exchange fails, which is a blank 401."""
        state = request.query.get("state", "")
        sent = dict(_cookies(request))
        response = web.Response()
        if _COOKIE_NAME.fullmatch(state):
            response.headers.add("Set-Cookie", f"{state}=")
        if state not in sent:
            response.set_status(400)
            return response
        claims = await self._redeemed(request)
        if claims is None:
            response.set_status(401)
            return response
        kept = {
            name: claims[name] for name in ("sub", "groups", "email", "name") if claims.get(name)
        }
        expires = formatdate(self._now() + self.settings.session_seconds, usegmt=True)
        secure = "; Secure" if self.settings.secure else ""
        response.headers.add(
            "Set-Cookie",
            f"{COOKIE}={_go_value(self._minted(kept))}; Path={self.settings.base_href}; "
            f"Expires={expires}{secure}; SameSite=Strict",
        )
        response.set_status(302)
        response.headers["Location"] = self._final(request, sent[state])
        return response

    def _final(self, request: web.Request, wanted: str) -> str:
        if self.settings.takes_absolute_redirects:
            proto = "https" if self.settings.secure else "http"
            prefix = f"{proto}://{request.host}{self.settings.base_href}"
            return wanted if wanted.startswith(prefix) else self.settings.base_href
        return wanted if _is_valid(wanted) else self.settings.base_href

    async def _redeemed(self, request: web.Request) -> Claims | None:
        """The claims of the ID token for a code; None where there is no such thing."""
        settings = self.settings
        form = {
            "grant_type": "authorization_code",
            "code": request.query.get("code", ""),
            "redirect_uri": self._redirect_uri(request),
        }
        endpoint = (await self._discovery())["token_endpoint"]
        basic = encode_basic_auth(settings.client_id, settings.client_secret)
        sent = {"Authorization": basic}
        try:
            async with _http() as http, http.post(endpoint, data=form, headers=sent) as answer:
                body = await answer.json(content_type=None) if answer.status == 200 else {}
            self._keys = self._keys or ProviderKeys(settings.issuer)
            claims = await self._keys.claims(body.get("id_token", ""))
        except (ClientError, TimeoutError, ValueError, jwt.PyJWTError):
            return None
        good = claims.get("aud") == settings.client_id and claims.get("exp", 0) > self._now()
        return claims if good and claims.get("iss") == settings.issuer else None

    def _redirect_uri(self, request: web.Request) -> str:
        """GetRedirectURL; ProxyHeaders believes X-Forwarded-Proto and X-Forwarded-Host."""
        if self.settings.redirect_url:
            return self.settings.redirect_url
        usual = "https" if self.settings.secure else "http"
        proto = request.headers.get("X-Forwarded-Proto", usual)
        host = request.headers.get("X-Forwarded-Host", request.host)
        return f"{proto}://{host}{self.settings.base_href}oauth2/callback"

    async def _discovery(self) -> Mapping[str, str]:
        url = f"{self.settings.issuer}/.well-known/openid-configuration"
        async with _http() as http, http.get(url, raise_for_status=True) as answer:
            found: Mapping[str, str] = await answer.json()
            return found


def _authorizations(request: web.Request) -> list[str]:
    """getAuthHeaders: the first header, though it be empty; else every cookie of that name."""
    headers = request.headers.getall("Authorization", [])
    return headers[:1] or _authorization_cookies(request)


def _authorization_cookies(request: web.Request) -> list[str]:
    return [value for name, value in _cookies(request) if name == COOKIE]


def _cookies(request: web.Request) -> list[tuple[str, str]]:
    """As Go's net/http splits them, quotes taken off."""
    found = []
    for line in request.headers.getall("Cookie", []):
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            if _COOKIE_NAME.fullmatch(name):
                found.append((name, value))
    return found


def _go_value(value: str) -> str:
    """sanitizeCookieValue: what has a space or a comma is quoted, some bytes are dropped."""
    kept = "".join(c for c in value if " " <= c < "\x7f" and c not in '";\\')
    return f'"{kept}"' if " " in kept or "," in kept else kept


def _is_valid(redirect: str) -> bool:
    """isValidFinalRedirectURL."""
    is_path = redirect.startswith("/") and not redirect.startswith("//")
    return is_path and not _INVALID_REDIRECT.search(redirect)


def _bearer_token(authorization: str) -> str:
    """kubeconfig.GetRestConfig; a user name and a password are nobody in this cluster."""
    return "" if authorization.startswith("Basic") else authorization.removeprefix("Bearer").strip()


def _unverified(token: str) -> Claims:
    """ClaimSetWithBearerToken: nobody checks here what Kubernetes will."""
    with contextlib.suppress(jwt.PyJWTError):
        return dict(jwt.decode(token, options={"verify_signature": False}))
    return {}


def _needs_no_kubernetes(path: str) -> bool:
    return path in ("/api/v1/userinfo", "/api/v1/info", "/api/v1/version")


def _grpc_error(error: Refused, *, stream: bool) -> web.Response:
    """grpc-gateway's DefaultHTTPProtoErrorHandler, and what it makes of a stream that never was."""
    code, words = _GRPC[error.status]
    body: dict[str, Any] = {"code": code, "message": error.message}
    if stream:
        told = {"grpc_code": code, "http_code": error.status, "http_status": words}
        body = {"error": {**told, "message": error.message}}
    return web.json_response(body, status=error.status)


def _http() -> ClientSession:
    return ClientSession(cookie_jar=DummyCookieJar(), timeout=ClientTimeout(total=10))
