"""Ways to break what stands behind the sidecar, and what stands in front of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

from sidecar.app import SystemClock
from sidecar.app import running as running_sidecar
from sidecar.config.settings import Config
from sidecar.demo.server import serving
from sidecar.doctor.findings import Finding, Level
from sidecar.doctor.run import examine
from sidecar.doctor.upstream import of_upstream
from sidecar.doctor.upstream_look import UpstreamSeen, look_at_upstream
from tests.doctor.patient import Patient
from tests.fakes.discovery import tls_issuer
from tests.proxy.certificates import Pair
from tests.world import free_port

Answer = Callable[[web.Request], web.Response]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with serving(app, host="127.0.0.1", port=0, leaving_cancels=False) as address:
        yield address


async def test_doctor_finds_an_upstream_that_is_away(here: Patient) -> None:
    found = await here.complaints(SIDECAR_UPSTREAM=f"http://127.0.0.1:{free_port()}")

    assert set(found) == {"upstream.reach"}
    assert "--port=8090" in found["upstream.reach"].mend


async def test_doctor_finds_an_upstream_that_is_not_argo_cd(here: Patient) -> None:
    async with server(lambda _: web.Response(text="Welcome to nginx!")) as address:
        found = await here.complaints(SIDECAR_UPSTREAM=address)

    assert set(found) == {"upstream.reach"}
    assert "not argocd-server" in found["upstream.reach"].what


async def test_doctor_finds_tls_that_argo_cd_does_not_speak(here: Patient) -> None:
    upstream = here.environment["SIDECAR_UPSTREAM"].replace("http:", "https:")

    found = await here.complaints(SIDECAR_UPSTREAM=upstream)

    assert set(found) == {"upstream.reach"}
    assert "server.insecure" in found["upstream.reach"].mend


async def test_doctor_finds_plain_http_where_argo_cd_wants_tls(here: Patient) -> None:
    def to_https(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"https://{request.host}/"})

    async with server(to_https) as address:
        found = await here.complaints(SIDECAR_UPSTREAM=address)

    assert set(found) == {"upstream.reach"}
    assert "wants TLS" in found["upstream.reach"].what


async def test_doctor_finds_an_upstream_certificate_that_nobody_trusts(
    here: Patient, pair: Pair
) -> None:
    async with tls_issuer(pair) as address:
        found = await here.complaints(SIDECAR_UPSTREAM=address)

    assert set(found) == {"upstream.reach"}
    assert "SIDECAR_UPSTREAM_TLS_VERIFY=off" in found["upstream.reach"].mend


async def test_doctor_finds_an_upstream_that_is_the_sidecar_itself(here: Patient) -> None:
    port = free_port()
    ports = {"SIDECAR_LISTEN": f"127.0.0.1:{port}", "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0"}
    async with running_sidecar(Config.load({**here.environment, **ports})):
        found = await here.complaints(SIDECAR_UPSTREAM=f"http://127.0.0.1:{port}")

    assert set(found) == {"upstream.reach"}
    assert "leads to a sidecar" in found["upstream.reach"].what


async def test_doctor_finds_another_root_path_than_argo_cds(here: Patient) -> None:
    found = await here.complaints(SIDECAR_PUBLIC_URL="http://127.0.0.1:9/argo")

    assert "server.rootpath" in found["upstream.reach"].mend


async def test_doctor_finds_that_argo_cd_trusts_another_client(here: Patient) -> None:
    here.argocd.settings.client_id = "another"

    found = await here.complaints()

    assert set(found) == {"upstream.client"}
    assert "'another'" in found["upstream.client"].what


async def test_doctor_finds_that_argo_cd_trusts_another_issuer(here: Patient) -> None:
    here.argocd.settings.issuer = "https://idp.example.org"

    found = await here.complaints()

    assert set(found) == {"upstream.client"}
    assert "https://idp.example.org" in found["upstream.client"].what


async def test_doctor_finds_that_argo_cd_is_at_another_url(here: Patient) -> None:
    here.argocd.settings.url = "https://argocd.example.org"

    found = await here.complaints()

    assert set(found) == {"upstream.url"}


async def test_doctor_finds_that_argo_cd_has_no_single_sign_on(here: Patient) -> None:
    def answer(request: web.Request) -> web.Response:
        version = {"Version": "v3.5.1"}
        return web.json_response(version if request.path == "/api/version" else {"url": ""})

    async with server(answer) as address:
        found = await here.complaints(SIDECAR_UPSTREAM=address)

    assert "no oidc.config" in found["upstream.client"].what


async def test_doctor_says_where_else_argo_cd_can_be_reached(here: Patient) -> None:
    config = Config.load(here.environment)
    seen = await look_at_upstream(config, SystemClock())

    exposed = UpstreamSeen(seen.version, seen.settings, seen.login, ("10.1.2.3",))
    (finding,) = [f for f in of_upstream(config, exposed) if f.id == "upstream.exposed"]

    assert "10.1.2.3" in finding.what
    assert "NetworkPolicy" in finding.mend


async def test_doctor_says_that_argo_cd_in_another_pod_can_be_reached(here: Patient) -> None:
    seen = await look_at_upstream(Config.load(here.environment), SystemClock())
    elsewhere = {**here.environment, "SIDECAR_UPSTREAM": "http://argocd-server.argocd.svc"}

    (finding,) = [
        f for f in of_upstream(Config.load(elsewhere), seen) if f.id == "upstream.exposed"
    ]

    assert "argocd-server.argocd.svc, outside of this pod" in finding.what


# From outside


@asynccontextmanager
async def proxy(
    port: int, target: str, *, keeps_host: bool, cookie: str = ""
) -> AsyncIterator[None]:
    """A proxy in front of a sidecar, at a port, that may spoil Host or cookies."""
    async with ClientSession(cookie_jar=DummyCookieJar()) as http:

        async def handle(request: web.Request) -> web.Response:
            headers = {"Host": request.host} if keeps_host else {}
            url = URL(target + request.raw_path, encoded=True)
            async with http.get(url, headers=headers, allow_redirects=False) as answer:
                response = web.Response(status=answer.status, body=await answer.read())
                response.headers["Location"] = answer.headers.get("Location", "")
                for line in answer.headers.getall("Set-Cookie", ()):
                    response.headers.add("Set-Cookie", line.replace(cookie, ""))
                return response

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        async with serving(app, host="127.0.0.1", port=port, leaving_cancels=False):
            yield


async def from_outside(
    here: Patient, *, keeps_host: bool = True, cookie: str = "no such text"
) -> dict[str, Finding]:
    """What is found wrong where an additional URL leads through a proxy."""
    inner, outer = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in (inner, outer)]
    here.provider.settings.redirect_uris = tuple(f"{url}/auth/callback" for url in urls)
    here.argocd.settings.url = urls[0]
    environment = {
        **here.environment,
        "SIDECAR_PUBLIC_URL": urls[0],
        "SIDECAR_ADDITIONAL_URLS": urls[1],
        "SIDECAR_LISTEN": f"127.0.0.1:{inner}",
        "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
    }
    async with (
        running_sidecar(Config.load(environment)),
        proxy(outer, urls[0], keeps_host=keeps_host, cookie=cookie),
    ):
        found = await examine(environment, SystemClock(), from_outside=True)
    return complaints(found)


async def test_doctor_finds_nothing_wrong_with_a_proxy_that_passes_all_on(here: Patient) -> None:
    assert await from_outside(here) == {}


async def test_doctor_finds_a_proxy_that_changes_the_host(here: Patient) -> None:
    found = await from_outside(here, keeps_host=False)

    assert set(found) == {"outside.host"}
    assert "Host header" in found["outside.host"].mend


async def test_doctor_finds_a_proxy_that_takes_a_cookies_attributes(here: Patient) -> None:
    found = await from_outside(here, cookie="; HttpOnly")

    assert set(found) == {"outside.cookies"}
    assert "httponly" in found["outside.cookies"].what


async def test_doctor_finds_a_public_url_that_leads_past_the_sidecar(here: Patient) -> None:
    upstream = here.environment["SIDECAR_UPSTREAM"]
    here.argocd.settings.url = upstream
    here.provider.settings.redirect_uris = (f"{upstream}/auth/callback",)

    environment = {**here.environment, "SIDECAR_PUBLIC_URL": upstream}
    found = complaints(await examine(environment, SystemClock(), from_outside=True))

    assert set(found) == {"outside.reach"}
    assert "not the sidecar's" in found["outside.reach"].what


async def test_doctor_finds_a_public_url_that_does_not_answer(here: Patient) -> None:
    found = complaints(await examine(here.environment, SystemClock(), from_outside=True))

    assert set(found) == {"outside.reach"}
    assert found["outside.reach"].level is Level.WARNING


def complaints(findings: list[Finding]) -> dict[str, Finding]:
    return {f.id: f for f in findings if f.level is not Level.OK and f.id != "store.kind"}
