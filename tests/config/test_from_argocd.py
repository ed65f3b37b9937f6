import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config import report
from sidecar.config.settings import Config
from sidecar.config.variables import VARIABLES
from sidecar.core.argocd_files import Finding, Weight
from sidecar.core.client_authentication import ClientAuth, Credentials
from sidecar.core.sealing import derived_key
from sidecar.errors import ConfigurationError
from tests.config.mounted import OIDC, Installation, mount
from tests.proxy.certificates import self_signed


@pytest.fixture
def argocd(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def load(argocd: Installation, **environ: str) -> Config:
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    return Config.load({**argocd.environment, **pod, **environ})


def stops(config: Config) -> Finding:
    """The one finding that keeps logins with Argo CD."""
    assert not config.argocd.takes_over_logins
    found = [f for f in config.argocd.findings if f.weight is not Weight.NOTE]
    assert len(found) == 1, found
    return found[0]


def pem(folder: Path) -> str:
    self_signed(folder, "idp.example.org")
    return (folder / "tls.crt").read_text()


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


# --- the whole of it


def test_a_stock_argo_cd_is_all_the_configuration_there_is(argocd: Installation) -> None:
    config = load(argocd)

    assert config.argocd.findings == ()
    assert config.argocd.takes_over_logins
    assert config.public_url == "https://argocd.example.org"
    assert config.issuer == "https://idp.example.org/realms/argocd"
    assert config.client_id == "argocd"
    assert config.read_client_secret() == "hunter2"
    assert config.scopes == ("openid", "profile", "email", "groups")
    assert config.store_url == "redis://:hunter4%40%2F@argocd-redis:6379/0"
    assert config.session_keys == (derived_key(b"hunter3"),)
    assert config.upstream == "http://127.0.0.1:8090"
    assert config.tls_cert_file is None
    assert config.session_max_lifetime == 168 * 3600


def test_the_claims_of_argocds_policies_count_unless_a_variable_names_others(
    argocd: Installation,
) -> None:
    before = load(argocd)
    marks = before.watched()
    argocd.change("argocd-rbac-cm", {"scopes": b"['cognito:groups', email]"})
    after = load(argocd)
    named = load(argocd, SIDECAR_GROUPS_CLAIMS="https://example.org/groups, roles")

    assert before.groups_claims == ("groups",)
    assert after.groups_claims == ("cognito:groups", "email")
    assert after.source("groups_claims") == "argocd-rbac-cm: scopes"
    assert named.groups_claims == ("https://example.org/groups", "roles")
    assert after.watched() != marks


def test_each_value_says_where_it_is_from(argocd: Installation) -> None:
    config = load(argocd, SIDECAR_SCOPES="openid", SIDECAR_SESSION_MAX_LIFETIME="1h")

    assert config.source("issuer") == "argocd-cm: oidc.config: issuer"
    assert config.source("session_keys") == "argocd-secret: server.secretkey"
    assert config.source("scopes") == "SIDECAR_SCOPES"
    assert config.source("session_max_lifetime") == "SIDECAR_SESSION_MAX_LIFETIME"
    assert config.source("log_level") == "default"


def test_the_environment_wins(argocd: Installation, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("other")
    own = {
        "SIDECAR_PUBLIC_URL": "https://other.example.org",
        "SIDECAR_CLIENT_SECRET_FILE": str(secret),
        "SIDECAR_SCOPES": "openid",
        "SIDECAR_STORE_URL": "memory://",
        "SIDECAR_SESSION_KEYS": "a:" + "A" * 43 + "=",
        "SIDECAR_UPSTREAM": "http://127.0.0.1:1",
    }

    config = load(argocd, **own)

    assert config.public_url == "https://other.example.org"
    assert config.issuer == "https://idp.example.org/realms/argocd"
    assert config.read_client_secret() == "other"
    assert config.scopes == ("openid",)
    assert config.store_url == "memory://"
    assert config.session_keys is not None
    assert [key.id for key in config.session_keys] == ["a"]
    assert config.upstream == "http://127.0.0.1:1"
    assert config.source("client_secret") == "SIDECAR_CLIENT_SECRET_FILE"


def test_a_client_of_ones_own_takes_nothing_of_oidc_config(argocd: Installation) -> None:
    argocd.oidc(OIDC + "requestedScopes: [openid, x]\ndomainHint: y\nrootCA: none")

    config = load(argocd, SIDECAR_ISSUER="https://mine", SIDECAR_CLIENT_ID="argocd")

    assert config.argocd.takes_over_logins
    assert config.read_client_secret() == ""
    assert config.scopes == ("openid", "profile", "email", "groups")
    assert config.argocd.authorization == ()
    assert config.public_url == "https://argocd.example.org"


def test_an_issuer_alone_is_half_a_client(argocd: Installation) -> None:
    with pytest.raises(ConfigurationError, match=r"^SIDECAR_CLIENT_ID is missing"):
        load(argocd, SIDECAR_ISSUER="https://mine")


def test_another_clients_id_does_not_get_the_clients_secret(argocd: Installation) -> None:
    config = load(argocd, SIDECAR_CLIENT_ID="public")

    assert config.issuer == "https://idp.example.org/realms/argocd"
    assert config.read_client_secret() == ""


def test_a_client_of_ones_own_works_beside_broken_settings(argocd: Installation) -> None:
    argocd.oidc("issuer: [")

    config = load(argocd, SIDECAR_ISSUER="https://mine", SIDECAR_CLIENT_ID="argocd")

    assert config.argocd.takes_over_logins
    assert [f.weight for f in config.argocd.findings] == [Weight.NOTE]


def test_a_wrong_variable_is_a_fault_whatever_argo_cd_says(argocd: Installation) -> None:
    argocd.oidc("issuer: [")

    with pytest.raises(ConfigurationError, match=r"^SIDECAR_LOG_LEVEL is not one of"):
        load(argocd, SIDECAR_LOG_LEVEL="loud")


def test_without_the_folder_all_is_as_it_was() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Config.load({"KUBERNETES_SERVICE_HOST": "10.0.0.1"})

    named = [fault.split()[0] for fault in raised.value.faults]
    assert named == [
        "SIDECAR_PUBLIC_URL", "SIDECAR_ISSUER", "SIDECAR_CLIENT_ID", "SIDECAR_STORE_URL"
    ]  # fmt: skip


# --- the provider


def test_what_goes_into_the_authorization_request_is_carried_over(argocd: Installation) -> None:
    argocd.oidc(
        OIDC + "requestedScopes: [openid, groups]\ndomainHint: example.org\n"
        "requestedIDTokenClaims: {groups: {essential: true}}"
    )

    config = load(argocd)

    assert config.scopes == ("openid", "groups")
    assert config.argocd.authorization == (
        ("claims", '{"id_token":{"groups":{"essential":true}}}'),
        ("domain_hint", "example.org"),
    )


def test_a_root_ca_is_taken(argocd: Installation, tmp_path: Path) -> None:
    text = "# Zürich\n" + pem(tmp_path)
    argocd.oidc(f"{OIDC}rootCA: |\n{indented(text)}")

    assert load(argocd).provider_ca == text
    assert load(argocd).argocd.findings == ()


@pytest.mark.parametrize("text", ["none", "-----BEGIN CERTIFICATE-----\nx", "é"])
def test_a_root_ca_that_is_none_is_passed_over_and_said(argocd: Installation, text: str) -> None:
    argocd.oidc(f"{OIDC}rootCA: |\n{indented(text)}")

    config = load(argocd)

    assert config.provider_ca == ""
    assert config.argocd.takes_over_logins
    assert [f.weight for f in config.argocd.findings] == [Weight.DOUBTFUL]


def test_an_unchecked_provider_is_unchecked_here_too(argocd: Installation) -> None:
    assert load(argocd).provider_tls_verify

    argocd.change("argocd-cm", {"oidc.tls.insecure.skip.verify": b"true"})

    assert not load(argocd).provider_tls_verify


def test_what_is_set_here_of_the_providers_tls_wins_over_argo_cd(
    argocd: Installation, tmp_path: Path
) -> None:
    own, theirs = pem(tmp_path / "own"), pem(tmp_path / "theirs")
    argocd.change("argocd-cm", {"oidc.tls.insecure.skip.verify": b"true"})
    argocd.oidc(f"{OIDC}rootCA: |\n{indented(theirs)}")

    checked = load(argocd, SIDECAR_PROVIDER_TLS_VERIFY="on")
    trusting = load(argocd, SIDECAR_PROVIDER_CA_FILE=str(tmp_path / "own" / "tls.crt"))

    assert (checked.provider_tls_verify, checked.provider_ca) == (True, theirs)
    assert (trusting.provider_tls_verify, trusting.provider_ca) == (True, own.strip())


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("issuer: idp.example.org\nclientID: a", "argocd-cm: oidc.config: issuer"),
        ("issuer: https://a\nclientID: é", "argocd-cm: oidc.config: clientID"),
        (OIDC + "requestedScopes: [email]", "argocd-cm: oidc.config: requestedScopes"),
    ],
)
def test_a_value_that_we_cannot_use_stops_no_start(
    argocd: Installation, text: str, where: str
) -> None:
    argocd.oidc(text)

    assert stops(load(argocd)).where == where


def test_a_url_that_is_none_stops_no_start(argocd: Installation) -> None:
    argocd.change("argocd-cm", {"url": b"argocd.example.org"})

    assert str(stops(load(argocd))).startswith("argocd-cm: url is not the address of a site")


def test_additional_urls_are_taken_and_those_that_cannot_work_are_said(
    argocd: Installation,
) -> None:
    urls = b"[https://B.example.org/, b, http://c.example.org, https://d.example.org/argo]"
    argocd.change("argocd-cm", {"additionalUrls": urls})

    config = load(argocd)

    assert config.additional_urls == ("https://b.example.org",)
    assert [f.weight for f in config.argocd.findings] == [Weight.NOTE] * 3
    assert load(argocd, SIDECAR_ADDITIONAL_URLS="https://e").additional_urls == ("https://e",)


@pytest.mark.parametrize(("url", "root"), [("", "argo"), ("/argo", "other")])
def test_the_root_path_must_be_the_urls(argocd: Installation, url: str, root: str) -> None:
    argocd.change("argocd-cm", {"url": f"https://a{url}".encode()})
    argocd.change("argocd-cmd-params-cm", {"server.rootpath": root.encode()})

    assert stops(load(argocd)).where == "argocd-cmd-params-cm: server.rootpath"


def test_a_root_path_that_is_the_urls_is_fine(argocd: Installation) -> None:
    argocd.change("argocd-cm", {"url": b"https://a/argo/"})
    argocd.change("argocd-cmd-params-cm", {"server.rootpath": b"/argo"})

    assert load(argocd).root_path == "/argo"
    assert load(argocd).argocd.findings == ()


# --- how long a session lives


@pytest.mark.parametrize(("text", "hours"), [("8h", 8), ("168h", 168), ("30d", 168)])
def test_argo_cds_session_duration_caps_ours(argocd: Installation, text: str, hours: int) -> None:
    argocd.change("argocd-cm", {"users.session.duration": text.encode()})

    assert load(argocd).session_max_lifetime == hours * 3600


def test_a_lifetime_that_is_set_wins_over_argo_cds(argocd: Installation) -> None:
    argocd.change("argocd-cm", {"users.session.duration": b"8h"})

    config = load(argocd, SIDECAR_SESSION_MAX_LIFETIME="100h")

    assert config.session_max_lifetime == 100 * 3600
    assert [f.weight for f in config.argocd.findings] == [Weight.NOTE]


# --- the two ports


def test_an_argo_cd_with_tls_is_spoken_to_with_tls(argocd: Installation) -> None:
    argocd.change("argocd-cmd-params-cm", {"server.insecure": None})

    config = load(argocd)

    assert config.upstream == "https://127.0.0.1:8090"
    assert not config.upstream_tls_verify
    assert config.tls_cert_file is None
    assert config.source("upstream") == "argocd-cmd-params-cm: server.insecure"


@pytest.mark.parametrize("volume", ["argocd-secret", "secrets/argocd-server-tls"])
def test_argo_cds_certificate_is_served(argocd: Installation, tmp_path: Path, volume: str) -> None:
    made = tmp_path / "made"
    made.mkdir()
    self_signed(made, "argocd.example.org")
    pair = {name: (made / name).read_bytes() for name in ("tls.crt", "tls.key")}
    argocd.change("argocd-cmd-params-cm", {"server.insecure": b"false"})
    argocd.change(volume, pair)

    config = load(argocd)

    assert config.tls_cert_file == str(tmp_path / volume / "tls.crt")
    assert config.tls_key_file == str(tmp_path / volume / "tls.key")

    argocd.change("argocd-cmd-params-cm", {"server.insecure": b"true"})
    assert load(argocd).tls_cert_file is None


def test_a_certificate_that_is_none_is_not_served_and_said(argocd: Installation) -> None:
    argocd.change("argocd-cmd-params-cm", {"server.insecure": b"false"})
    argocd.change("argocd-secret", {"tls.crt": b"hunter5", "tls.key": b"hunter5"})

    config = load(argocd)

    assert config.tls_cert_file is config.tls_key_file is None
    assert config.argocd.takes_over_logins
    assert [f.weight for f in config.argocd.findings] == [Weight.DOUBTFUL]
    assert "hunter5" not in str(config.argocd.findings)


# --- the store


def test_a_password_that_cannot_be_seen_is_not_guessed(argocd: Installation) -> None:
    argocd.unmount("secrets/argocd-redis")

    assert "Mount it at secrets/argocd-redis" in stops(load(argocd)).sentence


def test_a_redis_behind_sentinel_must_be_named(argocd: Installation) -> None:
    argocd.change("argocd-cmd-params-cm", {"redis.sentinel.hosts": b"a:26379"})

    assert "SIDECAR_STORE_URL" in stops(load(argocd)).sentence
    named = load(argocd, SIDECAR_STORE_URL="redis://mine")
    assert named.argocd.takes_over_logins


@pytest.mark.parametrize("address", [b"", b"ha:6380", b"[::1]:6379", b"redis"])
def test_the_redis_is_where_argo_cd_has_it(argocd: Installation, address: bytes) -> None:
    argocd.change("argocd-cmd-params-cm", {"redis.server": address, "redis.db": b"2"})

    host = address.decode() or "argocd-redis:6379"
    assert load(argocd).store_url == f"redis://:hunter4%40%2F@{host}/2"


def test_a_redis_whose_address_is_none_is_said_without_its_password(argocd: Installation) -> None:
    argocd.change("argocd-cmd-params-cm", {"redis.server": b"a b:x"})

    found = stops(load(argocd))

    assert found.where == "argocd-cmd-params-cm: redis.server"
    assert "hunter4" not in str(found)


def test_keys_wait_for_argo_cds_own(argocd: Installation) -> None:
    argocd.change("argocd-secret", {"server.secretkey": None})

    assert stops(load(argocd)).where == "argocd-secret: server.secretkey"


def test_memory_needs_no_keys(argocd: Installation) -> None:
    argocd.change("argocd-secret", {"server.secretkey": None})

    config = load(argocd, SIDECAR_STORE_URL="memory://")

    assert config.argocd.takes_over_logins
    assert config.session_keys is None


def test_argo_cd_without_its_parameters_gives_no_store(argocd: Installation) -> None:
    argocd.unmount("argocd-cmd-params-cm")

    config = load(argocd)

    assert stops(config).where == "argocd-cmd-params-cm"
    assert config.upstream == "http://127.0.0.1:8090"


def test_derived_keys_follow_from_argo_cds_and_tell_nothing_of_it() -> None:
    key = derived_key(b"a")

    assert key == derived_key(b"a")
    assert key.id != derived_key(b"b").id
    assert key.id.startswith("derived")
    assert len(key.id) <= 32
    assert key.id.isalnum()
    assert len(key.secret) == 32
    assert key.secret[:8].hex() not in key.id


# --- what is seen of a change


def test_what_load_reads_is_watched(argocd: Installation, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a:" + "A" * 43 + "=")
    config = load(argocd, SIDECAR_SESSION_KEYS_FILE=str(keys))
    seen = [config.watched()]

    argocd.change("argocd-secret", {"oidc.clientSecret": b"new"})
    seen.append(config.watched())
    keys.write_text("b:" + "A" * 43 + "=\n")
    seen.append(config.watched())

    assert config.watched() == seen[-1]
    assert len(set(seen)) == len(seen)


def test_equal_settings_are_equal_configurations(argocd: Installation) -> None:
    one = load(argocd)
    argocd.change("argocd-secret", {"unused": b"x"})

    assert load(argocd) == one

    argocd.oidc(OIDC + "domainHint: x")
    assert load(argocd) != one


# --- sidecar config


def test_the_report_has_every_value_its_source_and_no_secret(argocd: Installation) -> None:
    argocd.oidc(OIDC + "unknown: 1")
    config = load(argocd, SIDECAR_LOG_LEVEL="debug")

    text, data = report.as_text(config), json.loads(report.as_json(config))

    assert set(data["values"]) == set(VARIABLES)
    assert data["values"]["client_secret"] == {
        "value": "***", "source": "argocd-cm: oidc.config: clientSecret"
    }  # fmt: skip
    assert data["values"]["store_url"]["value"] == "redis://***@argocd-redis:6379/0"
    assert data["values"]["refresh_window"] == {"value": "25%", "source": "default"}
    assert data["values"]["session_idle_timeout"]["value"] == "72h"
    assert data["values"]["max_head_size"]["value"] == "64KiB"
    assert data["values"]["max_connections"]["value"] == "10000"
    assert data["values"]["max_body_size"]["value"] == "-"
    assert data["values"]["log_level"] == {"value": "debug", "source": "SIDECAR_LOG_LEVEL"}
    assert data["takes_over_logins"] is True
    assert data["findings"][0]["where"] == "argocd-cm: oidc.config"
    assert "note: argocd-cm: oidc.config has the key 'unknown'" in text
    for row in data["values"].values():
        assert row["value"] in text
        assert row["source"] in text
    for shown in (text, str(data), repr(config)):
        assert "hunter" not in shown


def test_the_report_says_when_logins_pass(argocd: Installation) -> None:
    argocd.change("argocd-cm", {"oidc.config": None})

    text = report.as_text(load(argocd))

    assert "logins: not taken over" in text
    assert "absent: argocd-cm: oidc.config is missing" in text


# --- whatever is mounted

_TEXT = st.binary(max_size=40) | st.sampled_from(
    [b"https://a.example/b", b"issuer: https://a\nclientID: b\nclientSecret: $a", b"[", b"true",
     b"1h", b"issuer: 1\nclientID: [", b"a:1", b"\xc3\xa9", b"- https://a\n- 1", b"$a:b",
     b"issuer: https://a\nclientID: b\nrootCA: x\nrequestedScopes: ['a b', openid]"]
)  # fmt: skip
_MOUNTED = st.fixed_dictionaries(
    {},
    optional={
        "argocd-cm": st.dictionaries(
            st.sampled_from(["url", "oidc.config", "additionalUrls", "users.session.duration"]),
            _TEXT,
        ),
        "argocd-secret": st.dictionaries(
            st.sampled_from(["server.secretkey", "a", "tls.crt", "tls.key"]), _TEXT
        ),
        "argocd-cmd-params-cm": st.dictionaries(
            st.sampled_from(["server.insecure", "server.rootpath", "redis.server", "redis.db"]),
            _TEXT,
        ),
        "secrets/argocd-redis": st.dictionaries(st.sampled_from(["auth", "auth_username"]), _TEXT),
    },
)


@settings(deadline=None)  # it writes files, on machines that are busy
@given(mounted=_MOUNTED)
def test_nothing_that_is_mounted_stops_the_start(mounted: dict[str, dict[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for volume, data in mounted.items():
            mount(Path(folder, volume), data)

        config = Config.load({"SIDECAR_ARGOCD_CONFIG_DIR": folder})

    if config.argocd.takes_over_logins:
        assert config.public_url
        assert config.issuer
        assert config.client_id
        assert config.store_url.startswith("redis://")
        assert config.session_keys
    report.as_text(config)


# --- Azure workload identity

WORKLOAD_IDENTITY = "azure: {useWorkloadIdentity: true}"


def test_workload_identity_shows_the_token_that_azures_webhook_names(
    argocd: Installation, tmp_path: Path
) -> None:
    """Though a secret stands beside it: Argo CD would show both, and Entra refuse that."""
    argocd.add_to_oidc(WORKLOAD_IDENTITY)
    token = tmp_path / "azure-identity-token"
    token.write_text("a.pods.token")

    config = load(argocd, AZURE_FEDERATED_TOKEN_FILE=str(token), AZURE_CLIENT_ID="argocd")

    assert config.argocd.findings == ()
    assert config.read_credentials() == Credentials(
        ClientAuth.WORKLOAD_IDENTITY, assertion="a.pods.token"
    )
    assert config.source("client_auth").endswith("azure.useWorkloadIdentity")
    assert config.source("client_assertion_file") == "AZURE_FEDERATED_TOKEN_FILE"


def test_workload_identity_without_the_webhooks_file_leaves_logins_with_argo_cd(
    argocd: Installation,
) -> None:
    argocd.add_to_oidc(WORKLOAD_IDENTITY)

    finding = stops(load(argocd))

    assert finding.where.endswith("azure.useWorkloadIdentity")
    assert "AZURE_FEDERATED_TOKEN_FILE" in finding.sentence
    assert "azure.workload.identity/use" in finding.sentence


def test_a_way_to_authenticate_of_ones_own_wins_over_workload_identity(
    argocd: Installation,
) -> None:
    argocd.add_to_oidc(WORKLOAD_IDENTITY)

    config = load(argocd, SIDECAR_CLIENT_AUTH="post")

    assert config.argocd.takes_over_logins
    assert config.read_credentials() == Credentials(ClientAuth.POST, "hunter2")


def test_azures_variables_alone_change_nothing(argocd: Installation) -> None:
    """The webhook sets them in every pod that has the label, for whatever is in it."""
    config = load(argocd, AZURE_FEDERATED_TOKEN_FILE="/token", AZURE_CLIENT_ID="another")

    assert config.read_credentials() == Credentials(secret="hunter2")
    assert config.client_assertion_file is None
