"""A user's story on real parts: the certified oidc-provider with rotation, and Valkey."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar

from sidecar.app import running
from sidecar.config.settings import Config
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.valkey import valkey
from tests.real.oidc_provider import RealProvider, log_in, log_out, real_provider
from tests.system.asking import Asking
from tests.system.client_keys import ec_key, pem, public_jwk, rsa_key
from tests.world import KEYS, free_port, system_now

pytestmark = pytest.mark.real

TOKEN_SECONDS = 3


@dataclass
class Story(Asking):
    """The public address, and what the real parts saw."""

    address: str
    provider: RealProvider
    argocd: Argocd
    http: ClientSession


@asynccontextmanager
async def story(
    background: str = "off",
    *,
    token_seconds: int = TOKEN_SECONDS,
    provider_logout: str = "off",
    environment: Mapping[str, str] | None = None,
    client: Mapping[str, Any] | None = None,
) -> AsyncIterator[Story]:
    """What an empty variable names is taken out; `client` is metadata of the client."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    jar = CookieJar(unsafe=True)
    async with (
        valkey() as store_url,
        real_provider(
            [f"{address}/auth/callback"],
            id_token_seconds=token_seconds,
            post_logout_redirect_uris=[f"{address}/_sidecar/signed-out"],
            backchannel_logout_uri=f"{address}/auth/backchannel-logout",
            client=client,
        ) as provider,
        ClientSession(cookie_jar=jar) as http,
    ):
        argocd = Argocd(
            ArgocdSettings(issuer=provider.issuer, url=address, event_seconds=None),
            now=system_now,
        )
        async with argocd.running() as upstream:
            variables = {
                "SIDECAR_LISTEN": f"127.0.0.1:{port}",
                "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_PUBLIC_URL": address,
                "SIDECAR_ISSUER": provider.issuer,
                "SIDECAR_CLIENT_ID": provider.client_id,
                "SIDECAR_CLIENT_SECRET": provider.client_secret,
                "SIDECAR_OFFLINE_ACCESS": "consent",
                "SIDECAR_STORE_URL": store_url,
                "SIDECAR_SESSION_KEYS": KEYS,
                "SIDECAR_BACKGROUND_RENEWAL": background,
                "SIDECAR_PROVIDER_LOGOUT": provider_logout,
                **(environment or {}),
            }
            async with running(Config.load({k: v for k, v in variables.items() if v})):
                await log_in(http, f"{address}/auth/login")
                yield Story(address, provider, argocd, http)


async def test_one_login_lasts_five_token_lives_and_a_logout_ends_it() -> None:
    async with story() as here:
        async with asyncio.timeout(5 * TOKEN_SECONDS + 20):
            for _ in range(5):
                assert await here.load() == 200
                await here.until_token_ends()
        assert await here.load() == 200

        async with here.http.get(f"{here.address}/auth/logout", allow_redirects=False) as out:
            assert out.status == 303
        assert await here.load() == 401

        await here.provider.saw("revocation")
        await here.provider.settle()
        assert len(here.provider.refresh_calls) >= 5
        assert all(call["ok"] for call in here.provider.refresh_calls)
        assert here.argocd.seen.expired_tokens == 0


async def test_fifty_requests_at_the_moment_of_expiry_are_one_refresh_call() -> None:
    async with story() as here:
        assert await here.load() == 200
        await here.until_token_ends()
        await here.provider.slow_down(300)

        statuses = await asyncio.gather(*(here.load() for _ in range(50)))

        await here.provider.settle()
        assert statuses == [200] * 50
        assert len(here.provider.refresh_calls) == 1


async def test_a_browser_that_leaves_in_the_middle_of_a_renewal_loses_nothing() -> None:
    async with story() as here:
        assert await here.load() == 200
        await here.until_token_ends()
        await here.provider.slow_down(500)
        leaving = asyncio.ensure_future(here.load())
        # The provider has rotated the token; its answer is still on the way.
        await here.provider.saw("grant", grant_type="refresh_token")
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await here.provider.slow_down(0)

        for _ in range(2):
            assert await here.load() == 200
            await here.until_token_ends()
        assert await here.load() == 200

        await here.provider.settle()
        assert all(call["ok"] for call in here.provider.refresh_calls)


async def test_a_tab_that_nobody_touches_is_renewed_without_a_request() -> None:
    async with story("active") as here:
        assert await here.load() == 200

        async with asyncio.timeout(30):
            while len(here.provider.refresh_calls) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

        assert await here.load() == 200
        await here.provider.settle()
        assert all(call["ok"] for call in here.provider.refresh_calls)


async def test_a_logout_at_the_provider_ends_the_session_here() -> None:
    async with story(token_seconds=60) as here:
        assert await here.load() == 200

        await log_out(here.http, f"{here.provider.issuer}/session/end", home=here.address)

        told = await here.provider.saw("backchannel_logout", subject="alice")
        assert told["ok"]
        async with asyncio.timeout(10):
            # What is known here holds for up to a second.
            while await here.load() != 401:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await here.provider.saw("revocation")


async def test_a_logout_here_ends_the_providers_session_too() -> None:
    async with story(token_seconds=60, provider_logout="on") as here:
        assert await here.load() == 200

        page = await log_out(here.http, f"{here.address}/auth/logout")

        await here.provider.saw("end_session")
        assert page.url.path == "/_sidecar/signed-out"
        assert "You are signed out" in await page.text()
        assert await here.load() == 401


@pytest.mark.parametrize("method", ["basic", "post", "none"])
async def test_the_client_shows_itself_as_it_is_registered(method: str) -> None:
    name = {"basic": "client_secret_basic", "post": "client_secret_post"}.get(method, method)
    client: dict[str, Any] = {"token_endpoint_auth_method": name}
    environment = {"SIDECAR_CLIENT_AUTH": method}
    if method == "none":
        client["client_secret"] = None
        environment["SIDECAR_CLIENT_SECRET"] = ""
    async with story(environment=environment, client=client) as here:
        await renews_and_revokes(here)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
async def test_the_clients_key_signs_what_the_provider_takes(tmp_path: Path, alg: str) -> None:
    key, file = ec_key() if alg == "ES256" else rsa_key(), tmp_path / "key.pem"
    file.write_text(pem(key))
    client: dict[str, Any] = {
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": alg,
        "client_secret": None,
        "jwks": {"keys": [public_jwk(key, alg, "first")]},
    }
    environment = {
        "SIDECAR_CLIENT_SECRET": "",
        "SIDECAR_CLIENT_KEY_FILE": str(file),
        "SIDECAR_CLIENT_KEY_ID": "first",
        "SIDECAR_CLIENT_KEY_ALG": alg,
    }
    async with story(environment=environment, client=client) as here:
        await renews_and_revokes(here)


async def renews_and_revokes(here: Story) -> None:
    """A renewal and a logout at which the provider takes the client each time."""
    assert await here.load() == 200
    await here.until_token_ends()
    assert await here.load() == 200
    async with here.http.get(f"{here.address}/auth/logout", allow_redirects=False) as out:
        assert out.status == 303
    assert (await here.provider.saw("revocation"))["ok"]
    assert all(call["ok"] for call in here.provider.seen("grant"))
