"""A bundled Dex, configured by Argo CD's settings alone."""

import math
from pathlib import Path

import pytest

from sidecar import edges
from sidecar.config import report
from sidecar.config.settings import Config
from sidecar.core.argocd_dex import client_secret
from sidecar.core.argocd_files import DEX_TLS_SECRET, Weight
from sidecar.core.provider_profiles import Provider
from tests.config.mounted import Installation
from tests.config.test_from_argocd import load, pem, stops

DEX = """
connectors:
- {type: github, id: github, config: {clientID: a, clientSecret: $dex.github.clientSecret}}
"""


@pytest.fixture
def argocd(tmp_path: Path) -> Installation:
    """A stock Argo CD whose logins go through the bundled Dex."""
    made = Installation(tmp_path)
    made.change("argocd-cm", {"oidc.config": None, "dex.config": DEX.encode()})
    return made


def params(argocd: Installation, **settings: str) -> None:
    """Give `argocd-cmd-params-cm` more keys; a `_` in one is a dot."""
    data = {key.replace("_", "."): value.encode() for key, value in settings.items()}
    argocd.change("argocd-cmd-params-cm", data)


def test_a_bundled_dex_needs_no_variable(argocd: Installation) -> None:
    config = load(argocd)

    assert config.argocd.findings == ()
    assert config.argocd.takes_over_logins
    assert config.issuer == "https://argocd.example.org/api/dex"
    assert config.issuer_internal_url == "https://argocd-dex-server:5556/api/dex"
    assert not config.provider_tls_verify
    assert config.client_id == "argo-cd"
    assert config.read_client_secret() == client_secret(b"hunter3")
    assert config.provider is Provider.DEX
    assert config.scopes == ("openid", "profile", "email", "groups", "federated:id")


def test_each_value_says_that_it_is_dexs(argocd: Installation) -> None:
    config = load(argocd)

    assert config.source("issuer") == "argocd-cm: dex.config"
    assert config.source("client_secret") == "argocd-secret: server.secretkey"
    assert config.source("issuer_internal_url") == "argocd-cmd-params-cm: server.dex.server"
    shown = report.as_text(config)
    assert client_secret(b"hunter3") not in shown
    assert "unter3" not in shown


def test_dex_below_a_root_path_is_reached_below_it(argocd: Installation) -> None:
    argocd.change("argocd-cm", {"url": b"https://example.org/argo"})
    params(
        argocd,
        server_rootpath="/argo",
        server_dex_server="dex:1",
        server_dex_server_plaintext="true",
    )

    config = load(argocd)

    assert config.issuer == "https://example.org/argo/api/dex"
    assert config.issuer_internal_url == "http://dex:1/argo/api/dex"
    assert config.provider_tls_verify


def test_strict_tls_checks_dex_by_its_own_secret(argocd: Installation, tmp_path: Path) -> None:
    params(argocd, server_dex_server_strict_tls="true")
    assert stops(load(argocd)).where == DEX_TLS_SECRET

    (tmp_path / "made").mkdir()
    authority = pem(tmp_path / "made")
    argocd.change(f"secrets/{DEX_TLS_SECRET}", {"ca.crt": authority.encode()})
    config = load(argocd)

    assert config.argocd.takes_over_logins
    assert config.provider_tls_verify
    assert config.provider_ca == authority
    argocd.change(f"secrets/{DEX_TLS_SECRET}", {"ca.crt": b"not a certificate"})
    assert stops(load(argocd)).where == DEX_TLS_SECRET
    assert load(argocd, SIDECAR_PROVIDER_TLS_VERIFY="off").argocd.takes_over_logins


def test_a_variable_says_where_dex_is_and_whether_it_is_checked(argocd: Installation) -> None:
    own = {"SIDECAR_ISSUER_INTERNAL_URL": "https://dex.sso:5556/api/dex"}
    config = load(argocd, **own)

    assert config.issuer_internal_url == "https://dex.sso:5556/api/dex"
    assert config.provider_tls_verify
    assert load(argocd, SIDECAR_PROVIDER_TLS_VERIFY="on").provider_tls_verify
    assert load(argocd, SIDECAR_SCOPES="openid").scopes == ("openid",)


def test_a_client_of_the_environments_has_nothing_from_dex(argocd: Installation) -> None:
    own = {"SIDECAR_ISSUER": "https://idp.example.org", "SIDECAR_CLIENT_ID": "a"}
    config = load(argocd, **own)

    assert config.read_client_secret() == ""
    assert config.issuer_internal_url is None
    assert config.provider is Provider.AUTO
    assert load(argocd, SIDECAR_CLIENT_ID="b").read_client_secret() == ""


def test_dex_sends_people_back_to_addresses_that_argo_cd_has_told_it_and_to_no_other(
    argocd: Installation,
) -> None:
    other = {"SIDECAR_PUBLIC_URL": "https://other.example.org"}
    found = stops(load(argocd, **other))
    assert found.where == "argocd-cm: url"
    assert "'https://other.example.org'" in found.sentence
    added = {"SIDECAR_ADDITIONAL_URLS": "https://argocd.example.org,https://other.example.org"}
    assert stops(load(argocd, **added)).where == "argocd-cm: url"

    argocd.change("argocd-cm", {"additionalUrls": b"[https://other.example.org/]"})

    config = load(argocd, **other)
    assert config.argocd.takes_over_logins
    assert config.issuer == "https://argocd.example.org/api/dex"
    assert load(argocd).additional_urls == ("https://other.example.org",)


@pytest.mark.parametrize("url", [None, b"argocd.example.org"])
def test_without_a_usable_url_there_is_no_issuer_and_the_one_fault_is_said_once(
    argocd: Installation, url: bytes | None
) -> None:
    argocd.change("argocd-cm", {"url": url})

    assert stops(load(argocd)).where == "argocd-cm: url"


def test_without_the_servers_key_logins_stay_with_argo_cd(argocd: Installation) -> None:
    argocd.change("argocd-secret", {"server.secretkey": None})

    found = stops(load(argocd, SIDECAR_SESSION_KEYS="a:" + "A" * 43 + "="))

    assert found.where == "argocd-cm: dex.config"
    assert "server.secretkey" in found.sentence


def test_a_connector_that_cannot_refresh_is_said_and_stops_nothing(argocd: Installation) -> None:
    argocd.change("argocd-cm", {"dex.config": DEX.encode() + b"- {type: saml, id: okta}\n"})

    config = load(argocd)

    assert config.argocd.takes_over_logins
    assert [found.weight for found in config.argocd.findings] == [Weight.NOTE]
    assert "okta (saml), to which Dex gives no refresh token" in report.as_text(config)


def test_logins_go_to_the_connector_that_argo_cd_names(argocd: Installation) -> None:
    assert load(argocd).argocd.authorization == ()

    argocd.change("argocd-cm", {"dex.auth.connectorId": b"github"})

    assert load(argocd).argocd.authorization == (("connector_id", "github"),)


@pytest.mark.parametrize(
    ("expiry", "seconds"),
    [
        ("", 0.0),
        ("reuseInterval: 30s", 30.0),
        ("disableRotation: true", math.inf),
    ],
)
def test_a_spent_refresh_token_is_used_again_as_long_as_dex_takes_it(
    argocd: Installation, expiry: str, seconds: float
) -> None:
    more = f"expiry: {{refreshTokens: {{{expiry}}}}}\n"
    argocd.change("argocd-cm", {"dex.config": (DEX + more).encode()})

    profile = edges.provider_profile(load(argocd))

    assert profile
    assert profile.provider is Provider.DEX
    assert profile.reuse_window_seconds == seconds


def test_another_provider_keeps_its_own_reuse_window(argocd: Installation) -> None:
    config = load(
        argocd, SIDECAR_ISSUER="https://a", SIDECAR_CLIENT_ID="b", SIDECAR_PROVIDER="okta"
    )

    profile = edges.provider_profile(config)

    assert profile
    assert profile.reuse_window_seconds == 30
    assert edges.provider_profile(Config()) is None
