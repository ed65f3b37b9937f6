"""One request to a provider: sent in time or not at all, heard to its end, bounded, once."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
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
)

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

    A process that was paused must not wake up and present a spent refresh token.
    """

    async def send(self, conn: Any) -> ClientResponse:
        """Send, unless it is too late. What asks for documents presents nothing."""
        attempt = _attempt.get()
        if attempt is not None and self.method == "POST":
            if attempt.too_late():
                raise ProviderUnavailable("connecting took too long")
            attempt.sent = True
        return await super().send(conn)


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


def provider_session(*, total_seconds: float, tls: ssl.SSLContext | None = None) -> ClientSession:
    """The HTTP client for a provider: a fresh connection for each request, by `tls` if given.

    On a kept connection it cannot be told whether a request that failed was ever read, and
    so whether its refresh token is spent.
    """
    return ClientSession(
        connector=TCPConnector(force_close=True, limit=100, ssl=tls or True),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=total_seconds),
        request_class=_TimelyRequest,
    )


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
        raise ProviderUnavailable(
            "the provider's certificate is not trusted. Give its authority as rootCA in "
            "oidc.config, or by SSL_CERT_FILE"
        ) from error
    except (ClientConnectorError, ConnectionTimeoutError) as error:
        raise ProviderUnavailable("the provider cannot be reached") from error
    except (ClientError, TimeoutError, OSError) as error:
        raise ProviderUnavailable("the provider did not answer") from error


async def read_bounded(response: ClientResponse) -> bytes:
    """An answer's body, which is of a length that an answer may have."""
    parts, length = [], 0
    async for part in response.content.iter_chunked(65536):
        parts.append(part)
        length += len(part)
        if length > MAX_ANSWER_BYTES:
            raise ProviderUnavailable("the provider's answer is too long")
    return b"".join(parts)
