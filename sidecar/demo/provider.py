"""A small OpenID provider that can be told to behave badly."""

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.grants import Authorization, Grants, Issued, Kind, OAuthError, User
from sidecar.demo.jwks import SigningKeys
from sidecar.demo.misbehaviour import HONEST, Answer, Behaviour, Change, Drop, Gate
from sidecar.demo.oauth import (
    ProviderSettings,
    authorization_request,
    client_credentials,
    discovery_document,
    login_page,
    same,
    token_response,
    user_claims,
)
from sidecar.demo.server import serving

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Event:
    """Something that happened at the provider; `detail` holds no secret."""

    at: float
    kind: Kind
    user: str
    detail: str


class DemoProvider:
    """An OpenID provider with a login form, rotating refresh tokens and a log.

    `script` holds what the next requests at the token endpoint meet, one entry each.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        now: Callable[[], float],
        key: rsa.RSAPrivateKey | None = None,
    ) -> None:
        self.settings = settings
        self.script: deque[Behaviour] = deque()
        self.log: list[Event] = []
        self.available = True
        self.jwks_requests = self.discovery_requests = self.token_requests = 0
        self._now, self._address = now, ""
        self._keys = SigningKeys(key)
        self._grants = Grants(settings, now=now, note=self._note)
        self._gates: list[Gate] = []

    @contextlib.asynccontextmanager
    async def running(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """The issuer, while the provider answers; it remembers its grants between two runs."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        app.on_shutdown.append(self._release_all)
        # A provider commits what it was asked for, whether or not the client still listens.
        async with serving(app, host=host, port=port, leaving_cancels=False) as address:
            self._address = address
            yield self.issuer

    @property
    def issuer(self) -> str:
        """The issuer identifier; without a name of its own, it is known once the server runs."""
        return self.settings.issuer or self._address + self.settings.path

    @property
    def address(self) -> str:
        """Where it listens, whatever it calls itself."""
        return self._address

    @property
    def logins(self) -> int:
        """How many times somebody signed in with the form."""
        return self._count("login")

    @property
    def refreshes(self) -> int:
        """How many refresh grants succeeded."""
        return self._count("refresh")

    @property
    def reuses(self) -> int:
        """How many times a code or refresh token came that was spent before."""
        return self._count("reuse")

    def hold(self, *, after_commit: bool = False) -> Gate:
        """A gate, at the end of the script, where a request at the token endpoint will wait."""
        gate = Gate(after_commit=after_commit)
        self._gates.append(gate)
        self.script.append(gate)
        return gate

    def rotate_keys(self, *, keep_old: bool = True, key: rsa.RSAPrivateKey | None = None) -> None:
        """Sign with a new key; the old one stays in the published set if `keep_old`."""
        self._keys.rotate(keep_old=keep_old, key=key)

    def end_grant(self, user: str) -> None:
        """End all grants of `user`: the next refresh gets `invalid_grant`."""
        self._grants.end(user)

    def end_all(self) -> None:
        """End every grant."""
        self._grants.end()

    def _count(self, kind: Kind) -> int:
        return sum(event.kind == kind for event in self.log)

    def _note(self, kind: Kind, user: str, detail: str) -> None:
        self.log.append(Event(self._now(), kind, user, detail))

    async def _release_all(self, _: web.Application) -> None:
        for gate in self._gates:
            gate.release()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self.available:
            return web.Response(status=503, text="The provider is down.")
        routes: dict[tuple[str, str], Handler] = {
            ("GET", "/.well-known/openid-configuration"): self._discovery,
            ("GET", "/jwks"): self._jwks,
            ("GET", "/authorize"): self._authorize,
            ("POST", "/authorize"): self._authorize,
            ("POST", "/token"): self._token,
            ("POST", "/revoke"): self._revoke,
            ("GET", "/userinfo"): self._userinfo,
            ("GET", "/logout"): self._logout,
        }
        path = self.settings.path
        if not request.path.startswith(path):
            return web.Response(status=404, text="Not found")
        handler = routes.get((request.method, request.path.removeprefix(path)))
        return await handler(request) if handler else web.Response(status=404, text="Not found")

    async def _discovery(self, _: web.Request) -> web.Response:
        self.discovery_requests += 1
        document = discovery_document(
            self.issuer,
            revocation_endpoint=self.settings.revocation_endpoint,
            end_session_endpoint=bool(self.settings.post_logout_redirect_uris),
        )
        return web.json_response(document)

    async def _jwks(self, _: web.Request) -> web.Response:
        self.jwks_requests += 1
        return web.json_response(self._keys.published())

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("client_id") != self.settings.client_id:
            return web.Response(status=400, text="client_id is unknown.")
        if query.get("redirect_uri") not in self.settings.redirect_uris:
            return web.Response(status=400, text="redirect_uri is not registered.")
        try:
            asked = authorization_request(query, pkce=self.settings.requires_pkce)
            return await self._login(request, asked)
        except OAuthError as error:
            self._note("refused", "", error.error)
            return self._back(
                query["redirect_uri"],
                {"error": error.error, "error_description": error.description},
                query.get("state", ""),
            )

    async def _login(self, request: web.Request, asked: Authorization) -> web.Response:
        if request.method == "GET":
            return _page(login_page(self.settings))
        form = await request.post()
        if form.get("action") == "deny":
            raise OAuthError("access_denied", "The user said no.")
        user = self._user(str(form.get("user", "")), str(form.get("password", "")))
        if user is None:
            name, wrong = str(form.get("user", "")), "User or password is wrong."
            return _page(login_page(self.settings, user=name, message=wrong))
        code = self._grants.new_code(user, asked)
        return self._back(asked.redirect_uri, {"code": code}, asked.state)

    def _user(self, name: str, password: str) -> User | None:
        for user in self.settings.users:
            if user.name == name and same(user.password, password):
                return user
        return None

    def _back(self, redirect_uri: str, answer: Mapping[str, str], state: str) -> web.Response:
        """The redirection to the client, with the issuer's name (RFC 9207)."""
        parameters = {**answer, "iss": self.issuer} | ({"state": state} if state else {})
        separator = "&" if "?" in redirect_uri else "?"
        location = f"{redirect_uri}{separator}{urlencode(parameters)}"
        return web.Response(status=303, headers={"Location": location, **NO_STORE})

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.token_requests += 1
        behaviour = self.script.popleft() if self.script else HONEST
        if isinstance(behaviour, Gate) and not behaviour.after_commit:
            await behaviour.passed()
        if isinstance(behaviour, Answer):
            return _verbatim(behaviour)
        if isinstance(behaviour, Drop) and not behaviour.after_commit:
            return _dropped(request)
        response = await self._token_answer(request, behaviour)
        if isinstance(behaviour, Gate) and behaviour.after_commit:
            await behaviour.passed()
        return _dropped(request) if isinstance(behaviour, Drop) else response

    async def _token_answer(self, request: web.Request, behaviour: Behaviour) -> web.Response:
        try:
            form = await self._authenticated_form(request)
            issued = self._grant(form)
        except OAuthError as error:
            return self._refusal(request, error)
        change = behaviour if isinstance(behaviour, Change) else HONEST
        answer = token_response(
            issued,
            self.settings,
            issuer=self.issuer,
            keys=self._keys,
            change=change,
            now=self._now(),
        )
        return web.json_response(answer, headers=NO_STORE)

    def _grant(self, form: Mapping[str, str]) -> Issued:
        match form.get("grant_type"):
            case "authorization_code":
                return self._grants.redeem(
                    form.get("code", ""),
                    redirect_uri=form.get("redirect_uri", ""),
                    code_verifier=form.get("code_verifier", ""),
                )
            case "refresh_token":
                return self._grants.refresh(form.get("refresh_token", ""))
            case None:
                raise OAuthError("invalid_request", "grant_type is missing.")
            case _:
                raise OAuthError("unsupported_grant_type", "Only code and refresh token.")

    async def _revoke(self, request: web.Request) -> web.Response:
        try:
            form = await self._authenticated_form(request)
            if not form.get("token"):
                raise OAuthError("invalid_request", "token is missing.")
        except OAuthError as error:
            return self._refusal(request, error)
        self._grants.revoke(form["token"])
        return web.Response(headers=NO_STORE)

    async def _userinfo(self, request: web.Request) -> web.Response:
        scheme, _, access_token = request.headers.get("Authorization", "").partition(" ")
        grant = self._grants.of_access_token(access_token) if scheme == "Bearer" else None
        if grant is None:
            challenge = 'Bearer error="invalid_token"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return web.json_response(user_claims(grant.user))

    async def _logout(self, request: web.Request) -> web.Response:
        """RP-Initiated Logout 1.0 section 2; there is no session that it could end here."""
        query = request.query
        return_to = query.get("post_logout_redirect_uri", "")
        user = self._keys.subject_of(query.get("id_token_hint", ""))
        if return_to not in self.settings.post_logout_redirect_uris or user is None:
            self._note("refused", "", "logout")
            return web.Response(status=400, text="This logout is not understood.")
        self._note("logout", user, query.get("client_id", ""))
        state = {"state": query["state"]} if "state" in query else {}
        location = f"{return_to}?{urlencode(state)}" if state else return_to
        return web.Response(status=303, headers={"Location": location, **NO_STORE})

    async def _authenticated_form(self, request: web.Request) -> dict[str, str]:
        """The form of a request by our client (RFC 6749 section 2.3.1).

        Raises:
            OAuthError: `invalid_client`, or `invalid_request` for a broken form.
        """
        posted = await request.post()
        form = {name: value for name, value in posted.items() if isinstance(value, str)}
        if len(form) != len(posted):
            raise OAuthError("invalid_request", "A parameter came twice, or as a file.")
        client_id, secret = client_credentials(form, request.headers.get("Authorization"))
        known = same(client_id, self.settings.client_id)
        if not (self._is_secret(secret) and known):
            raise OAuthError("invalid_client", "Client or secret is wrong.", status=401)
        return form

    def _is_secret(self, secret: str) -> bool:
        """Whether `secret` is the client's."""
        return same(secret, self.settings.client_secret)

    def _refusal(self, request: web.Request, error: OAuthError) -> web.Response:
        self._note("refused", "", error.error)
        headers = dict(NO_STORE)
        if error.status == 401 and "Authorization" in request.headers:
            headers["WWW-Authenticate"] = 'Basic realm="token"'
        body = {"error": error.error, "error_description": error.description}
        return web.json_response(body, status=error.status, headers=headers)


def _page(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", headers=NO_STORE)


def _verbatim(answer: Answer) -> web.Response:
    body = answer.body.encode() if isinstance(answer.body, str) else answer.body
    return web.Response(
        status=answer.status,
        body=body,
        headers={"Content-Type": answer.content_type, **answer.headers},
    )


def _dropped(request: web.Request) -> web.Response:
    """No answer: the connection is reset before this one could be written."""
    if request.transport:
        request.transport.abort()
    return web.Response()
