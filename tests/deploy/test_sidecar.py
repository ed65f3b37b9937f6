"""The container, which is the same in all ways, and the pod around it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.app import DRAIN_SECONDS
from sidecar.config.environment import PREFIX, variable
from sidecar.config.variables import VARIABLES
from sidecar.core.timings import WORK_SECONDS
from tests.deploy.rendered import (
    ALL,
    DEPLOY,
    HELM,
    IN_PLACE,
    OPERATOR,
    OWN_PORT,
    Document,
    Server,
    argocd_resource,
    server,
)

pytestmark = pytest.mark.deploy

FOLDER = "/etc/argocd-token-refresh/argocd"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
ADMIN = 9090


def source(volume: Document) -> str:
    """The ConfigMap's or Secret's name."""
    name: str = (
        volume["configMap"]["name"] if "configMap" in volume else volume["secret"]["secretName"]
    )
    return name


@pytest.mark.parametrize("way", ALL)
def test_argo_cds_own_settings_are_mounted_whole(way: str) -> None:
    mounts = server(way).mounts
    del mounts[ACCOUNT]
    assert {
        str(Path(path).relative_to(FOLDER)): source(found) for path, found in mounts.items()
    } == {
        "argocd-cm": "argocd-cm",
        "argocd-cmd-params-cm": "argocd-cmd-params-cm",
        "argocd-rbac-cm": "argocd-rbac-cm",
        "argocd-secret": "argocd-secret",
        "secrets/argocd-redis": "argocd-redis" + "-initial-password" * (way in OPERATOR),
        "secrets/argocd-server-tls": "argocd-server-tls",
    }
    for path, found in mounts.items():
        (content,) = found.values()
        # The operator's Secret has the password under another name.
        assert ("items" in content) == (way in OPERATOR and path.endswith("argocd-redis"))
    assert not any("subPath" in mount for mount in server(way).sidecar["volumeMounts"])


@pytest.mark.parametrize("way", ALL)
def test_the_pod_waits_for_nothing_that_the_sidecar_reads(way: str) -> None:
    container = server(way).sidecar
    sources = [
        next(iter(found.values())) for path, found in server(way).mounts.items() if path != ACCOUNT
    ]
    sources += [next(iter(each.values())) for each in container["envFrom"]]
    assert all(each["optional"] is True for each in sources)


@pytest.mark.parametrize("way", ALL)
def test_the_service_accounts_token_is_hidden(way: str) -> None:
    assert server(way).mounts[ACCOUNT] == {"emptyDir": {}}


@pytest.mark.parametrize("way", ALL)
def test_no_setting_of_argo_cd_is_written_a_second_time(way: str) -> None:
    at_own_port = {"SIDECAR_LISTEN", "SIDECAR_UPSTREAM", "SIDECAR_UPSTREAM_TLS_VERIFY"}
    assert set(server(way).environment) == (at_own_port if way in OWN_PORT else set())


def named_variables(text: str) -> set[str]:
    words = text.replace("`", " ").replace("=", " ").replace(":", " ").replace(",", " ").split()
    return {word.strip("().\"'*…") for word in words if word.lstrip("(\"'*").startswith(PREFIX)}


def test_every_variable_that_is_written_down_is_known() -> None:
    known = {variable(field) for field in VARIABLES}
    files = [path for path in DEPLOY.rglob("*") if path.suffix in {".yaml", ".md"}]
    written = {(path.name, name) for path in files for name in named_variables(path.read_text())}
    assert {name for _, name in written} >= {"SIDECAR_LISTEN", "SIDECAR_STORE_URL"}
    assert {(file, name) for file, name in written if name not in known} == set()


@pytest.mark.parametrize("way", ALL)
def test_the_container_is_restricted(way: str) -> None:
    given = dict(server(way).sidecar["securityContext"])
    user = {given.pop("runAsUser", None), given.pop("runAsGroup", None)}
    # OpenShift gives a user of its own, and refuses another.
    assert user == ({None} if way in OPERATOR else {65532})
    assert given == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize("way", ALL)
def test_only_the_sidecar_itself_decides_about_its_life(way: str) -> None:
    container = server(way).sidecar
    for probe, path in (
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ):
        asked = dict(container[probe]["httpGet"])
        assert asked.pop("scheme", "HTTP") == "HTTP"
        assert asked == {"path": path, "port": ADMIN}


def pause_seconds(container: Document) -> float:
    """How long a container waits at its end before it gets SIGTERM."""
    *_, last = container["lifecycle"]["preStop"]["exec"]["command"]
    return float(last.removeprefix("import time; time.sleep(").removesuffix(")"))


@pytest.mark.parametrize("way", ALL)
def test_a_pod_has_the_time_to_end(way: str) -> None:
    needed = pause_seconds(server(way).sidecar) + DRAIN_SECONDS + WORK_SECONDS
    assert server(way).grace_seconds > needed


@pytest.mark.parametrize("way", [*IN_PLACE, *OWN_PORT, *HELM])
def test_argocd_server_answers_until_the_requests_under_way_are_done(way: str) -> None:
    pause = pause_seconds(server(way).argocd)
    assert pause_seconds(server(way).sidecar) + DRAIN_SECONDS < pause < server(way).grace_seconds


@pytest.mark.parametrize("way", ALL)
def test_the_containers_end_needs_no_shell(way: str) -> None:
    command, *_ = server(way).sidecar["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "python"


@pytest.mark.parametrize("way", ALL)
def test_an_autoscaler_finds_requests_and_nothing_throttles(way: str) -> None:
    resources = server(way).sidecar["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert set(resources["limits"]) == {"memory"}


@pytest.mark.parametrize("way", ALL)
def test_no_name_port_or_path_is_taken_twice(way: str) -> None:
    pod = server(way).pod
    volumes = [volume["name"] for volume in pod["volumes"]]
    ports = [port["containerPort"] for c in pod["containers"] for port in c["ports"]]
    for names in (volumes, ports, [c["name"] for c in pod["containers"]]):
        assert len(set(names)) == len(names)
    assert {mount["name"] for mount in server(way).sidecar["volumeMounts"]} <= set(volumes)


def without(container: Document, *keys: str) -> Document:
    return {key: value for key, value in container.items() if key not in keys}


@pytest.mark.parametrize("way", [*OWN_PORT, "ha", *HELM])
def test_the_container_is_the_same_in_all_ways(way: str) -> None:
    # The operator's differs in what its test says, and is too wordy to be compared.
    theirs, ours = server(way), server("stock")
    assert without(theirs.sidecar, "ports", "env") == without(ours.sidecar, "ports")
    assert theirs.mounts == ours.mounts


def plain(value: Any) -> Any:
    """Without what Kubernetes puts in where nothing is written."""
    defaults = {
        "scheme": "HTTP",
        "successThreshold": 1,
        "protocol": "TCP",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "defaultMode": 420,
    }
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    failures = {"failureThreshold": 3} if "httpGet" in value else {}
    kept = {k: v for k, v in value.items() if {**defaults, **failures}.get(k) != v}
    return {key: plain(each) for key, each in kept.items()}


def test_the_operators_container_is_the_same_but_for_its_user_and_its_shorter_end() -> None:
    theirs, ours = plain(server("operator").sidecar), server("stock").sidecar
    own = ("lifecycle", "securityContext", "ports")
    assert without(theirs, *own) == without(ours, *own)


def test_what_the_operator_compares_has_kubernetes_defaults_written_out() -> None:
    spec = argocd_resource()["spec"]["server"]
    (container,) = spec["sidecarContainers"]
    assert {"terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy"} <= set(
        container
    )
    probe = {"httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert set(container[name]) == probe
        assert "scheme" in container[name]["httpGet"]
    assert all("protocol" in port for port in container["ports"])
    mounted = [next(v for k, v in each.items() if k != "name") for each in spec["volumes"]]
    assert all(each == {} or each["defaultMode"] == 0o644 for each in mounted)


def test_the_operators_redis_is_named_where_the_sidecar_looks() -> None:
    resource = argocd_resource()
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    address = resource["spec"]["cmdParams"]["redis.server"]
    assert address == f"{name}-redis.{namespace}.svc.cluster.local:6379"
    secret = server("operator").mounts[f"{FOLDER}/secrets/argocd-redis"]["secret"]
    assert secret["secretName"] == f"{name}-redis-initial-password"
    assert secret["items"] == [{"key": "admin.password", "path": "auth"}]


def least() -> Server:
    values = yaml.safe_load((DEPLOY / "helm/values-least.yaml").read_text())["server"]
    pod = {"containers": values["extraContainers"], "volumes": values["volumes"]}
    return Server({"spec": {"template": {"spec": pod}}})


def test_the_least_that_works_is_fifteen_lines_and_reads_the_same_settings() -> None:
    lines = (DEPLOY / "helm/values-least.yaml").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == 15
    of_all = server("helm").mounts
    found = {path: source(volume) for path, volume in least().mounts.items()}
    assert found == {path: source(of_all[path]) for path in found}
    left_out = {ACCOUNT, f"{FOLDER}/argocd-rbac-cm", f"{FOLDER}/secrets/argocd-server-tls"}
    assert set(of_all) - set(found) == left_out
