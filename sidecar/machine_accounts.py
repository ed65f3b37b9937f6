"""Service accounts for machines' requests: their tokens, and the rules in their annotations."""

from collections.abc import Mapping
from pathlib import Path

from sidecar.config.environment import read_file
from sidecar.config.settings import Config
from sidecar.core.kubernetes_objects import MEND_HIDDEN, AccountItem
from sidecar.core.machine_rules import MachineRules, ServiceAccount
from sidecar.errors import KubernetesApiFailed
from sidecar.flows.account_tokens import AccountTokens
from sidecar.flows.tasks import Runtime
from sidecar.ports import (
    AccountToken,
    AnnotatedRules,
    Clock,
    MachineCredentials,
    ServiceAccounts,
)


class MachineAccounts:
    """What is known of service accounts; their tokens outlive changes of the rules."""

    def __init__(self, runtime: Runtime, environ: Mapping[str, str], account: Path) -> None:
        self._runtime = runtime
        self._environ = environ
        self._account = account
        self._accounts: ServiceAccounts | None = None
        self._tokens: AccountTokens | None = None

    def tokens(self, rules: MachineRules) -> MachineCredentials | None:
        """Their tokens, where these rules lead to any."""
        named = any(isinstance(rule.credential, ServiceAccount) for rule in rules.rules)
        if not named and rules.annotated is None:
            return None
        self._tokens = self._tokens or AccountTokens(self._reached(), self._runtime)
        return self._tokens

    def annotated(self, rules: MachineRules, config: Config) -> AnnotatedRules | None:
        """The rules in their annotations, where those are the rules."""
        if rules.annotated is None:
            return None
        from sidecar.flows.account_rules import AccountRules  # with all that reads conditions

        folder = config.account_tokens_dir

        def mounted(namespace: str, secret: str) -> str | None:
            file = folder / namespace / secret / "token" if folder is not None else None
            return str(file) if file is not None and file.is_file() else None

        return AccountRules(self._reached(), rules.annotated, self._runtime, mounted=mounted)

    def _reached(self) -> ServiceAccounts:
        # When it is needed first: kubernetes-asyncio takes half as much memory as all the rest.
        self._accounts = self._accounts or service_accounts(
            self._environ, self._account, self._runtime.clock
        )
        return self._accounts


def service_accounts(environ: Mapping[str, str], account: Path, clock: Clock) -> ServiceAccounts:
    """The Kubernetes API with the pod's own service account, or who says why there is none."""
    if not environ.get("KUBERNETES_SERVICE_HOST") or not environ.get("KUBERNETES_SERVICE_PORT"):
        return NoAccounts("there is no Kubernetes API here. Run the sidecar in a pod")
    try:
        namespace = read_file(str(account / "namespace"))
    except (OSError, ValueError):
        return NoAccounts(f"the pod's service account is not in {account}. {MEND_HIDDEN}")
    try:
        from sidecar.adapters.kubernetes_api import KubernetesApi
        from sidecar.adapters.service_accounts import KubernetesAccounts
    except ImportError:
        mend = "Install argocd-token-refresh[kubernetes]"
        return NoAccounts(f"kubernetes-asyncio is not installed. {mend}")
    return KubernetesAccounts(KubernetesApi(environ, account, namespace), now=clock.now)


class NoAccounts:
    """`ServiceAccounts` where nobody can be asked, and why."""

    namespace = ""

    def __init__(self, why: str) -> None:
        self._why = why

    async def accounts(self, namespace: str) -> list[AccountItem]:
        """None.

        Raises:
            KubernetesApiFailed: always.
        """
        raise KubernetesApiFailed(f"cannot be read: {self._why}")

    async def token(self, namespace: str, name: str, *, seconds: int) -> AccountToken:
        """None.

        Raises:
            KubernetesApiFailed: always.
        """
        raise KubernetesApiFailed(f"gives no token: {self._why}")
