"""A sidecar that has Argo CD's settings from the Kubernetes API, from its start to its mend."""

import asyncio
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from aiohttp import ClientSession, CookieJar, web
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from yarl import URL

from sidecar.app import Running, SystemClock, running
from sidecar.config import report
from sidecar.config.settings import Config
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.oauth import ProviderSettings
from sidecar.demo.provider import DemoProvider
from sidecar.errors import ConfigurationError
from sidecar.loading import loading
from tests.fakes.kubernetes import Cluster, stock
from tests.proxy.certificates import self_signed
from tests.world import Browser, eventually, free_port, plain_http

API = "/api/v1/applications"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return stock(tmp_path / "account")


@dataclass
class Story:
    """Provider, Argo CD, its settings in a cluster, and the environment of a sidecar."""

    provider: DemoProvider
    argocd: Argocd
    cluster: Cluster
    base: str
    upstream: str

    def environ(self, **changes: str) -> dict[str, str]:
        url = URL(self.base)
        return {
            **self.cluster.environ,
            "SIDECAR_LISTEN": f"{url.host}:{url.port}",
            "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
            "SIDECAR_UPSTREAM": self.upstream,
            "SIDECAR_STORE_URL": "memory://",
            **changes,
        }

    def secret(self, value: str) -> None:
        self.cluster.apply("argocd-secret", {"oidc.clientSecret": value.encode()})

    @asynccontextmanager
    async def sidecar(self, seconds: float = 10, **changes: str) -> AsyncIterator[Running]:
        clock, log = SystemClock(), structlog.get_logger()
        async with (
            loading(
                self.environ(**changes),
                clock=clock,
                log=log,
                account=self.cluster.account,
                seconds=seconds,
                upstream=self.upstream,
            ) as found,
            running(found.config, load=found.load, log=log, checks=found.checks) as served,
        ):
            yield served

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
            yield Browser(http, self.base)


@pytest.fixture
async def story(signing_key: rsa.RSAPrivateKey, cluster: Cluster) -> AsyncIterator[Story]:
    base = f"http://127.0.0.1:{free_port()}"
    settings = ProviderSettings(redirect_uris=(f"{base}/auth/callback",), id_token_seconds=300)
    provider = DemoProvider(settings, now=time.time, key=signing_key)
    async with provider.running() as issuer:
        argocd = Argocd(ArgocdSettings(issuer=issuer, url=base), now=time.time)
        async with argocd.running() as upstream:
            text = f"issuer: {issuer}\nclientID: {settings.client_id}\n"
            text += "clientSecret: $oidc.clientSecret\n"
            cluster.apply("argocd-cm", {"url": base.encode(), "oidc.config": text.encode()})
            made = Story(provider, argocd, cluster, base, str(URL(upstream).origin()))
            made.secret(settings.client_secret)
            yield made


def metric(served: Running, name: str, **labels: str) -> float:
    registry = served.metrics.registry
    return registry.get_sample_value(f"argocd_token_refresh_{name}", labels) or 0.0


async def detail(served: Running) -> dict[str, str]:
    async with (
        plain_http() as http,
        http.get(f"http://127.0.0.1:{served.admin[1]}/readyz") as ready,
    ):
        assert ready.status == 200
        found: dict[str, str] = await ready.json()
        return found


async def test_a_wrong_secret_in_the_cluster_and_its_mend_need_no_restart(story: Story) -> None:
    right = story.provider.settings.client_secret
    async with story.cluster.running(), story.sidecar() as served, story.browser() as before:
        assert (await before.log_in()).status == 303
        assert (await before.get(API)).status == 200
        assert metric(served, "takes_over_logins") == 1

        story.secret("wrong")
        with capture_logs() as lines:
            await eventually(lambda: changed(lines) == 1)
            async with story.browser() as another:
                assert (await another.log_in()).status == 502
            assert (await before.get(API)).status == 200  # nobody is logged out by it

            story.secret(right)
            await eventually(lambda: changed(lines) == 2)
        async with story.browser() as another:
            assert (await another.log_in()).status == 303
            assert (await another.get(API)).status == 200
        found = await detail(served)
        assert (found["configuration"], found["kubernetes_api"]) == ("ok", "ok")
    assert right not in str(lines)


def changed(lines: Sequence[Mapping[str, object]]) -> int:
    return sum(line["event"] == "configuration_changed" for line in lines)


async def test_a_broken_change_in_the_cluster_is_refused_and_said(story: Story) -> None:
    async with story.cluster.running(), story.sidecar() as served, story.browser() as browser:
        assert (await browser.log_in()).status == 303

        story.cluster.apply("argocd-cm", {"oidc.config": b"issuer: [half"})
        await eventually(lambda: metric(served, "configuration_refused") == 1)

        assert (await browser.get(API)).status == 200
        assert "refused: argocd-cm" in (await detail(served))["configuration"]


async def test_a_role_that_is_taken_away_changes_nothing_and_is_said(story: Story) -> None:
    async with story.cluster.running(), story.sidecar() as served, story.browser() as browser:
        assert (await browser.log_in()).status == 303

        story.cluster.forbidden = {"argocd-secret"}
        story.cluster.end_watches()
        await eventually(lambda: metric(served, "configuration_refused") == 1)

        assert (await browser.get(API)).status == 200
        found = await detail(served)
        assert "refused: argocd-secret may not be read (403)" in found["configuration"]
        assert "argocd-secret may not be read (403)" in found["kubernetes_api"]


async def test_a_start_without_the_api_lets_requests_pass_and_takes_over_when_it_answers(
    story: Story,
) -> None:
    async with story.cluster.running():
        pass  # now it has a port, where nobody listens
    began = time.monotonic()
    async with story.sidecar(seconds=0.3) as served, story.browser() as browser:
        assert time.monotonic() - began < 5
        assert (await browser.get("/api/version")).status == 200
        assert metric(served, "takes_over_logins") == 0
        assert metric(served, "alarms_total", kind="logins_pass") == 1
        found = await detail(served)
        assert "The Kubernetes API has not said yet" in found["configuration"]
        assert "argocd-cm cannot be read: the Kubernetes API" in found["kubernetes_api"]

        async with story.cluster.running():
            await eventually(lambda: metric(served, "takes_over_logins") == 1)
            assert (await browser.log_in()).status == 303
            assert (await browser.get(API)).status == 200
            assert (await detail(served))["configuration"] == "ok"


async def test_what_the_environment_says_needs_no_api(story: Story) -> None:
    async with story.cluster.running():
        pass
    settings = story.provider.settings
    login = {
        "SIDECAR_PUBLIC_URL": story.base,
        "SIDECAR_ISSUER": story.provider.issuer,
        "SIDECAR_CLIENT_ID": settings.client_id,
        "SIDECAR_CLIENT_SECRET": settings.client_secret,
    }
    async with story.sidecar(seconds=0.3, **login) as served, story.browser() as browser:
        assert (await browser.log_in()).status == 303
        assert "kubernetes_api" in await detail(served)


@asynccontextmanager
async def speaking_tls(folder: Path) -> AsyncIterator[str]:
    """An `argocd-server` that speaks TLS with a certificate of its own."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*self_signed(folder, "argocd-server"))

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.json_response({"tls": True})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("how", ["away", "forbidden"])
async def test_how_argo_cd_is_spoken_to_is_seen_where_its_settings_cannot_be_read(
    cluster: Cluster, tmp_path: Path, how: str
) -> None:
    log, clock = structlog.get_logger(), SystemClock()
    cluster.forbidden = {"argocd-cmd-params-cm"}
    async with cluster.running(), speaking_tls(tmp_path / "argocd-server") as upstream:
        cluster.silent = how == "away"
        where = {"account": cluster.account, "upstream": upstream}
        async with loading(cluster.environ, clock=clock, log=log, seconds=0.3, **where) as found:  # type: ignore[arg-type]
            await eventually(lambda: found.load().upstream == "https://127.0.0.1:8090")
            config = found.load()

    assert not config.upstream_tls_verify
    assert config.argocd.awaited
    assert not config.argocd.takes_over_logins  # the address of the store would be a guess


async def test_the_way_to_argo_cd_is_another_as_soon_as_it_is_known(
    story: Story, tmp_path: Path
) -> None:
    awaited = Config.load(story.environ())  # nothing is listening to it
    async with speaking_tls(tmp_path / "argocd-server") as upstream:
        verify = {"SIDECAR_UPSTREAM_TLS_VERIFY": "off"}
        seen = Config.load(story.environ(SIDECAR_UPSTREAM=upstream, **verify))
        async with (
            running(awaited, load=lambda: seen, confirms=False) as served,
            story.browser() as browser,
        ):
            assert "tls" not in await json_of(browser, "/api/version")

            await served.changes.look()

            assert (await json_of(browser, "/api/version"))["tls"]
            assert (await detail(served))["upstream"] == "ok"


async def json_of(browser: Browser, path: str) -> dict[str, object]:
    async with browser.http.get(browser.base + path) as answer:
        found: dict[str, object] = await answer.json()
        return found


async def test_the_certificate_in_the_cluster_is_served_and_changes(
    story: Story, tmp_path: Path
) -> None:
    story.cluster.apply("argocd-cmd-params-cm", {"server.insecure": b"false"})
    serials = []
    for name in ("one", "two"):
        self_signed(tmp_path / name, "127.0.0.1")
    first, second = (
        {key: (tmp_path / name / key).read_bytes() for key in ("tls.crt", "tls.key")}
        for name in ("one", "two")
    )
    story.cluster.apply("argocd-server-tls", first)
    async with story.cluster.running(), story.sidecar() as served:
        serials.append(await asyncio.to_thread(ssl.get_server_certificate, served.public))
        story.cluster.apply("argocd-server-tls", second)
        async with asyncio.timeout(10):
            while len(set(serials)) == 1:
                await asyncio.sleep(0.1)
                serials.append(await asyncio.to_thread(ssl.get_server_certificate, served.public))

    assert serials[0].strip() == first["tls.crt"].decode().strip()
    assert serials[-1].strip() == second["tls.crt"].decode().strip()


# What is asked for and cannot be had

Changed = dict[str, str | None]
FAULTS: dict[str, tuple[Changed, str, str]] = {
    "no pod": ({"KUBERNETES_SERVICE_HOST": None}, "", "there is no Kubernetes API here"),
    "no token": ({}, "token", "Take the empty volume over it out of the container"),
    "no namespace": ({}, "namespace", "Set SIDECAR_ARGOCD_NAMESPACE"),
}


@pytest.mark.parametrize(("changes", "missing", "mend"), FAULTS.values(), ids=FAULTS.keys())
async def test_an_api_that_cannot_be_asked_stops_the_start(
    cluster: Cluster, changes: Changed, missing: str, mend: str
) -> None:
    async with cluster.running():
        if missing:
            (cluster.account / missing).unlink()
        environ = {k: v for k, v in {**cluster.environ, **changes}.items() if v is not None}
        clock, log = SystemClock(), structlog.get_logger()
        with pytest.raises(ConfigurationError, match="SIDECAR_ARGOCD_CONFIG_SOURCE") as raised:
            async with loading(environ, clock=clock, log=log, account=cluster.account):
                pass

    assert mend in str(raised.value)


async def test_an_installation_without_the_extra_is_said(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio.client", None)
    monkeypatch.delitem(sys.modules, "sidecar.adapters.kubernetes_api", raising=False)
    clock, log = SystemClock(), structlog.get_logger()
    async with cluster.running():
        with pytest.raises(ConfigurationError, match=r"Install argocd-token-refresh\[kubernetes\]"):
            async with loading(cluster.environ, clock=clock, log=log, account=cluster.account):
                pass


async def test_the_namespace_may_be_another_than_the_pods(cluster: Cluster) -> None:
    clock, log = SystemClock(), structlog.get_logger()
    async with cluster.running():
        (cluster.account / "namespace").write_text("elsewhere")
        environ = {**cluster.environ, "SIDECAR_ARGOCD_NAMESPACE": "argocd"}
        async with loading(environ, clock=clock, log=log, account=cluster.account) as found:
            config = found.config

    assert config.argocd.takes_over_logins
    assert config.source("issuer") == "argocd-cm: oidc.config: issuer"
    assert "hunter" not in report.as_json(config) + report.as_text(config)


async def test_the_api_is_left_alone_unless_it_is_asked_for(cluster: Cluster) -> None:
    clock, log = SystemClock(), structlog.get_logger()
    async with cluster.running():
        environ = {
            **cluster.environ,
            "SIDECAR_ARGOCD_CONFIG_SOURCE": "folder",
            "SIDECAR_PUBLIC_URL": "https://argocd.example.org",
            "SIDECAR_ISSUER": "https://idp.example.org",
            "SIDECAR_CLIENT_ID": "argo-cd",
            "SIDECAR_STORE_URL": "memory://",
        }
        async with loading(environ, clock=clock, log=log, account=cluster.account) as found:
            assert found.checks == {}

    assert cluster.asked == []
