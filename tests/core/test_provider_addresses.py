"""Where a provider's endpoints are, whatever its metadata say."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.provider_addresses import (
    BROWSER_ENDPOINTS,
    NO_ENDPOINTS,
    REQUIRED,
    SERVER_ENDPOINTS,
    ProviderAddresses,
    endpoints_at,
    is_issuer,
    seen_from_here,
    seen_from_outside,
)
from tests.core.examples import properties

PUBLIC = "https://sso.example.org/realms/argo"
INSIDE = "http://keycloak.sso.svc:8080/realms/argo"
SPLIT = ProviderAddresses(PUBLIC, INSIDE)
PATHS = {
    "authorization_endpoint": "auth",
    "end_session_endpoint": "logout",
    "token_endpoint": "token",
    "jwks_uri": "certs",
    "revocation_endpoint": "revoke",
    "userinfo_endpoint": "me",
}
EVERYWHERE = {
    name: f"{PUBLIC if name in BROWSER_ENDPOINTS else INSIDE}/{path}"
    for name, path in PATHS.items()
}


def metadata(browsers: str, servers: str, **changes: object) -> dict[str, Any]:
    """Metadata with browser endpoints at one base, server endpoints at another."""
    named = {
        name: f"{browsers if name in BROWSER_ENDPOINTS else servers}/{path}"
        for name, path in PATHS.items()
    }
    return {**named, **changes}


# Three behaviours that were measured, of documents fetched through an internal address


def test_a_provider_that_names_public_endpoints_only_is_asked_inside_as_dex_needs_it() -> None:
    assert endpoints_at(SPLIT, metadata(PUBLIC, PUBLIC)).urls == EVERYWHERE


def test_a_provider_that_names_each_endpoint_where_it_belongs_is_believed_as_keycloak() -> None:
    assert endpoints_at(SPLIT, metadata(PUBLIC, INSIDE)).urls == EVERYWHERE


def test_a_provider_that_names_inside_what_browsers_need_is_corrected_as_oidc_provider() -> None:
    assert endpoints_at(SPLIT, metadata(INSIDE, INSIDE)).urls == EVERYWHERE


# Prefixes


@pytest.mark.parametrize(
    ("issuer", "internal", "named", "asked"),
    [
        pytest.param(
            "https://argo.example.org/orchestrator/api/dex", "http://dex:5556/dex",
            "https://argo.example.org/orchestrator/api/dex/token", "http://dex:5556/dex/token",
            id="another path",
        ),
        pytest.param(
            "https://argo.example.org/api/dex", "https://argocd-dex-server:5556/api/dex",
            "https://argo.example.org/api/dex/token", "https://argocd-dex-server:5556/api/dex/token",
            id="the same path",
        ),
        pytest.param(
            "https://sso.example.org/auth/application/o/argo/",
            "http://authentik:9000/application/o/argo",
            "https://sso.example.org/auth/application/o/token/",
            "http://authentik:9000/application/o/token/",
            id="beside the issuer",
        ),
        pytest.param(
            "https://sso.example.org/realms/argo", "http://gateway/sso",
            "https://sso.example.org/other/token", "http://gateway/other/token",
            id="at its host, elsewhere",
        ),
        pytest.param(
            "https://sso.example.org/a", "http://sso:8080/a",
            "https://sso.example.org/abc/token?tenant=1", "http://sso:8080/abc/token?tenant=1",
            id="a path that only begins alike",
        ),
        pytest.param(
            "https://sso.example.org/a/dex", "http://sso:8080/b/dex",
            "https://sso.example.org/abc/token", "http://sso:8080/abc/token",
            id="a path that only begins as the issuer's",
        ),
        pytest.param(
            "https://sso.example.org/auth/dex", "https://sso.example.org/dex",
            "https://sso.example.org/auth/dex/token", "https://sso.example.org/dex/token",
            id="public below internal",
        ),
        pytest.param(
            "https://sso.example.org", "http://sso.example.org",
            "https://SSO.example.org:443/token", "http://sso.example.org/token",
            id="one host with two schemes",
        ),
        pytest.param(
            "http://sso.example.org/auth/dex", "https://sso.example.org/dex",
            "http://sso.example.org/auth/dex/token", "https://sso.example.org/dex/token",
            id="public below internal, without TLS",
        ),
        pytest.param(
            "https://sso.example.org:80/a", "http://sso.example.org:8080/b",
            "https://sso.example.org/a/token", "http://sso.example.org:8080/b/token",
            id="another usual port",
        ),
        pytest.param(
            "https://gate.example.org/api/dex", "https://gate.example.org/inside/dex",
            "https://gate.example.org/api/dex/token", "https://gate.example.org/inside/dex/token",
            id="one host with two paths",
        ),
        pytest.param(
            PUBLIC, INSIDE, "http://sso.example.org/realms/argo/token", f"{INSIDE}/token",
            id="a scheme that a proxy has hidden",
        ),
        pytest.param(
            "https://sso.example.org/aX", "http://sso:8080/bX",
            "https://sso.example.org/aX/token", "http://sso:8080/bX/token",
            id="paths of which only the last letter is the same",
        ),
        pytest.param(
            "https://sso.example.org/a/", "http://sso:8080/b?tenant=1",
            "https://sso.example.org/a/token?x=2", "http://sso:8080/b/token?x=2",
            id="an address with a query",
        ),
        pytest.param(
            "https://sso.example.org:8443/dex", "https://dex:5556/dex",
            "https://sso.example.org:8443/dex", "https://dex:5556/dex",
            id="nothing behind the path",
        ),
        pytest.param(
            "http://localhost:8080/orchestrator/api/dex", "http://127.0.0.1:5556/orchestrator/api/dex",
            "http://localhost:8080/orchestrator/api/dex/token",
            "http://127.0.0.1:5556/orchestrator/api/dex/token",
            id="behind a port-forward",
        ),
    ],
)  # fmt: skip
def test_the_internal_url_takes_the_place_of_what_the_issuer_has_before_it(
    issuer: str, internal: str, named: str, asked: str
) -> None:
    addresses = ProviderAddresses(issuer, internal)

    urls = endpoints_at(addresses, metadata(issuer, issuer, token_endpoint=named)).urls

    assert urls["token_endpoint"] == asked


@pytest.mark.parametrize(
    ("issuer", "internal", "named", "seen"),
    [
        pytest.param(
            "https://argo.example.org/orchestrator/api/dex", "http://dex:5556/dex",
            "http://dex:5556/dex/auth", "https://argo.example.org/orchestrator/api/dex/auth",
            id="another path",
        ),
        pytest.param(
            PUBLIC, INSIDE, "http://keycloak.sso.svc:8080/elsewhere",
            "https://sso.example.org/elsewhere",
            id="at the internal host, elsewhere",
        ),
        pytest.param(
            PUBLIC, INSIDE, "https://login.example.org/auth", "https://login.example.org/auth",
            id="a login at a host of its own",
        ),
        pytest.param(
            PUBLIC, INSIDE, "http://sso.example.org/realms/argo/auth",
            "https://sso.example.org/realms/argo/auth",
            id="a scheme that a proxy has hidden",
        ),
        pytest.param(
            "https://gate.example.org/api/dex", "https://gate.example.org/inside/dex",
            "https://gate.example.org/inside/dex/auth", "https://gate.example.org/api/dex/auth",
            id="one host with two paths",
        ),
        pytest.param(
            "https://sso.example.org/auth/dex", "https://sso.example.org/dex",
            "https://sso.example.org/auth/dex/login", "https://sso.example.org/auth/dex/login",
            id="public below internal",
        ),
    ],
)  # fmt: skip
def test_browsers_are_sent_to_the_issuers_address_or_to_a_host_that_nobody_else_has(
    issuer: str, internal: str, named: str, seen: str
) -> None:
    addresses = ProviderAddresses(issuer, internal)
    document = metadata(issuer, issuer, authorization_endpoint=named, end_session_endpoint=named)

    urls = endpoints_at(addresses, document).urls

    assert [urls[name] for name in BROWSER_ENDPOINTS] == [seen, seen]


def test_browsers_are_not_sent_to_where_only_the_document_is() -> None:
    addresses = ProviderAddresses(
        PUBLIC, discovery_url=f"{INSIDE}/.well-known/openid-configuration"
    )

    urls = endpoints_at(addresses, metadata(INSIDE, INSIDE)).urls

    assert urls == EVERYWHERE


def test_a_document_at_another_path_inside_leads_to_what_the_issuer_has_in_its_place() -> None:
    addresses = ProviderAddresses(
        "https://argo.example.org/orchestrator/api/dex",
        discovery_url="http://dex:5556/dex/.well-known/openid-configuration",
    )

    urls = endpoints_at(addresses, metadata("http://dex:5556/dex", "http://dex:5556/dex")).urls

    assert urls["authorization_endpoint"] == "https://argo.example.org/orchestrator/api/dex/auth"
    assert urls["token_endpoint"] == "http://dex:5556/dex/token"


def test_metadata_at_another_path_of_the_issuers_host_move_no_endpoint_as_entras() -> None:
    login = "https://login.example.org"
    addresses = ProviderAddresses(
        f"{login}/a-tenant/v2.0",
        discovery_url=f"{login}/common/v2.0/.well-known/openid-configuration",
    )

    urls = endpoints_at(addresses, metadata(f"{login}/common", f"{login}/common")).urls

    assert urls == metadata(f"{login}/common", f"{login}/common")


# Overrides


def test_an_override_counts_whatever_the_document_says() -> None:
    overrides = tuple((name, f"https://{name}.example") for name in PATHS)
    addresses = ProviderAddresses(PUBLIC, INSIDE, overrides=overrides)

    for document in ({}, metadata(PUBLIC, INSIDE), metadata("http://evil", "http://evil")):
        assert endpoints_at(addresses, document) == (dict(overrides), {})


def test_an_override_of_one_endpoint_leaves_the_others() -> None:
    addresses = ProviderAddresses(PUBLIC, overrides=(("token_endpoint", "http://inside/token"),))

    urls = endpoints_at(addresses, metadata(PUBLIC, PUBLIC)).urls

    assert urls["token_endpoint"] == "http://inside/token"
    assert urls["jwks_uri"] == f"{PUBLIC}/certs"


# What a document must not do


@pytest.mark.parametrize("name", SERVER_ENDPOINTS)
@pytest.mark.parametrize(
    "third",
    [
        "http://evil.example", "https://evil.example", "https://sso.example.org:8443",
        "http://keycloak.sso.svc:8081", "https://sso.example.org.evil.example",
    ],
)  # fmt: skip
def test_with_an_internal_url_no_document_leads_the_sidecar_to_a_third_place(
    name: str, third: str
) -> None:
    urls, refused = endpoints_at(SPLIT, metadata(PUBLIC, INSIDE, **{name: f"{third}/x"}))

    assert name not in urls
    assert refused == {
        name: f"has its {name} at {third}, which is neither the issuer's address nor "
        f"SIDECAR_ISSUER_INTERNAL_URL. Set SIDECAR_{name.upper()}"
    }


@pytest.mark.parametrize("name", SERVER_ENDPOINTS)
def test_no_document_leads_the_sidecar_to_another_host_without_tls(name: str) -> None:
    addresses = ProviderAddresses(PUBLIC)
    led_away = metadata(PUBLIC, PUBLIC, **{name: "http://evil.example/x"})

    urls, refused = endpoints_at(addresses, led_away)

    assert name not in urls
    assert refused == {
        name: f"has its {name} at http://evil.example, without TLS. "
        f"Mend the provider's metadata, or set SIDECAR_{name.upper()}"
    }


@pytest.mark.parametrize("name", SERVER_ENDPOINTS)
def test_the_issuers_own_host_is_asked_by_tls_though_the_document_names_http(name: str) -> None:
    document = metadata(PUBLIC, PUBLIC, **{name: "http://sso.example.org/x"})

    assert endpoints_at(ProviderAddresses(PUBLIC), document).urls[name] == (
        "https://sso.example.org/x"
    )


def test_the_issuers_own_host_is_asked_at_the_issuers_port() -> None:
    document = metadata(PUBLIC, PUBLIC, token_endpoint="http://sso.example.org:80/x")

    assert endpoints_at(ProviderAddresses(PUBLIC), document).urls["token_endpoint"] == (
        "https://sso.example.org/x"
    )


def test_another_port_of_the_issuers_host_is_not_asked_without_tls() -> None:
    document = metadata(PUBLIC, PUBLIC, token_endpoint="http://sso.example.org:8080/x")

    assert {*endpoints_at(ProviderAddresses(PUBLIC), document).refused} == {"token_endpoint"}


def test_tls_at_the_issuers_host_is_not_given_up_where_the_issuer_has_none() -> None:
    issuer = "http://sso.example.org"

    urls = endpoints_at(
        ProviderAddresses(issuer), metadata("https://sso.example.org", "https://sso.example.org")
    ).urls

    assert {urlsplit(url).scheme for url in urls.values()} == {"https"}


def test_another_host_behind_tls_is_a_providers_right_as_cognitos_and_googles() -> None:
    document = metadata(PUBLIC, PUBLIC, token_endpoint="https://tokens.example.org/token")

    urls = endpoints_at(ProviderAddresses(PUBLIC), document).urls

    assert urls["token_endpoint"] == "https://tokens.example.org/token"


@pytest.mark.parametrize(
    "addresses",
    [
        ProviderAddresses("http://sso:8080/dex"),
        ProviderAddresses(PUBLIC, discovery_url="http://sso/dex.json"),
    ],
)
def test_where_an_operator_has_named_a_host_without_tls_its_endpoints_need_none(
    addresses: ProviderAddresses,
) -> None:
    document = metadata(PUBLIC, "http://sso:5556/dex")

    assert endpoints_at(addresses, document).urls["token_endpoint"] == "http://sso:5556/dex/token"


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize(
    "named",
    [
        None, 7, "", "/token", "ldap://sso/token", "https://", "https://sso.example.org:0x1/",
        "https://somebody@sso.example.org/token", "https://sso.example.org\\@evil/token",
        "https://sso.example.org/to ken", "https://sso.example.org/\ntoken", "https://[::1/token",
        "https://sso.example.org/" + "x" * 2048,
    ],
)  # fmt: skip
@pytest.mark.parametrize("addresses", [ProviderAddresses(PUBLIC), SPLIT], ids=["one", "split"])
def test_what_parsers_could_read_differently_is_no_endpoint(
    name: str, named: object, addresses: ProviderAddresses
) -> None:
    urls, refused = endpoints_at(addresses, metadata(PUBLIC, PUBLIC, **{name: named}))

    assert name not in urls
    assert refused == {
        name: f"has no usable {name}. Mend the provider's metadata, or set SIDECAR_{name.upper()}"
    }


@pytest.mark.parametrize("addresses", [ProviderAddresses(PUBLIC), SPLIT], ids=["one", "split"])
def test_of_a_strangers_address_no_more_is_shown_than_its_beginning(
    addresses: ProviderAddresses,
) -> None:
    origin = f"http://{'x' * 300}.example"

    _, refused = endpoints_at(addresses, metadata(PUBLIC, PUBLIC, token_endpoint=f"{origin}/x"))

    assert f" at {origin[:200]}, w" in refused["token_endpoint"]


def test_what_nobody_needs_may_be_missing() -> None:
    document = {name: f"{PUBLIC}/{name}" for name in REQUIRED}

    urls, refused = endpoints_at(SPLIT, document)

    assert set(urls) == set(REQUIRED)
    assert refused == {}


_PARTS = st.sampled_from(
    ["http:", "https:", "//", "/", "sso.example.org", "keycloak.sso.svc", ":8080", ":443", "@",
     "evil.example", "realms", "argo", "..", "?", "#", "%2f", "[::1]", ".", "\\", " "]
)  # fmt: skip


@properties
@given(named=st.lists(_PARTS, max_size=10).map("".join))
def test_whatever_a_document_names_server_endpoints_stay_inside_and_browsers_outside(
    named: str,
) -> None:
    urls, refused = endpoints_at(SPLIT, dict.fromkeys(PATHS, named))

    for name in SERVER_ENDPOINTS:
        assert name not in urls or urls[name].startswith("http://keycloak.sso.svc:8080")
        assert name in urls or name in refused or name not in REQUIRED
    for name in BROWSER_ENDPOINTS:
        assert urlsplit(urls.get(name, "")).netloc != "keycloak.sso.svc:8080"


# The document, and who may differ from the issuer


@pytest.mark.parametrize(
    ("addresses", "url"),
    [
        (ProviderAddresses(PUBLIC), f"{PUBLIC}/.well-known/openid-configuration"),
        (ProviderAddresses(f"{PUBLIC}/X"), f"{PUBLIC}/X/.well-known/openid-configuration"),
        (ProviderAddresses(f"{PUBLIC}/"), f"{PUBLIC}/.well-known/openid-configuration"),
        (SPLIT, f"{INSIDE}/.well-known/openid-configuration"),
        (ProviderAddresses(PUBLIC, INSIDE, "http://files/oidc.json"), "http://files/oidc.json"),
    ],
)
def test_the_document_is_asked_for_where_the_sidecar_reaches_it(
    addresses: ProviderAddresses, url: str
) -> None:
    assert addresses.metadata_url == url


ALIASES = ("http://sso.example.org/realms/argo", "https://sts.example.net/{tenantid}/")
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"


@pytest.mark.parametrize("name", [PUBLIC, *ALIASES])
def test_a_document_may_have_the_issuers_name_or_an_alias_to_the_letter(name: str) -> None:
    assert ProviderAddresses(PUBLIC, aliases=ALIASES).may_be_named(name)


@pytest.mark.parametrize(
    "name",
    [INSIDE, f"{PUBLIC}/", PUBLIC.upper(), "", None, 7, f"https://sts.example.net/{TENANT}/"],
)
def test_a_document_may_have_no_other_name_not_even_the_internal_one(name: object) -> None:
    assert not ProviderAddresses(PUBLIC, INSIDE, aliases=ALIASES).may_be_named(name)


@pytest.mark.parametrize(
    ("claimed", "tenant"),
    [
        (PUBLIC, None),
        (PUBLIC, TENANT),
        (ALIASES[0], None),
        (ALIASES[0], TENANT),
        (f"https://sts.example.net/{TENANT}/", TENANT),
        (f"https://sts.example.net/{TENANT.upper()}/", TENANT.upper()),
    ],
)
def test_a_token_may_have_the_issuers_name_or_an_alias_filled_with_its_own_tenant(
    claimed: str, tenant: str | None
) -> None:
    assert is_issuer(claimed, tenant, issuer=PUBLIC, aliases=ALIASES)


@pytest.mark.parametrize(
    ("claimed", "tenant"),
    [
        (INSIDE, None),
        (f"{PUBLIC}/", None),
        (None, None),
        (7, None),
        ([PUBLIC], None),
        (ALIASES[1], None),
        (ALIASES[1], "{tenantid}"),
        (f"https://sts.example.net/{TENANT}/", None),
        (f"https://sts.example.net/{TENANT}/", TENANT[::-1]),
        (f"https://sts.example.net/{TENANT}/", TENANT.replace("7", "8")),
        ("https://sts.example.net/evil/", "evil"),
        (f"https://sts.example.net/{TENANT}/../", f"{TENANT}/.."),
    ],
)
def test_a_token_may_have_no_other_name_nor_another_tenants(
    claimed: object, tenant: object
) -> None:
    assert not is_issuer(claimed, tenant, issuer=PUBLIC, aliases=ALIASES)


def test_nobody_but_the_issuer_is_named_where_no_alias_is_set() -> None:
    assert is_issuer(PUBLIC, None, issuer=PUBLIC, aliases=())
    assert not is_issuer(ALIASES[0], None, issuer=PUBLIC, aliases=())


def test_what_browsers_see_has_an_address_inside_if_an_internal_one_is_set() -> None:
    assert seen_from_here(SPLIT, f"{PUBLIC}/auth") == f"{INSIDE}/auth"
    assert seen_from_here(SPLIT, "https://login.example.org/x") == "https://login.example.org/x"
    assert seen_from_here(ProviderAddresses(PUBLIC), f"{PUBLIC}/auth") == f"{PUBLIC}/auth"
    assert seen_from_here(SPLIT, "no address") == "no address"


def test_what_the_sidecar_asks_inside_has_an_address_outside_if_an_internal_one_is_set() -> None:
    assert seen_from_outside(SPLIT, f"{INSIDE}/token") == f"{PUBLIC}/token"
    assert seen_from_outside(SPLIT, f"{PUBLIC}/token") == f"{PUBLIC}/token"
    assert seen_from_outside(SPLIT, "no address") == "no address"
    hidden = "http://sso.example.org/realms/argo/token"
    assert seen_from_outside(ProviderAddresses(PUBLIC), hidden) == hidden


def test_an_issuer_that_is_no_address_has_nothing_inside() -> None:
    odd = ProviderAddresses("sso.example.org", INSIDE)

    urls, refused = endpoints_at(odd, metadata(PUBLIC, INSIDE))

    assert {*urls} == {*BROWSER_ENDPOINTS}
    assert {*refused} == {*SERVER_ENDPOINTS}
    assert seen_from_here(odd, f"{INSIDE}/token") == f"{INSIDE}/token"


def test_of_a_provider_of_which_nothing_is_set_the_issuer_is_all_that_is_known() -> None:
    plain = ProviderAddresses(PUBLIC)

    assert (plain.internal_url, plain.discovery_url) == ("", "")
    assert (plain.overrides, plain.aliases) == ((), ())
    assert NO_ENDPOINTS.urls == NO_ENDPOINTS.refused == {}
