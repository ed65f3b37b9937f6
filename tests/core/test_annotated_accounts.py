"""The cases of Argo Workflows' own server/auth/gatekeeper_test.go (v4.1.2), and what they leave."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from sidecar.core.annotated_accounts import (
    PRECEDENCE,
    RULE,
    TOKEN_NAME,
    annotated_rules,
    choose_account,
    precedence,
    request_namespace,
    token_secret,
)
from sidecar.core.kubernetes_objects import AccountItem
from sidecar.core.machine_rules import Choice, Claims, Refusal, Rule, ServiceAccount, TokenFile


def account(name: str, rule: str | None, rank: str | None = None) -> AccountItem:
    pairs = ((RULE, rule), (PRECEDENCE, rank))
    return AccountItem(name, {key: value for key, value in pairs if value is not None})


# The service accounts of TestServer_GetWFClient.
ACCOUNTS: Mapping[str, list[AccountItem]] = {
    "my-ns": [
        account("my-other-sa", "'other-group' in groups", "0"),
        account("my-sa", "'my-group' in groups", "1"),
    ],
    "user1-ns": [
        account("user1-sa", "'my-group' in groups", "2"),
        account("user1-only-sa", "'user1-only-group' in groups", "0"),
    ],
    "user2-ns": [account("user2-sa", "'my-group' in groups", "0")],
    "user3-ns": [account("user3-sa", "'my-group' in groups", "1")],
}
BOTH = {"groups": ["my-group", "other-group"]}


def rules(namespace: str, *accounts: AccountItem) -> tuple[Rule, ...]:
    return annotated_rules(namespace, accounts or ACCOUNTS[namespace])


def chosen(claims: Claims, namespace: str = "") -> str:
    """The account, "" for nobody; with a namespace, delegation is on."""
    delegated = rules(namespace) if namespace else None
    found = choose_account(rules("my-ns"), delegated, "ci", claims)
    if isinstance(found, Refusal):
        return ""
    assert isinstance(found.credential, ServiceAccount)
    assert found.rule == f"{found.credential.namespace}/{found.credential.name}"
    return found.rule


@pytest.mark.parametrize(
    ("claims", "namespace", "expected"),
    [
        pytest.param(BOTH, "", "my-ns/my-sa", id="SSO+RBAC,precedence=1"),
        pytest.param(
            BOTH,
            "user1-ns",
            "user1-ns/user1-sa",
            id="SSO+RBAC, Namespace delegation ON, precedence=2, Delegated",
        ),
        pytest.param(
            BOTH,
            "",
            "my-ns/my-sa",
            id="SSO+RBAC, Namespace delegation OFF, precedence=2, Not Delegated",
        ),
        pytest.param(
            BOTH,
            "user2-ns",
            "my-ns/my-sa",
            id="SSO+RBAC, Namespace delegation ON, precedence=0, Not delegated",
        ),
        pytest.param(
            BOTH,
            "user3-ns",
            "my-ns/my-sa",
            id="SSO+RBAC, Namespace delegation ON, precedence=1, Not delegated",
        ),
        pytest.param(
            {"groups": ["user1-only-group"]},
            "user1-ns",
            "user1-ns/user1-only-sa",
            id="SSO+RBAC, Namespace delegation ON, no ssoNamespace match, Delegated",
        ),
        pytest.param(
            {"groups": ["other-group"]}, "", "my-ns/my-other-sa", id="SSO+RBAC,precedence=0"
        ),
        pytest.param({}, "", "", id="SSO+RBAC,denied"),
    ],
)
def test_as_in_the_gatekeepers_own_test(claims: Claims, namespace: str, expected: str) -> None:
    assert chosen(claims, namespace) == expected


def test_an_account_without_the_annotation_is_not_asked() -> None:
    made = rules("my-ns", account("default", None, "100"), account("ci", "true"))

    assert [rule.name for rule in made] == ["my-ns/ci"]


def test_a_rule_that_fails_ends_the_search_though_a_lower_one_would_match() -> None:
    made = rules("my-ns", account("admin", "'ops' in groups", "1"), account("anyone", "true"))

    found = choose_account(made, None, "ci", {"sub": "a job"})

    assert isinstance(found, Refusal)
    assert found.tried == ("my-ns/admin",)
    assert [each.rule for each in found.failures] == ["my-ns/admin"]


def test_a_rule_that_fails_below_the_one_that_matches_is_never_asked() -> None:
    made = rules("my-ns", account("anyone", "true", "1"), account("admin", "'ops' in groups"))

    found = choose_account(made, None, "ci", {"sub": "a job"})

    assert found == Choice("my-ns/anyone", ServiceAccount("my-ns", "anyone"))


def test_a_text_that_is_no_rule_fails_when_its_turn_comes() -> None:
    made = rules("my-ns", account("broken", "groups in", "1"), account("anyone", "true"))

    found = choose_account(made, None, "ci", BOTH)

    assert isinstance(found, Refusal)
    assert "cannot be read" in found.failures[0].why


def test_a_failure_in_the_logins_namespace_is_not_mended_by_delegation() -> None:
    login = rules("my-ns", account("broken", "groups in"))

    found = choose_account(login, rules("user1-ns"), "ci", BOTH)

    assert isinstance(found, Refusal)


def test_a_failure_in_the_requests_namespace_leaves_the_logins_account() -> None:
    delegated = rules("user1-ns", account("broken", "groups in", "9"))

    found = choose_account(rules("my-ns"), delegated, "ci", BOTH)

    assert isinstance(found, Choice)
    assert found.rule == "my-ns/my-sa"
    assert found.credential == ServiceAccount("my-ns", "my-sa")
    assert [each.rule for each in found.failures] == ["user1-ns/broken"]


def test_a_failure_in_the_requests_namespace_ends_its_search_though_a_lower_one_matches() -> None:
    delegated = rules("user1-ns", account("broken", "groups in", "9"), account("any", "true", "8"))

    found = choose_account(rules("my-ns"), delegated, "ci", BOTH)

    assert isinstance(found, Choice)
    assert found.rule == "my-ns/my-sa"


def test_a_negative_precedence_in_the_requests_namespace_counts_where_nobody_else_matches() -> None:
    login = rules("my-ns", account("ops", "'ops' in groups", "-7"))
    delegated = rules("user1-ns", account("low", "true", "-8"))

    found = choose_account(login, delegated, "ci", BOTH)

    assert isinstance(found, Choice)
    assert found.rule == "user1-ns/low"


def test_where_no_rule_matches_in_either_namespace_all_that_were_asked_are_told() -> None:
    login = rules("my-ns", account("ops", "'ops' in groups"))
    delegated = rules("user1-ns", account("dev", "'dev' in groups"), account("x", "groups in"))

    found = choose_account(login, delegated, "ci", BOTH)

    assert isinstance(found, Refusal)
    assert found.tried == ("my-ns/ops", "user1-ns/dev", "user1-ns/x")
    assert [each.rule for each in found.failures] == ["user1-ns/x"]


def test_among_equals_the_first_name_decides_whatever_order_the_api_has() -> None:
    made = rules("my-ns", account("beta", "true"), account("alpha", "true"))

    found = choose_account(made, None, "ci", {})

    assert isinstance(found, Choice)
    assert found.rule == "my-ns/alpha"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-3", -3),
        ("+3", 3),
        ("007", 7),
        ("10", 10),
        ("0", 0),
        ("+-3", 0),
        ("0" * 30 + "12", 12),
        ("", 0),
        ("high", 0),
        ("1.5", 0),
        (" 1", 0),
        ("1_000", 0),
        ("0x10", 0),
        ("٣", 0),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2**63 - 1),
        ("-9223372036854775809", -(2**63)),
        ("9" * 100_000, 2**63 - 1),
        ("-" + "9" * 100_000, -(2**63)),
    ],
)
def test_a_precedence_is_read_as_go_reads_it(text: str, expected: int) -> None:
    assert precedence({PRECEDENCE: text}) == expected


def test_without_its_annotation_a_precedence_is_zero() -> None:
    assert precedence({}) == 0


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(
            AccountItem("", {}, ("my-token",)),
            "my-token",
            id="discovery by secret (Kubernetes <v1.24)",
        ),
        pytest.param(
            AccountItem("", {TOKEN_NAME: "my-token"}),
            "my-token",
            id="discovery by annotation (Kubernetes >=v1.24)",
        ),
        pytest.param(
            AccountItem("my-name", {}),
            "my-name.service-account-token",
            id="discovery by name (Kubernetes >=v1.24)",
        ),
    ],
)
def test_the_secret_of_a_token_is_found_as_in_its_own_test(
    item: AccountItem, expected: str
) -> None:
    assert token_secret(item) == expected


def test_where_that_secret_is_mounted_its_token_goes_up() -> None:
    def mounted(namespace: str, secret: str) -> str | None:
        return f"/tokens/{namespace}/{secret}/token" if secret == "ci-token" else None

    named = AccountItem("ci", {RULE: "true", TOKEN_NAME: "ci-token"})
    usual = AccountItem("usual", {RULE: "true"})

    made = annotated_rules("argo", [named, usual], mounted)

    assert [rule.credential for rule in made] == [
        TokenFile("/tokens/argo/ci-token/token"),
        ServiceAccount("argo", "usual"),
    ]


@pytest.mark.parametrize("secret", ["../../etc", "a/b", "", ".", "A", "x" * 300])
def test_a_secret_that_can_be_none_is_looked_for_nowhere(secret: str) -> None:
    asked = []
    account = AccountItem("ci", {RULE: "true", TOKEN_NAME: secret})

    annotated_rules("argo", [account], lambda *names: asked.append(names))

    assert asked == []


@pytest.mark.parametrize(
    ("target", "namespace"),
    [
        ("/api/v1/workflows/team-a", "team-a"),
        ("/api/v1/workflows/team-a?listOptions.limit=5", "team-a"),
        ("/api/v1/workflows/team-a/wf-1/log", "team-a"),
        ("/api/v1/workflow-events/team-a", "team-a"),
        ("/api/v1/stream/events/team-a", "team-a"),
        ("/api/v1/stream/sensors/team-a/logs", "team-a"),
        ("/api/v1/stream/event-sources/team-a", "team-a"),
        ("/api/v1/workflow-templates/team-a/t", "team-a"),
        ("/api/v1/cron-workflows/team-a", "team-a"),
        ("/api/v1/events/team-a/push", "team-a"),
        ("/api/v1/sync/team-a", "team-a"),
        ("/api/v1/archived-workflows?namespace=team-a", "team-a"),
        ("/api/v1/archived-workflows/some-uid?namespace=team-a&x=1", "team-a"),
        ("/api/v1/archived-workflows?x=1&namespace=team-a&namespace=b&q=a?c", "team-a"),
        ("/api/v1/archived-workflows?x=1", ""),
        ("/api/v1/archived-workflows", ""),
        ("/api/v1/archived-workflows?namespace=team-a" + "&x=1" * 100, ""),
        ("/artifact-files/team-a/workflows/wf/node/outputs/a", "team-a"),
        ("/artifacts/team-a/wf/node/a", "team-a"),
        ("/input-artifacts/team-a/wf/node/a", "team-a"),
        ("/upload-artifacts/team-a/t/a", "team-a"),
        ("/artifacts-by-uid/some-uid/node/a", ""),
        ("/api/v1/workflows/", ""),
        ("/api/v1/workflows", ""),
        ("/api/v1/cluster-workflow-templates/name", ""),
        ("/api/v1/info", ""),
        ("/api/v1/userinfo", ""),
        ("/workflows/team-a", ""),
        ("/api/v1/workflows/Team_A", ""),
        ("/api/v1/workflows/team-a%2f..%2fteam-b", "team-b"),
        ("/api/v1/workflows/%00", ""),
        ("*", ""),
    ],
)
def test_the_namespace_of_a_request_is_the_one_in_its_path(target: str, namespace: str) -> None:
    assert request_namespace(target) == namespace


def test_a_rule_for_another_issuer_is_not_asked_in_either_namespace() -> None:
    [mine] = rules("my-ns", account("ci", "true"))
    login, delegated = replace(mine, issuers=("ci",)), replace(mine, name="b/b", issuers=("ci",))

    assert isinstance(choose_account([login], None, "ci", {}), Choice)
    assert isinstance(choose_account([], [delegated], "ci", {}), Choice)
    assert isinstance(choose_account([login], [delegated], "another", {}), Refusal)


def test_the_annotations_are_those_of_argo_workflows() -> None:
    assert (RULE, PRECEDENCE, TOKEN_NAME) == (
        "workflows.argoproj.io/rbac-rule",
        "workflows.argoproj.io/rbac-rule-precedence",
        "workflows.argoproj.io/service-account-token.name",
    )
