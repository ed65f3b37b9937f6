"""`sidecar demo`: a provider, a stand-in for Argo CD and the sidecar, on free loopback ports.

Beside them the same Argo CD without a sidecar, which logs in at its Dex by itself.
"""

import asyncio
import base64
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout, CookieJar

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.oauth import ADA, ProviderSettings
from sidecar.demo.provider import DemoProvider
from sidecar.demo.valkey import ValkeyNotStarted, valkey

TOKEN_SECONDS = 20
TOKEN_ENDS = 3
_LOOK_EVERY_SECONDS = 0.5

Sidecar = Callable[[Mapping[str, str]], AbstractAsyncContextManager[object]]
"""Serves a sidecar with these environment variables until its block ends."""


@dataclass(frozen=True, slots=True)
class Demo:
    """All parts of a demo that runs."""

    address: str
    provider: DemoProvider
    argocd: Argocd
    alone: str
    """Where Argo CD is alone; a host of its own, since browsers share cookies among ports."""


async def main(sidecar: Sidecar, *, check: bool, token_seconds: int = TOKEN_SECONDS) -> int:
    """Run the demo until it is cancelled, or check it; the exit code."""
    try:
        async with running(sidecar, token_seconds=token_seconds) as demo:
            if check:
                return await _check(demo, token_seconds)
            await _show(demo, token_seconds)
    except ValkeyNotStarted as error:
        print(f"The demo cannot start: {error}")
    return 1


@asynccontextmanager
async def running(sidecar: Sidecar, *, token_seconds: int) -> AsyncIterator[Demo]:
    """Valkey, the provider, Argo CD's stand-in and the sidecar in front of it."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    provider = DemoProvider(
        ProviderSettings(
            redirect_uris=(f"{address}/auth/callback",), id_token_seconds=token_seconds
        ),
        now=time.time,
    )
    async with (
        valkey() as store_url,
        provider.running() as issuer,
        _alone(token_seconds) as alone,
    ):
        argocd = Argocd(
            ArgocdSettings(issuer=issuer, url=address),
            now=time.time,
            logins=lambda: provider.logins,
        )
        async with argocd.running() as upstream:
            environment = {
                "SIDECAR_LISTEN": f"127.0.0.1:{port}",
                "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_PUBLIC_URL": address,
                "SIDECAR_ISSUER": issuer,
                "SIDECAR_CLIENT_ID": provider.settings.client_id,
                "SIDECAR_CLIENT_SECRET": provider.settings.client_secret,
                "SIDECAR_STORE_URL": store_url,
                "SIDECAR_SESSION_KEYS": f"demo:{base64.b64encode(os.urandom(32)).decode()}",
                "SIDECAR_LOG_LEVEL": "warning",
                "SIDECAR_AUDIT_LOG": "off",
            }
            async with sidecar(environment):
                yield Demo(address, provider, argocd, alone)


@asynccontextmanager
async def _alone(token_seconds: int) -> AsyncIterator[str]:
    """Where Argo CD's stand-in is without a sidecar, at a provider of its own that is its Dex."""
    port = _free_port()
    address = f"http://localhost:{port}"
    provider = DemoProvider(
        ProviderSettings(
            redirect_uris=(f"{address}/auth/callback",),
            id_token_seconds=token_seconds,
            requires_pkce=False,
        ),
        now=time.time,
    )
    async with provider.running() as issuer:
        argocd = Argocd(
            ArgocdSettings(issuer=issuer, url=address, dex_server=issuer),
            now=time.time,
            logins=lambda: provider.logins,
        )
        async with argocd.running(port=port):
            yield address


async def _show(demo: Demo, token_seconds: int) -> None:
    """Say where to look, then one line per renewal, for ever."""
    print(
        f"\n  Open      {demo.address}\n  User      {ADA.name}\n  Password  {ADA.password}\n\n"
        f"  Without the sidecar: {demo.alone}\n\n"
        f"  ID tokens end after {token_seconds} seconds. Ctrl-C stops everything.\n",
        flush=True,
    )
    shown = 0
    while True:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        events = demo.provider.log
        for event in events[shown:]:
            at = time.strftime("%H:%M:%S", time.localtime(event.at))
            if event.kind == "login":
                print(f"  {at}  {event.user} signed in at the provider", flush=True)
            if event.kind == "refresh":
                print(
                    f"  {at}  {event.user}'s tokens renewed "
                    f"({demo.provider.refreshes} renewals, {demo.provider.logins} logins, "
                    f"{demo.argocd.seen.unauthorized} times turned away)",
                    flush=True,
                )
        shown = len(events)


async def _check(demo: Demo, token_seconds: int) -> int:
    """Log in over HTTP, stay through three token ends, and judge by the others' own logs."""
    timeout = ClientTimeout(total=10)
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), timeout=timeout) as browser:
        await _log_in(browser, demo)
        until = time.monotonic() + TOKEN_ENDS * token_seconds + 1
        while time.monotonic() < until:
            await _load_page(browser, demo.address)
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
    counted = {
        "logins": demo.provider.logins,
        "renewals": demo.provider.refreshes,
        "unauthorized": demo.argocd.seen.unauthorized,
    }
    print(json.dumps(counted), flush=True)
    good = counted["logins"] == 1 and counted["renewals"] >= TOKEN_ENDS
    return 0 if good and not counted["unauthorized"] else 1


async def _log_in(browser: ClientSession, demo: Demo) -> None:
    """Sign in at the provider's form, as a person would."""
    async with browser.get(f"{demo.address}/auth/login") as form:
        login_form = form.url
    answer = {"user": ADA.name, "password": ADA.password}
    page_load = {"Accept": "text/html"}
    async with browser.post(login_form, data=answer, headers=page_load) as page:
        if page.status != 200:
            print(f"The sign-in ended with {page.status}")


async def _load_page(browser: ClientSession, address: str) -> None:
    """What Argo CD's UI asks for, several requests at once."""
    paths = ("/api/v1/session/userinfo", "/api/v1/applications", "/api/v1/settings")

    async def load(path: str) -> None:
        with suppress(ClientError, TimeoutError):  # what failed is in the stand-in's own log
            async with browser.get(address + path) as answer:
                await answer.read()

    await asyncio.gather(*(load(path) for path in paths))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
