"""The provider as it shows itself: its documents, and two questions that change nothing there."""

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import ClientSession

from sidecar import edges
from sidecar.adapters.openid_provider import OpenIdProvider
from sidecar.adapters.provider_http import egress_proxy
from sidecar.config.settings import Config
from sidecar.core.authorization import (
    ATTEMPT_RANDOM_BYTES,
    authorization_url,
    new_attempt,
    requested_scope,
)
from sidecar.core.client_authentication import ClientAuth
from sidecar.core.provider_addresses import (
    NO_ENDPOINTS,
    Endpoints,
    ProviderAddresses,
    endpoints_at,
    seen_from_here,
)
from sidecar.core.provider_profiles import GENERIC, ProviderProfile, profile_of, recognised
from sidecar.doctor.fetch import Page, fetch
from sidecar.errors import ProviderRefused, ProviderUnavailable
from sidecar.metrics import Metrics
from sidecar.ports import Clock

# No provider gives such a code: what it says to it, it says after it has looked at the client.
NO_CODE = "sidecar-doctor-has-no-code"
_VERIFIER = "sidecar-doctor-has-no-code-and-so-no-verifier-of-one"


@dataclass(frozen=True, slots=True)
class ProviderSeen:
    """What was seen. `document` is empty where discovery gave none that can be used."""

    discovery: Page
    addresses: ProviderAddresses
    document: dict[str, Any] = field(default_factory=dict)
    endpoints: Endpoints = NO_ENDPOINTS
    """Those of the document, each where it is asked."""
    profile: ProviderProfile = GENERIC
    jwks: Page | None = None
    authorization: Page | None = None
    token_error: str | None = None
    """The token endpoint's word for a made-up code; "" where it had none; None: not asked."""
    client_auth: ClientAuth | None = None
    """How the client authenticated then."""
    token_problem: str = ""
    """Why the token endpoint gave no usable answer."""


def redirect_uri(config: Config) -> str:
    """The redirect URI of a login at the public URL."""
    return f"{config.public_url}/auth/callback"


async def look_at_provider(
    config: Config, http: ClientSession, clock: Clock, metrics: Metrics
) -> ProviderSeen:
    """Discovery, and what follows from it; a token is asked for only where it leads to is known."""
    addresses = edges.provider_addresses(config)
    # No longer than the sidecar itself would wait.
    seconds = min(config.timings.provider_seconds, config.timings.keys_seconds)

    async def get(url: str, *, follow: bool = False) -> Page:
        proxy = egress_proxy(url)
        return await fetch(http, url, clock, follow=follow, seconds=seconds, proxy=proxy)

    discovery = await get(addresses.metadata_url, follow=True)
    document = discovery.json() if discovery.status == 200 else None
    seen = ProviderSeen(discovery, addresses)
    if not isinstance(document, dict):
        return seen
    profile = profile_of(config.provider) or recognised(config.issuer, document)
    seen = replace(
        seen, document=document, profile=profile, endpoints=endpoints_at(addresses, document)
    )
    if not addresses.may_be_named(document.get("issuer")):
        return seen
    if jwks_uri := seen.endpoints.urls.get("jwks_uri"):
        seen = replace(seen, jwks=await get(jwks_uri, follow=True))
    if endpoint := seen.endpoints.urls.get("authorization_endpoint"):
        here = seen_from_here(addresses, endpoint)
        asked = _authorization_request(config, here, document, profile, clock.now())
        seen = replace(seen, authorization=await get(asked))
    provider = edges.provider(config, http, config.read_credentials, clock, metrics)
    error, problem = await _present_no_code(provider, redirect_uri(config))
    seen = replace(seen, token_error=error, token_problem=problem)
    with suppress(OSError, ValueError, ProviderUnavailable):
        return replace(seen, client_auth=await provider.client_auth())
    return seen


def _authorization_request(
    config: Config,
    endpoint: str,
    document: dict[str, Any],
    profile: ProviderProfile,
    now: float,
) -> str:
    """A login's own request, but without a form: whoever asks is not logged in."""
    listed = document.get("scopes_supported")
    scope, extra = requested_scope(
        config.scopes,
        config.offline_access,
        supported=[s for s in listed if isinstance(s, str)] if isinstance(listed, list) else [],
        profile=profile,
    )
    attempt = new_attempt(
        "", redirect_uri(config), now=now, random=os.urandom(ATTEMPT_RANDOM_BYTES), silent=True
    )
    others = [*extra, *config.argocd.authorization]
    return authorization_url(
        endpoint,
        attempt,
        client_id=config.client_id,
        scope=scope,
        extra=[("prompt", "none"), *(pair for pair in others if pair[0] != "prompt")],
    )


async def _present_no_code(provider: OpenIdProvider, uri: str) -> tuple[str, str]:
    """The provider's word for a made-up code, and the problem where it gave no answer."""
    try:
        await provider.exchange(NO_CODE, code_verifier=_VERIFIER, redirect_uri=uri)
    except ProviderRefused as error:
        return error.error, ""
    except ProviderUnavailable as error:
        return "", str(error)
    return "", "it gave tokens for a made-up code"
