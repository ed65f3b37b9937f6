"""Text → value, one function a kind; each says what is wrong and how to mend it.

They raise `ValueError` with what follows the variable's name: "is not a duration: 'abc'. …".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sidecar.core.client_address import Networks
from sidecar.core.client_assertion import ALGORITHMS
from sidecar.core.groups import MAX_CLAIMS
from sidecar.core.refresh_policy import RefreshWindow
from sidecar.core.sealing import Key, parse_keys
from sidecar.core.store_address import StoreAddress, StoreKind

Reader = Callable[[str], Any]
_Word = TypeVar("_Word", bound=StrEnum)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT_BYTES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_LONGEST_SECONDS = 366 * 24 * 3600.0


class ArgoCdConfigSource(StrEnum):
    """Where Argo CD's settings are read."""

    FOLDER = "folder"
    KUBERNETES = "kubernetes"


class CookieMode(StrEnum):
    """What the browser holds: only the session cookie, or `argocd.token` too."""

    OPAQUE = "opaque"
    MIRROR = "mirror"


class LoginMode(StrEnum):
    """Who makes the login: the sidecar, or the upstream, which the sidecar observes."""

    OWN = "own"
    OBSERVED = "observed"


class LogLevel(StrEnum):
    """From which level on log lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on; without a host, all addresses of both IP families."""

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def listen(text: str) -> Listen:
    """`:8080`, `127.0.0.1:8080`, `[::1]:8080`."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]/\s]*)):(\d{1,5})", text)
    if not match or int(match[3]) > 65535:
        raise ValueError(f"is not an address to listen on: {text!r}. Write :8080 or 127.0.0.1:8080")
    return Listen(match[1] or match[2] or None, int(match[3]))


def duration(text: str) -> float:
    """A length of time in seconds, from `30s`, `5m`, `1h30m`."""
    if re.fullmatch(r"(\d{1,9}(\.\d{1,3})?(ms|s|m|h))+", text):
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
        seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
        if seconds <= _LONGEST_SECONDS:
            return seconds
    raise ValueError(f"is not a duration: {text!r}. Write 30s, 5m or 1h30m")


def written_duration(seconds: float) -> str:
    """A length of time as `duration` reads it, in the largest unit that has no fraction."""
    for unit in ("h", "m", "s"):
        if seconds and seconds % _UNIT_SECONDS[unit] == 0:
            return f"{int(seconds / _UNIT_SECONDS[unit])}{unit}"
    return f"{seconds:.3f}s" if seconds > 1 else f"{round(seconds * 1000)}ms"


def positive_duration(text: str) -> float:
    """A length of time that is not zero."""
    seconds = duration(text)
    if seconds <= 0:
        raise ValueError(f"must be longer than nothing: {text!r}. Write 30s, 5m or 1h30m")
    return seconds


def refresh_window(text: str) -> RefreshWindow:
    """A share of a token's life, `25%`, or a length, `2m`."""
    percent = re.fullmatch(r"(\d{1,2}(?:\.\d)?)%", text)
    try:
        if not percent:
            return RefreshWindow(seconds=positive_duration(text))
    except ValueError:
        percent = None
    if not percent or not 1 <= float(percent[1]) <= 50:
        raise ValueError(
            f"is neither a share of 1% to 50% nor a duration: {text!r}. Write 25% or 2m"
        )
    return RefreshWindow(share=float(percent[1]) / 100)


def public_url(text: str) -> str:
    """Where browsers see Argo CD: scheme, host, port and root path, without an ending `/`."""
    refuse_user_name(text)
    try:
        parts = urlsplit(text)
        bad = parts.port == 0 or not parts.hostname or parts.netloc.endswith(":")
    except ValueError:
        parts, bad = urlsplit(""), True
    if (
        bad
        or parts.scheme not in ("http", "https")
        or not re.fullmatch(r"[A-Za-z0-9.\-:\[\]]+", parts.netloc)
        or not re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*/?", parts.path)
        or parts.query
        or parts.fragment
    ):
        raise ValueError(
            f"is not the address of a site: {text!r}. Write https://argocd.example.org, "
            "with Argo CD's root path if it has one"
        )
    # Browsers leave the default port out of what they send (RFC 6454 section 6.1).
    default = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}{parts.path.rstrip('/')}"


def issuer(text: str) -> str:
    """The provider's issuer, to the letter: tokens must name the same."""
    refuse_user_name(text)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ValueError(
            f"is not an issuer: {text!r}. Write the https address that the provider's tokens "
            "have as `iss`"
        )
    return text


def upstream(text: str) -> str:
    """Where Argo CD listens: scheme, host and port, or a Unix socket."""
    refuse_user_name(text)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if re.fullmatch(r"unix:///[^?#]+", text):
        return text
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query:
        raise ValueError(
            f"is not the address of a server: {text!r}. Write http://127.0.0.1:8090, without a "
            "path, or unix:///run/argocd.sock"
        )
    return f"{parts.scheme}://{parts.netloc}"


def dex(text: str) -> str:
    """Where Dex listens: scheme, host and port."""
    if text.startswith("unix:"):
        raise ValueError(f"is not an address of Dex: {text!r}. Write http://argocd-dex-server:5556")
    return upstream(text)


def host_name(text: str) -> str:
    """The name of a host, as a certificate has it."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", text):
        raise ValueError(f"is not the name of a host: {text!r}. Write argocd-server")
    return text


def namespace(text: str) -> str:
    """The name of a namespace in Kubernetes (RFC 1123)."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise ValueError(f"is not the name of a namespace: {text!r}. Write argocd")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Sites as browsers name them in `Origin`, separated by spaces or commas."""
    found = []
    for site in text.replace(",", " ").split():
        address = public_url(site)
        if urlsplit(address).path:
            raise ValueError(f"has a site with a path: {site!r}. Write https://argocd.example.com")
        found.append(address)
    return tuple(found)


def urls(text: str) -> tuple[str, ...]:
    """Where browsers see Argo CD besides its public URL, separated by spaces or commas."""
    return tuple(public_url(url) for url in text.replace(",", " ").split())


def is_alike(url: str, public: str) -> bool:
    """Whether a URL has the public one's scheme and path, as one cookie and one root path need."""
    one, other = urlsplit(url), urlsplit(public)
    return (one.scheme, one.path) == (other.scheme, other.path)


def switch(text: str) -> bool:
    """`on` or `off`."""
    if text not in ("on", "off"):
        raise ValueError(f"is neither on nor off: {text!r}. Write one of them")
    return text == "on"


def size(text: str) -> int:
    """A number of bytes, from `64KiB`, `5MiB`, `1GiB`."""
    match = re.fullmatch(r"([1-9]\d{0,5})(KiB|MiB|GiB)", text)
    if not match:
        raise ValueError(f"is not a size: {text!r}. Write 64KiB, 5MiB or 1GiB")
    return int(match[1]) * _UNIT_BYTES[match[2]]


def written_size(size: int) -> str:
    """A number of bytes as `size` reads it."""
    unit = next(unit for unit in ("GiB", "MiB", "KiB") if size % _UNIT_BYTES[unit] == 0)
    return f"{size // _UNIT_BYTES[unit]}{unit}"


def count(text: str) -> int:
    """A number that is not zero."""
    if not re.fullmatch(r"[1-9]\d{0,6}", text):
        raise ValueError(f"is not a number from 1 to 9999999: {text!r}. Write 10000")
    return int(text)


def refuse_user_name(text: str) -> None:
    """Said before a fault shows the text: what stands before an `@` may be a password."""
    if "@" in text:
        raise ValueError("must not have a user name in it. Write the address without")


def store_url(text: str) -> str:
    """The store's address: `memory://`, or what `StoreAddress` reads."""
    # The client library takes timeouts and more from a query; ours are what a lease counts on.
    if text != "memory://":
        try:
            StoreAddress.parse(text)
        except ValueError as error:
            raise ValueError(f"{error}: {masked(text)!r}. Write {_guess(text)}") from None
    return text


def redis_url(text: str) -> str:
    """The address of a Redis that is another's: as `store_url`, without `memory://`."""
    if text == "memory://":
        raise ValueError("is 'memory://', where nobody else looks. Write redis://argocd-redis:6379")
    if store_url(text) and StoreAddress.parse(text).kind is StoreKind.CLUSTER:
        raise ValueError(
            f"is a Cluster, where Argo CD looks for nothing: {masked(text)!r}. Correct it"
        )
    return text


def _guess(text: str) -> str:
    """What may have been meant."""
    hosts = re.fullmatch(r"(?:[a-z+]+://)?(?:[^@/]*@)?([A-Za-z0-9.:,-]+)(?:/[^@]*)?", text)
    if "+sentinel" in text or (hosts and "26379" in hosts[1]):
        return f"redis+sentinel://{hosts[1] if hosts else 'sentinel:26379'}/<name of the primary>"
    if "+cluster" in text or (hosts and "," in hosts[1]):
        return f"redis+cluster://{hosts[1] if hosts else 'redis:6379'}"
    host = re.fullmatch(r"(?:[a-z]+://)?([A-Za-z0-9.-]+(?::\d+)?)", text)
    guess = f"redis://{host[1]}/0" if host and host[1] else "redis://redis:6379/0"
    return f"{guess}, redis+sentinel://…, redis+cluster://…, rediss://…, unix:///… or memory://"


def masked(url: str) -> str:
    """An address as it may be shown: no user name, no password, no query."""
    head, at, tail = url.rpartition("@")
    scheme = re.match(r"[a-z+]+://", head)
    shown = f"{scheme[0] if scheme else ''}***@{tail}" if at else url
    return shown.partition("?")[0]


def scopes(text: str) -> tuple[str, ...]:
    """The scopes to ask for, separated by spaces or commas."""
    found = tuple(text.replace(",", " ").split())
    if any(not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope) for scope in found):
        raise ValueError(f"has a scope that is none: {text!r}. Write openid profile email groups")
    if "openid" not in found:
        raise ValueError(f"lacks the scope openid: {text!r}. Write openid profile email groups")
    return found


def claims(text: str) -> tuple[str, ...]:
    """The names of claims, separated by spaces or commas."""
    found = tuple(text.replace(",", " ").split())
    fine = all(re.fullmatch(r"[!-~]{1,256}", name) for name in found)
    if not fine or not 1 <= len(found) <= MAX_CLAIMS:
        raise ValueError(f"is not 1 to {MAX_CLAIMS} names of claims: {text[:80]!r}. Write groups")
    return found


def networks(text: str) -> Networks:
    """Networks in CIDR notation, separated by spaces or commas."""
    found = []
    for part in text.replace(",", " ").split():
        try:
            network = ip_network(part)
        except ValueError:
            raise ValueError(
                f"has what is no network: {part[:80]!r}. Write 10.42.0.0/16, fd00:42::/64 or one "
                "address, without bits behind the prefix"
            ) from None
        if network.prefixlen == 0:
            raise ValueError(f"trusts everybody: {part!r}. Name the proxies in front")
        found.append(network)
    return tuple(found)


def session_keys(text: str) -> tuple[Key, ...]:
    """The key ring: `id:base64 of 32 bytes`, separated by commas or lines."""
    return tuple(parse_keys(text))


def client_id(text: str) -> str:
    """The client's id at the provider."""
    if not re.fullmatch(r"[\x20-\x7e]{1,512}", text):
        raise ValueError(f"is not a client id: {text!r}. Copy it from the provider")
    return text


def printable(text: str) -> str:
    """A text that goes into a token as it is."""
    if not re.fullmatch(r"[\x20-\x7e]{1,512}", text):
        raise ValueError(f"is not a text of at most 512 letters: {text[:40]!r}. Write it in ASCII")
    return text


def signature_algorithm(text: str) -> str:
    """What an assertion is signed by."""
    if text not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise ValueError(f"is not one of {known}: {text!r}. Write one of them")
    return text


def folder(text: str) -> Path:
    """A folder's absolute path."""
    if not text.startswith("/") or not Path(text).is_dir():
        raise ValueError(f"is no folder: {text!r}. Write its absolute path, and mount it there")
    return Path(text)


def audit_log(text: str) -> str:
    """`stdout`, `off`, or the absolute path of a file."""
    if text in ("stdout", "off") or (text.startswith("/") and not text.endswith("/")):
        return text
    raise ValueError(
        f"is no place for audit events: {text!r}. Write stdout, off, or a file's absolute path"
    )


def one_of(words: type[_Word]) -> Callable[[str], _Word]:
    """A reader for one of an enumeration's words."""

    def read(text: str) -> _Word:
        try:
            return words(text)
        except ValueError:
            known = ", ".join(words)
            raise ValueError(f"is not one of {known}: {text!r}. Write one of them") from None

    return read
