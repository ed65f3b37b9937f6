"""docs/providers/: the settings of each page, at a provider that behaves as the page says."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import ClientSession

from sidecar.core.provider_profiles import Provider, recognised
from tests.config.mounted import Installation
from tests.hostile.log import Entry
from tests.hostile.manners import MANNERS
from tests.system.client_keys import public_jwk, rsa_key, write_pod_token
from tests.system.provider_pages import (
    HEADINGS,
    PAGES,
    Way,
    headings,
    loses_an_answer_for_nothing,
    text_of,
    ways,
)
from tests.system.provider_story import TOKEN_SECONDS, Story, story

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAYS = {
    f"{way.provider}{'-workload-identity' if way.workload_identity else ''}": way
    for provider in MANNERS
    for way in ways(provider)
}
PLACES_AT_ONCE = 4
every_way = pytest.mark.parametrize("name", WAYS)


@dataclass
class Logout:
    """What became of a logout: where it went, and what is left of its token."""

    location: str
    wanted: str
    status: int
    copy_at_argocd: int
    revoked: list[Entry]


@dataclass
class Dismissal:
    """How long somebody got in after they were dismissed, and what they saw then."""

    access_seconds: float
    first_refusal: int
    afterwards: set[int]


@dataclass
class Seen:
    """Four people's days at one place: renewals, a logout, a dismissal, a lost answer."""

    claims: list[dict[str, Any]]
    refreshes: list[Entry]
    refusals: list[Entry]
    logout: Logout
    dismissal: Dismissal
    after_a_lost_answer: list[int]
    lost: list[Entry]


@asynccontextmanager
async def at(way: Way, folder: Path, **provider: Any) -> AsyncIterator[Story]:
    """A person who has logged in with a page's settings.

    What differs from the page is the provider's address, and so its name, which a host tells.
    """
    argocd = Installation(folder / "argocd")
    settings: dict[str, Any] = {**MANNERS[way.provider], "path": way.path, **provider}
    environment = {
        **argocd.environment,
        "SIDECAR_PROVIDER": way.provider,
        "SIDECAR_ISSUER": "",
        "SIDECAR_CLIENT_ID": "",
        "SIDECAR_CLIENT_SECRET": "",
        **way.environment,
    }
    if way.workload_identity:
        key, file = rsa_key(), folder / "token"
        write_pod_token(file, key)
        environment["AZURE_FEDERATED_TOKEN_FILE"] = str(file)
        keys = [public_jwk(key, "RS256", "cluster")]
        settings |= {"client_auth": ["workload-identity"], "pod_keys": keys}
    else:
        argocd.change("argocd-secret", {way.secret_key: b"demo-secret"})
    async with story(
        environment,
        installation=argocd,
        oidc=way.oidc_at("{issuer}"),
        argocd={"logout_url": way.known.get("logoutURL", "")},
        client_id=way.known["clientID"],
        **settings,
    ) as here:
        yield here


async def token_at_argocd(here: Story) -> str:
    """The ID token with which Argo CD is asked."""
    async with here.http.get(f"{here.address}/api/v1/echo") as answer:
        fields = dict((await answer.json())["headers"])
    cookie: str = fields.get("Cookie") or fields["cookie"]
    return cookie.partition("argocd.token=")[2]


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


async def statuses(here: Story, *, seconds: float) -> list[int]:
    """What a page that is loaded again and again sees, until it is told to log in."""
    seen: list[int] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until and 401 not in seen:
        seen.append(await here.load())
        await asyncio.sleep(0.1)
    return seen


async def asked_past_the_sidecar(here: Story, token: str) -> int:
    """How Argo CD answers a copy of an ID token that has not ended."""
    assert claims_of(token)["exp"] > time.time()
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        ClientSession() as http,
        http.get(f"{here.upstream}/api/v1/applications", headers=headers) as answer,
    ):
        return answer.status


async def seen_at(way: Way, folder: Path) -> Seen:
    """What four people see who log in with a page's settings."""
    async with at(way, folder) as ada:
        bob, carol, dan = [await ada.with_user(name) for name in ("bob", "carol", "dan")]
        claims, logout, dismissal, statuses = await asyncio.gather(
            renewals(ada), logging_out(bob, way), dismissed(carol), losing_an_answer(dan)
        )
        return Seen(
            claims,
            await ada.entries("refresh"),
            await ada.entries("refused", "reuse"),
            logout,
            dismissal,
            statuses,
            await dan.entries("lost_answer"),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Seen]:
    """What was seen with every page's settings."""
    at_once = asyncio.Semaphore(PLACES_AT_ONCE)

    async def one(name: str) -> Seen:
        async with at_once:
            return await seen_at(WAYS[name], tmp_path_factory.mktemp(name))

    return dict(zip(WAYS, await asyncio.gather(*map(one, WAYS)), strict=True))


async def renewals(here: Story) -> list[dict[str, Any]]:
    first = claims_of(await token_at_argocd(here))
    await here.lives_through(2)
    return [first, claims_of(await token_at_argocd(here))]


async def logging_out(here: Story, way: Way) -> Logout:
    await here.lives_through(1)  # now its token is new, and is not renewed before the logout
    token = await token_at_argocd(here)
    location = await here.log_out()
    wanted = way.known.get("logoutURL", "")
    copy = await asked_past_the_sidecar(here, token)
    if MANNERS[way.provider].get("revocation_endpoint", True):
        await here.hostile.logged("revoked", user=here.user)
    return Logout(
        # The token in it may be a newer one than Argo CD was asked with last.
        re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "{{token}}", location).rstrip("/"),
        wanted.replace("{{logoutRedirectURL}}", here.address) or here.address,
        await here.load(),
        copy,
        await here.entries("revoked"),
    )


async def dismissed(here: Story) -> Dismissal:
    await here.load()
    await here.hostile.dismiss(here.user)
    began, last_access = time.monotonic(), 0.0
    async with asyncio.timeout(20):
        while (status := await here.load()) == 200:
            last_access = time.monotonic()
            await asyncio.sleep(0.1)
    return Dismissal(last_access - began, status, set(await statuses(here, seconds=1)))


async def losing_an_answer(here: Story) -> list[int]:
    await here.hostile.add(on="refresh", user=here.user, drop="after", times=1)
    return await statuses(here, seconds=4 * TOKEN_SECONDS)


async def test_every_page_has_a_provider_that_behaves_so_and_the_same_headings() -> None:
    assert {f"{provider}.md" for provider in MANNERS} == {page.name for page in PAGES.iterdir()}
    for provider in MANNERS:
        assert headings(text_of(provider)) == HEADINGS


@pytest.mark.parametrize("name", WAYS)
async def test_the_provider_of_a_page_is_recognised_without_being_named(name: str) -> None:
    way = WAYS[name]
    issuer = str(way.known["issuer"])
    # On hosts of one's own the metadata tell it.
    metadata = {
        Provider.KEYCLOAK: {"token_endpoint": f"{issuer}/protocol/openid-connect/token"},
        Provider.AUTHENTIK: {
            "token_endpoint": "https://authentik.example.com/application/o/token/"
        },
    }

    assert recognised(issuer, metadata.get(way.provider, {})).provider is way.provider


@every_way
async def test_a_login_with_the_pages_settings_is_renewed_and_its_groups_stay(
    seen: Mapping[str, Seen], name: str
) -> None:
    way, here = WAYS[name], seen[name]
    first, last = here.claims

    assert last["jti"] != first["jti"]
    assert first[way.groups_claim] == last[way.groups_claim]
    # Google has none: roles go by the address there.
    assert last[way.groups_claim] in (["developers"], "ada@example.org")
    assert len(here.refreshes) >= 2
    rotates = MANNERS[way.provider].get("rotates", True)
    assert {e.given > e.presented for e in here.refreshes} == {rotates}
    assert not here.refusals


@every_way
async def test_a_logout_goes_where_the_page_says_and_tells_provider_and_argo_cd(
    seen: Mapping[str, Seen], name: str
) -> None:
    logout = seen[name].logout

    assert logout.location == logout.wanted.rstrip("/")
    assert logout.status == 401
    assert logout.copy_at_argocd == 401
    told = MANNERS[WAYS[name].provider].get("revocation_endpoint", True)
    assert [e.detail for e in logout.revoked] == ["revoked by the client"] * told


@every_way
async def test_a_dismissed_users_access_ends_with_the_id_token(
    seen: Mapping[str, Seen], name: str
) -> None:
    """Dex says no by a bare 500, which may be an outage: it is no login yet."""
    dismissal = seen[name].dismissal

    assert dismissal.access_seconds <= TOKEN_SECONDS + 1
    assert dismissal.first_refusal == (503 if WAYS[name].provider is Provider.DEX else 401)
    assert dismissal.afterwards <= {401, 503}


@every_way
async def test_an_answer_that_is_lost_costs_what_the_page_says(
    seen: Mapping[str, Seen], name: str
) -> None:
    statuses = seen[name].after_a_lost_answer

    assert seen[name].lost
    assert set(statuses) <= {200, 401, 503}
    costs_nothing = loses_an_answer_for_nothing(text_of(WAYS[name].provider))
    assert statuses[-1] == (200 if costs_nothing else 401)


async def test_more_groups_than_entra_puts_into_a_token_leave_none_in_it(tmp_path: Path) -> None:
    [way, *_] = ways(Provider.ENTRA)
    async with at(way, tmp_path, groups=[f"g{i}" for i in range(201)]) as here:
        await here.load()

        claims = claims_of(await token_at_argocd(here))

        assert claims["_claim_names"] == {"groups": "src1"}
        assert "groups" not in claims


@pytest.mark.parametrize(
    ("provider", "scope"),
    [
        (Provider.COGNITO, "groups"),
        (Provider.COGNITO, "offline_access"),
        (Provider.GOOGLE, "groups"),
        (Provider.ENTRA, "groups"),
        (Provider.GITLAB, "offline_access"),
    ],
)
async def test_a_scope_that_the_page_warns_of_fails_the_login(
    provider: Provider, scope: str, tmp_path: Path
) -> None:
    [way, *_] = ways(provider)
    asks = {"SIDECAR_SCOPES": f"openid profile email {scope}"}
    broken = Way(provider, way.oidc, way.groups_claim, asks)

    with pytest.raises(AssertionError, match="refused the sign-in"):
        async with at(broken, tmp_path):
            pass
