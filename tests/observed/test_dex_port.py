"""The port at which the upstream has the sidecar as its Dex: what it changes, what it leaves."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from sidecar.demo.server import serving
from tests.fakes.clock import FakeClock
from tests.observed.place import SECRET, ArgocdPlace, argocd_place
from tests.world import plain_http

CODE = {"grant_type": "authorization_code", "code": "x", "redirect_uri": "http://here"}
TOKENS = '{"access_token": "a", "refresh_token": "r", "id_token":"x.y.z","token_type":"bearer"}'


def basic(client_id: str, secret: str = SECRET) -> dict[str, str]:
    pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


class Recorder:
    """A Dex that writes down what comes, and answers with what it is told."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.headers: list[list[tuple[str, str]]] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[], web.Response] = lambda: web.Response(text="fine")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with serving(app, host="127.0.0.1", port=0, leaving_cancels=True) as address:
            yield address

    async def _answer(self, request: web.Request) -> web.Response:
        self.targets.append(request.raw_path)
        raw = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.raw_headers]
        self.headers.append(raw)
        self.bodies.append(await request.read())
        return self.answer()


class Port:
    """The port, with a recorder for a Dex behind it."""

    def __init__(self, place: ArgocdPlace, dex: Recorder, http: ClientSession) -> None:
        self.place, self.dex, self.http = place, dex, http

    async def get(self, target: str, **headers: str) -> tuple[int, bytes]:
        url = URL(f"http://127.0.0.1:{self.place.dex_port}{target}", encoded=True)
        async with self.http.get(url, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.read()

    async def redeem(
        self, form: dict[str, str], headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        url = self.place.at_dex("/token")
        async with self.http.post(url, data=form, headers=headers or {}) as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def port(fake_clock: FakeClock) -> AsyncIterator[Port]:
    dex = Recorder()
    async with (
        dex.running() as address,
        argocd_place(fake_clock, SIDECAR_DEX_UPSTREAM=address) as place,
        plain_http() as http,
    ):
        yield Port(place, dex, http)


def authorization(**more: str) -> str:
    query = {
        "client_id": "argo-cd",
        "redirect_uri": "https://argocd.example.org/auth/callback",
        "response_type": "code",
        "scope": "openid profile email groups",
        "state": "s+/=~",
        **more,
    }
    return f"/api/dex/auth?{urlencode(query)}"


async def test_the_authorization_request_of_our_client_asks_for_a_refresh_token(
    port: Port,
) -> None:
    asked = authorization()

    await port.get(asked)

    (target,) = port.dex.targets
    assert parse_qs(urlsplit(target).query)["scope"] == [
        "openid profile email groups offline_access"
    ]
    assert target.replace("+offline_access", "") == asked


@pytest.mark.parametrize(
    "target",
    [
        authorization(client_id="argo-cd-cli"),
        authorization(scope="openid offline_access"),
        authorization(scope="profile"),
        authorization(response_type="id_token"),
        authorization() + "&scope=openid",
        "/api/dex/auth/ldap/login?back=%2F&state=abc",
        "/api/dex/.well-known/openid-configuration",
        "/api/dex/static/main.css?v=%7e",
        "/healthz",
    ],
)
async def test_every_other_request_passes_to_the_letter(port: Port, target: str) -> None:
    await port.get(target, **{"X-Forwarded-For": "192.0.2.1", "Accept-Encoding": "br"})

    assert port.dex.targets == [target]
    assert ("X-Forwarded-For", "192.0.2.1") in port.dex.headers[0]
    assert ("Accept-Encoding", "br") in port.dex.headers[0]


async def test_a_form_and_its_answer_pass_as_they_are(port: Port) -> None:
    port.dex.answer = lambda: web.Response(
        status=302, headers={"Location": "/api/dex/approval", "X-Dex": "1"}, body=b"\x00\x01"
    )
    url = port.place.at_dex("/auth/ldap/login?state=abc")

    async with port.http.post(url, data=b"login=ada&password=x", allow_redirects=False) as answer:
        body = await answer.read()

    assert port.dex.bodies == [b"login=ada&password=x"]
    assert answer.status == 302
    assert answer.headers["Location"] == "/api/dex/approval"
    assert answer.headers["X-Dex"] == "1"
    assert body == b"\x00\x01"


def dex_says(text: str, status: int = 200) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Dex": "1"}
    return web.Response(status=status, text=text, headers=headers)


async def test_a_token_answer_loses_its_refresh_token_and_nothing_else(port: Port) -> None:
    port.dex.answer = lambda: dex_says(TOKENS)

    status, body = await port.redeem(CODE, basic("argo-cd"))

    assert status == 200
    assert b'"r"' not in body
    assert b"refresh_token" not in body
    assert body == b'{"access_token":"a","id_token":"x.y.z","token_type":"bearer"}'
    assert port.dex.bodies == [urlencode(CODE).encode()]
    assert ("Authorization", basic("argo-cd")["Authorization"]) in port.dex.headers[0]


async def test_a_token_answer_that_comes_compressed_loses_it_too(port: Port) -> None:
    """Though it was not asked for."""
    port.dex.answer = lambda: web.Response(
        body=gzip.compress(TOKENS.encode()), headers={"Content-Encoding": "gzip"}
    )

    status, body = await port.redeem(CODE, {**basic("argo-cd"), "Accept-Encoding": "gzip"})

    assert status == 200
    assert body == b'{"access_token":"a","id_token":"x.y.z","token_type":"bearer"}'
    assert ("Accept-Encoding", "identity") in port.dex.headers[0]


@pytest.mark.parametrize(
    ("form", "client_id"),
    [
        pytest.param(CODE, "argo-cd-cli", id="another client"),
        pytest.param(
            {"grant_type": "refresh_token", "refresh_token": "r"}, "argo-cd", id="refresh"
        ),
        pytest.param({**CODE, "grant_type": "device_code"}, "argo-cd", id="another grant"),
    ],
)
async def test_token_answers_to_others_pass_as_they_are(
    port: Port, form: dict[str, str], client_id: str
) -> None:
    port.dex.answer = lambda: dex_says(TOKENS)

    status, body = await port.redeem(form, basic(client_id))

    assert (status, body) == (200, TOKENS.encode())


async def test_a_client_that_names_itself_in_the_form_is_known_too(port: Port) -> None:
    port.dex.answer = lambda: dex_says(TOKENS)

    _, body = await port.redeem({**CODE, "client_id": "argo-cd", "client_secret": SECRET})

    assert b"refresh_token" not in body


async def test_a_refused_token_request_passes_with_its_reason(port: Port) -> None:
    refusal = '{"error": "invalid_grant", "refresh_token": "not one"}'
    port.dex.answer = lambda: dex_says(refusal, 400)

    assert await port.redeem(CODE, basic("argo-cd")) == (400, refusal.encode())


@pytest.mark.parametrize("body", ["", "not json", "[]", '{"refresh_token": 7}', "9" * 5000])
async def test_whatever_the_token_endpoint_answers_the_upstream_gets_an_answer(
    port: Port, body: str
) -> None:
    port.dex.answer = lambda: dex_says(body)

    status, got = await port.redeem(CODE, basic("argo-cd"))

    assert status == 200
    assert b"refresh_token" not in got


async def test_a_token_request_and_its_answer_are_bounded(port: Port) -> None:
    port.dex.answer = lambda: dex_says("x" * (1024 * 1024 + 1))

    long, _ = await port.redeem({**CODE, "code": "x" * 70_000}, basic("argo-cd"))
    answered_long, _ = await port.redeem(CODE, basic("argo-cd"))

    assert long == 413
    assert len(port.dex.targets) == 1
    assert answered_long == 502


async def test_a_dex_that_is_away_is_said_to_be(fake_clock: FakeClock) -> None:
    async with (
        asyncio.timeout(20),
        argocd_place(fake_clock, SIDECAR_DEX_UPSTREAM="http://127.0.0.1:9") as place,
        plain_http() as http,
    ):
        async with http.post(place.at_dex("/token"), data=CODE) as answer:
            assert answer.status == 502
        async with http.get(place.at_dex("/keys")) as answer:
            assert answer.status == 502
            assert "Dex cannot be reached" in await answer.text()


async def test_while_no_logins_are_observed_the_port_passes_all(
    fake_clock: FakeClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Argo CD's settings cannot be seen: its own login must work as it did without a sidecar."""
    empty, dex = tmp_path_factory.mktemp("argocd"), Recorder()
    dex.answer = lambda: dex_says(TOKENS)
    async with dex.running() as address, argocd_place(fake_clock) as place, plain_http() as http:
        await place.sidecars.pop().stop()
        for name in ("PUBLIC_URL", "ISSUER", "CLIENT_ID", "CLIENT_SECRET"):
            del place.environment[f"SIDECAR_{name}"]
        await place.start_sidecar(
            SIDECAR_ARGOCD_CONFIG_DIR=str(empty), SIDECAR_DEX_UPSTREAM=address
        )
        port = Port(place, dex, http)

        await port.get(authorization())
        _, body = await port.redeem(CODE, basic("argo-cd"))

        assert dex.targets[0] == authorization()
        assert body == TOKENS.encode()
