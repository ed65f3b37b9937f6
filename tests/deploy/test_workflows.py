"""deploy/argo-workflows beside a stock Argo Workflows: what is added, and what it may do."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.settings import Config
from sidecar.config.values import Listen
from sidecar.core.upstream_kinds import UpstreamKind
from tests.deploy.rendered import DEPLOY, HERE, Document, documents, kustomized, only, run, server

pytestmark = pytest.mark.deploy

WAY = "argo-workflows"
NAME = "argo-workflows-token-refresh"


def placeless(document: Document) -> Document:
    metadata = {k: v for k, v in document["metadata"].items() if k != "namespace"}
    return {**document, "metadata": metadata}


def test_argo_workflows_own_objects_stay_but_for_the_pods_second_container() -> None:
    before = {(d["kind"], d["metadata"]["name"]): d for d in kustomized(HERE / "argo")}
    after = {(d["kind"], d["metadata"]["name"]): placeless(d) for d in documents(WAY)}

    assert {name for name in before if after[name] != before[name]} == {
        ("Deployment", "argo-server")
    }
    pod = before["Deployment", "argo-server"]["spec"]["template"]["spec"]
    assert server(WAY).argocd == {
        **pod["containers"][0],
        "args": ["server", "--auth-mode=sso", "--auth-mode=client"],  # the case's own patch
    }
    assert [each["name"] for each in server(WAY).pod["containers"]] == [
        "argo-server",
        "token-refresh",
    ]


def test_what_is_added_is_a_service_and_what_the_account_may_do() -> None:
    stock = {(d["kind"], d["metadata"]["name"]) for d in kustomized(HERE / "argo")}
    added = {(d["kind"], d["metadata"]["name"]) for d in documents(WAY)} - stock

    kinds = {kind for kind, _ in added}
    assert kinds == {"Service", "Role", "RoleBinding", "ConfigMap"}
    assert all(each["metadata"]["namespace"] == "argo" for each in documents(WAY))


def test_the_account_may_have_tokens_of_named_accounts_and_read_no_secret() -> None:
    rules: list[dict[str, Any]] = only(documents(WAY), "Role", NAME)["rules"]
    granted = {
        (resource, verb): rule.get("resourceNames")
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

    assert granted == {
        ("serviceaccounts/token", "create"): ["ci"],
        ("serviceaccounts", "get"): None,
        ("serviceaccounts", "list"): None,
    }
    assert all(rule["apiGroups"] == [""] for rule in rules)
    binding = only(documents(WAY), "RoleBinding", NAME)
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"]) == ("ServiceAccount", "argo-server")
    assert binding["roleRef"]["name"] == NAME


def test_the_service_leads_to_the_port_where_the_sidecar_listens() -> None:
    service = only(documents(WAY), "Service", NAME)["spec"]
    labels = server(WAY).deployment["spec"]["template"]["metadata"]["labels"]
    listens = configuration().listen

    assert listens == Listen(None, 8080)
    assert {port["targetPort"] for port in service["ports"]} == {listens.port}
    assert service["selector"].items() <= labels.items()
    ports = [port["containerPort"] for port in server(WAY).sidecar["ports"]]
    assert ports == [listens.port, configuration().admin_listen.port]


def test_what_the_container_is_given_is_a_configuration() -> None:
    config = configuration()

    assert config.upstream_kind is UpstreamKind.ARGO_WORKFLOWS
    assert config.upstream == "https://127.0.0.1:2746"
    assert server(WAY).argocd["ports"] == [{"name": "web", "containerPort": 2746}]


def configuration() -> Config:
    """As the container has it, but for the rules' file, which is not there."""
    container = server(WAY).sidecar
    name = container["envFrom"][0]["configMapRef"]["name"]
    given = {**server(WAY).environment, **only(documents(WAY), "ConfigMap", name)["data"]}
    given.pop("SIDECAR_MACHINE_RULES")
    return Config.load(given)


def test_the_rules_are_mounted_where_the_variable_says() -> None:
    container = server(WAY).sidecar
    name = container["envFrom"][0]["configMapRef"]["name"]
    path = Path(only(documents(WAY), "ConfigMap", name)["data"]["SIDECAR_MACHINE_RULES"])
    mount = server(WAY).mounts[str(path.parent)]

    mounted = only(documents(WAY), "ConfigMap", mount["configMap"]["name"])["data"]
    assert path.name in mounted
    assert yaml.safe_load(mounted[path.name])["issuers"]


def test_neither_is_waited_for() -> None:
    assert server(WAY).sidecar["envFrom"][0]["configMapRef"]["optional"] is True
    assert server(WAY).mounts["/etc/machines"]["configMap"]["optional"] is True


CHANGES = {
    "another name of the Deployment": ("  name: argo-server\nspec", "  name: server\nspec"),
    "another name of the container": ("- name: argo-server", "- name: server"),
    "another port": ("containerPort: 2746", "containerPort: 2747"),
    "another account": ("serviceAccountName: argo-server", "serviceAccountName: other"),
}


@pytest.mark.parametrize("change", ["", *CHANGES])
def test_an_argo_workflows_that_is_another_is_not_half_patched(tmp_path: Path, change: str) -> None:
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    shutil.copytree(HERE / "argo", tmp_path / "argo")
    text = "resources: [argo]\ncomponents: [deploy/argo-workflows]\n"
    (tmp_path / "kustomization.yaml").write_text(text)
    if change:
        path = tmp_path / "argo/deployment.yaml"
        old, new = CHANGES[change]
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    done = run("kubectl", "kustomize", tmp_path)

    assert bool(done.returncode) == bool(change), done.stderr


def test_the_readme_says_what_the_case_does() -> None:
    readme = (DEPLOY / "argo-workflows/README.md").read_text().replace("\n    ", "\n")
    case = (HERE / "cases/argo-workflows/kustomization.yaml").read_text()
    for part in ("configMapGenerator:", "patches:"):
        block = case[case.index(part) :].split("\npatches:" if part[0] == "c" else "\0")[0]
        assert block.strip() in readme
