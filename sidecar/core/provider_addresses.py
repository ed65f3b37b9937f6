"""Where a provider's endpoints are: for browsers always outside, for the sidecar always inside.

A provider that is reached by two addresses names in its metadata the one, the other, or both.
What counts is what is set here; its metadata only say what follows the address.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self
from urllib.parse import urlsplit

WELL_KNOWN = "/.well-known/openid-configuration"
BROWSER_ENDPOINTS = ("authorization_endpoint", "end_session_endpoint")
SERVER_ENDPOINTS = ("token_endpoint", "jwks_uri", "revocation_endpoint", "userinfo_endpoint")
REQUIRED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
TENANT = "{tenantid}"
_USUAL_PORT = 443  # and 80: at one host they are one place
_PRINTABLE = re.compile(r"[!-\[\]-~]{1,2048}")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class ProviderAddresses:
    """What is set about a provider's addresses; "" means: as everywhere else.

    `internal_url` is where the sidecar reaches what browsers reach at `issuer`. `overrides` are
    endpoints by their names in the metadata. `aliases` are other values of `iss`.
    """

    issuer: str
    internal_url: str = ""
    discovery_url: str = ""
    overrides: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def metadata_url(self) -> str:
        """Where the metadata are (OpenID Connect Discovery 1.0 section 4.1)."""
        return self.discovery_url or (self.internal_url or self.issuer).rstrip("/") + WELL_KNOWN

    def may_be_named(self, name: object) -> bool:
        """Whether metadata with this `issuer` are this provider's (Discovery 4.3).

        Equal to the letter to the issuer or to an alias, as which `{tenantid}` is a letter too.
        """
        return isinstance(name, str) and name in (self.issuer, *self.aliases)


def is_issuer(claimed: object, tenant: object, *, issuer: str, aliases: tuple[str, ...]) -> bool:
    """Whether a token's `iss` is the issuer's, or an alias; `tenant` is the token's `tid`.

    In an alias, `{tenantid}` stands for the tenant that the same token names, as Entra's keys
    that serve all tenants demand it.
    """
    if not isinstance(claimed, str):
        return False
    names = [issuer, *(alias for alias in aliases if TENANT not in alias)]
    if isinstance(tenant, str) and _GUID.fullmatch(tenant):
        names += [alias.replace(TENANT, tenant) for alias in aliases if TENANT in alias]
    return claimed in names


class Endpoints(NamedTuple):
    """The endpoints that can be used, by their names, and a sentence for each that cannot."""

    urls: Mapping[str, str]
    refused: Mapping[str, str]


NO_ENDPOINTS = Endpoints({}, {})


def endpoints_at(addresses: ProviderAddresses, metadata: Mapping[str, object]) -> Endpoints:
    """The endpoints that a provider's metadata have, each at the address where it is asked.

    Browser endpoints are at the issuer's address, server endpoints at the internal one. Without
    an internal one, a server endpoint may be anywhere behind TLS; without TLS, only at the host
    that was configured without: a client's secret must not be led away.
    """
    overrides = dict(addresses.overrides)
    urls: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name in (*BROWSER_ENDPOINTS, *SERVER_ENDPOINTS):
        given = _Url.read(metadata.get(name))
        if name in overrides:
            urls[name] = overrides[name]
        elif given is None:
            if name in REQUIRED:
                refused[name] = f"has no usable {name}. {_mend(name)}"
        elif name in BROWSER_ENDPOINTS:
            urls[name] = _for_browsers(given, addresses)
        elif url := _for_servers(given, addresses):
            urls[name] = url
        else:
            refused[name] = _why_refused(name, given, addresses)
    return Endpoints(urls, refused)


def seen_from_here(addresses: ProviderAddresses, url: str) -> str:
    """Where the sidecar itself would ask for what browsers see at an address."""
    given = _Url.read(url)
    return (_for_servers(given, addresses) if given else None) or url


def seen_from_outside(addresses: ProviderAddresses, url: str) -> str:
    """The public address of what the sidecar asks inside: the one that the provider goes by."""
    given = _Url.read(url)
    return _for_browsers(given, addresses) if given and addresses.internal_url else url


def _mend(name: str) -> str:
    return f"Mend the provider's metadata, or set SIDECAR_{name.upper()}"


def _why_refused(name: str, given: "_Url", addresses: ProviderAddresses) -> str:
    if addresses.internal_url:
        return (
            f"has its {name} at {given.origin[:200]}, which is neither the issuer's address nor "
            f"SIDECAR_ISSUER_INTERNAL_URL. Set SIDECAR_{name.upper()}"
        )
    return f"has its {name} at {given.origin[:200]}, without TLS. {_mend(name)}"


class _Url(NamedTuple):
    """An address in its parts."""

    scheme: str
    netloc: str
    host: str
    port: int
    path: str
    query: str

    @classmethod
    def read(cls, text: object) -> Self | None:
        """None for what is no address that all parsers read alike (RFC 3986)."""
        if not isinstance(text, str) or not _PRINTABLE.fullmatch(text):
            return None
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port or _USUAL_PORT
        except ValueError:
            return None
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
            return None
        query = f"?{parts.query}" if parts.query else ""
        return cls(parts.scheme, parts.netloc, host, port, parts.path, query)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    @property
    def text(self) -> str:
        return f"{self.origin}{self.path}{self.query}"

    def is_at(self, other: "_Url") -> bool:
        """Whether host and port are the same; http and https on their own ports are one."""
        usual = {self.port, other.port} <= {80, _USUAL_PORT}
        return self.host == other.host and (usual or self.port == other.port)

    def below(self, base: "_Url") -> str | None:
        """What follows a base's path, None where it is not below it."""
        rest = self.path.removeprefix(base.path)
        inside = self.path.startswith(base.path) and (not rest or rest[0] == "/")
        return rest if self.is_at(base) and inside else None


class _Pair(NamedTuple):
    """Two addresses of one place: what is below the one is below the other."""

    public: _Url
    other: _Url

    @classmethod
    def of(cls, issuer: str, other: str) -> Self | None:
        """The issuer's address and another one, without the path that both end with.

        What stands beside the issuer (`/application/o/token/` beside `/application/o/argocd/`)
        is then below both.
        """
        public, inside = _Url.read(issuer), _Url.read(other)
        if public is None or inside is None:
            return None
        ours, theirs = (url.path.rstrip("/").split("/") for url in (public, inside))
        while ours and theirs and ours[-1] == theirs[-1]:
            ours, theirs = ours[:-1], theirs[:-1]
        return cls(public._replace(path="/".join(ours)), inside._replace(path="/".join(theirs)))


def _source(url: _Url, *places: _Url) -> _Url | None:
    """At which of several places an address is: below the longest path, else at the first host."""
    below = [place for place in places if url.below(place) is not None]
    if below:
        return max(below, key=lambda place: len(place.path))
    return next((place for place in places if url.is_at(place)), None)


def _moved(url: _Url, source: _Url, to: _Url) -> str:
    """The same thing at another place; what is not below the source's path keeps its path."""
    rest = url.below(source)
    path = url.path if rest is None else f"{to.path}{rest}"
    return f"{to.origin}{path}{url.query}"


def _for_servers(url: _Url, addresses: ProviderAddresses) -> str | None:
    """Where the sidecar asks; None where it must not."""
    if addresses.internal_url:
        pair = _Pair.of(addresses.issuer, addresses.internal_url)
        source = _source(url, pair.other, pair.public) if pair else None
        return _moved(url, source, pair.other) if pair and source else None
    url = _with_the_issuers_tls(url, addresses)
    return url.text if url.scheme == "https" or url.host in _without_tls(addresses) else None


def _for_browsers(url: _Url, addresses: ProviderAddresses) -> str:
    """Where browsers go: what is at an address that only the sidecar uses is moved out."""
    for pair in _splits(addresses):
        if _source(url, pair.public, pair.other) is pair.other:
            return _moved(url, pair.other, pair.public)
    return _with_the_issuers_tls(url, addresses).text


def _splits(addresses: ProviderAddresses) -> Iterator[_Pair]:
    internal = _Pair.of(addresses.issuer, addresses.internal_url)
    if internal is not None:
        yield internal
    document = _Pair.of(addresses.issuer, addresses.metadata_url.removesuffix(WELL_KNOWN))
    if document is not None and not document.other.is_at(document.public):
        yield document


def _with_the_issuers_tls(url: _Url, addresses: ProviderAddresses) -> _Url:
    """An https address where the issuer has it: a provider behind a proxy may not know of it."""
    issuer = _Url.read(addresses.issuer)
    if issuer is None or issuer.scheme != "https" or not url.is_at(issuer):
        return url
    return url._replace(scheme=issuer.scheme, netloc=issuer.netloc)


def _without_tls(addresses: ProviderAddresses) -> set[str]:
    """The hosts that an operator has configured without TLS."""
    configured = (_Url.read(url) for url in (addresses.issuer, addresses.metadata_url))
    return {url.host for url in configured if url is not None and url.scheme == "http"}
