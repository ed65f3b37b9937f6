import hashlib
import json
from io import BytesIO
from typing import Any

import jwt
import pytest
from aiohttp import ClientResponse, ClientSession, WSServerHandshakeError
from yarl import URL

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.misbehaviour import Change
from sidecar.demo.provider import DemoProvider
from tests.demo.client import Client, Clock

EXPIRED = "invalid session: failed to verify the token"
RECONNECT = {"operation": "stdout", "data": "\nReconnect because the token was refreshed...\n"}
HTML = {"Accept": "text/html"}


def error(message: str) -> str:
    return f'{{"error":"{message}","code":16,"message":"{message}"}}'


def cookie(token: str) -> dict[str, str]:
    return {"Cookie": f"argocd.token={token}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def token(client: Client) -> str:
    return str((await client.log_in())["id_token"])


class Browser:
    """Asks the stand-in, with the headers that a test gives."""

    def __init__(self, http: ClientSession, argocd: Argocd) -> None:
        self.http, self.argocd = http, argocd

    async def get(self, path: str, headers: dict[str, str] | None = None) -> ClientResponse:
        return await self.http.get(self.argocd.url + path, headers=headers, allow_redirects=False)

    async def status(self, path: str, headers: dict[str, str] | None = None) -> int:
        return (await self.get(path, headers)).status

    async def post(self, path: str, **with_: Any) -> ClientResponse:
        return await self.http.post(self.argocd.url + path, **with_)


@pytest.fixture
def browser(http: ClientSession, argocd: Argocd) -> Browser:
    return Browser(http, argocd)


async def test_a_token_of_the_provider_opens_the_api(
    browser: Browser, argocd: Argocd, token: str
) -> None:
    response = await browser.get("/api/v1/applications", cookie(token))

    names = [item["metadata"]["name"] for item in (await response.json())["items"]]
    assert response.status == 200
    assert names == ["guestbook", "payments", "search", "storefront"]
    assert [entry.user for entry in argocd.seen.log] == ["ada@example.org"]


async def test_a_token_is_good_at_its_last_second_and_not_after_it(
    browser: Browser, argocd: Argocd, clock: Clock, token: str
) -> None:
    clock.advance(20)
    last = await browser.status("/api/v1/applications", cookie(token))
    clock.advance(0.001)
    late = await browser.get("/api/v1/applications", cookie(token))

    assert last == 200
    assert late.status == 401
    assert argocd.seen.unauthorized == 1
    assert late.headers["Content-Type"] == "application/json"
    assert await late.text() == error(EXPIRED)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "no session information"),
        (cookie("garbage"), "no session information"),
        (bearer("a.b.c.d"), "token contains an invalid number of segments"),
        (cookie("a.b.c"), "invalid session: token is malformed: could not JSON decode header"),
    ],
)
async def test_without_a_real_token_the_api_says_what_is_missing(
    browser: Browser, headers: dict[str, str], message: str
) -> None:
    response = await browser.get("/api/v1/applications", headers)

    body = await response.json()
    assert response.status == 401
    assert body["error"] == body["message"]
    assert body["error"].endswith(message)
    assert body["code"] == 16


@pytest.mark.parametrize(
    "change",
    [
        Change(forged=True),
        Change(claims={"aud": "another"}),
        Change(claims={"iss": "http://127.0.0.1:1"}),
        Change(claims={"exp": None}),
    ],
)
async def test_a_token_that_is_wrong_in_one_point_is_refused(
    browser: Browser, client: Client, provider: DemoProvider, change: Change
) -> None:
    provider.script.append(change)
    wrong = (await client.log_in())["id_token"]

    response = await browser.get("/api/v1/applications", cookie(wrong))

    assert await response.text() == error(EXPIRED)


@pytest.mark.parametrize(("early", "status"), [(300, 200), (301, 401)])
async def test_five_minutes_are_forgiven_before_a_token_begins(
    browser: Browser,
    client: Client,
    provider: DemoProvider,
    clock: Clock,
    early: int,
    status: int,
) -> None:
    provider.script.append(Change(claims={"nbf": clock.now() + early}))
    token = (await client.log_in())["id_token"]

    assert await browser.status("/api/v1/applications", cookie(token)) == status


async def test_one_of_several_audiences_is_enough(
    browser: Browser, client: Client, provider: DemoProvider
) -> None:
    provider.script.append(Change(claims={"aud": ["another", "argo-cd"]}))
    token = (await client.log_in())["id_token"]

    assert await browser.status("/api/v1/applications", cookie(token)) == 200


async def test_a_new_key_of_the_provider_is_found_at_once(
    browser: Browser, client: Client, provider: DemoProvider, token: str
) -> None:
    await browser.get("/api/v1/applications", cookie(token))
    provider.rotate_keys(keep_old=False)
    new = (await client.log_in())["id_token"]

    assert await browser.status("/api/v1/applications", cookie(new)) == 200
    assert await browser.status("/api/v1/applications", cookie(token)) == 401
    assert provider.jwks_requests == 3


async def test_known_keys_serve_while_the_provider_is_away(
    browser: Browser, provider: DemoProvider, token: str
) -> None:
    await browser.get("/api/v1/applications", cookie(token))

    provider.available = False

    assert await browser.status("/api/v1/applications", cookie(token)) == 200


async def test_a_bearer_token_comes_before_the_cookie_even_if_it_has_ended(
    browser: Browser, client: Client, clock: Clock, token: str
) -> None:
    clock.advance(21)
    fresh = (await client.log_in())["id_token"]

    good = await browser.status("/api/v1/applications", {**bearer(fresh), **cookie(token)})
    bad = await browser.status("/api/v1/applications", {**bearer(token), **cookie(fresh)})
    metadata = {"Grpc-Metadata-Token": token, **bearer(fresh)}
    worst = await browser.status("/api/v1/applications", metadata)

    assert (good, bad, worst) == (200, 401, 401)


async def test_a_token_in_chunks_is_put_together(browser: Browser, token: str) -> None:
    chunks = f"argocd.token=2:{token[:100]}; argocd.token-1={token[100:]}; argocd.token-2=stale"

    assert await browser.status("/api/v1/applications", {"Cookie": chunks}) == 200


async def test_userinfo_tells_who_is_signed_in(
    browser: Browser, provider: DemoProvider, token: str
) -> None:
    response = await browser.get("/api/v1/session/userinfo", cookie(token))

    assert await response.json() == {
        "loggedIn": True,
        "username": "ada@example.org",
        "iss": provider.issuer,
        "groups": ["developers"],
    }


async def test_userinfo_answers_200_with_sso_for_an_ended_token_and_nothing_without_one(
    browser: Browser, argocd: Argocd, clock: Clock, token: str
) -> None:
    nobody = await browser.get("/api/v1/session/userinfo")
    clock.advance(21)
    ended = await browser.get("/api/v1/session/userinfo", cookie(token))

    assert (nobody.status, await nobody.text()) == (200, "{}")
    assert (ended.status, await ended.text()) == (200, '{"iss":"sso"}')
    assert (argocd.seen.unauthorized, argocd.seen.expired_tokens) == (1, 1)


async def test_settings_are_public_and_name_the_provider(
    browser: Browser, argocd: Argocd, provider: DemoProvider
) -> None:
    response = await browser.get("/api/v1/settings")

    body = await response.json()
    assert body["url"] == argocd.url
    assert body["oidcConfig"]["issuer"] == provider.issuer
    assert body["oidcConfig"]["clientID"] == "argo-cd"
    assert "enablePKCEAuthentication" not in body["oidcConfig"]
    assert "resourceOverrides" not in body


async def test_settings_of_an_old_argo_cd_ask_the_ui_to_log_in_by_itself(
    browser: Browser, argocd: Argocd
) -> None:
    argocd.settings.pkce = True

    response = await browser.get("/api/v1/settings")

    assert (await response.json())["oidcConfig"]["enablePKCEAuthentication"] is True


@pytest.mark.parametrize("path", ["/healthz", "/api/version", "/api/badge", "/extensions.js"])
async def test_some_paths_ask_nobody(browser: Browser, path: str) -> None:
    assert await browser.status(path) == 200


async def test_a_webhook_is_taken_from_anybody(browser: Browser) -> None:
    response = await browser.post("/api/webhook", data=b"{}")

    assert response.status == 200


@pytest.mark.parametrize(("accepted", "coding"), [("gzip, br", "gzip"), ("identity", None)])
async def test_api_answers_are_zipped_for_those_who_accept_it(
    argocd: Argocd, accepted: str, coding: str | None
) -> None:
    async with ClientSession(auto_decompress=False) as http:
        response = await http.get(
            f"{argocd.url}/api/v1/applications", headers={"Accept-Encoding": accepted}
        )

    assert response.status == 401
    assert response.headers.get("Content-Encoding") == coding


async def test_a_local_account_gets_a_token_of_argo_cd(browser: Browser) -> None:
    response = await browser.post(
        "/api/v1/session", json={"username": "admin", "password": "admin"}
    )

    token = (await response.json())["token"]
    info = await browser.get("/api/v1/session/userinfo", cookie(token))
    expected = f"argocd.token={token}; path=/; SameSite=lax; httpOnly"
    assert response.headers.getall("Set-Cookie") == [expected]
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    assert await info.json() == {"loggedIn": True, "username": "admin", "iss": "argocd"}


async def test_a_local_token_ends_after_a_day(browser: Browser, clock: Clock) -> None:
    response = await browser.post(
        "/api/v1/session", json={"username": "admin", "password": "admin"}
    )
    token = (await response.json())["token"]

    clock.advance(24 * 3600)

    info = await browser.get("/api/v1/session/userinfo", cookie(token))
    late = await browser.get("/api/v1/applications", cookie(token))
    message = "invalid session: token has invalid claims: token is expired"
    assert await info.text() == "{}"
    assert await late.text() == error(message)


async def test_a_wrong_password_is_told_in_argo_cds_words(browser: Browser) -> None:
    response = await browser.post(
        "/api/v1/session", json={"username": "admin", "password": "wrong"}
    )

    assert response.status == 401
    assert await response.text() == error("Invalid username or password")
    assert "Set-Cookie" not in response.headers


async def test_a_login_that_is_no_json_is_415(browser: Browser) -> None:
    response = await browser.post("/api/v1/session", data={"username": "admin"})

    assert response.status == 415


async def test_deleting_the_session_clears_no_cookie(browser: Browser, token: str) -> None:
    response = await browser.http.delete(
        f"{browser.argocd.url}/api/v1/session", headers=cookie(token)
    )

    assert (response.status, await response.text()) == (200, "{}")
    assert "Set-Cookie" not in response.headers


async def test_a_forged_local_token_is_refused(browser: Browser) -> None:
    forged = jwt.encode({"iss": "argocd", "sub": "admin", "exp": 2e9}, "a" * 32, algorithm="HS256")

    assert await browser.status("/api/v1/applications", cookie(forged)) == 401


async def test_a_stream_goes_on_past_the_end_of_its_token(
    browser: Browser, argocd: Argocd, clock: Clock, token: str
) -> None:
    headers = {"Accept": "text/event-stream", **cookie(token)}
    response = await browser.get("/api/v1/stream/applications", headers)
    first = [await response.content.readline() for _ in range(8)]

    clock.advance(3600)
    assert argocd.open_streams == 1
    argocd.emit({"type": "MODIFIED", "application": {"metadata": {"name": "late"}}})

    assert response.headers["Content-Type"] == "text/event-stream"
    assert sum(b'"ADDED"' in line for line in first) == 4
    assert b'"late"' in await response.content.readline()
    response.close()


async def test_a_stream_without_a_good_token_is_401_in_the_form_of_a_stream(
    browser: Browser, clock: Clock, token: str
) -> None:
    clock.advance(21)

    headers = {"Accept": "text/event-stream", **cookie(token)}
    response = await browser.get("/api/v1/stream/applications", headers)

    said = {
        "grpc_code": 16,
        "http_code": 401,
        "message": EXPIRED,
        "http_status": "Unauthorized",
    }
    assert response.status == 401
    assert response.headers["Content-Type"] == "text/event-stream"
    text = await response.text()
    assert text == f"data: {json.dumps({'error': said}, separators=(',', ':'))}\n\n"


async def test_a_running_stream_makes_up_events_of_its_own(
    browser: Browser, argocd: Argocd, token: str
) -> None:
    argocd.settings.event_seconds = 0.001
    headers = {"Accept": "text/event-stream", **cookie(token)}

    response = await browser.get("/api/v1/stream/applications", headers)

    lines = [await response.content.readline() for _ in range(9)]
    assert b'"MODIFIED"' in lines[8]
    response.close()


async def test_a_terminal_echoes_until_its_token_has_ended(
    browser: Browser, argocd: Argocd, clock: Clock, token: str
) -> None:
    address = f"{argocd.url}/terminal?pod=web"

    async with browser.http.ws_connect(address, headers=cookie(token)) as terminal:
        await terminal.send_str("ls")
        echo = await terminal.receive_str()
        clock.advance(21)
        await terminal.send_str("ls")
        farewell = [await terminal.receive_json(), await terminal.receive_json()]

    assert echo == "ls"
    assert farewell == [RECONNECT, {"Code": 1}]


@pytest.mark.parametrize("path", ["/terminal", "/extensions/metrics/query"])
async def test_terminals_and_extensions_look_at_the_cookie_only(
    browser: Browser, clock: Clock, token: str, path: str
) -> None:
    none = await browser.get(path, bearer(token))
    clock.advance(21)
    ended = await browser.get(path, cookie(token))

    assert (none.status, (await none.text()).strip()) == (400, "Auth cookie not found")
    assert (ended.status, (await ended.text()).strip()) == (401, "Invalid token")


async def test_an_extension_knows_the_user(browser: Browser, token: str) -> None:
    response = await browser.get("/extensions/metrics/query", cookie(token))

    assert await response.json() == {"username": "ada@example.org"}


async def test_a_terminal_is_refused_before_the_upgrade(browser: Browser, argocd: Argocd) -> None:
    with pytest.raises(WSServerHandshakeError) as refusal:
        await browser.http.ws_connect(f"{argocd.url}/terminal")

    assert refusal.value.status == 400


async def test_grpc_web_answers_200_and_says_the_rest_in_headers(
    browser: Browser, token: str
) -> None:
    kind = {"Content-Type": "application/grpc-web+proto"}

    nobody = await browser.post("/any/path", headers={**kind, **cookie(token)})
    somebody = await browser.post("/any/path", headers={**kind, "token": token})

    assert (nobody.status, nobody.headers["Grpc-Status"]) == (200, "16")
    assert nobody.headers["Grpc-Message"] == "no session information"
    assert somebody.headers["Grpc-Status"] == "0"


async def test_logout_revokes_the_token_and_clears_every_cookie_it_was_sent(
    browser: Browser, argocd: Argocd, token: str
) -> None:
    sent = {"Cookie": f"argocd.token={token}; argocd.token-7=stale; other=1"}

    response = await browser.get("/auth/logout", sent)

    after = await browser.get("/api/v1/applications", cookie(token))
    assert (response.status, response.headers["Location"]) == (303, argocd.url)
    cleared = ["argocd.token=; Path=/", "argocd.token-7=; Path=/"]
    assert response.headers.getall("Set-Cookie") == cleared
    assert await after.text() == error("invalid session: token is revoked, please re-login")


async def test_logout_goes_to_the_logout_url_only_with_a_good_token(
    browser: Browser, argocd: Argocd, clock: Clock, client: Client, token: str
) -> None:
    argocd.settings.logout_url = "http://idp/end?hint={{token}}&to={{logoutRedirectURL}}"

    good = await browser.get("/auth/logout", cookie(token))
    ended_token = (await client.log_in())["id_token"]
    clock.advance(21)
    ended = await browser.get("/auth/logout", cookie(ended_token))

    assert good.headers["Location"] == f"http://idp/end?hint={token}&to={argocd.url}"
    assert ended.headers["Location"] == argocd.url


async def test_logout_without_a_cookie_is_400(browser: Browser, token: str) -> None:
    assert await browser.status("/auth/logout", bearer(token)) == 400


async def test_a_revocation_outlives_a_restart(
    http: ClientSession, clock: Clock, provider: DemoProvider, token: str
) -> None:
    argocd = Argocd(ArgocdSettings(issuer=provider.issuer), now=clock.now)
    async with argocd.running():
        await Browser(http, argocd).get("/auth/logout", cookie(token))

    async with argocd.running():
        status = await Browser(http, argocd).status("/api/v1/applications", cookie(token))

    assert status == 401


async def test_argo_cds_own_login_is_counted(browser: Browser, argocd: Argocd) -> None:
    response = await browser.get("/auth/login?return_url=/applications")

    assert response.status == 303
    assert argocd.seen.own_logins == 1


async def test_echo_shows_what_arrived_byte_for_byte(browser: Browser, argocd: Argocd) -> None:
    body = b"x" * 3_000_000
    address = argocd.url + "/api/v1/echo/a%2Fb//c?q=%7e+"
    headers = [("X-Same", "1"), ("X-Same", "2")]

    response = await browser.http.patch(
        URL(address, encoded=True), data=BytesIO(body), headers=headers
    )

    echo = await response.json()
    assert (echo["method"], echo["target"]) == ("PATCH", "/api/v1/echo/a%2Fb//c?q=%7e+")
    assert [value for name, value in echo["headers"] if name == "X-Same"] == ["1", "2"]
    assert echo["length"] == len(body)
    assert echo["sha256"] == hashlib.sha256(body).hexdigest()


async def test_documents_are_the_page_and_other_unknown_things_404(browser: Browser) -> None:
    page = await browser.get("/applications/argocd/guestbook", HTML)
    api = await browser.get("/api/v1/unknown", HTML)

    assert page.status == 200
    assert '<base href="/">' in await page.text()
    assert (api.status, (await api.json())["code"]) == (404, 5)
    assert await browser.status("/favicon.png") == 404


async def test_below_a_root_path_everything_else_is_404(
    http: ClientSession, clock: Clock, provider: DemoProvider, token: str
) -> None:
    settings = ArgocdSettings(issuer=provider.issuer, rootpath="argo")
    argocd = Argocd(settings, now=clock.now)

    async with argocd.running() as url:
        inside, outside = Browser(http, argocd), url.removesuffix("/argo")
        page = await inside.get("/", HTML)
        logout = await inside.get("/auth/logout", cookie(token))
        statuses = [
            (await http.get(outside + path, allow_redirects=False)).status
            for path in ("/healthz", "/argo/healthz", "/argo", "/api/version", "/argox/")
        ]

    assert url.endswith("/argo")
    assert statuses == [200, 200, 301, 404, 404]
    assert '<base href="/argo/">' in await page.text()
    assert logout.headers["Set-Cookie"] == "argocd.token=; Path=/argo"


async def test_the_demo_sees_the_token_and_how_often_it_was_renewed(
    browser: Browser, client: Client, argocd: Argocd, clock: Clock
) -> None:
    first = await client.log_in()
    await browser.get("/api/v1/demo/token", cookie(first["id_token"]))
    clock.advance(5)
    _, second = await client.refresh(first["refresh_token"])

    response = await browser.get("/api/v1/demo/token", cookie(second["id_token"]))

    body = await response.json()
    assert (body["renewals"], body["logins"], body["unauthorized"]) == (1, 1, 0)
    assert (body["iat"], body["exp"], body["now"]) == (clock.now(), clock.now() + 20, clock.now())
    assert argocd.seen.seen_jti[-1] == body["jti"]
    assert len(argocd.seen.seen_jti) == 2


async def test_a_second_login_is_no_renewal(browser: Browser, client: Client) -> None:
    first, second = (await client.log_in(), await client.log_in())
    await browser.get("/api/v1/demo/token", cookie(first["id_token"]))

    response = await browser.get("/api/v1/demo/token", cookie(second["id_token"]))

    assert (await response.json())["renewals"] == 0


async def test_the_demos_token_needs_a_credential(browser: Browser) -> None:
    assert await browser.status("/api/v1/demo/token") == 401


async def test_every_cookie_name_that_ever_came_is_remembered(
    browser: Browser, argocd: Argocd, token: str
) -> None:
    await browser.get("/applications", {"Cookie": "__Host-other=1; a=2"})
    await browser.get("/api/v1/applications", cookie(token))

    assert argocd.seen.cookie_names == {"__Host-other", "a", "argocd.token"}


async def test_the_stand_in_finds_out_that_a_provider_is_another_one(
    browser: Browser, provider: DemoProvider, token: str
) -> None:
    provider.settings.issuer = "http://another.example"

    assert await browser.status("/api/v1/applications", cookie(token)) == 401
