"""The whole data path before an Argo CD of each release."""

import asyncio
import json
from collections.abc import AsyncIterator

import jwt
import pytest
from aiohttp import ClientResponse
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.argocd_native import NativeLogins
from sidecar.demo.argocd_userinfo import UserinfoSettings
from sidecar.demo.argocd_versions import NativeRefresh, Traits
from sidecar.demo.valkey import valkey
from tests.config.mounted import Installation
from tests.demo.client import Client
from tests.fakes.clock import FakeClock
from tests.versions.releases import RELEASES, Release
from tests.world import Browser, World, plain_http, world

API = "/api/v1/applications"
WHO = "/api/v1/session/userinfo"
SETTINGS = "/api/v1/settings"
LOCAL = {"username": "admin", "password": "admin"}
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture(params=RELEASES, ids=lambda release: release.version)
def release(request: pytest.FixtureRequest) -> Release:
    found: Release = request.param
    return found


@pytest.fixture
async def here(
    release: Release, signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> AsyncIterator[World]:
    settings = {"version": release.version, "pkce": True}
    async with world(signing_key, fake_clock, argocd_settings=settings) as made:
        yield made


async def read(answer: ClientResponse) -> dict[str, object]:
    found: dict[str, object] = json.loads(await answer.text())
    return found


async def past(here: World) -> Browser:
    """A browser that reaches Argo CD past the sidecar."""
    browser = await here.browser()
    return Browser(browser.http, here.argocd._address + here.argocd.settings.root)


async def token_of(browser: Browser) -> str:
    """The token that goes up for this browser."""
    echo = await read(await browser.get("/api/v1/echo"))
    headers = echo["headers"]
    assert isinstance(headers, list)
    (line,) = [value for name, value in headers if name.lower() == "cookie"]
    return str(line).removeprefix("argocd.token=")


def leaked(answer: ClientResponse) -> bool:
    """Whether an answer shows a browser anything of a token of Argo CD's."""
    cookies = [line for line in answer.headers.getall("Set-Cookie", []) if "argocd.token=e" in line]
    return bool(cookies) or "Grpc-Metadata-Renew-Token" in answer.headers


def test_the_stand_in_acts_as_the_table_says(release: Release) -> None:
    assert ArgocdSettings(issuer="", version=release.version).traits == Traits(
        shows_pkce=release.shows_pkce,
        ui_runs_pkce=release.ui_runs_pkce,
        asks_userinfo=release.asks_userinfo,
        logs_out_by_host=release.out_by_host,
        revokes_id_tokens=release.revokes,
        native_refresh=release.native,
    )


async def test_the_ui_comes_to_the_sidecars_login(here: World, release: Release) -> None:
    browser, bare = await here.browser(), await past(here)

    theirs, ours = await read(await bare.get(SETTINGS)), await read(await browser.get(SETTINGS))

    oidc, shown = dict(theirs["oidcConfig"]), dict(ours["oidcConfig"])  # type: ignore[call-overload]
    assert oidc.get("enablePKCEAuthentication", False) is release.shows_pkce
    assert not shown.get("enablePKCEAuthentication", False)
    shown["enablePKCEAuthentication"] = oidc["enablePKCEAuthentication"] = None
    assert {**ours, "oidcConfig": shown} == {**theirs, "oidcConfig": oidc}
    login = await browser.get("/auth/login?return_url=" + here.base)
    assert login.headers["Location"].startswith(f"{here.provider.issuer}/authorize?")
    assert "code_challenge=" in login.headers["Location"]


async def test_a_session_outlives_its_tokens_in_every_way_in(here: World) -> None:
    browser = await here.logged_in()
    for _ in range(4):
        here.clock.advance(280)
        assert (await browser.get(API)).status == 200
        await here.settled()
        assert (await browser.get("/extensions/x")).status == 200
        async with browser.http.get(
            browser.base + "/api/v1/stream/applications", headers=EVENTS
        ) as s:
            assert s.status == 200
            assert (await s.content.readline()).startswith(b"data: ")
        origin = str(URL(here.base).origin())
        async with browser.http.ws_connect(
            browser.base + "/terminal?pod=x", origin=origin
        ) as shell:
            await shell.send_str("ls")
            assert await shell.receive_str() == "ls"

    assert (await read(await browser.get(WHO)))["username"] == "ada@example.org"
    assert here.provider.refreshes == 4
    assert here.argocd.seen.unauthorized == here.argocd.seen.expired_tokens == 0


async def test_a_logout_ends_the_token_at_argocd_where_it_has_a_list(
    here: World, release: Release
) -> None:
    browser = await here.logged_in()
    copy = {"Cookie": f"argocd.token={await token_of(browser)}"}

    answer = await browser.get("/auth/logout")

    assert answer.headers["Location"].rstrip("/") == here.base
    bare = await past(here)
    assert (await bare.get(API, headers=copy)).status == (401 if release.revokes else 200)
    assert (await browser.get(API)).status == 401


async def test_a_session_that_has_ended_sends_the_ui_to_the_login(here: World) -> None:
    browser = await here.logged_in()
    here.provider.end_all()
    here.clock.advance(400)

    assert (await browser.get(API)).status == 401

    assert await read(await browser.get(WHO)) == {"iss": "sso"}
    assert here.argocd.seen.expired_tokens == 0


async def test_a_local_account_goes_on_as_it_was(here: World) -> None:
    browser = await here.browser()
    logged_in = await browser.request("POST", "/api/v1/session", json=LOCAL)
    assert leaked(logged_in)  # it is the account's own
    before = browser.cookies()["argocd.token"]
    here.clock.advance(24 * 3600 - 200)

    renewed = await browser.get(API)

    assert renewed.status == 200
    assert leaked(renewed)
    assert browser.cookies()["argocd.token"] != before
    who = await read(await browser.get(WHO))
    assert (who["username"], who["iss"]) == ("admin", "argocd")
    assert (await browser.get("/auth/logout")).status == 303
    assert not browser.cookies().get("argocd.token")


async def test_a_bearer_token_goes_before_a_session_and_stays_itself(here: World) -> None:
    bare = await past(here)
    token = (await read(await bare.request("POST", "/api/v1/session", json=LOCAL)))["token"]
    browser = await here.logged_in()

    for headers in ({"Authorization": f"Bearer {token}"}, {"Grpc-Metadata-Token": str(token)}):
        who = await read(await browser.get(WHO, headers=headers))
        assert who["username"] == "admin"
    call = {"Content-Type": "application/grpc-web+proto", "token": str(token)}
    answer = await browser.request("POST", "/session.SessionService/Get", headers=call, data=b"\0")
    assert answer.headers["Grpc-Status"] == "0"


async def test_the_cli_comes_with_the_providers_token_of_its_own(here: World) -> None:
    """`argocd login --sso` gets issuer and client from Argo CD, and the token by itself."""
    here.provider.settings.redirect_uris += ("http://127.0.0.1:1/auth/callback",)
    browser = await here.logged_in()
    shown = await read(await browser.get(SETTINGS))
    oidc = dict(shown["oidcConfig"])  # type: ignore[call-overload]
    assert (oidc["issuer"], oidc["clientID"]) == (here.provider.issuer, "argo-cd")
    async with plain_http() as http:
        token = (await Client(http, here.provider).log_in())["id_token"]

    echo = await read(
        await browser.get("/api/v1/echo", headers={"Authorization": f"Bearer {token}"})
    )

    assert ["Authorization", f"Bearer {token}"] in echo["headers"]  # type: ignore[operator]
    assert "argocd.token" not in str(echo["headers"])
    call = {"Content-Type": "application/grpc-web+proto", "token": token}
    answer = await browser.request("POST", "/application.ApplicationService/List", headers=call)
    assert answer.headers["Grpc-Status"] == "0"


async def test_what_needs_no_login_passes_with_nobodys_credentials(here: World) -> None:
    browser = await here.browser()

    assert (await browser.get("/api/badge?name=a")).content_type == "image/svg+xml"
    assert (await browser.request("POST", "/api/webhook", data=b"{}")).status == 200
    assert (await read(await browser.get("/api/version")))["Version"] == (
        here.argocd.settings.version
    )
    await browser.request("POST", "/api/dex/token", data=b"grant_type=refresh_token")
    assert here.argocd.seen.log[-1].path == "/api/dex/token"
    assert here.argocd.seen.cookie_names == set()


async def test_anonymous_users_stay_anonymous_and_people_stay_people(here: World) -> None:
    here.argocd.settings.anonymous = True
    stranger, browser = await here.browser(), await here.logged_in()
    here.clock.advance(3000)

    assert (await stranger.get(API)).status == 200
    assert await read(await stranger.get(WHO)) == {}
    assert (await read(await browser.get(WHO)))["username"] == "ada@example.org"
    here.provider.end_all()
    here.clock.advance(3000)
    assert (await browser.get(API)).status == 401  # not anonymous without a word
    assert await read(await browser.get(WHO)) == {"iss": "sso"}


# Argo CD's own refresh


@pytest.fixture
async def native(here: World) -> NativeLogins:
    """Argo CD has a refresh token of Ada's, from a login before the sidecar was there."""
    settings = here.provider.settings
    here.argocd.settings.native = left = NativeLogins(
        f"{here.provider.issuer}/token",
        settings.client_id,
        settings.client_secret,
        threshold_seconds=240,
    )
    settings.redirect_uris += ("http://127.0.0.1:1/auth/callback",)
    async with plain_http() as http:
        tokens = await Client(http, here.provider).log_in()
    left.refresh_tokens[("ada", "")] = tokens["refresh_token"]
    return left


def belongs_to(native: NativeLogins, id_token: str) -> None:
    """Argo CD finds the refresh token that it has left for the user of this ID token."""
    (left,) = native.refresh_tokens.values()
    sid = jwt.decode(id_token, options={"verify_signature": False})["sid"]
    native.refresh_tokens = {("ada", sid): left}


async def test_what_argocd_renews_by_itself_stays_behind_the_sidecar(
    here: World, native: NativeLogins, release: Release
) -> None:
    browser = await here.logged_in()
    token = await token_of(browser)
    belongs_to(native, token)
    here.clock.advance(100)  # 200 left: inside Argo CD's threshold, and not in the sidecar's window

    answer = await browser.get(API)

    renews = release.native is not NativeRefresh.NEVER
    assert (native.renewals, answer.status) == (int(renews), 200)
    assert not leaked(answer)
    assert not browser.cookies().get("argocd.token")
    assert await token_of(browser) == token
    here.clock.advance(100)
    for _ in range(3):
        assert not leaked(await browser.get(API))
        await here.settled()
    assert here.provider.reuses == 0
    assert await token_of(browser) != token


async def test_past_the_sidecar_the_same_argocd_hands_its_token_out(
    here: World, native: NativeLogins, release: Release
) -> None:
    """The stand-in does what the sidecar is there to keep back."""
    browser, bare = await here.logged_in(), await past(here)
    token = await token_of(browser)
    belongs_to(native, token)
    here.clock.advance(100)

    answer = await bare.get(API, headers={"Cookie": f"argocd.token={token}"})

    assert leaked(answer) is (release.native is not NativeRefresh.NEVER)
    here.clock.advance(300)
    late = await (await past(here)).get(API, headers={"Cookie": f"argocd.token={token}"})
    assert late.status == (200 if release.native is NativeRefresh.AFTER_IT_TOO else 401)


async def test_argocd_is_never_given_a_token_that_has_ended_to_renew(
    here: World, native: NativeLogins
) -> None:
    browser = await here.logged_in()
    belongs_to(native, await token_of(browser))
    here.clock.advance(400)
    here.provider.available = False

    answers = await asyncio.gather(*(browser.get(API) for _ in range(5)))

    assert {answer.status for answer in answers} == {503}
    assert native.renewals == here.argocd.seen.expired_tokens == 0


# Groups from userinfo


async def test_groups_from_userinfo_come_in_each_release_that_asks_for_them(
    release: Release,
    signing_key: rsa.RSAPrivateKey,
    fake_clock: FakeClock,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    argocd = Installation(tmp_path_factory.mktemp("argocd"))
    async with (
        valkey() as url,
        world(
            signing_key,
            fake_clock,
            installation=argocd,
            environment={
                "SIDECAR_ARGOCD_REDIS_URL": url,
                "SIDECAR_SEED_ACCESS_TOKEN": "on",
            },
            provider_settings={"groups_in_id_token": False, "access_token_seconds": 300},
            argocd_settings={
                "version": release.version,
                "userinfo": UserinfoSettings(url, b"hunter3"),
            },
        ) as made,
    ):
        argocd.add_to_oidc("enableUserInfoGroups: true\nuserInfoPath: /userinfo")
        await made.sidecars[0].running.changes.look()
        browser = await made.logged_in()
        for _ in range(3):
            who = await read(await browser.get(WHO))
            assert who.get("groups") == (["developers"] if release.asks_userinfo else None)
            made.clock.advance(280)
            await made.settled()
        assert made.argocd.seen.unauthorized == 0
