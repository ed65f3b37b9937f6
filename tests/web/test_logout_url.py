"""Where Argo CD's `logoutURL` sends a browser, and with which token."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.clock import FakeClock
from tests.world import World, world

IDP = "https://idp.example.org/logout"
KEYCLOAK = f"{IDP}?id_token_hint={{{{token}}}}&post_logout_redirect_uri={{{{logoutRedirectURL}}}}"
COGNITO = f"{IDP}?client_id=argo-cd&logout_uri={{{{logoutRedirectURL}}}}"
OTHER = "other.example"


@pytest.fixture
async def keycloak(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    settings = {"logout_url": KEYCLOAK}
    async with world(signing_key, fake_clock, argocd_settings=settings) as made:
        yield made


def asked(location: str) -> dict[str, str]:
    assert location.startswith(IDP)
    return {name: value for name, (value,) in parse_qs(urlsplit(location).query).items()}


def end_of(id_token: str) -> float:
    claims = jwt.decode(id_token, options={"verify_signature": False})
    return float(claims["exp"])


async def test_the_provider_gets_the_token_and_the_way_back(keycloak: World) -> None:
    browser = await keycloak.logged_in()

    answer = await browser.get("/auth/logout")

    query = asked(answer.headers["Location"])
    assert query["post_logout_redirect_uri"] == keycloak.base
    assert end_of(query["id_token_hint"]) == keycloak.clock.now() + 300
    assert keycloak.provider.refreshes == 0


@pytest.mark.parametrize("seconds", [295, 3000])
async def test_a_token_that_has_ended_is_renewed_so_that_the_provider_takes_it(
    keycloak: World, seconds: float
) -> None:
    browser = await keycloak.logged_in()
    keycloak.clock.advance(seconds)

    answer = await browser.get("/auth/logout")

    query = asked(answer.headers["Location"])
    assert end_of(query["id_token_hint"]) > keycloak.clock.now() + 200
    assert keycloak.provider.refreshes == 1
    await keycloak.settled()
    assert [event.kind for event in keycloak.provider.log].count("revoked") == 1


async def test_a_provider_that_is_away_holds_up_no_logout(keycloak: World) -> None:
    browser = await keycloak.logged_in()
    keycloak.clock.advance(400)
    keycloak.provider.available = False

    answer = await browser.get("/auth/logout")

    assert answer.headers["Location"].rstrip("/") == keycloak.base
    assert not browser.session()


async def test_a_session_whose_grant_the_provider_has_ended_is_logged_out(
    keycloak: World,
) -> None:
    browser = await keycloak.logged_in()
    keycloak.clock.advance(400)
    keycloak.provider.end_all()

    answer = await browser.get("/auth/logout")

    assert answer.headers["Location"].rstrip("/") == keycloak.base
    assert not browser.session()


async def test_cognitos_form_of_it_has_client_and_way_back(here: World) -> None:
    here.argocd.settings.logout_url = COGNITO
    browser = await here.logged_in()
    here.clock.advance(3000)

    answer = await browser.get("/auth/logout")

    assert asked(answer.headers["Location"]) == {"client_id": "argo-cd", "logout_uri": here.base}


@pytest.mark.parametrize(("version", "comes_back"), [("v2.12.13", False), ("v2.13.9", True)])
async def test_the_way_back_leads_to_the_address_that_the_browser_is_at(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, version: str, comes_back: bool
) -> None:
    there = f"http://{OTHER}"
    argocd = {"logout_url": COGNITO, "additional_urls": (there,), "version": version}
    async with world(
        signing_key,
        fake_clock,
        environment={"SIDECAR_ADDITIONAL_URLS": there},
        argocd_settings=argocd,
    ) as made:
        browser = await made.logged_in()

        answer = await browser.get("/auth/logout", headers={"Host": OTHER})

        way_back = asked(answer.headers["Location"])["logout_uri"]
        assert way_back == (there if comes_back else made.base)
