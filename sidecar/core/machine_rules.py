"""Which machines are trusted, and which upstream credential their claims lead to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.errors import ExpressionFailed

Claims = Mapping[str, Any]


class Condition(Protocol):
    """What must hold of a token's claims; `core.expressions` makes them of text."""

    def holds(self, claims: Claims) -> bool:
        """Whether it does.

        Raises:
            ExpressionFailed: it cannot be said, as of a claim that is not there.
        """


@dataclass(frozen=True, slots=True)
class RequiredClaim:
    """A claim that a token must have, with one of `values`; with none of them, any value."""

    name: str
    values: tuple[str | bool | int | float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """An issuer whose tokens are verified, and what they must say.

    `name` is the operator's word for it, in rules, logs and metrics; `issuer` is `iss` to the
    letter. One of `audiences` must be in `aud`. All `algorithms` are asymmetric. `types` are the
    values of `typ` that are taken, in lower case and without `application/` (RFC 7515 section
    4.1.9), "" for a header without one.
    """

    name: str
    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    types: tuple[str, ...]
    leeway_seconds: float
    max_age_seconds: float | None = None
    required_claims: tuple[RequiredClaim, ...] = ()
    internal_url: str | None = None
    discovery_url: str | None = None
    jwks_uri: str | None = None
    ca_file: str | None = None
    tls_server_name: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account whose token the upstream gets; "" is the sidecar's own namespace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"service account {self.namespace}/{self.name}".replace(" /", " ")


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A mounted file with the token that the upstream gets."""

    path: str

    def __str__(self) -> str:
        return f"token file {self.path}"


Credential = ServiceAccount | TokenFile


@dataclass(frozen=True, slots=True)
class Rule:
    """A credential, and of whom: tokens of `issuers` (names; none of them: all) that match."""

    name: str
    condition: Condition
    credential: Credential
    precedence: int = 0
    issuers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotated:
    """The rules are in service accounts' annotations, as those of Argo Workflows' own SSO are.

    They are looked for in `namespace` ("": the sidecar's own), and for a request about one of
    `delegated_namespaces` ("*": any) in that one too.
    """

    namespace: str = ""
    delegated_namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineRules:
    """All that an operator says of machines: `rules`, or where they are annotated."""

    issuers: tuple[TrustedIssuer, ...]
    rules: tuple[Rule, ...] = ()
    annotated: Annotated | None = None
    path: str = ""

    def __str__(self) -> str:
        return self.path

    def issuer_of(self, claimed: object) -> TrustedIssuer | None:
        """The issuer whose tokens have this `iss`, to the letter."""
        return next((one for one in self.issuers if one.issuer == claimed), None)

    def nearly(self, claimed: object) -> TrustedIssuer | None:
        """The issuer of which an `iss` differs by a slash at the end, for whoever looks why."""
        if not isinstance(claimed, str):
            return None
        return next(
            (one for one in self.issuers if one.issuer.rstrip("/") == claimed.rstrip("/")), None
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that could not be evaluated, and why; `why` shows no claim's value."""

    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The rule that decided, what it gives, and the rules before it that failed."""

    rule: str
    credential: Credential
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing matched: the names of the rules that were tried, and those of them that failed."""

    tried: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


def in_order(rules: Iterable[Rule]) -> list[Rule]:
    """The rules as they are tried: the highest precedence first, equals as they come."""
    return sorted(rules, key=lambda rule: -rule.precedence)


def choose(
    rules: Iterable[Rule], issuer: str, claims: Claims, *, failing_refuses: bool = False
) -> Choice | Refusal:
    """What the verified `claims` of a token of the issuer of that name lead to.

    The matching rule of the highest precedence decides, among equals the first. A rule that
    fails does not match; with `failing_refuses` none after it is tried, as Argo Workflows does
    with its annotations.
    """
    tried: list[str] = []
    failures: list[Failure] = []
    for rule in in_order(rules):
        if rule.issuers and issuer not in rule.issuers:
            continue
        tried.append(rule.name)
        try:
            if rule.condition.holds(claims):
                return Choice(rule.name, rule.credential, tuple(failures))
        except ExpressionFailed as error:
            failures.append(Failure(rule.name, str(error)))
            if failing_refuses:
                break
    return Refusal(tuple(tried), tuple(failures))
