"""What a machine's request goes up with: a service account's short-lived token, or a mounted one.

A token is asked for with an hour of life, which an event stream needs, and renewed behind requests
after 80 % of it; it counts until 95 %, since argo-server asks Kubernetes with it later.
"""

import asyncio
from collections.abc import Callable

from sidecar.core.kubernetes_objects import is_token
from sidecar.core.machine_rules import Credential, ServiceAccount, TokenFile
from sidecar.errors import KubernetesApiFailed, MachineCredentialUnavailable
from sidecar.flows.kept import Answer, Kept
from sidecar.flows.tasks import Runtime
from sidecar.ports import ServiceAccounts

TOKEN_SECONDS = 3600
RENEWED_AFTER = 0.8
_GOOD_FOR = 0.95
_FILE_SECONDS = 5.0  # the kubelet itself takes a minute to change a mounted file
_LONGEST_FILE_SECONDS = 60.0  # a file that cannot be read any more is relied on no longer
_MOST = 256

ReadToken = Callable[[str], str]
"""The token in a file; raises OSError or ValueError."""


class AccountTokens:
    """`MachineCredentials` over the Kubernetes API, if there is one, and mounted files."""

    def __init__(
        self, accounts: ServiceAccounts | None, read_token: ReadToken, runtime: Runtime
    ) -> None:
        self._accounts = accounts
        self._read_token = read_token
        self._log = runtime.log
        self._alarm = runtime.metrics.alarms.labels("machine_credential").inc
        self._kept: Kept[Credential, str] = Kept(
            self._fetch, runtime.tasks, runtime.clock, name="machine credential", most=_MOST
        )

    def token_now(self, credential: Credential) -> str | None:
        """The token if it is known and good."""
        return self._kept.now(credential)

    async def token(self, credential: Credential) -> str:
        """The token, asked for or read if it is not known.

        Raises:
            MachineCredentialUnavailable: there is none to be had now.
        """
        return await self._kept.get(credential)

    async def _fetch(self, credential: Credential) -> Answer[str]:
        try:
            if isinstance(credential, TokenFile):
                return await self._from_file(credential)
            return await self._from_api(credential)
        except KubernetesApiFailed as error:
            self._alarm()
            named = str(credential)
            self._log.error("machine_credential", credential=named, error=str(error))
            raise MachineCredentialUnavailable(f"{credential} has no token now") from None

    async def _from_api(self, account: ServiceAccount) -> Answer[str]:
        if self._accounts is None:
            raise KubernetesApiFailed("cannot be asked for: there is no Kubernetes API here")
        namespace = account.namespace or self._accounts.namespace
        found = await self._accounts.token(namespace, account.name, seconds=TOKEN_SECONDS)
        life = min(found.seconds, TOKEN_SECONDS)
        return Answer(found.token, life * RENEWED_AFTER, life * _GOOD_FOR)

    async def _from_file(self, file: TokenFile) -> Answer[str]:
        try:
            token = await asyncio.to_thread(self._read_token, file.path)
        except (OSError, ValueError):
            token = ""
        if not is_token(token):
            raise KubernetesApiFailed("cannot be read, or is no token. Mount a Secret with one")
        return Answer(token, _FILE_SECONDS, _LONGEST_FILE_SECONDS)
