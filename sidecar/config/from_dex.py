"""What a bundled Dex gives to our settings."""

import ssl
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from sidecar.config import provider_values, values
from sidecar.config.tls import provider_tls
from sidecar.core import argocd_dex
from sidecar.core.argocd_config import ArgoCdConfig
from sidecar.core.argocd_dex import Dex
from sidecar.core.argocd_files import CM, DEX_TLS_SECRET, PARAMS, SECRET, ArgoCdFiles, Weight
from sidecar.core.provider_profiles import Provider

# What says by itself where the provider is reached, or how it is checked.
ADDRESSES = frozenset(("issuer_internal_url", "discovery_url", "resolve", "token_endpoint"))
_PROVIDER_TLS = frozenset(("provider_tls_verify", "provider_ca_file"))


class _Fields(Protocol):
    """The fields that are to be filled."""

    def take(self, name: str, where: str, text: str, reader: values.Reader) -> None:
        """Take a value that the environment leaves open, if it is one that we can use."""
        ...

    def put(self, name: str, where: str, text: str) -> None:
        """Fill a field, with where its value is from."""
        ...

    def find(self, weight: Weight, where: str, sentence: str) -> None:
        """Note something that is wrong or worth knowing."""
        ...


class FromDex:
    """Fills the fields that the environment leaves open; `named` are those that it sets."""

    def __init__(
        self,
        dex: Dex,
        argocd: ArgoCdConfig,
        files: ArgoCdFiles,
        fields: _Fields,
        given: Mapping[str, str],
        named: frozenset[str],
    ) -> None:
        self._dex = dex
        self._argocd = argocd
        self._files = files
        self._fields = fields
        self._given = given
        self._named = named
        self.reuse_seconds = dex.reuse_seconds
        self.authority = self._authority()
        """What Dex's certificate is checked by, as PEM; "" where Argo CD does not check it."""

    def take(self) -> None:
        """The client that Argo CD makes at its Dex, and where that is."""
        dex, fields, where = self._dex, self._fields, f"{CM}: dex.config"
        if not dex.issuer.startswith(("https://", "http://")):
            return  # what is wrong with url is said where that is read
        self._check_redirects()
        fields.take("issuer", where, dex.issuer, values.issuer)
        fields.take("client_id", where, argocd_dex.CLIENT_ID, values.client_id)
        fields.take("provider", where, Provider.DEX, values.one_of(Provider))
        fields.take("scopes", where, " ".join(argocd_dex.SCOPES), values.scopes)
        own_secret = {"client_secret", "client_secret_file"} & self._named
        own_client = self._given.get("client_id") != argocd_dex.CLIENT_ID
        if dex.client_secret and not own_secret and not own_client:
            fields.put("client_secret", f"{SECRET}: server.secretkey", dex.client_secret)
        if not ADDRESSES & self._named:
            self._take_address(f"{PARAMS}: server.dex.server")

    def _take_address(self, where: str) -> None:
        """Where Argo CD itself reaches Dex, and whether it checks who answers there."""
        dex, fields = self._dex, self._fields
        address = f"{dex.server}{urlsplit(dex.issuer).path}"
        fields.take("issuer_internal_url", where, address, provider_values.provider_url)
        if not dex.server.startswith("https:") or _PROVIDER_TLS & self._named:
            return
        if not dex.strict_tls:
            # Dex signs its own; Argo CD does not check it either.
            fields.put("provider_tls_verify", f"{where}.strict.tls", "off")
        elif not self.authority:
            fields.find(
                Weight.BROKEN,
                DEX_TLS_SECRET,
                "has no ca.crt or tls.crt with certificates that can be seen, by which "
                "server.dex.server.strict.tls would have Dex checked. "
                f"{self._files.mend(DEX_TLS_SECRET)}, or set SIDECAR_PROVIDER_CA_FILE",
            )

    def _authority(self) -> str:
        dex = self._dex
        if not dex.strict_tls or not dex.authority or _PROVIDER_TLS & self._named:
            return ""
        try:
            provider_tls(dex.authority, verify=True)
        except ssl.SSLError:
            return ""
        return dex.authority

    def _check_redirects(self) -> None:
        """Dex takes the addresses that Argo CD has written into its configuration, and no other."""
        known = {url.rstrip("/") for url in (self._argocd.url, *self._argocd.additional_urls)}
        here = f"{self._given.get('public_url', '')} {self._given.get('additional_urls', '')}"
        for url in here.replace(",", " ").split():
            if url.rstrip("/") not in known:
                self._fields.find(
                    Weight.BROKEN,
                    f"{CM}: url",
                    f"is not {url!r}, nor is that among additionalUrls: Dex would not send anybody "
                    "back there. Add it to additionalUrls, or take it out of the environment",
                )
