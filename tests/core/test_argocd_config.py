import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.argocd_config import ArgoCdConfig, Redis, read_argocd_config
from sidecar.core.argocd_files import ArgoCdFiles, Finding, Secret, Weight
from sidecar.core.argocd_oidc import Azure
from sidecar.core.argocd_references import referenced_secrets

URL = "https://argocd.example.org"
OIDC = """
name: Keycloak
issuer: https://idp.example.org/realms/argocd
clientID: argocd
clientSecret: $oidc.keycloak.clientSecret
"""
SECRETS = {"oidc.keycloak.clientSecret": b"hunter2\n", "server.secretkey": b"key"}


def read(
    oidc: str | None = OIDC,
    *,
    secret: dict[str, bytes] | None = SECRETS,
    params: dict[str, bytes] | None = None,
    others: dict[str, Secret] | None = None,
    **cm: str,
) -> ArgoCdConfig:
    """What Argo CD's files say; a `_` in a key of `argocd-cm` is a dot."""
    data = {"url": URL, **{key.replace("_", "."): value for key, value in cm.items()}}
    if oidc is not None:
        data["oidc.config"] = oidc
    encoded = {key: value.encode() for key, value in data.items()}
    return read_argocd_config(ArgoCdFiles(encoded, secret, params, others or {}))


def oidc(text: str, **options: Any) -> Any:
    """What `oidc.config` says, with these lines below the usual ones."""
    found = read(OIDC + text, **options)
    assert found.oidc is not None, found.findings
    return found.oidc


def finding(found: ArgoCdConfig) -> Finding:
    """The one finding."""
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


# --- the good case


def test_a_stock_configuration_is_read_without_a_finding() -> None:
    found = read(params={"server.insecure": b"true", "server.rootpath": b"/argo/"})

    assert found.findings == ()
    assert found.url == URL
    assert found.oidc is not None
    assert found.oidc.issuer == "https://idp.example.org/realms/argocd"
    assert (found.oidc.client_id, found.oidc.client_secret) == ("argocd", "hunter2")
    assert found.secret_key == b"key"
    assert found.insecure is True
    assert found.root_path == "argo"
    assert found.redis == Redis("argocd-redis:6379", 0, "", None)
    assert found.session_seconds is None
    assert found.anonymous is False


def test_everything_that_argo_cd_knows_of_oidc_config_is_read() -> None:
    found = oidc(
        """
cliClientID: argocd-cli
userInfoBaseURL: https://userinfo.example.org
userInfoPath: /userinfo
userInfoCacheExpiration: 5m
requestedScopes: [openid, email]
requestedIDTokenClaims: {groups: {essential: true}, acr: {values: [a, b]}, x: {value: y}, z: null}
logoutURL: https://idp.example.org/logout
rootCA: |
  -----BEGIN CERTIFICATE-----
enablePKCEAuthentication: true
domainHint: example.org
azure: {graphApiEndpoint: https://graph.microsoft.us/v1.0}
allowedAudiences: [argocd, other]
skipAudienceCheckWhenTokenHasNoAudience: true
"""
    )

    assert found.cli_client_id == "argocd-cli"
    assert found.user_info_base_url == "https://userinfo.example.org"
    assert found.requested_scopes == ("openid", "email")
    assert json.loads(found.requested_id_token_claims) == {
        "id_token": {
            "groups": {"essential": True},
            "acr": {"values": ["a", "b"]},
            "x": {"value": "y"},
            "z": None,
        }
    }
    assert found.logout_url == "https://idp.example.org/logout"
    assert found.root_ca == "-----BEGIN CERTIFICATE-----\n"
    assert found.enable_pkce_authentication
    assert found.domain_hint == "example.org"
    assert found.azure == Azure(graph_api_endpoint="https://graph.microsoft.us/v1.0")
    assert found.audiences == ("argocd", "other")
    assert found.skip_audience_check_when_token_has_no_audience


def test_what_argo_cd_does_not_know_of_a_requested_claim_is_left_out() -> None:
    found = oidc("requestedIDTokenClaims: {groups: {essential: true, value: null, other: a}}")

    assert json.loads(found.requested_id_token_claims) == {
        "id_token": {"groups": {"essential": True}}
    }


def test_without_allowed_audiences_client_and_cli_client_are_accepted() -> None:
    assert oidc("").audiences == ("argocd",)
    assert oidc("cliClientID: cli").audiences == ("argocd", "cli")


# --- Go's rules


def test_a_keys_case_does_not_matter_and_of_two_spellings_the_later_counts() -> None:
    found = read("Issuer: https://a\nclientId: a\nclientID: b\n")

    assert found.oidc is not None
    assert (found.oidc.issuer, found.oidc.client_id) == ("https://a", "a")


@pytest.mark.parametrize(
    ("yaml", "text"),
    [("12345", "12345"), ("true", "true"), ("yes", "true"), ("1.5", "1.5"), ("'007'", "007")],
)
def test_a_number_or_a_switch_may_stand_for_a_text(yaml: str, text: str) -> None:
    assert oidc(f"domainHint: {yaml}").domain_hint == text


def test_nothing_under_a_key_is_as_if_it_were_not_there() -> None:
    assert oidc("domainHint:\nrequestedScopes:\nenablePKCEAuthentication:").domain_hint == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("requestedScopes: openid", "no list under requestedScopes"),
        ("requestedScopes: [[a]]", "no text under requestedScopes"),
        ("enableUserInfoGroups: 'true'", "neither true nor false under enableUserInfoGroups"),
        ("domainHint: {a: b}", "no text under domainHint"),
        ("domainHint: 12345678901234567890", "Put it into quotes"),
        ("domainHint: .inf", "no text under domainHint"),
        ("azure: [a]", "no mapping of keys to values under azure"),
        (
            "azure: {useWorkloadIdentity: 1}",
            "neither true nor false under azure.useWorkloadIdentity",
        ),
        (
            "requestedIDTokenClaims: [a]",
            "no mapping of keys to values under requestedIDTokenClaims",
        ),
        ("requestedIDTokenClaims: {a: b}", "no mapping"),
        ("requestedIDTokenClaims: {a: {essential: x}}", "neither true nor false"),
        ("  half: written", "is no YAML (line 6)"),
        ("issuer", "is no YAML"),
    ],
)
def test_one_value_of_a_wrong_kind_makes_all_of_it_void(line: str, why: str) -> None:
    found = read(OIDC + line)

    assert found.oidc is None
    assert finding(found).weight is Weight.BROKEN
    assert finding(found).where == "argocd-cm: oidc.config"
    assert why in finding(found).sentence


@pytest.mark.parametrize("text", ["- a\n- b", "just words"])
def test_what_is_no_mapping_is_void(text: str) -> None:
    assert "is no mapping" in finding(read(text)).sentence


def test_broken_sso_settings_hide_nothing_else() -> None:
    found = read("issuer: [", users_session_duration="8h", params={"server.rootpath": b"argo"})

    assert finding(found).weight is Weight.BROKEN
    assert (found.url, found.session_seconds, found.root_path) == (URL, 8 * 3600, "argo")
    assert found.secret_key == b"key"


def test_a_key_that_argo_cd_does_not_know_is_named() -> None:
    found = read(OIDC + "clientSecrets: x\nazure: {tenant: y}")

    assert found.oidc is not None
    assert [f.weight for f in found.findings] == [Weight.NOTE, Weight.NOTE]
    assert "'clientSecrets'" in str(found.findings[1])
    assert "'azure.tenant'" in str(found.findings[0])


# --- references


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("$oidc.keycloak.clientSecret", "hunter2"),
        ("$argocd-secret:oidc.keycloak.clientSecret", "hunter2"),
        ("$sso:client.secret", "hunter3"),
        ("$sso:separated", "\x1c hunter5 \x1f"),
        ("hunter4", "hunter4"),
        ("pre$oidc.keycloak.clientSecret", "pre$oidc.keycloak.clientSecret"),
        ("' $oidc.keycloak.clientSecret'", " $oidc.keycloak.clientSecret"),
    ],
)
def test_a_reference_gives_the_trimmed_secret(reference: str, value: str) -> None:
    others = {
        "sso": Secret(
            {"client.secret": b"\xc2\xa0 hunter3\t\n", "separated": b"\x1c hunter5 \x1f\n"}
        )
    }

    found = read(f"issuer: https://a\nclientID: b\nclientSecret: {reference}", others=others)

    assert found.findings == ()
    assert found.oidc is not None
    assert found.oidc.client_secret == value


@pytest.mark.parametrize(
    "space",
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
)
def test_what_go_takes_for_space_is_taken_from_around_a_secret(space: str) -> None:
    secret = {"a": f"{space}x y{space}".encode()}

    assert oidc("domainHint: $a", secret={**SECRETS, **secret}).domain_hint == "x y"


@pytest.mark.parametrize("character", "\x1c\u200b\u180eX")
def test_what_go_does_not_take_for_space_stays(character: str) -> None:
    secret = {"a": f"{character}x{character}".encode()}

    found = oidc("domainHint: $a", secret={**SECRETS, **secret})

    assert found.domain_hint == f"{character}x{character}"


def test_references_count_at_every_depth_but_not_in_keys() -> None:
    secret = {**SECRETS, "a": b"one", "b": b"two"}

    found = oidc(
        "requestedScopes: [openid, $a]\nrequestedIDTokenClaims: {$a: {values: [$b]}}", secret=secret
    )

    assert found.requested_scopes == ("openid", "one")
    assert json.loads(found.requested_id_token_claims) == {"id_token": {"$a": {"values": ["two"]}}}


@pytest.mark.parametrize(
    ("reference", "weight", "why"),
    [
        ("$oidc.missing", Weight.DOUBTFUL, "begins with $"),
        ("$sso:missing", Weight.DOUBTFUL, "a key that the Secret sso does not have"),
        ("$argocd-secret:missing", Weight.DOUBTFUL, "the Secret argocd-secret does not have"),
        ("$foreign:key", Weight.DOUBTFUL, "Label it app.kubernetes.io/part-of: argocd"),
        ("$elsewhere:key", Weight.BROKEN, "Mount it at secrets/elsewhere"),
        ("$NoName:key", Weight.DOUBTFUL, "begins with $"),
        ("$binary", Weight.BROKEN, "no UTF-8"),
    ],
)
def test_a_reference_that_leads_nowhere_stays_as_it_is(
    reference: str, weight: Weight, why: str
) -> None:
    secret = {**SECRETS, "binary": b"\xff"}
    others = {"sso": Secret({"k": b"v"}), "foreign": Secret({"key": b"v"}, part_of_argocd=False)}

    found = read(
        f"issuer: https://a\nclientID: b\nclientSecret: {reference}", secret=secret, others=others
    )

    assert found.oidc is not None
    assert found.oidc.client_secret == reference
    assert finding(found).weight is weight
    assert finding(found).where == "argocd-cm: oidc.config: clientSecret"
    assert why in finding(found).sentence


def test_what_may_be_a_secret_that_begins_with_a_dollar_is_not_shown() -> None:
    found = read("issuer: https://a\nclientID: b\nclientSecret: $Hunter2.is-it")

    assert "unter2" not in str(found.findings)
    assert "unter2" not in repr(found)


def test_the_other_secrets_that_are_referred_to_are_named_once() -> None:
    text = """
clientID: $oidc.keycloak.clientID
clientSecret: $mine:secret
logoutURL: $mine:logout
issuer: $argocd-secret:issuer
name: $Not_A_Name:x
domainHint: plain:text
"""

    assert referenced_secrets({"oidc.config": text.encode()}) == ["mine"]
    assert referenced_secrets({"oidc.config": b"name: $theirs:a:b"}) == ["theirs"]


@pytest.mark.parametrize("cm", [{}, {"oidc.config": b"["}, {"oidc.config": b"\xff"}])
def test_settings_that_cannot_be_read_refer_to_no_secret(cm: dict[str, bytes]) -> None:
    assert referenced_secrets(cm) == []


def test_without_argocd_secret_nobody_knows_what_a_reference_means() -> None:
    assert finding(read(secret=None)).weight is Weight.BROKEN
    assert "Mount it whole" in finding(read(secret=None)).sentence
    named = read("issuer: https://a\nclientID: b\nclientSecret: $argocd-secret:a", secret=None)
    assert finding(named).weight is Weight.BROKEN


# --- what cannot be taken over


def test_without_single_sign_on_there_is_nothing_to_take_over() -> None:
    found = read(None)

    assert found.oidc is None
    assert finding(found).weight is Weight.ABSENT
    assert "has no single sign-on" in finding(found).sentence


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("clientID: a", "has no issuer"),
        ("issuer: https://a", "has no clientID"),
        (OIDC + "allowedAudiences: [other]", "does not have the clientID"),
    ],
)
def test_a_provider_that_cannot_work_is_said(text: str, why: str) -> None:
    assert finding(read(text)).weight is Weight.BROKEN
    assert why in finding(read(text)).sentence


def test_a_threshold_for_argo_cds_own_refreshes_has_no_effect_and_that_is_said() -> None:
    found = read(OIDC + "refreshTokenThreshold: 5m")

    assert found.oidc is not None
    assert finding(found).weight is Weight.NOTE
    assert "has no effect" in finding(found).sentence


def test_single_sign_on_needs_the_url() -> None:
    found = read(url="")

    assert finding(found).weight is Weight.BROKEN
    assert finding(found).where == "argocd-cm: url"


def test_a_config_map_that_cannot_be_seen_is_broken_not_empty() -> None:
    found = read_argocd_config(ArgoCdFiles())

    assert [f.weight for f in found.findings] == [Weight.BROKEN]


# --- the rest


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("30s", 30), ("5m", 300), ("24h", 86400), ("7d", 604800)]
)
def test_a_session_duration_has_one_number_and_one_unit(text: str, seconds: float) -> None:
    assert read(users_session_duration=text).session_seconds == seconds


@pytest.mark.parametrize("text", ["", "1h30m", "24", "-1h", "1w", "0s", " 1h", "٣h"])
def test_another_session_duration_is_ignored_and_said(text: str) -> None:
    found = read(users_session_duration=text)

    assert found.session_seconds is None
    assert finding(found).where == "argocd-cm: users.session.duration"


def test_a_very_long_session_duration_is_a_year() -> None:
    assert read(users_session_duration="9" * 18 + "d").session_seconds == 366 * 86400


def test_additional_urls_are_a_list() -> None:
    assert read(additionalUrls="- https://a\n- https://b").additional_urls == (
        "https://a",
        "https://b",
    )


@pytest.mark.parametrize("text", ["https://a", "- [a]", "["])
def test_additional_urls_that_are_no_list_are_ignored_and_said(text: str) -> None:
    found = read(additionalUrls=text)

    assert found.additional_urls == ()
    assert finding(found).weight is Weight.NOTE


@pytest.mark.parametrize(
    ("params", "insecure"),
    [
        (None, None),
        ({}, False),
        ({"server.insecure": b"TRUE"}, True),
        ({"server.insecure": b"yes"}, False),
    ],
)
def test_insecure_is_off_unless_it_says_true(
    params: dict[str, bytes] | None, insecure: bool | None
) -> None:
    assert read(params=params).insecure is insecure


def test_the_redis_of_argo_cd_is_found_with_its_password() -> None:
    found = read(
        params={"redis.server": b"argocd-redis-ha-haproxy:6379", "redis.db": b"3"},
        others={"argocd-redis": Secret({"auth": b"hunter2", "auth_username": b"argocd"})},
    )

    assert found.redis == Redis("argocd-redis-ha-haproxy:6379", 3, "argocd", "hunter2")
    assert "hunter2" not in repr(found)


def test_a_database_that_is_no_number_is_the_first() -> None:
    assert finding(read(params={"redis.db": "٣".encode()})).weight is Weight.NOTE
    found = read(params={"redis.db": b"x", "redis.sentinel.hosts": b"a:1"})

    assert found.redis == Redis("argocd-redis:6379", 0, "", None, sentinel=True)
    assert finding(found).where == "argocd-cmd-params-cm: redis.db"


@pytest.mark.parametrize(
    ("own", "others", "name"),
    [
        ({}, {}, ""),
        ({"tls.crt": b"c", "tls.key": b"k"}, {}, "argocd-secret"),
        ({"tls.crt": b"c"}, {}, ""),
        ({"tls.crt": b"c"}, {"argocd-server-tls": Secret({"tls.crt": b"c"})}, ""),
        (
            {"tls.crt": b"c", "tls.key": b"k"},
            {"argocd-server-tls": Secret({"tls.crt": b"c", "tls.key": b"k"})},
            "argocd-server-tls",
        ),
    ],
)
def test_the_certificate_comes_from_the_secret_of_its_own_first(
    own: dict[str, bytes], others: dict[str, Secret], name: str
) -> None:
    assert read(secret={**SECRETS, **own}, others=others).certificate_in == name


def test_a_certificate_is_looked_for_with_its_key_alone() -> None:
    only = {"tls.crt": b"c", "tls.key": b"k"}
    files = ArgoCdFiles({"url": URL.encode()}, only)

    assert read_argocd_config(files).certificate_in == "argocd-secret"
    assert read_argocd_config(files).secret_key == b""


def test_a_root_path_loses_its_slashes_and_nothing_else() -> None:
    assert read(params={"server.rootpath": b"/X/argo/X/"}).root_path == "X/argo/X"


@pytest.mark.parametrize(("text", "skips"), [("true", True), ("TRUE", False), ("", False)])
def test_the_providers_certificate_is_not_checked_where_that_says_true(
    text: str, skips: bool
) -> None:
    assert read(oidc_tls_insecure_skip_verify=text).tls_insecure_skip_verify is skips


def test_what_is_no_text_is_skipped_and_said() -> None:
    found = read_argocd_config(
        ArgoCdFiles({"url": URL.encode(), "oidc.config": OIDC.encode(), "x": b"\xff"}, SECRETS)
    )

    assert found.oidc is not None
    assert finding(found).where == "argocd-cm: x"


@pytest.mark.parametrize(
    ("scopes", "claims"),
    [
        ("[groups]", ("groups",)),
        ("['cognito:groups', email]", ("cognito:groups", "email")),
        ("- https://example.org/groups", ("https://example.org/groups",)),
        ("", ()),
        (
            str([f"claim{number}" for number in range(20)]),
            tuple(f"claim{number}" for number in range(20)),
        ),
    ],
)
def test_argocd_rbac_cm_names_the_claims_that_policies_go_by(
    scopes: str, claims: tuple[str, ...]
) -> None:
    found = read_argocd_config(ArgoCdFiles(rbac={"scopes": scopes.encode()}))

    assert found.groups_claims == claims
    assert not [f for f in found.findings if f.where.startswith("argocd-rbac-cm")]


@pytest.mark.parametrize(
    ("scopes", "claims"),
    [
        (b"groups", ()),
        (b"[groups", ()),
        (b"\xff", ()),
        (b"[1, groups, 'a b', 'a,b']", ("groups",)),
        (str([f"claim{number}" for number in range(21)]).encode(), tuple(
            f"claim{number}" for number in range(20))),
    ],
)  # fmt: skip
def test_what_is_no_list_of_claims_stops_no_login_and_is_said(
    scopes: bytes, claims: tuple[str, ...]
) -> None:
    found = read_argocd_config(ArgoCdFiles(rbac={"scopes": scopes}))

    assert found.groups_claims == claims
    [said] = [f for f in found.findings if f.where == "argocd-rbac-cm: scopes"]
    assert said.weight is Weight.NOTE


# --- whatever comes

_KEYS = st.sampled_from(
    ["url", "additionalUrls", "oidc.config", "dex.config", "users.session.duration",
     "server.secretkey", "server.rootpath", "server.insecure", "redis.db", "redis.server",
     "auth", "tls.crt", "tls.key", "a"]
)  # fmt: skip
_OIDC_LINES = st.lists(
    st.tuples(
        st.sampled_from(
            ["issuer", "clientID", "clientSecret", "requestedScopes", "azure", "rootCA", "x",
             "requestedIDTokenClaims", "allowedAudiences", "enableUserInfoGroups"]
        ),
        st.sampled_from(
            ["$a", "$a:b", "$", "$$", "$:", "[a]", "{a: b}", "{a: {value: $a}}", "1", "true", "~",
             "[", "1e999", "&a [*a]", "!!binary x", "2026-01-01", "{useWorkloadIdentity: true}"]
        ),
    )
).map(lambda lines: "\n".join(f"{key}: {value}" for key, value in lines).encode())  # fmt: skip
_DATA = st.dictionaries(_KEYS, st.binary(max_size=64) | _OIDC_LINES, max_size=8)


@given(
    cm=st.none() | _DATA,
    secret=st.none() | _DATA,
    params=st.none() | _DATA,
    others=st.dictionaries(
        st.sampled_from(["a", "argocd-redis", "argocd-server-tls"]),
        st.builds(Secret, _DATA, st.none() | st.booleans()),
    ),
    scopes=st.binary(max_size=64),
)
def test_whatever_the_files_hold_something_is_made_of_it(
    cm: dict[str, bytes] | None,
    secret: dict[str, bytes] | None,
    params: dict[str, bytes] | None,
    others: dict[str, Secret],
    scopes: bytes,
) -> None:
    files = ArgoCdFiles(cm, secret, params, others, rbac={"scopes": scopes})
    found = read_argocd_config(files)

    stops = [f for f in found.findings if f.weight in (Weight.BROKEN, Weight.ABSENT)]
    assert stops or (found.oidc and found.oidc.issuer and found.oidc.client_id and found.url)
