"""A whole run's spans, as a collector gets them: none has a secret, and no collector is needed."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.oauth import ProviderSettings
from sidecar.demo.server import serving
from tests.system.process import sidecar_process, until_ready
from tests.system.test_secrets import CLIENT_SECRET, KEY, PLANTED, Tapped, a_whole_run, forms
from tests.world import free_port, system_now

COLLECTORS_KEY = "the-key-for-the-collector-that-nobody-may-see"


@dataclass
class Collector:
    """Takes spans by OTLP over HTTP, as protobuf."""

    status: int = 200
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    asked: int = 0

    async def take(self, request: web.Request) -> web.Response:
        """Keep what comes."""
        self.asked += 1
        self.keys.add(request.headers.get("x-api-key", ""))
        if self.status == 200:
            self.requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(status=self.status)

    @property
    def names(self) -> set[str]:
        """The names of all spans."""
        return {
            span.name
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


@asynccontextmanager
async def a_run(
    key: rsa.RSAPrivateKey, endpoint: str
) -> AsyncIterator[tuple[list[str], list[str]]]:
    """A process that has been through everything, with its secrets, and its log once it ended."""
    port, admin_port = free_port(), free_port()
    base, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    settings = ProviderSettings(
        redirect_uris=(f"{base}/auth/callback",), id_token_seconds=60, client_secret=CLIENT_SECRET
    )
    provider = Tapped(settings, now=system_now, key=key)
    async with provider.running() as issuer:
        argocd = Argocd(ArgocdSettings(issuer=issuer, url=base), now=system_now)
        async with argocd.running() as upstream:
            environment: Mapping[str, str] = {
                "SIDECAR_LISTEN": f"127.0.0.1:{port}",
                "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_PUBLIC_URL": base,
                "SIDECAR_ISSUER": issuer,
                "SIDECAR_CLIENT_ID": settings.client_id,
                "SIDECAR_CLIENT_SECRET": CLIENT_SECRET,
                "SIDECAR_STORE_URL": "memory://",
                "SIDECAR_SESSION_KEYS": f"k1:{KEY}",
                "SIDECAR_TRACING": "on",
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={COLLECTORS_KEY}",
                "OTEL_BSP_SCHEDULE_DELAY": "200",
            }
            async with sidecar_process(environment) as process:
                await until_ready(admin)
                secrets, _ = await a_whole_run(base, admin, provider)
                logs: list[str] = []
                yield [*secrets, CLIENT_SECRET, KEY, PLANTED, *provider.given], logs
                began = time.monotonic()
                code, log = await process.stop()
                assert code == 0
                assert time.monotonic() - began < 15
                logs.append(log)


@asynccontextmanager
async def collecting(collector: Collector) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with serving(app, host="127.0.0.1", port=0, leaving_cancels=False) as address:
        yield address


async def test_no_secret_of_a_run_is_in_a_span(signing_key: rsa.RSAPrivateKey) -> None:
    collector = Collector()
    async with collecting(collector) as endpoint, a_run(signing_key, endpoint) as (secrets, logs):
        pass

    told = "\n".join(MessageToJson(request) for request in collector.requests)
    assert {"login", "logout", "renewal", "request own", "request api", "request page"} <= (
        collector.names
    )
    assert {"provider POST", "store attach", "connect upstream"} <= collector.names
    assert len([s for s in secrets if s.startswith("ey")]) >= 5
    found = {form for secret in secrets for form in forms(secret) if form in told}
    assert not found
    assert "?" not in json.dumps([json.loads(MessageToJson(one)) for one in collector.requests])
    assert collector.keys == {COLLECTORS_KEY}
    assert COLLECTORS_KEY not in told + logs[0]


async def test_a_collector_that_fails_disturbs_nobody(signing_key: rsa.RSAPrivateKey) -> None:
    collector = Collector(status=400)
    async with collecting(collector) as endpoint, a_run(signing_key, endpoint) as (_, logs):
        async with asyncio.timeout(10):
            while not collector.asked:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    assert logs[0].count('"event": "traces_not_sent"') == 1
    assert "Traceback" not in logs[0]
    assert COLLECTORS_KEY not in logs[0]


async def test_a_collector_that_is_away_disturbs_nobody(signing_key: rsa.RSAPrivateKey) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}/{COLLECTORS_KEY}"  # as some have it
    async with a_run(signing_key, endpoint) as (_, logs):
        pass

    assert "Traceback" not in logs[0]
    assert COLLECTORS_KEY not in logs[0]


@pytest.mark.parametrize(
    ("before", "environment", "sentence"),
    [
        ("sys.modules['opentelemetry'] = None", {}, "Install argocd-token-refresh[otel]"),
        ("", {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "A variable of OpenTelemetry's"),
    ],
)
def test_tracing_that_cannot_begin_stops_the_start_with_its_mend(
    before: str, environment: dict[str, str], sentence: str
) -> None:
    settings = {
        "SIDECAR_PUBLIC_URL": "http://127.0.0.1:1",
        "SIDECAR_ISSUER": "http://127.0.0.1:1",
        "SIDECAR_CLIENT_ID": "argo-cd",
        "SIDECAR_STORE_URL": "memory://",
        "SIDECAR_TRACING": "on",
        "SIDECAR_LISTEN": f"127.0.0.1:{free_port()}",
        "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
    }
    command = f"import sys; {before}\nfrom sidecar.__main__ import main; main(['run'])"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**settings, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
