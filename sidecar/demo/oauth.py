"""What the demo's provider reads from requests and writes into tokens; no I/O."""

import base64
import hashlib
import html
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import unquote_plus

from sidecar.demo.grants import Authorization, GrantRules, Issued, OAuthError, User
from sidecar.demo.jwks import ALGORITHM, SigningKeys, base64url
from sidecar.demo.misbehaviour import Change, changed

SCOPES = ("openid", "profile", "email", "groups", "offline_access")
ADA = User(
    name="ada",
    password="ada",  # noqa: S106 - the login form itself tells it
    email="ada@example.org",
    groups=("developers",),
)
LOGIN_FORM = Path(__file__).with_name("login_form.html")


@dataclass(kw_only=True)
class ProviderSettings(GrantRules):
    """What the provider knows of its client and users; may be changed while it runs.

    `path` comes behind the address in the issuer, as in Dex's `/dex`. With `issuer`, the provider
    calls itself by that name, and not by the address where it listens.
    """

    client_id: str = "argo-cd"
    client_secret: str = field(default="demo-secret", repr=False)
    redirect_uris: tuple[str, ...] = ()
    users: tuple[User, ...] = (ADA,)
    id_token_seconds: float = 20
    path: str = ""
    issuer: str = ""
    revocation_endpoint: bool = True
    groups_in_id_token: bool = True
    post_logout_redirect_uris: tuple[str, ...] = ()
    """With one, the provider offers a logout of its own (RP-Initiated Logout 1.0)."""
    shows_demo_user: bool = True
    requires_pkce: bool = True


def discovery_document(
    issuer: str, *, revocation_endpoint: bool, end_session_endpoint: bool = False
) -> dict[str, object]:
    """The provider's metadata (OpenID Connect Discovery section 3)."""
    document: dict[str, object] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
    if revocation_endpoint:
        document["revocation_endpoint"] = f"{issuer}/revoke"
    if end_session_endpoint:
        document["end_session_endpoint"] = f"{issuer}/logout"
    return document


def authorization_request(query: Mapping[str, str], *, pkce: bool = True) -> Authorization:
    """The checked authorization request; PKCE is required unless it need not be there.

    Raises:
        OAuthError: what to tell the client by redirection (RFC 6749 section 4.1.2.1).
    """
    scope = tuple(query.get("scope", "").split())
    if query.get("response_type") != "code":
        raise OAuthError("unsupported_response_type", "Only code.")
    if "openid" not in scope:
        raise OAuthError("invalid_scope", "openid is missing.")
    challenge = query.get("code_challenge", "")
    asks = pkce or challenge
    if asks and (query.get("code_challenge_method") != "S256" or len(challenge) != 43):
        raise OAuthError("invalid_request", "PKCE with S256 is required.")
    if query.get("prompt") == "none":
        raise OAuthError("login_required", "This provider keeps no session.")
    return Authorization(
        redirect_uri=query["redirect_uri"],
        scope=tuple(name for name in scope if name in SCOPES),
        code_challenge=challenge,
        state=query.get("state", ""),
        nonce=query.get("nonce", ""),
    )


def login_page(settings: ProviderSettings, *, user: str = "", message: str = "") -> str:
    """The login form, with the first user's name and password as a hint."""
    hint = ""
    if settings.shows_demo_user and settings.users:
        first = settings.users[0]
        name, password = html.escape(first.name), html.escape(first.password)
        hint = f" The demo's user is <code>{name}</code>, the password <code>{password}</code>."
        user = user or first.name
    return Template(LOGIN_FORM.read_text(encoding="utf-8")).substitute(
        client=html.escape(settings.client_id),
        hint=hint,
        message=f'<p class="error" role="alert">{message}</p>' if message else "",
        user=html.escape(user),
    )


def client_credentials(form: Mapping[str, str], header: str | None) -> tuple[str, str]:
    """Client and secret, from the form or from a Basic header, whose parts are form-encoded.

    Raises:
        OAuthError: `invalid_request`, if both are there (RFC 6749 section 2.3).
    """
    if header is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    if "client_secret" in form:
        raise OAuthError("invalid_request", "The client authenticates in two ways at once.")
    scheme, _, encoded = header.partition(" ")
    try:
        pair = base64.b64decode(encoded, validate=True).decode() if scheme == "Basic" else ""
    except ValueError:
        pair = ""
    client_id, _, secret = pair.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


def same(first: str, second: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how nearly."""
    return secrets.compare_digest(first.encode(), second.encode())


def token_response(
    issued: Issued,
    settings: ProviderSettings,
    *,
    issuer: str,
    keys: SigningKeys,
    change: Change,
    now: float,
) -> dict[str, Any]:
    """The token endpoint's answer (OpenID Connect Core sections 3.1.3.3 and 12.2)."""
    claims = changed(_claims(issued, settings, issuer, now), change.claims)
    answer = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": int(settings.access_token_seconds),
        "scope": " ".join(issued.grant.scope),
        "id_token": keys.forge(claims) if change.forged else keys.sign(claims),
        "refresh_token": issued.refresh_token or None,
    }
    return changed(answer, change.members)


def user_claims(user: User) -> dict[str, object]:
    """What ID token and userinfo endpoint say about `user`."""
    return {
        "sub": user.name,
        "name": user.name.capitalize(),
        "email": user.email,
        "groups": list(user.groups),
    }


def _claims(issued: Issued, settings: ProviderSettings, issuer: str, now: float) -> dict[str, Any]:
    grant, issued_at = issued.grant, int(now)
    user = user_claims(grant.user)
    if not settings.groups_in_id_token:
        del user["groups"]
    return {
        "iss": issuer,
        "aud": settings.client_id,
        "iat": issued_at,
        "exp": issued_at + int(settings.id_token_seconds),
        "auth_time": int(grant.signed_in_at),
        "jti": secrets.token_urlsafe(12),
        "at_hash": base64url(hashlib.sha256(issued.access_token.encode()).digest()[:16]),
        "nonce": grant.nonce or None,
        "sid": grant.sid,
        **user,
    }
