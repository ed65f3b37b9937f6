"""Which claims are a person's groups, as it is configured."""

from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.misbehaviour import Change
from tests.fakes.clock import FakeClock
from tests.web.conftest import Installed
from tests.world import Browser, World, world

API = "/api/v1/applications"


async def renewed(here: World, browser: Browser, **claims: object) -> None:
    here.provider.script.append(Change(claims=claims))
    here.clock.advance(240)
    await browser.get(API)
    await here.settled()


async def test_a_variable_names_the_claims(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    environment = {"SIDECAR_GROUPS_CLAIMS": "https://example.org/roles"}
    async with world(signing_key, fake_clock, environment=environment) as here:
        browser = await here.logged_in()

        await renewed(here, browser, groups=None)
        assert here.metric("group_changes_total", change="lost") == 0
        await renewed(here, browser, **{"https://example.org/roles": ["admin"]})

        assert here.metric("group_changes_total", change="gained") == 1


async def test_what_argocds_policies_go_by_counts_and_so_does_its_change(
    installed: Installed,
) -> None:
    here = installed.world
    browser = await here.logged_in()
    await renewed(here, browser, roles=["admin"])
    assert here.metric("group_changes_total", change="gained") == 0

    installed.argocd.change("argocd-rbac-cm", {"scopes": b"[roles]"})
    await installed.changed()
    await renewed(here, browser, roles=["operator"])

    for change in ("lost", "gained"):
        assert here.metric("group_changes_total", change=change) == 1
