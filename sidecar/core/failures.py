"""A provider's error answer → its class: by the JSON `error` first, then by the status."""

import json
import re

from sidecar.errors import ProviderRefused, ProviderUnavailable

# RFC 6749 section 5.2, OpenID Connect Core 3.1.2.6 (Entra answers these at the token endpoint).
_OVER = {"invalid_grant", "interaction_required", "login_required", "consent_required"}
_OPERATOR = {
    "invalid_client", "unauthorized_client", "invalid_scope", "invalid_request",
    "unsupported_grant_type", "access_denied", "invalid_target",
}  # fmt: skip
_PASSING_STATUS = {408, 425, 429}
# Said before the request is acted on. A 500, 502 or 504 may hide a provider that has already
# rotated the refresh token.
_TURNED_AWAY = {425, 429, 503}
RETRY_AFTER_MAX_SECONDS = 300.0


def failure(
    status: int, body: bytes, *, retry_after: str | None = None
) -> ProviderRefused | ProviderUnavailable:
    """The error that an answer of the token endpoint stands for.

    An answer that is not OAuth JSON comes from something in between, and says nothing about
    the grant: it passes. So does what nobody knows: no answer may end a session by mistake.
    """
    error, description = _oauth_error(body)
    if status in _PASSING_STATUS or status >= 500:
        return _passing(status, retry_after)
    if error in _OVER:
        return ProviderRefused(error, over=True)
    if error == "invalid_request" and _names_refresh_token(description):
        return ProviderRefused(error, over=True)
    if error in _OPERATOR:
        return ProviderRefused(error, over=False)
    return _passing(status, retry_after)


def _names_refresh_token(description: str) -> bool:
    """Dex never says `invalid_grant`; it says this with 400 (its server/refreshhandlers.go)."""
    return description.startswith(("Refresh token is invalid", "Refresh token expired"))


def _oauth_error(body: bytes) -> tuple[str, str]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    error, description = answer.get("error"), answer.get("error_description")
    return (
        error if isinstance(error, str) else "",
        description if isinstance(description, str) else "",
    )


def _passing(status: int, retry_after: str | None) -> ProviderUnavailable:
    seconds = 1.0
    if retry_after is not None and re.fullmatch(r"\d{1,6}", retry_after.strip()):
        seconds = min(max(float(retry_after), 1.0), RETRY_AFTER_MAX_SECONDS)
    return ProviderUnavailable(
        f"the token endpoint answered {status}",
        retry_after_seconds=seconds,
        token_untouched=status in _TURNED_AWAY,
    )
