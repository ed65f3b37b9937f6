"""deploy/ingress: each kind, each way of TLS. Custom resources have no schema but this."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.rendered import DEPLOY, Document

INGRESS = DEPLOY / "ingress"
HOST, GRPC_HOST = "argocd.example.org", "grpc.argocd.example.org"
WAYS = ("tls-ends", "tls-again", "tls-passes")
KINDS = ("alb", "f5-nginx", "gateway", "ingress-nginx", "istio", "traefik")
FILES = [INGRESS / kind / f"{way}.yaml" for kind in KINDS for way in WAYS]
VERSIONS = {
    "BackendTLSPolicy": "gateway.networking.k8s.io/v1",
    "ConfigMap": "v1",
    "DestinationRule": "networking.istio.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
    "Gateway": "networking.istio.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "Ingress": "networking.k8s.io/v1",
    "IngressRoute": "traefik.io/v1alpha1",
    "IngressRouteTCP": "traefik.io/v1alpha1",
    "ServersTransport": "traefik.io/v1alpha1",
    "Service": "v1",
    "TLSRoute": "gateway.networking.k8s.io/v1alpha2",
    "TransportServer": "k8s.nginx.org/v1",
    "VirtualService": "networking.istio.io/v1",
}
# Every field of the custom resources that is used, below `spec`; lists count as what is in them.
FIELDS = {
    "BackendTLSPolicy": """targetRefs.group targetRefs.kind targetRefs.name targetRefs.sectionName
        validation.hostname validation.caCertificateRefs.group validation.caCertificateRefs.kind
        validation.caCertificateRefs.name""",
    "DestinationRule": """host trafficPolicy.connectionPool.http.h2UpgradePolicy
        trafficPolicy.connectionPool.http.idleTimeout trafficPolicy.tls.mode trafficPolicy.tls.sni
        trafficPolicy.tls.subjectAltNames trafficPolicy.tls.credentialName""",
    "GRPCRoute": """parentRefs.name hostnames rules.backendRefs.name rules.backendRefs.port""",
    "Gateway": """selector.istio servers.hosts servers.port.number servers.port.name
        servers.port.protocol servers.tls.mode servers.tls.credentialName""",
    "HTTPRoute": """parentRefs.name hostnames rules.matches.path.type rules.matches.path.value
        rules.backendRefs.name rules.backendRefs.port rules.timeouts.request
        rules.timeouts.backendRequest""",
    "IngressRoute": """entryPoints routes.kind routes.match routes.priority routes.services.name
        routes.services.port routes.services.scheme routes.services.serversTransport
        tls.secretName""",
    "IngressRouteTCP": """entryPoints routes.match routes.services.name routes.services.port
        tls.passthrough""",
    "ServersTransport": "disableHTTP2 serverName rootCAs.secret",
    "TLSRoute": """parentRefs.name parentRefs.sectionName hostnames rules.backendRefs.name
        rules.backendRefs.port""",
    "TransportServer": """listener.name listener.protocol host upstreams.name upstreams.service
        upstreams.port sessionParameters.timeout action.pass""",
    "VirtualService": """hosts gateways http.match.headers.content-type.exact
        http.route.destination.host http.route.destination.port.number http.timeout
        tls.match.port tls.match.sniHosts tls.route.destination.host
        tls.route.destination.port.number""",
}


def documents(file: Path) -> list[Document]:
    return list(yaml.safe_load_all(file.read_text()))


def every_file() -> list[Path]:
    return sorted(INGRESS.rglob("*.yaml"))


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """The paths of what has no parts."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part, path)
    else:
        yield path


def backends(value: Any) -> Iterator[tuple[str, int]]:
    """The Services that a document leads to, each with its port."""
    if isinstance(value, dict):
        name = value.get("host", value.get("service", value.get("name")))
        port = value.get("port")
        if isinstance(port, dict):
            port = port.get("number")
        if isinstance(name, str) and name.startswith("argocd-server") and port is not None:
            yield name.partition(".")[0], port
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from backends(part)


def named(file: Path) -> str:
    return str(file.relative_to(INGRESS))


each_file = pytest.mark.parametrize("file", every_file(), ids=named)
each_way = pytest.mark.parametrize("file", FILES, ids=named)


@each_file
def test_each_document_is_of_a_version_that_is_there_with_fields_that_are(file: Path) -> None:
    for document in documents(file):
        kind = document["kind"]
        assert document["apiVersion"] == VERSIONS[kind]
        assert set(document["metadata"]) <= {"name", "namespace", "annotations", "labels"}
        if kind in FIELDS:
            assert set(leaves(document["spec"])) <= set(FIELDS[kind].split()), kind


@each_way
def test_it_leads_to_the_port_on_which_this_way_of_tls_is_spoken(file: Path) -> None:
    found = {each for document in documents(file) for each in backends(document.get("spec", {}))}
    if file == INGRESS / "alb/tls-passes.yaml":  # a Service itself
        assert documents(file)[0]["spec"]["ports"][0]["targetPort"] == 8080
        return

    browsers = {port for name, port in found if name == "argocd-server"}
    assert browsers == {80 if file.stem == "tls-ends" else 443}
    assert {port for name, port in found if name == "argocd-server-grpc"} <= {80}


@each_way
def test_it_is_for_the_hosts_of_the_page(file: Path) -> None:
    hosts = set(re.findall(r"[\w.]*argocd\.example\.org", file.read_text()))

    assert hosts <= {HOST, GRPC_HOST}
    assert HOST in hosts or file == INGRESS / "alb/tls-passes.yaml"


def test_only_grpc_goes_up_in_http2() -> None:
    text = (INGRESS / "traefik/tls-ends.yaml").read_text()
    (routes,) = (each["spec"]["routes"] for each in documents(INGRESS / "traefik/tls-ends.yaml"))
    by_scheme = {each["services"][0].get("scheme", "http"): each["match"] for each in routes}
    assert "application/grpc" in by_scheme["h2c"]
    assert "application/grpc" not in by_scheme["http"]
    assert text.count("h2c") == 1

    again = documents(INGRESS / "traefik/tls-again.yaml")
    speaks = {each["metadata"]["name"]: each["spec"].get("disableHTTP2") for each in again[1:]}
    assert speaks == {"argocd-http1": True, "argocd-http2": None}
    for route in again[0]["spec"]["routes"]:
        grpc = "application/grpc" in route["match"]
        transport = route["services"][0]["serversTransport"]
        assert transport == ("argocd-http2" if grpc else "argocd-http1")

    for way in ("tls-ends", "tls-again"):
        rule = documents(INGRESS / f"istio/{way}.yaml")[2]["spec"]
        assert rule["trafficPolicy"]["connectionPool"]["http"]["h2UpgradePolicy"] == (
            "DO_NOT_UPGRADE"
        )
        annotations = documents(INGRESS / f"alb/{way}.yaml")[0]["metadata"]["annotations"]
        assert annotations["alb.ingress.kubernetes.io/backend-protocol-version"] == "HTTP1"


def directives() -> dict[str, str]:
    """What the nginx that the tests run is told."""
    files = (INGRESS / "nginx/argocd-proxy.conf", INGRESS / "nginx/tls-ends.conf")
    found = (
        re.findall(r"^ *([a-z_]+) +([^;{]+);", each.read_text(), re.MULTILINE) for each in files
    )
    return {name: value for each in found for name, value in each}


def seconds(text: str) -> int:
    return int(text[:-1]) * 3600 if text.endswith("h") else int(text)


@pytest.mark.parametrize("way", ["tls-ends", "tls-again"])
def test_f5s_annotations_say_what_the_nginx_that_is_run_is_told(way: str) -> None:
    told = directives()
    annotations = documents(INGRESS / f"f5-nginx/{way}.yaml")[0]["metadata"]["annotations"]
    said = {name.removeprefix("nginx.org/"): value for name, value in annotations.items()}

    assert (said["proxy-buffering"], told["proxy_buffering"]) == ("false", "off")
    for name in ("proxy-buffer-size", "proxy-buffers", "proxy-read-timeout", "proxy-send-timeout"):
        assert said[name] == told[name.replace("-", "_")]
    assert said["client-max-body-size"] == told["client_max_body_size"]
    assert said["websocket-services"] == "argocd-server"
    assert (said.get("ssl-services") == "argocd-server") is (way == "tls-again")
    (configmap,) = documents(INGRESS / "f5-nginx/configmap.yaml")
    large = f"large_client_header_buffers {told['large_client_header_buffers']};\n"
    assert configmap["data"] == {"http-snippets": large}


@pytest.mark.parametrize("way", ["tls-ends", "tls-again"])
def test_ingress_nginxs_annotations_say_what_the_nginx_that_is_run_is_told(way: str) -> None:
    told = directives()
    annotations = documents(INGRESS / f"ingress-nginx/{way}.yaml")[0]["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/"
    said = {name.removeprefix(prefix): value for name, value in annotations.items()}

    for name in ("proxy-buffering", "proxy-request-buffering", "proxy-buffer-size"):
        assert said[name] == told[name.replace("-", "_")]
    assert f"{said['proxy-buffers-number']} {said['proxy-buffer-size']}" == told["proxy_buffers"]
    for name in ("proxy-read-timeout", "proxy-send-timeout"):
        assert seconds(said[name]) == seconds(told[name.replace("-", "_")])
    assert said["proxy-body-size"] == told["client_max_body_size"]
    assert said["backend-protocol"] == ("HTTP" if way == "tls-ends" else "HTTPS")
    (configmap,) = documents(INGRESS / "ingress-nginx/configmap.yaml")
    assert configmap["data"] == {"large-client-header-buffers": told["large_client_header_buffers"]}


def test_the_page_names_every_file_and_no_other() -> None:
    page = (DEPLOY.parent / "docs/ingress.md").read_text()
    linked = set(re.findall(r"\(\.\./deploy/ingress/([\w/.-]+)\)", page))
    there = {named(file) for file in every_file()}
    there |= {f"nginx/{file.name}" for file in (INGRESS / "nginx").iterdir()}

    assert linked == there
