"""Service accounts' short-lived tokens, for machines' requests to go up with.

A token is asked for with an hour of life, which an event stream needs, and renewed behind requests
after 80 % of it; it counts until 95 %, since argo-server asks Kubernetes with it later.
"""

from sidecar.core.machine_rules import Credential, ServiceAccount
from sidecar.core.rates import Rate, Rates
from sidecar.errors import KubernetesApiFailed, MachineCredentialUnavailable
from sidecar.flows.kept import Answer, Kept
from sidecar.flows.tasks import Runtime
from sidecar.ports import ServiceAccounts

TOKEN_SECONDS = 3600
RENEWED_AFTER = 0.8
_GOOD_FOR = 0.95
_MOST = 256


class AccountTokens:
    """`MachineCredentials` over the Kubernetes API."""

    def __init__(self, accounts: ServiceAccounts, runtime: Runtime) -> None:
        self._accounts = accounts
        self._log = runtime.log
        self._monotonic = runtime.clock.monotonic
        self._asked_anew = Rates(Rate(1, 60.0))
        self._alarm = runtime.metrics.alarms.labels("machine_credential").inc
        self._kept: Kept[ServiceAccount, str] = Kept(
            self._fetch, runtime.tasks, runtime.clock, name="service account's token", most=_MOST
        )

    def token_now(self, credential: Credential) -> str | None:
        """The token if it is known and good."""
        return self._kept.now(credential) if isinstance(credential, ServiceAccount) else None

    async def token(self, credential: Credential) -> str:
        """The token, asked for if it is not known.

        Raises:
            MachineCredentialUnavailable: there is none to be had now.
        """
        if not isinstance(credential, ServiceAccount):
            raise MachineCredentialUnavailable(f"nobody here knows the token of {credential}")
        return await self._kept.get(credential)

    def refused(self, credential: Credential, token: str) -> None:
        """Ask for another token with the next request: its account may have been made anew.

        No more than once in a minute for each: there are other reasons to answer 401.
        """
        if not isinstance(credential, ServiceAccount) or self._kept.now(credential) is not token:
            return
        if not self._asked_anew.wait_seconds(str(credential), self._monotonic()):
            self._kept.forget(credential)

    async def _fetch(self, account: ServiceAccount) -> Answer[str]:
        namespace = account.namespace or self._accounts.namespace
        try:
            found = await self._accounts.token(namespace, account.name, seconds=TOKEN_SECONDS)
        except KubernetesApiFailed as error:
            self._alarm()
            self._log.error("machine_credential", credential=str(account), error=str(error))
            raise MachineCredentialUnavailable(f"{account} has no token now") from None
        life = min(found.seconds, TOKEN_SECONDS)
        return Answer(found.token, life * RENEWED_AFTER, life * _GOOD_FOR)
