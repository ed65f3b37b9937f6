"""Verify a logout token against given keys: OpenID Connect Back-Channel Logout 1.0 section 2.6."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core.id_token import (
    CLOCK_LEEWAY_SECONDS,
    SigningKey,
    instant,
    read_header,
    signed_claims,
)
from sidecar.core.provider_addresses import is_issuer
from sidecar.errors import TokenInvalid

MAX_LENGTH = 16 * 1024
EVENT = "http://schemas.openid.net/event/backchannel-logout"
# The specification recommends two minutes at most between `iat` and `exp`.
OLDEST_SECONDS = 600.0
# From the first instant at which a token is taken to the last.
REMEMBERED_SECONDS = OLDEST_SECONDS + 2 * CLOCK_LEEWAY_SECONDS
_LONGEST_TEXT = 255
# Section 2.4 recommends the first and allows none. The last is what JWT libraries write when
# nobody chooses: a provider with it is not refused, the other claims tell a logout token.
_TYPES = frozenset(("logout+jwt", "application/logout+jwt", "jwt"))


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """Whom a verified logout token logs out: a subject, one of the provider's sessions, or both.

    `issuer` is the name by which the provider calls itself in it; `hash` names the token, so
    that it does its work once.
    """

    issuer: str
    subject: str
    provider_sid: str
    hash: str


def verify(
    token: str,
    keys: Sequence[SigningKey],
    *,
    issuer: str,
    client_id: str,
    now: float,
    aliases: tuple[str, ...] = (),
) -> LogoutToken:
    """Whom `token` logs out, once signed by one of `keys` and all its checks hold.

    Raises:
        TokenInvalid: naming the first check that failed.
    """
    header = read_header(token)
    claims = signed_claims(token, header["alg"], keys)
    _check_type(header)
    if not is_issuer(claims.get("iss"), claims.get("tid"), issuer=issuer, aliases=aliases):
        raise TokenInvalid("iss")
    _check_audience(claims, client_id)
    _check_time(claims, now)
    _check_event(claims)
    subject, sid = _text(claims, "sub"), _text(claims, "sid")
    if not subject and not sid:
        raise TokenInvalid("sub")
    token_id = _text(claims, "jti")
    if not token_id:
        raise TokenInvalid("jti")
    named = json.dumps([issuer, client_id, token_id]).encode()
    return LogoutToken(claims["iss"], subject, sid, hashlib.sha256(named).hexdigest())


def _check_type(header: dict[str, Any]) -> None:
    if "typ" in header and str(header["typ"]).lower() not in _TYPES:
        raise TokenInvalid("typ")


def _check_audience(claims: dict[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    if client_id not in (audience if isinstance(audience, list) else [audience]):
        raise TokenInvalid("aud")


def _check_time(claims: dict[str, Any], now: float) -> None:
    issued_at, expires_at = instant(claims, "iat"), instant(claims, "exp")
    if expires_at + CLOCK_LEEWAY_SECONDS <= now:
        raise TokenInvalid("exp")
    # An old one is refused whatever end it gives itself: it is remembered for as long only.
    age = now - issued_at
    if not -CLOCK_LEEWAY_SECONDS <= age < OLDEST_SECONDS + CLOCK_LEEWAY_SECONDS:
        raise TokenInvalid("iat")
    if "nbf" in claims and instant(claims, "nbf") - CLOCK_LEEWAY_SECONDS > now:
        raise TokenInvalid("nbf")


def _check_event(claims: dict[str, Any]) -> None:
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise TokenInvalid("events")
    if "nonce" in claims:  # so that no ID token can pass for one
        raise TokenInvalid("nonce")


def _text(claims: dict[str, Any], name: str) -> str:
    """A claim that may be left out, and is a text where it is not."""
    if name not in claims:
        return ""
    value = claims[name]
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
        raise TokenInvalid(name)
    return value
