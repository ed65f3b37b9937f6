"""Where requests, probes and metrics go, in each of the ways to install it."""

import re
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
import yaml

from tests.deploy.rendered import (
    DEPLOY,
    HELM,
    HERE,
    IN_PLACE,
    OPERATOR,
    OWN_PORT,
    Document,
    documents,
    kustomized,
    only,
    server,
)

pytestmark = pytest.mark.deploy


def stock(way: str) -> list[Document]:
    return kustomized(HERE / ("ha" if "ha" in way else "stock"))


def placeless(document: Document) -> Document:
    """Without the namespace that the case gives."""
    metadata = {k: v for k, v in document["metadata"].items() if k != "namespace"}
    return {**document, "metadata": metadata}


def key(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def changed(way: str) -> set[tuple[str, str]]:
    before = {key(each): each for each in stock(way)}
    after = {key(each): placeless(each) for each in documents(way)}
    assert set(before) <= set(after)
    return {name for name in after if after[name] != before.get(name)}


@pytest.mark.parametrize("way", IN_PLACE)
def test_in_place_only_the_deployment_and_its_network_policy_change(way: str) -> None:
    assert changed(way) == {
        ("Deployment", "argocd-server"),
        ("NetworkPolicy", "argocd-server-network-policy"),
    }


@pytest.mark.parametrize("way", OWN_PORT)
def test_a_port_of_its_own_leaves_the_rest_and_adds_a_service_and_an_ingress(way: str) -> None:
    assert changed(way) == {
        ("Deployment", "argocd-server"),
        ("Service", "argocd-token-refresh"),
        ("Ingress", "argocd-token-refresh"),
    }


@pytest.mark.parametrize("way", ["ha", "own-port-ha"])
def test_the_ha_manifests_keep_their_two_replicas(way: str) -> None:
    assert server(way).deployment["spec"]["replicas"] == 2
    assert {"name": "ARGOCD_API_SERVER_REPLICAS", "value": "2"} in server(way).argocd["env"]


@pytest.mark.parametrize("way", [*IN_PLACE, *HELM])
def test_in_place_the_service_leads_to_the_sidecar(way: str) -> None:
    service = only(documents(way), "Service", "argocd-server")
    # A Service's number is the pod's: there the sidecar listens, by default.
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {8080}
    assert not server(way).environment


@pytest.mark.parametrize("way", [*IN_PLACE, *HELM, *OPERATOR])
def test_in_place_argocd_server_moves_to_8090_of_all_addresses(way: str) -> None:
    container = server(way).argocd
    line = " ".join([*container.get("command", []), *container.get("args", [])]).replace("=", " ")
    words = line.split()
    ports = [after for word, after in pairwise(words) if word == "--port"]
    assert ports[-1] == "8090"
    # --address would put the metrics on loopback, too.
    assert "--address" not in words


@pytest.mark.parametrize("way", IN_PLACE)
def test_in_place_argocd_servers_probes_do_not_go_through_the_sidecar(way: str) -> None:
    container = server(way).argocd
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == 8090
    assert [port["containerPort"] for port in container["ports"]] == [8090, 8083]


@pytest.mark.parametrize("way", HELM)
def test_with_the_chart_a_fault_of_the_sidecar_takes_minutes_to_restart_argo_cd(way: str) -> None:
    probe = server(way).argocd["livenessProbe"]
    # What the chart does not let us change: the named port is its own container's, 8080.
    assert probe["httpGet"]["port"] == "server"
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 300


@pytest.mark.parametrize(
    ("way", "policy"),
    [(way, "argocd-server-network-policy") for way in IN_PLACE]
    + [("helm", "argocd-token-refresh")],
)
def test_from_outside_of_the_pod_argocd_servers_own_port_is_closed(way: str, policy: str) -> None:
    found = only(documents(way), "NetworkPolicy", policy)
    assert found["spec"]["policyTypes"] == ["Ingress"]
    (rule,) = found["spec"]["ingress"]
    assert rule == {"ports": [{"port": port, "protocol": "TCP"} for port in (8080, 8083, 9090)]}
    labels = server(way).deployment["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert found["metadata"]["namespace"] == "argocd"


@pytest.mark.parametrize("way", OWN_PORT)
def test_at_a_port_of_its_own_each_has_its_own(way: str) -> None:
    environment, found = server(way).environment, documents(way)
    listens = int(environment["SIDECAR_LISTEN"].removeprefix(":"))
    ours = only(found, "Service", "argocd-token-refresh")["spec"]
    theirs = only(found, "Service", "argocd-server")["spec"]
    assert {port["targetPort"] for port in ours["ports"]} == {listens}
    assert ours["selector"] == theirs["selector"]
    assert {port["targetPort"] for port in theirs["ports"]} == {8080}
    upstream = urlsplit(environment["SIDECAR_UPSTREAM"])
    assert (upstream.hostname, upstream.port) == ("127.0.0.1", 8080)
    assert "--port=8090" not in server(way).argocd["args"]
    assert listens in [port["containerPort"] for port in server(way).sidecar["ports"]]


def test_ingress_and_route_lead_to_the_sidecars_own_service() -> None:
    service = only(documents("own-port"), "Service", "argocd-token-refresh")
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    ingress = only(documents("own-port"), "Ingress", "argocd-token-refresh")
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    assert (backend["name"], backend["port"]["name"] in ports) == (
        service["metadata"]["name"],
        True,
    )
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]

    route = yaml.safe_load((DEPLOY / "own-port/httproute.yaml").read_text())
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"]["hostnames"] == [rule["host"]]
    assert all(set(parent) == {"name"} for parent in route["spec"]["parentRefs"])
    (only_rule,) = route["spec"]["rules"]
    assert only_rule["backendRefs"] == [
        {"name": service["metadata"]["name"], "port": ports["http"]}
    ]
    # An event stream lasts for hours: 0s is no limit.
    assert only_rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


def test_settings_image_and_another_secret_are_given_as_the_readme_says() -> None:
    readme = (DEPLOY / "kustomize/README.md").read_text()
    case = (HERE / "cases/with-settings/kustomization.yaml").read_text()
    for part in ("configMapGenerator:", "images:", "patches:"):
        block = re.split(r"\n(?=\S)", case[case.index(part) :])[0].strip()
        assert block in readme
    found = documents("with-settings")
    container = server("with-settings").sidecar
    name = container["envFrom"][0]["configMapRef"]["name"]
    assert only(found, "ConfigMap", name)["data"] == {"SIDECAR_LOG_LEVEL": "warning"}
    assert container["image"] == "images.example.org/argocd-token-refresh:0.1.0"
    folder = "/etc/argocd-token-refresh/argocd/secrets/my-oidc"
    assert server("with-settings").mounts[folder] == {"secret": {"secretName": "my-oidc"}}
