"""Dex, as the sidecar reaches it, through the sidecar's second port, and through the upstream."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import ClientSession

from sidecar import edges
from sidecar.adapters.upstream import upstream_session
from sidecar.config.settings import Config
from sidecar.config.values import Listen
from sidecar.doctor.fetch import Page, fetch
from sidecar.doctor.upstream_look import ask
from sidecar.ports import Clock

DOCUMENT = "/.well-known/openid-configuration"
_TRIES = 3  # there may be replicas behind the upstream's Dex address
_COUNTED = re.compile(
    rb"^argocd_token_refresh_(\w+?)_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What the sidecar that runs here has counted: requests at the port, and token answers."""

    requests: float
    token_answers: float


@dataclass(frozen=True, slots=True)
class DexSeen:
    """Three answers for the same document, and what was counted before and after the last."""

    document: Page
    through_port: Page
    through_upstream: Page
    before: Counts | None = None
    after: Counts | None = None


async def look_at_dex(config: Config, clock: Clock) -> DexSeen:
    """Dex' metadata by all three ways."""
    path = urlsplit(config.issuer).path.rstrip("/") + DOCUMENT
    async with edges.dex_http(config) as http:
        document = await fetch(http, f"{config.dex_upstream}{path}", clock)
    tls = edges.upstream_contexts(config)
    async with (
        ClientSession() as here,
        upstream_session(config.upstream, tls.http1 if tls else None) as behind,
    ):
        through_port = await fetch(here, f"{_own(config.dex_listen)}{path}", clock)
        before = await _counts(config, here, clock)
        through_upstream = Page()
        for _ in range(_TRIES):
            through_upstream = await ask(config, behind, f"/api/dex{DOCUMENT}", clock)
        after = await _counts(config, here, clock)
    return DexSeen(document, through_port, through_upstream, before, after)


async def _counts(config: Config, http: ClientSession, clock: Clock) -> Counts | None:
    page = await fetch(http, f"{_own(config.admin_listen)}/metrics", clock)
    if page.status != 200:
        return None
    found = {"dex_requests": 0.0, "observed_logins": 0.0}
    for name, value in _COUNTED.findall(page.body):
        if name.decode() in found:
            found[name.decode()] += float(value)
    return Counts(found["dex_requests"], found["observed_logins"])


def _own(listen: Listen) -> str:
    """Where a port of this pod is reached from inside."""
    return f"http://{Listen(listen.host or '127.0.0.1', listen.port)}"
