import pytest

from sidecar.config import report
from sidecar.config.settings import Config
from sidecar.core.upstream_kinds import UpstreamKind
from sidecar.errors import ConfigurationError

LEAST = {
    "SIDECAR_UPSTREAM_KIND": "argo-workflows",
    "SIDECAR_PUBLIC_URL": "https://workflows.example.org/argo",
}


def faults(**more: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        Config.load({**LEAST, **more})
    return str(error.value)


def test_the_kind_and_the_public_url_are_enough() -> None:
    config = Config.load(LEAST)

    assert config.upstream_kind is UpstreamKind.ARGO_WORKFLOWS
    assert (config.upstream, config.upstream_tls_verify) == ("https://127.0.0.1:2746", False)
    assert config.sso_renewal
    assert config.root_path == "/argo"
    assert not config.argocd.takes_over_logins
    assert config.argocd.leaves_logins


def test_in_a_pod_no_store_and_no_keys_are_asked_for() -> None:
    assert Config.load({**LEAST, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}).argocd.leaves_logins


def test_another_upstream_is_checked_as_it_says() -> None:
    config = Config.load({**LEAST, "SIDECAR_UPSTREAM": "https://argo-server:2746"})

    assert config.upstream_tls_verify


def test_without_a_public_url_the_fault_says_what_to_write() -> None:
    with pytest.raises(ConfigurationError) as error:
        Config.load({"SIDECAR_UPSTREAM_KIND": "argo-workflows"})

    assert "SIDECAR_PUBLIC_URL is missing" in str(error.value)
    assert "--base-href" in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIDECAR_ISSUER", "https://idp.example.org"),
        ("SIDECAR_CLIENT_ID", "argo"),
        ("SIDECAR_CLIENT_SECRET", "secret-of-argo-workflows"),
        ("SIDECAR_STORE_URL", "redis://redis:6379/0"),
        ("SIDECAR_SESSION_KEYS", "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("SIDECAR_COOKIE_MODE", "mirror"),
        ("SIDECAR_LOGIN", "observed"),
        ("SIDECAR_ARGOCD_CONFIG_SOURCE", "kubernetes"),
    ],
)
def test_what_is_not_used_is_a_fault_with_its_mend_and_without_its_value(
    name: str, value: str
) -> None:
    said = faults(**{name: value})

    assert name in said
    assert "Take it out beside SIDECAR_UPSTREAM_KIND=argo-workflows" in said
    assert "secret-of-argo-workflows" not in said


def test_the_report_says_whose_the_logins_are() -> None:
    assert "logins: the upstream's own" in report.as_text(Config.load(LEAST))


@pytest.mark.parametrize(
    ("name", "value"), [("SIDECAR_SSO_RENEWAL", "off"), ("SIDECAR_ACCOUNT_TOKENS_DIR", "/tmp")]
)
def test_what_is_for_it_alone_is_a_fault_elsewhere(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Config.load({name: value})

    assert f"{name} is for Argo Workflows" in str(error.value)


def test_for_other_upstreams_nothing_changes() -> None:
    with pytest.raises(ConfigurationError) as error:
        Config.load({"SIDECAR_UPSTREAM_KIND": "argocd"})

    assert "SIDECAR_ISSUER is missing" in str(error.value)
