"""The rules in service accounts' annotations, as the Kubernetes API has them now.

A namespace's accounts are listed when a request needs them, and listed anew behind the first
request that comes ten seconds later. Half a minute after it was asked for a list counts no more:
so long may a rule that was taken away still let somebody in, and then nobody is let in unasked.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from sidecar.core.annotated_accounts import (
    Mounted,
    annotated_rules,
    choose_account,
    request_namespace,
)
from sidecar.core.bearer_tokens import Machine
from sidecar.core.machine_rules import Annotated, Choice, Refusal, Rule
from sidecar.errors import KubernetesApiFailed, KubernetesApiRefused, MachineCredentialUnavailable
from sidecar.flows.kept import Answer, Kept
from sidecar.flows.tasks import Runtime
from sidecar.ports import ServiceAccounts

LISTED_ANEW_SECONDS = 10.0
LISTED_FOR_SECONDS = 30.0
_MOST_NAMESPACES = 128

_Rules = tuple[Rule, ...]


class AccountRules:
    """`AnnotatedRules` over the Kubernetes API."""

    def __init__(
        self,
        accounts: ServiceAccounts,
        annotated: Annotated,
        runtime: Runtime,
        *,
        mounted: Mounted = lambda namespace, secret: None,
    ) -> None:
        self._accounts = accounts
        self._login = annotated.namespace or accounts.namespace
        self._delegated = frozenset(annotated.delegated_namespaces)
        self._mounted = mounted
        self._log = runtime.log
        self._alarm = runtime.metrics.alarms.labels("machine_credential").inc
        self._kept: Kept[str, _Rules] = Kept(
            self._fetch, runtime.tasks, runtime.clock, name="service account", most=_MOST_NAMESPACES
        )
        self._known: WeakKeyDictionary[Machine, tuple[Sequence[_Rules], Choice | Refusal]] = (
            WeakKeyDictionary()
        )

    def choose_now(self, machine: Machine, target: str) -> Choice | Refusal | None:
        """What a machine's claims lead to, if there is nothing to wait for, else None."""
        rules = [self._kept.now(namespace) for namespace in self._asked(target)]
        found = [each for each in rules if each is not None]
        return self._choose(machine, found) if len(found) == len(rules) else None

    async def choose(self, machine: Machine, target: str) -> Choice | Refusal:
        """The same, after what there is to wait for.

        Raises:
            MachineCredentialUnavailable: the annotations are not known now.
        """
        rules = [await self._kept.get(namespace) for namespace in self._asked(target)]
        return self._choose(machine, rules)

    def _asked(self, target: str) -> list[str]:
        """The namespaces whose accounts count for a request: the login's, then its own."""
        if not self._delegated:
            return [self._login]
        own = request_namespace(target)
        is_delegated = own in self._delegated or "*" in self._delegated
        return [self._login, own] if own and own != self._login and is_delegated else [self._login]

    def _choose(self, machine: Machine, rules: Sequence[_Rules]) -> Choice | Refusal:
        """The decision, made once for as long as token and accounts are the same."""
        known = self._known.get(machine)
        if known is not None and list(map(id, known[0])) == list(map(id, rules)):
            return known[1]
        login, *delegated = rules
        chosen = choose_account(
            login, delegated[0] if delegated else None, machine.issuer, machine.claims
        )
        self._known[machine] = (rules, chosen)
        return chosen

    async def _fetch(self, namespace: str) -> Answer[_Rules]:
        try:
            found = await self._accounts.accounts(namespace)
        except KubernetesApiFailed as error:
            self._alarm()
            credential = f"service accounts in {namespace}"
            self._log.error("machine_credential", credential=credential, error=str(error))
            if isinstance(error, KubernetesApiRefused) and namespace != self._login:
                # Not delegated after all: as for Argo Workflows, the login's account is left.
                return Answer((), LISTED_FOR_SECONDS, 2 * LISTED_FOR_SECONDS)
            raise MachineCredentialUnavailable(f"the {credential} are not known now") from None
        rules = annotated_rules(namespace, found, self._mounted)
        return Answer(rules, LISTED_ANEW_SECONDS, LISTED_FOR_SECONDS)
