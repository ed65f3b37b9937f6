"""Request and response heads: paths, kinds, hop-by-hop headers, credentials. All plain values.

A head's fields are (name, value) pairs in their order; a repeated field stays repeated.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from sidecar.core import devtron
from sidecar.core.cookies import TOKEN_COOKIE, Crumb, is_ours, without
from sidecar.core.upstream_kinds import UpstreamKind, upstream_profile

Fields = list[tuple[str, str]]
PASSING = ("", "")
"""Stands among the fields of a request for a run of those of which nothing is read."""

# RFC 9110 section 7.6.1; the last three are older, and as much between two hops. Trailer is not
# among them: trailers pass, and so does their announcement.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "te", "transfer-encoding", "upgrade",
     "proxy-connection", "proxy-authenticate", "proxy-authorization")
)  # fmt: skip
_PUBLIC_API = ("/api/v1/settings", "/api/version", "/api/webhook", "/api/badge", "/api/v1/session")


class OwnPath(Enum):
    """The endpoints that the sidecar answers itself."""

    LOGIN = auto()
    CALLBACK = auto()
    LOGOUT = auto()
    BACKCHANNEL_LOGOUT = auto()
    SESSIONS = auto()
    SIGNED_OUT = auto()
    SIDECAR = auto()
    DEX_TOKEN = auto()
    """Dex' token endpoint, on the port of its own."""


_OWN = {
    "/auth/login": OwnPath.LOGIN,
    "/auth/callback": OwnPath.CALLBACK,
    "/auth/logout": OwnPath.LOGOUT,
    "/auth/backchannel-logout": OwnPath.BACKCHANNEL_LOGOUT,
    "/_sidecar/session": OwnPath.SESSIONS,
    "/_sidecar/signed-out": OwnPath.SIGNED_OUT,
}


class Kind(Enum):
    """What a request is for, as far as its answer's form depends on it."""

    PAGE = auto()
    API = auto()
    STREAM = auto()
    USERINFO = auto()
    LOCAL_LOGIN = auto()
    PUBLIC = auto()
    COOKIE_ONLY = auto()
    DEX = auto()
    """The bundled Dex behind Argo CD, which knows no login of ours."""
    LOGOUT = auto()
    """Argo CD's own, which only a request without a session of ours gets to."""
    SIGN_IN = auto()
    """The upstream's own login and callback, whose answer may bring an ID token that we know."""
    OTHER = auto()


class Credential(StrEnum):
    """Which of the six credential rules a request falls under."""

    CLIENT = "client"
    SESSION = "session"
    LOCAL = "local"
    NONE = "none"
    ENDED = "ended"
    MACHINE = "machine"
    """A token of a trusted issuer, in the place of which another credential goes up."""
    SILENT = "silent"
    """A session that lives, and needs a login without a form for its next token."""


@dataclass(frozen=True, slots=True, eq=False)  # each for itself: that is looked up the fastest
class Paths:
    """The paths below Argo CD's root path (`--rootpath`), which is "" or "/name".

    Where logins are not taken over, every path is Argo CD's; where they are only observed, login
    and callback are.
    """

    root: str = ""
    takes_over_logins: bool = True
    observes_logins: bool = False
    upstream: UpstreamKind = UpstreamKind.ARGOCD

    def inner(self, path: str) -> str | None:
        """The part of a cleaned path below the root, None outside of it."""
        if path == self.root:
            return "/"
        return path[len(self.root) :] if path.startswith(self.root + "/") else None

    def own(self, path: str) -> OwnPath | None:
        """Which own endpoint a cleaned path is, None where it is the upstream's."""
        inner = self.inner(path) if self.takes_over_logins else None
        if inner is None:
            return None
        own = _OWN.get(inner)
        if own is None and (inner == "/_sidecar" or inner.startswith("/_sidecar/")):
            return OwnPath.SIDECAR
        logs_in = own in (OwnPath.LOGIN, OwnPath.CALLBACK)
        return None if logs_in and self.observes_logins else own

    def purpose(self, method: str, target: str, accept: str) -> "Purpose | None":
        """What a request is for; None where its target is refused."""
        raw_path = target.partition("?")[0]
        if len(raw_path) + len(accept) > _REMEMBERED_LENGTH:
            return _purpose.__wrapped__(self, method, raw_path, accept)
        return _purpose(self, method, raw_path, accept)

    def kind(self, method: str, path: str, accept: str) -> Kind:
        """What a request to a cleaned path is for."""
        inner = self.inner(path)
        if self.observes_logins and inner in ("/auth/login", "/auth/callback"):
            return Kind.SIGN_IN
        if self.upstream is UpstreamKind.DEVTRON:
            return _devtron_kind(method, path, inner, accept)
        if self.upstream is UpstreamKind.ARGO_WORKFLOWS:
            return _workflows_kind(method, path, accept)
        if inner is None:
            return Kind.OTHER
        if inner == "/auth/logout":
            return Kind.LOGOUT
        if inner == "/terminal" or inner.startswith("/extensions/"):
            return Kind.COOKIE_ONLY
        if inner.startswith("/api/"):
            return _api_kind(method, inner, accept)
        return Kind.PAGE if method in ("GET", "HEAD") and "text/html" in accept else Kind.OTHER


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a request is for: its cleaned path, and what follows from it."""

    path: str
    own: OwnPath | None
    kind: Kind
    gets_settings: bool


_REMEMBERED_LENGTH = 1024  # bounds what strangers can fill the memory below with


@lru_cache(maxsize=2048)
def _purpose(paths: Paths, method: str, raw_path: str, accept: str) -> Purpose | None:
    path = clean_path(raw_path)
    if path is None:
        return None
    settings = method == "GET" and paths.inner(path) == "/api/v1/settings"
    settings = settings and paths.takes_over_logins and not paths.observes_logins
    return Purpose(path, paths.own(path), paths.kind(method, path, accept), settings)


def _api_kind(method: str, inner: str, accept: str) -> Kind:
    if inner == "/api/v1/session/userinfo":
        return Kind.USERINFO
    if inner == "/api/v1/session" and method == "POST":
        return Kind.LOCAL_LOGIN
    if inner == "/api/dex" or inner.startswith("/api/dex/"):
        return Kind.DEX
    if inner in _PUBLIC_API:
        return Kind.PUBLIC
    if inner.startswith("/api/v1/stream/") or "text/event-stream" in accept:
        return Kind.STREAM
    return Kind.API


def _devtron_kind(method: str, path: str, inner: str | None, accept: str) -> Kind:
    if inner == "/auth/logout":
        return Kind.LOGOUT
    if inner is not None and (inner == "/api/dex" or inner.startswith("/api/dex/")):
        return Kind.DEX
    if inner == "/api/v1/session" and method == "POST":
        return Kind.LOCAL_LOGIN
    if devtron.needs_login(path):
        return Kind.STREAM if "text/event-stream" in accept else Kind.API
    if method in ("GET", "HEAD") and "text/html" in accept:
        return Kind.PAGE
    return Kind.PUBLIC if inner is not None else Kind.OTHER


# server/apiserver/argoserver.go: what is no page of its UI. Its paths are those of no base path.
_WORKFLOWS_SIGN_IN = ("/oauth2/redirect", "/oauth2/callback")
_WORKFLOWS_STREAMS = ("/api/v1/stream/", "/api/v1/workflow-events/")
_WORKFLOWS_FILES = (
    "/oauth2/", "/metrics", "/artifacts/", "/input-artifacts/", "/artifacts-by-uid/",
    "/input-artifacts-by-uid/", "/artifact-files/", "/upload-artifacts/",
)  # fmt: skip


def _workflows_kind(method: str, path: str, accept: str) -> Kind:
    if path in _WORKFLOWS_SIGN_IN:
        return Kind.SIGN_IN
    if path.startswith("/api/"):
        streams = "text/event-stream" in accept or path.startswith(_WORKFLOWS_STREAMS)
        return Kind.STREAM if streams else Kind.API
    page = method in ("GET", "HEAD") and "text/html" in accept
    return Kind.PAGE if page and not path.startswith(_WORKFLOWS_FILES) else Kind.OTHER


# Most targets are clean already, and cleaning them costs more than all other decisions.
_CLEAN = re.compile(r"(?:/[A-Za-z0-9_~:@!$&'()*+,;=-][A-Za-z0-9._~:@!$&'()*+,;=-]*)+")


def clean_path(target: str) -> str | None:
    """The path that a request target means, decoded once and cleaned as Go's mux does it.

    None when it is not in origin form (RFC 9112 section 3.2.1) or hides a NUL: such a request
    is refused.
    """
    raw = target.partition("#")[0].partition("?")[0]
    if _CLEAN.fullmatch(raw):
        return raw
    if not raw.startswith("/"):
        return None
    path = unquote_to_bytes(raw).decode(errors="surrogateescape")
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
    dropped = _HOP_BY_HOP | connection_options(fields)
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def connection_options(fields: Iterable[tuple[str, str]]) -> set[str]:
    """What the Connection fields name, in lower case."""
    # Not strip() alone: in Latin-1 that takes bytes which are no white space of HTTP.
    options = {
        option.strip(" \t").lower()
        for value in values(fields, "connection")
        for option in value.split(",")
    }
    return options - {""}  # an empty one (RFC 9110 section 5.6.1) is none


def has_client_credential(
    fields: Sequence[tuple[str, str]], kind: Kind, upstream: UpstreamKind = UpstreamKind.ARGOCD
) -> bool:
    """Whether the client brings its own credential, as the upstream would take it (its getToken).

    `/terminal` and `/extensions` take cookies only.
    """
    if kind is Kind.COOKIE_ONLY:
        return False
    profile = upstream_profile(upstream)
    for name, value in fields:
        lowered = name.lower()
        if lowered in profile.token_fields and value:
            return True
        if profile.bearer and lowered == "authorization" and _is_bearer_jwt(value):
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
    token = [f"{TOKEN_COOKIE}={id_token}"] if id_token else []
    return _with_cookie(fields, "; ".join([*(crumb.raw for crumb in kept), *token]))


def _with_cookie(fields: Sequence[tuple[str, str]], cookie: str) -> Fields:
    """The fields with this Cookie in the place of the first one, the others dropped."""
    others = [(name, value) for name, value in fields if name.lower() != "cookie"]
    cookies = (at for at, (name, _) in enumerate(fields) if name.lower() == "cookie")
    at = next(cookies, len(fields))
    return [*others[:at], ("Cookie", cookie), *others[at:]] if cookie else others


def without_renewed_token(fields: Iterable[tuple[str, str]]) -> Fields:
    """An answer's fields without the tokens that Argo CD itself sets or shows."""
    return [
        (name, value)
        for name, value in fields
        if name.lower() != "grpc-metadata-renew-token"
        and not (name.lower() == "set-cookie" and _from_its_name(value).startswith(TOKEN_COOKIE))
    ]


def without_our_cookies(fields: Iterable[tuple[str, str]]) -> Fields:
    """An answer's fields without cookies of the sidecar's: nobody behind it logs anybody in.

    Argo CD passes on what the backends of its extensions set.
    """
    return [
        (name, value)
        for name, value in fields
        if name.lower() != "set-cookie" or not is_ours(_from_its_name(value))
    ]


def _from_its_name(set_cookie: str) -> str:
    """A cookie from its name on; one without a name is sent back as its value."""
    return set_cookie.lstrip(" \t=")


def is_usable_host(host: str) -> bool:
    """Whether a Host field names one host with or without a port, and nothing else.

    Narrower than RFC 3986 section 3.2.2: no empty label, no percent-encoding.
    """
    return len(host) <= _LONGEST_HOST and bool(_HOST.fullmatch(host))


_LONGEST_HOST = 255  # RFC 1035 section 2.3.4
_HOST = re.compile(
    r"(?:[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
)


def head_pieces(fields: Iterable[tuple[str, str]]) -> Sequence[bytes]:
    """The lines of these fields and the end of the head, cut where others pass between them."""
    # No line has a NUL: llhttp refuses it.
    lines = "".join([f"{name}: {value}\r\n" if name else "\0" for name, value in fields])
    return (lines.encode("latin-1") + b"\r\n").split(b"\0")


def head_bytes(first_line: bytes, fields: Iterable[tuple[str, str]]) -> bytes:
    """A head as it goes over the wire; `first_line` brings its own line end."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    return first_line + lines.encode("latin-1") + b"\r\n"
