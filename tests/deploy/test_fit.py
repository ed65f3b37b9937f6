"""A stock Argo CD that is no longer as it was makes the patches fail, not half of them apply."""

import shutil
from pathlib import Path

import pytest

from tests.deploy.rendered import DEPLOY, HERE, run

pytestmark = pytest.mark.deploy

CHANGES = {
    "another name of the Deployment": ("deployment", "  name: argocd-server\n", "  name: server\n"),
    "another name of the container": ("deployment", "- name: argocd-server", "- name: server"),
    "another program": ("deployment", "bin/argocd-server", "bin/argocd"),
    "another port": ("deployment", "containerPort: 8080", "containerPort: 8081"),
    "another port first": ("deployment", "- containerPort: 8080\n", "- containerPort: 8084\n"),
    "probes elsewhere": (
        "deployment",
        "port: 8080\n            initial",
        "port: 8083\n            initial",
    ),
    "probes by a port's name": (
        "deployment",
        "              port: 8080",
        "              port: http",
    ),
    "no liveness probe": ("deployment", "livenessProbe", "startupProbe"),
    "no readiness probe": ("deployment", "readinessProbe", "startupProbe"),
    "no arguments": ("deployment", "args:\n            -", "command:\n            -"),
    "no network policy of that name": (
        "network-policy",
        "argocd-server-network-policy",
        "argocd-server",
    ),
}
IN_PLACE_ONLY = {name for name in CHANGES if "port" in name or "prob" in name or "policy" in name}


def installed(tmp_path: Path, component: str) -> Path:
    """A stock Argo CD with a component, all in one place that can be changed."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    shutil.copytree(HERE / "stock", tmp_path / "stock")
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [stock]\ncomponents: [deploy/{component}]\n"
    )
    return tmp_path


@pytest.mark.parametrize("component", ["kustomize", "own-port"])
def test_a_stock_one_fits(tmp_path: Path, component: str) -> None:
    done = run("kubectl", "kustomize", installed(tmp_path, component))
    assert not done.returncode, done.stderr


@pytest.mark.parametrize(
    ("component", "change"),
    [("kustomize", change) for change in CHANGES]
    + [("own-port", change) for change in CHANGES if change not in IN_PLACE_ONLY],
)
def test_a_changed_one_fails(tmp_path: Path, component: str, change: str) -> None:
    file, old, new = CHANGES[change]
    folder = installed(tmp_path, component)
    path = folder / "stock" / f"{file}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = run("kubectl", "kustomize", folder)
    assert done.returncode, done.stdout
    assert not done.stdout
