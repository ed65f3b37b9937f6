"""Request and response heads: paths, kinds, hop-by-hop headers, credentials. All plain values.

A head's fields are (name, value) pairs in their order; a repeated field stays repeated.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from urllib.parse import unquote_to_bytes

from sidecar.core.cookies import TOKEN_COOKIE, Crumb, joined, without

Fields = list[tuple[str, str]]

# RFC 9110 section 7.6.1; the last three are older, and as much between two hops.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
     "proxy-connection", "proxy-authenticate", "proxy-authorization")
)  # fmt: skip
_CLIENT_TOKEN_FIELDS = ("token", "grpc-metadata-token")
_PUBLIC_API = ("/api/v1/settings", "/api/version", "/api/webhook", "/api/badge", "/api/v1/session")


class OwnPath(Enum):
    """The endpoints that the sidecar answers itself."""

    LOGIN = auto()
    CALLBACK = auto()
    LOGOUT = auto()
    SIDECAR = auto()


class Kind(Enum):
    """What a request is for, as far as its answer's form depends on it."""

    PAGE = auto()
    API = auto()
    STREAM = auto()
    USERINFO = auto()
    LOCAL_LOGIN = auto()
    PUBLIC = auto()
    COOKIE_ONLY = auto()
    LOGOUT = auto()
    """Argo CD's own, which only a request without a session of ours gets to."""
    OTHER = auto()


class Credential(StrEnum):
    """Which of the five credential rules a request falls under."""

    CLIENT = "client"
    SESSION = "session"
    LOCAL = "local"
    NONE = "none"
    ENDED = "ended"
    SILENT = "silent"
    """A session that lives, and needs a login without a form for its next token."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The paths below Argo CD's root path (`--rootpath`), which is "" or "/name"."""

    root: str = ""

    def inner(self, path: str) -> str | None:
        """The part of a cleaned path below the root, None outside of it."""
        if path == self.root:
            return "/"
        return path[len(self.root) :] if path.startswith(self.root + "/") else None

    def own(self, path: str) -> OwnPath | None:
        """Which own endpoint a cleaned path is, None where it is the upstream's."""
        inner = self.inner(path)
        if inner is None:
            return None
        if inner == "/_sidecar" or inner.startswith("/_sidecar/"):
            return OwnPath.SIDECAR
        return {
            "/auth/login": OwnPath.LOGIN,
            "/auth/callback": OwnPath.CALLBACK,
            "/auth/logout": OwnPath.LOGOUT,
        }.get(inner)

    def kind(self, method: str, path: str, accept: str) -> Kind:
        """What a request to a cleaned path is for."""
        inner = self.inner(path)
        if inner is None:
            return Kind.OTHER
        if inner == "/auth/logout":
            return Kind.LOGOUT
        if inner == "/terminal" or inner.startswith("/extensions/"):
            return Kind.COOKIE_ONLY
        if inner.startswith("/api/"):
            return _api_kind(method, inner, accept)
        return Kind.PAGE if method in ("GET", "HEAD") and "text/html" in accept else Kind.OTHER


def _api_kind(method: str, inner: str, accept: str) -> Kind:
    if inner == "/api/v1/session/userinfo":
        return Kind.USERINFO
    if inner == "/api/v1/session" and method == "POST":
        return Kind.LOCAL_LOGIN
    if inner in _PUBLIC_API or inner.startswith("/api/dex/"):
        return Kind.PUBLIC
    if inner.startswith("/api/v1/stream/") or "text/event-stream" in accept:
        return Kind.STREAM
    return Kind.API


def clean_path(target: str) -> str | None:
    """The path that a request target means, decoded once and cleaned as Go's mux does it.

    None when it is not in origin form (RFC 9112 section 3.2.1) or hides a NUL: such a request
    is refused.
    """
    if not target.startswith("/"):
        return None
    raw = target.partition("#")[0].partition("?")[0]
    path = unquote_to_bytes(raw).decode("utf-8", "surrogateescape")
    if "\x00" in path:
        return None
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments)


def values(fields: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Every value of a field, in order; `name` in lower case."""
    return [value for field, value in fields if field.lower() == name]


def end_to_end(fields: Sequence[tuple[str, str]]) -> Fields:
    """The fields that go on to the next hop: without hop-by-hop ones and those they name."""
    named = _connection_options(fields)
    dropped = _HOP_BY_HOP | named
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def _connection_options(fields: Sequence[tuple[str, str]]) -> set[str]:
    return {
        option.strip().lower()
        for value in values(fields, "connection")
        for option in value.split(",")
    }


def has_client_credential(fields: Sequence[tuple[str, str]], kind: Kind) -> bool:
    """Whether the client brings its own credential, as Argo CD would take it (its getToken).

    `/terminal` and `/extensions` take cookies only.
    """
    if kind is Kind.COOKIE_ONLY:
        return False
    for name, value in fields:
        lowered = name.lower()
        if lowered in _CLIENT_TOKEN_FIELDS and value:
            return True
        if lowered == "authorization" and _is_bearer_jwt(value):
            return True
    return False


def _is_bearer_jwt(value: str) -> bool:
    """As Argo CD's getToken has it, which knows one spelling of the scheme only."""
    scheme, _, token = value.partition(" ")
    return scheme == "Bearer" and token.count(".") == 2


def upstream_fields(
    fields: Sequence[tuple[str, str]],
    found: Sequence[Crumb],
    *,
    id_token: str = "",
    drop_tokens: bool = False,
) -> Fields:
    """The fields that go up: no cookie of ours, and where asked no browser's `argocd.token*`.

    With an `id_token` it takes the place of what the browser sent. Cookie headers of which
    nothing is taken go up as they came.
    """
    kept = list(without(found, tokens=drop_tokens or bool(id_token)))
    if len(kept) == len(found) and not id_token:
        return list(fields)
    others = [(name, value) for name, value in fields if name.lower() != "cookie"]
    token = [Crumb(TOKEN_COOKIE, id_token, f"{TOKEN_COOKIE}={id_token}")] if id_token else []
    cookie = joined([*kept, *token])
    return [*others, ("Cookie", cookie)] if cookie else others


def without_renewed_token(fields: Iterable[tuple[str, str]]) -> Fields:
    """An answer's fields without the tokens that Argo CD itself sets or shows."""
    return [
        (name, value)
        for name, value in fields
        if name.lower() != "grpc-metadata-renew-token"
        and not (name.lower() == "set-cookie" and value.lstrip().startswith(TOKEN_COOKIE))
    ]


def can_be_passed(fields: Iterable[tuple[str, str]]) -> bool:
    """Whether every field but Cookie is text: aiohttp drops other bytes without a word.

    Cookies that are no text are dropped whole, as Go drops them.
    """
    return all(name.lower() == "cookie" or _is_text(value) for name, value in fields)


def _is_text(value: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in value)


def one_spelling(fields: Iterable[tuple[str, str]]) -> Fields:
    """The fields with each name spelled as it was the first time; aiohttp keeps one spelling."""
    spelled: dict[str, str] = {}
    return [(spelled.setdefault(name.lower(), name), value) for name, value in fields]


def opens_websocket(method: str, fields: Sequence[tuple[str, str]]) -> bool:
    """Whether a request is a WebSocket handshake (RFC 6455 section 4.1)."""
    options = _connection_options(fields)
    upgrades = [value.strip().lower() for value in values(fields, "upgrade")]
    return method == "GET" and "upgrade" in options and upgrades == ["websocket"]


def handshake_fields(fields: Iterable[tuple[str, str]]) -> Fields:
    """What of a handshake's fields goes up: the handshake itself and a body are made anew."""
    return [
        (name, value)
        for name, value in one_spelling(fields)
        if not name.lower().startswith(("sec-websocket-", "content-", "expect"))
    ]


def is_well_formed(target: str, hosts: Sequence[str], *, http_1_0: bool = False) -> bool:
    """Whether a request can be passed on: origin form, no fragment, exactly one usable Host.

    HTTP/1.0 knows no Host, and some load balancers still check with it.
    """
    named = len(hosts) == 1 and re.fullmatch(r"[A-Za-z0-9._~:\[\]-]{1,255}", hosts[0])
    if not named and not (http_1_0 and not hosts):
        return False
    return "#" not in target and clean_path(target) is not None
