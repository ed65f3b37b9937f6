"""A bundled Dex behind Argo CD, with its settings alone: sidecar, Valkey and Dex as processes.

Each story runs against the stand-in, and against the real Dex that `DEX_BINARY` names, if it does.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, CookieJar, TCPConnector, web
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from yarl import URL

from sidecar.core.argocd_dex import client_secret
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.server import serving
from sidecar.demo.valkey import valkey
from tests.config.mounted import Installation
from tests.system.dex import CANNOT_REFRESH, CONNECTORS, REMEMBERS, Dex, kinds, running_dex
from tests.system.process import Process, sidecar_process, until_ready
from tests.world import PAGE, Browser, free_port, system_now

API, USERINFO = "/api/v1/applications", "/api/v1/session/userinfo"
SHORT_SECONDS, LONG_SECONDS = 6, 600
SERVER_KEY = b"the key of the server under test"
REDIS_PASSWORD = "p@ss:w/rd%"
MOST_HOPS = 12


@dataclass
class Front:
    """`argocd-server`: Dex below `/api/dex`, as it passes it on, and the stand-in for the rest."""

    dex: Dex
    stand_in: str
    _http: ClientSession
    passed: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """What came for Dex: the target, and the header fields."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer of whoever is behind."""
        to_dex = request.path.startswith("/api/dex/")
        headers = {k: v for k, v in request.headers.items() if k not in ("Host", "Content-Length")}
        if to_dex:
            self.passed.append((request.raw_path, dict(request.headers)))
            if request.path == f"/api/dex/callback/{CANNOT_REFRESH}":
                headers["X-Remote-User"] = "ada"  # what stands before an authproxy connector
        base = self.dex.address if to_dex else self.stand_in
        url = URL(base + request.raw_path, encoded=True)
        body = await request.read()
        try:
            async with self._http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                left_out = ("Content-Length", "Transfer-Encoding", "Date", "Server")
                kept = [(k, v) for k, v in answer.headers.items() if k not in left_out]
                made = web.Response(status=answer.status, body=await answer.read())
                made.headers.popall("Content-Type", None)
                for name, value in kept:
                    made.headers.add(name, value)
                return made
        except OSError:
            return web.Response(status=502)


@dataclass
class Pod:
    """A sidecar in a process of its own, before an Argo CD with a bundled Dex."""

    address: str
    admin: str
    argocd: Installation
    dex: Dex
    front: Front
    process: Process
    owned: AsyncExitStack

    async def browser(self) -> Browser:
        """A browser without cookies."""
        http = await self.owned.enter_async_context(
            ClientSession(cookie_jar=CookieJar(unsafe=True), timeout=ClientTimeout(total=30))
        )
        return Browser(http, self.address)

    async def logged_in(self) -> Browser:
        """A browser whose person has signed in."""
        browser = await self.browser()
        hops = await follow(browser, "/auth/login?return_url=" + self.address + "/applications")
        assert hops[-1] == f"{self.address}/applications", hops
        return browser

    async def use(self, connector: str) -> None:
        """Let Argo CD name another connector, and wait until the sidecar has seen it."""
        await self.dex.use(connector)
        self.argocd.change("argocd-cm", {"dex.auth.connectorId": connector.encode()})
        await self.until_login(lambda url: url.query.get("connector_id") == connector)

    async def until_login(self, wanted: Callable[[URL], bool]) -> None:
        """Wait until a login goes where it should."""
        http = (await self.browser()).http
        async with asyncio.timeout(10):
            while True:
                async with http.get(f"{self.address}/auth/login", allow_redirects=False) as begun:
                    if begun.status == 303 and wanted(URL(begun.headers["Location"])):
                        return
                await asyncio.sleep(0.1)

    async def metric(self, name: str, labels: Mapping[str, str]) -> float:
        """One of the sidecar's metrics; 0 while it was never counted."""
        async with ClientSession() as http, http.get(f"{self.admin}/metrics") as answer:
            text = await answer.text()
        wanted = f"argocd_token_refresh_{name}"
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == wanted and dict(labels) == sample.labels
        )

    async def forced(self, reason: str) -> float:
        """How many logins were forced for a reason."""
        return await self.metric("forced_logins_total", {"reason": reason})

    async def logins(self) -> float:
        """How many logins there were."""
        return await self.metric("logins_total", {"result": "ok"})


async def follow(browser: Browser, start: str) -> list[str]:
    """Every address on the way of a page load, up to the page itself."""
    hops = [str(URL(browser.base).join(URL(start, encoded=True)))]
    for _ in range(MOST_HOPS):
        page = await browser.get(hops[-1], headers=PAGE)
        if page.status not in (302, 303):
            assert page.status == 200, f"{page.status} at {hops}: {await page.text()}"
            return hops
        hops.append(str(page.url.join(URL(page.headers["Location"], encoded=True))))
    raise AssertionError(f"no end of redirects: {hops}")


async def status(browser: Browser, path: str = API) -> int:
    return (await browser.get(path)).status


async def until_token_ends(browser: Browser) -> None:
    """Wait until the ID token that Argo CD saw last has ended."""
    async with browser.http.get(f"{browser.base}/api/v1/demo/token") as answer:
        token = await answer.json()
    await asyncio.sleep(max(0.0, token["exp"] - system_now()) + 0.05)


@asynccontextmanager
async def pod(kind: str, folder: Path, *, id_token_seconds: int) -> AsyncIterator[Pod]:
    port, admin_port, redis_port = free_port(), free_port(), free_port()
    address, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    argocd = Installation(folder / "settings")
    secret = client_secret(SERVER_KEY)
    async with AsyncExitStack() as owned:
        enter = owned.enter_async_context
        dex = await enter(
            running_dex(
                kind, folder, urls=[address], secret=secret, id_token_seconds=id_token_seconds
            )
        )
        socket = await enter(valkey("--port", str(redis_port), "--bind", "127.0.0.1"))
        async with Redis.from_url(socket) as redis:
            await redis.config_set("requirepass", REDIS_PASSWORD)
        stand_in = Argocd(
            ArgocdSettings(issuer=f"{address}/api/dex", url=address, event_seconds=None),
            # A little behind: it is no fault of the sidecar's if this machine is slow.
            now=lambda: system_now() - 1,
        )
        behind = await enter(stand_in.running())
        http = await enter(
            ClientSession(
                connector=TCPConnector(ssl=False), auto_decompress=False, max_field_size=65536
            )
        )
        front = Front(dex, behind, http)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", front.answer)
        upstream = await enter(serving(app, host="127.0.0.1", port=0, leaving_cancels=False))
        config = json.dumps({"connectors": CONNECTORS, "expiry": {"idTokens": "6s"}})
        argocd.change(
            "argocd-cm",
            {
                "url": address.encode(),
                "oidc.config": None,
                "dex.config": config.encode(),
                "dex.auth.connectorId": REMEMBERS.encode(),
            },
        )
        argocd.change("argocd-secret", {"server.secretkey": SERVER_KEY})
        argocd.change(
            "argocd-cmd-params-cm",
            {
                "redis.server": f"127.0.0.1:{redis_port}".encode(),
                "server.dex.server": dex.address.encode(),
            },
        )
        argocd.change("secrets/argocd-redis", {"auth": REDIS_PASSWORD.encode()})
        environment = {
            **argocd.environment,
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
            "SIDECAR_LISTEN": f"127.0.0.1:{port}",
            "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
            "SIDECAR_UPSTREAM": upstream,
        }
        process = await enter(sidecar_process(environment))
        await until_ready(admin)
        yield Pod(address, admin, argocd, dex, front, process, owned)


@pytest.mark.parametrize("kind", kinds())
async def test_one_login_lasts_and_a_second_browser_ends_nothing(kind: str, tmp_path: Path) -> None:
    async with pod(kind, tmp_path, id_token_seconds=SHORT_SECONDS) as here:
        laptop = await here.logged_in()
        phone = await here.logged_in()
        for _ in range(2):
            assert [await status(laptop), await status(phone)] == [200, 200]
            await until_token_ends(phone)
        assert [await status(laptop), await status(phone)] == [200, 200]

        assert await here.logins() == 2
        asked = [fields for target, fields in here.front.passed if "/auth" in target]
        assert asked
        assert not any("argocd" in fields.get("Cookie", "") for fields in asked)


@pytest.mark.parametrize("kind", kinds())
async def test_a_restart_costs_one_login_without_a_form(kind: str, tmp_path: Path) -> None:
    async with pod(kind, tmp_path, id_token_seconds=SHORT_SECONDS) as here:
        browser = await here.logged_in()
        assert await status(browser) == 200
        await here.dex.restart()
        assert await status(browser) == 200  # Argo CD knows the keys from before
        await until_token_ends(browser)

        refused = await asyncio.gather(*(status(browser) for _ in range(20)))
        userinfo = await browser.get(USERINFO)
        hops = await follow(browser, "/applications?view=tree")

        assert set(refused) == {401}
        assert await userinfo.json() == {"iss": "sso"}
        page = f"{here.address}/applications?view=tree"
        assert (hops[0], hops[-1]) == (page, page)
        assert [URL(hop).path for hop in hops].count("/auth/login") == 1
        assert hops[2].startswith(f"{here.address}/api/dex/auth")
        assert await status(browser) == 200
        await until_token_ends(browser)
        assert await status(browser) == 200
        assert await here.forced("provider_lost_its_state") == 1
        assert await here.logins() == 2

        code, written = await here.process.stop()

    assert code == 0
    events = [json.loads(line)["event"] for line in written.splitlines()]
    assert events.count("provider_lost_its_state") == 1
    assert client_secret(SERVER_KEY) not in written
    assert SERVER_KEY.decode() not in written


@pytest.mark.parametrize("kind", kinds())
async def test_after_a_restart_another_persons_login_tells_of_those_before(
    kind: str, tmp_path: Path
) -> None:
    async with pod(kind, tmp_path, id_token_seconds=LONG_SECONDS) as here:
        browser = await here.logged_in()
        assert await status(browser) == 200
        await here.dex.restart()
        assert await status(browser) == 200  # nobody has new keys yet, Argo CD neither
        keys_before = len([t for t, _ in here.front.passed if "keys" in t or "jwks" in t])

        await log_in_past_the_sidecar(here)
        statuses = await asyncio.gather(*(status(browser) for _ in range(20)))
        userinfo = await browser.get(USERINFO)
        hops = await follow(browser, "/applications")

        assert set(statuses) == {401}
        assert await userinfo.json() == {"iss": "sso"}
        assert hops[-1] == f"{here.address}/applications"
        assert await status(browser) == 200
        assert await here.forced("provider_lost_its_state") == 1
        read = len([t for t, _ in here.front.passed if "keys" in t or "jwks" in t])
        assert read - keys_before <= 25  # Argo CD's own
        assert await here.metric("jwks_fetches_total", {"result": "ok"}) <= 4


async def log_in_past_the_sidecar(here: Pod) -> None:
    """Somebody brings Argo CD a token that the sidecar knows nothing of, as its CLI does."""
    browser = await here.browser()
    begun = await browser.get("/auth/login")
    url = URL(begun.headers["Location"])
    verifier = "a" * 43
    challenge = "ZtNPunH49FD35FWYhT5Tv8I7vRKQJ8uxMaL0_9eHjNA"
    asked = url.update_query(code_challenge=challenge, scope="openid profile email groups")
    for _ in range(MOST_HOPS):
        page = await browser.get(str(asked))
        asked = page.url.join(URL(page.headers["Location"], encoded=True))
        if asked.path == "/auth/callback":
            break
    form = {
        "grant_type": "authorization_code",
        "code": asked.query["code"],
        "redirect_uri": f"{here.address}/auth/callback",
        "code_verifier": verifier,
        "client_id": "argo-cd",
        "client_secret": client_secret(SERVER_KEY),
    }
    tokens = await (await browser.request("POST", "/api/dex/token", data=form)).json()
    bearer = {"Authorization": f"Bearer {tokens['id_token']}"}
    assert (await browser.get(API, headers=bearer)).status == 200


@pytest.mark.parametrize("kind", kinds())
async def test_a_connector_that_cannot_refresh_costs_a_login_without_a_form_per_token(
    kind: str, tmp_path: Path
) -> None:
    async with pod(kind, tmp_path, id_token_seconds=SHORT_SECONDS) as here:
        await here.use(CANNOT_REFRESH)
        browser = await here.logged_in()
        assert await status(browser) == 200
        await until_token_ends(browser)

        assert await status(browser) == 401
        assert await (await browser.get(USERINFO)).json() == {"iss": "sso"}
        await follow(browser, "/applications")

        assert await status(browser) == 200
        assert await here.forced("no_refresh_token") == 1
        assert await here.forced("provider_lost_its_state") == 0
        _, written = await here.process.stop()

    said = f"{CANNOT_REFRESH} (authproxy), to which Dex gives no refresh token"
    assert said in written


@pytest.mark.parametrize("kind", kinds())
async def test_dex_may_go_away_and_come_back_elsewhere_while_the_sidecar_runs(
    kind: str, tmp_path: Path
) -> None:
    async with pod(kind, tmp_path, id_token_seconds=LONG_SECONDS) as here:
        browser = await here.logged_in()
        params = {"server.dex.server": f"http://127.0.0.1:{free_port()}".encode()}
        here.argocd.change("argocd-cmd-params-cm", params)
        async with asyncio.timeout(10):
            while await status(await here.browser(), "/auth/login") != 503:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await status(browser) == 200

        params = {"server.dex.server": here.dex.address.encode()}
        here.argocd.change("argocd-cmd-params-cm", params)
        await here.until_login(lambda url: url.path.startswith("/api/dex/"))

        assert await status(browser) == 200
        await here.logged_in()
        assert here.process.process.returncode is None
