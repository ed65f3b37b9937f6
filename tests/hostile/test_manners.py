"""What providers do that the standard leaves open: each provider's manners, over plain HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import ClientSession

from sidecar.core.provider_profiles import Provider
from tests.demo.client import REDIRECT_URI, Client, location_parameters
from tests.hostile.client import hostile_provider
from tests.hostile.manners import MANNERS
from tests.hostile.test_hostile import Person


@asynccontextmanager
async def person_at(provider: Provider, **settings: object) -> AsyncIterator[Person]:
    """Somebody with an account at a provider with these manners."""
    changed = {**MANNERS[provider], **settings}
    async with (
        hostile_provider(redirect_uris=[REDIRECT_URI], id_token_seconds=60, **changed) as hostile,
        ClientSession() as http,
    ):
        # The tests' own client puts a slash behind the issuer.
        yield Person("ada", http, replace(hostile, issuer=hostile.issuer.rstrip("/")))


async def logged_in(ada: Person, **query: str) -> dict[str, object]:
    """What an authorization request with these parameters brings; `error` where it is refused."""
    client = Client(ada.http, ada.hostile)
    form = {"user": ada.name, "password": ada.name}
    back = location_parameters(await client.answer_form(form, **query))
    if "code" not in back:
        return dict(back)
    _, tokens = await client.exchange(back["code"])
    return dict(tokens)


async def refresh_token(ada: Person, provider: Provider) -> str:
    """The refresh token of a login that asks for all that this provider knows."""
    scope = " ".join(MANNERS[provider].get("knows_scopes") or ("openid", "offline_access"))
    tokens = await logged_in(ada, scope=scope, access_type="offline", prompt="consent")
    return str(tokens["refresh_token"])


@pytest.mark.parametrize("scope", ["groups", "offline_access"])
async def test_a_scope_that_is_not_known_is_refused(scope: str) -> None:
    async with person_at(Provider.COGNITO) as ada:
        assert (await logged_in(ada, scope=f"openid {scope}"))["error"] == "invalid_scope"
        assert "refresh_token" in await logged_in(ada, scope="openid")


async def test_google_gives_a_refresh_token_for_both_of_its_parameters_only() -> None:
    async with person_at(Provider.GOOGLE) as ada:
        offline = {"scope": "openid", "access_type": "offline"}

        assert "refresh_token" not in await logged_in(ada, scope="openid")
        assert "refresh_token" not in await logged_in(ada, **offline)
        assert "refresh_token" in await logged_in(ada, **offline, prompt="consent")


@pytest.mark.parametrize("provider", [Provider.COGNITO, Provider.GOOGLE])
async def test_a_refresh_token_that_stays_is_not_in_the_answer(provider: Provider) -> None:
    async with person_at(provider) as ada:
        token = await refresh_token(ada, provider)

        for _ in range(2):
            answer = (await ada.refresh(token)).json

            assert "refresh_token" not in answer
            assert "id_token" in answer


async def test_auth0_tolerates_the_token_before_the_newest_and_no_older_one() -> None:
    """Inside the overlap."""
    async with person_at(Provider.AUTH0) as ada:
        first = await refresh_token(ada, Provider.AUTH0)
        second = (await ada.refresh(first)).json["refresh_token"]
        again = await ada.refresh(first)
        third = (await ada.refresh(second)).json["refresh_token"]

        older = await ada.refresh(first)

        assert again.status == 200
        assert older.json["error"] == "invalid_grant"
        assert (await ada.refresh(third)).json["error"] == "invalid_grant"


@pytest.mark.parametrize(("number", "named"), [(200, "groups"), (201, "_claim_names")])
async def test_entra_names_another_place_for_more_than_two_hundred_groups(
    number: int, named: str
) -> None:
    async with person_at(Provider.ENTRA, groups=[f"g{i}" for i in range(number)]) as ada:
        claims = (await ada.refresh(await refresh_token(ada, Provider.ENTRA))).claims

        assert {"groups", "_claim_names"} & set(claims) == {named}


@pytest.mark.parametrize("provider", [Provider.KEYCLOAK, Provider.GITLAB, Provider.AUTHENTIK])
async def test_a_refreshed_id_token_leaves_the_nonce_out(provider: Provider) -> None:
    async with person_at(provider) as ada:
        refreshed = await ada.refresh(await refresh_token(ada, provider))

        assert "nonce" not in refreshed.claims


@pytest.mark.parametrize("provider", MANNERS)
async def test_a_dismissed_users_refresh_is_refused_in_the_providers_words(
    provider: Provider,
) -> None:
    async with person_at(provider) as ada:
        token = await refresh_token(ada, provider)
        await ada.hostile.dismiss(ada.name)

        refused = await ada.refresh(token)

        status, error, text = MANNERS[provider].get(
            "refuses_with", (400, "invalid_grant", "User disabled")
        )
        if provider is Provider.DEX:
            status, error, text = 500, "invalid_request", ""
        assert (refused.status, refused.json["error"]) == (status, error)
        assert refused.json.get("error_description", "") == text
