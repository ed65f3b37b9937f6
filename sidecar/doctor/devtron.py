"""What follows from what Devtron's orchestrator shows to anybody."""

from collections.abc import Iterator

from aiohttp import ClientSession

from sidecar import edges
from sidecar.adapters.upstream import upstream_session
from sidecar.config.settings import Config
from sidecar.core.devtron import ROOT
from sidecar.doctor.clocks import clock as of_clock
from sidecar.doctor.fetch import Page, fetch
from sidecar.doctor.findings import Finding, fault, ok
from sidecar.ports import Clock

_NOTHING = "Nobody reaches Devtron."


async def look_at_devtron(config: Config, clock: Clock) -> Page:
    """Its health, which it tells without a login."""
    tls = edges.upstream_contexts(config)
    base = "http://localhost" if config.upstream.startswith("unix:") else config.upstream
    http: ClientSession
    async with upstream_session(config.upstream, tls.http1 if tls else None) as http:
        return await fetch(
            http, f"{base}/health", clock, server_hostname=config.upstream_tls_server_name
        )


def of_devtron(config: Config, health: Page) -> Iterator[Finding]:
    """Everything that is to be said of it."""
    name, where = "upstream.reach", config.upstream
    mend = "Set SIDECAR_UPSTREAM to the orchestrator: http://devtron-service.devtroncd:80"
    answer = health.json() if health.status == 200 else None
    if health.problem is not None:
        yield fault(name, f"{where} {health.problem}", _NOTHING, mend)
        return
    if not isinstance(answer, dict) or answer.get("result") != "OK":
        yield fault(name, f"what answers at {where} is not Devtron", _NOTHING, mend)
        return
    yield ok(name, f"Devtron answers at {where}")
    yield _url(config)
    yield from of_clock("upstream", "Devtron", health)


def _url(config: Config) -> Finding:
    if config.root_path == ROOT:
        return ok("upstream.url", f"Devtron is at {config.public_url}")
    return fault(
        "upstream.url",
        f"the public URL is {config.public_url!r}, and Devtron answers below {ROOT}",
        "No login of Devtron's is seen.",
        f"Let the URL in Devtron's single sign-on settings end with {ROOT}",
    )
