"""The file of SIDECAR_MACHINE_RULES: trusted issuers and rules (docs/machine-rules.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import yaml

from sidecar.config import provider_values, rule_values, values
from sidecar.config.environment import read_file, variable
from sidecar.config.rule_fields import Fault, Faults, Fields, nearest, pairs, place, scalar, shown
from sidecar.core.bounded_yaml import MAX_TEXT, YamlBroken, read_yaml_nodes
from sidecar.core.expression_tree import ExpressionBroken
from sidecar.core.expressions import Expression, Unreadable
from sidecar.core.id_token import ALGORITHMS
from sidecar.core.machine_rules import (
    Annotated,
    Condition,
    Credential,
    MachineRules,
    RequiredClaim,
    Rule,
    ServiceAccount,
    TokenFile,
    TrustedIssuer,
)

DEFAULT_ALGORITHMS = ("RS256", "ES256")
DEFAULT_TYPES = ("jwt", "at+jwt", "")
DEFAULT_LEEWAY_SECONDS = 60.0
_TAKES_SERVICE_ACCOUNTS = "argo-workflows"
_MOST_ISSUERS, _MOST_RULES = 50, 1000
_FILE = ("issuers", "rules", "annotated_service_accounts")
_ISSUER = (
    "name",
    "issuer",
    "audiences",
    "algorithms",
    "types",
    "leeway",
    "max_age",
    "required_claims",
    "internal_url",
    "discovery_url",
    "jwks_uri",
    "ca_file",
    "tls_server_name",
)
_RULE = ("name", "if", "issuers", "precedence", "service_account", "token_file")
_ANNOTATED = ("namespace", "delegated_namespaces")


class RulesBroken(ValueError):
    """A text that is no file of rules; `faults` has all of them, in the order of the text."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def machine_rules(path: str) -> MachineRules:
    """The rules in a file, for the variable that names it.

    Raises:
        ValueError: it cannot be read, or used; with the first fault and how many more there are.
    """
    if not path.startswith("/"):
        raise ValueError(f"is not an absolute path: {path!r}. Write /etc/machines/rules.yaml")
    try:
        return replace(read_machine_rules(read_text(path)), path=path)
    except RulesBroken as error:
        more = f", and {len(error.faults) - 1} more" if error.faults[1:] else ""
        raise ValueError(
            f"cannot be used: {path!r}, {error.faults[0]}{more}. "
            f"See all by: sidecar rules check {path}"
        ) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(
            f"cannot be read: {path!r} ({why}). Mount the file, or correct its path"
        ) from None


def credential_faults(rules: MachineRules, kind: str) -> Iterator[str]:
    """Which credentials an upstream of that kind does not take."""
    if kind == _TAKES_SERVICE_ACCOUNTS:
        return
    found = [f"the rule {each.name}" for each in rules.rules if _is_account(each.credential)]
    if rules.annotated is not None:
        found.append("annotated_service_accounts")
    for one in found:
        yield (
            f"{variable('machine_rules')}: {rules.path!r}, {one} would give tokens of service "
            f"accounts, which {kind} does not take. Write token_file, or set "
            f"{variable('upstream_kind')}={_TAKES_SERVICE_ACCOUNTS}"
        )


def _is_account(credential: Credential) -> bool:
    return isinstance(credential, ServiceAccount)


def read_text(path: str) -> str:
    """A file's text.

    Raises:
        OSError, ValueError: it cannot be read, or is too long, or no text.
    """
    return read_file(path, most=MAX_TEXT, strip=False)


def read_machine_rules(text: str) -> MachineRules:
    """The rules that a text has.

    Raises:
        RulesBroken: with every fault.
    """
    faults = Faults()
    found = _Reading(text, faults).rules()
    if faults.found or found is None:
        raise RulesBroken(sorted(faults.found))
    return found


class _Reading:
    """One text, and what is wrong with it."""

    def __init__(self, text: str, faults: Faults) -> None:
        self._text = text
        self._faults = faults

    def rules(self) -> MachineRules | None:
        node = self._document()
        if node is None:
            return None
        fields = Fields(node, _FILE, self._faults, of="the file")
        fields.required("issuers")
        issuers = self._issuers(fields)
        rules = self._rules(fields, issuers)
        annotated, listed = fields.node("annotated_service_accounts"), fields.node("rules")
        if isinstance(node, yaml.MappingNode) and (annotated is None) == (listed is None):
            self._faults.add(node, "the file has rules, or annotated_service_accounts: one of both")
        return MachineRules(
            issuers, rules, None if annotated is None else self._annotated(annotated)
        )

    def _document(self) -> yaml.Node | None:
        try:
            node = read_yaml_nodes(self._text)
        except YamlBroken as error:
            line, column = (error.mark.line, error.mark.column) if error.mark else (0, 0)
            self._faults.add_at(line + 1, column + 1, f"the file {error}")
            return None
        if node is None:
            self._faults.add_at(1, 1, "the file is empty: it has issuers, and rules")
        return node

    def _issuers(self, fields: Fields) -> tuple[TrustedIssuer, ...]:
        found: list[TrustedIssuer] = []
        addresses: dict[str, str] = {}
        for node in self._items(fields, "issuers", _MOST_ISSUERS):
            issuer = self._issuer(Fields(node, _ISSUER, self._faults, of="an issuer"))
            if any(issuer.name == one.name for one in found):
                self._faults.add(node, f"there are two issuers named {shown(issuer.name)}")
            other = addresses.setdefault(issuer.issuer.rstrip("/"), issuer.issuer)
            if any(issuer.issuer == one.issuer for one in found):
                self._faults.add(node, f"the issuer {shown(other)} is here twice")
            elif issuer.issuer != other:
                self._faults.add(
                    node,
                    f"{shown(issuer.issuer)} is {shown(other)} but for a slash at the end. Keep "
                    "the one that tokens have in iss, to the letter",
                )
            found.append(issuer)
        return tuple(found)

    def _issuer(self, fields: Fields) -> TrustedIssuer:
        audiences = fields.texts(fields.required("audiences"))
        endpoint = provider_values.endpoint
        return TrustedIssuer(
            name=self._name(fields),
            issuer=fields.parsed(fields.required("issuer"), values.issuer, ""),
            audiences=tuple(text for text, _ in audiences),
            algorithms=self._algorithms(fields),
            types=self._types(fields),
            leeway_seconds=fields.parsed(
                fields.node("leeway"), rule_values.leeway, DEFAULT_LEEWAY_SECONDS
            ),
            max_age_seconds=fields.parsed(fields.node("max_age"), values.positive_duration, None),
            required_claims=self._required_claims(fields.node("required_claims")),
            internal_url=fields.parsed(
                fields.node("internal_url"), provider_values.provider_url, None
            ),
            discovery_url=fields.parsed(fields.node("discovery_url"), endpoint, None),
            jwks_uri=fields.parsed(fields.node("jwks_uri"), endpoint, None),
            ca_file=fields.parsed(fields.node("ca_file"), rule_values.path, None),
            tls_server_name=fields.parsed(fields.node("tls_server_name"), values.host_name, None),
        )

    def _name(self, fields: Fields) -> str:
        return fields.parsed(fields.required("name"), rule_values.name, "")

    def _algorithms(self, fields: Fields) -> tuple[str, ...]:
        found = fields.texts(fields.node("algorithms"))
        for text, node in found:
            if text.upper() == "NONE" or text.upper().startswith("HS"):
                self._faults.add(
                    node,
                    f"{shown(text)} is no signature that only the issuer can make. Write RS256, "
                    "or what the issuer signs by",
                )
            elif text not in ALGORITHMS:
                known = sorted(ALGORITHMS)
                self._faults.add(node, f"unknown algorithm {shown(text)}. {nearest(text, known)}")
        return tuple(text for text, _ in found) or DEFAULT_ALGORITHMS

    def _types(self, fields: Fields) -> tuple[str, ...]:
        node = fields.node("types")
        if node is None:
            return DEFAULT_TYPES
        found = tuple(text.lower() for text, _ in fields.texts(node))
        return tuple("" if text == "none" else text.removeprefix("application/") for text in found)

    def _required_claims(self, node: yaml.Node | None) -> tuple[RequiredClaim, ...]:
        if node is None:
            return ()
        if not isinstance(node, yaml.MappingNode):
            self._faults.add(node, "required_claims is a mapping: a claim, and what it must be")
            return ()
        found = pairs(node, self._faults)
        return tuple(RequiredClaim(key.value, self._claim_values(value)) for key, value in found)

    def _claim_values(self, node: yaml.Node) -> tuple[Any, ...]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found = [scalar(one) for one in nodes]
        if found == [None]:
            return ()
        for value, one in zip(found, nodes, strict=True):
            if not isinstance(value, str | bool | int | float):
                self._faults.add(one, "a claim must be a text, a number, true or false, or a list")
        if not found:
            self._faults.add(node, "this list is empty: no token has such a claim")
        return tuple(found)

    def _rules(self, fields: Fields, issuers: Sequence[TrustedIssuer]) -> tuple[Rule, ...]:
        found: list[Rule] = []
        for node in self._items(fields, "rules", _MOST_RULES):
            rule = self._rule(Fields(node, _RULE, self._faults, of="a rule"), issuers)
            if any(rule.name == one.name for one in found):
                self._faults.add(node, f"there are two rules named {shown(rule.name)}")
            found.append(rule)
        return tuple(found)

    def _rule(self, fields: Fields, issuers: Sequence[TrustedIssuer]) -> Rule:
        names = fields.texts(fields.node("issuers"))
        for text, node in names:
            if text not in [issuer.name for issuer in issuers]:
                self._faults.add(node, _unknown_issuer(text, issuers))
        return Rule(
            name=self._name(fields),
            condition=self._condition(fields),
            credential=self._credential(fields),
            precedence=fields.parsed(fields.node("precedence"), rule_values.precedence, 0),
            issuers=tuple(text for text, _ in names),
        )

    def _condition(self, fields: Fields) -> Condition:
        node = fields.required("if")
        text = fields.text(node)
        if isinstance(node, yaml.ScalarNode) and text is not None:
            try:
                return Expression(text)
            except ExpressionBroken as error:
                line, column = place(self._text, node, error.at)
                self._faults.add_at(line, column, f"in the condition: {error}")
        return Unreadable("could not be read")

    def _credential(self, fields: Fields) -> Credential:
        account, file = fields.node("service_account"), fields.node("token_file")
        if (account is None) == (file is None):
            self._faults.add(fields.place, "a rule gives a service_account, or a token_file")
        if account is not None:
            return fields.parsed(account, rule_values.service_account, ServiceAccount("", ""))
        return TokenFile(fields.parsed(file, rule_values.path, ""))

    def _annotated(self, node: yaml.Node) -> Annotated:
        fields = Fields(node, _ANNOTATED, self._faults, of="annotated_service_accounts")
        namespaces = fields.texts(fields.node("delegated_namespaces"))
        for text, one in namespaces:
            if text != "*":
                fields.parsed(one, values.namespace, "")
        return Annotated(
            fields.parsed(fields.node("namespace"), values.namespace, ""),
            tuple(text for text, _ in namespaces),
        )

    def _items(self, fields: Fields, name: str, most: int) -> list[yaml.Node]:
        items = fields.items(name)
        if len(items) > most:
            self._faults.add(items[most], f"there are more than {most} {name}")
        return items[:most]


def _unknown_issuer(text: str, issuers: Sequence[TrustedIssuer]) -> str:
    for issuer in issuers:
        if text.rstrip("/") == issuer.issuer.rstrip("/"):
            return f"write the issuer's name here: {issuer.name}"
    known = [issuer.name for issuer in issuers]
    return f"there is no issuer named {shown(text)}. {nearest(text, known)}"
