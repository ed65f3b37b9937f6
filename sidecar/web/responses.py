"""An error → a page for a person, JSON for the API, 401 as Argo CD says it, 503 with Retry-After.

Nothing of a request is ever repeated in an answer.
"""

import html
import json
import math
from collections.abc import Iterable

from aiohttp import web

from sidecar.core.heads import Kind
from sidecar.errors import LoginRefused, TryLater
from sidecar.flows.refresh import TokenMissing

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
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# What Argo CD says of a token that has ended (measured: its UI reads only the status).
_UNAUTHORIZED = "invalid session: failed to verify the token"


def page(status: int, title: str, text: str, *, request_id: str, action: str = "") -> web.Response:
    """A page for a person. `action` is HTML of ours; the rest is escaped."""
    body = _PAGE.format(
        title=html.escape(title),
        style=_STYLE,
        text=html.escape(text),
        action=action,
        request_id=html.escape(request_id),
    )
    return web.Response(status=status, text=body, content_type="text/html", headers=_PAGE_HEADERS)


def link(address: str, text: str) -> str:
    """A link as a button."""
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>'


def ask_to_log_out(action: str, *, request_id: str) -> web.Response:
    """The question that a logout from another site gets."""
    form = f'<form method="post" action="{html.escape(action)}"><button>Sign out</button></form>'
    return page(
        200, "Sign out?", "Another site asked to sign you out here.",
        request_id=request_id, action=form,
    )  # fmt: skip


def redirect(address: str, cookies: Iterable[str] = ()) -> web.Response:
    """303 with these Set-Cookie lines, never kept by a cache."""
    response = web.Response(status=303)
    response.headers["Location"] = address
    response.headers["Cache-Control"] = "no-store"
    return add_cookies(response, cookies)


def add_cookies(response: web.Response, lines: Iterable[str]) -> web.Response:
    """The answer with these Set-Cookie lines."""
    for line in lines:
        response.headers.add("Set-Cookie", line)
    return response


def login_refused(error: LoginRefused, login_url: str, *, request_id: str) -> web.Response:
    """Why a sign-in could not be finished; it never starts another by itself."""
    action = link(login_url, "Sign in again")
    return page(
        error.status, "You are not signed in", str(error), request_id=request_id, action=action
    )


def try_later(error: TryLater, kind: Kind, login_url: str, *, request_id: str) -> web.Response:
    """503 or 502 with `Retry-After`: the session may live, and no cookie is touched."""
    seconds = str(math.ceil(error.retry_after_seconds))
    if kind is Kind.PAGE:
        # With the operator's fault in between, waiting does not help, but a login may.
        offers = isinstance(error, TokenMissing) and error.operator
        response = page(
            error.status,
            "One moment, please",
            "A part of the sign-in service does not answer. You are still signed in; "
            "reload this page in a moment.",
            request_id=request_id,
            action=link(login_url, "Sign in anew") if offers else "",
        )
    else:
        message = f"{error}; try again in {seconds} s (request {request_id})"
        response = _argocd_error(error.status, 14, message)
    response.headers["Retry-After"] = seconds
    return response


def session_ended(kind: Kind) -> web.Response | None:
    """How Argo CD itself would tell its UI that a login has ended; None: pass the request on."""
    match kind:
        case Kind.USERINFO:
            # `iss` other than "argocd" sends the UI to the SSO login, not the password page.
            return _json(200, {"iss": "sso"})
        case Kind.API:
            return _argocd_error(401, 16, _UNAUTHORIZED)
        case Kind.STREAM:
            error = {
                "grpc_code": 16,
                "http_code": 401,
                "message": _UNAUTHORIZED,
                "http_status": "Unauthorized",
            }
            text = "data: " + json.dumps({"error": error}, separators=(",", ":")) + "\n\n"
            return web.Response(status=401, text=text, content_type="text/event-stream")
        case Kind.COOKIE_ONLY:
            return web.Response(status=401, text="Invalid token\n")
        case _:
            return None


def malformed() -> web.Response:
    """400 for what cannot be understood."""
    response = web.Response(status=400, text="The request cannot be understood.\n")
    response.force_close()
    return response


def _argocd_error(status: int, grpc_code: int, message: str) -> web.Response:
    return _json(status, {"error": message, "code": grpc_code, "message": message})


def _json(status: int, body: dict[str, object]) -> web.Response:
    text = json.dumps(body, separators=(",", ":"))
    return web.Response(
        status=status,
        text=text,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
