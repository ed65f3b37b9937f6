"""The suite's modules about the refresh grant."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.misbehaviour import Change
from tests.fakes.clock import FakeClock
from tests.world import World, world

API = "/api/v1/applications"


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    async with world(signing_key, fake_clock) as made:
        yield made


async def test_the_refresh_token_brings_tokens_that_are_used_from_then_on(here: World) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)

    answer = await browser.get(API)

    assert answer.status == 200
    assert here.provider.refreshes == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"iss": "https://another.example.org"}, id="invalid-issuer"),
        pytest.param({"aud": "another-client"}, id="invalid-aud"),
        pytest.param({"aud": ["argo-cd", "another"], "azp": "another"}, id="invalid-azp"),
    ],
)
async def test_a_refreshed_id_token_that_is_not_for_us_is_never_used(
    here: World, changes: dict[str, Any]
) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.append(Change(claims=changes))

    answer = await browser.get(API)

    assert answer.status == 503
    assert here.metric("renewal_failures_total", reason="id_token") == 1


async def test_a_refreshed_id_token_of_another_user_ends_the_session(here: World) -> None:
    browser = await here.logged_in()
    here.clock.advance(301)
    here.provider.script.append(Change(claims={"sub": "somebody-else"}))

    answer = await browser.get(API)

    assert answer.status == 401
    assert here.metric("ended_sessions_total", reason="wrong_answer") == 1
