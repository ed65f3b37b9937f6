"""What follows from what Argo CD showed. Plain functions over values."""

import re
from collections.abc import Iterator
from typing import Any

from sidecar.config.settings import Config
from sidecar.config.values import LoginMode
from sidecar.core.cookies import crumbs, is_ours
from sidecar.doctor.addresses import host_of, is_loopback
from sidecar.doctor.clocks import clock
from sidecar.doctor.fetch import Page, Problem
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.doctor.upstream_look import UpstreamSeen

_NOTHING = "Nobody reaches Argo CD."
_TOKENS = "Argo CD takes no token that the sidecar gets."


def of_upstream(config: Config, seen: UpstreamSeen) -> Iterator[Finding]:
    """Everything that is to be said of what stands behind the sidecar."""
    broken = _reach(config, seen.version) or _loop(config, seen.login)
    if broken is not None:
        yield broken
        return
    yield ok("upstream.reach", f"{config.upstream} answers")
    yield _version(seen.version)
    yield from _settings(config, seen.settings)
    yield from _exposed(config, seen)
    yield from clock("upstream", "Argo CD", seen.version)


def _reach(config: Config, page: Page) -> Finding | None:
    name, where = "upstream.reach", config.upstream
    if page.problem is not None:
        mend = _MENDS.get(page.problem, _SCHEME if page.problem is Problem.BROKEN else _LISTEN)
        return fault(name, f"{where} {page.problem}", _NOTHING, mend)
    if page.location.startswith("https:") and where.startswith("http:"):
        return fault(name, f"{where} wants TLS", _NOTHING, _SCHEME)
    if page.status == 400 and b"HTTPS server" in page.body:  # Go's answer to plain HTTP
        return fault(name, f"{where} wants TLS", _NOTHING, _SCHEME)
    if page.status in (301, 302, 307, 308, 404):
        return fault(
            name,
            f"{where}{config.root_path}/api/version answers {page.status}",
            _NOTHING,
            "Make the path of the public URL the one of server.rootpath, and SIDECAR_UPSTREAM "
            "the address of argocd-server",
        )
    if _version_in(page) is None:
        return fault(
            name,
            f"what answers at {where} is not argocd-server",
            _NOTHING,
            "Correct SIDECAR_UPSTREAM: argocd-server listens on 8090 beside the sidecar (--port)",
        )
    return None


_LISTEN = (
    "Give argocd-server --port=8090, or set SIDECAR_UPSTREAM to where it listens; it may be "
    "starting"
)
_SCHEME = (
    "Write the scheme that argocd-server speaks in SIDECAR_UPSTREAM: http:// with "
    "server.insecure, else https:// with SIDECAR_UPSTREAM_TLS_VERIFY=off for its own certificate"
)
_MENDS = {
    Problem.NO_TLS: _SCHEME,
    Problem.CERTIFICATE: "argocd-server signs its own: SIDECAR_UPSTREAM_TLS_VERIFY=off in one pod, "
    "or SIDECAR_UPSTREAM_TLS_CA_FILE and SIDECAR_UPSTREAM_TLS_SERVER_NAME",
}


def _loop(config: Config, login: Page) -> Finding | None:
    """Whether the upstream is a sidecar again."""
    if not any(is_ours(crumb.name) for crumb in crumbs(login.set_cookies)):
        return None
    return fault(
        "upstream.reach",
        f"{config.upstream} leads to a sidecar, not to argocd-server",
        "Every request goes in a circle.",
        "Set SIDECAR_UPSTREAM to argocd-server's own port, not to the Service that leads here",
    )


def _version_in(page: Page) -> str | None:
    answer = page.json() if page.status == 200 else None
    version = answer.get("Version") if isinstance(answer, dict) else None
    return version[:60] if isinstance(version, str) else None


def _version(page: Page) -> Finding:
    version = _version_in(page) or ""
    spoken = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if spoken is None:
        return ok("upstream.version", f"Argo CD {version}")
    numbers = tuple(int(part) for part in spoken.groups())
    if numbers < (3, 4, 0):
        return ok(
            "upstream.version",
            f"Argo CD {version}",
            "Before 3.4 a logout here does not revoke the ID token: it counts until it ends",
        )
    return ok("upstream.version", f"Argo CD {version}")


# Its settings against ours


def _settings(config: Config, page: Page) -> Iterator[Finding]:
    document = page.json() if page.status == 200 else None
    if not isinstance(document, dict):
        yield warning(
            "upstream.settings",
            "Argo CD does not tell its settings",
            "Whether they are the same as ours is not known.",
            "Look into argocd-server's log",
        )
        return
    if config.argocd.takes_over_logins:
        if config.login is LoginMode.OWN:  # else its provider is Dex, which is looked at
            yield _client(config, document)
        yield _url(config, document)


def _client(config: Config, document: dict[str, Any]) -> Finding:
    name, oidc = "upstream.client", document.get("oidcConfig")
    if not isinstance(oidc, dict):
        return fault(
            name, "Argo CD has no oidc.config", _TOKENS,
            "Give argocd-cm the provider's oidc.config, and keep it there",
        )  # fmt: skip
    issuer = str(oidc.get("issuer", ""))[:200]
    if issuer not in (config.issuer, *(config.issuer_aliases or ())):
        return fault(
            name, f"Argo CD trusts the issuer {issuer!r}, and logins here are by {config.issuer!r}",
            _TOKENS, "Make issuer in oidc.config and SIDECAR_ISSUER the same to the letter",
        )  # fmt: skip
    client = str(oidc.get("clientID", ""))[:200]
    if client != config.client_id:
        return fault(
            name, f"Argo CD trusts the client {client!r}, and logins here are by "
            f"{config.client_id!r}", _TOKENS,
            "Make clientID in oidc.config and SIDECAR_CLIENT_ID the same (or add ours to "
            "allowedAudiences: then this finding may be passed over)",
        )  # fmt: skip
    return ok(name, "Argo CD trusts the same issuer and client")


def _url(config: Config, document: dict[str, Any]) -> Finding:
    name, url = "upstream.url", str(document.get("url", ""))[:200].rstrip("/")
    if url in (config.public_url, *(config.additional_urls or ())):
        return ok(name, f"Argo CD and the sidecar are at {config.public_url}")
    return warning(
        name,
        f"Argo CD's url is {url!r}, and the public URL here is {config.public_url!r}",
        "Logouts, links in notifications and cookies lead elsewhere than logins.",
        "Make url in argocd-cm and SIDECAR_PUBLIC_URL the same",
    )


def _exposed(config: Config, seen: UpstreamSeen) -> Iterator[Finding]:
    """Who can go round the sidecar; a NetworkPolicy cannot be seen from inside."""
    if config.upstream.startswith("unix:"):
        yield ok("upstream.exposed", "only this pod reaches argocd-server: a Unix socket")
    elif not is_loopback(host_of(config.upstream)):
        yield ok(
            "upstream.exposed",
            f"argocd-server is at {host_of(config.upstream)}, outside of this pod",
            "Whoever reaches it there goes round the sidecar, to Argo CD's own login. Whether a "
            "NetworkPolicy closes it cannot be seen from here: admit the sidecar's pods only",
        )
    elif seen.also_at:
        yield ok(
            "upstream.exposed",
            f"argocd-server listens on {', '.join(seen.also_at)} too, not on loopback alone",
            "Whoever reaches that port goes round the sidecar, to Argo CD's own login. Whether a "
            "NetworkPolicy closes it cannot be seen from inside: admit 8080, 8083 and 9090 only",
        )
    else:
        yield ok("upstream.exposed", "no other address of this pod was seen to lead there")
