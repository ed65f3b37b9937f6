"""That the stand-in behaves as the `argo-server` that it stands for, by its source."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar
from yarl import URL

from sidecar.demo.oauth import ProviderSettings as Provider
from tests.fakes.argo_server import ArgoServer, ArgoServerSettings
from tests.fakes.clock import FakeClock
from tests.fakes.service_accounts import AccountCluster
from tests.workflows.place import RememberingProvider

API = "/api/v1/workflows/argo"
SSO, CLIENT, SERVER = "Bearer v2:x", "Bearer eyJ", ""


@asynccontextmanager
async def argo_server(
    clock: FakeClock, cluster: AccountCluster | None = None, **settings: Any
) -> AsyncIterator[tuple[ArgoServer, Callable[..., Any]]]:
    server = ArgoServer(
        ArgoServerSettings(**settings), now=clock.now, who=cluster.who if cluster else lambda _: ""
    )
    async with AsyncExitStack() as owned:
        address = await owned.enter_async_context(server.running())
        http = await owned.enter_async_context(ClientSession(cookie_jar=DummyCookieJar()))

        async def ask(path: str = API, *headers: tuple[str, str]) -> Any:
            url = URL(address + path, encoded=True)
            async with http.get(url, headers=list(headers), allow_redirects=False) as answer:
                await answer.read()
                return answer

        yield server, ask


@pytest.mark.parametrize(
    ("modes", "authorization", "mode"),
    [
        (("sso",), SSO, "sso"),
        (("sso",), CLIENT, ""),
        (("sso",), SERVER, ""),
        (("client",), SSO, "client"),
        (("client",), CLIENT, "client"),
        (("client",), "Basic eDp5", "client"),
        (("client",), "bearer eyJ", ""),
        (("client",), SERVER, ""),
        (("server",), CLIENT, "server"),
        (("server",), SERVER, "server"),
        (("client", "sso"), SSO, "sso"),
        (("client", "sso"), CLIENT, "client"),
        (("client", "server"), CLIENT, "client"),
        (("client", "server"), "nothing", "server"),
    ],
)
async def test_the_mode_is_told_by_what_comes(
    clock: FakeClock, modes: tuple[str, ...], authorization: str, mode: str
) -> None:
    async with argo_server(clock, modes=modes) as (server, ask):
        await ask(API, *([("Authorization", authorization)] if authorization else []))

        assert server.seen[-1].mode == mode


async def test_a_header_comes_before_every_cookie_even_an_empty_one(clock: FakeClock) -> None:
    async with argo_server(clock) as (server, ask):
        cookie = ("Cookie", f'authorization="{server.session("ada")}"')

        with_cookie = await ask(API, cookie)
        with_both = await ask(API, cookie, ("Authorization", "Bearer eyJ"))
        with_empty = await ask(API, cookie, ("Authorization", ""))

        assert (with_cookie.status, with_both.status, with_empty.status) == (200, 401, 401)
        assert [each.mode for each in server.seen] == ["sso", "client", ""]


async def test_of_several_cookies_the_first_of_a_known_mode_counts(clock: FakeClock) -> None:
    async with argo_server(clock, modes=("sso",)) as (server, ask):
        good = server.session("ada")

        answer = await ask(API, ("Cookie", f'authorization=Bearer eyJ; authorization="{good}"'))

        assert answer.status == 200
        assert server.seen[-1].subject == "ada"


async def test_the_first_sso_cookie_counts_though_a_later_one_were_good(clock: FakeClock) -> None:
    async with argo_server(clock) as (server, ask):
        cookie = f'authorization=Bearer v2:broken; authorization="{server.session("ada")}"'

        assert (await ask(API, ("Cookie", cookie))).status == 401


async def test_artifacts_know_the_first_cookie_alone(clock: FakeClock) -> None:
    async with argo_server(clock, modes=("sso",)) as (server, ask):
        good = server.session("ada")
        path = "/artifact-files/argo/workflows/w/n/outputs/main"

        first = await ask(path, ("Cookie", f'authorization="{good}"'))
        second = await ask(path, ("Cookie", f'authorization=Bearer eyJ; authorization="{good}"'))

        assert (first.status, second.status) == (200, 401)


async def test_a_session_ends_after_ten_hours_and_a_minutes_leeway(clock: FakeClock) -> None:
    async with argo_server(clock) as (server, ask):
        sent = ("Authorization", server.session("ada"))
        clock.advance(36_000)
        assert (await ask(API, sent)).status == 200
        clock.advance(61)

        assert (await ask(API, sent)).status == 401


async def test_a_token_of_kubernetes_is_its_accounts_and_another_is_refused_there(
    clock: FakeClock, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    async with argo_server(clock, cluster) as (server, ask):
        token = cluster.issue("argo", "ci")

        known = await ask(API, ("Authorization", f"Bearer {token}"))
        unknown = await ask(API, ("Authorization", "Bearer unknown"))
        unasked = await ask("/api/v1/info", ("Authorization", "Bearer unknown"))

        assert [each.status for each in (known, unknown, unasked)] == [200, 401, 200]
        assert server.seen[0].account == "argo/ci"


async def test_pages_need_nobody_and_the_api_says_so_in_its_form(clock: FakeClock) -> None:
    async with argo_server(clock) as (_, ask):
        assert (await ask("/workflows")).status == 200

        refused, stream = await ask(API), await ask("/api/v1/workflow-events/argo")

        assert (refused.status, (await refused.json())["code"]) == (401, 16)
        assert (stream.status, (await stream.json())["error"]["http_code"]) == (401, 401)


async def test_the_login_sets_a_lax_cookie_named_by_its_state_and_the_callback_a_strict_one(
    clock: FakeClock,
) -> None:
    provider = RememberingProvider(
        Provider(
            client_id="argo-workflows",
            client_secret="workflows-secret",
            requires_pkce=False,
            redirect_uris=("http://argo.example/oauth2/callback",),
        ),
        now=clock.now,
    )
    provider.signed_in = "ada"
    async with (
        provider.running() as issuer,
        argo_server(clock, issuer=issuer, redirect_url="http://argo.example/oauth2/callback") as (
            _,
            ask,
        ),
        ClientSession(cookie_jar=DummyCookieJar()) as http,
    ):
        began = await ask("/oauth2/redirect?redirect=/workflows?a=1,2")
        state = URL(began.headers["Location"]).query["state"]
        (line,) = began.headers.getall("Set-Cookie")
        async with http.get(began.headers["Location"], allow_redirects=False) as at_provider:
            callback = URL(at_provider.headers["Location"], encoded=True)
        done = await ask(str(callback.relative()), ("Cookie", line.partition(";")[0]))

    assert began.status == 302
    assert line.startswith(f'{state}="/workflows?a=1,2"; Expires=')
    assert line.endswith("; HttpOnly; SameSite=Lax")
    blank, login = done.headers.getall("Set-Cookie")
    assert blank == f"{state}="
    assert (done.status, done.headers["Location"]) == (302, "/workflows?a=1,2")
    assert login.startswith('authorization="Bearer v2:')
    assert login.endswith("; SameSite=Strict")
    assert "HttpOnly" not in login
    expires = login.partition("Expires=")[2].partition(";")[0]
    assert parsedate_to_datetime(expires).timestamp() == clock.now() + 36_000


@pytest.mark.parametrize(
    "redirect", ["https://evil.example/", "//evil.example", "/\\evil.example", "/a/../b", ""]
)
async def test_another_sites_address_is_replaced_by_the_base(
    clock: FakeClock, redirect: str
) -> None:
    provider = RememberingProvider(Provider(), now=clock.now)
    async with (
        provider.running() as issuer,
        argo_server(clock, issuer=issuer, base_href="/argo/") as (_, ask),
    ):
        path = str(URL("/oauth2/redirect").with_query({"redirect": redirect}))
        (line,) = (await ask(path)).headers.getall("Set-Cookie")

    assert line.partition(";")[0].partition("=")[2] == "/argo/"


async def test_an_error_in_the_callback_is_a_blank_401(clock: FakeClock) -> None:
    provider = RememberingProvider(Provider(), now=clock.now)
    async with (
        provider.running() as issuer,
        argo_server(clock, issuer=issuer) as (_, ask),
    ):
        path = "/oauth2/callback?error=login_required&state=abc"
        answer = await ask(path, ("Cookie", "abc=/workflows"))

    assert (answer.status, answer.headers["Content-Length"]) == (401, "0")
