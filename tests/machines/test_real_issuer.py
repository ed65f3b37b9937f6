"""Tokens of the certified oidc-provider: client credentials, with a JWT for an access token."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from sidecar.app import running
from sidecar.config.settings import Config
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from tests.real.oidc_provider import CLIENT_ID, RealProvider, real_provider
from tests.world import KEYS, free_port, system_now

pytestmark = pytest.mark.real

RESOURCE = "https://argocd.example.org"
MACHINE = {"grant_types": ["client_credentials"], "response_types": []}


@dataclass
class Real:
    """The sidecar's address, and what stands on both of its sides."""

    address: str
    provider: RealProvider
    argocd: Argocd
    http: ClientSession
    api_token: str

    async def asks(self, token: str, path: str = "/api/v1/session/userinfo") -> tuple[int, Any]:
        """The status and the JSON of an answer to whoever brings this token."""
        bearer = {"Authorization": f"Bearer {token}"}
        async with self.http.get(self.address + path, headers=bearer) as answer:
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def real(folder: Path, **issuer: Any) -> AsyncIterator[Real]:
    port, credential, rules = free_port(), folder / "api-token", folder / "rules.yaml"
    address = f"http://127.0.0.1:{port}"
    async with real_provider([], client=MACHINE, resource=RESOURCE) as provider:
        argocd = Argocd(
            ArgocdSettings(issuer=provider.issuer, url=address, event_seconds=None),
            now=system_now,
        )
        trusted = {"name": "real", "issuer": provider.issuer, "audiences": [RESOURCE], **issuer}
        rule = {
            "name": "ci",
            "if": f"client_id == '{CLIENT_ID}' && scope == 'deploy'",
            "token_file": str(credential),
        }
        rules.write_text(json.dumps({"issuers": [trusted], "rules": [rule]}))
        async with argocd.running() as upstream, ClientSession() as http:
            account = {"username": "admin", "password": argocd.settings.admin_password}
            async with http.post(f"{upstream}/api/v1/session", json=account) as answer:
                api_token = (await answer.json())["token"]
            credential.write_text(api_token)
            variables = {
                "SIDECAR_LISTEN": f"127.0.0.1:{port}",
                "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_PUBLIC_URL": address,
                "SIDECAR_ISSUER": provider.issuer,
                "SIDECAR_CLIENT_ID": provider.client_id,
                "SIDECAR_CLIENT_SECRET": provider.client_secret,
                "SIDECAR_STORE_URL": "memory://",
                "SIDECAR_SESSION_KEYS": KEYS,
                "SIDECAR_MACHINE_RULES": str(rules),
                "SIDECAR_AUDIT_LOG": str(folder / "audit.log"),
            }
            async with running(Config.load(variables)):
                yield Real(address, provider, argocd, http, api_token)


async def test_a_clients_access_token_gets_the_credential_of_its_rule(tmp_path: Path) -> None:
    async with real(tmp_path) as here:
        token = await here.provider.machine_token(here.http, RESOURCE)

        status, found = await here.asks(token)

        assert (status, found["username"]) == (200, "admin")
        told = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
        assert [(line["event"], line["subject"]) for line in told] == [
            ("machine_admitted", CLIENT_ID)
        ]
        assert token not in (tmp_path / "audit.log").read_text()


async def test_one_for_another_resource_of_argo_cds_own_issuer_is_argo_cds_to_refuse(
    tmp_path: Path,
) -> None:
    async with real(tmp_path, audiences=["https://another.example.org"]) as here:
        token = await here.provider.machine_token(here.http, RESOURCE)

        assert (await here.asks(token, "/api/v1/applications"))[0] == 401
        assert len(here.argocd.seen.log) > 1  # it has got there


async def test_its_type_has_to_be_one_that_is_taken(tmp_path: Path) -> None:
    async with real(tmp_path, types=["jwt"]) as here:
        token = await here.provider.machine_token(here.http, RESOURCE)

        status, found = await here.asks(token, "/api/v1/applications")

        assert (status, found["message"]) == (401, "invalid bearer token")
