import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.settings import Config
from sidecar.config.values import CookieMode, LoginMode
from sidecar.config.variables import ARGOCD_CONFIG_DIR
from sidecar.core.upstream_kinds import UpstreamKind
from sidecar.errors import ConfigurationError
from tests.config.mounted import Installation, mount, swap
from tests.fakes.devtron import DevtronSettings

DOCS = Path(__file__).parents[2] / "docs" / "devtron.md"
URL = "https://devtron.example.org/orchestrator"
DEVTRON = DevtronSettings(url=URL, dex="http://dex:5556")
SECRET = {
    "url": URL.encode(),
    "server.secretkey": DEVTRON.server_secret.encode(),
    "dex.config": b"connectors: []",
    "ADMIN_PASSWORD": b"hunter2",
}
LEAST = {
    "SIDECAR_UPSTREAM_KIND": "devtron",
    "SIDECAR_LOGIN": "observed",
    "SIDECAR_DEX_UPSTREAM": "http://argocd-dex-server.devtroncd:5556",
    "SIDECAR_STORE_URL": "redis://redis:6379/0",
}


def mounted(folder: Path, data: dict[str, bytes] | None = None) -> dict[str, str]:
    """The variables of a sidecar beside which `devtron-secret` is mounted."""
    mount(folder / "secrets" / "devtron-secret", SECRET if data is None else data)
    return {**LEAST, "SIDECAR_ARGOCD_CONFIG_DIR": str(folder)}


def faults(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as raised:
        Config.load(environ)
    return raised.value.faults


def findings(config: Config) -> list[str]:
    return [str(finding) for finding in config.argocd.findings]


def test_devtrons_own_secret_is_enough(tmp_path: Path) -> None:
    config = Config.load(mounted(tmp_path))

    assert config.upstream_kind is UpstreamKind.DEVTRON
    assert config.login is LoginMode.OBSERVED
    assert config.public_url == URL
    assert config.root_path == "/orchestrator"
    assert config.issuer == DEVTRON.issuer
    assert config.client_id == "argo-cd"
    assert config.read_client_secret() == DEVTRON.client_secret
    assert config.cookie_mode is CookieMode.MIRROR
    assert not config.http2
    assert config.argocd.takes_over_logins
    assert config.issuer_internal_url == (
        "http://argocd-dex-server.devtroncd:5556/orchestrator/api/dex"
    )
    assert config.source("issuer_internal_url") == "SIDECAR_DEX_UPSTREAM"
    assert config.source("public_url") == "devtron-secret: url"
    assert config.source("client_secret") == "devtron-secret: server.secretkey"


def test_the_keys_follow_from_devtrons_secret_and_change_with_it(tmp_path: Path) -> None:
    environ = mounted(tmp_path)
    before = Config.load(environ)
    seen = before.watched()

    swap(
        tmp_path / "secrets" / "devtron-secret",
        {**SECRET, "server.secretkey": b"another"},
    )
    after = Config.load(environ)

    assert before.session_keys
    assert after.session_keys
    assert before.session_keys[0].id != after.session_keys[0].id
    assert seen != after.watched()


def test_variables_win_over_devtrons_secret(tmp_path: Path) -> None:
    config = Config.load(
        {
            **mounted(tmp_path),
            "SIDECAR_CLIENT_ID": "devtron",
            "SIDECAR_CLIENT_SECRET": "mine",
            "SIDECAR_PUBLIC_URL": "https://other.example.org/orchestrator",
        }
    )

    assert config.client_id == "devtron"
    assert config.read_client_secret() == "mine"
    assert config.public_url == "https://other.example.org/orchestrator"


def test_the_derived_secret_goes_to_no_other_issuer(tmp_path: Path) -> None:
    config = Config.load({**mounted(tmp_path), "SIDECAR_ISSUER": "https://other.example.org"})

    assert config.read_client_secret() == ""


def test_a_connector_that_cannot_refresh_is_worth_a_note(tmp_path: Path) -> None:
    saml = b"connectors: [{id: okta, type: saml, config: {ssoURL: hunter2}}]"

    config = Config.load(mounted(tmp_path, {**SECRET, "dex.config": saml}))

    (found,) = findings(config)
    assert found.startswith("devtron-secret: dex.config has okta (saml)")
    assert config.argocd.takes_over_logins
    assert "hunter2" not in found


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"connectors: 7"])
def test_what_dex_cannot_read_either_stops_nothing_here(tmp_path: Path, text: bytes) -> None:
    config = Config.load(mounted(tmp_path, {**SECRET, "dex.config": text}))

    assert config.argocd.takes_over_logins
    assert not findings(config)


def test_a_secret_that_cannot_be_seen_stops_no_start(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()

    config = Config.load({**LEAST, "SIDECAR_ARGOCD_CONFIG_DIR": str(tmp_path)})

    assert not config.argocd.takes_over_logins
    assert findings(config) == ["devtron-secret cannot be seen. Mount it at secrets/devtron-secret"]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("url", b"", "is missing. Save the single sign-on settings in Devtron once"),
        ("url", b"devtron", "is not the address of a site"),
        ("url", b"\xff", "is no UTF-8 text"),
        ("server.secretkey", b"", "is not there (yet). Devtron makes it when it starts"),
    ],
)
def test_what_is_wrong_in_it_is_said_and_logins_stay_devtrons(
    tmp_path: Path, key: str, value: bytes, says: str
) -> None:
    config = Config.load(mounted(tmp_path, {**SECRET, key: value}))

    assert not config.argocd.takes_over_logins
    (found,) = findings(config)
    assert found.startswith(f"devtron-secret: {key} ")
    assert says in found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SIDECAR_LOGIN": "own"}, "SIDECAR_LOGIN is not observed"),
        ({"SIDECAR_COOKIE_MODE": "opaque"}, "SIDECAR_COOKIE_MODE is not mirror"),
        ({"SIDECAR_HTTP2": "on"}, "SIDECAR_HTTP2 is not off"),
        ({"SIDECAR_DEX_UPSTREAM": ""}, "SIDECAR_DEX_UPSTREAM is missing"),
        (
            {"SIDECAR_ARGOCD_CONFIG_SOURCE": "kubernetes"},
            "SIDECAR_ARGOCD_CONFIG_SOURCE is kubernetes, which is for Argo CD",
        ),
    ],
)
def test_settings_that_cannot_work_with_devtron_stop_the_start(
    tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    environ = {k: v for k, v in {**mounted(tmp_path), **changes}.items() if v}

    found = faults(environ)

    assert any(line.startswith(says) for line in found), found


def test_observed_logins_need_the_real_dex_with_argo_cd_too() -> None:
    own = {
        "SIDECAR_PUBLIC_URL": "https://argocd.example.org",
        "SIDECAR_ISSUER": "https://argocd.example.org/api/dex",
        "SIDECAR_CLIENT_ID": "argo-cd",
        "SIDECAR_LOGIN": "observed",
    }

    (fault,) = faults(own)

    assert fault.startswith("SIDECAR_DEX_UPSTREAM is missing")


def test_an_address_that_is_set_counts_more_than_where_dex_is(tmp_path: Path) -> None:
    internal = "http://dex.sso.svc/dex"

    config = Config.load({**mounted(tmp_path), "SIDECAR_ISSUER_INTERNAL_URL": internal})

    assert config.issuer_internal_url == internal


def test_without_a_folder_all_has_to_be_said() -> None:
    found = faults(LEAST)

    for name in ("PUBLIC_URL", "ISSUER", "CLIENT_ID", "SESSION_KEYS"):
        assert any(line.startswith(f"SIDECAR_{name} is missing") for line in found), found


def test_a_pod_must_say_where_sessions_are_kept(tmp_path: Path) -> None:
    environ = {**mounted(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    del environ["SIDECAR_STORE_URL"]

    (fault,) = faults(environ)

    assert fault.startswith("SIDECAR_STORE_URL is missing")


def documented() -> list[Any]:
    """The YAML documents of the page, in order."""
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return [document for block in blocks for document in yaml.safe_load_all(block)]


def test_the_page_about_devtron_shows_settings_that_work_together(tmp_path: Path) -> None:
    deployment, service, values = documented()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (volume,) = container["volumeMounts"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    environ = {each["name"]: each["value"] for each in container["env"]}

    config = Config.load({**mounted(tmp_path), **environ})

    assert volume["mountPath"] == f"{ARGOCD_CONFIG_DIR}/secrets/devtron-secret"
    assert ports == {
        "http": config.listen.port,
        "dex": config.dex_listen.port,
        "admin": config.admin_listen.port,
    }
    assert config.dex_listen.host is None
    dex = values["components"]["devtron"]["customOverrides"]
    at = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert dex["DEX_HOST"] == f"http://{service['metadata']['name']}.devtroncd"
    assert int(dex["DEX_PORT"]) == at["dex"]


def test_argo_cds_bundled_dex_is_asked_where_it_really_is(tmp_path: Path) -> None:
    """For Argo CD, the sidecar is at the address of its Dex."""
    dex = b"connectors: [{id: github, type: github, config: {}}]"
    argocd = Installation(tmp_path)
    argocd.change(
        "argocd-cm", {"url": b"https://cd.example.org", "oidc.config": None, "dex.config": dex}
    )
    argocd.change(
        "argocd-cmd-params-cm",
        {"server.dex.server": b"http://localhost:5556", "server.dex.server.plaintext": b"true"},
    )

    config = Config.load(
        {
            **argocd.environment,
            "SIDECAR_LOGIN": "observed",
            "SIDECAR_DEX_UPSTREAM": "https://argocd-dex-server:5556",
            "SIDECAR_PROVIDER_TLS_VERIFY": "off",
        }
    )

    assert config.argocd.takes_over_logins
    assert config.issuer == "https://cd.example.org/api/dex"
    assert config.client_id == "argo-cd"
    assert config.issuer_internal_url == "https://argocd-dex-server:5556/api/dex"
    assert config.cookie_mode is CookieMode.OPAQUE
