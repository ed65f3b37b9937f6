import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.machine_rules import RulesBroken, machine_rules, read_machine_rules
from sidecar.config.rule_fields import Fault
from sidecar.config.settings import Config
from sidecar.core.bounded_yaml import MAX_TEXT
from sidecar.core.expressions import Expression
from sidecar.core.machine_rules import (
    Annotated,
    MachineRules,
    RequiredClaim,
    Rule,
    ServiceAccount,
    TokenFile,
    TrustedIssuer,
)
from sidecar.errors import ConfigurationError

DOCS = Path(__file__).parents[2] / "docs"
ISSUER = """
issuers:
  - name: github
    issuer: https://token.actions.githubusercontent.com
    audiences: https://argocd.example.com
"""
RULES = f"""{ISSUER}
rules:
  - name: all
    if: true
    token_file: /run/token
"""
LEAST = {
    "SIDECAR_PUBLIC_URL": "https://argocd.example.org",
    "SIDECAR_ISSUER": "https://idp.example.org",
    "SIDECAR_CLIENT_ID": "argocd",
}


def faults(text: str) -> list[str]:
    with pytest.raises(RulesBroken) as caught:
        read_machine_rules(text)
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return [str(fault) for fault in caught.value.faults]


def fault(text: str) -> str:
    found = faults(text)
    assert len(found) == 1, found
    return found[0]


def with_issuer(line: str) -> str:
    """The file with one more line about its issuer; it is line 6."""
    return RULES.replace("\n\nrules:", f"\n    {line}\nrules:")


def with_rule(line: str) -> str:
    """The file with one more line about its rule; it is the last, line 11."""
    return f"{RULES}    {line}\n"


def test_all_that_a_file_may_say_is_read() -> None:
    found = read_machine_rules("""
# A comment.
issuers:
  - name: github
    issuer: https://token.actions.githubusercontent.com
    audiences: [https://argocd.example.com, argocd]
    algorithms: [RS256, ES384]
    types: [JWT, application/at+jwt, none]
    leeway: 30s
    max_age: 15m
    required_claims:
      repository_owner: acme
      environment: [production, 5, 0.5, true]
      jti:
    internal_url: http://github.proxy.svc/
    discovery_url: http://github.proxy.svc/metadata
    jwks_uri: http://github.proxy.svc/keys
    ca_file: /etc/github/ca.crt
    tls_server_name: github.proxy.svc
  - name: keycloak
    issuer: https://sso.example.org/realms/ci/
    audiences: argocd
rules:
  - name: deployers
    issuers: github
    if: repository == 'acme/deploy' && ref == 'refs/heads/main'
    precedence: -10
    token_file: /run/deployer/token
  - name: flows
    issuers: [keycloak, github]
    if: |
      'flows' in groups
    precedence: 5
    service_account: argo/flows
  - name: rest
    if: "true"
    service_account: rest
""")

    assert found == MachineRules(
        issuers=(
            TrustedIssuer(
                name="github",
                issuer="https://token.actions.githubusercontent.com",
                audiences=("https://argocd.example.com", "argocd"),
                algorithms=("RS256", "ES384"),
                types=("jwt", "at+jwt", ""),
                leeway_seconds=30.0,
                max_age_seconds=900.0,
                required_claims=(
                    RequiredClaim("repository_owner", ("acme",)),
                    RequiredClaim("environment", ("production", 5, 0.5, True)),
                    RequiredClaim("jti"),
                ),
                internal_url="http://github.proxy.svc",
                discovery_url="http://github.proxy.svc/metadata",
                jwks_uri="http://github.proxy.svc/keys",
                ca_file="/etc/github/ca.crt",
                tls_server_name="github.proxy.svc",
            ),
            TrustedIssuer(
                name="keycloak",
                issuer="https://sso.example.org/realms/ci/",
                audiences=("argocd",),
                algorithms=("RS256", "ES256"),
                types=("jwt", "at+jwt", ""),
                leeway_seconds=60.0,
            ),
        ),
        rules=(
            Rule(
                "deployers",
                Expression("repository == 'acme/deploy' && ref == 'refs/heads/main'"),
                TokenFile("/run/deployer/token"),
                -10,
                ("github",),
            ),
            Rule(
                "flows",
                Expression("'flows' in groups\n"),
                ServiceAccount("argo", "flows"),
                5,
                ("keycloak", "github"),
            ),
            Rule("rest", Expression("true"), ServiceAccount("", "rest")),
        ),
    )


def test_rules_are_shown_as_the_file_that_they_are_in(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)

    assert str(machine_rules(str(path))) == str(path)


def test_the_rules_may_be_in_annotations() -> None:
    found = read_machine_rules(
        f"{ISSUER}\nannotated_service_accounts:\n  namespace: argo\n"
        "  delegated_namespaces: [team-a, team-b]\n"
    )

    assert found.annotated == Annotated("argo", ("team-a", "team-b"))
    assert found.rules == ()


def test_annotations_are_of_the_own_namespace_unless_one_is_named() -> None:
    found = read_machine_rules(f"{ISSUER}\nannotated_service_accounts: {{}}\n")

    assert found.annotated == Annotated("", ())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("algoritms: RS256", "line 6, column 5: unknown key 'algoritms' in an"),
        ("x: 1", "line 6, column 5: unknown key 'x' in an issuer. Known: name, issuer, "),
        ("name: other", "line 6, column 5: 'name' is here twice"),
        ("algorithms: [RS256, HS256]", "line 6, column 25: 'HS256' is no signature"),
        ("algorithms: none", "line 6, column 17: 'none' is no signature"),
        ("algorithms: RS265", "line 6, column 17: unknown algorithm 'RS265'. Did you mean RS256?"),
        ("algorithms: []", "line 6, column 17: this list is empty"),
        ("leeway: 10m", "line 6, column 13: this is too long: '10m'"),
        ("leeway: 30", "line 6, column 13: this is not a duration: '30'. Write 30s"),
        ("max_age: 0s", "line 6, column 14: this must be longer than nothing: '0s'"),
        ("max_age: [1m]", "line 6, column 14: a text is wanted here"),
        ("jwks_uri: keys.json", "line 6, column 15: this is not an address: 'keys.json'"),
        ("ca_file: ca.crt", "line 6, column 14: this is not an absolute path: 'ca.crt'"),
        ("required_claims: sub", "line 6, column 22: required_claims is a mapping"),
        ("required_claims: {sub: []}", "line 6, column 28: this list is empty"),
        ("required_claims: {sub: {a: b}}", "line 6, column 28: a claim must be a text, a number"),
        ("required_claims: {sub: !odd x}", "line 6, column 28: a claim must be a text, a number"),
        ("required_claims: {[a]: b}", "line 6, column 23: a key is a name"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_issuer_is_said_with_its_place(line: str, said: str) -> None:
    assert fault(with_issuer(line)).startswith(said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("precedense: 1", "line 11, column 5: unknown key 'precedense' in a rule. Did"),
        ("precedence: high", "line 11, column 17: this is not a precedence: 'high'"),
        ("precedence: 99999999999", "line 11, column 17: this is not a precedence"),
        ("service_account: a", "line 8, column 5: a rule gives a service_account, or a token_file"),
        ("issuers: githib", "line 11, column 14: there is no issuer named 'githib'. Did"),
        (
            "issuers: https://token.actions.githubusercontent.com/",
            "line 11, column 14: write the issuer's name here: github",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rule_is_said_with_its_place(line: str, said: str) -> None:
    assert fault(with_rule(line)).startswith(said)


@pytest.mark.parametrize(
    ("changed", "by", "said"),
    [
        ("/run/token", "run/token", "line 10, column 17: this is not an absolute path"),
        ("token_file: /run/token", "service_account: Argo/ci", "line 10, column 22: this is not"),
        ("token_file: /run/token", "service_account: argo/", "line 10, column 22: this is not"),
        ("    if: true\n", "", "line 8, column 5: a rule lacks if"),
        ("name: all", "name: 'a b'", "line 8, column 11: this is no name"),
        ("https://token", "token", "line 4, column 13: this is not an issuer"),
        ("    audiences: https://argocd.example.com\n", "", "line 3, column 5: an issuer lacks"),
        ("audiences: https://argocd.example.com", "audiences: ''", "line 5, column 16: a text is"),
        ("rules:", "rule:", "line 7, column 1: unknown key 'rule' in the file. Did"),
    ],
)  # fmt: skip
def test_a_fault_in_the_file_is_said_with_its_place(changed: str, by: str, said: str) -> None:
    assert faults(RULES.replace(changed, by))[-1].startswith(said)


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ("if: sub ==", "line 9, column 15"),
        ("if: 'ops' in groups and", "line 9"),
        ('''if: "'ops' in foo(x)"''', "line 9, column 19"),
        ("if: '''ops'' in x y'", "line 9, column 23"),
        ("if: |\n      'ops' in groups\n        and and", "line 11, column 13"),
        ("if: |2\n       sub ==", "line 10"),
        ("if: >\n      sub\n      ==", "line 9, column 9"),
        ('if: "sub\\x20 == ="', "line 9, column 9"),
        ("if: sub ==\n      = 1", "line 9, column 9"),
    ],
)
def test_a_broken_condition_is_said_with_its_place_in_the_file(condition: str, place: str) -> None:
    assert faults(RULES.replace("if: true", condition))[0].startswith(place)


def test_two_issuers_that_differ_by_a_slash_are_pointed_out() -> None:
    other = """
  - name: other
    issuer: https://token.actions.githubusercontent.com/
    audiences: x
"""

    found = fault(RULES.replace("\n\nrules:", f"{other}rules:"))

    assert found.startswith("line 6, column 5: 'https://token.actions.githubusercontent.com/' is ")
    assert "but for a slash at the end" in found


def test_names_and_issuers_are_there_once() -> None:
    text = RULES.replace("\n\nrules:", f"{ISSUER.partition('issuers:')[2]}rules:")
    text += "  - {name: all, if: 'false', token_file: /run/other}\n"

    assert faults(text) == [
        "line 6, column 5: the issuer 'https://token.actions.githubusercontent.com' is here twice",
        "line 6, column 5: there are two issuers named 'github'",
        "line 13, column 5: there are two rules named 'all'",
    ]


@pytest.mark.parametrize("text", [ISSUER, f"{RULES}\nannotated_service_accounts: {{}}\n"])
def test_a_file_has_rules_or_leaves_them_to_annotations(text: str) -> None:
    assert "one of both" in fault(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: the file is empty"),
        ("- x", "line 1, column 1: the file is a mapping, with keys of: issuers"),
        ("issuers:\n  - a: [b", "line 2, column 10: the file is no YAML"),
        ("a: " + "x" * MAX_TEXT, "line 1, column 1: the file is longer than 256 KiB"),
        ("a: &a [" + "x," * 2000 + "]\nb: [" + "*a," * 10 + "]", "line 1, column 1: the file has"),
    ],
    ids=["empty", "list", "cut", "long", "aliases"],
)  # fmt: skip
def test_a_text_that_is_no_file_of_rules_is_refused(text: str, said: str) -> None:
    assert faults(text)[0].startswith(said)


def test_too_many_rules_are_refused() -> None:
    rule = "  - {name: r%d, if: 'true', token_file: /t}\n"
    text = f"{ISSUER}\nrules:\n" + "".join(rule % number for number in range(1001))

    assert fault(text).endswith("there are more than 1000 rules")


def test_no_more_than_some_faults_are_listed() -> None:
    text = f"{ISSUER}\nrules:\n" + "  - {}\n" * 100

    assert len(faults(text)) == 20


def test_a_file_is_read_with_the_places_that_an_editor_shows(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(f"\n\n\n{with_rule('precedence: high')}")

    with pytest.raises(ValueError, match="line 14, column 17") as caught:
        machine_rules(str(file))

    assert f"sidecar rules check {file}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "not UTF-8 text"),
        (b"x" * (MAX_TEXT + 1), "longer than 256 KiB"),
        (None, "No such"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_to_be_none(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "rules.yaml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ValueError, match=said):
        machine_rules(str(file))


@pytest.mark.parametrize(
    "rules",
    [
        RULES.replace("token_file: /run/token", "service_account: argo/ci"),
        f"{ISSUER}\nannotated_service_accounts: {{}}\n",
    ],
)
def test_argo_cd_takes_no_service_accounts(tmp_path: Path, rules: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rules)

    with pytest.raises(ConfigurationError) as caught:
        Config.load({**LEAST, "SIDECAR_MACHINE_RULES": str(file)})

    (line,) = caught.value.faults
    assert line.startswith("SIDECAR_MACHINE_RULES: ")
    assert "which argocd does not take. Write token_file" in line


def test_the_files_that_the_documentation_shows_can_be_used() -> None:
    page = (DOCS / "machine-rules.md").read_text(encoding="utf-8")
    whole, annotated = re.findall(r"```yaml\n(.*?)```", page, re.S)

    assert len(read_machine_rules(whole).rules) == 2
    assert read_machine_rules(ISSUER + annotated).annotated is not None


@given(text=st.text(max_size=80) | st.text(alphabet="abc:-[]{}'\"|>&*!\n #,", max_size=60))
def test_any_text_is_read_or_refused_with_places(text: str) -> None:
    try:
        read_machine_rules(text)
    except RulesBroken as error:
        found = error.faults
    else:
        found = (Fault(1, 1, ""),)

    assert all(fault.line >= 1 and fault.column >= 1 for fault in found)


@given(condition=st.text(max_size=40))
def test_any_condition_is_read_or_refused_with_its_place(condition: str) -> None:
    quoted = "'" + condition.replace("'", "''") + "'"
    try:
        read_machine_rules(RULES.replace("if: true", f"if: {quoted}"))
    except RulesBroken as error:
        found = error.faults
    else:
        found = (Fault(9, 9, ""),)

    assert all(fault.line >= 1 and fault.column >= 1 for fault in found)
