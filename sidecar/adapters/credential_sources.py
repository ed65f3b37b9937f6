"""Where each kind of upstream credential is from."""

from sidecar.core.machine_rules import Credential, ServiceAccount
from sidecar.errors import MachineCredentialUnavailable
from sidecar.ports import MachineCredentials


class CredentialSources:
    """Token files; and service accounts, where somebody can have tokens for these."""

    def __init__(self, files: MachineCredentials, accounts: MachineCredentials | None) -> None:
        self._files = files
        self._accounts = accounts

    def token_now(self, credential: Credential) -> str | None:
        """The token if there is nothing to wait for, else None."""
        source = self._source(credential)
        return source.token_now(credential) if source is not None else None

    async def token(self, credential: Credential) -> str:
        """The token.

        Raises:
            MachineCredentialUnavailable: there is none to be had now.
        """
        source = self._source(credential)
        if source is None:
            raise MachineCredentialUnavailable(f"nobody here has tokens of {credential}")
        return await source.token(credential)

    def refused(self, credential: Credential, token: str) -> None:
        """Tell whoever gave a token that the upstream has answered 401 to it."""
        source = self._source(credential)
        if source is not None:
            source.refused(credential, token)

    def _source(self, credential: Credential) -> MachineCredentials | None:
        return self._accounts if isinstance(credential, ServiceAccount) else self._files
