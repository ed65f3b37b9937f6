"""The data path as it is set, over the whole sidecar: TLS, a socket, origins, limits."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession, WSServerHandshakeError
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.clock import FakeClock
from tests.proxy.certificates import Pair, self_signed
from tests.web.raw import http
from tests.world import Browser, World, world

API = "/api/v1/applications"
Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def to_argocd(here: World) -> Speaker:
    """Something in front of Argo CD that passes bytes."""
    port = int(here.environment["SIDECAR_UPSTREAM"].rpartition(":")[2])

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, up_writer), pass_on(up_reader, writer))

    return speak


async def logs_in_and_out(here: World, browser: Browser) -> None:
    """Everything that goes to Argo CD: requests, and the sidecar's own logout."""
    assert (await browser.log_in()).status == 303
    assert (await browser.get(API)).status == 200
    assert (await browser.get("/auth/logout")).status == 303
    await here.settled()
    assert "/auth/logout" in [entry.path for entry in here.argocd.seen.log]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return self_signed(tmp_path / "tls", "argocd-server")


async def test_the_upstream_may_be_a_unix_socket(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, tmp_path: Path
) -> None:
    async with world(signing_key, fake_clock) as here:
        path = tmp_path / "argocd.sock"
        async with await asyncio.start_unix_server(to_argocd(here), path) as server:
            await here.sidecars.pop().stop()
            sidecar = await here.start_sidecar(SIDECAR_UPSTREAM=f"unix://{path}")
            await logs_in_and_out(here, await here.browser(sidecar))
            async with ClientSession() as probe, probe.get(f"{sidecar.admin}/readyz") as ready:
                assert (await ready.json())["upstream"] == "ok"
            await sidecar.stop()
            server.close()


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [
        ({"SIDECAR_UPSTREAM_TLS_VERIFY": "off"}, True),
        ({"SIDECAR_UPSTREAM_TLS_CA_FILE": "", "SIDECAR_UPSTREAM_TLS_SERVER_NAME": "argocd-server"},
         True),
        ({"SIDECAR_UPSTREAM_TLS_CA_FILE": ""}, False),
        ({}, False),
    ],
    ids=["unverified", "authority and name", "another name", "stock"],
)  # fmt: skip
async def test_the_upstream_may_speak_tls_with_a_certificate_of_its_own(
    signing_key: rsa.RSAPrivateKey,
    fake_clock: FakeClock,
    pair: Pair,
    settings: dict[str, str],
    accepted: bool,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    settings = {name: value or pair[0] for name, value in settings.items()}
    async with world(signing_key, fake_clock) as here, AsyncExitStack() as owned:
        server = await asyncio.start_server(to_argocd(here), "127.0.0.1", 0, ssl=context)
        await owned.enter_async_context(server)
        port = server.sockets[0].getsockname()[1]
        await here.sidecars.pop().stop()
        sidecar = await here.start_sidecar(SIDECAR_UPSTREAM=f"https://127.0.0.1:{port}", **settings)
        browser = await here.browser(sidecar)
        if accepted:
            await logs_in_and_out(here, browser)
        else:
            assert (await browser.get(API)).status == 502
        await sidecar.stop()


async def test_the_port_speaks_tls_with_the_given_certificate(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, pair: Pair
) -> None:
    trusts = ssl.create_default_context(cafile=pair[0])
    tls = {"SIDECAR_TLS_CERT_FILE": pair[0], "SIDECAR_TLS_KEY_FILE": pair[1]}
    async with world(signing_key, fake_clock, environment=tls) as here:
        base = f"https://127.0.0.1:{here.sidecars[0].port}"
        browser = Browser((await here.browser()).http, base)
        options = {"ssl": trusts, "server_hostname": "argocd-server"}
        page = await browser.get(API, **options)
        login = await browser.get("/auth/login", **options)
        plain = await http(here, "GET /a?b HTTP/1.1\r\nHost: a:1\r\n\r\n", stays_open=True)

        assert page.status == 401
        assert login.status == 303
        assert login.headers["Location"].startswith(here.provider.issuer)
        assert (plain.status, plain.fields[0]) == (307, "Location: https://a:1/a?b")


async def test_a_terminal_may_be_opened_from_a_listed_site(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    listed = {"SIDECAR_WEBSOCKET_ORIGINS": "https://other.example"}
    async with world(signing_key, fake_clock, environment=listed) as here:
        browser = await here.logged_in()
        url = f"{browser.base}/terminal"
        async with browser.http.ws_connect(url, origin="https://other.example") as terminal:
            await terminal.send_str("a")
            assert (await terminal.receive()).data == "a"
        with pytest.raises(WSServerHandshakeError):
            await browser.http.ws_connect(url, origin="https://third.example")


@pytest.mark.parametrize(
    ("setting", "request_", "status"),
    [
        ({"SIDECAR_MAX_HEAD_SIZE": "1KiB"}, f"GET / HTTP/1.1\r\nHost: a\r\nA: {'b' * 1024}\r\n\r\n",
         431),
        ({"SIDECAR_MAX_BODY_SIZE": "1KiB"}, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n"
         "\r\n", 413),
        ({"SIDECAR_HTTP2": "off"}, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ({"SIDECAR_MAX_HEADER_FIELDS": "2"}, "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n",
         431),
        ({"SIDECAR_HEAD_TIMEOUT": "1s"}, "GET / HTTP/1.1\r\n", 408),
        ({"SIDECAR_BODY_TIMEOUT": "1s"}, "POST /api/v1/session HTTP/1.1\r\nHost: a\r\n"
         "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n", 408),
    ],
)  # fmt: skip
async def test_limits_are_set_by_variables(
    signing_key: rsa.RSAPrivateKey,
    fake_clock: FakeClock,
    setting: dict[str, str],
    request_: str,
    status: int,
) -> None:
    async with world(signing_key, fake_clock, environment=setting) as here:
        assert (await http(here, request_)).status == status


async def test_connections_and_their_idle_time_are_set_by_variables(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    setting = {"SIDECAR_MAX_CONNECTIONS": "1", "SIDECAR_IDLE_TIMEOUT": "1s"}
    async with world(signing_key, fake_clock, environment=setting) as here:
        port = here.sidecars[0].port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        other, unwanted = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            assert re.match(rb"HTTP/1.1 503 ", await other.readline())
            assert await reader.read() == b""
        writer.close()
        unwanted.close()


async def test_own_pages_take_what_the_public_port_takes(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    fields = "".join(f"A{i}: {'b' * 250}\r\n" for i in range(400))
    setting = {"SIDECAR_MAX_HEAD_SIZE": "256KiB", "SIDECAR_MAX_HEADER_FIELDS": "500"}
    async with world(signing_key, fake_clock, environment=setting) as here:
        one_long = f"GET /auth/login HTTP/1.1\r\nHost: a\r\nA: {'b' * 100_000}\r\n\r\n"
        many = f"GET /auth/login HTTP/1.1\r\nHost: a\r\n{fields}\r\n"
        assert (await http(here, one_long)).status == 303
        assert (await http(here, many)).status == 303
