"""The recipes of docs/machines.md: their rules can be read, and mean what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.machine_rules import read_machine_rules
from sidecar.core.bearer_tokens import _check_required
from sidecar.core.machine_rules import Choice, MachineRules, Refusal, choose
from sidecar.errors import TokenInvalid
from tests.fakes.github import CLAIMS
from tests.machines.test_data_path import BAD, IDENTITY

PAGE = (Path(__file__).parents[2] / "docs" / "machines.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

# As each issuer's own documentation has them.
GITHUB = CLAIMS
GITLAB = {
    "sub": "project_path:octo-group/octo-project:ref_type:branch:ref:main",
    "namespace_path": "octo-group",
    "project_path": "octo-group/octo-project",
    "pipeline_source": "push",
    "ref": "main",
    "ref_type": "branch",
    "ref_protected": "true",
}
KEYCLOAK = {
    "sub": "0d2a2c1e-8a0f-4b44-9c83-5d1a5b3bb0c2",
    "azp": "argocd-ci",
    "client_id": "argocd-ci",
    "preferred_username": "service-account-argocd-ci",
}
DEX = {
    "sub": "CgR1c2VyEg5naXRodWItYWN0aW9ucw",
    "name": "repo:octo-org/octo-repo:ref:refs/heads/main",
    "federated_claims": {
        "connector_id": "github-actions",
        "user_id": "repo:octo-org/octo-repo:ref:refs/heads/main",
    },
}


def recipe(issuer: str) -> MachineRules:
    found = [rules for rules in map(read_machine_rules, rule_files()) if rules.issuers]
    return next(rules for rules in found if rules.issuers[0].name == issuer)


def rule_files() -> list[str]:
    return [block for block in BLOCKS if block.startswith("issuers:")]


def decided(issuer: str, claims: dict[str, Any]) -> Choice | Refusal:
    rules = recipe(issuer)
    try:
        _check_required(claims, rules.issuers[0])
    except TokenInvalid:
        return Refusal()
    return choose(rules.rules, issuer, claims)


@pytest.mark.parametrize(
    ("issuer", "claims"),
    [("github", GITHUB), ("gitlab", GITLAB), ("keycloak", KEYCLOAK), ("dex", DEX)],
)
def test_a_recipes_own_job_gets_in(issuer: str, claims: dict[str, Any]) -> None:
    choice = decided(issuer, claims)

    assert isinstance(choice, Choice)
    assert not choice.failures
    assert str(choice.credential) == "token file /etc/machine-tokens/ci"


@pytest.mark.parametrize(
    ("issuer", "claims"),
    [
        ("github", {**GITHUB, "ref": "refs/heads/other"}),
        ("github", {**GITHUB, "event_name": "pull_request"}),
        ("github", {**GITHUB, "repository": "octo-org/octo-repo2"}),
        ("github", {**GITHUB, "repository_owner": "mallory"}),
        ("gitlab", {**GITLAB, "ref_protected": "false"}),
        ("gitlab", {**GITLAB, "namespace_path": "mallory"}),
        ("gitlab", {**GITLAB, "project_path": "octo-group/other"}),
        ("keycloak", {**KEYCLOAK, "azp": "another"}),
        ("keycloak", {"sub": "ada", "preferred_username": "ada"}),
        ("dex", {**DEX, "name": "repo:mallory/repo:ref:refs/heads/main"}),
        ("dex", {**DEX, "federated_claims": {"connector_id": "ldap", "user_id": "x"}}),
    ],
)
def test_and_others_of_the_same_issuer_do_not(issuer: str, claims: dict[str, Any]) -> None:
    assert isinstance(decided(issuer, claims), Refusal)


def test_every_block_of_the_page_is_yaml() -> None:
    assert len(rule_files()) == 4
    for block in BLOCKS:
        assert list(yaml.safe_load_all(block))


def test_every_check_and_every_field_that_is_dropped_is_in_the_page() -> None:
    checks = {check for _, check in BAD.values()}
    named = set(re.findall(r"`([a-z]+)`", PAGE.partition("## What is checked")[2]))
    assert checks <= named

    text = PAGE.partition("**Nobody says from outside who he is.**")[2].lower()
    for name in IDENTITY:
        usual = name.lower().replace("_", "-")
        endings = ("-".join(usual.split("-")[i:]) for i in range(len(usual.split("-"))))
        beginnings = ("-".join(usual.split("-")[:i]) + "-*" for i in range(1, 4))
        assert any(f"`{each}`" in text or f"`-{each}`" in text for each in (*endings, *beginnings))


def test_the_links_of_the_page_lead_somewhere() -> None:
    folder = Path(__file__).parents[2] / "docs"
    links = set(re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", PAGE))

    assert len(links) > 5
    assert [link for link in links if not (folder / link).exists()] == []
