"""What Kubernetes' schemas, checkov and hadolint say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import test_ingress
from tests.deploy.rendered import (
    ALL,
    DEPLOY,
    ROOT,
    WORKFLOWS,
    documents,
    getting_started,
    run,
    server,
)

pytestmark = pytest.mark.deploy

MINORS = range(27, 38)  # of Kubernetes 1
# Custom resources: other tests read these.
NO_SCHEMA = {"ServiceMonitor", "HTTPRoute", "ArgoCD", *test_ingress.FIELDS}

# What is not done, and why.
PASSED_OVER = {
    "CKV2_K8S_6": "the network policy is a document of its own",
    "CKV_K8S_11": "a CPU limit throttles requests, and has no gain here",
    "CKV_K8S_15": "imagePullPolicy IfNotPresent, for a tag that names a version",
    "CKV_K8S_29": "the container has a security context; the pod's would be argocd-server's too",
    "CKV_K8S_35": "a Secret as environment is there for those who want it, and may be missing",
    "CKV_K8S_38": "argocd-server needs its account's token; the sidecar's is hidden",
    "CKV_K8S_43": "no image is published yet, so there is no digest",
}


@pytest.fixture
def applied(tmp_path: Path) -> Path:
    """Every document of every way, one file each."""
    for way in (*ALL, *WORKFLOWS):
        (tmp_path / f"{way}.yaml").write_text(yaml.safe_dump_all(documents(way)))
    started = getting_started("with")
    (tmp_path / "getting-started.yaml").write_text(yaml.safe_dump_all(started))
    route = DEPLOY / "own-port/httproute.yaml"
    (tmp_path / route.name).write_text(route.read_text())
    for file in test_ingress.every_file():
        name = "-".join(file.relative_to(DEPLOY).parts)
        (tmp_path / name).write_text(file.read_text())
    return tmp_path


@pytest.mark.parametrize("minor", MINORS)
def test_kubernetes_knows_every_field(applied: Path, minor: int) -> None:
    files = sorted(applied.iterdir())
    done = run("kubernetes-validate", "--strict", "-k", f"1.{minor}", *files)
    said = (done.stdout + done.stderr).splitlines()
    assert not done.returncode, said
    # A kind without a schema is a warning only: a misspelled one must not pass for it.
    unknown = {line.split("for kind ")[1].split()[0] for line in said if "find schema" in line}
    assert unknown <= NO_SCHEMA
    expected = sum(len(list(yaml.safe_load_all(file.read_text()))) for file in files)
    assert (
        len([line for line in said if " passed for " in line or "find schema" in line]) == expected
    )


def test_the_newest_kubernetes_is_among_them() -> None:
    code = "import kubernetes_validate as k; print(k.latest_version())"
    assert run("python", "-c", code).stdout.split(".")[1] == str(MINORS[-1])


def checkov(framework: str, file: Path) -> list[dict[str, Any]]:
    """The checks that fail."""
    done = run(
        "checkov",
        "--skip-download",
        "--quiet",
        "--output=json",
        f"--framework={framework}",
        f"--file={file}",
    )
    results = json.loads(done.stdout)
    assert results["summary"]["passed"] > 10
    failed: list[dict[str, Any]] = results["results"]["failed_checks"]
    return failed


@pytest.mark.parametrize("way", ["stock", "operator", "argo-workflows"])
def test_checkov_finds_nothing_in_the_container_but_what_is_passed_over(
    way: str, tmp_path: Path
) -> None:
    """Alone in its pod, since Argo CD's own container is not ours to judge."""
    deployment = server(way).deployment
    ours = {"containers": [server(way).sidecar], "volumes": server(way).pod["volumes"]}
    spec = {**deployment["spec"], "template": {**deployment["spec"]["template"], "spec": ours}}
    file = tmp_path / "deployment.yaml"
    file.write_text(yaml.safe_dump({**deployment, "spec": spec}))
    found = {check["check_id"]: check["check_name"] for check in checkov("kubernetes", file)}
    # Without a user that is written down, the image's counts, which checkov does not see.
    passed_over = {*PASSED_OVER, *(["CKV_K8S_40"] if way == "operator" else [])}
    # In front of Argo Workflows no Secret is there.
    passed_over -= {"CKV_K8S_35"} if way in WORKFLOWS else set()
    assert set(found) == passed_over, found


def test_checkov_finds_nothing_in_the_dockerfile() -> None:
    assert checkov("dockerfile", ROOT / "Dockerfile") == []


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run("hadolint", "--no-color", ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
