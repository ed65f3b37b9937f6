"""A bundled Dex that comes, changes and goes in Argo CD's settings while a sidecar runs."""

from structlog.testing import capture_logs
from yarl import URL

from sidecar.core.argocd_dex import client_secret
from tests.web.conftest import Installed

API = "/api/v1/applications"
GITHUB = "connectors:\n- {type: github, id: github}\n"
SAML = "- {type: saml, id: okta}\n"
KEY = b"the key of the server under test"


def become_dex(installed: Installed) -> URL:
    """Let the provider be the bundled Dex, and Argo CD say so; where it is in the cluster."""
    here = installed.world
    address = here.provider.issuer
    settings = here.provider.settings
    settings.path, settings.issuer = "/api/dex", f"{here.base}/api/dex"
    settings.client_secret = client_secret(KEY)
    installed.argocd.change("argocd-secret", {"server.secretkey": KEY})
    installed.argocd.change("argocd-cmd-params-cm", {"server.dex.server": address.encode()})
    dex = {"oidc.config": None, "dex.config": GITHUB.encode()}
    installed.argocd.change("argocd-cm", dex)
    return URL(address)


async def test_logins_move_from_another_provider_to_the_bundled_dex_without_a_restart(
    installed: Installed,
) -> None:
    here = installed.world
    before = await here.logged_in()

    inside = become_dex(installed)
    await installed.changed()

    browser = await here.browser()
    begun = await browser.get("/auth/login")
    asked = URL(begun.headers["Location"])
    assert str(asked.with_query(None)) == f"{here.base}/api/dex/authorize"
    assert asked.query["client_id"] == "argo-cd"
    assert asked.query["redirect_uri"] == f"{here.base}/auth/callback"
    assert asked.query["scope"] == "openid profile email groups federated:id offline_access"
    at_dex = inside.join(asked.relative())
    form = {"user": "ada", "password": "ada"}
    back = await browser.request("POST", str(at_dex), data=form)
    assert (await browser.get(back.headers["Location"])).status == 303
    assert browser.session()
    assert (await before.get(API)).status == 401
    assert (await installed.detail())["configuration"] == "ok"


async def test_connectors_that_change_are_told_and_nobody_is_logged_out(
    installed: Installed,
) -> None:
    become_dex(installed)
    await installed.changed()

    with capture_logs() as logs:
        installed.argocd.change("argocd-cm", {"dex.config": (GITHUB + SAML).encode()})
        await installed.changed()
        installed.argocd.change("argocd-cm", {"dex.auth.connectorId": b"okta"})
        await installed.changed()

    said = [each["finding"] for each in logs if each["event"] == "argocd_config"]
    assert len(said) == 1
    assert "okta (saml), to which Dex gives no refresh token" in said[0]
    begun = await (await installed.world.browser()).get("/auth/login")
    assert URL(begun.headers["Location"]).query["connector_id"] == "okta"


async def test_a_dex_config_that_no_dex_starts_with_is_refused_and_the_one_before_goes_on(
    installed: Installed,
) -> None:
    become_dex(installed)
    await installed.changed()

    installed.argocd.change("argocd-cm", {"dex.config": b"connectors: [hunter2"})
    await installed.changed()

    detail = (await installed.detail())["configuration"]
    assert "refused: argocd-cm: dex.config is no YAML" in detail
    assert "hunter2" not in detail
    begun = await (await installed.world.browser()).get("/auth/login")
    assert begun.headers["Location"].startswith(f"{installed.world.base}/api/dex/authorize")
