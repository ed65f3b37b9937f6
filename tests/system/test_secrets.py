"""No secret of a whole run is ever written: logs, metrics, pages, errors, the store."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from aiohttp import ClientSession, CookieJar, web
from cryptography.hazmat.primitives.asymmetric import rsa
from redis.asyncio import Redis

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.misbehaviour import Answer, Behaviour, Change, Drop
from sidecar.demo.oauth import ProviderSettings
from sidecar.demo.provider import DemoProvider
from sidecar.demo.valkey import valkey
from tests.system.process import sidecar_process, until_ready
from tests.world import PAGE, Browser, free_port, system_now

CLIENT_SECRET = "client-secret-that-nobody-may-see-4711"
KEY = base64.b64encode(b"session-key-that-nobody-may-see!").decode()
PLANTED = "planted-secret-in-a-broken-request-0815"


class Tapped(DemoProvider):
    """A provider that keeps every token it gave."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given: list[str] = []

    async def _token_answer(self, request: web.Request, behaviour: Behaviour) -> web.Response:
        answer = await super()._token_answer(request, behaviour)
        body = json.loads(answer.text or "{}")
        self.given += [str(body[name]) for name in body if name.endswith("_token")]
        return answer


def forms(secret: str) -> Iterator[str]:
    """A secret in plain, encoded and partial forms."""
    yield secret
    yield quote(secret, safe="")
    raw = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.b16encode):
        yield encode(raw).decode().rstrip("=")
    yield raw.hex()
    # A part is enough to be worth stealing; the first bytes of JWTs are all the same.
    yield secret[-24:]
    yield secret[len(secret) // 2 :][:24]


async def test_no_secret_of_a_run_is_written_anywhere(signing_key: rsa.RSAPrivateKey) -> None:
    port, admin_port = free_port(), free_port()
    base, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    settings = ProviderSettings(
        redirect_uris=(f"{base}/auth/callback",), id_token_seconds=60, client_secret=CLIENT_SECRET
    )
    provider = Tapped(settings, now=system_now, key=signing_key)
    async with valkey() as store_url, provider.running() as issuer:
        argocd = Argocd(ArgocdSettings(issuer=issuer, url=base), now=system_now)
        async with argocd.running() as upstream:
            environment = {
                "SIDECAR_LISTEN": f"127.0.0.1:{port}",
                "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_PUBLIC_URL": base,
                "SIDECAR_ISSUER": issuer,
                "SIDECAR_CLIENT_ID": settings.client_id,
                "SIDECAR_CLIENT_SECRET": CLIENT_SECRET,
                "SIDECAR_STORE_URL": store_url,
                "SIDECAR_SESSION_KEYS": f"k1:{KEY}",
                "SIDECAR_LOG_LEVEL": "debug",
            }
            async with sidecar_process(environment) as process:
                await until_ready(admin)
                secrets, seen = await a_whole_run(base, admin, provider)
                stored = await everything_in(store_url)
                code, log = await process.stop()

    secrets += [CLIENT_SECRET, KEY, PLANTED, *provider.given]
    shown = "\n".join([log, *seen])
    written = shown + stored
    assert code == 0
    assert len([s for s in secrets if s.startswith("ey")]) >= 5
    assert '"event": "login"' in log
    assert '"event": "renewed"' in log
    assert "request_refused" in log
    found = {form for secret in secrets for form in forms(secret) if form in written}
    assert not found


async def a_whole_run(base: str, admin: str, provider: DemoProvider) -> tuple[list[str], list[str]]:
    """Log in, renew, fail in every way, log out; the secrets that were used, and what was shown."""
    secrets: list[str] = []
    seen: list[str] = []
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
        browser = Browser(http, base)
        for behaviour in (
            Answer(status=400, body='{"error":"invalid_grant"}'),
            Change(forged=True),
            Change(claims={"nonce": "x"}),
            Drop(after_commit=True),
            Answer(status=200, body="<html>"),
        ):
            secrets += await a_login(browser, seen, provider, behaviour)
        secrets += await a_login(browser, seen, provider, None)
        secrets += browser.cookies().values()
        seen.append(await (await browser.get("/", headers=PAGE)).text())
        seen.append(await (await browser.get("/api/v1/applications")).text())
        provider.settings.id_token_seconds = 2
        secrets += await a_login(browser, seen, provider, None)
        refusal = Answer(status=401, body='{"error":"invalid_client"}')
        for failing in (None, refusal, None):
            if failing is not None:
                provider.script.append(failing)
            await until_renewed(browser, provider, seen)
        secrets += browser.cookies().values()
        await broken_requests(base, seen)
        await browser.get("/auth/logout")
        for path in ("/metrics", "/readyz", "/healthz"):
            async with http.get(admin + path) as answer:
                seen.append(await answer.text())
    return [s for s in secrets if len(s) > 20], seen


async def a_login(
    browser: Browser, seen: list[str], provider: DemoProvider, behaviour: Behaviour | None
) -> list[str]:
    """A sign-in, and its secrets: state, nonce, code, cookies."""
    start = await browser.get("/auth/login")
    asked = dict(parse_qsl(urlsplit(start.headers["Location"]).query))
    secrets = [asked["state"], asked["nonce"], *browser.cookies().values()]
    form = {"user": "ada", "password": "ada"}
    done = await browser.request("POST", start.headers["Location"], data=form)
    if behaviour is not None:
        provider.script.append(behaviour)
    callback = done.headers["Location"]
    secrets.append(dict(parse_qsl(urlsplit(callback).query))["code"])
    for address in (callback, callback, callback.replace("state=", "state=x")):
        answer = await browser.get(address, headers=PAGE)
        seen.append(await answer.text())
        secrets += browser.cookies().values()
    return secrets


async def until_renewed(browser: Browser, provider: DemoProvider, seen: list[str]) -> None:
    """Load pages until the provider has been asked once more."""
    before = provider.token_requests
    async with asyncio.timeout(20):
        while provider.token_requests == before:
            seen.append(await (await browser.get("/api/v1/applications")).text())
            await asyncio.sleep(0.1)


async def broken_requests(base: str, seen: list[str]) -> None:
    """Requests that cannot be read, with a secret in every part."""
    port = urlsplit(base).port
    for broken in (
        f"GET /{PLANTED} HTTP/9.9\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nCookie : {PLANTED}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nCookie: {PLANTED * 2000}\r\n\r\n",
        f"{PLANTED}\r\n\r\n",
        f"GET /auth/callback?code={PLANTED}&state={PLANTED} HTTP/1.1\r\nHost: x\r\n"
        "Connection: close\r\n\r\n",
        f"GET /auth/login?return_url={PLANTED} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f"GET /auth/callback?error={PLANTED}&state={PLANTED} HTTP/1.1\r\nHost: x\r\n"
        "Connection: close\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(broken.encode())
        seen.append((await reader.read()).decode("latin-1"))
        writer.close()


async def everything_in(store_url: str) -> str:
    """All keys and values of the store, as text."""
    parts: list[Any] = []
    async with Redis.from_url(store_url) as redis:
        async for key in redis.scan_iter():
            parts.append(key)
            kind = await redis.type(key)
            if kind == b"hash":
                for name, value in (await redis.hgetall(key)).items():
                    parts += [name, value]
            elif kind == b"zset":
                parts += await redis.zrange(key, 0, -1)
            else:
                parts.append(await redis.get(key) or b"")
    return "\n".join(bytes(part).decode("latin-1") for part in parts)
