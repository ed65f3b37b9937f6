"""A session as its user is shown it: instants and words, no secret."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.core.grant import Grant
from sidecar.core.groups import claims_in
from sidecar.core.session import Session
from sidecar.core.user_agents import device

ID_LENGTH = 16
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class SessionView:
    """What is shown of a session. Instants are Unix seconds by the local clock.

    At `next_renewal_at` its token is renewed, or with the first use after that where it is not
    renewed `unasked`; without `renews` not at all.
    """

    id: str
    current: bool
    device: str
    user_agent: str
    first_seen_at: float
    last_seen_at: float
    ends_at: float
    provider: str
    token_ends_at: float
    next_renewal_at: float
    unasked: bool
    renews: bool


def public_id(digest: str) -> str:
    """A session's name for people and programs; it opens nothing."""
    return digest[:ID_LENGTH]


def view(
    session: Session,
    grant: Grant,
    *,
    current: bool,
    store_is_ahead: float,
    next_renewal_at: float,
    unasked: bool,
) -> SessionView:
    """A session with its grant; the store's clock is ahead of the local one by so many seconds."""
    return SessionView(
        public_id(session.key.digest),
        current,
        device(session.user_agent),
        session.user_agent,
        session.created_at - store_is_ahead,
        session.last_seen_at - store_is_ahead,
        session.ends_at - store_is_ahead,
        urlsplit(grant.issuer).netloc or grant.issuer,
        grant.tokens.id_token_expires_at,
        next_renewal_at,
        unasked,
        bool(grant.tokens.refresh_token) and grant.renews_id_token,
    )


def person(grant: Grant) -> str:
    """Who is signed in, as the ID token says it, which was verified when it was stored."""
    claims = claims_in(grant.tokens.id_token)
    for name in ("email", "preferred_username", "name"):
        value = claims.get(name)
        if isinstance(value, str) and value.isprintable() and value:
            return value[:_LONGEST_NAME]
    return grant.subject[:_LONGEST_NAME]
