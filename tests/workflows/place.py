"""Provider, a cluster, argo-server, and a sidecar in front of it, all on loopback."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.app import running
from sidecar.config.settings import Config
from sidecar.demo.grants import OAuthError, User
from sidecar.demo.oauth import ADA, ProviderSettings, authorization_request
from sidecar.demo.provider import DemoProvider
from tests.fakes.argo_server import ArgoServer, ArgoServerSettings
from tests.fakes.clock import FakeClock
from tests.fakes.service_accounts import AccountCluster
from tests.workflows.person import Person, person_http
from tests.world import Replica, free_port


class RememberingProvider(DemoProvider):
    """A provider with sessions of its own: who is `signed_in` there sees no form again."""

    signed_in = ""
    answers_none_with = "login_required"
    ignores_prompt = False
    """As a Dex without sessions does."""

    asked: list[str]
    """The `prompt` of each authorization request, in order."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.asked = []

    async def _authorize(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        prompt = query.pop("prompt", "")
        if request.method == "GET":
            self.asked.append(prompt)
        user = self._user(self.signed_in, self.signed_in) if self.signed_in else None
        if request.method == "GET" and user is not None:
            code = self._grants.new_code(user, authorization_request(query, pkce=False))
            return self._back(query["redirect_uri"], {"code": code}, query.get("state", ""))
        if prompt == "none" and not self.ignores_prompt:
            told = {"error": self.answers_none_with}
            return self._back(query["redirect_uri"], told, query.get("state", ""))
        return await super()._authorize(request.clone(rel_url=request.rel_url.with_query(query)))

    def _user(self, name: str, password: str) -> User | None:
        user = super()._user(name, password)
        self.signed_in = user.name if user else self.signed_in
        return user

    def refuse_codes(self) -> None:
        """Take no code any more, as with a client's secret that has changed."""

        def refused(*_: Any, **__: Any) -> Any:
            raise OAuthError("invalid_grant", "No.")

        self._grants.redeem = refused  # type: ignore[method-assign]


@dataclass
class Place:
    """Everything on loopback; browsers reach it at `base`."""

    clock: FakeClock
    provider: RememberingProvider
    argo: ArgoServer
    environment: dict[str, str]
    owned: AsyncExitStack
    base: str
    account: Path = Path("/nowhere")
    """Where the pod's service account is."""
    sidecars: list[Replica] = field(default_factory=list)

    async def start_sidecar(self, **changes: str) -> Replica:
        own = await self.owned.enter_async_context(AsyncExitStack())
        config = Config.load({**self.environment, **changes})
        served = await own.enter_async_context(
            running(
                config,
                load=lambda: Config.load({**self.environment, **changes}),
                clock=self.clock,
                confirms=False,
                account=self.account,
            )
        )
        self.sidecars.append(Replica(served, own))
        return self.sidecars[-1]

    async def person(self, **more: Any) -> Person:
        http = await self.owned.enter_async_context(person_http())
        return Person(self.base, http, self.clock.now, **more)

    async def logged_in(self, **more: Any) -> Person:
        """Somebody who has filled in the provider's form."""
        person = await self.person(**more)
        visit = await person.sign_in(await person.navigate("/oauth2/redirect?redirect=/workflows"))
        assert (visit.status, visit.url.path) == (200, "/workflows"), visit
        assert person.has_login()
        return person

    def renewals(self, result: str) -> float:
        return self.sidecars[0].metric("sso_renewals_total", result=result)


@asynccontextmanager
async def workflows_place(
    clock: FakeClock,
    signing_key: rsa.RSAPrivateKey,
    *,
    cluster: AccountCluster | None = None,
    argo: dict[str, Any] | None = None,
    base_path: str = "",
    provider_name: str = "",
    **changes: str,
) -> AsyncIterator[Place]:
    """One sidecar in front of one argo-server; with a name, the provider is another site's."""
    port, provider_port = free_port(), free_port()
    base = f"http://127.0.0.1:{port}"
    redirect = f"{base}{base_path}/oauth2/callback"
    provider = RememberingProvider(
        ProviderSettings(
            client_id="argo-workflows",
            client_secret="workflows-secret",
            redirect_uris=(redirect,),
            requires_pkce=False,
            users=(ADA,),
            issuer=f"http://{provider_name}:{provider_port}" if provider_name else "",
        ),
        now=clock.now,
        key=signing_key,
    )
    async with AsyncExitStack() as owned:
        issuer = await owned.enter_async_context(provider.running(port=provider_port))
        settings = ArgoServerSettings(issuer=issuer, base_href=f"{base_path}/", **(argo or {}))
        upstream = ArgoServer(settings, now=clock.now, who=cluster.who if cluster else lambda _: "")
        address = await owned.enter_async_context(upstream.running())
        environment = {
            "SIDECAR_UPSTREAM_KIND": "argo-workflows",
            "SIDECAR_UPSTREAM": address,
            "SIDECAR_PUBLIC_URL": f"{base}{base_path}",
            "SIDECAR_LISTEN": f"127.0.0.1:{port}",
            "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
            **changes,
        }
        made = Place(clock, provider, upstream, environment, owned, base)
        made.account = cluster.account if cluster else made.account
        await made.start_sidecar()
        yield made
