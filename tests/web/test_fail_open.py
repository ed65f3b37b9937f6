"""Where Argo CD's settings have no login to take over, everything is as without the sidecar."""

import pytest
from aiohttp import ClientSession
from yarl import URL

from tests.web.conftest import Installed
from tests.world import PAGE

BREAKS = {
    "no_single_sign_on": lambda argocd: argocd.change("argocd-cm", {"oidc.config": None}),
    "a_dex_that_does_not_start": lambda argocd: argocd.change(
        "argocd-cm", {"oidc.config": None, "dex.config": b"connectors: []"}
    ),
    "half_written_yaml": lambda argocd: argocd.oidc("issuer: [https://idp"),
    "no_mapping": lambda argocd: argocd.oidc("- issuer"),
    "no_issuer": lambda argocd: argocd.oidc("clientID: argo-cd"),
    "an_issuer_that_is_none": lambda argocd: argocd.oidc("issuer: idp\nclientID: argo-cd"),
    "no_url": lambda argocd: argocd.change("argocd-cm", {"url": None}),
    "a_url_that_is_none": lambda argocd: argocd.change("argocd-cm", {"url": b"argocd"}),
    "user_info_groups": lambda argocd: argocd.add_to_oidc(
        "enableUserInfoGroups: true\nuserInfoPath: /userinfo"
    ),
    "workload_identity": lambda argocd: argocd.add_to_oidc("azure: {useWorkloadIdentity: true}"),
    "a_secret_that_is_not_mounted": lambda argocd: argocd.add_to_oidc("rootCA: $elsewhere:ca"),
    "no_config_map": lambda argocd: argocd.unmount("argocd-cm"),
}


@pytest.mark.parametrize("how", BREAKS)
async def test_what_is_wrong_with_single_sign_on_takes_nothing_from_anybody(
    installed: Installed, how: str
) -> None:
    here = installed.world
    BREAKS[how](installed.argocd)

    replica, browser = await installed.starts()

    login = await browser.get("/auth/login")
    assert (login.status, login.headers["Location"]) == (303, here.provider.issuer)
    assert (await browser.get("/auth/callback?code=a&state=b")).status == 400
    assert here.argocd.seen.own_logins == 2
    form = {"username": "admin", "password": here.argocd.settings.admin_password}
    assert (await browser.request("POST", "/api/v1/session", json=form)).status == 200
    assert (await browser.get("/api/v1/applications")).status == 200
    assert (await browser.get("/applications", headers=PAGE)).status == 200
    for path in ("/api/version", "/api/v1/settings", "/api/badge?name=guestbook", "/healthz"):
        assert (await browser.get(path)).status == 200, path
    hook = {"Content-Type": "application/json", "X-GitHub-Event": "push"}
    webhook = await browser.request("POST", "/api/webhook", data=b"{}", headers=hook)
    assert webhook.status == 200
    web = {"Content-Type": "application/grpc-web+proto", "token": "a.b.c"}
    assert (await browser.request("POST", "/any.Service/Any", headers=web)).status == 200
    assert (await browser.get("/auth/logout")).status == 303

    detail = await installed.detail(replica)
    assert detail["configuration"] != "ok"
    assert detail["upstream"] == "ok"
    assert "store" not in detail
    assert replica.metric("takes_over_logins") == 0
    assert replica.metric("alarms_total", kind="logins_pass") == 1
    assert replica.metric("alarms_total", kind="argocd_config") >= 1


async def test_our_cookies_do_not_go_up_where_logins_pass(installed: Installed) -> None:
    here = installed.world
    before = await here.logged_in()
    installed.argocd.change("argocd-cm", {"oidc.config": None})
    _, browser = await installed.starts()
    here.share_cookies(before, browser)
    assert browser.session()

    answer = await browser.get("/api/v1/applications", headers={"Cookie": "other=1"})
    with_ours = await browser.get("/api/v1/applications")

    assert (answer.status, with_ours.status) == (401, 401)
    assert not [name for name in here.argocd.seen.cookie_names if "token-refresh" in name]


async def test_argo_cds_own_cookie_passes_untouched_where_logins_pass(
    installed: Installed,
) -> None:
    here = installed.world
    here.environment["SIDECAR_COOKIE_MODE"] = "mirror"
    await here.sidecars[0].stop()
    here.sidecars.clear()
    mirrored = await here.start_sidecar()
    browser = await here.logged_in(mirrored)
    await browser.get("/applications", headers=PAGE)
    assert "argocd.token" in browser.cookies()
    installed.argocd.change("argocd-cm", {"oidc.config": None})

    _, other = await installed.starts()
    here.share_cookies(browser, other)

    # Argo CD has the last word about a token that the browser itself holds.
    assert (await other.get("/api/v1/applications")).status == 200


async def test_the_uis_settings_pass_untouched_where_logins_pass(installed: Installed) -> None:
    installed.world.argocd.settings.pkce = True
    installed.argocd.change("argocd-cm", {"oidc.config": None})
    _, browser = await installed.starts()

    settings = await (await browser.get("/api/v1/settings")).json()

    assert settings["oidcConfig"]["enablePKCEAuthentication"] is True


async def test_a_good_installation_has_no_alarm(installed: Installed) -> None:
    here = installed.world
    browser = await here.logged_in()

    assert (await browser.get("/api/v1/applications")).status == 200
    assert await installed.detail() == {
        "phase": "serving",
        "configuration": "ok",
        "store": "ok",
        "provider": "ok",
        "upstream": "ok",
    }
    assert here.metric("takes_over_logins") == 1
    assert here.metric("alarms_total", kind="argocd_config") == 0
    assert here.argocd.seen.own_logins == 0


async def test_a_secret_that_argo_cd_cannot_resolve_either_stops_no_start(
    installed: Installed,
) -> None:
    installed.argocd.change("argocd-secret", {"oidc.clientSecret": None})

    replica, browser = await installed.starts()

    assert replica.metric("takes_over_logins") == 1
    assert "clientSecret begins with $" in (await installed.detail(replica))["configuration"]
    callback = URL(await browser.sign_in(), encoded=True)
    # The provider refuses the client, as it would refuse Argo CD.
    assert (await browser.get(callback.raw_path_qs)).status == 502


async def test_a_provider_that_cannot_be_reached_stops_nothing_but_logins(
    installed: Installed,
) -> None:
    here = installed.world
    here.provider.available = False

    replica, browser = await installed.starts()

    assert (await browser.get("/auth/login")).status == 503
    assert (await browser.get("/api/version")).status == 200
    assert (await browser.get("/applications", headers=PAGE)).status == 200
    detail = await installed.detail(replica)
    assert detail["configuration"] == "ok"
    assert detail["provider"] != "ok"


async def test_a_clients_token_passes_where_logins_pass(installed: Installed) -> None:
    installed.argocd.change("argocd-cm", {"oidc.config": None})
    replica, browser = await installed.starts()
    form = {"username": "admin", "password": installed.world.argocd.settings.admin_password}
    login = await browser.request("POST", "/api/v1/session", json=form)
    token = (await login.json())["token"]

    async with ClientSession(headers={"Authorization": f"Bearer {token}"}) as cli:
        at = f"http://127.0.0.1:{replica.port}"
        async with cli.get(f"{at}/api/v1/applications") as answer:
            assert answer.status == 200
