"""The operator's port."""

from aiohttp import ClientSession
from prometheus_client import CollectorRegistry

from sidecar.demo.server import serving
from sidecar.web.admin import Admin, Check, Phase
from tests.world import World


async def test_readiness_tells_of_outages_and_stays_200(here: World) -> None:
    here.provider.available = False

    async with ClientSession() as http, http.get(here.sidecars[0].admin + "/readyz") as ready:
        detail = await ready.json()

    assert ready.status == 200
    assert detail["store"] == "ok"
    assert detail["upstream"] == "ok"
    assert "503" in detail["provider"]


async def test_metrics_count_logins_and_renewals(here: World) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    await browser.get("/api/v1/applications")

    async with ClientSession() as http, http.get(here.sidecars[0].admin + "/metrics") as answer:
        text = await answer.text()

    assert 'argocd_token_refresh_logins_total{result="ok"} 1.0' in text
    assert 'argocd_token_refresh_renewals_total{result="renewed"} 1.0' in text
    assert 'argocd_token_refresh_requests_total{credential="session"} 1.0' in text


async def test_the_operators_endpoints_are_not_on_the_public_port(here: World) -> None:
    browser = await here.browser()

    assert (await browser.get("/metrics")).status == 404
    assert (await browser.get("/readyz")).status == 404
    assert (await browser.get("/_sidecar/readyz")).status == 404


async def test_readiness_answers_while_a_change_replaces_what_is_checked() -> None:
    checks: dict[str, Check] = {}

    async def replaces() -> str:
        del checks["provider"]
        return "ok"

    async def answers() -> str:
        return "ok"

    checks |= {"store": replaces, "provider": answers}
    admin = Admin(CollectorRegistry(), checks)
    admin.phase = Phase.SERVING
    async with (
        serving(admin.application(), host="127.0.0.1", port=0, leaving_cancels=False) as at,
        ClientSession() as http,
        http.get(f"{at}/readyz") as ready,
    ):
        assert ready.status == 200
        assert await ready.json() == {"phase": "serving", "store": "ok", "provider": "ok"}
