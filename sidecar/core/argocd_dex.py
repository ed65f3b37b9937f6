"""`dex.config` of `argocd-cm`: the Dex that Argo CD brings along, as Argo CD configures it.

What Argo CD makes of it for Dex (its util/dex) is the same from 2.8 to 3.6 in all that counts here:
the issuer, the client `argo-cd` and its derived secret, and storage in memory.
"""

import base64
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.bounded_yaml import YamlBroken, read_yaml

CLIENT_ID = "argo-cd"
ISSUER_PATH = "/api/dex"
DEFAULT_SERVER = "argocd-dex-server:5556"
# What Argo CD asks of it; the last one since 3.0, whose RBAC goes by the claim that it brings.
SCOPES = ("openid", "profile", "email", "groups", "federated:id")
# Those without a Refresh in Dex 2.37 to 2.45, which Argo CD 2.8 to 3.6 come with.
CANNOT_REFRESH = frozenset(("saml", "oauth", "authproxy"))
PLAINTEXT, STRICT_TLS = "server.dex.server.plaintext", "server.dex.server.strict.tls"
_PASSWORDS = "local"
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Connector:
    """A way to sign in at Dex."""

    id: str
    type: str

    @property
    def can_refresh(self) -> bool:
        """Whether logins through it get a refresh token; what is not known may be able to."""
        return self.type not in CANNOT_REFRESH

    def __str__(self) -> str:
        return f"{_shown(self.id)} ({self.type})"


@dataclass(frozen=True, slots=True)
class Dex:
    """The bundled Dex."""

    connectors: tuple[Connector, ...]
    reuse_seconds: float = 0.0
    """For how long it takes a spent refresh token again (`reuseInterval`)."""
    refresh_is_off: bool = False
    """Whether `oauth2.grantTypes` leaves refresh tokens out."""
    id_token_seconds: float | None = None
    """`expiry.idTokens`, where it is set; its default is 24 hours."""
    issuer: str = ""
    client_secret: str = field(default="", repr=False)
    server: str = ""
    """Where Argo CD reaches it: scheme, host and port."""
    strict_tls: bool = False
    """Whether Argo CD checks its certificate."""
    authority: str = ""
    """What its certificate is checked by, as PEM; "" where nothing is known of it."""
    connector_id: str = ""
    """The connector that logins go to at once (`dex.auth.connectorId`)."""

    @property
    def without_refresh(self) -> tuple[Connector, ...]:
        """The connectors whose logins get no refresh token."""
        return tuple(each for each in self.connectors if not each.can_refresh)


def read_dex(text: str) -> Dex:
    """What a text of `dex.config` says of the Dex that starts with it.

    Raises:
        ValueError: no Dex starts with it; the message is the rest of a sentence, without a value.
    """
    try:
        document = read_yaml(text)
    except YamlBroken as error:
        raise ValueError(str(error)) from None
    if not isinstance(document, dict) or not document:
        raise ValueError("is no mapping of keys to values")
    expiry = _mapping(document, "expiry")
    tokens, grants = (
        _mapping(expiry, "refreshTokens"),
        _mapping(document, "oauth2").get("grantTypes"),
    )
    return Dex(
        _connectors(document),
        reuse_seconds=_reuse_seconds(tokens),
        refresh_is_off=isinstance(grants, list) and bool(grants) and "refresh_token" not in grants,
        id_token_seconds=_seconds(expiry.get("idTokens")),
    )


def client_secret(server_secret_key: bytes) -> str:
    """The secret of the client `argo-cd`, as Argo CD and its Dex each derive it."""
    return base64.urlsafe_b64encode(hashlib.sha256(server_secret_key).digest()).decode()[:40]


def server_address(server: str, *, plaintext: bool) -> str:
    """Scheme, host and port of Dex, from `server.dex.server`; a path in it does not count."""
    scheme, found, rest = (server or DEFAULT_SERVER).partition("://")
    if not found:
        scheme, rest = ("http" if plaintext else "https"), scheme
    return f"{scheme}://{rest.partition('/')[0]}"


def is_on(text: str) -> bool:
    """A switch of `argocd-server`, as Go's ParseBool reads it."""
    return text in ("1", "t", "T", "true", "TRUE", "True")


def _connectors(document: Mapping[Any, Any]) -> tuple[Connector, ...]:
    """Its connectors, and its own passwords, which it takes for one."""
    listed = document.get("connectors")
    if not isinstance(listed, list):
        raise ValueError("has no list of connectors")
    found = tuple(_connector(each) for each in listed)
    if document.get("enablePasswordDB") is True:
        found = (*found, Connector(_PASSWORDS, _PASSWORDS))
    if not found:
        raise ValueError("has no connector")
    return found


def _connector(value: Any) -> Connector:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise ValueError("has a connector without a type")
    name = value.get("id")
    return Connector(name if isinstance(name, str) else "", value["type"])


def _reuse_seconds(tokens: Mapping[Any, Any]) -> float:
    if tokens.get("disableRotation") is True:
        return math.inf
    return _seconds(tokens.get("reuseInterval")) or 0.0


def _seconds(value: Any) -> float | None:
    """A length as Go writes it, in seconds; None for what is none."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        return None
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(value))


def _mapping(document: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _shown(name: str) -> str:
    return "".join(c for c in name if c.isprintable())[:_SHOWN] or "without an id"
