"""What docs/argo-workflows.md lets be copied is what is read."""

import re
from pathlib import Path

import pytest
import yaml

from sidecar.config.machine_rules import read_machine_rules
from sidecar.core.annotated_accounts import request_namespace
from sidecar.core.machine_rules import ServiceAccount

PAGE = Path(__file__).parents[2] / "docs/argo-workflows.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)


def block(part: str) -> str:
    (found,) = [each for each in BLOCKS if part in each]
    return str(found)


def test_the_recipes_rules_lead_to_the_account_that_it_makes() -> None:
    rules = read_machine_rules(block("issuers:"))
    objects = list(yaml.safe_load_all(block("kind: RoleBinding")))

    (account,) = [each["metadata"] for each in objects if each["kind"] == "ServiceAccount"]
    assert [rule.credential for rule in rules.rules] == [
        ServiceAccount(account["namespace"], account["name"])
    ]


def test_the_jobs_audience_is_the_rules() -> None:
    (issuer,) = read_machine_rules(block("issuers:")).issuers
    (job,) = yaml.safe_load(block("id-token: write"))["jobs"]["submit"]["steps"]

    assert issuer.audiences == (job["env"]["SERVER"],)
    assert "audience=$SERVER" in job["run"]
    path = re.search(r'"\$SERVER(/api/\S+)"', job["run"])
    assert path
    assert request_namespace(path[1]) == "argo"


def test_rules_by_annotation_are_read_as_they_are_written() -> None:
    issuers = block("issuers:").partition("rules:")[0]

    rules = read_machine_rules(issuers + block("annotated_service_accounts:"))

    assert rules.annotated is not None
    assert rules.annotated.namespace == "argo"


@pytest.mark.parametrize("kind", ["ServiceAccount", "Role", "RoleBinding"])
def test_the_recipes_objects_are_in_one_namespace(kind: str) -> None:
    objects = [each for each in yaml.safe_load_all(block("kind: RoleBinding"))]

    (found,) = [each for each in objects if each["kind"] == kind]
    assert found["metadata"] == {"name": "ci", "namespace": "argo"}
