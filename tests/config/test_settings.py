import atexit
import base64
import os
import tempfile
from dataclasses import FrozenInstanceError, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.environment import variable
from sidecar.config.machine_rules import read_machine_rules
from sidecar.config.provider_values import Resolve
from sidecar.config.settings import Config
from sidecar.config.values import ArgoCdConfigSource, CookieMode, Listen, LoginMode, LogLevel
from sidecar.config.variables import VARIABLES
from sidecar.core.authorization import OfflineAccess
from sidecar.core.client_authentication import ClientAuth, Credentials
from sidecar.core.provider_profiles import Provider
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.timings import Timings
from sidecar.core.upstream_kinds import UpstreamKind
from sidecar.errors import ConfigurationError
from tests.proxy.certificates import self_signed
from tests.system.client_keys import ec_key, pem

KEY = base64.b64encode(b"hunter2-" * 4).decode()
SECRET = "hunter2"
LEAST = {
    "SIDECAR_PUBLIC_URL": "https://argocd.example.org",
    "SIDECAR_ISSUER": "https://idp.example.org",
    "SIDECAR_CLIENT_ID": "argocd",
}


def load(**changes: str) -> Config:
    return Config.load({**LEAST, **changes})


def faults(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as raised:
        Config.load(environ)
    assert str(raised.value) == "\n".join(raised.value.faults)
    return raised.value.faults


def fault(**changes: str) -> str:
    """The one fault that these variables make."""
    found = faults({**LEAST, **changes})
    assert len(found) == 1, found
    return found[0]


# --- values


def test_three_variables_are_enough_on_a_developers_machine() -> None:
    config = load()

    assert config.public_url == "https://argocd.example.org"
    assert config.issuer == "https://idp.example.org"
    assert config.provider is Provider.AUTO
    assert config.client_id == "argocd"
    assert config.read_client_secret() == ""
    assert config.listen == Listen(None, 8080)
    assert config.upstream == "http://127.0.0.1:8090"
    assert config.tls_cert_file is config.tls_key_file is None
    assert config.http2
    assert config.upstream_tls_verify
    assert config.upstream_tls_ca_file is config.upstream_tls_server_name is None
    assert config.websocket_origins is None
    assert config.max_body_size is None
    assert config.trusted_proxies is None
    assert (config.max_logins_per_address, config.max_sessions_per_user) == (600, 20)
    assert (config.max_connections, config.max_head_size) == (10_000, 64 * 1024)
    assert (config.head_timeout, config.idle_timeout) == (15.0, 120.0)
    assert (config.max_header_fields, config.body_timeout) == (256, 60.0)
    assert config.admin_listen == Listen(None, 9090)
    assert config.machine_rules is None
    assert config.scopes == ("openid", "profile", "email", "groups")
    assert config.groups_claims == ("groups",)
    assert config.offline_access is OfflineAccess.AUTO
    assert config.store_url == "memory://"
    assert config.session_keys is None
    assert config.refresh_window == RefreshWindow(share=0.25)
    assert not config.provider_logout
    assert config.background_renewal is Background.ACTIVE
    assert config.min_token_life == 30.0
    assert config.session_idle_timeout == 72 * 3600.0
    assert config.session_max_lifetime == 168 * 3600.0
    assert config.store_grace == 300.0
    assert config.timings == Timings()
    assert config.cookie_mode is CookieMode.OPAQUE
    assert config.log_level is LogLevel.INFO
    assert config.audit_log == "stdout"
    assert config.tracing is False


_FOLDER = tempfile.TemporaryDirectory()
atexit.register(_FOLDER.cleanup)
PAIR = Path(_FOLDER.name)
self_signed(PAIR, "argocd.example.org")
RULES_TEXT = """
issuers: [{name: idp, issuer: "https://idp.example.org", audiences: argocd}]
rules: [{name: all, if: "true", token_file: /run/token}]
"""
(PAIR / "rules.yaml").write_text(RULES_TEXT)
RULES = replace(read_machine_rules(RULES_TEXT), path=str(PAIR / "rules.yaml"))
GOOD: dict[str, tuple[str, Any]] = {
    "argocd_config_dir": (str(PAIR), PAIR),
    "argocd_config_source": ("folder", ArgoCdConfigSource.FOLDER),
    "argocd_namespace": ("argocd-2", "argocd-2"),
    "public_url": ("https://Argo.example.org/argo/", "https://argo.example.org/argo"),
    "issuer": ("https://idp.example.org/", "https://idp.example.org/"),
    "issuer_aliases": (
        "https://sts.example.org/{tenantid}/, idp",
        ("https://sts.example.org/{tenantid}/", "idp"),
    ),
    "issuer_internal_url": ("http://dex.sso.svc:5556/dex/", "http://dex.sso.svc:5556/dex"),
    "discovery_url": ("http://dex/oidc?tenant=a", "http://dex/oidc?tenant=a"),
    "authorization_endpoint": ("https://idp.example.org/login", "https://idp.example.org/login"),
    "token_endpoint": ("http://dex/token", "http://dex/token"),
    "jwks_uri": ("http://dex/keys", "http://dex/keys"),
    "revocation_endpoint": ("http://dex/revoke", "http://dex/revoke"),
    "end_session_endpoint": ("https://idp.example.org/bye", "https://idp.example.org/bye"),
    "userinfo_endpoint": ("http://dex/me", "http://dex/me"),
    "resolve": (
        "Idp.example.org:443=10.0.0.5, a:80=b:8080 c:443=[fd00::1]",
        (
            Resolve("idp.example.org", 443, "10.0.0.5", 443),
            Resolve("a", 80, "b", 8080),
            Resolve("c", 443, "fd00::1", 443),
        ),
    ),
    "provider_ca_file": (str(PAIR / "tls.crt"), str(PAIR / "tls.crt")),
    "provider_tls_server_name": ("dex", "dex"),
    "provider_tls_verify": ("off", False),
    "provider": ("keycloak", Provider.KEYCLOAK),
    "additional_urls": ("https://B.example, https://c", ("https://b.example", "https://c")),
    "client_id": ("other", "other"),
    "client_secret": (SECRET, SECRET),
    "client_secret_file": ("/dev/null", "/dev/null"),
    "client_auth": ("none", ClientAuth.NONE),
    "client_key_file": (str(PAIR / "tls.key"), str(PAIR / "tls.key")),
    "client_key_id": ("first", "first"),
    "client_key_alg": ("ES256", "ES256"),
    "client_assertion_audience": ("https://idp.example/token", "https://idp.example/token"),
    "client_assertion_file": ("/dev/null", "/dev/null"),
    "listen": ("[::1]:80", Listen("::1", 80)),
    "tls_cert_file": (str(PAIR / "tls.crt"), str(PAIR / "tls.crt")),
    "tls_key_file": (str(PAIR / "tls.key"), str(PAIR / "tls.key")),
    "http2": ("off", False),
    "upstream": ("https://argocd-server/", "https://argocd-server"),
    "upstream_kind": ("argocd", UpstreamKind.ARGOCD),
    "sso_renewal": ("off", False),
    "account_tokens_dir": (str(PAIR), PAIR),
    "upstream_tls_verify": ("off", False),
    "upstream_tls_ca_file": (str(PAIR / "tls.crt"), str(PAIR / "tls.crt")),
    "upstream_tls_server_name": ("argocd-server", "argocd-server"),
    "websocket_origins": (
        "https://a.example, HTTP://B.example:80",
        ("https://a.example", "http://b.example"),
    ),
    "max_connections": ("5", 5),
    "trusted_proxies": (
        "10.42.0.0/16, fd00::1",
        (ip_network("10.42.0.0/16"), ip_network("fd00::1")),
    ),
    "max_logins_per_address": ("50", 50),
    "max_sessions_per_user": ("3", 3),
    "max_head_size": ("1MiB", 1024 * 1024),
    "max_header_fields": ("100", 100),
    "body_timeout": ("5s", 5.0),
    "max_body_size": ("1GiB", 1024**3),
    "head_timeout": ("5s", 5.0),
    "idle_timeout": ("1m", 60.0),
    "admin_listen": ("127.0.0.1:9091", Listen("127.0.0.1", 9091)),
    "login": ("observed", LoginMode.OBSERVED),
    "dex_listen": (":5556", Listen(None, 5556)),
    "dex_upstream": ("http://dex:5556/", "http://dex:5556"),
    "machine_rules": (str(PAIR / "rules.yaml"), RULES),
    "scopes": ("openid,email", ("openid", "email")),
    "groups_claims": ("cognito:groups, email", ("cognito:groups", "email")),
    "offline_access": ("never", OfflineAccess.NEVER),
    "store_url": ("redis://redis", "redis://redis"),
    "store_password": (SECRET, SECRET),
    "store_password_file": ("/dev/null", "/dev/null"),
    "store_sentinel_password": (SECRET, SECRET),
    "store_sentinel_password_file": ("/dev/null", "/dev/null"),
    "store_ca_file": (str(PAIR / "tls.crt"), str(PAIR / "tls.crt")),
    "store_tls_cert_file": (str(PAIR / "tls.crt"), str(PAIR / "tls.crt")),
    "store_tls_key_file": (str(PAIR / "tls.key"), str(PAIR / "tls.key")),
    "store_tls_server_name": ("redis", "redis"),
    "seed_access_token": ("on", True),
    "argocd_redis_url": ("rediss://redis", "rediss://redis"),
    "session_keys": (f"a:{KEY}", None),
    "session_keys_file": ("/dev/null", None),
    "refresh_window": ("2m", RefreshWindow(seconds=120.0)),
    "provider_logout": ("on", True),
    "background_renewal": ("all", Background.ALL),
    "min_token_life": ("0s", 0.0),
    "session_idle_timeout": ("1h", 3600.0),
    "session_max_lifetime": ("12h", 43200.0),
    "store_grace": ("0s", 0.0),
    "provider_timeout": ("5s", 5.0),
    "store_timeout": ("100ms", 0.1),
    "cookie_mode": ("mirror", CookieMode.MIRROR),
    "log_level": ("debug", LogLevel.DEBUG),
    "audit_log": ("/var/log/audit.log", "/var/log/audit.log"),
    "tracing": ("on", True),
}
BAD = {
    "argocd_config_dir": "/nowhere",
    "argocd_config_source": "api",
    "argocd_namespace": "Argo/CD",
    "public_url": "argocd.example.org",
    "additional_urls": "https://a, b",
    "issuer": "idp.example.org",
    "issuer_aliases": "https://sts.example.org/{tenant}/",
    "issuer_internal_url": "http://dex.sso.svc:5556/dex?a",
    "discovery_url": "dex.sso.svc",
    "authorization_endpoint": "/login",
    "token_endpoint": "http://dex/token#a",
    "jwks_uri": "ldap://dex/keys",
    "revocation_endpoint": "http://",
    "end_session_endpoint": "bye",
    "userinfo_endpoint": "http://dex:99999/me",
    "resolve": "idp.example.org=10.0.0.5",
    "provider_ca_file": "/no/such/file",
    "provider_tls_server_name": "dex_server",
    "provider_tls_verify": "no",
    "provider": "Keycloak",
    "client_id": "é",
    "client_secret_file": "/no/such/file",
    "client_auth": "Basic",
    "client_key_file": "/no/such/file",
    "client_key_id": "é",
    "client_key_alg": "HS256",
    "client_assertion_audience": "é",
    "client_assertion_file": "/no/such/file",
    "listen": "8080",
    "tls_cert_file": "/no/such/file",
    "tls_key_file": "/no/such/file",
    "http2": "yes",
    "upstream": "argocd-server",
    "upstream_kind": "argo-cd",
    "sso_renewal": "sometimes",
    "account_tokens_dir": "tokens",
    "upstream_tls_verify": "false",
    "upstream_tls_ca_file": "/no/such/file",
    "upstream_tls_server_name": "argocd_server",
    "websocket_origins": "argocd.example.com",
    "max_connections": "0",
    "trusted_proxies": "10.42.0.1/16",
    "max_logins_per_address": "0",
    "max_sessions_per_user": "none",
    "max_head_size": "65536",
    "max_header_fields": "many",
    "body_timeout": "soon",
    "max_body_size": "0MiB",
    "head_timeout": "0s",
    "idle_timeout": "0s",
    "admin_listen": "9090",
    "login": "both",
    "dex_listen": "5556",
    "dex_upstream": "unix:///run/dex.sock",
    "machine_rules": "/no/such/file",
    "scopes": "email",
    "groups_claims": ",",
    "offline_access": "yes",
    "store_url": "redis:6379",
    "store_password_file": "/no/such/file",
    "store_sentinel_password_file": "/no/such/file",
    "store_ca_file": "/no/such/file",
    "store_tls_cert_file": "/no/such/file",
    "store_tls_key_file": "/no/such/file",
    "store_tls_server_name": "redis_server",
    "seed_access_token": "yes",
    "argocd_redis_url": "memory://",
    "session_keys": "x",
    "session_keys_file": "/no/such/file",
    "refresh_window": "60%",
    "provider_logout": "yes",
    "background_renewal": "sometimes",
    "min_token_life": "30",
    "session_idle_timeout": "0s",
    "session_max_lifetime": "0s",
    "store_grace": "5",
    "provider_timeout": "10",
    "store_timeout": "0s",
    "cookie_mode": "both",
    "log_level": "INFO",
    "audit_log": "stderr",
    "tracing": "yes",
}
ANYTHING_GOES = {"client_secret", "store_password", "store_sentinel_password"}
_SENTINEL = {
    "SIDECAR_STORE_URL": "redis+sentinel://a,b:1/primary",
    "SIDECAR_SESSION_KEYS": f"a:{KEY}",
}
_STORE_TLS = {"SIDECAR_STORE_URL": "rediss://redis", "SIDECAR_SESSION_KEYS": f"a:{KEY}"}
BESIDE = {
    "login": {"SIDECAR_DEX_UPSTREAM": "http://dex:5556"},
    "store_url": {"SIDECAR_SESSION_KEYS": f"a:{KEY}"},
    "store_sentinel_password": _SENTINEL,
    "store_sentinel_password_file": _SENTINEL,
    "store_ca_file": _STORE_TLS,
    "store_tls_cert_file": {**_STORE_TLS, "SIDECAR_STORE_TLS_KEY_FILE": str(PAIR / "tls.key")},
    "store_tls_key_file": {**_STORE_TLS, "SIDECAR_STORE_TLS_CERT_FILE": str(PAIR / "tls.crt")},
    "store_tls_server_name": _STORE_TLS,
    "tls_cert_file": {"SIDECAR_TLS_KEY_FILE": str(PAIR / "tls.key")},
    "tls_key_file": {"SIDECAR_TLS_CERT_FILE": str(PAIR / "tls.crt")},
}


def least(field: str) -> dict[str, str]:
    """What has to be set beside a variable."""
    if field not in ("sso_renewal", "account_tokens_dir"):
        return {**LEAST, **BESIDE.get(field, {})}
    url = LEAST["SIDECAR_PUBLIC_URL"]
    return {"SIDECAR_UPSTREAM_KIND": "argo-workflows", "SIDECAR_PUBLIC_URL": url}


def test_the_tables_here_have_every_variable() -> None:
    assert set(GOOD) == set(VARIABLES)
    assert set(BAD) | ANYTHING_GOES == set(VARIABLES)


@pytest.mark.parametrize("field", [name for name in GOOD if "session_keys" not in name])
def test_each_variable_is_read(field: str) -> None:
    text, value = GOOD[field]

    config = Config.load({**least(field), variable(field): text})

    assert getattr(config, field) == value


@pytest.mark.parametrize("field", BAD)
def test_each_variable_is_named_in_its_fault_with_a_mend(field: str) -> None:
    found = faults({**least(field), variable(field): BAD[field]})

    mine = [line for line in found if line.startswith(variable(field) + " ")]
    assert len(mine) == 1
    assert any(word in mine[0] for word in ("Write", "Make", "Mount", "Copy", "correct"))


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    assert load(SIDECAR_CLIENT_ID=" argocd\n").client_id == "argocd"


@pytest.mark.parametrize("field", ["public_url", "issuer", "client_id"])
def test_a_required_variable_that_is_missing_is_named_with_its_meaning(field: str) -> None:
    environ = {name: text for name, text in LEAST.items() if name != variable(field)}

    (line,) = faults(environ)

    assert line.startswith(f"{variable(field)} is missing. Set it: ")
    assert VARIABLES[field].meaning in line


def test_all_faults_are_told_at_once() -> None:
    environ = {variable(field): text for field, text in BAD.items()} | {
        "SIDECAR_CLIENT_ID": "é",
        "SIDECAR_ISSUERS": "x",
        "SIDECAR_CLIENT_SECRET": SECRET,
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }

    found = faults(environ)

    named = [line.split(" ")[0] for line in found]
    for field in set(BAD) - {"client_secret_file", "session_keys_file"}:
        assert variable(field) in named
    assert "SIDECAR_ISSUERS" in named
    assert "SIDECAR_CLIENT_SECRET" in named
    assert SECRET not in "\n".join(found)


def test_nothing_is_read_from_anywhere_but_the_given_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for prefix in ("", "SIDECAR_"):
        monkeypatch.setenv(f"{prefix}LOG_LEVEL", "debug")
        monkeypatch.setenv(f"{prefix}LISTEN", "nonsense")

    assert load().log_level is LogLevel.INFO


def test_a_configuration_does_not_change() -> None:
    config = load()

    with pytest.raises(FrozenInstanceError):
        config.client_id = "other"  # type: ignore[misc]  # what is tried here


@pytest.mark.parametrize(
    ("url", "root_path"),
    [("https://a.example", ""), ("https://a.example/", ""), ("https://a.example/argo/", "/argo")],
)
def test_the_root_path_follows_from_the_public_url(url: str, root_path: str) -> None:
    assert load(SIDECAR_PUBLIC_URL=url).root_path == root_path


@pytest.mark.parametrize("url", ["http://b.example.org", "https://b.example.org/argo"])
def test_an_additional_url_of_another_kind_is_a_fault(url: str) -> None:
    assert fault(SIDECAR_ADDITIONAL_URLS=url).startswith("SIDECAR_ADDITIONAL_URLS has")


# --- names


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SIDECAR_ISSUER_URL", "SIDECAR_ISSUER"),
        ("SIDECAR_CLIENTID", "SIDECAR_CLIENT_ID"),
        ("SIDECAR_SESSION_KEY", "SIDECAR_SESSION_KEYS"),
        ("SIDECAR_client_id", "SIDECAR_CLIENT_ID"),
        ("SIDECAR_Log_Level", "SIDECAR_LOG_LEVEL"),
    ],
)
def test_an_unknown_name_is_a_fault_with_the_nearest_one(name: str, near: str) -> None:
    assert fault(**{name: SECRET}) == f"{name} is not known. Did you mean {near}?"


@pytest.mark.parametrize(
    "name",
    ["SIDECAR_WHATEVER_THIS_MAY_BE_FOR", "SIDECAR_12345678901234567890", "SIDECAR_X"],
)
def test_an_unknown_name_with_none_near_points_to_the_documentation(name: str) -> None:
    assert fault(**{name: SECRET}) == f"{name} is not known. See docs/configuration.md"


@pytest.mark.parametrize(
    "name", ["sidecar_issuer", "ISSUER", "XSIDECAR_ISSUER", "SIDECARS", "PATH"]
)
def test_other_peoples_variables_are_left_alone(name: str) -> None:
    assert load(**{name: "x"}).issuer == "https://idp.example.org"


# What the kubelet sets for Services named sidecar, sidecar-metrics and sidecar-2.
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SIDECAR_SERVICE_HOST", "10.0.0.1"),
        ("SIDECAR_SERVICE_PORT", "8080"),
        ("SIDECAR_SERVICE_PORT_HTTP", "8080"),
        ("SIDECAR_PORT", "tcp://10.0.0.1:8080"),
        ("SIDECAR_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("SIDECAR_PORT_8080_TCP_PROTO", "tcp"),
        ("SIDECAR_PORT_8080_TCP_PORT", "8080"),
        ("SIDECAR_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("SIDECAR_PORT_53_UDP", "udp://10.0.0.1:53"),
        ("SIDECAR_PORT", "sctp://10.0.0.1:53"),
        ("SIDECAR_METRICS_SERVICE_HOST", "10.0.0.1"),
        ("SIDECAR_METRICS_SERVICE_PORT_HTTP_METRICS", "9090"),
        ("SIDECAR_METRICS_PORT", "tcp://10.0.0.1:9090"),
        ("SIDECAR_METRICS_PORT_9090_TCP_ADDR", "10.0.0.1"),
        ("SIDECAR_2_SERVICE_HOST", "10.0.0.1"),
        ("SIDECAR_LISTEN_PORT", "tcp://10.0.0.1:9090"),
    ],
)
def test_what_kubernetes_sets_for_a_service_is_not_taken_for_ours(name: str, text: str) -> None:
    assert load(**{name: text}).listen == Listen(None, 8080)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SIDECAR_ADMIN_PORT", "9090"),
        ("SIDECAR_PORT", "8080"),
        ("SIDECAR_PORT", ""),
        ("SIDECAR_PORT", "http://10.0.0.1:8080"),
        ("SIDECAR_PORT_8080", "tcp://10.0.0.1:8080"),
        ("SIDECAR_PORT_HTTP_TCP", "tcp://10.0.0.1:8080"),
        ("SIDECAR_HOST", "10.0.0.1"),
        ("SIDECAR_SERVICE", "10.0.0.1"),
        ("SIDECAR_MYSERVICE_HOST", "10.0.0.1"),
    ],
)
def test_a_name_that_only_looks_like_kubernetes_is_a_fault(name: str, text: str) -> None:
    assert fault(**{name: text}).startswith(f"{name} is not known. ")


@pytest.mark.parametrize("name", ["SIDECAR_", "SIDECAR_MODEL_CONFIG", "SIDECAR_ROOT_PATH"])
def test_what_is_no_variable_of_ours_is_not_taken_for_one(name: str) -> None:
    assert fault(**{name: "x"}).startswith(f"{name} is not known. ")


# --- files


def test_a_secret_may_come_from_a_file_and_is_read_again_at_every_use(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    config = load(SIDECAR_CLIENT_SECRET_FILE=str(file))
    before = config.read_client_secret()

    file.write_text("second\n")

    assert (before, config.read_client_secret()) == ("first", "second")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"SIDECAR_CLIENT_AUTH": "private-key-jwt"},
            "SIDECAR_CLIENT_AUTH is private-key-jwt, and there is no key. "
            "Set SIDECAR_CLIENT_KEY_FILE",
        ),
        (
            {"SIDECAR_CLIENT_AUTH": "post"},
            "SIDECAR_CLIENT_AUTH is post, and there is no secret. Set SIDECAR_CLIENT_SECRET_FILE",
        ),
        (
            {"SIDECAR_CLIENT_AUTH": "workload-identity"},
            "SIDECAR_CLIENT_AUTH is workload-identity, and nothing names the token's file. "
            "Set SIDECAR_CLIENT_ASSERTION_FILE, or have Azure's webhook set "
            'AZURE_FEDERATED_TOKEN_FILE: label the pod azure.workload.identity/use: "true"',
        ),
        ({"SIDECAR_CLIENT_KEY_ALG": "HS256"}, "SIDECAR_CLIENT_KEY_ALG is not one of RS256, PS256"),
        ({"SIDECAR_CLIENT_KEY_ID": "a\nb"}, "SIDECAR_CLIENT_KEY_ID is not a text"),
    ],
)
def test_a_way_to_authenticate_that_lacks_something_is_a_fault(
    given: dict[str, str], sentence: str
) -> None:
    assert fault(**given).startswith(sentence)


@pytest.mark.parametrize(
    ("content", "auth", "sentence"),
    [
        ("hunter2", "auto", "SIDECAR_CLIENT_KEY_FILE has no private key that can be read"),
        (
            "hunter2",
            "none",
            "SIDECAR_CLIENT_KEY_FILE is not used: SIDECAR_CLIENT_AUTH is none",
        ),
    ],
)
def test_a_client_key_that_is_none_or_of_no_use_is_a_fault(
    tmp_path: Path, content: str, auth: str, sentence: str
) -> None:
    file = tmp_path / "key"
    file.write_text(content)

    found = fault(SIDECAR_CLIENT_AUTH=auth, SIDECAR_CLIENT_KEY_FILE=str(file))

    assert found.startswith(sentence)
    assert content not in found


def test_a_clients_key_is_read_again_when_it_changes_and_counts_as_a_new_secret(
    tmp_path: Path,
) -> None:
    file = tmp_path / "key"
    file.write_text(pem(ec_key()))
    before = load(SIDECAR_CLIENT_KEY_FILE=str(file))
    first, mark = before.read_credentials().key, before.watched()

    file.write_text(pem(ec_key()) + "\n")

    after = load(SIDECAR_CLIENT_KEY_FILE=str(file))
    assert before.read_credentials().key != first
    assert before.watched() != mark
    assert not after.has_secret_of(before)


def test_a_pods_token_is_found_where_azures_webhook_says_and_read_at_every_use(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    file.write_text("a.first.token")
    config = load(SIDECAR_CLIENT_AUTH="workload-identity", AZURE_FEDERATED_TOKEN_FILE=str(file))
    first = config.read_credentials()

    file.write_text("a.second.token\n")

    assert first == Credentials(ClientAuth.WORKLOAD_IDENTITY, assertion="a.first.token")
    assert config.read_credentials().assertion == "a.second.token"
    file.write_text("")
    with pytest.raises(ValueError, match="no token"):
        config.read_credentials()


def test_a_secret_may_come_from_the_environment() -> None:
    assert load(SIDECAR_CLIENT_SECRET=SECRET).read_client_secret() == SECRET


def test_keys_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"new:{KEY}\nold:{KEY}\n")

    config = load(SIDECAR_STORE_URL="redis://redis", SIDECAR_SESSION_KEYS_FILE=str(file))

    assert config.session_keys is not None
    assert [key.id for key in config.session_keys] == ["new", "old"]


def test_keys_may_come_from_the_environment() -> None:
    config = load(SIDECAR_SESSION_KEYS=f"new:{KEY},old:{KEY}")

    assert config.session_keys is not None
    assert [key.id for key in config.session_keys] == ["new", "old"]


@pytest.mark.parametrize("name", ["SIDECAR_CLIENT_SECRET", "SIDECAR_SESSION_KEYS"])
def test_a_value_and_its_file_at_once_are_a_fault(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(f"a:{KEY}")

    said = fault(**{name: f"a:{KEY}", f"{name}_FILE": str(file)})

    assert said == f"{name} and {name}_FILE are both set. Set one of them"


FILE_NAMES = ["SIDECAR_CLIENT_SECRET_FILE", "SIDECAR_SESSION_KEYS_FILE"]


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_file_that_is_missing_is_a_fault_with_its_path(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "missing")

    said = fault(**{name: path, "SIDECAR_STORE_URL": "redis://redis"} if "KEYS" in name
                 else {name: path})  # fmt: skip

    assert said == (
        f"{name} cannot be read: '{path}' (No such file or directory). "
        "Mount the file, or correct its path"
    )


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_folder_is_no_file(name: str, tmp_path: Path) -> None:
    assert "Is a directory" in fault(**{name: str(tmp_path)})


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_file_longer_than_any_secret_is_a_fault(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x" * (64 * 1024 + 1))

    assert "(longer than 64 KiB)" in fault(**{name: str(file)})


def test_a_file_without_end_does_not_stop_the_start() -> None:
    assert "(longer than 64 KiB)" in fault(SIDECAR_CLIENT_SECRET_FILE="/dev/zero")


def test_a_secret_of_64_kib_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x" * 64 * 1024)

    assert len(load(SIDECAR_CLIENT_SECRET_FILE=str(file)).read_client_secret()) == 64 * 1024


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_file_that_is_no_text_is_a_fault_that_shows_none_of_its_bytes(
    name: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xfe\xfe" * 16)

    said = fault(**{name: str(file)})

    assert "(not UTF-8 text)" in said
    assert "0xfe" not in said


def test_a_fault_in_a_file_of_keys_names_the_files_variable(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("2026a:AAAA")

    said = fault(SIDECAR_SESSION_KEYS_FILE=str(file))

    assert said == (
        "SIDECAR_SESSION_KEYS_FILE key '2026a' has 3 bytes; 32 are needed. "
        "Make one with: sidecar keys new"
    )


# --- TLS


@pytest.mark.parametrize(
    ("given", "missing"), [("CERT", "KEY"), ("KEY", "CERT")], ids=["cert", "key"]
)
def test_a_certificate_without_its_key_is_a_fault(given: str, missing: str) -> None:
    file = {"CERT": "tls.crt", "KEY": "tls.key"}[given]

    said = fault(**{f"SIDECAR_TLS_{given}_FILE": str(PAIR / file)})

    assert said == (
        f"SIDECAR_TLS_{missing}_FILE is missing. Set it beside SIDECAR_TLS_{given}_FILE, or neither"
    )


def test_files_that_hold_no_pair_are_a_fault_that_shows_nothing_of_them(tmp_path: Path) -> None:
    self_signed(tmp_path / "other", "a")
    self_signed(tmp_path / "sealed", "a", password=b"hunter2")
    (tmp_path / "text").write_text(SECRET)
    for key, why in (
        ("other/tls.key", "key values mismatch"),
        ("sealed/tls.key", "the key is encrypted"),
        ("text", "not in pem form"),
    ):
        cert = PAIR if key != "sealed/tls.key" else tmp_path / "sealed"
        said = fault(
            SIDECAR_TLS_CERT_FILE=str(cert / "tls.crt"), SIDECAR_TLS_KEY_FILE=str(tmp_path / key)
        )

        assert said == (
            "SIDECAR_TLS_CERT_FILE is no certificate that goes with SIDECAR_TLS_KEY_FILE "
            f"({why}). Mount tls.crt and tls.key of one Secret"
        )


def test_authorities_that_are_none_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(SECRET)

    said = fault(SIDECAR_UPSTREAM_TLS_CA_FILE=str(tmp_path / "ca.crt"))

    assert said.startswith("SIDECAR_UPSTREAM_TLS_CA_FILE has no certificates (")
    assert SECRET not in said


def test_a_bundle_of_authorities_may_be_longer_than_a_secret(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text((PAIR / "tls.crt").read_text() * 400)
    assert bundle.stat().st_size > 64 * 1024

    assert load(SIDECAR_UPSTREAM_TLS_CA_FILE=str(bundle)).upstream_tls_ca_file == str(bundle)


# --- the store and its keys


@pytest.mark.parametrize("environ", [{}, {"SIDECAR_SESSION_KEYS": f"a:{KEY}"}])
def test_a_pod_does_not_forget_its_sessions_unasked(environ: dict[str, str]) -> None:
    said = fault(KUBERNETES_SERVICE_HOST="10.0.0.1", **environ)

    assert said.startswith("SIDECAR_STORE_URL is missing. In a pod, write redis://")


def test_a_pod_may_be_told_to_forget_its_sessions() -> None:
    config = load(KUBERNETES_SERVICE_HOST="10.0.0.1", SIDECAR_STORE_URL="memory://")

    assert config.store_url == "memory://"


@pytest.mark.parametrize("url", ["redis://redis", "rediss://redis", "unix:///run/redis.sock"])
def test_a_shared_store_needs_keys(url: str) -> None:
    said = fault(SIDECAR_STORE_URL=url)

    assert said == (
        "SIDECAR_SESSION_KEYS is missing. Replicas and restarts need the same keys. "
        "Make one with: sidecar keys new"
    )


def test_a_store_address_that_is_none_still_tells_that_keys_are_missing() -> None:
    found = faults({**LEAST, "SIDECAR_STORE_URL": "redis:6379"})

    assert [line.split(" ")[0] for line in found] == ["SIDECAR_SESSION_KEYS", "SIDECAR_STORE_URL"]


# --- secrets


@pytest.mark.parametrize(
    "environ",
    [
        {"SIDECAR_CLIENT_SECRET": SECRET, "SIDECAR_ISSUER": "x"},
        {"SIDECAR_CLIENT_SECRET": SECRET, "SIDECAR_CLIENT_SECRET_FILE": "/dev/null"},
        {"SIDECAR_CLIENT_SECRETS": SECRET},
        {"SIDECAR_CLIENT_SECRET_FILE": SECRET},
        {"SIDECAR_CLIENT_SECRET_FILE": SECRET * 1000},
        {"SIDECAR_SESSION_KEYS": SECRET},
        {"SIDECAR_SESSION_KEYS": f"a:{SECRET}"},
        {"SIDECAR_SESSION_KEYS": f"a:{KEY}{KEY}"},
        {"SIDECAR_SESSION_KEYS": f"a:{KEY},a:{KEY}"},
        {"SIDECAR_SESSION_KEYS": f"a:{KEY}", "SIDECAR_LISTEN": "x"},
        {"SIDECAR_SESSION_KEYS": KEY},
        {"SIDECAR_SESSION_KEYS_FILE": f"a:{KEY}"},
        {"SIDECAR_STORE_URL": f"redis://:{SECRET}@redis:x", "SIDECAR_SESSION_KEYS": f"a:{KEY}"},
        {"SIDECAR_STORE_URL": f":{SECRET}@redis:6379", "SIDECAR_SESSION_KEYS": f"a:{KEY}"},
        {"SIDECAR_STORE_URL": f"redis://redis:x?password={SECRET}"},
        {"SIDECAR_ISSUER": f"https://alice:{SECRET}@idp.example.org"},
        {"SIDECAR_PUBLIC_URL": f"https://alice:{SECRET}@argocd.example.org"},
        {"SIDECAR_UPSTREAM": f"http://alice:{SECRET}@argocd-server/x"},
    ],
    ids=range(18),
)
def test_a_secret_is_in_no_fault(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Config.load({**LEAST, **environ})

    error = raised.value
    told = f"{error} {error!r} {error.args} {error.__cause__} {error.__context__}"
    assert error.__cause__ is None
    assert SECRET not in told
    assert KEY not in told


def test_a_secret_is_in_no_configuration_that_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"a:{KEY}")

    config = load(
        SIDECAR_CLIENT_SECRET=SECRET,
        SIDECAR_SESSION_KEYS_FILE=str(file),
        SIDECAR_STORE_URL=f"redis://:{SECRET}@redis",
    )

    shown = f"{config!r} {config}"
    assert "argocd.example.org" in shown
    assert SECRET not in shown
    assert KEY not in shown
    assert "Key(" not in shown


def test_timeouts_with_which_a_shutdown_could_lose_a_refresh_token_stop_the_start() -> None:
    assert load(SIDECAR_PROVIDER_TIMEOUT="12s").timings.lease_seconds == 40

    with pytest.raises(ConfigurationError) as raised:
        load(SIDECAR_PROVIDER_TIMEOUT="14s")

    assert "SIDECAR_PROVIDER_TIMEOUT" in str(raised.value)
    assert "2.0s shorter" in str(raised.value)


def test_the_secret_variables_are_known_as_such() -> None:
    secret = {field for field, known in VARIABLES.items() if known.secret}

    assert secret == {
        "client_secret",
        "session_keys",
        "store_password",
        "store_sentinel_password",
    }


def test_every_variable_says_what_it_means() -> None:
    for field, described in VARIABLES.items():
        assert described.meaning, field
        assert described.meaning.endswith("."), field


def test_this_machines_own_environment_is_no_configuration() -> None:
    """Whoever runs the tests has no SIDECAR_ variable that would hide a default."""
    assert not [name for name in os.environ if name.startswith("SIDECAR_")]


# --- the provider's addresses


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("issuer_internal_url", "https://ada:hunter2@dex", "must not have a user name"),
        ("token_endpoint", "https://ada:hunter2@dex/token", "must not have a user name"),
        ("token_endpoint", "https://dex:0/token", "is not an address"),
        ("token_endpoint", "https://dex/to\\ken", "is not an address"),
        ("discovery_url", "https://[::1/", "is not an address"),
        ("resolve", "sso.example.org:443", "host:port=address"),
        ("resolve", "sso.example.org:0=10.0.0.5", "host:port=address"),
        ("resolve", "sso.example.org:443=10.0.0.5:65536", "host:port=address"),
        ("resolve", "10.0.0.1:443=10.0.0.5", "SIDECAR_ISSUER_INTERNAL_URL"),
        ("issuer_aliases", "https://a/{tenantid}/{other}", "{tenantid}"),
        ("issuer_aliases", "https://a/?b", "is not an issuer"),
    ],
)
def test_an_address_that_means_something_else_is_a_fault(name: str, text: str, says: str) -> None:
    told = fault(**{variable(name): text})

    assert says in told
    assert SECRET not in told


def test_what_is_resolved_is_shown_as_it_may_be_written() -> None:
    written = "sso.example.org:443=[fd00::1]:8443 a:80=b:80"

    assert " ".join(map(str, load(SIDECAR_RESOLVE=written).resolve or ())) == written


def test_the_providers_authorities_are_read_from_their_file() -> None:
    config = load(SIDECAR_PROVIDER_CA_FILE=str(PAIR / "tls.crt"))

    assert config.provider_ca == (PAIR / "tls.crt").read_text().strip()


@pytest.mark.parametrize("content", ["", "no certificate", "\xff"])
def test_a_file_without_authorities_is_a_fault(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content.encode("latin-1"))

    found = faults({**LEAST, "SIDECAR_PROVIDER_CA_FILE": str(file)})

    assert len(found) == 1
    assert found[0].startswith("SIDECAR_PROVIDER_CA_FILE ")
    assert "ount" in found[0]
