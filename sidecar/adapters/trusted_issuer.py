"""A trusted issuer over HTTP: where it publishes its keys, and these. No token goes there."""

import functools

from aiohttp import ClientConnectorCertificateError, ClientSession

from sidecar.adapters.json_documents import json_document
from sidecar.adapters.provider_http import egress_proxy
from sidecar.core.id_token import SigningKey, read_keys
from sidecar.core.machine_rules import TrustedIssuer
from sidecar.core.provider_addresses import ProviderAddresses, endpoints_at
from sidecar.errors import ProviderUnavailable


class PublishedByIssuer:
    """The keys of an issuer, at its addresses. Its metadata are read each time: keys may move."""

    def __init__(self, http: ClientSession, issuer: TrustedIssuer, *, seconds: float) -> None:
        self._http = http
        self._issuer = issuer
        self._seconds = seconds
        self._proxy = functools.lru_cache(maxsize=4)(egress_proxy)

    async def keys(self) -> list[SigningKey]:
        """All of them, one at least.

        Raises:
            ProviderUnavailable: they could not be read.
        """
        jwks_uri = self._issuer.jwks_uri or await self._discovered()
        keys = read_keys(await self._document(jwks_uri, "jwks"))
        if not keys:
            raise ProviderUnavailable("the issuer's JWKS has no usable key")
        return keys

    async def _discovered(self) -> str:
        """Where the keys are; GitHub's metadata have no other endpoint."""
        given = self._issuer
        addresses = ProviderAddresses(
            given.issuer, given.internal_url or "", given.discovery_url or ""
        )
        document = await self._document(addresses.metadata_url, "discovery")
        if not isinstance(document, dict) or not addresses.may_be_named(document.get("issuer")):
            raise ProviderUnavailable(
                "the discovery names another issuer: it must be the one in the rules to the letter"
            )
        urls = endpoints_at(addresses, document).urls
        if "jwks_uri" not in urls:
            raise ProviderUnavailable(
                "the discovery has no jwks_uri that may be asked. Set jwks_uri in the rules"
            )
        return urls["jwks_uri"]

    async def _document(self, url: str, name: str) -> object:
        try:
            found: object = await json_document(
                self._http, url, name, seconds=self._seconds, proxy=self._proxy(url)
            )
        except ProviderUnavailable as error:
            if isinstance(error.__cause__, ClientConnectorCertificateError):
                raise ProviderUnavailable(
                    "its certificate is not trusted, or for another name. Set ca_file or "
                    "tls_server_name in the rules"
                ) from error
            raise
        return found


class Unreachable:
    """An issuer that cannot be asked at all, and why."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def keys(self) -> list[SigningKey]:
        """None.

        Raises:
            ProviderUnavailable: always.
        """
        raise ProviderUnavailable(self._why)
