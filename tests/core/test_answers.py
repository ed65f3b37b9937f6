"""Each answer of the sidecar's own, as it is."""

import base64
import hashlib
import re

import pytest

from sidecar.core import answers
from sidecar.core.answers import Answer
from sidecar.core.heads import Kind
from sidecar.core.upstream_kinds import UpstreamKind
from sidecar.errors import TooMany, TryLater

STYLE_SHA256 = "sha256-oHs+g+cwxl1i2hEB9MJdZ+8iXF4k/SQ4Z9juuVCP5ZY="
PAGE_FIELDS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src '{STYLE_SHA256}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
]
JSON_FIELDS = [
    ("Content-Type", "application/json; charset=utf-8"),
    ("Cache-Control", "no-store"),
]
TEXT_FIELDS = [("Content-Type", "text/plain; charset=utf-8")]


class OperatorsFault(TryLater):
    """For which somebody has to change a setting."""

    operator = True


def html(title: str, text: str, action: str = "") -> str:
    """A page, with its style left out."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{title}</title><style></style>'
        f"<main><h1>{title}</h1><p>{text}</p>{action}"
        "<p><small>Request r&lt;1</small></p></main></html>"
    )


def shown(answer: Answer) -> str:
    """A page's body with its style left out, which has to be the one that is allowed."""
    text = answer.body.decode()
    [style] = re.findall("<style>(.+)</style>", text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"sha256-{digest}" == STYLE_SHA256
    return text.replace(style, "")


def test_a_page_shows_what_it_is_given_as_text_and_only_our_own_action_as_html() -> None:
    answer = answers.page(403, "A <b>", "T & t", request_id="r<1", action="<i>é</i>")

    assert (answer.status, answer.fields) == (403, PAGE_FIELDS)
    assert shown(answer) == html("A &lt;b&gt;", "T &amp; t", "<i>é</i>")
    without = answers.page(200, "A", "T", request_id="r<1")
    assert shown(without) == html("A", "T")


def test_a_link_is_escaped() -> None:
    assert answers.link('/a?b=1&"', "<x>") == '<a href="/a?b=1&amp;&quot;">&lt;x&gt;</a>'


def test_an_answer_has_no_fields_and_no_body_unless_it_is_given_some() -> None:
    assert (Answer(200).fields, Answer(200).body) == ([], b"")
    assert Answer(200, [("A", "b")], b"c").with_fields(("D", "e")) == Answer(
        200, [("A", "b"), ("D", "e")], b"c"
    )


@pytest.mark.parametrize(
    ("close", "body", "raw"),
    [
        (False, True, b"HTTP/1.1 404 Not Found\r\nA: \xe9\r\nContent-Length: 3\r\n\r\nabc"),
        (False, False, b"HTTP/1.1 404 Not Found\r\nA: \xe9\r\nContent-Length: 3\r\n\r\n"),
        (
            True,
            True,
            b"HTTP/1.1 404 Not Found\r\nA: \xe9\r\nContent-Length: 3\r\n"
            b"Connection: close\r\n\r\nabc",
        ),
    ],
)
def test_an_answer_goes_over_the_wire_with_its_length(close: bool, body: bool, raw: bytes) -> None:
    answer = Answer(404, [("A", "é")], b"abc")

    assert answers.to_bytes(answer, close=close, body=body) == raw
    if body:
        assert answers.to_bytes(answer, close=close) == raw


def test_sentences_and_redirects_are_these() -> None:
    assert answers.plain(400, "No é.\n", ("A", "b")) == Answer(
        400, [*TEXT_FIELDS, ("A", "b")], "No é.\n".encode()
    )
    assert answers.redirect("/a", ["x=1", "y=2"]) == Answer(
        303,
        [
            ("Location", "/a"),
            ("Cache-Control", "no-store"),
            ("Set-Cookie", "x=1"),
            ("Set-Cookie", "y=2"),
        ],
    )
    assert answers.redirect("/a").fields == [("Location", "/a"), ("Cache-Control", "no-store")]
    assert answers.to_https("argocd.example.org", "/a?b") == Answer(
        307, [("Location", "https://argocd.example.org/a?b")]
    )


WAIT = "A part of the sign-in service does not answer. You are still signed in; reload this page in a moment."  # noqa: E501


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (TryLater("away", retry_after_seconds=2.1), ""),
        (OperatorsFault("away", retry_after_seconds=3.0), '<a href="/login">Sign in anew</a>'),
    ],
)
def test_a_person_is_asked_to_wait_and_offered_a_login_where_that_may_help(
    error: TryLater, action: str
) -> None:
    answer = answers.try_later(error, Kind.PAGE, "/login", request_id="r<1")

    assert (answer.status, answer.fields) == (503, [*PAGE_FIELDS, ("Retry-After", "3")])
    assert shown(answer) == html("One moment, please", WAIT, action)


def test_a_program_is_asked_to_wait_as_argo_cd_would() -> None:
    answer = answers.try_later(
        TryLater("the store is away", retry_after_seconds=2.1), Kind.API, "/login", request_id="r1"
    )

    message = b"the store is away; try again in 3 s (request r1)"
    assert answer == Answer(
        503,
        [*JSON_FIELDS, ("Retry-After", "3")],
        b'{"error":"%s","code":14,"message":"%s"}' % (message, message),
    )


@pytest.mark.parametrize(
    ("limit", "text", "action"),
    [
        (
            "browser",
            "This browser was sent to sign in again and again within a minute, so signing in does "
            "not seem to last. Wait a minute and try again; if it goes on, tell your operator.",
            '<a href="/login">Sign in again</a>',
        ),
        (
            "all",
            "Too many people are signing in right now. Wait a moment, and reload this page.",
            "",
        ),
    ],
)
def test_a_person_who_is_one_too_many_is_told_so(limit: str, text: str, action: str) -> None:
    error = TooMany(limit, retry_after_seconds=0.5)

    answer = answers.too_many(error, Kind.PAGE, "/login", request_id="r<1")

    assert (answer.status, answer.fields) == (429, [*PAGE_FIELDS, ("Retry-After", "1")])
    assert shown(answer) == html("One moment, please", text, action)


def test_a_program_that_is_one_too_many_is_told_so() -> None:
    error = TooMany("all", retry_after_seconds=0.5)

    message = b"too many sign-ins; try again in 1 s (request r1)"
    assert answers.too_many(error, Kind.API, "/login", request_id="r1") == Answer(
        429,
        [*JSON_FIELDS, ("Retry-After", "1")],
        b'{"error":"%s","code":8,"message":"%s"}' % (message, message),
    )


INVALID = b"invalid session: failed to verify the token"
ENDED = b'{"error":"%s","code":16,"message":"%s"}' % (INVALID, INVALID)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (Kind.USERINFO, Answer(200, JSON_FIELDS, b'{"iss":"sso"}')),
        (Kind.API, Answer(401, JSON_FIELDS, ENDED)),
        (
            Kind.STREAM,
            Answer(
                401,
                [("Content-Type", "text/event-stream")],
                b'data: {"error":{"grpc_code":16,"http_code":401,"message":"%s",'
                b'"http_status":"Unauthorized"}}\n\n' % INVALID,
            ),
        ),
        (Kind.COOKIE_ONLY, Answer(401, TEXT_FIELDS, b"Invalid token\n")),
        (Kind.PAGE, None),
    ],
)
def test_a_session_that_has_ended_is_told_as_argo_cd_tells_it(
    kind: Kind, answer: Answer | None
) -> None:
    assert answers.session_ended(kind) == answer
    if kind is not Kind.USERINFO:
        assert answers.session_ended(kind, logged_out=True) == answer


def test_who_has_logged_out_is_not_sent_to_log_in() -> None:
    answer = answers.session_ended(Kind.USERINFO, logged_out=True)

    assert answer == Answer(200, JSON_FIELDS, b"{}")


@pytest.mark.parametrize("kind", list(Kind))
def test_a_session_that_has_ended_is_told_as_devtron_tells_it(kind: Kind) -> None:
    answer = answers.session_ended(kind, UpstreamKind.DEVTRON)

    if kind in (Kind.API, Kind.STREAM):
        assert answer == Answer(401, JSON_FIELDS, b'{"code":401,"result":"Unauthorized"}')
    else:
        assert answer is None


def test_machines_are_refused_as_argo_cd_and_rfc_6750_say() -> None:
    said = b"invalid bearer token"
    assert answers.bearer_refused() == Answer(
        401,
        [*JSON_FIELDS, ("WWW-Authenticate", 'Bearer error="invalid_token"')],
        b'{"error":"%s","code":16,"message":"%s"}' % (said, said),
    )
    assert answers.machine_forbidden() == Answer(
        403, JSON_FIELDS, b'{"error":"permission denied","code":7,"message":"permission denied"}'
    )


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, b"The request cannot be understood.\n"),
        (405, b"This method is not served here.\n"),
        (408, b"The request did not arrive in time.\n"),
        (413, b"The request's body is longer than is taken here.\n"),
        (414, b"The request's address is longer than is taken here.\n"),
        (431, b"The request's header fields are more than are taken here.\n"),
        (505, b"Only versions 1.1 and 1.0 of HTTP are spoken here.\n"),
    ],
)
def test_a_request_that_is_refused_is_told_why(status: int, sentence: bytes) -> None:
    assert answers.refused(status) == Answer(status, TEXT_FIELDS, sentence)


def test_a_connection_that_is_one_too_many_is_told_so() -> None:
    assert answers.overloaded() == Answer(
        503, [*TEXT_FIELDS, ("Retry-After", "1")], b"Too many connections.\n"
    )
