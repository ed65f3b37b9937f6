"""What the manifests in deploy/ become beside a stock Argo CD."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HERE = Path(__file__).parent
TOOLS = ROOT / "build/deploy/bin"

Document = dict[str, Any]

IN_PLACE = ("stock", "ha")
OWN_PORT = ("own-port", "own-port-ha")
HELM = ("helm",)
OPERATOR = ("operator",)
WORKFLOWS = ("argo-workflows",)
ALL = (*IN_PLACE, *OWN_PORT, *HELM, *OPERATOR)


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """A tool of `make check-deploy`, and what it said."""
    tool, *arguments = command
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=False)


@cache
def documents(way: str) -> tuple[Document, ...]:
    """All that is applied to a cluster when the sidecar is installed this way."""
    if way in HELM:
        return tuple(chart(DEPLOY / "helm/values.yaml"))
    if way in OPERATOR:
        return (as_the_operator(argocd_resource()),)
    return tuple(kustomized(HERE / "cases" / way))


def kustomized(folder: Path) -> list[Document]:
    """What `kubectl kustomize` makes of a folder."""
    done = run("kubectl", "kustomize", folder)
    assert not done.returncode, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def getting_started(step: str) -> list[Document]:
    """What the two folders for docs/getting-started.md make of a stock Argo CD on disk."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shutil.copytree(DEPLOY, root / "deploy")
        shutil.copytree(HERE / "stock", root / "stock")
        file = root / "deploy/getting-started/without/kustomization.yaml"
        text = file.read_text()
        (remote,) = (line for line in text.splitlines() if "https://" in line)
        file.write_text(text.replace(remote, "  - ../../../stock"))
        return kustomized(root / "deploy/getting-started" / step)


def chart(values: Path) -> list[Document]:
    """What Helm makes of the chart in short, with these values."""
    done = run("python", HERE / "render_chart.py", HERE / "chart", values)
    assert not done.returncode, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def argocd_resource() -> Document:
    """The `ArgoCD` resource for the operator."""
    resource: Document = yaml.safe_load((DEPLOY / "operator/argocd.yaml").read_text())
    return resource


def as_the_operator(resource: Document) -> Document:
    """The Deployment as argocd-operator (v0.18, v0.19) makes it of its resource."""
    server = resource["spec"]["server"]
    name = f"{resource['metadata']['name']}-server"
    labels = {"app.kubernetes.io/name": name}
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 30}
    own = {
        "name": "argocd-server",
        "image": "argocd:v3.4.4",
        "command": ["argocd-server", "--staticassets", "/shared/app", *server["extraCommandArgs"]],
        "ports": [{"containerPort": 8080}, {"containerPort": 8083}],
        "livenessProbe": probe,
        "readinessProbe": probe,
        "securityContext": server["sidecarContainers"][0]["securityContext"],
    }
    pod = {
        "serviceAccountName": "argocd-argocd-server",
        "containers": [own, *server["sidecarContainers"]],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *server["volumes"]],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": resource["metadata"]["namespace"]},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


@dataclass(frozen=True)
class Server:
    """The Deployment of argocd-server with the sidecar in it."""

    deployment: Document

    @property
    def pod(self) -> Document:
        pod: Document = self.deployment["spec"]["template"]["spec"]
        return pod

    @property
    def argocd(self) -> Document:
        container: Document = self.pod["containers"][0]
        return container

    @property
    def sidecar(self) -> Document:
        (container,) = (c for c in self.pod["containers"] if c["name"] == "token-refresh")
        found: Document = container
        return found

    @property
    def environment(self) -> dict[str, str]:
        return {pair["name"]: pair["value"] for pair in self.sidecar.get("env", [])}

    @property
    def volumes(self) -> dict[str, Document]:
        """The sources of the pod's volumes, by name."""
        return {
            volume["name"]: {key: value for key, value in volume.items() if key != "name"}
            for volume in self.pod["volumes"]
        }

    @property
    def mounts(self) -> dict[str, Document]:
        """What the sidecar sees at each path."""
        return {
            mount["mountPath"]: self.volumes[mount["name"]]
            for mount in self.sidecar["volumeMounts"]
        }

    @property
    def grace_seconds(self) -> int:
        seconds: int = self.pod.get("terminationGracePeriodSeconds", 30)
        return seconds


def server(way: str) -> Server:
    """The one Deployment among what is applied."""
    return Server(only(documents(way), "Deployment"))


def only(found: tuple[Document, ...], kind: str, name: str = "") -> Document:
    """The one document of a kind, or of a kind and name."""
    (document,) = (
        each for each in found if each["kind"] == kind and name in ("", each["metadata"]["name"])
    )
    return document
