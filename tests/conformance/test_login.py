"""The suite's modules about a login: Basic RP and Config RP."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sidecar.demo.misbehaviour import Change
from tests.conformance.op import PAGE, Login, begun, finished, id_token, keys
from tests.fakes.clock import FakeClock
from tests.world import World, world


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    async with world(signing_key, fake_clock) as made:
        yield made


async def refuses(here: World, login: Login, token: str) -> bool:
    """Whether a login with this ID token is a page, and no session."""
    answer = await finished(here, login, token)
    return answer.status == 502 and not login.browser.session()


async def test_a_code_flow_login_is_finished_and_its_token_goes_up(here: World) -> None:
    browser = await here.logged_in()

    assert (await browser.get("/api/v1/session/userinfo")).status == 200


async def test_the_request_is_for_a_code_with_scope_nonce_state_and_pkce(here: World) -> None:
    asked = (await begun(here)).asked.query

    assert asked["response_type"] == "code"
    assert asked["client_id"] == "argo-cd"
    assert asked["redirect_uri"] == f"{here.base}/auth/callback"
    assert {"openid", "profile", "email", "groups"} <= set(asked["scope"].split())
    assert len(asked["nonce"]) >= 32
    assert len(asked["state"]) >= 32
    assert asked["code_challenge_method"] == "S256"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"nonce": "another"}, id="nonce-invalid"),
        pytest.param({"iss": "https://another.example.org"}, id="invalid-iss"),
        pytest.param({"aud": "another-client"}, id="invalid-aud"),
        pytest.param({"aud": None}, id="missing-aud"),
        pytest.param({"sub": None}, id="missing-sub"),
        pytest.param({"iat": None}, id="missing-iat"),
        pytest.param({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, id="invalid-athash"),
    ],
)
async def test_an_id_token_with_a_wrong_or_missing_claim_is_refused(
    here: World, signing_key: rsa.RSAPrivateKey, changes: dict[str, Any]
) -> None:
    login = await begun(here)

    assert await refuses(here, login, id_token(here, login, signing_key, **changes))


async def test_an_id_token_signed_with_rs256_is_taken(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    login = await begun(here)

    answer = await finished(here, login, id_token(here, login, signing_key))

    assert answer.status == 303
    assert login.browser.session()


async def test_an_id_token_without_a_signature_is_refused(here: World) -> None:
    login = await begun(here)

    assert await refuses(here, login, id_token(here, login, "", alg="none"))


async def test_an_id_token_with_another_keys_signature_is_refused(here: World) -> None:
    login = await begun(here)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    assert await refuses(here, login, id_token(here, login, other))


async def test_an_id_token_with_an_ec_signature_that_no_key_made_is_refused(here: World) -> None:
    login = await begun(here)
    other: Any = ec.generate_private_key(ec.SECP256R1())

    assert await refuses(here, login, id_token(here, login, other, alg="ES256"))


async def test_an_id_token_signed_with_the_clients_secret_is_refused(here: World) -> None:
    login = await begun(here)
    secret = here.provider.settings.client_secret.ljust(64, "=")

    assert await refuses(here, login, id_token(here, login, secret, alg="HS256"))


async def test_a_token_that_names_no_key_is_verified_by_the_only_one(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    login = await begun(here)
    assert len(await keys(here)) == 1

    answer = await finished(here, login, id_token(here, login, signing_key))

    assert answer.status == 303


async def test_a_token_that_names_no_key_is_verified_by_whichever_of_several_fits(
    here: World, signing_key: rsa.RSAPrivateKey
) -> None:
    here.provider.rotate_keys(keep_old=True)
    login = await begun(here)
    assert len(await keys(here)) == 2

    answer = await finished(here, login, id_token(here, login, signing_key))

    assert answer.status == 303


async def test_the_providers_configuration_is_read_and_used(here: World) -> None:
    login = await begun(here)

    assert str(login.asked).startswith(here.provider.issuer)
    assert here.provider.jwks_requests == 0
    assert (await login.browser.get(login.callback, headers=PAGE)).status == 303
    assert here.provider.jwks_requests == 1


async def test_a_signing_key_that_changed_since_the_last_login_is_read_again(here: World) -> None:
    await here.logged_in()
    here.provider.rotate_keys(keep_old=False)
    here.clock.advance(11)

    assert (await here.logged_in()).session()


async def test_a_signing_key_that_changed_right_before_signing_is_read_again(here: World) -> None:
    login = await begun(here)
    here.provider.rotate_keys(keep_old=False)

    answer = await login.browser.get(login.callback, headers=PAGE)

    assert answer.status == 303
    assert login.browser.session()


async def test_a_changed_answer_is_not_taken_for_the_honest_one(here: World) -> None:
    """What the modules above rely on: this provider's own token, forged, is refused."""
    login = await begun(here)
    here.provider.script.append(Change(forged=True))

    answer = await login.browser.get(login.callback, headers=PAGE)

    assert answer.status == 502
