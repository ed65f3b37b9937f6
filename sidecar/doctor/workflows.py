"""What follows from what argo-server shows to anybody, and the Kubernetes API to the sidecar."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sidecar import edges
from sidecar.adapters.upstream import upstream_session
from sidecar.config.settings import Config
from sidecar.core.annotated_accounts import annotated_rules
from sidecar.core.machine_rules import MachineRules, ServiceAccount
from sidecar.doctor.clocks import clock as of_clock
from sidecar.doctor.fetch import Page, fetch
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.errors import KubernetesApiFailed
from sidecar.machine_accounts import service_accounts
from sidecar.ports import Clock, ServiceAccounts

_INFO = "/api/v1/info"
_SHORTEST_SECONDS = 600  # that Kubernetes gives a token for; nobody uses these
_MOST_ACCOUNTS = 50
_UNANNOTATED = "have no rule. Annotate one of them with workflows.argoproj.io/rbac-rule"
_NOTHING = "Nobody reaches Argo Workflows."
_MACHINES = "Machines are refused with what their rules give."


@dataclass(frozen=True, slots=True)
class WorkflowsSeen:
    """What it answers to nobody, to any bearer token, and to who wants to log in."""

    to_nobody: Page
    to_a_bearer: Page
    to_a_login: Page
    accounts: Mapping[str, str] = field(default_factory=dict)
    """Each account, or namespace of accounts, that rules lead to: why it cannot be used, or ""."""


async def look_at_workflows(
    config: Config, clock: Clock, environ: Mapping[str, str], account: Path
) -> WorkflowsSeen:
    """The answers of both."""
    tls = edges.upstream_contexts(config)
    base = "http://localhost" if config.upstream.startswith("unix:") else config.upstream
    name = config.upstream_tls_server_name
    async with upstream_session(config.upstream, tls.http1 if tls else None) as http:
        # In client mode it asks Kubernetes about a token only where it asks that for more.
        bearer = {"Authorization": "Bearer of-the-doctor"}
        to_nobody = await fetch(http, base + _INFO, clock, server_hostname=name)
        to_a_bearer = await fetch(http, base + _INFO, clock, headers=bearer, server_hostname=name)
        login = f"{base}/oauth2/redirect"
        to_a_login = await fetch(http, login, clock, server_hostname=name)
    asked: Mapping[str, str] = {}
    if config.machine_rules is not None:
        accounts = service_accounts(environ, account, clock)
        asked = await _look_at_accounts(config.machine_rules, accounts)
    return WorkflowsSeen(to_nobody, to_a_bearer, to_a_login, asked)


async def _look_at_accounts(rules: MachineRules, api: ServiceAccounts) -> dict[str, str]:
    found, named = {}, [rule.credential for rule in rules.rules]
    annotated = rules.annotated
    namespaces = []
    if annotated is not None:
        others = [each for each in annotated.delegated_namespaces if each != "*"]
        namespaces = [annotated.namespace or api.namespace, *others]
    for namespace in namespaces[:_MOST_ACCOUNTS]:
        about = f"service accounts in {namespace}"
        try:
            listed = annotated_rules(namespace, await api.accounts(namespace))
        except KubernetesApiFailed as error:
            found[about] = str(error)
            continue
        found[about] = "" if listed else _UNANNOTATED
        named += [rule.credential for rule in listed]
    accounts = {each for each in named if isinstance(each, ServiceAccount)}
    for each in sorted(accounts, key=str)[:_MOST_ACCOUNTS]:
        found[str(each)] = await _why_no_token(each, api)
    return found


async def _why_no_token(account: ServiceAccount, api: ServiceAccounts) -> str:
    namespace = account.namespace or api.namespace
    try:
        await api.token(namespace, account.name, seconds=_SHORTEST_SECONDS)
    except KubernetesApiFailed as error:
        return str(error)
    return ""


def of_workflows(config: Config, seen: WorkflowsSeen) -> Iterator[Finding]:
    """Everything that is to be said of it."""
    name, where = "upstream.reach", config.upstream
    mend = (
        "Set SIDECAR_UPSTREAM to argo-server: https://127.0.0.1:2746, or http:// if it has no TLS"
    )
    page = seen.to_nobody
    if page.problem is not None:
        yield fault(name, f"{where} {page.problem}", _NOTHING, mend)
        return
    if page.status not in (200, 401) or not isinstance(page.json(), dict):
        yield fault(name, f"what answers at {where} is not argo-server", _NOTHING, mend)
        return
    yield ok(name, f"Argo Workflows answers at {where}")
    yield from of_clock("upstream", "Argo Workflows", page)
    yield from _modes(config, seen)
    yield from _accounts(seen)


def _modes(config: Config, seen: WorkflowsSeen) -> Iterator[Finding]:
    name = "upstream.modes"
    if seen.to_nobody.status == 200:
        yield warning(
            name, "argo-server lets everybody in (--auth-mode=server)",
            "No login and no rule protects anything.", "Take that mode out of its arguments",
        )  # fmt: skip
    elif config.machine_rules is not None and seen.to_a_bearer.status != 200:
        yield fault(
            name, "argo-server takes no service account's token",
            _MACHINES, "Add --auth-mode=client to its arguments",
        )  # fmt: skip
    elif not seen.to_a_login.location and config.sso_renewal:
        yield ok(
            name, "nobody logs in by SSO there",
            "No session is renewed. If there should be: --auth-mode=sso",
        )  # fmt: skip
    else:
        yield ok(name, "argo-server has the modes that are needed")


def _accounts(seen: WorkflowsSeen) -> Iterator[Finding]:
    for account, trouble in seen.accounts.items():
        what, _, mend = trouble.partition(". ")
        if trouble:
            yield fault(
                "machines.accounts", f"{account} {what}", _MACHINES, mend or "Try again in a moment"
            )
        else:
            yield ok("machines.accounts", f"{account}: can be used")
