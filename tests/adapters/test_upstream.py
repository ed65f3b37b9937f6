import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientSession, DummyCookieJar
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.adapters.upstream import ArgoCd
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.oauth import ADA, ProviderSettings
from sidecar.demo.provider import DemoProvider
from sidecar.errors import UpstreamUnavailable
from tests.adapters.conftest import said
from tests.demo.client import REDIRECT_URI, Client
from tests.fakes.clock import FakeClock

ID_TOKEN = ".".join(("an", "id", "token"))  # a traceback shows literals, and must not show this


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        yield session


@pytest.fixture
async def provider(clock: FakeClock, signing_key: rsa.RSAPrivateKey) -> AsyncIterator[DemoProvider]:
    settings = ProviderSettings(redirect_uris=(REDIRECT_URI,))
    provider = DemoProvider(settings, now=clock.now, key=signing_key)
    async with provider.running():
        yield provider


@pytest.fixture
async def id_token(http: ClientSession, provider: DemoProvider) -> str:
    return str((await Client(http, provider).log_in())["id_token"])


@pytest.fixture
async def argocd(clock: FakeClock, provider: DemoProvider) -> AsyncIterator[Argocd]:
    argocd = Argocd(ArgocdSettings(issuer=provider.issuer, rootpath="argo"), now=clock.now)
    async with argocd.running():
        yield argocd


@pytest.fixture
def upstream(http: ClientSession, argocd: Argocd) -> ArgoCd:
    return ArgoCd(http, argocd.url.removesuffix("/argo"), "/argo")


async def is_logged_in(http: ClientSession, argocd: Argocd, id_token: str) -> bool:
    headers = {"Authorization": f"Bearer {id_token}"}
    async with http.get(f"{argocd.url}/api/v1/applications", headers=headers) as response:
        assert response.status in (200, 401)
        return response.status == 200


async def test_a_token_that_was_logged_out_is_good_for_nothing(
    upstream: ArgoCd, argocd: Argocd, http: ClientSession, id_token: str
) -> None:
    assert await is_logged_in(http, argocd, id_token)

    await upstream.log_out(id_token, site="")

    assert not await is_logged_in(http, argocd, id_token)


async def test_a_logout_concerns_no_other_token_of_the_user(
    upstream: ArgoCd, argocd: Argocd, http: ClientSession, provider: DemoProvider, id_token: str
) -> None:
    other = str((await Client(http, provider).log_in())["id_token"])

    await upstream.log_out(id_token, site="")

    assert await is_logged_in(http, argocd, other)


async def test_it_says_where_argo_cd_would_send_the_browser_and_does_not_go_there(
    upstream: ArgoCd, argocd: Argocd, id_token: str
) -> None:
    gone = f"{argocd.url}/gone"
    argocd.settings.logout_url = gone + "?hint={{token}}&to={{logoutRedirectURL}}"

    location = await upstream.log_out(id_token, site="")

    assert location == f"{gone}?hint={id_token}&to={argocd.url}"
    assert [entry.path for entry in argocd.seen.log] == ["/argo/auth/logout"]


async def test_without_a_logout_url_it_sends_the_browser_home(
    upstream: ArgoCd, argocd: Argocd, id_token: str
) -> None:
    assert await upstream.log_out(id_token, site="") == argocd.url


async def test_a_token_as_long_as_many_chunks_is_logged_out_too(
    upstream: ArgoCd, argocd: Argocd, http: ClientSession, provider: DemoProvider
) -> None:
    groups = tuple(f"a-group-with-quite-a-long-name-{i:04}" for i in range(500))
    provider.settings.users = (type(ADA)(name="ada", password="ada", email="a@b", groups=groups),)
    id_token = str((await Client(http, provider).log_in())["id_token"])

    await upstream.log_out(id_token, site="")

    assert len(id_token) > 5 * 4096
    assert not await is_logged_in(http, argocd, id_token)


async def test_a_token_that_argo_cd_does_not_know_does_no_harm(
    upstream: ArgoCd, argocd: Argocd, http: ClientSession, id_token: str
) -> None:
    for unknown in ("", "a.b.c", id_token[:-10]):
        await upstream.log_out(unknown, site="")

    assert await is_logged_in(http, argocd, id_token)


async def test_an_argo_cd_that_is_away_is_an_outage(
    http: ClientSession, unused_tcp_port: int
) -> None:
    upstream = ArgoCd(http, f"http://127.0.0.1:{unused_tcp_port}", "")

    with pytest.raises(UpstreamUnavailable) as failed:
        await upstream.log_out(ID_TOKEN, site="")

    assert ID_TOKEN not in said(failed.value)


@pytest.mark.parametrize(
    "answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 303 See Other\r\n: x\r\n\r\n"]
)
async def test_an_answer_that_is_none_is_an_outage_that_shows_no_token(
    http: ClientSession, answer: bytes
) -> None:
    async with await asyncio.start_server(speaker(answer), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        with pytest.raises(UpstreamUnavailable) as failed:
            await ArgoCd(http, f"http://127.0.0.1:{port}", "").log_out(ID_TOKEN, site="")

        assert ID_TOKEN not in said(failed.value)


async def test_a_location_that_comes_without_a_redirection_counts_for_nothing(
    http: ClientSession,
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with await asyncio.start_server(speaker(answer), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        location = await ArgoCd(http, f"http://127.0.0.1:{port}", "").log_out(ID_TOKEN, site="")

    assert location == ""


Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def speaker(answer: bytes) -> Speaker:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return speak
