"""A provider's error answer → its class: by the JSON `error` first, then by the status."""

import json
import re
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz
from typing import Any

from sidecar.core.provider_profiles import (
    GENERIC,
    PROFILES,
    ErrorRow,
    FailureClass,
    ProviderProfile,
    matches,
)
from sidecar.errors import ProviderRefused, ProviderUnavailable

# RFC 6749 section 5.2, OpenID Connect Core 3.1.2.6 (Entra answers these at the token endpoint).
_COMMON = (
    *(
        ErrorRow(error, FailureClass.OVER)
        for error in (
            "invalid_grant", "interaction_required", "login_required", "consent_required",
        )
    ),
    *(
        ErrorRow(error, FailureClass.OPERATOR)
        for error in (
            "invalid_client", "unauthorized_client", "invalid_scope", "invalid_request",
            "unsupported_grant_type", "access_denied", "invalid_target",
        )
    ),
)  # fmt: skip
_PASSING_STATUS = {408, 425, 429}
# Said before the request is acted on. A 500, 502 or 504 may hide a provider that has already
# rotated the refresh token.
_TURNED_AWAY = {425, 429, 503}
_WEB_PAGES = {"text/html", "application/xhtml+xml"}
RETRY_AFTER_MAX_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the token or revocation endpoint; headers that are not there are empty."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = ""
    retry_after: str = ""
    date: str = ""


def failure(
    answer: Answer, profile: ProviderProfile = GENERIC
) -> ProviderRefused | ProviderUnavailable:
    """The error that an answer stands for, as this provider means it.

    An answer that is not OAuth JSON comes from something in between, and says nothing about
    the grant: it passes. So does what nobody knows: no answer may end a session by mistake.
    """
    error, description = _oauth_error(answer)
    match _class(answer.status, error, description, profile):
        case FailureClass.OVER:
            return ProviderRefused(error, over=True, reused="reuse" in description.lower())
        case FailureClass.OPERATOR:
            return ProviderRefused(error, over=False)
        case passing:
            return ProviderUnavailable(
                f"the token endpoint answered {answer.status}",
                retry_after_seconds=_retry_after(answer),
                token_untouched=answer.status in _TURNED_AWAY,
                only_this_grant=passing is FailureClass.PASSING_ONLY_HERE,
            )


def known_error(error: str) -> str:
    """An OAuth error as a metric's label: one that is in no table is `other`."""
    known = {row.error for row in (*_COMMON, *(r for p in PROFILES for r in p.errors))}
    return error if error in known else "other"


def _class(status: int, error: str, description: str, profile: ProviderProfile) -> FailureClass:
    """The class in the first row that fits; a refusal is a 4xx, whatever a row says."""
    for row in (*profile.errors, *_COMMON):
        if _fits(row, status, error, description):
            found = row.failure_class
            break
    else:
        return FailureClass.PASSING
    is_refusal = found in (FailureClass.OVER, FailureClass.OPERATOR)
    may_refuse = 400 <= status < 500 and status not in _PASSING_STATUS
    return FailureClass.PASSING if is_refusal and not may_refuse else found


def _fits(row: ErrorRow, status: int, error: str, description: str) -> bool:
    return (
        row.error == error
        and (not row.statuses or status in row.statuses)
        and (row.description is None or matches(row.description, description))
    )


def _oauth_error(answer: Answer) -> tuple[str, str]:
    found = _object_in(answer)
    error, description = found.get("error"), found.get("error_description")
    return (
        error if isinstance(error, str) else "",
        description if isinstance(description, str) else "",
    )


def _object_in(answer: Answer) -> dict[str, Any]:
    """The JSON object that an answer is; an empty one where it is none."""
    if answer.content_type.partition(";")[0].strip().lower() in _WEB_PAGES:
        return {}
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _retry_after(answer: Answer) -> float:
    """When to come back (RFC 9110 section 10.2.3), in seconds, within reason."""
    text = answer.retry_after.strip()
    if re.fullmatch(r"[0-9]{1,6}", text):
        seconds = float(text)
    else:
        # By the answer's own date: whatever the provider's clock says, the length is right.
        until, sent_at = _http_date(text), _http_date(answer.date)
        seconds = 1.0 if until is None or sent_at is None else until - sent_at
    return min(max(seconds, 1.0), RETRY_AFTER_MAX_SECONDS)


def _http_date(text: str) -> float | None:
    """An HTTP date (RFC 9110 section 5.6.7) in Unix seconds, None where it is none."""
    try:
        parsed = parsedate_tz(text)
        return None if parsed is None else mktime_tz(parsed)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
