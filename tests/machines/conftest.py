"""A GitHub, and machines that are trusted because of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import CapturingLogger

from sidecar.adapters.credential_sources import CredentialSources
from sidecar.adapters.provider_http import provider_session
from sidecar.adapters.token_files import TokenFiles
from sidecar.adapters.trusted_issuer import PublishedByIssuer
from sidecar.core.machine_rules import (
    Choice,
    Claims,
    MachineRules,
    Refusal,
    Rule,
    TokenFile,
    TrustedIssuer,
)
from sidecar.errors import ExpressionFailed, TokenInvalid
from sidecar.flows.issuer_keys import IssuerKeys
from sidecar.flows.machines import Entry, Machines
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from tests.fakes.clock import FakeClock
from tests.fakes.github import AUDIENCE, REPOSITORY, GitHub

TARGET = "/api/v1/applications"


@dataclass(frozen=True)
class Says:
    """A condition: a claim has this value."""

    claim: str
    value: object

    def holds(self, claims: Claims) -> bool:
        if self.claim not in claims:
            raise ExpressionFailed(f"there is no claim {self.claim}")
        return bool(claims[self.claim] == self.value)


def trusted(github: GitHub, **changes: Any) -> TrustedIssuer:
    """GitHub as an issuer in the rules."""
    issuer = TrustedIssuer(
        name="github",
        issuer=github.issuer,
        audiences=(AUDIENCE,),
        algorithms=("RS256",),
        types=("jwt",),
        leeway_seconds=30.0,
    )
    return replace(issuer, **changes)


@dataclass
class Place:
    """A GitHub, one rule for one repository, and the credential that it gives."""

    github: GitHub
    clock: FakeClock
    file: Path
    tasks: Tasks
    metrics: Metrics
    keys: IssuerKeys
    machines: Machines
    log: CapturingLogger = field(default_factory=CapturingLogger)

    async def entry(self, token: str, target: str = TARGET) -> Entry:
        """How a request with this token goes up."""
        presented = self.machines.presented([token])
        assert presented is not None
        found = self.machines.enter_now(presented, target)
        return found or await self.machines.enter(presented, target)

    def entry_now(self, token: str, target: str = TARGET) -> Entry | None:
        """The same without waiting."""
        presented = self.machines.presented([token])
        assert presented is not None
        return self.machines.enter_now(presented, target)

    async def admitted(self, token: str) -> bool:
        """Whether a request with this token goes up; a refusal by the rules is an error here."""
        entry = await self.entry(token)
        assert not isinstance(entry.choice, Refusal)
        return True

    async def check(self, token: str) -> str:
        """The check that a token fails, "" for none."""
        try:
            await self.entry(token)
        except TokenInvalid as invalid:
            return invalid.check
        return ""

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event."""
        lines = [{**call.kwargs, "level": call.method_name} for call in self.log.calls]
        return [line for line in lines if line.pop("event") == event]

    def why_not(self) -> str:
        """Why the last request could not be served, as the log says it."""
        return str(self.told("machine_unavailable")[-1]["error"])

    def counted(self, outcome: str, rule: str = "", issuer: str = "github") -> float:
        """How many requests had this outcome."""
        labels = {"issuer": issuer, "rule": rule, "outcome": outcome}
        name = "argocd_token_refresh_machine_requests_total"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def rule(file: Path, **changes: Any) -> Rule:
    """A rule for one repository."""
    found = Rule("deploy", Says("repository", REPOSITORY), TokenFile(str(file)), 0, ("github",))
    return replace(found, **changes)


@asynccontextmanager
async def place(
    key: rsa.RSAPrivateKey,
    folder: Path,
    *,
    issuer: dict[str, Any] | None = None,
    own_issuers: bool = False,
    **rules: Any,
) -> AsyncIterator[Place]:
    """A GitHub that answers, and machines with a rule for one of its repositories."""
    clock, metrics, log = FakeClock(), Metrics(), CapturingLogger()
    github = GitHub(clock.now, key)
    file = folder / "token"
    file.write_text("an-api-token\n")
    async with github.running(), provider_session(total_seconds=5) as http:
        given = trusted(github, **(issuer or {}))
        bound = structlog.wrap_logger(log, processors=[])
        tasks = Tasks(bound)
        runtime = Runtime(clock, lambda count: bytes(count), tasks, metrics, bound, bound)
        keys = IssuerKeys("github", PublishedByIssuer(http, given, seconds=5), runtime)
        machines = Machines(
            MachineRules(**{"issuers": (given,), "rules": (rule(file),), **rules}),
            {"github": keys},
            CredentialSources(TokenFiles(clock), None),
            runtime,
            own_issuers=frozenset({github.issuer} if own_issuers else ()),
        )
        yield Place(github, clock, file, tasks, metrics, keys, machines, log)
        await tasks.aclose(seconds=5)


@pytest.fixture(scope="session")
def github_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
async def here(signing_key: rsa.RSAPrivateKey, tmp_path: Path) -> AsyncIterator[Place]:
    async with place(signing_key, tmp_path) as made:
        yield made


def credential_of(entry: Entry) -> str:
    """What an entry's requests go up with, by its name."""
    assert isinstance(entry.choice, Choice)
    return str(entry.choice.credential)
