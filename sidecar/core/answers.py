"""The sidecar's own answers as values: a page for a person, JSON for the API, Argo CD's own 401.

Nothing of a request is ever repeated in an answer.
"""

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from sidecar.core.devtron import UNAUTHORIZED
from sidecar.core.heads import Fields, Kind
from sidecar.core.upstream_kinds import UpstreamKind
from sidecar.errors import TooMany, TryLater


def style_source(style: str) -> str:
    """What of a Content-Security-Policy allows this style, and no other (CSP Level 3)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;display:grid;place-items:center;"
    "min-height:100vh;background:#f4f6f8;color:#1c2b33}main{max-width:30rem;margin:1rem;"
    "padding:2rem;background:#fff;border-radius:.75rem;box-shadow:0 1px 4px #0003}"
    "h1{font-size:1.3rem;margin:0 0 .75rem}p{margin:.5rem 0}small{color:#64757f}"
    "a,button{display:inline-block;margin-top:1rem;padding:.5rem 1.1rem;border:0;"
    "border-radius:2rem;background:#0f7484;color:#fff;font:inherit;text-decoration:none;"
    "cursor:pointer}@media(prefers-color-scheme:dark){body{background:#12191d;color:#dfe6e9}"
    "main{background:#1d272c}small{color:#93a3ab}}"
)
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
    'content="width=device-width"><title>{title}</title><style>{style}</style>'
    "<main><h1>{title}</h1><p>{text}</p>{action}<p><small>Request {request_id}</small></p></main>"
    "</html>"
)
_PAGE_FIELDS = [
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src {style_source(_STYLE)}; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
]
# What Argo CD says of a token that has ended (measured: its UI reads only the status).
_UNAUTHORIZED = "invalid session: failed to verify the token"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the fields without any about framing, and a whole body."""

    status: int
    fields: Fields = field(default_factory=list)
    body: bytes = b""

    def with_fields(self, *more: tuple[str, str]) -> "Answer":
        """The same answer with more fields."""
        return replace(self, fields=[*self.fields, *more])


def to_bytes(answer: Answer, *, close: bool, body: bool = True) -> bytes:
    """The answer as it goes over the wire in HTTP/1.1; without its `body` for HEAD."""
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.fields]
    lines.append(f"Content-Length: {len(answer.body)}")
    if close:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + answer.body if body else head


def page(status: int, title: str, text: str, *, request_id: str, action: str = "") -> Answer:
    """A page for a person. `action` is HTML of ours; the rest is escaped."""
    body = _PAGE.format(
        title=html.escape(title),
        style=_STYLE,
        text=html.escape(text),
        action=action,
        request_id=html.escape(request_id),
    )
    return Answer(
        status, [("Content-Type", "text/html; charset=utf-8"), *_PAGE_FIELDS], body.encode()
    )


def link(address: str, text: str) -> str:
    """A link as a button."""
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>'


def plain(status: int, text: str, *fields: tuple[str, str]) -> Answer:
    """A sentence for whoever reads it."""
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8"), *fields], text.encode())


def redirect(address: str, cookies: Iterable[str] = ()) -> Answer:
    """303 with these Set-Cookie lines, never kept by a cache."""
    fields = [("Location", address), ("Cache-Control", "no-store")]
    return Answer(303, [*fields, *(("Set-Cookie", line) for line in cookies)])


def to_https(host: str, target: str) -> Answer:
    """307 to the same address with TLS, as Argo CD answers every request that comes without."""
    return Answer(307, [("Location", f"https://{host}{target}")])


def try_later(error: TryLater, kind: Kind, login_url: str, *, request_id: str) -> Answer:
    """503, 502 or 504 with `Retry-After`: the session may live, and no cookie is touched."""
    seconds = str(math.ceil(error.retry_after_seconds))
    if kind is Kind.PAGE:
        answer = page(
            error.status,
            "One moment, please",
            "A part of the sign-in service does not answer. You are still signed in; "
            "reload this page in a moment.",
            request_id=request_id,
            action=link(login_url, "Sign in anew") if error.operator else "",
        )
    else:
        message = f"{error}; try again in {seconds} s (request {request_id})"
        answer = _argocd_error(error.status, 14, message)
    return answer.with_fields(("Retry-After", seconds))


_AGAIN_AND_AGAIN = (
    "This browser was sent to sign in again and again within a minute, so signing in does not seem "
    "to last. Wait a minute and try again; if it goes on, tell your operator."
)
_TOO_MANY = "Too many people are signing in right now. Wait a moment, and reload this page."


def too_many(error: TooMany, kind: Kind, login_url: str, *, request_id: str) -> Answer:
    """429 with `Retry-After`: nothing was done, and the same request may be repeated."""
    seconds = str(math.ceil(error.retry_after_seconds))
    if kind is Kind.PAGE:
        loops = error.limit == "browser"
        answer = page(
            error.status,
            "One moment, please",
            _AGAIN_AND_AGAIN if loops else _TOO_MANY,
            request_id=request_id,
            action=link(login_url, "Sign in again") if loops else "",
        )
    else:
        message = f"{error}; try again in {seconds} s (request {request_id})"
        answer = _argocd_error(error.status, 8, message)
    return answer.with_fields(("Retry-After", seconds))


def session_ended(
    kind: Kind, upstream: UpstreamKind = UpstreamKind.ARGOCD, *, logged_out: bool = False
) -> Answer | None:
    """How the upstream itself would tell its UI that a login has ended; None: pass the request on.

    Devtron's has one answer for all (`writeResponse` in its authenticator's AuthMiddleware.go).
    """
    if upstream is UpstreamKind.DEVTRON:
        return _json(401, UNAUTHORIZED) if kind in (Kind.API, Kind.STREAM) else None
    match kind:
        case Kind.USERINFO:
            # `iss` other than "argocd" sends the UI to the SSO login at once, and no `iss` to its
            # login page: who has logged out is not to be logged in again by a question that was
            # under way.
            return _json(200, {} if logged_out else {"iss": "sso"})
        case Kind.API:
            return _argocd_error(401, 16, _UNAUTHORIZED)
        case Kind.STREAM:
            return Answer(401, [("Content-Type", "text/event-stream")], _ENDED_EVENT)
        case Kind.COOKIE_ONLY:
            return plain(401, "Invalid token\n")
    return None


def bearer_refused() -> Answer:
    """401 for a machine's token that failed a check (RFC 6750 section 3.1); which, the log says."""
    answer = _argocd_error(401, 16, "invalid bearer token")
    return answer.with_fields(("WWW-Authenticate", 'Bearer error="invalid_token"'))


def machine_forbidden() -> Answer:
    """403 for a machine whose token is good, and for which there is no rule."""
    return _argocd_error(403, 7, "permission denied")


_REFUSED = {
    405: "This method is not served here.\n",
    408: "The request did not arrive in time.\n",
    413: "The request's body is longer than is taken here.\n",
    414: "The request's address is longer than is taken here.\n",
    431: "The request's header fields are more than are taken here.\n",
    505: "Only versions 1.1 and 1.0 of HTTP are spoken here.\n",
}


def refused(status: int) -> Answer:
    """For a request that cannot be understood, or is more than we take."""
    return plain(status, _REFUSED.get(status, "The request cannot be understood.\n"))


def overloaded() -> Answer:
    """For a connection that is one too many."""
    return plain(503, "Too many connections.\n", ("Retry-After", "1"))


def _argocd_error(status: int, grpc_code: int, message: str) -> Answer:
    return _json(status, {"error": message, "code": grpc_code, "message": message})


def _json(status: int, value: Mapping[str, object]) -> Answer:
    fields = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("Cache-Control", "no-store"),
    ]
    return Answer(status, fields, _compact(value))


def _compact(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_ENDED = {
    "grpc_code": 16,
    "http_code": 401,
    "message": _UNAUTHORIZED,
    "http_status": "Unauthorized",
}
_ENDED_EVENT = b"data: " + _compact({"error": _ENDED}) + b"\n\n"
