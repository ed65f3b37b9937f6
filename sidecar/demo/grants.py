"""What the demo's provider granted: codes, refresh tokens and their families, in memory."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sidecar.demo.jwks import base64url

Kind = Literal["login", "code", "refresh", "reuse", "refused", "revoked", "logout"]


class OAuthError(Exception):
    """An error answer of an OAuth endpoint (RFC 6749 sections 4.1.2.1 and 5.2)."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody who can sign in."""

    name: str
    password: str = field(repr=False)
    email: str
    groups: tuple[str, ...] = ()


@dataclass(kw_only=True)
class GrantRules:
    """How long things live and what rotation means; may be changed while the provider runs."""

    code_seconds: float = 60
    access_token_seconds: float = 20
    rotates: bool = True
    reuse_window_seconds: float = 0
    reuse_ends_family: bool = True


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """What the client asked for at the authorization endpoint, checked."""

    redirect_uri: str
    scope: tuple[str, ...]
    code_challenge: str = field(repr=False)
    state: str = field(default="", repr=False)
    nonce: str = field(default="", repr=False)


@dataclass(kw_only=True)
class Grant:
    """One login's family of refresh tokens."""

    user: User
    nonce: str = field(repr=False)
    scope: tuple[str, ...]
    signed_in_at: float
    sid: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    refresh_token: str = field(default="", repr=False)
    spent_at: dict[str, float] = field(default_factory=dict, repr=False)
    ended: bool = False


@dataclass(kw_only=True)
class Code:
    """An authorization code: what it stands for, and the grant once it was redeemed."""

    user: User
    authorization: Authorization
    issued_at: float
    used: bool = False
    grant: Grant | None = None


@dataclass(frozen=True, kw_only=True)
class Issued:
    """New tokens of a grant; `refresh_token` is empty if the grant has none."""

    grant: Grant
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


class Grants:
    """Every code and grant; each method is one step that nothing can interrupt."""

    def __init__(
        self, rules: GrantRules, *, now: Callable[[], float], note: Callable[[Kind, str, str], None]
    ) -> None:
        self._rules, self._now, self._note = rules, now, note
        self._codes: dict[str, Code] = {}
        self._families: dict[str, Grant] = {}  # by every refresh token, the spent ones too
        self._access: dict[str, tuple[Grant, float]] = {}
        self._grants: list[Grant] = []

    def new_code(self, user: User, authorization: Authorization) -> str:
        """A code for `user`, who has just signed in."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = Code(user=user, authorization=authorization, issued_at=self._now())
        self._note("login", user.name, " ".join(authorization.scope))
        return code

    def redeem(self, code: str, *, redirect_uri: str, code_verifier: str) -> Issued:
        """The first tokens of a new grant.

        Raises:
            OAuthError: `invalid_grant`; a second use also ends the grant (RFC 6749 section 4.1.2).
        """
        known = self._codes.get(code)
        if known is None:
            raise OAuthError("invalid_grant", "The code is unknown.")
        if known.used:
            self._code_reused(known)
        known.used = True
        self._check_code(known, redirect_uri, code_verifier)
        asked = known.authorization
        known.grant = Grant(
            user=known.user, nonce=asked.nonce, scope=asked.scope, signed_in_at=self._now()
        )
        self._grants.append(known.grant)
        self._note("code", known.user.name, known.grant.sid)
        if "offline_access" in asked.scope:
            self._rotate(known.grant)
        return self._issue(known.grant)

    def refresh(self, refresh_token: str) -> Issued:
        """The grant's next tokens.

        Raises:
            OAuthError: `invalid_grant`; a token that was spent before may end the family.
        """
        grant = self._families.get(refresh_token)
        if grant is None or grant.ended:
            raise OAuthError("invalid_grant", "The refresh token is unknown or has ended.")
        if refresh_token != grant.refresh_token:
            self._check_reuse(grant, refresh_token)
        elif self._rules.rotates:
            self._rotate(grant)
        self._note("refresh", grant.user.name, grant.sid)
        return self._issue(grant)

    def revoke(self, token: str) -> None:
        """End what `token` stands for: a refresh token's whole grant, or one access token."""
        self._access.pop(token, None)
        if grant := self._families.get(token):
            self._end(grant, "revoked by the client")

    def end(self, user: str | None = None) -> None:
        """End all grants of `user`, or of everybody."""
        for grant in self._grants:
            if user in (None, grant.user.name):
                self._end(grant, "ended by the provider")

    def of_access_token(self, access_token: str) -> Grant | None:
        """The grant of an access token that is still good."""
        grant, expires_at = self._access.get(access_token, (None, 0.0))
        return grant if grant and not grant.ended and self._now() < expires_at else None

    def _code_reused(self, code: Code) -> None:
        self._note("reuse", code.user.name, "authorization code")
        if code.grant:
            self._end(code.grant, "its code was used twice")
        raise OAuthError("invalid_grant", "The code has been used.")

    def _check_code(self, code: Code, redirect_uri: str, code_verifier: str) -> None:
        asked = code.authorization
        if self._now() >= code.issued_at + self._rules.code_seconds:
            raise OAuthError("invalid_grant", "The code has expired.")
        if redirect_uri != asked.redirect_uri:
            raise OAuthError("invalid_grant", "redirect_uri is not the one that was asked for.")
        if not asked.code_challenge and not code_verifier:
            return
        challenge = base64url(hashlib.sha256(code_verifier.encode()).digest())
        if not secrets.compare_digest(challenge, asked.code_challenge):
            raise OAuthError("invalid_grant", "code_verifier does not fit the challenge.")

    def _check_reuse(self, grant: Grant, refresh_token: str) -> None:
        """Let a spent token pass inside the window, which gives the current one again (as Dex)."""
        if self._now() < grant.spent_at[refresh_token] + self._rules.reuse_window_seconds:
            return
        self._note("reuse", grant.user.name, grant.sid)
        if self._rules.reuse_ends_family:
            self._end(grant, "a spent refresh token was presented")
        raise OAuthError("invalid_grant", "The refresh token has been used.")

    def _rotate(self, grant: Grant) -> None:
        if grant.refresh_token:
            grant.spent_at[grant.refresh_token] = self._now()
        grant.refresh_token = secrets.token_urlsafe(24)
        self._families[grant.refresh_token] = grant

    def _issue(self, grant: Grant) -> Issued:
        now = self._now()
        self._access = {token: kept for token, kept in self._access.items() if now < kept[1]}
        access_token = secrets.token_urlsafe(24)
        self._access[access_token] = (grant, now + self._rules.access_token_seconds)
        return Issued(grant=grant, access_token=access_token, refresh_token=grant.refresh_token)

    def _end(self, grant: Grant, reason: str) -> None:
        if not grant.ended:
            grant.ended = True
            self._note("revoked", grant.user.name, reason)
