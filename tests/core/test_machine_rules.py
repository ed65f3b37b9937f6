import pytest

from sidecar.core.expressions import Expression, condition
from sidecar.core.machine_rules import (
    Annotated,
    Choice,
    Failure,
    MachineRules,
    Refusal,
    RequiredClaim,
    Rule,
    ServiceAccount,
    TokenFile,
    TrustedIssuer,
    choose,
    in_order,
)

CLAIMS = {"sub": "alice", "groups": ["ops"]}


def rule(name: str, text: str, precedence: int = 0, *issuers: str) -> Rule:
    return Rule(name, condition(text), TokenFile(f"/run/{name}"), precedence, issuers)


def issuer(address: str) -> TrustedIssuer:
    return TrustedIssuer(
        name=address,
        issuer=address,
        audiences=("argocd",),
        algorithms=("RS256",),
        types=("jwt",),
        leeway_seconds=60.0,
    )


def test_the_highest_precedence_wins_and_among_equals_the_first() -> None:
    rules = [
        rule("low", "true", -1),
        rule("first", "true", 5),
        rule("second", "true", 5),
        rule("highest", "'dev' in groups", 9),
    ]

    assert choose(rules, "ci", CLAIMS) == Choice("first", TokenFile("/run/first"))
    assert [each.name for each in in_order(rules)] == ["highest", "first", "second", "low"]


def test_a_rule_is_for_its_issuers_alone() -> None:
    rules = [rule("theirs", "true", 5, "github", "gitlab"), rule("everybodys", "true")]

    assert choose(rules, "keycloak", CLAIMS) == Choice("everybodys", TokenFile("/run/everybodys"))
    assert choose(rules, "gitlab", CLAIMS) == Choice("theirs", TokenFile("/run/theirs"))
    assert choose(rules[:1], "keycloak", CLAIMS) == Refusal()


def test_a_rule_that_fails_does_not_match_and_is_told() -> None:
    rules = [rule("broken", "repository == 'x'", 5), rule("good", "'ops' in groups")]

    found = choose(rules, "ci", CLAIMS)

    failure = Failure("broken", "there is no claim 'repository'")
    assert found == Choice("good", TokenFile("/run/good"), (failure,))


def test_where_a_failure_refuses_nothing_after_it_is_tried() -> None:
    rules = [
        rule("no", "'dev' in groups", 9),
        rule("broken", "repository == 'x'", 5),
        rule("good", "true"),
    ]

    found = choose(rules, "ci", CLAIMS, failing_refuses=True)

    failure = Failure("broken", "there is no claim 'repository'")
    assert found == Refusal(("no", "broken"), (failure,))


def test_a_failure_after_the_match_is_not_looked_for() -> None:
    rules = [rule("good", "true", 5), rule("broken", "repository == 'x'")]

    found = choose(rules, "ci", CLAIMS, failing_refuses=True)

    assert found == Choice("good", TokenFile("/run/good"))


def test_a_refusal_names_the_rules_that_were_tried() -> None:
    rules = [rule("a", "false"), rule("b", "sub == 'bob'", 3), rule("c", "true", 0, "github")]

    assert choose(rules, "ci", CLAIMS) == Refusal(("b", "a"))


def test_what_an_operator_does_not_say_of_machines_asks_for_nothing_and_gives_nothing() -> None:
    plain = issuer("https://a.example")
    everybodys = Rule("r", condition("true"), TokenFile("/run/r"))
    rules = MachineRules((plain,))

    assert (plain.max_age_seconds, plain.required_claims) == (None, ())
    assert (plain.internal_url, plain.discovery_url, plain.jwks_uri) == (None, None, None)
    assert (plain.ca_file, plain.tls_server_name) == (None, None)
    assert (everybodys.precedence, everybodys.issuers) == (0, ())
    assert RequiredClaim("ref").values == ()
    assert (Annotated().namespace, Annotated().delegated_namespaces) == ("", ())
    assert (rules.rules, rules.annotated, str(rules)) == ((), None, "")
    assert str(MachineRules((plain,), path="/etc/machines.yaml")) == "/etc/machines.yaml"


def test_a_refusal_or_choice_without_failures_says_so() -> None:
    refused = choose([], "ci", CLAIMS)
    chosen = choose([rule("all", "true")], "ci", CLAIMS)

    assert isinstance(refused, Refusal)
    assert (refused.tried, refused.failures) == ((), ())
    assert chosen.failures == ()
    assert (Refusal().tried, Refusal().failures) == ((), ())
    assert Choice("all", TokenFile("/run/all")).failures == ()


def test_no_rules_let_nobody_in() -> None:
    assert choose([], "ci", CLAIMS) == Refusal()


def test_a_condition_that_is_neither_true_nor_false_lets_nobody_in() -> None:
    found = choose([rule("odd", "sub")], "ci", CLAIMS)

    assert found == Refusal(("odd",), (Failure("odd", "is a string, neither true nor false"),))


def test_an_issuer_is_found_to_the_letter_and_nearly() -> None:
    rules = MachineRules((issuer("https://a.example"), issuer("https://b.example/")))

    assert rules.issuer_of("https://a.example") is rules.issuers[0]
    assert rules.issuer_of("https://a.example/") is None
    assert rules.nearly("https://a.example/") is rules.issuers[0]
    assert rules.nearly("https://b.example") is rules.issuers[1]
    assert rules.nearly("https://a.exampleX") is None
    assert MachineRules((issuer("https://a.exampleX"),)).nearly("https://a.example") is None
    assert rules.nearly("https://c.example") is rules.nearly(["https://a.example"]) is None


@pytest.mark.parametrize(
    ("credential", "shown"),
    [
        (ServiceAccount("argo", "ci"), "service account argo/ci"),
        (ServiceAccount("", "ci"), "service account ci"),
        (TokenFile("/run/token"), "token file /run/token"),
    ],
)
def test_a_credential_is_shown_by_its_name(
    credential: ServiceAccount | TokenFile, shown: str
) -> None:
    assert str(credential) == shown


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("sub == 'bob'", "sub == 'bob'"),
        ("'ops' in groups and sub == 'bob'", "sub == 'bob'"),
        ("'dev' in groups && sub == 'bob'", "'dev' in groups"),
        ("true and\n  sub\n  == 'bob' and false", "sub == 'bob'"),
        ("(sub == 'alice' and sub == 'bob')", "(sub == 'alice' and sub == 'bob')"),
        ("sub == 'alice' and (sub == 'bob' or false)", "(sub == 'bob' or false)"),
        ("(true and false) and groups[9] == 'x'", "(true and false) and groups[9] == 'x'"),
        ("1 < 2 < 1", "1 < 2 < 1"),
        ("sub == 'bob' or sub == 'eve'", "sub == 'bob' or sub == 'eve'"),
    ],
)
def test_a_condition_that_does_not_hold_says_which_part_is_false(text: str, part: str) -> None:
    expression = Expression(text)

    assert not expression.holds(CLAIMS)
    assert expression.false_part(CLAIMS) == part
