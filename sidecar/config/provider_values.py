"""Text → value, as in `config.values`: where the provider is, and the names that it has."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.config.values import host_name, issuer, refuse_user_name
from sidecar.core.provider_addresses import TENANT


@dataclass(frozen=True, slots=True)
class Resolve:
    """A host and port as addresses have it, and what to connect to in its place."""

    host: str
    port: int
    address: str
    address_port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.host}:{self.port}={address}:{self.address_port}"


def issuer_aliases(text: str) -> tuple[str, ...]:
    """Other names of the provider, to the letter; `{tenantid}` may stand in one."""
    found = tuple(text.replace(",", " ").split())
    for name in found:
        plain = issuer(name.replace(TENANT, "tenant")) if "://" in name else host_name(name)
        if {"{", "}"} & set(plain):
            raise ValueError(f"has a name that is none: {name!r}. Write {TENANT} for what is open")
    return found


def provider_url(text: str) -> str:
    """Where the provider is: scheme, host, port and path, without an ending `/`."""
    if "?" in text:
        raise ValueError(f"must not have a query: {text!r}. Write http://dex.sso.svc:5556/dex")
    return endpoint(text).rstrip("/")


def endpoint(text: str) -> str:
    """The address of one of the provider's endpoints."""
    refuse_user_name(text)
    try:
        parts = urlsplit(text)
        bad = not parts.hostname or parts.port == 0 or parts.fragment
    except ValueError:
        parts, bad = urlsplit(""), True
    if bad or parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-\[\]-~]+", text):
        raise ValueError(f"is not an address: {text!r}. Write https://sso.example.org/token")
    return text


def resolve(text: str) -> tuple[Resolve, ...]:
    """Where hosts are: `sso.example.org:443=10.0.0.5`, several separated by spaces or commas."""
    return tuple(_resolve(one) for one in text.replace(",", " ").split())


def _resolve(text: str) -> Resolve:
    match = re.fullmatch(
        r"([A-Za-z0-9.-]+):(\d{1,5})=(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::(\d{1,5}))?", text
    )
    ports = (int(match[2]), int(match[5] or match[2])) if match else (0, 0)
    if not match or not all(0 < port < 65536 for port in ports):
        raise ValueError(
            f"has what is no host:port=address: {text!r}. Write sso.example.org:443=10.0.0.5"
        )
    if re.fullmatch(r"[\d.]+", match[1]):
        raise ValueError(
            f"has an address in the place of a host: {text!r}. Write the name of a host, or set "
            "SIDECAR_ISSUER_INTERNAL_URL"
        )
    return Resolve(match[1].lower(), ports[0], match[3] or match[4], ports[1])
