"""What each provider does differently, as a table, and how a provider is recognised.

Pure data: the rules that read it are in `core.failures`, the adapter and the flows. Where each
fact comes from, and which are not verified, is in `docs/providers.md`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from urllib.parse import urlsplit

from sidecar.core.grant import Sharing


class Provider(StrEnum):
    """The values of `SIDECAR_PROVIDER`."""

    AUTO = "auto"
    """Recognised by its issuer and metadata."""
    DEX = "dex"
    KEYCLOAK = "keycloak"
    COGNITO = "cognito"
    GOOGLE = "google"
    OKTA = "okta"
    AUTH0 = "auth0"
    ENTRA = "entra"
    GITLAB = "gitlab"
    PINGFEDERATE = "pingfederate"
    AUTHENTIK = "authentik"
    AUTHELIA = "authelia"
    HYDRA = "hydra"
    ZITADEL = "zitadel"
    ONELOGIN = "onelogin"
    ADFS = "adfs"
    GENERIC = "generic"


class FailureClass(Enum):
    """What an error answer means for the grant it answers to."""

    OVER = auto()
    """The provider has ended the grant; only a new login helps."""
    OPERATOR = auto()
    """Somebody has to mend a setting; the grant may live on."""
    PASSING = auto()
    """The same request may work later."""
    PASSING_ONLY_HERE = auto()
    """As `PASSING`, but it may be this grant's own trouble: it says nothing about the others."""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """An error answer (RFC 6749 section 5.2) and its class.

    No statuses: any. `description` is a pattern for the whole `error_description`; None: any.
    A row cannot make what passes by its status end a grant: see `core.failures`.
    """

    error: str
    failure_class: FailureClass
    statuses: tuple[int, ...] = ()
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """What a provider is recognised by; all that is given must be so.

    Patterns match the whole text. In `paths`, of endpoints, `{issuer}` is the issuer's path.
    """

    issuer: str = ".*"
    paths: tuple[tuple[str, str], ...] = ()
    members: tuple[str, ...] = ()
    """Names that the metadata has."""
    listed: tuple[tuple[str, str], ...] = ()
    """Names of lists in the metadata, and what is in them."""


class SecretPlace(Enum):
    """Where a client's secret goes. Never into two places: OneLogin refuses that."""

    LISTED = auto()
    """Into the header where the metadata lists `client_secret_basic`, else into the body."""
    BODY = auto()


class AssertionAudience(Enum):
    """The `aud` of the client's assertions (RFC 7523 section 3)."""

    ISSUER = auto()
    """The only one that RFC 10070 leaves."""
    TOKEN_ENDPOINT = auto()
    ENDPOINT = auto()
    """The one that is asked."""


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """How to speak with a provider, and how to understand its answers.

    `reuse_window_seconds` is how long after its first use a refresh token may come again
    without harm; 0: a second use may end the grant. It is what the provider does unless
    configured otherwise. `refresh_scope` is the `scope` of a refresh request; empty: none,
    which means the scope that was granted (RFC 6749 section 6). `authorization` are the
    parameters that make it give a refresh token, in the place of the scope `offline_access`.
    """

    provider: Provider
    title: str
    signs: tuple[Sign, ...] = ()
    errors: tuple[ErrorRow, ...] = ()
    reuse_window_seconds: float = 0.0
    sharing: Sharing = Sharing.PER_SESSION
    refresh_scope: str = ""
    authorization: tuple[tuple[str, str], ...] = ()
    secret_place: SecretPlace = SecretPlace.LISTED
    assertion_audience: AssertionAudience = AssertionAudience.ISSUER
    unlisted_scopes: tuple[str, ...] = ()
    """Patterns of scopes that it takes, and does not list."""
    may_forget: bool = False
    """Whether a restart may take its keys and all refresh tokens."""
    notes: str = ""


# Dex says this for a dead refresh token, not `invalid_grant` (its server/refreshhandlers.go).
_DEX_TOKEN_IS_DEAD = ErrorRow(
    "invalid_request",
    FailureClass.OVER,
    statuses=(400,),
    description=r"Refresh token "
    r"(is invalid or has already been claimed by another client|expired)\.?",
)
# Fosite's word for a token that was used or revoked, before it said `invalid_grant`.
_FOSITE_TOKEN_IS_DEAD = ErrorRow("token_inactive", FailureClass.OVER, statuses=(401,))

GENERIC = ProviderProfile(
    Provider.GENERIC,
    "Any other",
    # Nobody else says these sentences, and behind a gateway Dex is not always recognised.
    errors=(_DEX_TOKEN_IS_DEAD,),
    notes="OpenID Connect as it is written",
)

PROFILES = (
    ProviderProfile(
        Provider.DEX,
        "Dex",
        signs=(
            Sign(issuer=r"https?://[^/]+(/dex|(/[^/]+)*/api/dex)/?"),
            Sign(
                paths=(
                    ("authorization_endpoint", "{issuer}/auth"),
                    ("token_endpoint", "{issuer}/token"),
                    ("jwks_uri", "{issuer}/keys"),
                )
            ),
        ),
        errors=(
            _DEX_TOKEN_IS_DEAD,
            # All it says when its connector, or its storage, fails or refuses the user.
            ErrorRow(
                "invalid_request",
                FailureClass.PASSING_ONLY_HERE,
                statuses=(500,),
                description="",
            ),
        ),
        sharing=Sharing.PER_USER,
        unlisted_scopes=(r"federated:id", r"audience:server:client_id:.+"),
        may_forget=True,
        notes="one refresh token per user, connector and client",
    ),
    ProviderProfile(
        Provider.KEYCLOAK,
        "Keycloak",
        signs=(Sign(paths=(("token_endpoint", "{issuer}/protocol/openid-connect/token"),)),),
        errors=(
            # Reached by another name than at the login: true of every grant, and of none.
            ErrorRow(
                "invalid_grant",
                FailureClass.OPERATOR,
                statuses=(400,),
                description=r"Invalid token issuer\b.*",
            ),
        ),
        notes="with *Revoke Refresh Token*, reuse ends the login",
    ),
    ProviderProfile(
        Provider.COGNITO,
        "Amazon Cognito",
        signs=(
            Sign(
                issuer=r"https://cognito-idp(-fips)?\.[a-z0-9-]+\."
                r"(amazonaws\.com(\.cn)?|api\.aws)/.*"
            ),
        ),
        notes="the grace of its rotation cannot be seen from outside",
    ),
    ProviderProfile(
        Provider.GOOGLE,
        "Google",
        signs=(Sign(issuer=r"https://accounts\.google\.com"),),
        errors=(
            ErrorRow("deleted_client", FailureClass.OPERATOR),
            ErrorRow("disabled_client", FailureClass.OPERATOR),
        ),
        reuse_window_seconds=math.inf,
        authorization=(("access_type", "offline"), ("prompt", "consent")),
        notes="does not rotate; `access_type=offline` and `prompt=consent` at the login",
    ),
    ProviderProfile(
        Provider.OKTA,
        "Okta",
        signs=(
            Sign(issuer=r"https://[^/]+\.(okta|oktapreview|okta-emea|okta-gov)\.com(/.*)?"),
            Sign(listed=(("response_modes_supported", "okta_post_message"),)),
        ),
        reuse_window_seconds=30.0,
        assertion_audience=AssertionAudience.ENDPOINT,
        notes="the default grace of its rotation; without rotation the token stays",
    ),
    ProviderProfile(
        Provider.AUTH0,
        "Auth0",
        signs=(
            Sign(issuer=r"https://[^/]+\.auth0\.com/?"),
            Sign(members=("mfa_challenge_endpoint",)),
        ),
        errors=(ErrorRow("mfa_required", FailureClass.OPERATOR),),
        notes="the leeway of its rotation is 0 by default",
    ),
    ProviderProfile(
        Provider.ENTRA,
        "Microsoft Entra ID",
        signs=(
            Sign(
                issuer=r"https://(login\.microsoftonline\.(com|us)"
                r"|login\.partner\.microsoftonline\.cn|sts\.windows\.net)/.*"
            ),
            Sign(listed=(("claims_supported", "cloud_instance_name"),)),
        ),
        reuse_window_seconds=math.inf,
        assertion_audience=AssertionAudience.TOKEN_ENDPOINT,
        notes="a new refresh token does not end the old one",
    ),
    ProviderProfile(
        Provider.GITLAB,
        "GitLab",
        signs=(
            Sign(issuer=r"https://gitlab\.com"),
            Sign(
                paths=(("jwks_uri", "{issuer}/oauth/discovery/keys"),),
                listed=(("claims_supported", "groups_direct"),),
            ),
        ),
        notes="rotates always, without grace; ID tokens of two minutes",
    ),
    ProviderProfile(
        Provider.PINGFEDERATE,
        "PingFederate",
        signs=(
            Sign(paths=(("token_endpoint", r".*/as/token\.oauth2"),)),
            Sign(members=("ping_revoked_sris_endpoint",)),
        ),
        assertion_audience=AssertionAudience.TOKEN_ENDPOINT,
        notes="an ID token on refresh only with *Return ID Token On Refresh Grant*",
    ),
    ProviderProfile(
        Provider.AUTHENTIK,
        "authentik",
        signs=(Sign(paths=(("token_endpoint", ".*/application/o/token/"),)),),
        notes="reuse is refused, and ends nothing else",
    ),
    ProviderProfile(
        Provider.AUTHELIA,
        "Authelia",
        signs=(
            Sign(
                paths=(
                    ("authorization_endpoint", "{issuer}/api/oidc/authorization"),
                    ("token_endpoint", "{issuer}/api/oidc/token"),
                )
            ),
        ),
        errors=(_FOSITE_TOKEN_IS_DEAD,),
        assertion_audience=AssertionAudience.TOKEN_ENDPOINT,
        notes="rotates always, without grace",
    ),
    ProviderProfile(
        Provider.HYDRA,
        "Ory Hydra",
        signs=(
            Sign(members=("credentials_endpoint_draft_00",)),
            Sign(
                paths=(
                    ("authorization_endpoint", "{issuer}/oauth2/auth"),
                    ("token_endpoint", "{issuer}/oauth2/token"),
                )
            ),
        ),
        errors=(_FOSITE_TOKEN_IS_DEAD,),
        assertion_audience=AssertionAudience.TOKEN_ENDPOINT,
        notes="its grace period is off by default; reuse then ends the consent",
    ),
    ProviderProfile(
        Provider.ZITADEL,
        "Zitadel",
        signs=(
            Sign(
                paths=(
                    ("token_endpoint", "{issuer}/oauth/v2/token"),
                    ("end_session_endpoint", "{issuer}/oidc/v1/end_session"),
                )
            ),
        ),
        notes="rotates always",
    ),
    ProviderProfile(
        Provider.ONELOGIN,
        "OneLogin",
        signs=(Sign(issuer=r"https://[^/]+\.onelogin\.com/oidc(/.*)?"),),
        notes="refuses a secret in both header and body; it is never sent in both",
    ),
    ProviderProfile(
        Provider.ADFS,
        "AD FS",
        signs=(
            Sign(paths=(("token_endpoint", "/adfs/oauth2/token/?"),)),
            Sign(members=("access_token_issuer",), issuer=r"https?://[^/]+/adfs/?"),
        ),
        secret_place=SecretPlace.BODY,
        assertion_audience=AssertionAudience.TOKEN_ENDPOINT,
        notes="the secret goes into the body",
    ),
    GENERIC,
)


def profile_of(provider: Provider) -> ProviderProfile | None:
    """The profile with this name; None for `auto`."""
    return next((profile for profile in PROFILES if profile.provider is provider), None)


def recognised(issuer: str, metadata: Mapping[str, object]) -> ProviderProfile:
    """The profile of the provider with this issuer and discovery metadata.

    What nothing speaks for is generic. Without metadata the issuer alone has to tell.
    """
    return next((each for each in PROFILES if speaks_for(each, issuer, metadata)), GENERIC)


def speaks_for(profile: ProviderProfile, issuer: str, metadata: Mapping[str, object]) -> bool:
    """Whether issuer and metadata have one of a profile's signs."""
    return any(_shows(sign, issuer, metadata) for sign in profile.signs)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern of the table matches the whole of a text, whatever its lines."""
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _shows(sign: Sign, issuer: str, metadata: Mapping[str, object]) -> bool:
    here = re.escape(_path(issuer).rstrip("/"))
    return (
        matches(sign.issuer, issuer)
        and all(
            matches(pattern.replace("{issuer}", here), _path(metadata.get(name)))
            for name, pattern in sign.paths
        )
        and all(name in metadata for name in sign.members)
        and all(_lists(metadata.get(name), value) for name, value in sign.listed)
    )


def _lists(values: object, value: str) -> bool:
    return isinstance(values, list) and value in values


def _path(address: object) -> str:
    if not isinstance(address, str):
        return ""
    try:
        return urlsplit(address).path
    except ValueError:
        return ""
