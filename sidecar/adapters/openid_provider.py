"""The OpenID provider over HTTP: discovery, JWKS, token and revocation endpoints."""

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from aiohttp import (
    ClientSession,
    ClientTimeout,
)

from sidecar.adapters.json_documents import json_document
from sidecar.adapters.provider_http import (
    answer,
    egress_proxy,
    presenting,
    read_bounded,
    within,
)
from sidecar.adapters.provider_metadata import read_metadata
from sidecar.adapters.remembered import Remembered
from sidecar.core import id_token as core_id_token
from sidecar.core.client_authentication import (
    ClientAuth,
    Credentials,
    Verifier,
    authenticated,
    method_used,
)
from sidecar.core.failures import Answer, failure
from sidecar.core.id_token import SigningKey, read_keys
from sidecar.core.provider_addresses import ProviderAddresses, seen_from_outside
from sidecar.core.provider_profiles import ProviderProfile, recognised
from sidecar.core.published_keys import PublishedKeys
from sidecar.core.tokens import TokenResponse, read_token_response
from sidecar.errors import ProviderUnavailable
from sidecar.metrics import Metrics
from sidecar.ports import Clock, ProviderEndpoints

ASK_AGAIN_SECONDS = 10.0  # between two JWKS requests, whatever unknown key ids come
_JTI_BYTES = 16
# Where a token straight from the provider does not fit its keys: it has changed them just now.
ASK_AT_ONCE_SECONDS = 1.0


class OpenIdProvider:
    """The provider at its addresses, for one client. Its credentials are asked for each time.

    Without a profile the provider is recognised, at each discovery anew.
    """

    def __init__(
        self,
        http: ClientSession,
        addresses: ProviderAddresses,
        client_id: str,
        credentials: Callable[[], Credentials],
        *,
        clock: Clock,
        metrics: Metrics,
        keys_seconds: float,
        profile: ProviderProfile | None = None,
    ) -> None:
        self._http = http
        self._addresses = addresses
        self._client_id = client_id
        self._credentials = credentials
        self._clock = clock
        self._metrics = metrics
        self._chosen = profile
        self._recognised = recognised(addresses.issuer, {})
        self._document_seconds = keys_seconds
        self._proxy = functools.lru_cache(maxsize=16)(egress_proxy)
        self.published: PublishedKeys | None = None
        """The keys as they were last read, another object each time; None before the first."""
        self._forget_documents()

    def _forget_documents(self) -> None:
        too_soon = self._metrics.limited.labels
        self._endpoints = Remembered(
            self._discover, self._clock, too_soon=lambda: too_soon("discovery").inc()
        )
        self._keys = Remembered(
            self._read_keys, self._clock, too_soon=lambda: too_soon("jwks").inc()
        )

    def use(self, http: ClientSession) -> None:
        """Ask with another client from now on; what is under way ends with the old one."""
        self._http = http

    def move(self, addresses: ProviderAddresses) -> None:
        """Ask at other addresses of the same provider, whose documents are then read anew."""
        self._addresses = addresses
        self._forget_documents()

    def understand(self, profile: ProviderProfile | None) -> None:
        """Take it for this provider from now on; None: it is recognised."""
        self._chosen = profile

    @property
    def profile(self) -> ProviderProfile:
        """The profile that was chosen, else the one that issuer and metadata speak for.

        Before the first discovery the issuer alone has to tell.
        """
        return self._chosen or self._recognised

    async def client_auth(self) -> ClientAuth:
        """How the client authenticates here, by what it has and what the provider lists.

        Raises:
            OSError, ValueError: its credentials cannot be read.
        """
        endpoints = await self._endpoints.get()
        return method_used(self._credentials(), self._verifier(endpoints, ""))

    @property
    def issuer_aliases(self) -> tuple[str, ...]:
        """Other values of `iss` that its tokens may have, as they are set."""
        return self._addresses.aliases

    async def endpoints(self) -> ProviderEndpoints:
        """The provider's metadata, fetched when first asked for, and hourly."""
        return await self._endpoints.get()

    async def signing_keys(self, id_token: str, *, again: bool = False) -> Sequence[SigningKey]:
        """The keys that may have signed a token."""
        kid = core_id_token.key_id(id_token)
        fitting = _fitting(await self._keys.get(), kid)
        if again or not fitting:
            max_age = ASK_AT_ONCE_SECONDS if again else ASK_AGAIN_SECONDS
            if not self._keys.is_due(max_age):
                self._metrics.limited.labels("jwks").inc()
            fitting = _fitting(await self._keys.fresh(max_age_seconds=max_age), kid)
        return fitting

    async def read_keys(self, *, max_age_seconds: float) -> None:
        """Read the keys again, if that was longer ago; `published` tells of them."""
        await self._keys.get(max_age_seconds=max_age_seconds)

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
        body = urlencode({"token": refresh_token, "token_type_hint": "refresh_token"})
        answer = await self._post(endpoints.revocation_endpoint, body, endpoints, "revocation")
        if answer.status != 200:
            raise failure(answer, self.profile)
        return True

    async def _ask_for_tokens(
        self, form: Callable[[], list[tuple[str, str]]], *, send_before: float = math.inf
    ) -> TokenResponse:
        """The answer to a form, which is made once the provider is known."""
        with presenting(lambda: self._clock.monotonic() > send_before):
            endpoints = await self._endpoints.get()
            body = urlencode(form())
            answer = await self._post(endpoints.token_endpoint, body, endpoints, "token")
        if answer.status != 200:
            raise failure(answer, self.profile)
        return read_token_response(answer.body)

    async def _post(self, url: str, body: str, endpoints: ProviderEndpoints, name: str) -> Answer:
        headers, body = self._authenticated(body, endpoints, url)
        with self._metrics.provider_seconds.labels(name).time():
            posted = self._posted(url, body, headers)
            try:
                return await within(self._http.timeout.total or math.inf, posted)
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
        async with answer(request) as response:
            return Answer(
                response.status,
                await read_bounded(response),
                content_type=response.headers.get("Content-Type", ""),
                retry_after=response.headers.get("Retry-After", ""),
                date=response.headers.get("Date", ""),
            )

    def _authenticated(
        self, form: str, endpoints: ProviderEndpoints, asked: str
    ) -> tuple[dict[str, str], str]:
        """A form for the endpoint that is asked, as the client sends it."""
        try:
            credentials = self._credentials()
        except (OSError, ValueError) as error:
            raise ProviderUnavailable(
                "the client's secret, key or token cannot be read from its file"
            ) from error
        return authenticated(
            form,
            self._client_id,
            credentials,
            self._verifier(endpoints, asked),
            now=self._clock.now(),
            jti=lambda: os.urandom(_JTI_BYTES).hex(),
        )

    def _verifier(self, endpoints: ProviderEndpoints, asked: str) -> Verifier:
        return Verifier(
            endpoints.issuer,
            seen_from_outside(self._addresses, endpoints.token_endpoint),
            endpoints.token_endpoint_auth_methods,
            endpoints.token_endpoint_auth_algorithms,
            self.profile,
            seen_from_outside(self._addresses, asked),
        )

    async def _discover(self) -> ProviderEndpoints:
        addresses = self._addresses
        document = await self._document(addresses.metadata_url, "discovery")
        endpoints = read_metadata(document, addresses)
        self._recognised = recognised(addresses.issuer, document)
        return endpoints

    async def _read_keys(self) -> list[SigningKey]:
        endpoints, asked_at = await self._endpoints.get(), self._clock.now()
        try:
            keys = read_keys(await self._document(endpoints.jwks_uri, "jwks"))
            if not keys:
                raise ProviderUnavailable("the provider's JWKS has no usable key")
        except ProviderUnavailable:
            self._metrics.jwks_fetches.labels("failed").inc()
            raise
        self._metrics.jwks_fetches.labels("ok").inc()
        self.published = PublishedKeys(_ids(keys), asked_at)
        return keys

    async def _document(self, url: str, name: str) -> Any:
        with self._metrics.provider_seconds.labels(name).time():
            return await json_document(
                self._http, url, name, seconds=self._document_seconds, proxy=self._proxy(url)
            )


def _ids(keys: Sequence[SigningKey]) -> frozenset[str]:
    """The ids of all keys; none where one of them has no id."""
    ids = frozenset(key.kid for key in keys if key.kid)
    return ids if all(key.kid for key in keys) else frozenset()


def _fitting(keys: Sequence[SigningKey], kid: str | None) -> list[SigningKey]:
    return [key for key in keys if kid is None or key.kid in (None, kid)]
