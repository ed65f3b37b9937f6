"""`sidecar rules check` and `try`: whether a file of rules can be used, and what it decides."""

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.adapters.provider_http import Way, provider_session
from sidecar.adapters.trusted_issuer import PublishedByIssuer
from sidecar.config.environment import variable
from sidecar.config.machine_rules import RulesBroken, read_machine_rules, read_text
from sidecar.config.provider_values import resolve as resolved
from sidecar.config.tls import provider_authorities, provider_tls
from sidecar.core.base64url import from_base64url
from sidecar.core.bearer_tokens import MOST_LENGTH, claimed, read_header, verify
from sidecar.core.expressions import Expression
from sidecar.core.id_token import SigningKey
from sidecar.core.machine_rules import MachineRules, Rule, TrustedIssuer, in_order
from sidecar.core.person import printable
from sidecar.core.strict_json import read_object
from sidecar.errors import ExpressionFailed, ProviderUnavailable, TokenInvalid
from sidecar.ports import Clock

MATCHES, DOES_NOT, CANNOT_BE_SAID = 0, 1, 2
USABLE, UNUSABLE, UNREADABLE = 0, 1, 2
_ISSUER_SECONDS = 10.0


class _NotSaid(Exception):
    """What is asked for cannot be said; the message says why."""


class _Refused(Exception):
    """The token would be refused; the message says why."""


@dataclass(frozen=True, slots=True)
class _Given:
    """Whose claims the rules are tried with, and how far they can be believed."""

    issuer: TrustedIssuer
    claims: Mapping[str, Any]
    how: str


def check(given: Namespace) -> int:
    """Print what is wrong with a file, or its rules in the order in which they are tried."""
    try:
        rules = read_machine_rules(_text(given.file))
    except _NotSaid as error:
        return _fail(str(error), UNREADABLE)
    except RulesBroken as error:
        for fault in error.faults:
            print(f"{given.file}:{fault.line}:{fault.column}: {fault.sentence}")
        return UNUSABLE
    print(_summary(rules))
    return USABLE


async def try_token(given: Namespace, environ: Mapping[str, str], clock: Clock) -> int:
    """Print what a token's claims lead to, rule by rule."""
    try:
        rules = _rules(given.file)
        found = await _claims(given, rules, environ, clock)
    except _NotSaid as error:
        return _fail(str(error), CANNOT_BE_SAID)
    except _Refused as error:
        print(f"refused: {error}")
        return DOES_NOT
    print(f"issuer: {found.issuer.name} ({found.issuer.issuer})\n{found.how}")
    if rules.annotated is not None:
        return _fail("The rules are in annotations of service accounts", CANNOT_BE_SAID)
    return _try(rules, found)


def _summary(rules: MachineRules) -> str:
    issuers = ", ".join(issuer.name for issuer in rules.issuers)
    if rules.annotated is not None:
        return f"issuers: {issuers}\nrules: in the annotations of service accounts"
    lines = [f"{_titled(rule)}: {rule.credential}" for rule in in_order(rules.rules)]
    return "\n".join([f"issuers: {issuers}", "rules, as they are tried:", *lines])


def _try(rules: MachineRules, found: _Given) -> int:
    decides: Rule | None = None
    for rule in in_order(rules.rules):
        outcome = _outcome(rule, found)
        if outcome == "matches" and decides is not None:
            outcome = f"would match too, after {decides.name}"
        elif outcome == "matches":
            decides = rule
        print(f"{_titled(rule)}: {outcome}")
    print()
    if decides is None:
        print("no rule matches: 403")
        return DOES_NOT
    print(f"{decides.name}: {decides.credential}")
    return MATCHES


def _outcome(rule: Rule, found: _Given) -> str:
    if rule.issuers and found.issuer.name not in rule.issuers:
        return f"is for tokens of {', '.join(rule.issuers)}"
    try:
        if rule.condition.holds(found.claims):
            return "matches"
        if isinstance(rule.condition, Expression):
            return f"does not match: {rule.condition.false_part(found.claims)}"
    except ExpressionFailed as error:
        return f"fails: {error}"
    return "does not match"


def _titled(rule: Rule) -> str:
    return f"{rule.name} ({rule.precedence})"


# What is tried


async def _claims(
    given: Namespace, rules: MachineRules, environ: Mapping[str, str], clock: Clock
) -> _Given:
    if given.claims_file:
        claims = _read_claims(_text(given.claims_file))
        return _Given(_issuer(rules, (claims.get("iss"),)), claims, "claims: from a file")
    token = _token(given.token_file)
    try:
        of_whom = claimed(token)
        if of_whom is None:
            raise _NotSaid(f"{given.token_file} holds no JWT that names an issuer")
        issuer = _issuer(rules, of_whom.issuers)
        if given.no_verify:
            return _Given(issuer, _unverified(token), "token: nothing of it was verified")
        header = read_header(token, issuer)
        keys = await _keys(issuer, environ)
        machine, _ = verify(token, header, keys, issuer, now=clock.now())
    except TokenInvalid as invalid:
        raise _Refused(f"the token fails its check: {invalid.check}") from None
    return _Given(issuer, machine.claims, "token: verified by the issuer's keys")


def _issuer(rules: MachineRules, claimed_issuers: tuple[object, ...]) -> TrustedIssuer:
    for name in claimed_issuers:
        if (found := rules.issuer_of(name)) is not None:
            return found
    for name in claimed_issuers:
        if (near := rules.nearly(name)) is not None:
            raise _Refused(
                f"iss is {printable(str(name))!r}, and the issuer {near.name} is "
                f"{near.issuer!r}: they differ by a slash at the end"
            )
    names = ", ".join(printable(str(name)) for name in claimed_issuers)
    raise _Refused(f"{names} is no issuer in the file; its tokens are left to the upstream")


async def _keys(issuer: TrustedIssuer, environ: Mapping[str, str]) -> list[SigningKey]:
    try:
        way = _way(issuer, environ.get(variable("resolve"), ""))
    except ValueError as error:
        raise _NotSaid(f"How {issuer.name} is reached cannot be used: {error}") from None
    async with provider_session(total_seconds=_ISSUER_SECONDS, way=way) as http:
        try:
            return await PublishedByIssuer(http, issuer, seconds=_ISSUER_SECONDS).keys()
        except ProviderUnavailable as error:
            raise _NotSaid(f"The keys of {issuer.name} cannot be had: {error}") from None


def _way(issuer: TrustedIssuer, resolve: str) -> Way:
    pem = provider_authorities(issuer.ca_file) if issuer.ca_file else ""
    tls = provider_tls(pem, verify=True) if pem else None
    hosts = {(one.host, one.port): (one.address, one.address_port) for one in resolved(resolve)}
    return Way(tls, issuer.tls_server_name or "", hosts)


# Files


def _rules(path: str) -> MachineRules:
    try:
        return read_machine_rules(_text(path))
    except RulesBroken as error:
        raise _NotSaid(f"{path} cannot be used. See: sidecar rules check {path}") from error


def _text(path: str) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise _NotSaid(f"{path} cannot be read: {_why(error)}") from None


def _token(path: str) -> str:
    if path == "-":
        content = sys.stdin.buffer.read(MOST_LENGTH + 1)
    else:
        try:
            with Path(path).open("rb") as file:
                content = file.read(MOST_LENGTH + 1)
        except OSError as error:
            raise _NotSaid(f"{path} cannot be read: {_why(error)}") from None
    return content.decode("ascii", "replace").strip()


def _unverified(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    try:
        return read_object(from_base64url(payload), named="claims")
    except ValueError:
        raise _NotSaid("the token's claims cannot be read") from None


def _read_claims(text: str) -> dict[str, Any]:
    try:
        return read_object(text.encode(), named="claims")
    except TokenInvalid as invalid:
        raise _NotSaid(f"the file of claims is no JSON object: {invalid.check}") from None


def _why(error: Exception) -> str:
    return (error.strerror or "it is no file") if isinstance(error, OSError) else str(error)


def _fail(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
