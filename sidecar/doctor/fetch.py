"""One answer over HTTP, bounded in time and length; what went wrong is a word, not an exception."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz
from enum import StrEnum
from typing import Any

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    TooManyRedirects,
)
from yarl import URL

from sidecar.adapters.provider_http import gives_up_tls, is_for_another_name
from sidecar.ports import Clock

MAX_BYTES = 1024 * 1024
SECONDS = 10.0


class Problem(StrEnum):
    """Why there is no answer, as the rest of a sentence."""

    NAME = "has a name that cannot be resolved"
    REFUSED = "cannot be reached"
    CERTIFICATE = "has a certificate that is not trusted here"
    OTHER_NAME = "has a certificate for another name"
    NO_TLS = "does not speak TLS there"
    SLOW = "did not answer in time"
    REDIRECTS = "redirects in a circle"
    NO_MORE_TLS = "redirects from https to http"
    LONG = "answers more than anybody can use"
    BROKEN = "broke off, or does not speak HTTP"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer, or the problem in its place. `clock_ahead` is the other's clock less ours."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    set_cookies: tuple[str, ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    clock_ahead: float | None = None
    problem: Problem | None = None

    @property
    def location(self) -> str:
        """Where a redirection leads."""
        return self.headers.get("Location", "") if 300 <= self.status < 400 else ""

    @property
    def is_web_page(self) -> bool:
        """Whether a browser would show it."""
        return self.body.lstrip()[:1] == b"<"

    def json(self) -> Any:
        """What the body says; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


async def fetch(
    http: ClientSession,
    url: str,
    clock: Clock,
    *,
    follow: bool = False,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> Page:
    """The answer to a GET."""
    return await asked(http, "GET", url, clock, allow_redirects=follow, headers=headers, **options)


async def asked(
    http: ClientSession,
    method: str,
    url: str | URL,
    clock: Clock,
    *,
    allow_redirects: bool = False,
    seconds: float = SECONDS,
    **options: Any,
) -> Page:
    """The answer to a request, if it has come after so many seconds."""
    timeout = ClientTimeout(total=seconds)
    try:
        async with http.request(
            method, url, allow_redirects=allow_redirects, timeout=timeout, **options
        ) as response:
            return await _page(response, clock)
    except (ClientError, TimeoutError, OSError, ValueError) as error:
        return Page(problem=_problem(error))


async def _page(response: ClientResponse, clock: Clock) -> Page:
    if gives_up_tls(response):
        return Page(problem=Problem.NO_MORE_TLS)
    ahead = _clock_ahead(response.headers.get("Date", ""), clock.now())
    body = bytearray()
    async for part in response.content.iter_chunked(65536):
        body += part
        if len(body) > MAX_BYTES:
            return Page(problem=Problem.LONG)
    return Page(
        response.status,
        response.headers,
        tuple(response.headers.getall("Set-Cookie", ())),
        bytes(body),
        ahead,
    )


def _clock_ahead(date: str, now: float) -> float | None:
    """By how many seconds a `Date` is ahead; it has whole ones, so half of one is added."""
    try:
        parsed = parsedate_tz(date)
        return None if parsed is None else mktime_tz(parsed) + 0.5 - now
    except (ValueError, OverflowError):
        return None


def _problem(error: Exception) -> Problem:
    if isinstance(error, TooManyRedirects):
        return Problem.REDIRECTS
    if isinstance(error, ClientConnectorCertificateError):
        return Problem.OTHER_NAME if is_for_another_name(error) else Problem.CERTIFICATE
    if isinstance(error, ClientConnectorDNSError):
        return Problem.NAME
    if isinstance(error, ClientConnectorError):
        return Problem.NO_TLS if isinstance(error.os_error, ssl.SSLError) else Problem.REFUSED
    return Problem.SLOW if isinstance(error, TimeoutError) else Problem.BROKEN
