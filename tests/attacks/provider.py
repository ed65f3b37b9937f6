"""Attacks from where the provider is: answers that lead away, or have no end."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jwt
from aiohttp import ClientSession, web
from aiohttp.test_utils import RawTestServer

from sidecar.config.tls import server_tls
from sidecar.demo import oauth, provider
from sidecar.demo.misbehaviour import Answer, Change
from tests.attacks.attack import Defence, attack, becomes, is_always
from tests.attacks.lab import Lab, begun
from tests.proxy.certificates import self_signed
from tests.web.raw import raw_upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class _Follows:
    """An HTTP client that goes where it is sent."""

    def __init__(self, http: ClientSession) -> None:
        self._http = http

    def post(self, url: str, **options: Any) -> Any:
        return self._http.post(url, **{**options, "allow_redirects": True})


def _following(original: Any) -> Any:
    async def posted(asking: Any, *args: Any) -> Any:
        http, asking._http = asking._http, _Follows(asking._http)
        try:
            return await original(asking, *args)
        finally:
            asking._http = http

    return posted


@attack(
    23,
    does="Answers at the token endpoint with a redirection (307): code, verifier and the client's "
    "secret would go where it leads.",
    stopped_by=Defence(
        "what has a secret in it follows no redirection",
        "sidecar.adapters.openid_provider:OpenIdProvider._posted",
        _following,
    ),
)
async def redirected_exchange(lab: Lab) -> bool:
    async with raw_upstream(OK, close=True) as evil, lab.world() as here:
        browser = await here.browser()
        callback = await browser.sign_in()
        moved = {"Location": f"{evil.address}/token"}
        here.provider.script.append(Answer(status=307, headers=moved))

        await browser.get(callback)

        return bool(evil.requests)


class _Everywhere(set[str]):
    def __contains__(self, _: object) -> bool:
        return True


@attack(
    23,
    does="Changes the provider's metadata on their way: the token endpoint is at another host, "
    "without TLS.",
    stopped_by=Defence(
        "without TLS only hosts that an operator has configured so",
        "sidecar.core.provider_addresses:_without_tls",
        lambda _: lambda _: _Everywhere(),
    ),
)
async def token_endpoint_elsewhere(lab: Lab) -> bool:
    async with raw_upstream(OK, close=True) as evil, lab.world() as here:
        honest = oauth.discovery_document
        away = evil.address.replace("127.0.0.1", "localhost") + "/token"

        def changed(issuer: str, **named: Any) -> dict[str, object]:
            return {**honest(issuer, **named), "token_endpoint": away}

        vars(provider)["discovery_document"] = changed
        try:
            browser = await here.browser()
            start = await browser.get("/auth/login")
            if start.status == 303:
                callback, _ = await begun(browser)
                await browser.get(callback)
        finally:
            vars(provider)["discovery_document"] = honest
        return bool(evil.requests)


@attack(
    21,
    does="Answers with megabytes, to fill the memory of all.",
    stopped_by=Defence(
        "an answer has a mebibyte at most",
        "sidecar.adapters.provider_http:MAX_ANSWER_BYTES",
        becomes(10**9),
    ),
)
async def endless_answer(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        callback, asked = await begun(browser)
        now = int(here.clock.now())
        claims = {
            "iss": here.provider.issuer, "aud": asked["client_id"], "nonce": asked["nonce"],
            "sub": "ada", "iat": now, "exp": now + 300,
        }  # fmt: skip
        tokens = {"access_token": "x", "id_token": here.provider._keys.sign(claims)}
        here.provider.script.append(Answer(body=json.dumps(tokens) + " " * 4_000_000))

        await browser.get(callback)

        return bool(browser.session())


@attack(
    23,
    25,
    does="Sends tokens with ever new key ids: each would be a request for the provider's keys.",
    stopped_by=Defence(
        "keys are read once a second at most, whatever tokens come",
        "sidecar.adapters.openid_provider:ASK_AT_ONCE_SECONDS",
        becomes(0.0),
    ),
)
async def flood_of_key_ids(lab: Lab) -> bool:
    async with lab.world() as here:
        for _ in range(8):
            here.clock.advance(0.1)
            browser = await here.browser()
            callback, _ = await begun(browser)
            named = {"kid": secrets.token_hex(8)}
            id_token = jwt.encode({"sub": "ada"}, lab.key, algorithm="RS256", headers=named)
            here.provider.script.append(Change(members={"id_token": id_token}))
            await browser.get(callback)
        return here.provider.jwks_requests > 4


@asynccontextmanager
async def led_to_http(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """An issuer with TLS whose metadata are redirected to where there is none; its authority."""
    pair = self_signed(folder, "localhost")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.secure:
            raise web.HTTPFound(f"http://127.0.0.1:{plain.port}/metadata")
        issuer = f"https://localhost:{tls.port}"
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        return web.json_response({"issuer": issuer, **dict.fromkeys(names, f"{issuer}/evil")})

    async with RawTestServer(answer, host="127.0.0.1") as plain:
        tls = RawTestServer(answer, host="127.0.0.1")
        await tls.start_server(ssl=server_tls(*pair, http2=False))
        try:
            yield f"https://localhost:{tls.port}", pair[0]
        finally:
            await tls.close()


@attack(
    23,
    does="Redirects the request for the provider's metadata from https to http, where anybody may "
    "have written them.",
    stopped_by=Defence(
        "no document counts that was led from https to http",
        "sidecar.adapters.provider_http:gives_up_tls",
        is_always(False),
    ),
)
async def metadata_without_tls(lab: Lab) -> bool:
    with TemporaryDirectory() as folder:
        async with led_to_http(Path(folder)) as (issuer, authority), lab.world() as here:
            misled = await here.start_sidecar(
                SIDECAR_LISTEN="127.0.0.1:0",
                SIDECAR_ISSUER=issuer,
                SIDECAR_PROVIDER_CA_FILE=authority,
            )
            start = await (await here.browser(misled)).get("/auth/login")
            return start.status == 303 and "/evil" in start.headers["Location"]
