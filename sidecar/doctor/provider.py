"""What follows from what the provider showed. Plain functions over values."""

from collections.abc import Iterator
from typing import Any

from sidecar.adapters.provider_http import egress_proxy
from sidecar.config.settings import Config
from sidecar.core.authorization import OfflineAccess
from sidecar.core.id_token import ALGORITHMS, read_keys
from sidecar.core.provider_profiles import Provider, ProviderProfile, matches, recognised
from sidecar.doctor.addresses import host_of, is_inside, is_loopback
from sidecar.doctor.client import of_authorization, of_token
from sidecar.doctor.clocks import clock
from sidecar.doctor.fetch import Problem
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.doctor.mends import mends_at
from sidecar.doctor.provider_addresses import asked_at, of_addresses
from sidecar.doctor.provider_look import ProviderSeen

_NO_LOGIN = "No login and no renewal works without it."
_ISSUER = "issuer in oidc.config, or SIDECAR_ISSUER"
# They give a refresh token by default, and list no scope for it.
_GIVE_ANYWAY = {
    Provider.COGNITO,
    Provider.GITLAB,
    Provider.KEYCLOAK,
    Provider.ADFS,
    Provider.PINGFEDERATE,
    Provider.ONELOGIN,
}
# Whose browser endpoints have another host than their issuer.
_SPREAD = {Provider.COGNITO, Provider.GOOGLE, Provider.ENTRA}


def of_provider(config: Config, seen: ProviderSeen) -> Iterator[Finding]:
    """Everything that is to be said of a provider."""
    unusable = _discovery_fault(config, seen)
    if unusable is not None:
        yield unusable
        return
    document, profile = seen.document, seen.profile
    yield _answers(config, seen)
    yield _profile(config, document, profile)
    yield from of_addresses(config, seen)
    if endpoint := seen.endpoints.urls.get("authorization_endpoint"):
        yield _browser(config, endpoint, profile)
    yield from _jwks(config, seen)
    yield _refresh_token(config, document, profile)
    yield from _scopes(config, document, profile)
    yield _pkce(document)
    if seen.authorization is not None:
        yield of_authorization(config, profile, seen.authorization)
    yield from of_token(config, seen)
    yield from clock("provider", "the provider", seen.discovery)


# Discovery


def _discovery_fault(config: Config, seen: ProviderSeen) -> Finding | None:
    """Why discovery cannot be used; None where it can."""
    found, name = seen.discovery, "provider.discovery"
    where = config.issuer
    if config.issuer_internal_url or config.discovery_url or config.resolve or _proxied(seen):
        where = asked_at(config, seen.addresses.metadata_url)
    if found.problem is not None:
        mend = _REACH.get(found.problem, f"Check {_ISSUER}, and what stands before it")
        return fault(name, f"{where} {found.problem}", _NO_LOGIN, mend)
    if found.status != 200:
        return fault(
            name, f"{where} answers discovery with {found.status}", _NO_LOGIN,
            f"Check {_ISSUER}: with /.well-known/openid-configuration behind it, it must answer, "
            "here or at SIDECAR_ISSUER_INTERNAL_URL",
        )  # fmt: skip
    if not seen.document:
        what = "a web page" if found.is_web_page else "no JSON object"
        return fault(
            name, f"{where} answers discovery with {what}", _NO_LOGIN,
            f"Check {_ISSUER}: what it leads to must answer without a login, and be the issuer",
        )  # fmt: skip
    if not seen.addresses.may_be_named(seen.document.get("issuer")):
        return fault(
            "provider.issuer",
            f"discovery names another issuer: {_short(seen.document.get('issuer'))}",
            "Every ID token would be refused, here and by Argo CD (Discovery 4.3).",
            f"Make {_ISSUER} equal to it to the letter, slash at the end included; or mend the "
            "name that the provider has for itself (its hostname behind the proxy). If it takes "
            "it from the request's Host: SIDECAR_RESOLVE keeps that",
        )
    return None


def _answers(config: Config, seen: ProviderSeen) -> Finding:
    where, named = seen.addresses.metadata_url, seen.document["issuer"]
    at = "" if where.startswith(config.issuer) else f" at {where}"
    how = "so" if named == config.issuer else f"{_short(named)}, which is an alias"
    return ok("provider.discovery", f"{config.issuer} answers{at}, and names itself {how}")


def _proxied(seen: ProviderSeen) -> bool:
    return egress_proxy(seen.addresses.metadata_url) is not None


_OPEN = (
    "Open the way from this pod: NetworkPolicy, firewall, HTTPS_PROXY and NO_PROXY; or say where "
    "it is from here, by SIDECAR_ISSUER_INTERNAL_URL or SIDECAR_RESOLVE"
)
_REACH = {
    Problem.CERTIFICATE: "Give its authority as rootCA in oidc.config, or by "
    "SIDECAR_PROVIDER_CA_FILE",
    Problem.OTHER_NAME: "Give the name in it by SIDECAR_PROVIDER_TLS_SERVER_NAME, or reach it by "
    "SIDECAR_RESOLVE, which keeps the name",
    Problem.NAME: "Correct the address, or the pod's DNS; or say where it is from here, by "
    "SIDECAR_ISSUER_INTERNAL_URL or SIDECAR_RESOLVE",
    Problem.REFUSED: _OPEN,
    Problem.SLOW: _OPEN,
    Problem.REDIRECTS: "Check the issuer's scheme, and what stands before the provider: it sends "
    "https to http and back",
    Problem.NO_TLS: "Write http:// in the address, or have the provider speak TLS there",
}


def _profile(config: Config, document: dict[str, Any], profile: ProviderProfile) -> Finding:
    shown = recognised(config.issuer, document)
    if config.provider is Provider.AUTO or shown.provider in (profile.provider, Provider.GENERIC):
        source = config.source("provider")
        how = "recognised" if config.provider is Provider.AUTO else f"as {source} says"
        return ok("provider.profile", f"{profile.title} ({how}): {profile.notes}")
    return warning(
        "provider.profile",
        f"it is taken for {profile.title}, and looks like {shown.title}",
        "Its refusals may be misread, and a spent token may be sent again.",
        f"Take SIDECAR_PROVIDER out, or set it to {shown.provider}",
    )


def _browser(config: Config, endpoint: str, profile: ProviderProfile) -> Finding:
    """Whether a browser can open what a pod can."""
    name, host, public = "provider.browser", host_of(endpoint), host_of(config.public_url)
    inside = is_inside(host) and not is_inside(public)
    if inside or (is_loopback(host) and not is_loopback(public)):
        return fault(
            name,
            f"browsers are sent to {host}, which only the cluster knows",
            "The login page never opens.",
            "Have the provider name its public address whatever the request's Host is (for "
            "Keycloak: hostname=https://… with hostname-backchannel-dynamic=true), or set "
            "SIDECAR_ISSUER to the public address and SIDECAR_ISSUER_INTERNAL_URL to this one",
        )
    if config.public_url.startswith("https:") and endpoint.startswith("http:"):
        return warning(
            name,
            "Argo CD is https, and the provider's login page http",
            "Passwords travel in clear text.",
            "Tell the provider that it is behind TLS (X-Forwarded-Proto, or its hostname setting)",
        )
    if host != host_of(config.issuer) and profile.provider not in _SPREAD:
        return warning(
            name,
            f"browsers are sent to {host}, and the issuer is at {host_of(config.issuer)}",
            "Behind a wrong Host header, a provider names an address that browsers cannot open.",
            "Open it in a browser; if it does not work, mend the provider's hostname",
        )
    return ok(name, f"browsers are sent to {host}")


# Keys


def _jwks(config: Config, seen: ProviderSeen) -> Iterator[Finding]:
    name, why = "provider.jwks", "No ID token can be verified, here or by Argo CD."
    page, document = seen.jwks, seen.document
    jwks_uri = seen.endpoints.urls.get("jwks_uri")
    if page is None or jwks_uri is None:
        return
    if page.problem is not None or page.status != 200:
        what = page.problem or f"answers {page.status}"
        mend = _REACH.get(page.problem) if page.problem else None
        yield fault(
            name, f"the JWKS at {asked_at(config, jwks_uri)} {what}", why,
            mend or "Mend jwks_uri in the provider's metadata, or the provider",
        )  # fmt: skip
        return
    keys = read_keys(page.json())
    if not keys:
        yield fault(
            name, "the JWKS has no usable key", why,
            "Give the provider an RSA, EC or Ed25519 key for signing (use: sig)",
        )  # fmt: skip
        return
    yield ok(name, f"{len(keys)} key{'s' if len(keys) > 1 else ''} for signatures")
    listed = _listed(document, "id_token_signing_alg_values_supported")
    if listed and not ALGORITHMS & set(listed):
        yield fault(
            "provider.algorithm", f"ID tokens are signed by {', '.join(listed[:5])} only", why,
            "Have the provider sign this client's ID tokens by RS256 or ES256",
        )  # fmt: skip


# What is asked for


def _refresh_token(config: Config, document: dict[str, Any], profile: ProviderProfile) -> Finding:
    name, why = "provider.refresh_token", "Without a refresh token every login ends with its token."
    mend, grants = (
        mends_at(profile.provider).renewing,
        _listed(document, "grant_types_supported"),
    )
    if grants and "refresh_token" not in grants:
        return fault(name, "the provider lists no grant type refresh_token", why, mend)
    if config.offline_access is OfflineAccess.NEVER:
        if profile.provider in _GIVE_ANYWAY:
            return ok(name, f"{profile.title} gives one unasked (SIDECAR_OFFLINE_ACCESS=never)")
        return warning(
            name, "no refresh token is asked for", why, "Take SIDECAR_OFFLINE_ACCESS=never out"
        )
    if profile.authorization:
        return ok(name, "asked for by " + "&".join(f"{k}={v}" for k, v in profile.authorization))
    if "offline_access" in _listed(document, "scopes_supported"):
        return ok(name, "asked for by the scope offline_access, which the provider lists")
    if config.offline_access is not OfflineAccess.AUTO or "offline_access" in config.scopes:
        return ok(name, "asked for by the scope offline_access, as the settings say")
    if profile.provider in _GIVE_ANYWAY:
        return ok(name, f"{profile.title} gives one unasked")
    return warning(
        name,
        "the provider does not list the scope offline_access, so it is not asked for",
        why,
        f"{mend}. If it takes the scope without listing it: SIDECAR_OFFLINE_ACCESS=always",
    )


def _scopes(
    config: Config, document: dict[str, Any], profile: ProviderProfile
) -> Iterator[Finding]:
    listed = _listed(document, "scopes_supported")
    asked = (s for s in config.scopes if not any(matches(p, s) for p in profile.unlisted_scopes))
    missing = [scope for scope in asked if listed and scope not in listed]
    if not missing:
        yield ok("provider.scopes", " ".join(config.scopes))
        return
    mend = mends_at(profile.provider).groups
    yield warning(
        "provider.scopes",
        f"asked for, and not listed by the provider: {' '.join(missing)}",
        "Some providers refuse the login for it; without groups nobody has a role in Argo CD.",
        mend if missing == ["groups"] else "Take them out of requestedScopes or SIDECAR_SCOPES",
    )


def _pkce(document: dict[str, Any]) -> Finding:
    methods = _listed(document, "code_challenge_methods_supported")
    if "S256" in methods:
        return ok("provider.pkce", "S256")
    what = "not S256" if methods else "nothing"
    return warning(
        "provider.pkce",
        f"of PKCE the provider lists {what}; every login sends S256",
        "A stolen code could be redeemed by others, unless the provider checks it all the same.",
        "Switch on PKCE with S256 for the client, where the provider has it",
    )


def _listed(document: dict[str, Any], name: str) -> list[str]:
    values = document.get(name)
    return [v for v in values if isinstance(v, str)] if isinstance(values, list) else []


def _short(value: object) -> str:
    return repr(value[:200]) if isinstance(value, str) else "one that is no text"
