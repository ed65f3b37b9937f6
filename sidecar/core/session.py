"""A browser's login: its cookie value, its record, and why it may end."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sidecar.core.base64url import base64url
from sidecar.core.sealing import KeyRing

SESSION_SECRET_BYTES = 32
SHOWN_DIGITS = 12
_USER_AGENT_LENGTH = 200


class EndReason(StrEnum):
    """Why a session is over; the label of `argocd_token_refresh_forced_logins_total`."""

    ENDED_BY_PROVIDER = "ended_by_provider"
    LOST_ANSWER = "lost_answer"
    REUSE_DETECTED = "reuse_detected"
    WRONG_ANSWER = "wrong_answer"
    NO_REFRESH_TOKEN = "no_refresh_token"  # noqa: S105 - a word
    PROVIDER_LOST_STATE = "provider_lost_its_state"
    """It knows neither the refresh token nor the key of a token that is still good."""
    IDLE = "idle"
    ABSOLUTE = "absolute"
    LOGOUT = "logout"
    PROVIDER_LOGOUT = "provider_logout"
    """The provider says that the person has logged out there."""
    ENDED_BY_USER = "ended_by_user"
    """By the person, from another of their sessions."""
    REPLACED = "replaced"
    UNREADABLE = "unreadable"
    OTHER_PROVIDER = "other_provider"
    TOO_MANY_SESSIONS = "too_many_sessions"

    @property
    def forces_login(self) -> bool:
        """Whether nobody asked for it: the user logs in again, and had not logged out."""
        return self not in LOGOUTS and self is not EndReason.REPLACED


ENDED_BY_OPERATOR = "ended_by_operator"
"""By a command over the store: no replica does that, and no replica counts it."""

LOGOUTS = frozenset((EndReason.LOGOUT, EndReason.PROVIDER_LOGOUT, EndReason.ENDED_BY_USER))
"""Whoever has one of these behind them wants to be out: a login is offered, not begun."""


def user_tag(issuer: str, client_id: str, subject: str) -> str:
    """The tag that all records of one user carry: 128 bits of SHA-256, as base64url."""
    named = json.dumps([issuer, client_id, subject]).encode()
    return base64url(hashlib.sha256(named).digest()[:16])


def provider_sid_hash(issuer: str, client_id: str, provider_sid: str) -> str:
    """The name under which the store knows whose a provider's session (`sid`) is."""
    return hashlib.sha256(json.dumps([issuer, client_id, provider_sid]).encode()).hexdigest()


class SessionKey(NamedTuple):
    """Where the store keeps a session: the user tag, and the SHA-256 of the cookie's secret."""

    user_tag: str
    digest: str

    @property
    def shown(self) -> str:
        """What names the session to people: it opens nothing."""
        return self.digest[:SHOWN_DIGITS]


@dataclass(frozen=True, slots=True)
class Session:
    """One browser's login. Instants are Unix seconds by the store's clock."""

    key: SessionKey
    grant_id: str
    created_at: float
    ends_at: float
    user_agent: str
    last_seen_at: float = 0.0
    provider_sid: str = ""
    """The provider's own session (`sid`) that it came from; "" where that is not known."""
    signed_by: str = ""
    """The id of the key that signed its cookie; "": an earlier release made it."""

    def to_bytes(self) -> bytes:
        """The part that is sealed; `last_seen_at` is kept beside it."""
        fields = [self.grant_id, self.created_at, self.ends_at, self.user_agent]
        return json.dumps([*fields, self.provider_sid, self.signed_by]).encode()

    @classmethod
    def from_bytes(cls, key: SessionKey, plain: bytes, *, last_seen_at: float) -> "Session":
        """The session whose sealed part was `plain`."""
        # An older release wrote less; what a newer one has added says nothing to this one.
        fields: list[Any] = json.loads(plain)
        grant_id, created_at, ends_at, user_agent = fields[:4]
        provider_sid, signed_by = [*fields[4:], "", ""][:2]
        return cls(
            key, grant_id, created_at, ends_at, user_agent, last_seen_at, provider_sid, signed_by
        )


def new_session_cookie(tag: str, ring: KeyRing, *, random: bytes) -> tuple[str, SessionKey]:
    """A cookie value `u.secret.mac` with its key; `random` is `SESSION_SECRET_BYTES` long."""
    if len(random) != SESSION_SECRET_BYTES:
        raise ValueError(f"a session needs {SESSION_SECRET_BYTES} random bytes")
    secret = base64url(random)
    named = f"{tag}.{secret}"
    return f"{named}.{ring.sign(named)}", _key(tag, secret)


def read_session_cookie(value: str, ring: KeyRing) -> SessionKey | None:
    """The key that a genuine cookie value names; None for any other, without a store trip."""
    if len(value) > 128 or not value.isascii() or value.count(".") != 2:
        return None
    tag, secret, mac = value.split(".")
    if not ring.signed(f"{tag}.{secret}", mac):
        return None
    return _key(tag, secret)


def shown_session(cookie: str, ring: KeyRing) -> str:
    """What names the session of a cookie value to people; "" where it is none of ours."""
    key = read_session_cookie(cookie, ring)
    return key.shown if key is not None else ""


def form_token(key: SessionKey, ring: KeyRing) -> str:
    """What a change that a session asks for must bring along: another site cannot know it."""
    return ring.sign(_form(key))


def is_form_token(key: SessionKey, token: str, ring: KeyRing) -> bool:
    """Whether `form_token` made it for this session; compared in constant time."""
    return token.isascii() and ring.signed(_form(key), token)


def short_user_agent(user_agent: str) -> str:
    """As much of a User-Agent as is kept to show a user which browser a session is."""
    return "".join(c for c in user_agent if c.isprintable())[:_USER_AGENT_LENGTH]


def _form(key: SessionKey) -> str:
    # No session cookie has a space in what its MAC is under.
    return f"form {key.user_tag} {key.digest}"


def _key(tag: str, secret: str) -> SessionKey:
    return SessionKey(tag, hashlib.sha256(secret.encode()).hexdigest())
