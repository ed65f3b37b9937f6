"""What `docs/ingress.md` says of nginx: the documented settings, and what is lost without them."""

import asyncio
import os
import shutil
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientResponse, WSServerHandshakeError
from playwright.async_api import async_playwright

from sidecar.demo.argocd_answers import application
from sidecar.proxy.front import PREFACE
from tests.ingress.conftest import Place
from tests.ingress.nginx import AGAIN, HOST, PASSES, nginx
from tests.proxy.certificates import Pair
from tests.system.test_browser import QUIET, chromium_path
from tests.world import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

API = "/api/v1/applications"
STREAM = "/api/v1/stream/applications"
AS_EVENTS = {"Accept": "text/event-stream"}
CHANGE = {"type": "MODIFIED", "application": application("guestbook", sync="OutOfSync")}


async def first_event(stream: ClientResponse) -> bytes:
    async with asyncio.timeout(10):
        return await stream.content.readuntil(b"\n\n")


async def cut(stream: ClientResponse) -> None:
    """Until the Ingress ends a stream."""
    async with asyncio.timeout(10):
        with suppress(ClientError):
            await stream.read()


def curl_path() -> str:
    found = shutil.which("curl")
    if found is None:
        if os.environ.get("REQUIRE_CURL"):
            pytest.fail("curl is not installed, and this run must not skip it")
        pytest.skip("curl is not installed (Debian: apt-get install curl)")
    return found


def certificate(pair: Pair) -> bytes:
    with open(pair[0]) as file:
        return ssl.PEM_cert_to_DER_cert(file.read())


async def test_a_browser_sees_the_certificate_of_where_tls_ends(place: Place) -> None:
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(
        "127.0.0.1", place.port, ssl=unchecked, server_hostname=HOST
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()

    ends_here = place.sidecar_pair if place.way == PASSES else place.ingress_pair
    assert shown == certificate(ends_here)


async def test_an_event_comes_at_once_and_a_quiet_stream_or_terminal_is_not_cut(
    place: Place,
) -> None:
    async with place.browser() as browser:
        await browser.log_in()
        stream = await browser.http.get(place.base + STREAM, headers=AS_EVENTS)
        terminal = await browser.http.ws_connect(
            f"{place.base}/terminal", headers={"Origin": place.base}
        )
        # Nobody has said anything since, and nobody will; and yet it has come.
        assert b"ADDED" in await first_event(stream)
        # It was opened last, and nothing was set for it: once it is cut, so would the others be.
        bare = await browser.http.get(place.bare + STREAM, headers=AS_EVENTS)
        await cut(bare)

        place.argocd.emit(CHANGE)
        while b"OutOfSync" not in (event := await first_event(stream)):
            assert event
        await terminal.send_str("ls")
        async with asyncio.timeout(10):
            assert await terminal.receive_str() == "ls"
        await terminal.close()
        stream.close()


async def test_a_person_with_hundreds_of_groups_gets_and_brings_31_kib_of_cookies(
    place: Place,
) -> None:
    async with place.browser() as browser:
        await browser.log_in(user="eve")
        # In mirror mode an answer of the API brings Argo CD's own cookie.
        given = await browser.get(API)
        lines = given.headers.getall("Set-Cookie")
        pieces = dict(line.partition(";")[0].split("=", 1) for line in lines)
        crumbs = "; ".join(f"{n}={v}" for n, v in {**browser.cookies(), **pieces}.items())
        brought = await browser.get(API, headers={"Cookie": crumbs})

        assert len(pieces) >= 8
        assert 31 * 1024 < len(crumbs) < 40 * 1024
        assert given.status == brought.status == 200
        if place.way != PASSES:  # where nginx reads it, it has to be told
            refused = await browser.get(place.bare + API, headers={"Cookie": crumbs})
            assert refused.status in (400, 431)


async def test_a_terminal_needs_its_upgrade_passed_on(place: Place) -> None:
    async with place.browser() as browser:
        await browser.log_in()
        if place.way == PASSES:
            terminal = await browser.http.ws_connect(
                f"{place.bare}/terminal", headers={"Origin": place.bare}
            )
            await terminal.close()
        else:
            with pytest.raises(WSServerHandshakeError):
                await browser.http.ws_connect(
                    f"{place.bare}/terminal", headers={"Origin": place.bare}
                )


async def test_the_address_that_nginx_sees_is_the_last_whatever_a_client_invents(
    place: Place,
) -> None:
    async with place.browser() as browser:
        await browser.log_in()
        invented = {"X-Forwarded-For": "192.0.2.7"}
        echo = await (await browser.get("/api/v1/echo", headers=invented)).json()
        came = [value for name, value in echo["headers"] if name.lower() == "x-forwarded-for"]

        # Where TLS passes, it is the client's word and nobody else's.
        assert came == ["192.0.2.7" if place.way == PASSES else "192.0.2.7, 127.0.0.1"]


async def test_the_clis_grpc_web_brings_its_own_token(place: Place) -> None:
    kind = {"Content-Type": "application/grpc-web+proto"}
    url = f"{place.base}/application.ApplicationService/List"
    async with place.browser() as browser:
        account = {"username": "admin", "password": "admin"}
        login = await browser.request("POST", "/api/v1/session", json=account)
        token = (await login.json())["token"]

        mine = await browser.request("POST", url, headers={**kind, "token": token})
        nobodys = await browser.request("POST", url, headers=kind)

        assert (mine.status, mine.headers["Grpc-Status"]) == (200, "0")
        assert (nobodys.status, nobodys.headers["Grpc-Status"]) == (200, "16")


async def test_the_clis_grpc_goes_up_as_http2(place: Place) -> None:
    before = await place.metric("spliced_connections_total")

    await (begin_http2(place) if place.way == PASSES else ask_by_curl(place))

    # The stand-in for Argo CD speaks no HTTP/2: that it was asked in it is what counts.
    assert await place.metric("spliced_connections_total") == before + 1


async def ask_by_curl(place: Place) -> None:
    asked = await asyncio.create_subprocess_exec(
        curl_path(),
        *("--silent", "--insecure", "--http2", "--max-time", "10"),
        *("--resolve", f"{HOST}:{place.port}:127.0.0.1"),
        *("--header", "Content-Type: application/grpc", "--data-binary", ""),
        f"{place.base}/version.VersionService/Version",
        stdout=asyncio.subprocess.DEVNULL,
    )
    await asked.wait()


async def begin_http2(place: Place) -> None:
    """As a gRPC client does it, which offers nothing else; curl would offer HTTP/1.1 too."""
    trusted = ssl.create_default_context(cafile=place.seen_pair[0])
    trusted.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", place.port, ssl=trusted, server_hostname=HOST
    )
    writer.write(PREFACE)
    await reader.read()
    writer.close()


async def test_tls_to_the_pod_is_checked(place: Place, tmp_path: Path) -> None:
    if place.way != AGAIN:
        return  # nginx speaks no TLS to the pod
    port, another = free_port(), place.ingress_pair[0]
    async with (
        nginx(
            tmp_path / "nginx",
            AGAIN,
            port=port,
            sidecar=place.sidecar_port,
            pair=place.ingress_pair,
            authority=another,
            bare=False,
        ),
        place.browser() as browser,
    ):
        answer = await browser.get(f"https://{HOST}:{port}/healthz")

    assert answer.status == 502


@pytest.mark.browser
async def test_a_person_logs_in_once_and_stays_logged_in(place: Place) -> None:
    logins, unauthorized = place.provider.logins, place.argocd.seen.unauthorized
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(),
            args=[*QUIET, f"--host-resolver-rules=MAP {HOST} 127.0.0.1"],
        )
        page = await browser.new_page(ignore_https_errors=True)
        page.set_default_timeout(20_000)
        await page.goto(place.base)
        await page.click("#login")
        await page.fill("input[name=user]", "ada")
        await page.fill("input[name=password]", "ada")
        await page.press("input[name=password]", "Enter")
        await page.wait_for_selector("#stream.on")
        renewed = "Number(document.querySelector('#renewals').textContent.match(/\\d+/)[0]) >= 1"
        await page.wait_for_function(renewed, timeout=60_000)

        assert "ada" in (await page.text_content("#user") or "")
        assert place.provider.logins == logins + 1
        assert place.argocd.seen.unauthorized == unauthorized
        await browser.close()
