"""All that takes part: an upstream, a Valkey, a provider, and the proxies, each with a session."""

import json
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import ClientSession
from redis.asyncio import Redis

from bench import peers
from bench.machine import cores, on_core, pin
from bench.place import PUBLIC_URL, TOKEN_LENGTH, Maker, Replica, maker, replica
from bench.provider import provider
from bench.serving import HOST
from bench.tokens import CLIENT_ID, LIFE_SECONDS, id_token
from sidecar.demo.valkey import valkey
from tests.world import free_port

DIRECT, NGINX, HAPROXY, OPENIDC = "direct", "nginx", "haproxy", "mod_auth_openidc"
SIDECAR, PLAIN, UNCACHED = "sidecar", "sidecar_asyncio", "sidecar_uncached"
SESSION, MACHINE = "session", "machine"
"""A sidecar with rules for machines, asked by a session, and by a machine's verified token."""
API_TOKEN = "eyJhbGciOiJIUzI1NiJ9.bench." + "0" * 43
NUMBERED = "sidecar_numbered"
"""The sidecar, asked by requests that differ in a field, as behind an Ingress that numbers them."""
OF_OURS = (SIDECAR, PLAIN, UNCACHED)
ALL = (DIRECT, NGINX, HAPROXY, OPENIDC, *OF_OURS)
_OF_DEVELOPERS = ("rich", "greenlet")  # structlog loads them where they are
_PUBLIC_HOST = PUBLIC_URL.removeprefix("http://")
FIELDS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: application/json, text/plain, */*",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate",
    f"Referer: {PUBLIC_URL}/applications",
    "Sec-Fetch-Dest: empty",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Site: same-origin",
)
"""What a browser's request has beside its host and its cookies."""


@dataclass(frozen=True)
class Peer:
    """A server that runs, with the Cookie field of somebody who is logged in there."""

    name: str
    port: int
    pid: int
    cookie: str
    host: str = _PUBLIC_HOST
    bearer: str = ""
    """A machine's token, which comes in the place of the cookie."""


@dataclass(frozen=True)
class Field:
    """What runs."""

    peers: Mapping[str, Peer]
    upstream: int
    http: ClientSession
    making: Maker
    store_url: str

    def path(self, size: str) -> str:
        """Where an answer of this size is."""
        return f"/api/v1/{size}"

    def fields(self, peer: Peer) -> list[str]:
        """The fields of a request."""
        bearer = f"Authorization: Bearer {peer.bearer}"
        return [f"Host: {peer.host}", *FIELDS, bearer if peer.bearer else f"Cookie: {peer.cookie}"]

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Redis]:
        """A client of the store."""
        async with Redis.from_url(self.store_url) as client:
            yield client

    async def answered(self) -> int:
        """How many requests the upstream has answered, with this one."""
        async with self.http.get(f"http://{HOST}:{self.upstream}/-/status") as answer:
            return int((await answer.text()).splitlines()[2].split()[2])


@asynccontextmanager
async def field(names: Collection[str] = ALL) -> AsyncIterator[Field]:
    """What runs as long as the block: proxies on one core, all else, and we, on the other."""
    proxies, others = cores()
    with on_core(others):
        async with AsyncExitStack() as owned:
            yield await _started(frozenset(names), proxies, others, owned)


async def _started(
    names: frozenset[str], proxies: int, others: int, owned: AsyncExitStack
) -> Field:
    folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="atr-bench-")))
    http = await owned.enter_async_context(ClientSession())
    store_port = free_port()
    await owned.enter_async_context(valkey("--port", str(store_port), "--bind", HOST))
    asked = await owned.enter_async_context(provider(delay=0, length=TOKEN_LENGTH))
    up, up_pid = await owned.enter_async_context(peers.upstream(folder, others))
    store_url = f"redis://{HOST}:{store_port}/0"
    making = await owned.enter_async_context(maker(store_url, asked.issuer))
    token = id_token(asked.issuer, "bench", length=TOKEN_LENGTH)
    ground = _Ground(folder, proxies, up, asked.issuer, store_port, token, making)
    found = {DIRECT: Peer(DIRECT, up, up_pid, f"argocd.token={token}")}
    for name in names - {DIRECT}:
        found[name] = await ground.peer(name, owned)
    if SESSION in found:
        bearer = await asked.machine_token()
        found[MACHINE] = replace(found[SESSION], name=MACHINE, cookie="", bearer=bearer)
    return Field(found, up, http, making, store_url)


@dataclass(frozen=True)
class _Ground:
    """What the proxies stand on."""

    folder: Path
    core: int
    upstream: int
    issuer: str
    store_port: int
    token: str
    making: Maker

    async def peer(self, name: str, owned: AsyncExitStack) -> Peer:
        """A proxy that was started, with somebody logged in."""
        if name in (*OF_OURS, SESSION):
            return await self._ours(name, owned)
        if name == OPENIDC:
            return await self._openidc(owned)
        make = peers.nginx if name == NGINX else peers.haproxy
        port, pid = await owned.enter_async_context(
            make(self.folder, self.upstream, self.token, self.core)
        )
        return Peer(name, port, pid, f"session={'0' * 128}")

    async def _openidc(self, owned: AsyncExitStack) -> Peer:
        port, pid = await owned.enter_async_context(
            peers.mod_auth_openidc(
                self.folder, self.upstream, self.issuer, self.store_port, self.core
            )
        )
        cookie = await peers.logged_in(port, "/api/v1/1k")
        # Its sessions hold only under the host that the login came to.
        return Peer(OPENIDC, port, pid, cookie, f"{HOST}:{port}")

    async def _ours(self, name: str, owned: AsyncExitStack) -> Peer:
        store_url = f"redis://{HOST}:{self.store_port}/0"
        environment = sidecar_environment(f"http://{HOST}:{self.upstream}", self.issuer, store_url)
        if name == SESSION:
            environment |= _machine_rules(self.issuer, self.folder)
        running = await owned.enter_async_context(ours(name, environment, self.folder, self.core))
        made = await self.making.session(f"user-of-{name}", ends_at=time.time() + LIFE_SECONDS)
        return Peer(name, running.port, running.pid, made.cookie)


def _machine_rules(issuer: str, folder: Path) -> dict[str, str]:
    """Rules by which the provider's tokens are a machine's."""
    rules, token = folder / "rules.yaml", folder / "api-token"
    token.write_text(API_TOKEN)
    trusted = {"name": "bench", "issuer": issuer, "audiences": [CLIENT_ID]}
    rule = {"name": "all", "if": "sub != ''", "token_file": str(token)}
    rules.write_text(json.dumps({"issuers": [trusted], "rules": [rule]}))
    return {"SIDECAR_MACHINE_RULES": str(rules)}


def sidecar_environment(up: str, issuer: str, store_url: str) -> dict[str, str]:
    """What a sidecar is told; all that is not said here is as it is in production."""
    return {
        "SIDECAR_UPSTREAM": up,
        "SIDECAR_ISSUER": issuer,
        "SIDECAR_STORE_URL": store_url,
    }


@asynccontextmanager
async def ours(
    name: str, environment: Mapping[str, str], folder: Path, core: int
) -> AsyncIterator[Replica]:
    """A sidecar: as it is, without uvloop, or without its cache; on one core.

    As it is means as it is installed: structlog would load what developers have besides.
    """
    hidden = folder / "hidden" / name
    hidden.mkdir(parents=True, exist_ok=True)
    for package in _OF_DEVELOPERS if name != PLAIN else (*_OF_DEVELOPERS, "uvloop"):
        (hidden / f"{package}.py").write_text("raise ImportError('hidden by the bench')\n")
    given = {**environment, "PYTHONPATH": str(hidden)}
    module = "bench.uncached" if name == UNCACHED else "sidecar"
    async with replica(given, module=module) as running:
        pin(running.pid, core)
        yield running
