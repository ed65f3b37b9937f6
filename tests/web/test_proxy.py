"""What goes through the proxy, and with which credential."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientError, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa
from redis.asyncio import Redis

from sidecar.core.cookies import CookieJar
from sidecar.core.groups import groups_in
from sidecar.demo.argocd_credentials import join_cookies
from sidecar.demo.grants import User
from sidecar.demo.misbehaviour import Change
from tests.fakes.clock import FakeClock
from tests.web.raw import http, raw_upstream
from tests.world import PAGE, Browser, World, eventually, free_port, world

API = "/api/v1/applications"
STREAM = "/api/v1/stream/applications"


async def echoed(
    browser: Browser, path: str = "/api/v1/echo", **options: object
) -> dict[str, object]:
    answer = await browser.request(str(options.pop("method", "GET")), path, **options)
    return dict(json.loads(await answer.text()))


def sent(echo: dict[str, object], name: str) -> list[str]:
    fields = echo["headers"]
    assert isinstance(fields, list)
    return [value for field, value in fields if field.lower() == name]


async def id_token(browser: Browser) -> str:
    cookie = sent(await echoed(browser), "cookie")[0]
    return cookie.partition("argocd.token=")[2]


# Credentials


async def test_our_own_cookies_never_go_up(here: World) -> None:
    browser = await here.logged_in()
    await browser.get("/auth/login")
    other_site = {"Cookie": "__Host-argocd-token-refresh-0badcafe=x; a=1"}

    await browser.get(API)
    await browser.get("/", headers=PAGE)
    await browser.get(API, headers=other_site)
    await browser.get(API, headers={"Authorization": "Bearer a.b.c"})

    assert not [n for n in here.argocd.seen.cookie_names if "token-refresh" in n]


async def test_a_session_puts_one_token_in_the_place_of_all_that_the_browser_sent(
    here: World,
) -> None:
    browser = await here.logged_in()
    session = "; ".join(f"{name}={value}" for name, value in browser.cookies().items())

    echo = await echoed(
        browser,
        headers={"Cookie": f"argocd.token=3:a; x=1;argocd.token-1=b; {session}; argocd.token-9=z"},
    )

    cookies = sent(echo, "cookie")
    assert len(cookies) == 1
    assert cookies[0].startswith("x=1; argocd.token=ey")
    assert cookies[0].count("argocd.token") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"Authorization": "Bearer one.two.three"},
        {"Grpc-Metadata-Token": "anything"},
        {"token": "anything"},
    ],
)
async def test_a_clients_own_credential_goes_up_untouched_and_alone(
    here: World, fields: dict[str, str]
) -> None:
    browser = await here.logged_in()

    echo = await echoed(browser, headers=fields)

    name, value = next(iter(fields.items()))
    assert sent(echo, name.lower()) == [value]
    assert not [c for c in sent(echo, "cookie") if "argocd.token" in c]


async def test_basic_authentication_for_an_ingress_is_no_credential_of_argocd(
    here: World,
) -> None:
    browser = await here.logged_in()

    answer = await browser.get(API, headers={"Authorization": "Basic YTpi"})

    assert answer.status == 200


async def test_a_terminal_takes_the_session_though_a_bearer_token_is_there(
    here: World,
) -> None:
    browser = await here.logged_in()
    headers = {"Origin": here.base, "Authorization": "Bearer one.two.three"}

    async with browser.http.ws_connect(browser.base + "/terminal", headers=headers) as terminal:
        await terminal.send_str("hello")
        answer = await terminal.receive(timeout=5)

    assert answer.type is WSMsgType.TEXT


async def test_a_local_account_is_not_touched(here: World) -> None:
    browser = await here.browser()
    login = await browser.request(
        "POST", "/api/v1/session", json={"username": "admin", "password": "admin"}
    )

    answer = await browser.get(API)

    assert login.status == 200
    assert answer.status == 200
    assert "argocd.token" in browser.cookies()


async def test_a_local_login_takes_the_browser_over_and_ends_its_session(here: World) -> None:
    browser = await here.logged_in()
    stolen = browser.session()

    await browser.request(
        "POST", "/api/v1/session", json={"username": "admin", "password": "admin"}
    )

    userinfo = await (await browser.get("/api/v1/session/userinfo")).json(content_type=None)
    assert userinfo["iss"] == "argocd"
    assert not browser.session()
    thief = await here.browser()
    answer = await thief.get(API, headers={"Cookie": cookie_of(here, stolen)})
    assert answer.status == 401


async def test_a_local_login_that_fails_leaves_the_session(here: World) -> None:
    browser = await here.logged_in()

    refused = await browser.request(
        "POST", "/api/v1/session", json={"username": "admin", "password": "wrong"}
    )

    assert refused.status == 401
    assert (await browser.get(API)).status == 200


async def test_without_a_credential_argocd_decides(here: World) -> None:
    browser = await here.browser()

    assert (await browser.get(API)).status == 401
    assert (await (await browser.get("/api/v1/session/userinfo")).json()) == {}
    assert (await browser.get("/", headers=PAGE)).status == 200


@pytest.mark.parametrize("change", ["tag", "secret", "mac", "cut", "long"])
async def test_a_forged_cookie_is_no_session_and_costs_no_store_trip(
    shared: World, change: str
) -> None:
    browser = await shared.logged_in()
    tag, secret, mac = browser.session().split(".")
    forged = {
        "tag": f"{'A' * 22}.{secret}.{mac}",
        "secret": f"{tag}.{'A' * 43}.{mac}",
        "mac": f"{tag}.{secret}.{'A' * 43}",
        "cut": f"{tag}.{secret}",
        "long": f"{tag}.{secret}.{mac}" + "A" * 5000,
    }[change]
    cookie = cookie_of(shared, forged)
    stranger = await shared.browser()
    before = await commands(shared)

    userinfo = await stranger.get("/api/v1/session/userinfo", headers={"Cookie": cookie})

    assert await userinfo.json() == {}
    assert await commands(shared) == before


async def commands(shared: World) -> int:
    """How many commands the store has done, but for the one that asks."""
    async with Redis.from_url(shared.environment["SIDECAR_STORE_URL"]) as redis:
        stats = await redis.info("commandstats")
    ours = ("evalsha", "eval", "get", "set", "hmget", "hget")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ours)


def cookie_of(here: World, value: str) -> str:
    return f"{CookieJar(here.base).session}={value}"


async def test_a_token_hidden_from_the_rules_by_connection_is_not_believed(
    here: World,
) -> None:
    browser = await here.browser()

    echo = await echoed(
        browser, headers={"Connection": "close, X-Secret", "X-Secret": "1", "X-Other": "2"}
    )

    assert sent(echo, "x-secret") == []
    assert sent(echo, "x-other") == ["2"]


# What comes back


async def test_argocds_own_renewed_tokens_do_not_reach_the_browser(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: argocd.token=x; path=/\r\n"
        b"Set-Cookie: argocd.token-1=y\r\nSet-Cookie: other=z\r\n"
        b"Grpc-Metadata-Renew-Token: x\r\n\r\nok"
    )
    async with (
        raw_upstream(answer) as upstream,
        world(signing_key, fake_clock, environment={"SIDECAR_UPSTREAM": upstream.address}) as here,
    ):
        browser = await here.logged_in()

        got = await browser.get("/api/v1/x")

        assert got.headers.getall("Set-Cookie") == ["other=z"]
        assert "Grpc-Metadata-Renew-Token" not in got.headers


async def test_in_opaque_mode_the_browser_never_sees_the_token(here: World) -> None:
    browser = await here.logged_in()

    answer = await browser.get(API)

    assert "argocd.token" not in browser.cookies()
    assert "Set-Cookie" not in answer.headers


@pytest.fixture
async def mirrored(signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock) -> AsyncIterator[World]:
    async with world(
        signing_key, fake_clock, environment={"SIDECAR_COOKIE_MODE": "mirror"}
    ) as made:
        yield made


async def test_in_mirror_mode_the_browser_has_argocds_cookie_and_a_new_one_after_a_renewal(
    mirrored: World,
) -> None:
    browser = await mirrored.logged_in()
    first = await browser.get(API)
    token = browser.cookies()["argocd.token"]
    again = await browser.get(API)

    mirrored.clock.advance(301)
    await browser.get(API)

    assert first.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in again.headers
    assert token.count(".") == 2
    assert browser.cookies()["argocd.token"] != token


async def test_in_mirror_mode_the_browsers_copy_loses_a_group_with_the_next_answer(
    mirrored: World,
) -> None:
    browser = await mirrored.logged_in()
    await browser.get(API)
    assert groups_in(browser.cookies()["argocd.token"], ("groups",)) == {"developers"}
    mirrored.provider.script.append(Change(claims={"groups": None}))
    mirrored.clock.advance(200)

    await browser.get(API)
    await mirrored.settled()
    await browser.get(API)

    assert groups_in(browser.cookies()["argocd.token"], ("groups",)) == set()


async def test_in_mirror_mode_a_long_token_is_chunked_as_argocd_does_it(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    many = User(
        name="ada", password="ada", email="ada@example.org",
        groups=tuple(f"group-with-a-long-name-{i:04}" for i in range(300)),
    )  # fmt: skip
    async with world(
        signing_key,
        fake_clock,
        provider_settings={"users": (many,)},
        environment={"SIDECAR_COOKIE_MODE": "mirror"},
    ) as here:
        browser = await here.logged_in()
        await browser.get(API)

        found = [(n, v) for n, v in browser.cookies().items() if n.startswith("argocd.token")]

        assert len(found) >= 2
        assert join_cookies(found) == await id_token(browser)
        assert (await browser.get(API)).status == 200


async def test_in_mirror_mode_a_copy_of_the_token_without_its_session_is_nothing(
    mirrored: World,
) -> None:
    browser, thief = await mirrored.logged_in(), await mirrored.browser()
    await browser.get(API)
    token = browser.cookies()["argocd.token"]

    answer = await thief.get(API, headers={"Cookie": f"argocd.token={token}"})

    assert answer.status == 401


async def test_the_uis_own_login_flow_of_argocd_3_0_is_switched_off(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with world(signing_key, fake_clock, argocd_settings={"pkce": True}) as here:
        browser = await here.browser()

        answer = await browser.get("/api/v1/settings", headers={"Accept-Encoding": "gzip"})

        settings = await answer.json()
        assert settings["oidcConfig"]["enablePKCEAuthentication"] is False
        assert settings["oidcConfig"]["issuer"] == here.provider.issuer


async def test_settings_without_that_flow_come_as_they_are(here: World) -> None:
    browser = await here.browser()

    answer = await browser.get("/api/v1/settings")

    assert "enablePKCEAuthentication" not in await answer.text()


# Bytes


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/echo?a=%2fb&c=%7E~&d=|&e=a+b%20c",
        "/api/v1/echo/%2Fa%2fb%252F",
        "/api/v1/echo?q='()*!;:@",
        "/api/v1/echo?a=1&a=2&&b",
        "/api/v1/echo?%C3%A9",
    ],
)
async def test_the_request_target_arrives_byte_for_byte(here: World, target: str) -> None:
    answer = await http(here, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert json.loads(answer.body)["target"] == target


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_and_its_body_arrive(here: World, method: str) -> None:
    body = bytes(range(256)) * 1000
    browser = await here.browser()

    echo = await echoed(browser, method=method, data=body)

    assert echo["method"] == method
    assert echo["sha256"] == hashlib.sha256(body).hexdigest()
    assert sent(echo, "content-length") == [str(len(body))]


async def test_a_chunked_body_stays_chunked(here: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000

    browser = await here.browser()

    echo = await echoed(browser, method="POST", data=pieces())

    assert echo["length"] == 10_000
    assert sent(echo, "content-length") == []


async def test_a_compressed_body_is_not_unpacked_on_its_way(here: World) -> None:
    packed = gzip.compress(b"hello" * 100)
    browser = await here.browser()

    echo = await echoed(browser, method="POST", data=packed, headers={"Content-Encoding": "gzip"})

    assert sent(echo, "content-encoding") == ["gzip"]
    assert sent(echo, "content-length") == [str(len(packed))]
    assert echo["length"] == 500  # Argo CD could unpack what came


async def test_a_compressed_answer_is_not_unpacked_on_its_way(here: World) -> None:
    browser = await here.logged_in()

    async with browser.http.get(browser.base + API, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = await answer.read()

    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed))["items"]


async def test_headers_arrive_as_they_were_sent_and_none_are_added(here: World) -> None:
    request = (
        "GET /api/v1/echo HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nX-One: 2\r\nx-lower: y\r\n"
        "TE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nConnection: close\r\n\r\n"
    )

    answer = await http(here, request)

    fields = json.loads(answer.body)["headers"]
    assert fields == [["Host", "x"], ["X-One", "1"], ["X-One", "2"], ["x-lower", "y"]]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello",
        b"HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: 0-1/9\r\nContent-Length: 2\r\n\r\nhe",
    ],
    ids=lambda a: a[9:12].decode(),
)
async def test_an_answer_arrives_with_its_own_headers_only(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, answer: bytes
) -> None:
    async with (
        raw_upstream(answer) as upstream,
        world(signing_key, fake_clock, environment={"SIDECAR_UPSTREAM": upstream.address}) as here,
    ):
        got = await http(here, "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        head, _, body = answer.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        assert got.status == int(status.split()[1])
        assert [f for f in got.fields if not f.startswith("Connection")] == fields
        assert got.body == body


async def test_a_head_answer_keeps_its_length_and_has_no_body(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: text/plain\r\n\r\n"
    async with (
        raw_upstream(answer) as upstream,
        world(signing_key, fake_clock, environment={"SIDECAR_UPSTREAM": upstream.address}) as here,
    ):
        got = await http(here, "HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        assert "Content-Length: 1234" in got.fields
        assert got.body == b""


async def test_an_upstream_that_breaks_off_is_not_taken_for_a_whole_answer(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    async with (
        raw_upstream(answer, close=True) as upstream,
        world(signing_key, fake_clock, environment={"SIDECAR_UPSTREAM": upstream.address}) as here,
    ):
        browser = await here.browser()

        with pytest.raises(ClientError):
            await browser.get("/x")


async def test_a_user_with_hundreds_of_groups_is_not_refused_for_the_size_of_the_cookies(
    here: World,
) -> None:
    cookies = "; ".join(f"argocd.token-{i}={'x' * 4000}" for i in range(1, 9))
    browser = await here.browser()

    echo = await echoed(browser, headers={"Cookie": cookies})

    assert sent(echo, "cookie") == [cookies]


async def test_events_arrive_as_they_are_sent(here: World) -> None:
    browser = await here.logged_in()
    stream = await browser.http.get(browser.base + STREAM, headers={"Accept": "text/event-stream"})
    await eventually(lambda: here.argocd.open_streams == 1)
    here.argocd.emit({"type": "MODIFIED", "application": {"metadata": {"name": "shown"}}})

    received = b""
    while b"shown" not in received:
        received += await stream.content.readany()

    stream.close()


async def test_a_browser_that_leaves_ends_its_stream_at_argocd(here: World) -> None:
    browser = await here.logged_in()
    stream = await browser.http.get(browser.base + STREAM, headers={"Accept": "text/event-stream"})
    await eventually(lambda: here.argocd.open_streams == 1)

    stream.close()

    await eventually(lambda: here.argocd.open_streams == 0)


async def test_an_open_stream_survives_the_end_of_its_token(here: World) -> None:
    browser = await here.logged_in()
    stream = await browser.http.get(browser.base + STREAM, headers={"Accept": "text/event-stream"})
    await eventually(lambda: here.argocd.open_streams == 1)
    here.clock.advance(400)
    here.argocd.emit({"type": "MODIFIED", "application": {"metadata": {"name": "late"}}})

    received = b""
    while b"late" not in received:
        received += await stream.content.readany()

    stream.close()


# Terminals


async def test_a_terminal_passes_both_ways_and_closes_with_its_code(here: World) -> None:
    browser = await here.logged_in()

    terminal = await browser.http.ws_connect(
        browser.base + "/terminal", headers={"Origin": here.base}
    )
    await terminal.send_str("ls")
    answer = await terminal.receive(timeout=5)
    await terminal.close(code=1000)

    assert answer.type is WSMsgType.TEXT
    await eventually(lambda: here.argocd.open_terminals == 0)


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", None, "http://127.0.0.1"])
async def test_a_terminal_of_a_session_is_not_opened_from_another_site(
    here: World, origin: str | None
) -> None:
    browser = await here.logged_in()
    headers = {"Origin": origin} if origin else {}

    with pytest.raises(WSServerHandshakeError) as refused:
        await browser.http.ws_connect(browser.base + "/terminal", headers=headers)

    assert refused.value.status == 400
    assert here.argocd.open_terminals == 0


async def test_a_terminal_without_a_login_is_refused_by_argocd(here: World) -> None:
    browser = await here.browser()

    with pytest.raises(WSServerHandshakeError) as refused:
        await browser.http.ws_connect(browser.base + "/terminal", headers={"Origin": here.base})

    assert refused.value.status == 400


# What cannot be passed on


@pytest.mark.parametrize(
    "request_head",
    [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET http://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x y\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        "garbage\r\n\r\n",
    ],
)
async def test_a_request_that_cannot_be_understood_is_400_and_nothing_goes_up(
    here: World, request_head: str
) -> None:
    before = len(here.argocd.seen.log)

    answer = await http(here, request_head)

    assert answer.status == 400
    assert len(here.argocd.seen.log) == before
    assert b"aaaa" not in answer.body
    assert b"garbage" not in answer.body


# Outages


async def test_while_argocd_is_away_the_answer_is_502_and_the_session_stays(
    here: World,
) -> None:
    browser = await here.logged_in()
    port = free_port()
    lonely = await here.start_sidecar(
        SIDECAR_LISTEN="127.0.0.1:0", SIDECAR_UPSTREAM=f"http://127.0.0.1:{port}"
    )

    through = here.through(browser, lonely)
    page, api = await through.get("/", headers=PAGE), await through.get("/api/version")

    assert (page.status, page.content_type) == (502, "text/html")
    assert (api.status, api.content_type) == (502, "application/json")
    assert page.headers["Retry-After"]
    assert browser.session()


async def test_a_restart_of_argocds_listener_is_waited_for(here: World) -> None:
    port = free_port()
    patient = await here.start_sidecar(
        SIDECAR_LISTEN="127.0.0.1:0", SIDECAR_UPSTREAM=f"http://127.0.0.1:{port}"
    )
    browser = await here.browser(patient)
    waiting = asyncio.ensure_future(browser.request("POST", "/api/x", data=b"body"))
    await eventually(lambda: bool(here.clock.slept))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with raw_upstream(answer, port=port) as upstream:
        got = await waiting

    assert got.status == 200
    assert len(upstream.requests) == 1


# What others have tried


async def test_a_cookie_does_not_turn_into_another_on_its_way_up(here: World) -> None:
    browser = await here.logged_in()
    own = "; ".join(f"{name}={value}" for name, value in browser.cookies().items())
    disguised = own.replace("argocd", "argoc\xffd")
    head = (
        "GET /api/v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Cookie: arg\xffocd.token=EVIL; {own}; {disguised}; a=\xe9; b=1\r\n\r\n"
    )

    answer = await http(here, head)

    cookies = sent(json.loads(answer.body), "cookie")[0].split("; ")
    assert cookies[0] == "b=1"
    assert cookies[1].startswith("argocd.token=ey")
    assert len(cookies) == 2


async def test_a_header_of_any_bytes_arrives_as_it_was_sent(here: World) -> None:
    answer = await http(
        here, "GET /api/v1/echo HTTP/1.1\r\nHost: x\r\nX-A: \xff\r\nConnection: close\r\n\r\n"
    )

    # The stand-in for Argo CD reads it as UTF-8, and shows what is none as Latin-1.
    assert sent(json.loads(answer.body), "x-a") == ["\xff"]


async def test_a_header_in_several_spellings_loses_none_of_its_values(here: World) -> None:
    answer = await http(
        here,
        "GET /api/v1/echo HTTP/1.1\r\nHost: x\r\nx-a: 1\r\nX-A: 2\r\nX-a: 3\r\n"
        "Connection: close\r\n\r\n",
    )

    assert sent(json.loads(answer.body), "x-a") == ["1", "2", "3"]


@pytest.mark.parametrize("body", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_websocket_handshake_with_a_body_goes_nowhere(here: World, body: str) -> None:
    head = (
        f"GET /terminal HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        f"{body}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    before = len(here.argocd.seen.log)

    answer = await http(here, head)

    assert answer.status == 400
    assert len(here.argocd.seen.log) == before


async def test_a_terminals_handshake_is_not_redirected_and_its_refusal_arrives_whole(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock
) -> None:
    async with raw_upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as elsewhere:
        answer = (
            f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere.address}/x\r\nX-A: 1\r\n"
            "Content-Length: 5\r\n\r\nmoved"
        ).encode()
        async with (
            raw_upstream(answer) as upstream,
            world(
                signing_key, fake_clock, environment={"SIDECAR_UPSTREAM": upstream.address}
            ) as here,
        ):
            got = await http(
                here,
                "GET /terminal HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                "Connection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                stays_open=True,
            )

    assert got.status == 307
    assert "X-A: 1" in got.fields
    assert got.body == b"moved"
    assert elsewhere.requests == []


async def test_a_client_that_waits_for_100_continue_gets_it(here: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", here.sidecars[0].port)
    writer.write(
        b"POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )

    async with asyncio.timeout(10):
        interim = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello")
        answer = await reader.read()

    writer.close()
    assert interim.startswith(b"HTTP/1.1 100 ")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"length":5' in answer.replace(b" ", b"")


async def test_a_load_balancers_check_in_http_1_0_without_a_host_passes(here: World) -> None:
    answer = await http(here, "GET /healthz HTTP/1.0\r\n\r\n")

    assert answer.status == 200


async def test_a_terminals_close_code_and_reason_arrive(here: World) -> None:
    closed: list[tuple[int, str]] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        message = await socket.receive()
        closed.append((message.data, message.extra or ""))
        return socket

    app = web.Application()
    app.router.add_get("/terminal", serve)
    async with TestServer(app) as argocd:
        lonely = await here.start_sidecar(
            SIDECAR_LISTEN="127.0.0.1:0", SIDECAR_UPSTREAM=str(argocd.make_url("")).rstrip("/")
        )
        browser = await here.browser(lonely)
        terminal = await browser.http.ws_connect(browser.base + "/terminal")

        await terminal.close(code=3005, message=b"enough")

        await eventually(lambda: bool(closed))
    assert closed == [(3005, "enough")]


async def test_a_scheme_that_argocd_does_not_know_does_not_cost_the_session(here: World) -> None:
    browser = await here.logged_in()

    answer = await browser.get(API, headers={"Authorization": "bearer one.two.three"})

    assert answer.status == 200
