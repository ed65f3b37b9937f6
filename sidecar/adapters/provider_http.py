"""One request to a provider: sent in time or not at all, heard to its end, bounded, once."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientRequest,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
    TooManyRedirects,
    TraceConfig,
)
from aiohttp.abc import AbstractCookieJar, AbstractResolver, AbstractStreamWriter, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from sidecar.errors import ProviderUnavailable

MAX_ANSWER_BYTES = 1024 * 1024
READ_WHAT_CAME_SECONDS = 0.1

_T = TypeVar("_T")


@dataclass(slots=True)
class _Attempt:
    """A request that presents a token or code: whether it may still go, and whether it went."""

    too_late: Callable[[], bool]
    sent: bool = False


_attempt: ContextVar[_Attempt | None] = ContextVar("attempt", default=None)


class _TimelyRequest(ClientRequest):
    """A request that is not sent once its time has passed while it was connecting.

    A process that was paused must not wake up and present a spent refresh token. So the last
    look at the clock is right before the first byte: on Python 3.11 that is a task of its own.
    """

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Any, content_length: int | None = None
    ) -> None:
        """Send head and body, unless it is too late. What asks for documents presents nothing."""
        attempt = _attempt.get()
        if attempt is not None and self.method == "POST":
            if attempt.too_late():
                conn.protocol.set_exception(ClientConnectionError("connecting took too long"))
                return
            attempt.sent = True
        await super().write_bytes(writer, conn, content_length)


@contextmanager
def presenting(too_late: Callable[[], bool]) -> Iterator[None]:
    """A failure in this block has left the token untouched, if nothing was sent."""
    attempt = _Attempt(too_late)
    outer = _attempt.set(attempt)
    try:
        yield
    except ProviderUnavailable as error:
        error.token_untouched = error.token_untouched or not attempt.sent
        raise
    finally:
        _attempt.reset(outer)


async def within(seconds: float, work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` gives within so many seconds.

    A process that was paused wakes up with its time over and the answer in its socket: what has
    arrived is read before it is given up, since it may be the only copy of a refresh token.

    Raises:
        TimeoutError: nothing came.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        for wait in (seconds, READ_WHAT_CAME_SECONDS):
            done, _ = await asyncio.wait({task}, timeout=wait)
            if done:
                return task.result()
        raise TimeoutError
    finally:
        task.cancel()
        await asyncio.wait({task})


@dataclass(frozen=True, slots=True)
class Way:
    """How a provider is reached: TLS, None for the system's authorities; and where it is.

    `server_name` is the name in its certificate, where that is not the host of its addresses.
    `resolve` has, for a host and port, the host and port to connect to instead: the `Host` and
    the name in the certificate stay those of the address. No proxy stands before those.
    """

    tls: ssl.SSLContext | None = None
    server_name: str = ""
    resolve: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)


def provider_session(
    *,
    total_seconds: float,
    way: Way | None = None,
    cookie_jar: AbstractCookieJar | None = None,
    trace_configs: Sequence[TraceConfig] = (),
) -> ClientSession:
    """The HTTP client for a provider: a fresh connection for each request, no cookies by itself.

    On a kept connection it cannot be told whether a request that failed was ever read, and
    so whether its refresh token is spent.
    """
    way = way or Way()
    return ClientSession(
        connector=TCPConnector(
            force_close=True, limit=100, ssl=way.tls or True, resolver=Resolver(way.resolve)
        ),
        cookie_jar=DummyCookieJar() if cookie_jar is None else cookie_jar,  # an empty one is falsy
        timeout=ClientTimeout(total=total_seconds),
        request_class=_request_on(way),
        trace_configs=list(trace_configs),
    )


class Resolver(AbstractResolver):
    """Where a host and port are: as configured, else as the system says."""

    def __init__(self, configured: Mapping[tuple[str, int], tuple[str, int]]) -> None:
        self._configured = configured
        self._system = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses to connect to."""
        where = self._configured.get((host.lower(), port), (host, port))
        return await self._system.resolve(*where, family)

    async def close(self) -> None:
        """Close what the system's resolver holds."""
        await self._system.close()


def _request_on(way: Way) -> type[_TimelyRequest]:
    class _Request(_TimelyRequest):
        def __init__(
            self,
            method: str,
            url: URL,
            *,
            proxy: URL | None = None,
            server_hostname: str | None = None,
            **options: Any,
        ) -> None:
            if (url.host, url.port) in way.resolve:
                proxy = None
            name = way.server_name or server_hostname
            super().__init__(method, url, proxy=proxy, server_hostname=name, **options)

    return _Request


def egress_proxy(url: str) -> str | None:
    """The proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name for an address.

    aiohttp's own `trust_env` would read a netrc file for every request, and send what it has.
    """
    address = urlsplit(url)
    proxy = None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


@asynccontextmanager
async def answer(request: Any) -> AsyncIterator[ClientResponse]:
    """The provider's answer, with aiohttp's errors as ours."""
    try:
        async with request as response:
            yield response
    except TooManyRedirects:
        raise ProviderUnavailable(
            "the provider redirects in a circle. Check the issuer, and what stands before it"
        ) from None
    except ClientResponseError as error:
        # Not chained: it shows the request's headers, and so the client's secret.
        name = type(error).__name__
        raise ProviderUnavailable(f"the provider's answer is not HTTP ({name})") from None
    except ClientConnectorCertificateError as error:
        if is_for_another_name(error):
            raise ProviderUnavailable(
                "the provider's certificate is for another name. Give that name by "
                "SIDECAR_PROVIDER_TLS_SERVER_NAME, or the way there by SIDECAR_RESOLVE"
            ) from error
        raise ProviderUnavailable(
            "the provider's certificate is not trusted. Give its authority by "
            "SIDECAR_PROVIDER_CA_FILE, or as rootCA in oidc.config"
        ) from error
    except (ClientConnectorError, ConnectionTimeoutError) as error:
        raise ProviderUnavailable("the provider cannot be reached") from error
    except (ClientError, TimeoutError, OSError) as error:
        raise ProviderUnavailable("the provider did not answer") from error


def is_for_another_name(error: ClientConnectorCertificateError) -> bool:
    """Whether a certificate is trusted, but not for this host (OpenSSL's codes 62 and 64)."""
    return getattr(error.certificate_error, "verify_code", 0) in (62, 64)


def gives_up_tls(response: ClientResponse) -> bool:
    """Whether redirections led from https to http: what came then, anybody may have written."""
    urls = [*(earlier.url for earlier in response.history), response.url]
    return any(a.scheme == "https" and b.scheme == "http" for a, b in pairwise(urls))


async def read_bounded(response: ClientResponse) -> bytes:
    """An answer's body, which is of a length that an answer may have."""
    parts, length = [], 0
    async for part in response.content.iter_chunked(65536):
        parts.append(part)
        length += len(part)
        if length > MAX_ANSWER_BYTES:
            raise ProviderUnavailable("the provider's answer is too long")
    return b"".join(parts)
