"""What real providers do that the standard leaves open: settings of a hostile one, by provider.

Where each fact comes from, and which are not verified, is in `docs/providers/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sidecar.core.provider_profiles import Provider
from sidecar.demo.grants import Authorization, OAuthError

DAY = 86400.0
GRACE_SECONDS = 30.0


@dataclass(kw_only=True)
class Manners:
    """How a provider differs from the demo's.

    `refresh_token_for` is what makes it give a refresh token: the scope, nothing, or Google's two
    parameters. With `knows_scopes` any other scope fails the login, and `lists_scopes` are those
    in its metadata. `groups_claim` is where groups are; "" for nowhere. With more groups
    than `most_groups` the ID token names another place for them (Entra). A refresh repeats the
    `nonce`, or leaves it out; `answers_same_token` says whether a refresh token that stays is in
    the answer. `issuer_slash`: the issuer ends with one. `refuses_with` is what a dismissed user's
    refresh gets: a status, `error` and text. With `previous_only`, of all spent tokens inside the
    reuse window only the last one is harmless (Auth0).
    """

    refresh_token_for: Literal["offline_access", "nothing", "google"] = "offline_access"
    knows_scopes: tuple[str, ...] = ()
    lists_scopes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("developers",)
    groups_claim: str = "groups"
    most_groups: int = 1_000_000
    repeats_nonce: bool = True
    answers_same_token: bool = True
    issuer_slash: bool = False
    previous_only: bool = False
    refuses_with: tuple[int, str, str] = (400, "invalid_grant", "User disabled")


def granted(asked: Authorization, query: Mapping[str, str], manners: Manners) -> tuple[str, ...]:
    """The scopes of a login; `offline_access` among them is what gives a refresh token.

    Raises:
        OAuthError: `invalid_scope`.
    """
    named = query.get("scope", "").split()
    if manners.knows_scopes and not set(named) <= set(manners.knows_scopes):
        raise OAuthError("invalid_scope", "One of the scopes is not known.")
    scope = tuple(name for name in asked.scope if name != "offline_access")
    offline = query.get("access_type") == "offline"
    if manners.refresh_token_for == "google":
        gives = offline and query.get("prompt") == "consent"
    else:
        gives = offline or manners.refresh_token_for == "nothing"
        gives = gives or "offline_access" in asked.scope
    return (*scope, "offline_access") if gives else scope


def claims_of(manners: Manners, *, refreshed: bool) -> dict[str, Any]:
    """What the ID token says otherwise; None takes a claim out."""
    claims: dict[str, Any] = {"groups": None}
    groups = list(manners.groups)
    if manners.groups_claim and len(groups) > manners.most_groups:
        claims["_claim_names"] = {manners.groups_claim: "src1"}
        claims["_claim_sources"] = {"src1": {"endpoint": "https://graph.example/getMemberObjects"}}
    elif manners.groups_claim:
        claims[manners.groups_claim] = groups
    if refreshed and not manners.repeats_nonce:
        claims["nonce"] = None
    return claims


OIDC = ("openid", "profile", "email")
OFFLINE = (*OIDC, "offline_access")

MANNERS: Mapping[Provider, Mapping[str, Any]] = {
    Provider.COGNITO: {
        "refresh_token_for": "nothing",
        "knows_scopes": OIDC,
        "lists_scopes": OIDC,
        "groups_claim": "cognito:groups",
        "rotates": False,
        "answers_same_token": False,
    },
    Provider.GOOGLE: {
        "refresh_token_for": "google",
        "knows_scopes": OIDC,
        "lists_scopes": OIDC,
        "groups_claim": "",
        "rotates": False,
        "answers_same_token": False,
        "refuses_with": (400, "invalid_grant", "Token has been expired or revoked."),
    },
    Provider.OKTA: {
        "lists_scopes": (*OFFLINE, "groups"),
        "reuse_window_seconds": GRACE_SECONDS,
        "refuses_with": (
            400, "invalid_grant", "The refresh token is invalid or expired.",
        ),
    },
    Provider.AUTH0: {
        "lists_scopes": OFFLINE,
        "groups_claim": "https://argocd.example.com/groups",
        "issuer_slash": True,
        "reuse_window_seconds": GRACE_SECONDS,
        "previous_only": True,
        "refuses_with": (403, "invalid_grant", "Unknown or invalid refresh token."),
    },
    Provider.ENTRA: {
        "knows_scopes": OFFLINE,
        "lists_scopes": OFFLINE,
        "most_groups": 200,
        "reuse_window_seconds": DAY,
        "revocation_endpoint": False,
        "refuses_with": (400, "invalid_grant", "AADSTS50057: The user account is disabled."),
    },
    Provider.KEYCLOAK: {
        "lists_scopes": (*OFFLINE, "groups"),
        "repeats_nonce": False,
        "reuse_window_seconds": DAY,
    },
    Provider.GITLAB: {
        "refresh_token_for": "nothing",
        "knows_scopes": OIDC,
        "lists_scopes": OIDC,
        "groups_claim": "groups_direct",
        "repeats_nonce": False,
        "reuse_ends_family": False,
        "refuses_with": (400, "invalid_grant", "The provided authorization grant is invalid"),
    },
    Provider.DEX: {
        "lists_scopes": (*OFFLINE, "groups"),
        "one_token_per_user": True,
        "speaks_as_dex": True,
        "revocation_endpoint": False,
    },
    Provider.AUTHENTIK: {
        "lists_scopes": OFFLINE,
        "issuer_slash": True,
        "repeats_nonce": False,
        "reuse_ends_family": False,
        "refuses_with": (400, "invalid_grant", ""),
    },
}  # fmt: skip
