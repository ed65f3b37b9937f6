"""What is known of machines' issuers and credentials: it outlives changes of the rules.

An issuer that is away while the rules change keeps the keys that are known of it.
"""

from dataclasses import dataclass, replace

from aiohttp import ClientSession

from sidecar import edges
from sidecar.adapters.credential_sources import CredentialSources
from sidecar.adapters.token_files import TokenFiles
from sidecar.adapters.trusted_issuer import PublishedByIssuer, Unreachable
from sidecar.config.settings import Config
from sidecar.core.machine_rules import MachineRules, TrustedIssuer
from sidecar.flows.issuer_keys import IssuerKeys
from sidecar.flows.machines import Machines
from sidecar.flows.tasks import Runtime
from sidecar.ports import AnnotatedRules, KeySource, MachineCredentials


@dataclass(slots=True)
class _Followed:
    """An issuer whose keys are kept, and how it was reached."""

    keys: IssuerKeys
    way: object
    http: ClientSession | None


class MachineLine:
    """Makes, for the rules that are in force, who decides over machines' requests."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._files = TokenFiles(runtime.clock)
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._leaving: list[ClientSession] = []
        self.accounts: MachineCredentials | None = None
        """Who has tokens of service accounts; None where nobody has."""

    async def aclose(self) -> None:
        """Close the connections to issuers."""
        for http in [*self.leaving(), *(each.http for each in self._followed.values())]:
            if http is not None:
                await http.close()

    def leaving(self) -> list[ClientSession]:
        """The clients that nobody begins anything with any more; told once."""
        leaving, self._leaving = self._leaving, []
        return leaving

    def follow(
        self, rules: MachineRules, config: Config, annotated: AnnotatedRules | None = None
    ) -> Machines:
        """Who decides by these rules from now on."""
        followed = {_name(issuer): self._follow(issuer, config) for issuer in rules.issuers}
        gone = [old for name, old in self._followed.items() if name not in followed]
        self._leaving += [old.http for old in gone if old.http is not None]
        self._followed = followed
        return Machines(
            rules,
            {issuer.name: followed[_name(issuer)].keys for issuer in rules.issuers},
            CredentialSources(self._files, self.accounts),
            self._runtime,
            annotated=annotated,
            own_issuers=_own_issuers(config),
        )

    def _follow(self, issuer: TrustedIssuer, config: Config) -> _Followed:
        known, way = self._followed.get(_name(issuer)), edges.issuer_way(issuer, config)
        if known is not None and known.way == way:
            return known
        source, http = _source(issuer, config)
        if known is None:
            return _Followed(IssuerKeys(issuer.name, source, self._runtime), way, http)
        known.keys.source = source
        if known.http is not None:
            self._leaving.append(known.http)
        return replace(known, way=way, http=http)


def _source(issuer: TrustedIssuer, config: Config) -> tuple[KeySource, ClientSession | None]:
    try:
        http = edges.issuer_http(issuer, config)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return Unreachable(f"its ca_file cannot be used ({why})"), None
    seconds = config.timings.keys_seconds
    return PublishedByIssuer(http, issuer, seconds=seconds), http


def _name(issuer: TrustedIssuer) -> tuple[str, str]:
    return issuer.name, issuer.issuer


def _own_issuers(config: Config) -> frozenset[str]:
    """The issuers whose tokens the upstream verifies itself."""
    return frozenset({config.issuer, *(config.issuer_aliases or ())} - {""})
