"""Answers as aiohttp sends them."""

from collections.abc import Iterable

from aiohttp import web

from sidecar.core import answers
from sidecar.core.answers import Answer
from sidecar.core.heads import Kind
from sidecar.errors import LoginRefused, TooMany, TryLater


def rendered(answer: Answer) -> web.Response:
    """The answer as a response of aiohttp's."""
    response = web.Response(status=answer.status, body=answer.body)
    for name, value in answer.fields:
        # A response begins with a Content-Type of its own, which is not ours.
        response.headers.pop(name, None) if name == "Content-Type" else None
        response.headers.add(name, value)
    return response


def ask_to_log_out(address: str, *, request_id: str) -> web.Response:
    """The question that a logout from another site gets."""
    page = answers.page(
        200,
        "Sign out?",
        "Another site asked to sign you out here.",
        request_id=request_id,
        # A link, for a form could not lead on to the provider: browsers hold a page's
        # `form-action` against redirects too.
        action=answers.link(address, "Sign out"),
    )
    return rendered(page)


def redirect(address: str, cookies: Iterable[str] = ()) -> web.Response:
    """303 with these Set-Cookie lines, never kept by a cache."""
    return rendered(answers.redirect(address, cookies))


def add_cookies(response: web.Response, lines: Iterable[str]) -> web.Response:
    """The answer with these Set-Cookie lines."""
    for line in lines:
        response.headers.add("Set-Cookie", line)
    return response


def login_refused(error: LoginRefused, login_url: str, *, request_id: str) -> web.Response:
    """Why a sign-in could not be finished; it never starts another by itself."""
    action = answers.link(login_url, "Sign in again")
    page = answers.page(
        error.status, "You are not signed in", str(error), request_id=request_id, action=action
    )
    return rendered(page)


def try_later(error: TryLater, login_url: str, *, request_id: str) -> web.Response:
    """503 or 502 with `Retry-After`, as a page."""
    return rendered(answers.try_later(error, Kind.PAGE, login_url, request_id=request_id))


def too_many(error: TooMany, login_url: str, accept: str, *, request_id: str) -> web.Response:
    """429 with `Retry-After`: a page for a person, Argo CD's JSON for a program."""
    kind = Kind.PAGE if "text/html" in accept else Kind.API
    return rendered(answers.too_many(error, kind, login_url, request_id=request_id))


def malformed(status: int = 400) -> web.Response:
    """For what cannot be understood, or is more than we take."""
    return rendered(answers.refused(status))
