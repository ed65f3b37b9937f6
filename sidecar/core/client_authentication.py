"""How the client shows who it is, on every request that asks it: one place for all of them.

RFC 6749 section 2.3.1, RFC 7523 section 2.2, and their names in OpenID Connect Core section 9.
"""

import base64
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote_plus, urlencode

from sidecar.core.client_assertion import AssertionKey, signed_assertion
from sidecar.core.provider_profiles import AssertionAudience, ProviderProfile, SecretPlace

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class ClientAuth(StrEnum):
    """The values of `SIDECAR_CLIENT_AUTH`."""

    AUTO = "auto"
    """By what the client has, and what the provider lists."""
    BASIC = "basic"
    BASIC_RAW = "basic-raw"
    POST = "post"
    PRIVATE_KEY_JWT = "private-key-jwt"
    WORKLOAD_IDENTITY = "workload-identity"
    NONE = "none"


# What the metadata call them (`token_endpoint_auth_methods_supported`).
METHODS = {
    ClientAuth.BASIC: "client_secret_basic",
    ClientAuth.BASIC_RAW: "client_secret_basic",
    ClientAuth.POST: "client_secret_post",
    ClientAuth.PRIVATE_KEY_JWT: "private_key_jwt",
    ClientAuth.WORKLOAD_IDENTITY: "private_key_jwt",
    ClientAuth.NONE: "none",
}
WITH_SECRET = (ClientAuth.BASIC, ClientAuth.BASIC_RAW, ClientAuth.POST)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client has to show, read anew for every request."""

    method: ClientAuth = ClientAuth.AUTO
    secret: str = field(default="", repr=False)
    key: AssertionKey | None = None
    assertion: str = field(default="", repr=False)
    """A token that somebody else has signed for it."""
    audience: str = ""
    """The `aud` of what it signs itself; "" for what the provider's profile says."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Who looks at it: the provider as it describes itself, and the endpoint that is asked."""

    issuer: str
    token_endpoint: str
    methods: Collection[str]
    algorithms: Collection[str]
    profile: ProviderProfile
    endpoint: str = ""


def method_used(credentials: Credentials, verifier: Verifier) -> ClientAuth:
    """How the client will authenticate; never `auto`."""
    if credentials.method is not ClientAuth.AUTO:
        return credentials.method
    if not credentials.secret:
        return ClientAuth.NONE
    listed = METHODS[ClientAuth.BASIC] in verifier.methods
    in_header = listed and verifier.profile.secret_place is SecretPlace.LISTED
    return ClientAuth.BASIC if in_header else ClientAuth.POST


def authenticated(
    form: str,
    client_id: str,
    credentials: Credentials,
    verifier: Verifier,
    *,
    now: float,
    jti: Callable[[], str],
) -> tuple[dict[str, str], str]:
    """A form with the client's authentication: the headers, and the body to send.

    In one place only: with two, some providers refuse (OneLogin), as section 2.3 asks.
    """
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }
    match method_used(credentials, verifier):
        case ClientAuth.BASIC | ClientAuth.BASIC_RAW as method:
            raw = method is ClientAuth.BASIC_RAW
            headers["Authorization"] = _basic(client_id, credentials.secret, raw=raw)
            return headers, form
        case ClientAuth.PRIVATE_KEY_JWT if credentials.key is not None:
            assertion = signed_assertion(
                credentials.key,
                client_id,
                credentials.audience or _audience(verifier),
                taken=verifier.algorithms,
                now=now,
                jti=jti(),
            )
            return headers, _with_assertion(form, client_id, assertion)
        case ClientAuth.WORKLOAD_IDENTITY:
            return headers, _with_assertion(form, client_id, credentials.assertion)
        case ClientAuth.POST:
            shown = {"client_id": client_id, "client_secret": credentials.secret}
            return headers, f"{form}&{urlencode(shown)}"
        case _:
            return headers, f"{form}&{urlencode({'client_id': client_id})}"


def _basic(client_id: str, secret: str, *, raw: bool) -> str:
    """RFC 6749 has both form-encoded first; `raw` is for providers that do not decode them."""
    pair = (client_id, secret) if raw else (quote_plus(client_id), quote_plus(secret))
    return f"Basic {base64.b64encode(':'.join(pair).encode()).decode()}"


def _with_assertion(form: str, client_id: str, assertion: str) -> str:
    shown = {
        "client_id": client_id,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }
    return f"{form}&{urlencode(shown)}"


def _audience(verifier: Verifier) -> str:
    match verifier.profile.assertion_audience:
        case AssertionAudience.TOKEN_ENDPOINT:
            return verifier.token_endpoint
        case AssertionAudience.ENDPOINT:
            return verifier.endpoint or verifier.token_endpoint
        case _:
            return verifier.issuer
