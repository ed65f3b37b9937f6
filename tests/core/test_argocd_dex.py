"""`dex.config`, as Argo CD makes the bundled Dex's configuration of it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.argocd_config import ArgoCdConfig, read_argocd_config
from sidecar.core.argocd_dex import (
    CANNOT_REFRESH,
    CLIENT_ID,
    SCOPES,
    Dex,
    client_secret,
    is_on,
    read_dex,
    server_address,
)
from sidecar.core.argocd_files import DEX_TLS_SECRET, ArgoCdFiles, Finding, Secret, Weight

GITHUB = """
connectors:
- type: github
  id: github
  name: GitHub
  config: {clientID: aabbcc, clientSecret: $dex.github.clientSecret}
"""
SAML = """
- type: saml
  id: okta-saml
  name: Okta
  config: {ssoURL: "https://okta.example.org/hunter2", caData: hunter2}
"""


def read(
    text: str = GITHUB,
    *,
    params: dict[str, bytes] | None = None,
    secret: dict[str, bytes] | None = None,
    others: dict[str, Secret] | None = None,
    **cm: str,
) -> ArgoCdConfig:
    """What Argo CD's files say; a `_` in a key of `argocd-cm` is a dot."""
    data = {"url": "https://argocd.example.org", "dex.config": text}
    data |= {key.replace("_", "."): value for key, value in cm.items()}
    return read_argocd_config(
        ArgoCdFiles(
            {key: value.encode() for key, value in data.items()},
            {"server.secretkey": b"key"} if secret is None else secret,
            params,
            others or {},
        )
    )


def dex(text: str = GITHUB, **options: object) -> Dex:
    """The bundled Dex that these files make."""
    found = read(text, **options)  # type: ignore[arg-type]
    assert found.dex is not None, found.findings
    return found.dex


def finding(found: ArgoCdConfig) -> Finding:
    """The one finding."""
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


# --- what Argo CD makes of it


def test_a_stock_dex_config_is_read_without_a_finding() -> None:
    found = read()

    assert found.findings == ()
    assert found.oidc is None
    assert found.dex is not None
    assert found.dex.issuer == "https://argocd.example.org/api/dex"
    assert found.dex.server == "https://argocd-dex-server:5556"
    assert not found.dex.strict_tls


def test_the_client_secret_is_the_one_that_argo_cd_derives() -> None:
    # Of `printf %s "$key" | openssl dgst -sha256 -binary | basenc --base64url`, the first 40.
    assert client_secret(b"Yv2D...a key") == "i02uqf6kEpvShjYLe3VxzYYy-ShNAA1D9LjvGHkW"
    assert dex().client_secret == client_secret(b"key")
    assert client_secret(b"key") not in repr(dex())


def test_the_issuer_is_the_url_as_it_stands() -> None:
    # Argo CD and Dex put the two together without a look; a token says the same.
    assert dex(url="https://a.example/argo").issuer == "https://a.example/argo/api/dex"
    assert dex(url="https://a.example/").issuer == "https://a.example//api/dex"


@pytest.mark.parametrize(
    ("server", "plaintext", "address"),
    [
        ("", False, "https://argocd-dex-server:5556"),
        ("", True, "http://argocd-dex-server:5556"),
        ("dex.sso:5556", False, "https://dex.sso:5556"),
        ("http://dex.sso:5556", False, "http://dex.sso:5556"),
        ("https://dex.sso:5556/path", True, "https://dex.sso:5556"),
    ],
)
def test_the_address_of_dex_is_read_as_argo_cd_reads_it(
    server: str, plaintext: bool, address: str
) -> None:
    assert server_address(server, plaintext=plaintext) == address
    params = {"server.dex.server": server.encode()}
    params["server.dex.server.plaintext"] = str(plaintext).lower().encode()
    assert dex(params=params).server == address


def test_a_strict_check_goes_by_the_secret_that_argo_cd_mounts() -> None:
    params = {"server.dex.server.strict.tls": b"true"}
    secret = {"ca.crt": b"an authority", "tls.crt": b"a certificate"}

    found = dex(params=params, others={DEX_TLS_SECRET: Secret(secret)})

    assert found.strict_tls
    assert found.authority == "an authority"
    del secret["ca.crt"]
    assert dex(others={DEX_TLS_SECRET: Secret(secret)}).authority == "a certificate"
    assert dex(params=params).authority == ""


def test_logins_go_to_the_connector_that_is_named_if_it_is_there() -> None:
    assert dex(dex_auth_connectorId="github").connector_id == "github"
    found = read(dex_auth_connectorId="gitlab")
    assert found.dex is not None
    assert found.dex.connector_id == ""
    assert finding(found).weight is Weight.NOTE


def test_oidc_config_goes_before_it() -> None:
    found = read(oidc_config="issuer: https://idp\nclientID: a")

    assert found.dex is None
    assert found.oidc is not None
    assert found.findings == ()


def test_a_broken_oidc_config_does_not_send_logins_to_dex() -> None:
    found = read(oidc_config="issuer: [")

    assert found.dex is None
    assert finding(found).where == "argocd-cm: oidc.config"


def test_without_the_key_that_its_secret_is_derived_from_logins_stay_with_argo_cd() -> None:
    read_without = read(secret={})
    found = finding(read_without)

    assert read_without.dex is not None
    assert read_without.dex.client_secret == ""
    assert found.weight is Weight.BROKEN
    assert "server.secretkey" in found.sentence


# --- its lifetimes


def test_rotation_and_lifetimes_are_read_as_dex_reads_them() -> None:
    found = read_dex(
        f"{GITHUB}expiry:\n  idTokens: 1h30m\n  refreshTokens: {{reuseInterval: 30s}}\n"
    )

    assert found.id_token_seconds == 5400
    assert found.reuse_seconds == 30
    assert read_dex(GITHUB).reuse_seconds == 0
    unrotated = f"{GITHUB}expiry: {{refreshTokens: {{disableRotation: true}}}}"
    assert read_dex(unrotated).reuse_seconds == math.inf


@pytest.mark.parametrize("value", ["30", "-3s", "3 s", '""', "1d", "[3s]", "3.s"])
def test_a_length_that_is_none_counts_for_nothing(value: str) -> None:
    found = read_dex(f"{GITHUB}expiry: {{refreshTokens: {{reuseInterval: {value}}}}}")

    assert found.reuse_seconds == 0


def test_grants_that_leave_out_refreshing_are_said() -> None:
    off = f"{GITHUB}oauth2: {{grantTypes: [authorization_code]}}"

    assert "refresh_token" in finding(read(off)).sentence
    assert (
        read(f"{GITHUB}oauth2: {{grantTypes: [authorization_code, refresh_token]}}").findings == ()
    )
    assert read(f"{GITHUB}oauth2: {{skipApprovalScreen: false}}").findings == ()


# --- connectors that cannot refresh


@pytest.mark.parametrize("kind", ["saml", "oauth", "authproxy"])
def test_a_connector_that_cannot_refresh_is_said_plainly(kind: str) -> None:
    found = finding(read(f"connectors:\n- {{type: {kind}, id: corp}}\n"))

    assert found.weight is Weight.NOTE
    assert found.where == "argocd-cm: dex.config: connectors"
    assert f"corp ({kind}), to which Dex gives no refresh token" in found.sentence
    assert "other connectors" not in found.sentence


def test_of_several_connectors_those_that_can_are_told_from_those_that_cannot() -> None:
    found = read(GITHUB + SAML)

    assert found.dex is not None
    assert [str(each) for each in found.dex.connectors] == [
        "github (github)",
        "okta-saml (saml)",
    ]
    said = finding(found).sentence
    assert "okta-saml (saml)" in said
    assert "github (github)" not in said
    assert "those of the other connectors are renewed" in said


def test_passwords_of_dexs_own_can_be_renewed() -> None:
    found = read("connectors: []\nenablePasswordDB: true\n")

    assert found.findings == ()
    assert found.dex is not None
    assert found.dex.without_refresh == ()


def test_a_connector_that_nobody_knows_is_not_talked_about() -> None:
    assert read("connectors: [{type: homemade, id: a}]").findings == ()


def test_an_id_is_shown_short_and_without_what_a_terminal_would_act_on() -> None:
    name = "a\\e[31m" + "b" * 500

    said = finding(read(f'connectors: [{{type: saml, id: "{name}"}}]')).sentence

    assert "\x1b" not in said
    assert len(said) < 400


# --- what no Dex starts with


@pytest.mark.parametrize(
    "text",
    [
        "connectors: []",
        "connectors: {}",
        "expiry: {idTokens: 5m}",
        "connectors: [github]",
        "connectors: [{id: github}]",
        "connectors: [{type: 3}]",
        "hunter2",
        "- hunter2",
        "connectors: [hunter2",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n",
    ],
)
def test_what_no_dex_starts_with_keeps_logins_with_argo_cd(text: str) -> None:
    found = read(text)

    assert found.dex is None
    assert finding(found).weight is Weight.BROKEN
    assert finding(found).where == "argocd-cm: dex.config"
    assert "hunter2" not in finding(found).sentence


@given(st.text(max_size=200) | st.text(alphabet="abc:[]{}-&*\n $\"'", max_size=60))
def test_whatever_stands_there_is_read_or_said_to_be_wrong(text: str) -> None:
    found = read(text)

    assert found.dex is not None or found.findings


@pytest.mark.parametrize(
    ("text", "on"),
    [
        *((text, True) for text in ("1", "t", "T", "true", "TRUE", "True")),
        *((text, False) for text in ("", "0", "f", "false", "tRUE", "yes", " true", "10")),
    ],
)
def test_a_switch_is_read_as_go_reads_it(text: str, on: bool) -> None:
    assert is_on(text) is on


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- a", "is no mapping of keys to values"),
        ("{}", "is no mapping of keys to values"),
        ("connectors: {}", "has no list of connectors"),
        ("connectors: []", "has no connector"),
        ("connectors: [github]", "has a connector without a type"),
        ("connectors: [", "is no YAML (line 1)"),
    ],
)
def test_what_no_dex_starts_with_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) ") as raised:
        read_dex(text)

    assert str(raised.value) == why


def test_argo_cd_is_this_client_at_its_dex_and_asks_for_these_scopes() -> None:
    assert CLIENT_ID == "argo-cd"
    assert SCOPES == ("openid", "profile", "email", "groups", "federated:id")
    assert set(CANNOT_REFRESH) == {"saml", "oauth", "authproxy"}


@pytest.mark.parametrize(
    ("length", "seconds"),
    [
        ("1h", 3600), ("2m", 120), ("3s", 3), ("4ms", 0.004), ("5us", 5e-6), ("6µs", 6e-6),
        ("7ns", 7e-9), ("1h2m3.5s", 3723.5), ("1.25h", 4500), ("0s", 0), ("123456789s", 123456789),
    ],
)  # fmt: skip
def test_a_length_is_read_as_go_reads_it(length: str, seconds: float) -> None:
    found = read_dex(f"{GITHUB}expiry: {{idTokens: {length}}}")

    assert found.id_token_seconds == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("length", ["1234567890s", "1.1234567890s", "1H", "1S", "1sX", "X1s"])
def test_a_length_that_go_would_not_read_is_none(length: str) -> None:
    assert read_dex(f"{GITHUB}expiry: {{idTokens: {length}}}").id_token_seconds is None


def test_a_connector_is_shown_by_64_printable_characters_of_its_id() -> None:
    ids = ["a" * 70, "\x07", 7]
    text = f"connectors: {json.dumps([{'type': 'saml', 'id': each} for each in ids])}"

    assert [str(each) for each in read_dex(text).connectors] == [
        f"{'a' * 64} (saml)",
        "without an id (saml)",
        "without an id (saml)",
    ]
