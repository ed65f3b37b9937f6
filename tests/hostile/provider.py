"""An OpenID provider that does what a script says, and logs what it committed."""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from email.utils import formatdate

from aiohttp import web

from sidecar.demo.grants import Authorization, OAuthError, User
from sidecar.demo.misbehaviour import Change
from sidecar.demo.oauth import discovery_document, same
from sidecar.demo.provider import NO_STORE, DemoProvider
from tests.hostile.answers import answer as answer_named
from tests.hostile.clients import ClientCheck
from tests.hostile.grants import Caller, HostileGrants, HostileSettings, caller
from tests.hostile.log import CommitLog
from tests.hostile.manners import claims_of, granted
from tests.hostile.rules import HONEST, Endpoint, Occasion, Script, Treatment

HOST = "127.0.0.1"
ENDPOINTS: dict[str, Endpoint] = {
    "/.well-known/openid-configuration": "discovery",
    "/jwks": "jwks",
    "/authorize": "authorize",
    "/revoke": "revocation",
    "/userinfo": "userinfo",
}


def secret_of(client_secret: str, replica: str) -> str:
    """One of the client's secrets, by the name of the replica that has it."""
    return f"{client_secret}-of-{replica}" if replica else client_secret


class HostileProvider(DemoProvider):
    """The demo's provider with a script, a log, any number of users, and a secret per replica.

    Whoever has their own name as password can sign in. The client has a secret for each of
    `replicas` besides its own, as at a rotation of secrets: the log says which one came, and so
    which sidecar sent a request.
    """

    def __init__(
        self,
        settings: HostileSettings,
        *,
        replicas: tuple[str, ...] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.skew_seconds = 0.0
        super().__init__(settings, now=lambda: now() + self.skew_seconds)
        self.rules = Script()
        self.commits = CommitLog()
        self.requests: Counter[str] = Counter()
        # Its clock may be wrong; how long a reuse window lasts is not a matter of the date.
        self.grants = HostileGrants(settings, self.commits, now=now)
        self._grants = self.grants
        self._replicas = replicas
        self._hostile = settings
        self._clients = ClientCheck(settings)
        self._answering: set[asyncio.BaseTransport] = set()
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._port = 0

    @contextlib.asynccontextmanager
    async def running(self, *, host: str = HOST, port: int = 0) -> AsyncIterator[str]:
        """The issuer; the port stays its own while it is away."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        # A provider commits what it was asked for, whether or not the client still listens.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        with contextlib.closing(_bound(port)) as reserved:
            self._port = reserved.getsockname()[1]
            self._address = f"http://{HOST}:{self._port}"
            try:
                await self.come_back()
                yield self.issuer
            finally:
                await self._runner.cleanup()

    async def go_away(self, *, abort: bool) -> None:
        """Refuse connections; requests that are being answered are cut off with `abort`."""
        if self._site is None or self._runner is None or self._runner.server is None:
            return
        site, self._site = self._site, None
        await site.stop()
        for connection in self._runner.server.connections:
            transport = connection.transport
            if transport is not None and (abort or transport not in self._answering):
                transport.abort()

    async def come_back(self) -> None:
        """Take connections again, on the same port."""
        if self._site is None and self._runner is not None:
            self._site = web.SockSite(self._runner, _bound(self._port), backlog=1024)
            await self._site.start()

    async def restart(self) -> None:
        """Come back as a Dex with storage in memory does: other keys, and nothing from before."""
        await self.go_away(abort=True)
        self.rotate_keys(keep_old=False)
        self.grants.forget()
        await self.come_back()

    @property
    def is_away(self) -> bool:
        """Whether it refuses connections."""
        return self._site is None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(self.settings.path)
        self.requests[path] += 1
        transport = request.transport
        if transport is None:
            return web.Response()
        self._answering.add(transport)
        try:
            caller.set(await self._caller(request, transport))
            occasion = await self._occasion(request, path)
            treatment = self.rules.treatment(occasion) if occasion else HONEST
            caller.get().rotation = treatment.rotation
            response = await self._treated(request, treatment)
            if not response.prepared:
                self._date(response)
            if self.is_away:
                response.force_close()
            return response
        finally:
            self._answering.discard(transport)

    async def _treated(self, request: web.Request, treatment: Treatment) -> web.StreamResponse:
        """The provider's answer, or what the script puts in its place."""
        await asyncio.sleep(treatment.delay_before)
        if treatment.drop == "before":
            self._scripted("dropped before the commit")
            return _dropped(request)
        if treatment.answer:
            self._scripted(str(treatment.answer))
            return self._verbatim(treatment)
        response = await self._committed(request, treatment)
        await asyncio.sleep(treatment.delay_after)
        if treatment.drop or request.transport is None or request.transport.is_closing():
            self._answer_is_lost(treatment.drop or "the client has left")
        if treatment.drop == "after":
            return _dropped(request)
        if treatment.drop == "half":
            self._date(response)
            return await _half(request, response)
        return response

    async def _committed(self, request: web.Request, treatment: Treatment) -> web.StreamResponse:
        """What the demo's provider does and answers, changed as the script says."""
        if request.path != f"{self.settings.path}/token":
            return await super()._answer(request)
        refreshed = (await _form(request)).get("grant_type") == "refresh_token"
        members = dict(treatment.members)
        if refreshed and not (self._hostile.rotates or self._hostile.answers_same_token):
            members.setdefault("refresh_token", None)
        claims = {**claims_of(self._hostile, refreshed=refreshed), **treatment.claims}
        change = Change(claims=claims, members=members, forged=treatment.forged)
        return await self._token_answer(request, change)

    def _verbatim(self, treatment: Treatment) -> web.Response:
        now = self._now()
        found = answer_named(treatment.answer, now=now)
        body = found.body.encode() if isinstance(found.body, str) else found.body
        date = {"Date": formatdate(now, usegmt=True)}
        headers = {**date, "Content-Type": found.content_type, **found.headers}
        return web.Response(status=found.status, body=body, headers=headers)

    def _date(self, response: web.StreamResponse) -> None:
        response.headers.setdefault("Date", formatdate(self._now(), usegmt=True))

    def _scripted(self, detail: str) -> None:
        by = caller.get()
        whom = {"user": by.user, "grant": by.grant}
        self.commits.add(
            "scripted", **whom, replica=by.replica, peer_port=by.peer_port, detail=detail
        )

    def _answer_is_lost(self, why: str) -> None:
        """Note that what this request committed will not be heard of."""
        for entry in caller.get().entries:
            if entry.kind in ("login", "refresh"):
                lost = replace(entry, kind="lost_answer", of=entry.sequence, detail=why)
                what = vars(lost)
                self.commits.add(
                    **{k: v for k, v in what.items() if k not in ("sequence", "monotonic", "wall")}
                )

    async def _caller(self, request: web.Request, transport: asyncio.BaseTransport) -> Caller:
        """Who sent the request: by the client's secret, and the connection."""
        peer = transport.get_extra_info("peername")
        by = Caller(peer_port=peer[1] if peer else 0)
        if request.method == "POST":
            form = await _form(request)
            with contextlib.suppress(OAuthError):
                header = request.headers.get("Authorization")
                _, secret = self._clients.secret(form, header)
                by.method = self._clients.method(form, header)
                by.replica = self._replica(secret) or ""
        return by

    async def _occasion(self, request: web.Request, path: str) -> Occasion | None:
        """The request as rules see it."""
        by, form = caller.get(), await _form(request)
        on = ENDPOINTS.get(path)
        if path == "/token":
            on = "code" if form.get("grant_type") == "authorization_code" else "refresh"
        if on is None:
            return None
        if on == "code":
            by.user = self.grants.owner_of_code(form.get("code", ""))
        elif on == "authorize":
            by.user = form.get("user", "")
        else:
            token = form.get("refresh_token") or form.get("token", "")
            by.user, by.grant = self.grants.owner_of(token)
        return Occasion(on=on, user=by.user, grant=by.grant, replica=by.replica)

    def _replica(self, secret: str) -> str | None:
        """The replica whose secret this is, "" for the client's own, None for nobody's."""
        own = self.settings.client_secret
        names = ("", *self._replicas)
        return next((name for name in names if same(secret, secret_of(own, name))), None)

    def _is_secret(self, secret: str) -> bool:
        return self._replica(secret) is not None

    async def _authenticated_form(self, request: web.Request) -> dict[str, str]:
        """The demo's look at the client, or a stricter one where methods are named."""
        taken = self._hostile.client_auth
        if not taken:
            return await super()._authenticated_form(request)
        form, header = await _form(request), request.headers.get("Authorization")
        method = self._clients.method(form, header)
        client_id = self.settings.client_id
        wrong = OAuthError("invalid_client", f"The client may not use {method}.", status=401)
        if method == "assertion" and {"private-key-jwt", "workload-identity"} & set(taken):
            endpoint = f"{self._address}{request.path}"
            places = {"issuer": self.issuer, "endpoint": endpoint}
            self._clients.check_assertion(form, client_id, places, self._now())
        elif method == "none":
            if "none" not in taken or form.get("client_id") != client_id:
                raise wrong
        elif not any(each.startswith(method) for each in taken):
            raise wrong
        elif not self._is_client(self._clients.secret(form, header)):
            raise OAuthError("invalid_client", "Client or secret is wrong.", status=401)
        return form

    def _is_client(self, pair: tuple[str, str]) -> bool:
        return same(pair[0], self.settings.client_id) and self._is_secret(pair[1])

    async def _login(self, request: web.Request, asked: Authorization) -> web.Response:
        """The demo's form, with the scopes that this provider grants."""
        scope = granted(asked, request.query, self._hostile)
        asked = replace(asked, scope=scope)
        known = self._user(self.grants.knows, self.grants.knows)
        if request.method == "GET" and known is not None:
            code = self.grants.new_code(known, asked)
            return self._back(asked.redirect_uri, {"code": code}, asked.state)
        return await super()._login(request, asked)

    @property
    def issuer(self) -> str:
        """The issuer, with a slash at its end where this provider has one."""
        return f"{super().issuer}/" if self._hostile.issuer_slash else super().issuer

    async def _discovery(self, request: web.Request) -> web.Response:
        """The demo's metadata, with what this provider says otherwise."""
        base, lists = self.issuer.rstrip("/"), self._hostile.lists_scopes
        document = discovery_document(base, revocation_endpoint=self.settings.revocation_endpoint)
        changes = {"issuer": self.issuer} | ({"scopes_supported": lists} if lists else {})
        return web.json_response({**document, **changes})

    def _user(self, name: str, password: str) -> User | None:
        if not name or not same(name, password):
            return None
        return User(
            name=name, password=name, email=f"{name}@example.org", groups=self._hostile.groups
        )

    def _note(self, kind: str, user: str, detail: str) -> None:
        """The demo's own log grows without end; ours says more."""

    def _refusal(self, request: web.Request, error: OAuthError) -> web.Response:
        by = caller.get()
        if not by.entries:
            self.commits.add(
                "refused", replica=by.replica, peer_port=by.peer_port, detail=error.error
            )
        if error.description:
            return super()._refusal(request, error)
        return web.json_response({"error": error.error}, status=error.status, headers=NO_STORE)


def _bound(port: int) -> socket.socket:
    """A socket on a port that nobody else can take, and that this process can bind once more."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((HOST, port))
    return bound


async def _form(request: web.Request) -> dict[str, str]:
    posted = await request.post() if request.method == "POST" else {}
    return {name: value for name, value in posted.items() if isinstance(value, str)}


def _dropped(request: web.Request) -> web.Response:
    """No answer: the connection is reset before this one could be written."""
    if request.transport:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """The head and half of the body, and then the end of the connection."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return response
    body = response.body if isinstance(response, web.Response) else b""
    whole = body if isinstance(body, bytes) else b""
    cut = web.StreamResponse(status=response.status, headers=response.headers)
    cut.content_length = len(whole)
    await cut.prepare(request)
    await cut.write(whole[: len(whole) // 2])
    transport.close()
    return cut
