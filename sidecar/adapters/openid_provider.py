"""The OpenID provider over HTTP: discovery, JWKS, token and revocation endpoints."""

import asyncio
import base64
import functools
import json
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit
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
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc7009 import prepare_revoke_token_request

from sidecar.core import id_token as core_id_token
from sidecar.core.failures import Answer, failure
from sidecar.core.id_token import SigningKey, read_keys
from sidecar.core.provider_profiles import ProviderProfile, SecretPlace, recognised
from sidecar.core.tokens import TokenResponse, read_token_response
from sidecar.errors import ProviderUnavailable
from sidecar.metrics import Metrics
from sidecar.ports import Clock, ProviderEndpoints

DOCUMENT_AGE_SECONDS = 3600.0
ASK_AGAIN_SECONDS = 10.0  # between two JWKS requests, whatever unknown key ids come
RETRY_SECONDS = 1.0  # after a failed discovery or JWKS request
MAX_ANSWER_BYTES = 1024 * 1024
READ_WHAT_CAME_SECONDS = 0.1

_T = TypeVar("_T")


@dataclass(slots=True)
class _Attempt:
    """A request that presents a token or code: whether it may still go, and whether it went."""

    too_late: Callable[[], bool]
    sent: bool = False


_attempt: ContextVar[_Attempt | None] = ContextVar("attempt", default=None)


class OpenIdProvider:
    """The provider at `issuer`, for one client. `secret` is asked for at each request.

    Without a profile the provider is recognised, at each discovery anew.
    """

    def __init__(
        self,
        http: ClientSession,
        issuer: str,
        client_id: str,
        secret: Callable[[], str],
        *,
        clock: Clock,
        metrics: Metrics,
        keys_seconds: float,
        profile: ProviderProfile | None = None,
    ) -> None:
        self._http = http
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._clock = clock
        self._metrics = metrics
        self._chosen = profile
        self._recognised = recognised(issuer, {})
        self._document_timeout = ClientTimeout(total=keys_seconds)
        self._proxy = functools.lru_cache(maxsize=16)(egress_proxy)
        self._endpoints = _Remembered(self._discover, clock, again_seconds=RETRY_SECONDS)
        self._keys = _Remembered(self._read_keys, clock, again_seconds=ASK_AGAIN_SECONDS)

    def use(self, http: ClientSession) -> None:
        """Ask with another client from now on; what is under way ends with the old one."""
        self._http = http

    @property
    def profile(self) -> ProviderProfile:
        """The profile that was chosen, else the one that issuer and metadata speak for.

        Before the first discovery the issuer alone has to tell.
        """
        return self._chosen or self._recognised

    async def endpoints(self) -> ProviderEndpoints:
        """The provider's metadata, fetched when first asked for, and hourly."""
        return await self._endpoints.get()

    async def signing_keys(self, id_token: str, *, again: bool = False) -> Sequence[SigningKey]:
        """The keys that may have signed a token."""
        kid = core_id_token.key_id(id_token)
        fitting = _fitting(await self._keys.get(), kid)
        if again or not fitting:
            fitting = _fitting(await self._keys.get(again=True), kid)
        return fitting

    async def exchange(self, code: str, *, code_verifier: str, redirect_uri: str) -> TokenResponse:
        """The tokens for an authorization code (RFC 6749 4.1.3, RFC 7636 4.5)."""
        form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", code_verifier),
        ]
        return await self._ask_for_tokens(lambda: form)

    async def refresh(self, refresh_token: str, *, send_before: float) -> TokenResponse:
        """The tokens for a refresh token (RFC 6749 section 6); no `scope`: the same as before."""

        def form() -> list[tuple[str, str]]:
            scope = self.profile.refresh_scope
            grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)]
            return [*grant, ("scope", scope)] if scope else grant

        return await self._ask_for_tokens(form, send_before=send_before)

    async def revoke(self, refresh_token: str) -> bool:
        """Whether the provider was told to end a grant (RFC 7009 section 2.1)."""
        endpoints = await self._endpoints.get()
        if not endpoints.revocation_endpoint:
            return False
        body, _ = prepare_revoke_token_request(refresh_token, "refresh_token")
        answer = await self._post(endpoints.revocation_endpoint, body, endpoints, "revocation")
        if answer.status != 200:
            raise failure(answer, self.profile)
        return True

    async def _ask_for_tokens(
        self, form: Callable[[], list[tuple[str, str]]], *, send_before: float = math.inf
    ) -> TokenResponse:
        """The answer to a form, which is made once the provider is known."""
        with _presenting(lambda: self._clock.monotonic() > send_before):
            endpoints = await self._endpoints.get()
            body = urlencode(form())
            answer = await self._post(endpoints.token_endpoint, body, endpoints, "token")
        if answer.status != 200:
            raise failure(answer, self.profile)
        return read_token_response(answer.body)

    async def _post(self, url: str, body: str, endpoints: ProviderEndpoints, name: str) -> Answer:
        headers, body = self._authenticated(body, endpoints)
        with self._metrics.provider_seconds.labels(name).time():
            posted = self._posted(url, body, headers)
            try:
                return await _within(self._http.timeout.total or math.inf, posted)
            except TimeoutError as error:
                raise ProviderUnavailable("the provider did not answer in time") from error

    async def _posted(self, url: str, body: str, headers: dict[str, str]) -> Answer:
        # What is presented here is for this address, wherever it may point.
        request = self._http.post(
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=ClientTimeout(),
            proxy=self._proxy(url),
        )
        async with _answer(request) as response:
            return Answer(
                response.status,
                await _read_bounded(response),
                content_type=response.headers.get("Content-Type", ""),
                retry_after=response.headers.get("Retry-After", ""),
                date=response.headers.get("Date", ""),
            )

    def _authenticated(self, body: str, endpoints: ProviderEndpoints) -> tuple[dict[str, str], str]:
        """Client authentication (RFC 6749 2.3.1): Basic where listed, else in the body.

        One of the two: with both some providers refuse (OneLogin), as section 2.3 asks.
        """
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        try:
            secret = self._secret()
        except (OSError, ValueError) as error:
            raise ProviderUnavailable("the client's secret cannot be read from its file") from error
        listed = "client_secret_basic" in endpoints.token_endpoint_auth_methods
        if secret and listed and self.profile.secret_place is SecretPlace.LISTED:
            # Authlib leaves the form encoding out, and secrets with `%` or `+` fail then.
            pair = f"{quote_plus(self._client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            return headers, body
        method = "client_secret_post" if secret else "none"
        auth = ClientAuth(self._client_id, secret, method)
        _, headers, body = auth.prepare("POST", "", headers, body)
        return headers, body

    async def _discover(self) -> ProviderEndpoints:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        document = await self._document(url, "discovery")
        endpoints = _read_metadata(document, self._issuer)
        self._recognised = recognised(self._issuer, document)
        return endpoints

    async def _read_keys(self) -> list[SigningKey]:
        endpoints = await self._endpoints.get()
        try:
            keys = read_keys(await self._document(endpoints.jwks_uri, "jwks"))
            if not keys:
                raise ProviderUnavailable("the provider's JWKS has no usable key")
        except ProviderUnavailable:
            self._metrics.jwks_fetches.labels("failed").inc()
            raise
        self._metrics.jwks_fetches.labels("ok").inc()
        return keys

    async def _document(self, url: str, name: str) -> Any:
        request = self._http.get(
            url,
            headers={"Accept": "application/json"},
            timeout=self._document_timeout,
            proxy=self._proxy(url),
        )
        with self._metrics.provider_seconds.labels(name).time():
            async with _answer(request) as response:
                body = await _read_bounded(response)
        if response.status != 200:
            raise ProviderUnavailable(f"the provider's {name} answered {response.status}")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ProviderUnavailable(_no_json(body, name)) from error


class _Remembered(Generic[_T]):
    """A fetched value: one fetch at a time, not too often, and the old one while that fails."""

    def __init__(
        self, fetch: Callable[[], Awaitable[_T]], clock: Clock, *, again_seconds: float
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._again_seconds = again_seconds
        self._lock = asyncio.Lock()
        self._value: _T | None = None
        self._fetched_at = 0.0
        self._next_at = 0.0
        self._why = ""

    async def get(self, *, again: bool = False) -> _T:
        """The value, fetched when it is old, or asked for `again` and not too soon for that."""
        if self._value is not None and not self._due(again=again):
            return self._value
        asked_at = self._clock.monotonic()
        async with self._lock:
            if self._value is not None and (
                self._fetched_at >= asked_at or not self._due(again=again)
            ):
                return self._value
            return await self._fetch_again()

    def _due(self, *, again: bool) -> bool:
        now = self._clock.monotonic()
        return now >= self._next_at and (again or now >= self._fetched_at + DOCUMENT_AGE_SECONDS)

    async def _fetch_again(self) -> _T:
        now = self._clock.monotonic()
        if self._value is None and now < self._next_at:
            raise ProviderUnavailable(f"{self._why}, a moment ago")
        try:
            value = await self._fetch()
        except ProviderUnavailable as error:
            self._why = str(error)
            # Counted from now: those who waited for a slow failure must not repeat it in turn.
            self._next_at = self._clock.monotonic() + RETRY_SECONDS
            if self._value is None:
                raise
            return self._value
        now = self._clock.monotonic()
        self._value, self._fetched_at, self._next_at = value, now, now + self._again_seconds
        return value


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
def _presenting(too_late: Callable[[], bool]) -> Iterator[None]:
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


async def _within(seconds: float, work: Coroutine[Any, Any, _T]) -> _T:
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
async def _answer(request: Any) -> AsyncIterator[ClientResponse]:
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


async def _read_bounded(response: ClientResponse) -> bytes:
    parts, length = [], 0
    async for part in response.content.iter_chunked(65536):
        parts.append(part)
        length += len(part)
        if length > MAX_ANSWER_BYTES:
            raise ProviderUnavailable("the provider's answer is too long")
    return b"".join(parts)


def _fitting(keys: Sequence[SigningKey], kid: str | None) -> list[SigningKey]:
    return [key for key in keys if kid is None or key.kid in (None, kid)]


def _read_metadata(document: Any, issuer: str) -> ProviderEndpoints:
    """The endpoints in a discovery document.

    Read by hand: Authlib's check refuses http inside a cluster, and documents that leave out
    what nobody needs.
    """
    if not isinstance(document, dict):
        raise ProviderUnavailable("the provider's discovery is not a JSON object")
    if document.get("issuer") != issuer:
        raise ProviderUnavailable(
            f"the provider's discovery names another issuer, {_short(document.get('issuer'))}. "
            "SIDECAR_ISSUER, or issuer in oidc.config, must be equal to it to the letter "
            "(OpenID Connect Discovery 4.3)"
        )
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not _text(document, name).startswith(("https://", "http://")):
            raise ProviderUnavailable(f"the provider's discovery has no usable {name}")
    methods = _texts(document, "token_endpoint_auth_methods_supported")
    return ProviderEndpoints(
        issuer=issuer,
        authorization_endpoint=_text(document, "authorization_endpoint"),
        token_endpoint=_text(document, "token_endpoint"),
        jwks_uri=_text(document, "jwks_uri"),
        revocation_endpoint=_text(document, "revocation_endpoint"),
        end_session_endpoint=_text(document, "end_session_endpoint"),
        # Left out, it means Basic (OpenID Connect Discovery section 3).
        token_endpoint_auth_methods=methods or ("client_secret_basic",),
        scopes_supported=_texts(document, "scopes_supported"),
        iss_parameter_supported=(
            document.get("authorization_response_iss_parameter_supported") is True
        ),
    )


def _no_json(body: bytes, name: str) -> str:
    if not body.lstrip().startswith(b"<"):
        return f"the provider's {name} is not JSON"
    return (
        f"the provider's {name} is a web page, not JSON. Check the issuer: what it leads to must "
        "answer without a login"
    )


def _short(value: Any) -> str:
    return repr(value[:200]) if isinstance(value, str) else "which is no text"


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) and len(value) <= 2048 else ""


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()
