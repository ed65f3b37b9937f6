"""What follows from the three ways to Dex, with observed logins. Plain functions over values."""

from collections.abc import Iterator

from sidecar.config.settings import Config
from sidecar.core.upstream_kinds import UpstreamKind, upstream_profile
from sidecar.doctor.addresses import is_loopback
from sidecar.doctor.dex_look import DexSeen
from sidecar.doctor.fetch import Page
from sidecar.doctor.findings import Finding, fault, ok, warning

_NO_LOGIN = "Nobody logs in, with or without the sidecar."
_NOTHING_KEPT = "No refresh token comes here: every login ends with its ID token."
_POINT = {
    UpstreamKind.ARGOCD: "Set server.dex.server in argocd-cmd-params-cm to {at}, and restart "
    "argocd-server",
    UpstreamKind.DEVTRON: "Set DEX_HOST and DEX_PORT of Devtron's orchestrator to {at}, and "
    "restart it",
}


def of_dex(config: Config, seen: DexSeen) -> Iterator[Finding]:
    """Everything that is to be said of Dex and the port at which the sidecar stands in for it."""
    yield _reach(config, seen.document)
    if _issuer_in(seen.document) is not None:
        yield _issuer(config, seen.document)
        yield _port(config, seen)
    yield _upstream(config, seen)
    yield _logins(config, seen)


def _issuer_in(page: Page) -> str | None:
    document = page.json() if page.status == 200 else None
    issuer = document.get("issuer") if isinstance(document, dict) else None
    return issuer if isinstance(issuer, str) else None


def _reach(config: Config, page: Page) -> Finding:
    name, where = "dex.reach", config.dex_upstream
    mend = "Correct SIDECAR_DEX_UPSTREAM: the address of the real Dex, that was there before"
    if page.problem is not None:
        return fault(name, f"{where} {page.problem}", _NO_LOGIN, mend)
    if _issuer_in(page) is None:
        what = f"{where} has no metadata of a provider ({page.status})"
        return fault(name, what, _NO_LOGIN, mend)
    return ok(name, f"Dex answers at {where}")


def _issuer(config: Config, page: Page) -> Finding:
    name, issuer = "dex.issuer", (_issuer_in(page) or "")[:200]
    if issuer == config.issuer:
        return ok(name, f"its tokens are by {issuer}")
    return fault(
        name,
        f"Dex calls itself {issuer!r}, and logins are expected by {config.issuer!r}",
        "No ID token is taken for one: logins pass without a session.",
        "Make the url of the upstream's settings the public URL, and restart Dex; or correct "
        "SIDECAR_ISSUER",
    )


def _port(config: Config, seen: DexSeen) -> Finding:
    name, page, at = "dex.port", seen.through_port, config.dex_listen
    if page.status == 200 and _issuer_in(page) == _issuer_in(seen.document):
        return ok(name, f"Dex is reached through the sidecar's port {at}")
    what = str(page.problem) if page.problem is not None else f"answers {page.status}"
    return fault(
        name,
        f"the sidecar's own port for it, {at}, {what}",
        "The upstream has no Dex there.",
        "Run the doctor where the sidecar runs, with its variables, and see that nothing else "
        "has the port of SIDECAR_DEX_LISTEN",
    )


def _upstream(config: Config, seen: DexSeen) -> Finding:
    name, page = "dex.upstream", seen.through_upstream
    title = upstream_profile(config.upstream_kind).title
    at = f"port {config.dex_listen.port} of the sidecar"
    mend = _POINT[config.upstream_kind].format(at=at)
    if _issuer_in(page) is None:
        what = str(page.problem) if page.problem is not None else f"answers {page.status}"
        return fault(name, f"{title} passes nothing on to a Dex: it {what}", _NO_LOGIN, mend)
    if seen.before is None or seen.after is None:
        return warning(
            name,
            "whether its Dex address points here cannot be seen: no metrics at "
            f"{config.admin_listen}",
            _NOTHING_KEPT,
            "Run the doctor where the sidecar runs, with its variables",
        )
    if seen.after.requests > seen.before.requests:
        return ok(name, f"{title} has the sidecar as its Dex")
    what = f"{title} was asked for its Dex, and nothing came to {at}"
    if is_loopback(config.dex_listen.host or ""):
        return fault(name, f"{what}: its Dex address points elsewhere", _NOTHING_KEPT, mend)
    return warning(name, what, _NOTHING_KEPT, f"{mend}; with replicas it may have been another's")


def _logins(config: Config, seen: DexSeen) -> Finding:
    name, counts = "dex.logins", seen.after
    if counts is not None and counts.token_answers:
        return ok(name, f"{counts.token_answers:.0f} token answers and callbacks have passed here")
    return warning(
        name,
        "no token answer has ever passed the sidecar that runs here",
        "Sessions begin with one: until then every login is the upstream's own.",
        "Log in once and ask again. If it stays so, "
        + _POINT[config.upstream_kind].format(at=f"port {config.dex_listen.port} of the sidecar"),
    )
