"""`sidecar run` beside a stock Argo CD: its settings, its Redis, its secret, and nothing else.

The recipes `working`, `broken` (a wrong client secret) and `fix` (the right one, and nobody
restarts anything) run against the certified oidc-provider.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession, CookieJar
from redis.asyncio import Redis

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.valkey import valkey
from tests.config.mounted import Installation
from tests.real.oidc_provider import CLIENT_SECRET, RealProvider, log_in, real_provider
from tests.system.asking import Asking
from tests.system.process import Process, sidecar_process, until_ready
from tests.world import free_port, system_now

pytestmark = pytest.mark.real

TOKEN_SECONDS = 3
REDIS_PASSWORD = "p@ss:w/rd%"


@dataclass
class Pod(Asking):
    """A sidecar in a process of its own, with Argo CD's settings mounted."""

    address: str
    admin: str
    upstream: str
    argocd: Installation
    provider: RealProvider
    process: Process
    http: ClientSession

    async def until_it_is(self, status: int) -> float:
        """How many seconds it took until an API request had this status; ten at most."""
        began = time.monotonic()
        async with asyncio.timeout(10):
            while await self.load() != status:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def detail(self) -> dict[str, str]:
        """What `/readyz` tells."""
        async with self.http.get(f"{self.admin}/readyz") as ready:
            found: dict[str, str] = await ready.json()
            return found

    def set_secret(self, secret: str) -> None:
        """Give Argo CD another client secret, as `kubectl apply` and the kubelet do."""
        self.argocd.change("argocd-secret", {"oidc.clientSecret": secret.encode()})


@asynccontextmanager
async def pod(folder: Path) -> AsyncIterator[Pod]:
    port, admin_port, redis_port = free_port(), free_port(), free_port()
    address, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    argocd = Installation(folder)
    async with (
        valkey("--port", str(redis_port), "--bind", "127.0.0.1") as socket,
        real_provider([f"{address}/auth/callback"], id_token_seconds=TOKEN_SECONDS) as provider,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        async with Redis.from_url(socket) as redis:
            await redis.config_set("requirepass", REDIS_PASSWORD)
        stand_in = Argocd(
            ArgocdSettings(issuer=provider.issuer, url=address, event_seconds=None),
            now=system_now,
        )
        argocd.log_in_at(provider.issuer, provider.client_id, CLIENT_SECRET, url=address)
        argocd.change("argocd-cmd-params-cm", {"redis.server": f"127.0.0.1:{redis_port}".encode()})
        argocd.change("secrets/argocd-redis", {"auth": REDIS_PASSWORD.encode()})
        async with stand_in.running() as upstream:
            environment = {
                **argocd.environment,
                "KUBERNETES_SERVICE_HOST": "10.0.0.1",
                "SIDECAR_LISTEN": f"127.0.0.1:{port}",
                "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
                "SIDECAR_UPSTREAM": upstream,
                # oidc-provider gives no refresh token without it.
                "SIDECAR_OFFLINE_ACCESS": "consent",
            }
            async with sidecar_process(environment) as process:
                await until_ready(admin)
                yield Pod(address, admin, upstream, argocd, provider, process, http)


async def test_working_broken_and_fix_with_one_login_and_no_restart(tmp_path: Path) -> None:
    async with pod(tmp_path) as here:
        # working
        await log_in(here.http, f"{here.address}/auth/login")
        assert await here.load() == 200
        await here.until_token_ends()
        assert await here.load() == 200
        assert (await here.detail())["configuration"] == "ok"

        # broken
        here.set_secret("not the provider's")
        assert await here.until_it_is(503) < 10
        refused = await here.provider.saw("grant", ok=False)
        assert refused["error"] == "invalid_client"
        assert [cookie for cookie in here.http.cookie_jar if "token-refresh" in cookie.key]

        # fix
        here.set_secret(CLIENT_SECRET)
        assert await here.until_it_is(200) < 10
        await here.until_token_ends()
        assert await here.load() == 200

        await here.provider.settle()
        assert len(here.provider.seen("login")) == 1
        assert here.process.process.returncode is None

        code, written = await here.process.stop()

    assert code == 0
    assert CLIENT_SECRET not in written
    assert REDIS_PASSWORD not in written
    assert "hunter" not in written  # what is in the other secrets
    events = [json.loads(line)["event"] for line in written.splitlines()]
    assert events.count("configuration_changed") == 2


async def test_a_change_that_is_broken_is_refused_and_people_work_on(tmp_path: Path) -> None:
    async with pod(tmp_path) as here:
        await log_in(here.http, f"{here.address}/auth/login")
        here.argocd.add_to_oidc("  half: [written")

        async with asyncio.timeout(10):
            while "refused" not in (await here.detail())["configuration"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await here.until_token_ends()

        assert await here.load() == 200


async def test_a_restart_finds_the_sessions_in_argo_cds_redis(tmp_path: Path) -> None:
    async with pod(tmp_path) as here:
        await log_in(here.http, f"{here.address}/auth/login")
        code, _ = await here.process.stop()
        assert code == 0
        again = {
            **here.argocd.environment,
            "SIDECAR_LISTEN": here.address.removeprefix("http://"),
            "SIDECAR_ADMIN_LISTEN": here.admin.removeprefix("http://"),
            "SIDECAR_UPSTREAM": here.upstream,
        }
        async with sidecar_process(again):
            await until_ready(here.admin)

            assert await here.load() == 200
            await here.provider.settle()
            assert len(here.provider.seen("login")) == 1
