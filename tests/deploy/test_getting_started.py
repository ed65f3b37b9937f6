"""The folders that docs/getting-started.md applies."""

import re
from typing import Any

import pytest
import yaml

from tests.deploy.rendered import DEPLOY, ROOT, Document, Server, getting_started, only

pytestmark = pytest.mark.deploy


@pytest.fixture(scope="module")
def without() -> tuple[Document, ...]:
    return tuple(getting_started("without"))


def data(found: tuple[Document, ...], kind: str, name: str) -> dict[str, Any]:
    document = only(found, kind, name)
    held: dict[str, Any] = document.get("data") or document["stringData"]
    return held


def test_argo_cd_and_its_provider_agree(without: tuple[Document, ...]) -> None:
    settings = data(without, "ConfigMap", "argocd-cm")
    oidc = yaml.safe_load(settings["oidc.config"])
    dex = yaml.safe_load(data(without, "ConfigMap", "login")["config.yaml"])
    (client,) = dex["staticClients"]
    assert oidc["issuer"] == dex["issuer"]
    assert oidc["clientID"] == client["id"]
    secret = data(without, "Secret", "argocd-secret")
    assert client["secret"] == secret[oidc["clientSecret"].removeprefix("$")]
    assert client["redirectURIs"] == [f"{settings['url']}/auth/callback"]
    (user,) = dex["staticPasswords"]
    assert (
        f"g, {user['email']}, role:admin"
        in data(without, "ConfigMap", "argocd-rbac-cm")["policy.csv"]
    )


def test_the_provider_is_reached_by_its_issuers_name(without: tuple[Document, ...]) -> None:
    issuer = yaml.safe_load(data(without, "ConfigMap", "login")["config.yaml"])["issuer"]
    service = only(without, "Service", "login")
    (port,) = service["spec"]["ports"]
    namespace = service["metadata"]["namespace"]
    host = f"{service['metadata']['name']}.{namespace}.svc.cluster.local"
    assert issuer == f"http://{host}:{port['port']}/dex"
    # The browser is on the same machine, and takes the port that is forwarded to it.
    guide = (ROOT / "docs/getting-started.md").read_text()
    assert f"127.0.0.1 {host}\n" in guide
    assert f"port-forward svc/login {port['port']} &" in guide


def test_the_sidecar_is_all_that_is_added(without: tuple[Document, ...]) -> None:
    names = {(each["kind"], each["metadata"]["name"]): each for each in without}
    changed = [
        each
        for each in getting_started("with")
        if names[each["kind"], each["metadata"]["name"]] != each
    ]
    assert sorted(each["kind"] for each in changed) == ["Deployment", "NetworkPolicy"]
    (deployment,) = (each for each in changed if each["kind"] == "Deployment")
    assert Server(deployment).sidecar["image"].startswith("argocd-token-refresh:")


def test_the_guide_builds_and_loads_the_image_that_the_manifests_name() -> None:
    guide = (ROOT / "docs/getting-started.md").read_text()
    (image,) = set(re.findall(r"argocd-token-refresh:[\d.]+\d", guide))
    for file in DEPLOY.rglob("*.yaml"):
        assert set(re.findall(r"image: (argocd-token-refresh:\S+)", file.read_text())) <= {image}


def test_every_folder_that_the_guide_applies_is_there() -> None:
    guide = (ROOT / "docs/getting-started.md").read_text()
    folders = re.findall(r"apply .*-k (\S+)", guide)
    assert len(folders) == 2
    assert all((ROOT / folder / "kustomization.yaml").is_file() for folder in folders)
