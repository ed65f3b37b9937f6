"""What the sidecar makes of the folders that the manifests mount."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.config.settings import Config
from sidecar.config.variables import ARGOCD_CONFIG_DIR
from tests.config.mounted import STOCK, mount
from tests.deploy.rendered import ALL, Document, Server, argocd_resource, server
from tests.proxy.certificates import self_signed

pytestmark = pytest.mark.deploy

PASSWORD = STOCK["secrets/argocd-redis"]["auth"]
IN_CLUSTER: dict[str, dict[str, bytes]] = {
    "argocd-cm": STOCK["argocd-cm"],
    "argocd-secret": STOCK["argocd-secret"],
    "argocd-redis": {"auth": PASSWORD},
    "argocd-redis-initial-password": {"admin.password": PASSWORD, "immutable": b"true"},
}


def started(pod: Server, folder: Path, cluster: dict[str, dict[str, bytes]]) -> Config:
    """The configuration in a pod whose volumes have what is in the cluster."""
    for path, volume in pod.mounts.items():
        if Path(path).is_relative_to(ARGOCD_CONFIG_DIR):
            mount(folder / Path(path).relative_to(ARGOCD_CONFIG_DIR), held(volume, cluster))
    return Config.load(
        {
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
            "SIDECAR_ARGOCD_CONFIG_DIR": str(folder),
            **pod.environment,
        }
    )


def held(volume: Document, cluster: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """The files of an optional volume."""
    (content,) = volume.values()
    data = cluster.get(content.get("name") or content["secretName"], {})
    if "items" in content:
        return {item["path"]: data[item["key"]] for item in content["items"]}
    return data


def params(way: str, **data: str) -> dict[str, bytes]:
    """`argocd-cmd-params-cm`; the operator writes its resource's into it."""
    given: dict[str, str] = argocd_resource()["spec"]["cmdParams"] if way == "operator" else {}
    return {name: value.encode() for name, value in {**given, **data}.items()}


@pytest.mark.parametrize("way", ALL)
def test_a_stock_argo_cd_with_tls_is_taken_over_with_nothing_filled_in(
    way: str, tmp_path: Path
) -> None:
    pair = [Path(file).read_bytes() for file in self_signed(tmp_path / "tls", "localhost")]
    secret = IN_CLUSTER["argocd-secret"] | dict(zip(("tls.crt", "tls.key"), pair, strict=True))
    cluster = {**IN_CLUSTER, "argocd-secret": secret, "argocd-cmd-params-cm": params(way)}
    config = started(server(way), tmp_path / "argocd", cluster)
    assert config.argocd.findings == ()
    assert config.argocd.takes_over_logins
    assert config.upstream == f"https://127.0.0.1:{8080 if 'own' in way else 8090}"
    assert not config.upstream_tls_verify
    assert config.tls_cert_file == str(tmp_path / "argocd/argocd-secret/tls.crt")
    assert_of_argo_cd(config, way)


@pytest.mark.parametrize("way", [way for way in ALL if "own" not in way])
def test_one_without_tls_is_taken_over_with_nothing_filled_in(way: str, tmp_path: Path) -> None:
    insecure = params(way, **{"server.insecure": "true"})
    config = started(server(way), tmp_path, {**IN_CLUSTER, "argocd-cmd-params-cm": insecure})
    assert config.argocd.findings == ()
    assert config.argocd.takes_over_logins
    assert (config.upstream, config.tls_cert_file) == ("http://127.0.0.1:8090", None)
    assert_of_argo_cd(config, way)


def assert_of_argo_cd(config: Config, way: str) -> None:
    assert config.public_url == "https://argocd.example.org"
    assert config.issuer == "https://idp.example.org/realms/argocd"
    assert config.read_client_secret() == "hunter2"
    assert config.session_keys
    host = "argocd-redis.argocd.svc.cluster.local" if way == "operator" else "argocd-redis"
    assert config.store_url == f"redis://:hunter4%40%2F@{host}:6379/0"


def test_a_cluster_in_which_all_of_it_is_missing_starts_and_lets_logins_pass(
    tmp_path: Path,
) -> None:
    config = started(server("stock"), tmp_path, {})
    assert not config.argocd.takes_over_logins
    assert config.argocd.findings


def test_the_certificate_of_its_own_secret_comes_first(tmp_path: Path) -> None:
    pair = [Path(file).read_bytes() for file in self_signed(tmp_path / "tls", "localhost")]
    tls: dict[str, Any] = dict(zip(("tls.crt", "tls.key"), pair, strict=True))
    cluster = {**IN_CLUSTER, "argocd-server-tls": tls}
    config = started(server("stock"), tmp_path / "argocd", cluster)
    assert config.tls_cert_file == str(tmp_path / "argocd/secrets/argocd-server-tls/tls.crt")
