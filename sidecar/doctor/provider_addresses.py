"""Where the provider is asked and where browsers are sent, and what is wrong with either."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from sidecar.adapters.provider_http import egress_proxy
from sidecar.config.environment import variable
from sidecar.config.settings import Config
from sidecar.core.provider_addresses import REQUIRED, SERVER_ENDPOINTS
from sidecar.doctor.addresses import host_of
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.doctor.provider_look import ProviderSeen

_NO_LOGIN = "No login and no renewal works without it."


def asked_at(config: Config, url: str) -> str:
    """An address as it was asked: what led to it, to which machine, by which proxy."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    led = next((f" ({variable(name)})" for name, base in _set(config) if url.startswith(base)), "")
    for one in config.resolve or ():
        if (one.host, one.port) == (parts.hostname, port):
            where = str(one).partition("=")[2]
            return f"{url}{led}, which is {where} by {variable('resolve')},"
    proxy = egress_proxy(url)
    return f"{url}{led} by the proxy {host_of(proxy)}" if proxy else f"{url}{led}"


def _set(config: Config) -> Iterator[tuple[str, str]]:
    """What is set about addresses, the whole ones first."""
    names = ("discovery_url", "authorization_endpoint", "end_session_endpoint", *SERVER_ENDPOINTS)
    for name in (*names, "issuer_internal_url"):
        if base := getattr(config, name):
            yield name, base


def of_addresses(config: Config, seen: ProviderSeen) -> Iterator[Finding]:
    """Which addresses count, and those that cannot be used."""
    for name, why in seen.endpoints.refused.items():
        what, _, mend = why.partition(". ")
        if name in REQUIRED:
            yield fault("provider.endpoints", f"discovery {what}", _NO_LOGIN, mend)
        else:
            yield warning(
                "provider.endpoints", f"discovery {what}", "It is taken not to be there.", mend
            )
    yield from _without_tls(seen)
    yield from _unchecked(config, seen)
    if any(_set(config)) or config.resolve:
        yield ok("provider.addresses", _told(config, seen))


def _told(config: Config, seen: ProviderSeen) -> str:
    urls = seen.endpoints.urls
    asked = dict.fromkeys(asked_at(config, urls[n]) for n in SERVER_ENDPOINTS if n in urls)
    return f"asked at {'; '.join(asked)}. Browsers are sent to {urls.get('authorization_endpoint')}"


def _without_tls(seen: ProviderSeen) -> Iterator[Finding]:
    """An https issuer whose metadata name http, where it is asked by https all the same."""
    used = seen.endpoints.urls.get("token_endpoint", "")
    if used.startswith("https:") and f"http{used[5:]}" == seen.document.get("token_endpoint"):
        yield warning(
            "provider.token_endpoint",
            "the issuer is https, and the provider names an http token endpoint",
            "The sidecar asks by https all the same; others send secrets in clear text.",
            "Tell the provider that it is behind TLS (X-Forwarded-Proto, or its hostname setting)",
        )


def _unchecked(config: Config, seen: ProviderSeen) -> Iterator[Finding]:
    """A check of the certificate that is switched off here; what Argo CD says is found there."""
    https = any(url.startswith("https:") for url in seen.endpoints.urls.values())
    here = config.source("provider_tls_verify") == variable("provider_tls_verify")
    if https and here and not config.provider_tls_verify:
        yield warning(
            "provider.tls",
            "the provider's certificate is not checked",
            "Whoever is in between gets the client's secret and all tokens.",
            f"Give its authority by {variable('provider_ca_file')}, and the name in it by "
            f"{variable('provider_tls_server_name')}",
        )
