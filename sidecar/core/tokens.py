"""The tokens of one grant, a token endpoint's answer, and what a refresh makes of the two."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.id_token import IdTokenClaims
from sidecar.errors import ProviderUnavailable

MAX_TOKEN_LENGTH = 128 * 1024
_DIGITS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The current tokens of a grant. Instants are Unix seconds by the local clock.

    `renewed_at` is when the provider's last answer arrived; the ID token's own `iat` and
    `exp` come from the provider's clock. An empty refresh token means that there is none.
    """

    id_token: str = field(repr=False)
    id_token_issued_at: float
    id_token_expires_at: float
    access_token: str = field(repr=False)
    access_token_expires_at: float | None
    refresh_token: str = field(repr=False)
    refresh_token_expires_at: float | None
    renewed_at: float


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """A successful answer of the token endpoint (RFC 6749 section 5.1), checked for form."""

    access_token: str = field(repr=False)
    id_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in_seconds: float | None
    refresh_expires_in_seconds: float | None


def read_token_response(body: bytes) -> TokenResponse:
    """The tokens in a 200 answer's body.

    Raises:
        ProviderUnavailable: it is not a JSON object with usable tokens: a proxy's page,
            a cut body. Whether a token was spent is not known.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        # The error itself holds the whole answer: it is not to be chained.
        raise ProviderUnavailable("the token endpoint's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise ProviderUnavailable("the token endpoint's answer is not a JSON object")
    access_token = _token(answer, "access_token")
    id_token = _token(answer, "id_token")
    if not access_token and not id_token:
        raise ProviderUnavailable("the token endpoint's answer has no token in it")
    return TokenResponse(
        access_token=access_token or "",
        id_token=id_token,
        refresh_token=_token(answer, "refresh_token"),
        expires_in_seconds=_seconds(answer.get("expires_in")),
        refresh_expires_in_seconds=_seconds(answer.get("refresh_expires_in")),
    )


def first_tokens(
    response: TokenResponse, id_token: str, claims: IdTokenClaims, *, now: float
) -> TokenSet:
    """The tokens of a new grant, from the answer to its code and its verified ID token."""
    return TokenSet(
        id_token=id_token,
        id_token_issued_at=claims.issued_at,
        id_token_expires_at=claims.expires_at,
        access_token=response.access_token,
        access_token_expires_at=_after(now, response.expires_in_seconds),
        refresh_token=response.refresh_token or "",
        refresh_token_expires_at=_after(now, response.refresh_expires_in_seconds),
        renewed_at=now,
    )


def renew(
    old: TokenSet, response: TokenResponse, claims: IdTokenClaims | None, *, now: float
) -> TokenSet:
    """The tokens after a refresh grant answered `response` at `now`, in Unix seconds.

    `claims` are those of the answer's verified ID token, None when it is not to be used.
    The answer may leave out the refresh token (RFC 6749 section 6) and the ID token
    (OpenID Connect Core 12.2); then the old one stays, with its old end.
    """
    id_token = response.id_token if claims is not None else None
    rotated = response.refresh_token not in (None, old.refresh_token)
    refresh_end = _after(now, response.refresh_expires_in_seconds)
    return TokenSet(
        id_token=id_token or old.id_token,
        id_token_issued_at=claims.issued_at if claims else old.id_token_issued_at,
        id_token_expires_at=claims.expires_at if claims else old.id_token_expires_at,
        access_token=response.access_token or old.access_token,
        access_token_expires_at=_after(now, response.expires_in_seconds),
        refresh_token=response.refresh_token or old.refresh_token,
        refresh_token_expires_at=(
            refresh_end if rotated or refresh_end is not None else old.refresh_token_expires_at
        ),
        renewed_at=now,
    )


def _token(answer: dict[str, Any], name: str) -> str | None:
    value = answer.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_TOKEN_LENGTH or not value.isascii():
        raise ProviderUnavailable(f"the token endpoint's {name} is not usable")
    return value


def _seconds(value: object) -> float | None:
    """A positive length; 0 and what is no number mean that no end was given.

    Keycloak answers `refresh_expires_in: 0` for offline tokens, which have no end, and some
    providers send numbers as strings.
    """
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 10**10 else None


def _after(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds
