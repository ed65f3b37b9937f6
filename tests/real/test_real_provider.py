import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from tests.real.oidc_provider import RealProvider, log_in, log_out, real_provider

pytestmark = pytest.mark.real

VERIFIER = "a-code-verifier-of-at-least-43-characters-for-pkce"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=")


class Client:
    """The least that an OpenID client does: it sends a browser off and turns codes into tokens."""

    provider: RealProvider

    def __init__(self, http: aiohttp.ClientSession) -> None:
        application = web.Application()
        application.router.add_get("/login", self._login)
        application.router.add_get("/callback", self._page)
        application.router.add_get("/logout", self._logout)
        application.router.add_get("/logged-out", self._page)
        application.router.add_post("/back-channel", self._back_channel)
        self.http = http
        self.id_token = ""
        self.logout_tokens: list[str] = []
        self.server = TestServer(application)

    def url(self, path: str) -> str:
        return str(self.server.make_url(path))

    async def endpoint(self, name: str) -> str:
        metadata = f"{self.provider.issuer}/.well-known/openid-configuration"
        async with self.http.get(metadata) as answer:
            return str((await answer.json())[name])

    async def log_in(self, user: str = "alice") -> dict[str, Any]:
        page = await log_in(self.http, self.url("/login"), user=user)
        answer = await self.ask(
            grant_type="authorization_code",
            code=page.url.query["code"],
            code_verifier=VERIFIER,
            redirect_uri=self.url("/callback"),
        )
        assert "error" not in answer
        self.id_token = answer["id_token"]
        return answer

    async def refresh(self, refresh_token: str) -> dict[str, Any]:
        return await self.ask(grant_type="refresh_token", refresh_token=refresh_token)

    async def ask(self, **form: str) -> dict[str, Any]:
        login = aiohttp.encode_basic_auth(self.provider.client_id, self.provider.client_secret)
        async with self.http.post(
            await self.endpoint("token_endpoint"), data=form, headers={"Authorization": login}
        ) as answer:
            body: dict[str, Any] = await answer.json()
            return body

    async def _login(self, request: web.Request) -> web.Response:
        endpoint = URL(await self.endpoint("authorization_endpoint"))
        raise web.HTTPFound(
            endpoint.with_query(
                client_id=self.provider.client_id,
                redirect_uri=self.url("/callback"),
                response_type="code",
                scope="openid profile email groups offline_access",
                prompt="consent",
                state="a-state",
                code_challenge=CHALLENGE.decode(),
                code_challenge_method="S256",
            )
        )

    async def _logout(self, request: web.Request) -> web.Response:
        endpoint = URL(await self.endpoint("end_session_endpoint"))
        raise web.HTTPFound(
            endpoint.with_query(
                id_token_hint=self.id_token, post_logout_redirect_uri=self.url("/logged-out")
            )
        )

    async def _back_channel(self, request: web.Request) -> web.Response:
        self.logout_tokens.append(str((await request.post())["logout_token"]))
        return web.Response()

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text="back at the client")


@pytest.fixture(params=["", "/realms/argocd"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        client = Client(http)
        async with (
            client.server,
            real_provider(
                [client.url("/callback")],
                post_logout_redirect_uris=[client.url("/logged-out")],
                backchannel_logout_uri=client.url("/back-channel"),
                issuer_path=request.param,
            ) as client.provider,
        ):
            yield client


async def test_a_login_gives_tokens_with_the_groups_in_the_id_token(client: Client) -> None:
    tokens = await client.log_in("bob")

    claims = jwt.decode(
        tokens["id_token"],
        jwt.PyJWK((await _keys(client))[0]).key,
        algorithms=["RS256"],
        audience="argo-cd",
        issuer=client.provider.issuer,
    )
    assert (claims["sub"], claims["groups"]) == ("bob", ["admins"])
    assert claims["exp"] - claims["iat"] == 300
    await client.provider.settle()
    assert len(client.provider.seen("login", subject="bob")) == 1
    assert client.provider.seen("grant", grant_type="authorization_code", subject="bob", ok=True)


async def test_a_refresh_replaces_the_refresh_token(client: Client) -> None:
    old = await client.log_in()

    new = await client.refresh(old["refresh_token"])

    await client.provider.settle()
    assert new["refresh_token"] != old["refresh_token"]
    assert [call["ok"] for call in client.provider.refresh_calls] == [True]


async def test_a_spent_refresh_token_takes_the_whole_grant_with_it(client: Client) -> None:
    old = await client.log_in()
    new = await client.refresh(old["refresh_token"])

    answers = [await client.refresh(each["refresh_token"]) for each in (old, new)]

    await client.provider.settle()
    assert [answer["error"] for answer in answers] == ["invalid_grant"] * 2
    assert [call["ok"] for call in client.provider.refresh_calls] == [True, False, False]
    assert client.provider.seen("grant_revoked")


async def test_a_slow_answer_tells_what_has_already_happened(client: Client) -> None:
    tokens = await client.log_in()
    await client.provider.slow_down(60_000)

    waiting = asyncio.create_task(client.refresh(tokens["refresh_token"]))
    await client.provider.saw("grant", grant_type="refresh_token", ok=True)
    assert not waiting.done()
    waiting.cancel()
    await client.provider.slow_down(0)

    assert (await client.refresh(tokens["refresh_token"]))["error"] == "invalid_grant"


async def test_a_revoked_refresh_token_gives_nothing_more(client: Client) -> None:
    tokens = await client.log_in()

    login = aiohttp.encode_basic_auth(client.provider.client_id, client.provider.client_secret)
    async with client.http.post(
        await client.endpoint("revocation_endpoint"),
        data={"token": tokens["refresh_token"]},
        headers={"Authorization": login},
    ) as answer:
        assert answer.status == 200

    assert (await client.refresh(tokens["refresh_token"]))["error"] == "invalid_grant"
    await client.provider.saw("revocation", ok=True)


async def test_a_logout_at_the_provider_tells_the_client_through_the_back_channel(
    client: Client,
) -> None:
    await client.log_in()

    page = await log_out(client.http, client.url("/logout"))

    assert str(page.url) == client.url("/logged-out")
    assert len(client.logout_tokens) == 1
    await client.provider.saw("backchannel_logout", subject="alice", ok=True)
    await client.provider.saw("end_session")


async def _keys(client: Client) -> list[dict[str, Any]]:
    async with client.http.get(await client.endpoint("jwks_uri")) as answer:
        keys: list[dict[str, Any]] = (await answer.json())["keys"]
        return keys
