"""The service account that Argo Workflows' own SSO would choose, by the accounts' annotations.

`getServiceAccount`, `rbacAuthorization` and `canDelegateRBACToRequestNamespace` of its
server/auth/gatekeeper.go, as v4.1.2 (f016ad89) has them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import parse_qsl

from sidecar.core.expressions import condition
from sidecar.core.heads import clean_path
from sidecar.core.kubernetes_objects import AccountItem
from sidecar.core.machine_rules import (
    Choice,
    Claims,
    Credential,
    Refusal,
    Rule,
    ServiceAccount,
    TokenFile,
    choose,
)

RULE = "workflows.argoproj.io/rbac-rule"
PRECEDENCE = "workflows.argoproj.io/rbac-rule-precedence"
TOKEN_NAME = "workflows.argoproj.io/service-account-token.name"  # noqa: S105 - an annotation

Mounted = Callable[[str, str], str | None]
"""Where the token in a namespace's Secret of that name is mounted; None where it is not."""

# Accounts are listed every few seconds, and change every few months.
_condition = lru_cache(maxsize=256)(condition)
_INT64 = 1 << 63
_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,20})[0-9]*")  # more digits change nothing
_SECRET = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123
# The first segments behind which a request's namespace follows, by the length of the way there.
_BEHIND_API = re.compile(
    r"/api/v1/(?:stream/)?(?:workflows|workflow-events|workflow-templates|cron-workflows|events"
    r"|event-sources|sensors|sync)/([^/]+)(?:/|$)"
)
_ARTIFACTS = re.compile(r"/(?:artifacts|input-artifacts|artifact-files|upload-artifacts)/([^/]+)/")
_QUERIED = re.compile(r"/api/v1/archived-workflows(?:-label-keys|-label-values)?(?:/|$)")


def annotated_rules(
    namespace: str,
    accounts: Iterable[AccountItem],
    mounted: Mounted = lambda namespace, secret: None,
) -> tuple[Rule, ...]:
    """The rules that the service accounts of a namespace carry; the others are not asked.

    Among equal precedences Argo Workflows' order is left to chance; here names decide.
    """
    return tuple(
        Rule(
            f"{namespace}/{account.name}",
            _condition(account.annotations[RULE]),
            _credential(namespace, account, mounted),
            precedence(account.annotations),
        )
        for account in sorted(accounts, key=lambda account: account.name)
        if RULE in account.annotations
    )


def precedence(annotations: Mapping[str, str]) -> int:
    """A rule's precedence as Go's `strconv.Atoi` gives it where its error is not looked at."""
    found = _INTEGER.fullmatch(annotations.get(PRECEDENCE, ""))
    if not found:
        return 0
    number = int(found[2])
    return max(-_INT64, -number) if found[1] == "-" else min(_INT64 - 1, number)


def token_secret(account: AccountItem) -> str:
    """The Secret that Argo Workflows takes an account's token from.

    util/secrets/secret_name.go: the first that the account lists, the annotated one, the usual.
    """
    if account.secrets:
        return account.secrets[0]
    return account.annotations.get(TOKEN_NAME, f"{account.name}.service-account-token")


def choose_account(
    login: Sequence[Rule], delegated: Sequence[Rule] | None, issuer: str, claims: Claims
) -> Choice | Refusal:
    """The account of the login's namespace, or one of the request's where that comes before it.

    `delegated` are the rules of the request's namespace, None where it is not asked. A rule that
    cannot be evaluated ends its namespace's search: in the login's nobody is chosen then, in the
    request's the login's account is.
    """
    here = choose(login, issuer, claims, failing_refuses=True)
    if delegated is None or (isinstance(here, Refusal) and here.failures):
        return here
    there = choose(delegated, issuer, claims, failing_refuses=True)
    if isinstance(there, Refusal):
        failures = (*here.failures, *there.failures)
        if isinstance(here, Refusal):
            return Refusal((*here.tried, *there.tried), failures)
        return Choice(here.rule, here.credential, failures)
    if isinstance(here, Refusal):
        return there
    of = {rule.name: rule.precedence for rule in (*login, *delegated)}
    return there if of[there.rule] > of[here.rule] else here


def request_namespace(target: str) -> str:
    """The namespace that a request is about, as its path has it; "" where it names none.

    Whatever it is taken for here, the account that is chosen for it is one whose rule matches,
    and Kubernetes lets that do what it may.
    """
    path = clean_path(target)
    if path is None:
        return ""
    found = _BEHIND_API.match(path) or _ARTIFACTS.match(path)
    if found:
        return _usable(found[1])
    if not _QUERIED.match(path):
        return ""
    query = target.partition("?")[2]
    try:
        pairs = parse_qsl(query, max_num_fields=100)
    except ValueError:
        return ""
    named = [value for name, value in pairs if name == "namespace"]
    return _usable(named[0]) if named else ""


def _usable(namespace: str) -> str:
    return namespace if _NAMESPACE.fullmatch(namespace) else ""


def _credential(namespace: str, account: AccountItem, mounted: Mounted) -> Credential:
    """The token that Argo Workflows would take, where it is at hand; else the account's own."""
    secret = token_secret(account)
    path = mounted(namespace, secret) if _SECRET.fullmatch(secret) else None
    return ServiceAccount(namespace, account.name) if path is None else TokenFile(path)
