"""All that an operator is told of Argo CD's settings: what is wrong, and the mend."""
# ruff: noqa: E501 - a sentence stands here as it is read

from collections.abc import Mapping

import pytest

from sidecar.core.argocd_config import ArgoCdConfig, Redis, read_argocd_config
from sidecar.core.argocd_dex import Connector, Dex, client_secret
from sidecar.core.argocd_files import AWAITED, ArgoCdFiles, Secret, Weight
from sidecar.core.argocd_oidc import Azure, Oidc

CM = {
    "url": b"https://argocd.example.org",
    "oidc.config": b"issuer: https://idp\nclientID: argocd\n",
}
OIDC = CM["oidc.config"].decode()
DEX = "connectors: [{type: github, id: hub}]\n"
S = {"server.secretkey": b"key"}


def files(
    oidc: str | None = OIDC,
    *,
    secret: Mapping[str, bytes] | None = S,
    others: Mapping[str, Secret] | None = None,
    params: Mapping[str, bytes] | None = None,
    namespace: str = "",
    rbac: Mapping[str, bytes] | None = None,
    **cm: str,
) -> ArgoCdFiles:
    """Argo CD's files; a `_` in a key of `argocd-cm` is a dot."""
    data = {"url": CM["url"]}
    if oidc is not None:
        data["oidc.config"] = oidc.encode()
    data |= {key.replace("_", "."): value.encode() for key, value in cm.items()}
    return ArgoCdFiles(data, secret, params, others or {}, namespace, rbac=rbac)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param(
            ArgoCdFiles(), ["BROKEN argocd-cm cannot be seen. Mount it whole"], id="nothing"
        ),
        pytest.param(
            ArgoCdFiles(namespace="argocd"),
            [
                "BROKEN argocd-cm cannot be seen. See that it is in argocd, and that the Role covers it"
            ],
            id="nothing in a namespace",
        ),
        pytest.param(
            files(None),
            [
                "ABSENT argocd-cm: oidc.config is missing: Argo CD has no single sign-on. Set it to have logins taken over"
            ],
            id="no sso",
        ),
        pytest.param(
            files(url=""),
            ["BROKEN argocd-cm: url is missing. Set it to where browsers see Argo CD"],
            id="no url",
        ),
        pytest.param(
            files(None, dex_config=DEX, url=""),
            ["BROKEN argocd-cm: url is missing. Set it to where browsers see Argo CD"],
            id="no url of dex",
        ),
        pytest.param(
            ArgoCdFiles({**CM, "x": b"\xff"}, S, {"y": b"\xff"}),
            [
                "NOTE argocd-cm: x is no UTF-8 text, and not looked at",
                "NOTE argocd-cmd-params-cm: y is no UTF-8 text, and not looked at",
            ],
            id="no text",
        ),
        pytest.param(
            files("- a"),
            [
                "BROKEN argocd-cm: oidc.config is no mapping of keys to values. Argo CD ignores it: correct it"
            ],
            id="broken",
        ),
        pytest.param(
            files(OIDC + "clientSecrets: x\nazure: {tenant: y}\n"),
            [
                "NOTE argocd-cm: oidc.config has the key 'azure.tenant', which Argo CD does not know. Take it out",
                "NOTE argocd-cm: oidc.config has the key 'clientSecrets', which Argo CD does not know. Take it out",
            ],
            id="unknown",
        ),
        pytest.param(
            files("clientID: a"),
            ["BROKEN argocd-cm: oidc.config has no issuer. Set it"],
            id="no issuer",
        ),
        pytest.param(
            files("issuer: https://a"),
            ["BROKEN argocd-cm: oidc.config has no clientID. Set it"],
            id="no client",
        ),
        pytest.param(
            files(OIDC + "allowedAudiences: [other]"),
            [
                "BROKEN argocd-cm: oidc.config: allowedAudiences does not have the clientID, so Argo CD would refuse its tokens. Add it"
            ],
            id="audiences",
        ),
        pytest.param(
            files(OIDC + "refreshTokenThreshold: 5m"),
            [
                "NOTE argocd-cm: oidc.config: refreshTokenThreshold has no effect on logins through the sidecar: Argo CD has no refresh token of theirs. Take it out"
            ],
            id="threshold",
        ),
        pytest.param(
            files(oidc_tls_insecure_skip_verify="true"),
            [
                "NOTE argocd-cm: oidc.tls.insecure.skip.verify switches off the check of the provider's certificate, here too. Give rootCA instead"
            ],
            id="skip",
        ),
        pytest.param(
            files(additionalUrls="["),
            ["NOTE argocd-cm: additionalUrls is no YAML (line 1), and is ignored. Correct it"],
            id="urls yaml",
        ),
        pytest.param(
            files(additionalUrls="https://a"),
            ["NOTE argocd-cm: additionalUrls is no list of addresses, and is ignored. Correct it"],
            id="urls",
        ),
        pytest.param(
            files(additionalUrls="[1]"),
            ["NOTE argocd-cm: additionalUrls is no list of addresses, and is ignored. Correct it"],
            id="urls 2",
        ),
        pytest.param(
            files(users_session_duration="1w"),
            [
                "NOTE argocd-cm: users.session.duration is not a number with s, m, h or d, and is ignored. Write 24h"
            ],
            id="duration",
        ),
        pytest.param(
            files(rbac={"scopes": b"groups"}),
            [
                "NOTE argocd-rbac-cm: scopes is no list of up to 20 claims; what is none is ignored. Write [groups]"
            ],
            id="scopes",
        ),
        pytest.param(
            files(params={"redis.db": b"x"}),
            ["NOTE argocd-cmd-params-cm: redis.db is no number, so it is 0, as for Argo CD"],
            id="db",
        ),
        pytest.param(
            files(
                params={},
                others={"argocd-redis": Secret({"auth": b"\xff", "auth_username": b"\xff"})},
            ),
            [
                "NOTE argocd-redis: auth_username is no UTF-8 text. Correct it",
                "NOTE argocd-redis: auth is no UTF-8 text. Correct it",
            ],
            id="credential",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $a.b"),
            [
                "DOUBTFUL argocd-cm: oidc.config: clientSecret begins with $, and argocd-secret has no such key, so it is taken as it stands. Add the key, or correct the reference"
            ],
            id="ref none",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $a.b", secret=None),
            [
                "BROKEN argocd-cm: oidc.config: clientSecret refers to argocd-secret, which cannot be seen. Mount it whole"
            ],
            id="ref none unseen",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $a b", secret=None),
            [
                "DOUBTFUL argocd-cm: oidc.config: clientSecret begins with $, and argocd-secret has no such key, so it is taken as it stands. Add the key, or correct the reference"
            ],
            id="ref none unseen odd",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $sso:b", others={"sso": Secret({})}),
            [
                "DOUBTFUL argocd-cm: oidc.config: clientSecret refers to a key that the Secret sso does not have. Add it"
            ],
            id="ref other",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $argocd-secret:b"),
            [
                "DOUBTFUL argocd-cm: oidc.config: clientSecret refers to a key that the Secret argocd-secret does not have. Add it"
            ],
            id="ref own",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $argocd-secret:b", secret=None),
            [
                "BROKEN argocd-cm: oidc.config: clientSecret refers to the Secret argocd-secret, which cannot be seen. Mount it whole"
            ],
            id="ref own unseen",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $sso:b"),
            [
                "BROKEN argocd-cm: oidc.config: clientSecret refers to the Secret sso, which cannot be seen. Mount it at secrets/sso"
            ],
            id="ref unseen",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $sso:b", namespace="argocd"),
            [
                "BROKEN argocd-cm: oidc.config: clientSecret refers to the Secret sso, which cannot be seen. See that it is in argocd, and that the Role covers it"
            ],
            id="ref unseen ns",
        ),
        pytest.param(
            files(
                OIDC + "clientSecret: $sso:b",
                others={"sso": Secret({"b": b"c"}, part_of_argocd=False)},
            ),
            [
                "DOUBTFUL argocd-cm: oidc.config: clientSecret refers to the Secret sso, which Argo CD does not look into. Label it app.kubernetes.io/part-of: argocd"
            ],
            id="ref label",
        ),
        pytest.param(
            files(OIDC + "clientSecret: $b", secret={**S, "b": b"\xff"}),
            [
                "BROKEN argocd-cm: oidc.config: clientSecret refers to a secret that is no UTF-8 text. Correct it"
            ],
            id="ref bin",
        ),
        pytest.param(
            files(None, dex_config="hunter2"),
            [
                "BROKEN argocd-cm: dex.config is no mapping of keys to values: no Dex starts with it. Correct it"
            ],
            id="dex broken",
        ),
        pytest.param(
            files(None, dex_config="connectors: [{type: saml, id: corp}, {type: oauth}]"),
            [
                "NOTE argocd-cm: dex.config: connectors has corp (saml), without an id (oauth), to which Dex gives no refresh token: such a session lasts as long as its ID token, then the browser logs in anew. Use another connector (oidc, ldap, github), or longer expiry.idTokens"
            ],
            id="dex saml",
        ),
        pytest.param(
            files(None, dex_config="connectors: [{type: saml, id: corp}, {type: github, id: hub}]"),
            [
                "NOTE argocd-cm: dex.config: connectors has corp (saml), to which Dex gives no refresh token: such a session lasts as long as its ID token, then the browser logs in anew; those of the other connectors are renewed. Use another connector (oidc, ldap, github), or longer expiry.idTokens"
            ],
            id="dex both",
        ),
        pytest.param(
            files(None, dex_config=DEX + "oauth2: {grantTypes: [authorization_code]}"),
            [
                "NOTE argocd-cm: dex.config: oauth2.grantTypes leaves out refresh_token, so that no login can be renewed. Add it"
            ],
            id="dex off",
        ),
        pytest.param(
            files(None, dex_config=DEX, secret={}),
            [
                "BROKEN argocd-cm: dex.config needs server.secretkey of argocd-secret, from which the client's secret at Dex is derived, and that is not there (yet). Mount it whole"
            ],
            id="dex key",
        ),
        pytest.param(
            files(None, dex_config=DEX, secret=None, namespace="argocd"),
            [
                "BROKEN argocd-cm: dex.config needs server.secretkey of argocd-secret, from which the client's secret at Dex is derived, and that is not there (yet). See that it is in argocd, and that the Role covers it"
            ],
            id="dex key ns",
        ),
        pytest.param(
            files(None, dex_config=DEX, dex_auth_connectorId="lab"),
            [
                "NOTE argocd-cm: dex.auth.connectorId is the id of no connector in dex.config, and is ignored. Correct it"
            ],
            id="dex connector",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(given: ArgoCdFiles, told: list[str]) -> None:
    found = read_argocd_config(given).findings

    assert [f"{each.weight.name} {each}" for each in found] == told


def test_settings_that_are_awaited_are_said_to_be() -> None:
    assert AWAITED.weight is Weight.BROKEN
    assert str(AWAITED) == (
        "The Kubernetes API has not said yet what Argo CD's settings are. They count as soon as "
        "it does; the log says what is wrong"
    )


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("argocd-cm", "Mount it whole"),
        ("argocd-secret", "Mount it whole"),
        ("argocd-cmd-params-cm", "Mount it whole"),
        ("sso", "Mount it at secrets/sso"),
    ],
)
def test_what_cannot_be_seen_is_mounted(name: str, mend: str) -> None:
    assert ArgoCdFiles().mend(name) == mend


def test_settings_that_say_little_are_these() -> None:
    assert read_argocd_config(files()) == ArgoCdConfig(
        url="https://argocd.example.org",
        oidc=Oidc(issuer="https://idp", client_id="argocd"),
        secret_key=b"key",
    )


def test_what_is_not_set_is_nothing_of_its_kind() -> None:
    assert repr(ArgoCdConfig()) == (
        "ArgoCdConfig(url='', additional_urls=(), oidc=None, dex=None, "
        "tls_insecure_skip_verify=False, session_seconds=None, anonymous=False, root_path=None, "
        "insecure=None, redis=None, redis_key_prefix='', certificate_in='', groups_claims=(), "
        "findings=())"
    )
    assert (ArgoCdConfig().secret_key, Oidc().client_secret, Dex(()).client_secret) == (b"", "", "")
    assert repr(Oidc()) == (
        "Oidc(name='', issuer='', client_id='', cli_client_id='', enable_user_info_groups=False, "
        "user_info_base_url='', user_info_path='', user_info_cache_expiration='', "
        "requested_scopes=(), requested_id_token_claims='', logout_url='', root_ca='', "
        "enable_pkce_authentication=False, domain_hint='', azure=Azure("
        "use_workload_identity=False, enable_user_group_overage_claim=False, "
        "graph_api_endpoint='', user_group_overage_claim_cache_expiration=''), "
        "refresh_token_threshold='', allowed_audiences=(), "
        "skip_audience_check_when_token_has_no_audience=False)"
    )
    assert repr(Dex(())) == (
        "Dex(connectors=(), reuse_seconds=0.0, refresh_is_off=False, id_token_seconds=None, "
        "issuer='', server='', strict_tls=False, authority='', connector_id='')"
    )
    assert repr(ArgoCdFiles()) == (
        "ArgoCdFiles(cm=None, params=None, others={}, namespace='', awaited=False, rbac=None)"
    )
    assert ArgoCdFiles().secret is None
    assert repr(Secret({"a": b"hunter2"})) == "Secret(part_of_argocd=None)"
    assert repr(Redis("a:1", 0)) == "Redis(address='a:1', database=0, username='', sentinel=False)"
    assert Redis("a:1", 0).password is None


def test_all_that_is_set_is_read() -> None:
    given = files(
        params={
            "server.rootpath": b"/argo/",
            "server.insecure": b"true",
            "redis.server": b"redis:1",
            "redis.db": b"2",
            "redis.sentinel.hosts": b"a:1",
            "redis.key.prefix": b"team:",
        },
        others={"argocd-redis": Secret({"auth": b"p", "auth_username": b"u"})},
        secret={**S, "tls.crt": b"c", "tls.key": b"k"},
        rbac={"scopes": b"[groups]"},
        additionalUrls="- https://b",
        users_session_duration="8h",
        users_anonymous_enabled="true",
    )

    assert read_argocd_config(given) == ArgoCdConfig(
        url="https://argocd.example.org",
        additional_urls=("https://b",),
        oidc=Oidc(issuer="https://idp", client_id="argocd"),
        session_seconds=28800.0,
        anonymous=True,
        root_path="argo",
        insecure=True,
        redis=Redis("redis:1", 2, "u", "p", sentinel=True),
        redis_key_prefix="team:",
        secret_key=b"key",
        certificate_in="argocd-secret",
        groups_claims=("groups",),
    )


def test_all_that_argo_cd_reads_of_oidc_config_is_read() -> None:
    text = """
name: SSO
issuer: https://idp
clientID: argocd
clientSecret: hunter2
cliClientID: cli
enableUserInfoGroups: true
userInfoBaseURL: https://info
userInfoPath: /info
userInfoCacheExpiration: 5m
requestedScopes: [openid, ~]
requestedIDTokenClaims: {groups: {essential: true, value: a, values: [b], other: c}}
logoutURL: https://idp/logout
rootCA: pem
enablePKCEAuthentication: true
domainHint: example.org
azure:
  useWorkloadIdentity: true
  enableUserGroupOverageClaim: true
  graphApiEndpoint: https://graph
  userGroupOverageClaimCacheExpiration: 6m
refreshTokenThreshold: 7m
allowedAudiences: [argocd]
skipAudienceCheckWhenTokenHasNoAudience: true
"""

    assert read_argocd_config(files(text)).oidc == Oidc(
        "SSO",
        "https://idp",
        "argocd",
        "hunter2",
        "cli",
        True,
        "https://info",
        "/info",
        "5m",
        ("openid", ""),
        '{"id_token":{"groups":{"essential":true,"value":"a","values":["b"]}}}',
        "https://idp/logout",
        "pem",
        True,
        "example.org",
        Azure(True, True, "https://graph", "6m"),
        "7m",
        ("argocd",),
        True,
    )


def test_the_dex_that_all_settings_make_is_this_one() -> None:
    text = (
        "connectors: [{type: github, id: hub}]\nenablePasswordDB: true\n"
        "expiry: {idTokens: 1h2m3.5s, refreshTokens: {reuseInterval: 1500ms}}\n"
        "oauth2: {grantTypes: [authorization_code]}\n"
    )
    params = {
        "server.dex.server": b"dex:1",
        "server.dex.server.plaintext": b"true",
        "server.dex.server.strict.tls": b"1",
    }
    others = {"argocd-dex-server-tls": Secret({"ca.crt": b"an authority\xff"})}

    found = read_argocd_config(
        files(None, params=params, others=others, dex_config=text, dex_auth_connectorId="hub")
    )

    assert found.dex == Dex(
        (Connector("hub", "github"), Connector("local", "local")),
        reuse_seconds=1.5,
        refresh_is_off=True,
        id_token_seconds=3723.5,
        issuer="https://argocd.example.org/api/dex",
        client_secret=client_secret(b"key"),
        server="http://dex:1",
        strict_tls=True,
        authority="an authority\ufffd",
        connector_id="hub",
    )


def test_weights_have_these_words() -> None:
    assert [each.value for each in Weight] == ["note", "doubtful", "broken", "absent"]
