"""The certified oidc-provider at two addresses: it names all endpoints by the request's `Host`."""

import asyncio
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, CookieJar

from sidecar.app import running
from sidecar.config.settings import Config
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from tests.fakes.doors import Door
from tests.real.oidc_provider import log_in, real_provider
from tests.system.asking import Asking
from tests.world import KEYS, free_port, system_now

pytestmark = pytest.mark.real

PATH = "/realms/argocd"
TOKEN_SECONDS = 3


class Story(Asking):
    def __init__(self, address: str, http: ClientSession) -> None:
        self.address, self.http = address, http


@pytest.mark.parametrize("way", ["internal url", "resolve"])
async def test_the_real_provider_is_used_at_two_addresses_by_a_person_and_the_pod(
    way: str,
) -> None:
    port, browsers, pod = free_port(), Door(), Door()
    address = f"http://127.0.0.1:{port}"
    async with browsers.running() as outside, pod.running() as inside:
        issuer = f"http://localhost:{outside}{PATH}"
        ways = {
            "internal url": {"SIDECAR_ISSUER_INTERNAL_URL": f"http://127.0.0.1:{inside}{PATH}"},
            "resolve": {"SIDECAR_RESOLVE": f"localhost:{outside}=127.0.0.1:{inside}"},
        }
        async with (
            real_provider(
                [f"{address}/auth/callback"], id_token_seconds=TOKEN_SECONDS, issuer_path=PATH,
                issuer=issuer,
            ) as provider,
            ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
        ):  # fmt: skip
            browsers.leads_to = pod.leads_to = urlsplit(provider.address).port or 0
            argocd = Argocd(
                ArgocdSettings(issuer=issuer, url=address, event_seconds=None), now=system_now
            )
            async with argocd.running() as upstream:
                environment = {
                    "SIDECAR_LISTEN": f"127.0.0.1:{port}",
                    "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
                    "SIDECAR_UPSTREAM": upstream,
                    "SIDECAR_PUBLIC_URL": address,
                    "SIDECAR_ISSUER": issuer,
                    "SIDECAR_CLIENT_ID": provider.client_id,
                    "SIDECAR_CLIENT_SECRET": provider.client_secret,
                    "SIDECAR_OFFLINE_ACCESS": "consent",
                    "SIDECAR_STORE_URL": "memory://",
                    "SIDECAR_SESSION_KEYS": KEYS,
                    **ways[way],
                }
                async with running(Config.load(environment)), asyncio.timeout(60):
                    await log_in(http, f"{address}/auth/login")
                    here = Story(address, http)
                    statuses = [await here.load()]
                    await here.until_token_ends()
                    statuses.append(await here.load())
                    async with http.get(f"{address}/auth/logout", allow_redirects=False):
                        await provider.saw("revocation")

    asked = {"/.well-known/openid-configuration", "/token", "/jwks", "/token/revocation"}
    host = "127.0.0.1" if way == "internal url" else "localhost"
    assert statuses == [200, 200]
    assert set(pod.paths) == {PATH + path for path in asked}
    assert {urlsplit(f"//{seen}").hostname for seen in pod.hosts} == {host}
    assert not [path for path in browsers.paths if path.startswith(f"{PATH}/token")]
