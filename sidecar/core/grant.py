"""A grant: one lineage of refresh tokens at the provider, with its current tokens."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from sidecar.core.tokens import TokenSet

GRANT_ID_BYTES = 16
MAX_CANDIDATES = 3


class Sharing(StrEnum):
    """Who shares a grant: one browser session, or all sessions of a user (Dex)."""

    PER_SESSION = "per-session"
    PER_USER = "per-user"


@dataclass(frozen=True, slots=True)
class Intent:
    """A refresh was about to be asked for: with which refresh token (its SHA-256), when, by whom.

    It is written before the request and taken back by every definite answer, so one that is
    still there says that a process died, or never heard what the provider did.
    """

    refresh_token_hash: str
    at: float
    asker: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A refresh token that may be the good one, with its login's nonce, which its ID tokens carry.

    Where a user has one refresh token (Dex), each login ends the one before. With two logins at
    once, the order in which they are stored need not be the provider's.
    """

    refresh_token: str = field(repr=False)
    nonce: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant as it is sealed. `version` counts its changes; `ends_at` is by the store's clock.

    Its tokens go to no other provider than `issuer`, and to no other client than `client_id`.
    """

    id: str
    user_tag: str
    version: int
    issuer: str
    client_id: str
    subject: str
    sharing: Sharing
    tokens: TokenSet
    ends_at: float
    nonce: str = ""
    provider_sid: str = ""
    intent: Intent | None = None
    answers_without_id_token: int = 0
    """How many refresh answers in a row had no ID token (Core 12.2 leaves it free)."""
    others: tuple[Candidate, ...] = ()
    """Refresh tokens to try when the current one is refused, the newest first; shared grants."""
    renewals: int = 0
    """How often its tokens have changed: by it, what a store has lost is told from what is new."""

    def to_bytes(self) -> bytes:
        """The part that is sealed; id, user tag and version are bound by the seal's label."""
        fields = asdict(self)
        for name in ("id", "user_tag", "version"):
            del fields[name]
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, grant_id: str, user_tag: str, version: int, plain: bytes) -> "Grant":
        """The grant whose sealed part was `plain`."""
        # What a newer release has added says nothing to this one.
        fields = {k: v for k, v in json.loads(plain).items() if k in cls.__slots__}
        intent, others = fields.pop("intent"), fields.pop("others", ())
        return cls(
            id=grant_id,
            user_tag=user_tag,
            version=version,
            sharing=Sharing(fields.pop("sharing")),
            tokens=TokenSet(**fields.pop("tokens")),
            intent=Intent(**intent) if intent else None,
            others=tuple(Candidate(**other) for other in others),
            **fields,
        )

    def with_tokens(self, tokens: TokenSet, *, has_id_token: bool = True) -> "Grant":
        """The next version, with an answer's tokens, no open intent, and no doubt left."""
        return replace(
            self,
            version=self.version + 1,
            tokens=tokens,
            intent=None,
            others=(),
            answers_without_id_token=0 if has_id_token else self.answers_without_id_token + 1,
            renewals=self.renewals + 1,
        )

    def with_login(self, tokens: TokenSet, *, nonce: str, ends_at: float) -> "Grant":
        """The next version of a shared grant, after another login of its user."""
        own = Candidate(self.tokens.refresh_token, self.nonce)
        return replace(
            self,
            version=self.version + 1,
            tokens=tokens,
            nonce=nonce,
            ends_at=max(self.ends_at, ends_at),
            intent=None,
            others=_newest((own, *self.others), but=tokens.refresh_token),
            answers_without_id_token=0,
            renewals=self.renewals + 1,
        )

    def without_refused(self) -> "Grant":
        """The next version, whose current refresh token is the next one to try."""
        candidate, *others = self.others
        return replace(
            self,
            version=self.version + 1,
            tokens=replace(
                self.tokens,
                refresh_token=candidate.refresh_token,
                refresh_token_expires_at=None,
            ),
            nonce=candidate.nonce,
            intent=None,
            others=tuple(others),
        )

    def with_intent(self, *, now: float, asker: str = "") -> "Grant":
        """The next version, about to present its refresh token; `asker` is the renewal's own name.

        A provider's reuse window counts from the first time that it was presented.
        """
        at = self.intent.at if self.intent and self.answer_unknown else now
        intent = Intent(refresh_token_hash(self.tokens.refresh_token), at, asker)
        return replace(self, version=self.version + 1, intent=intent)

    def without_intent(self) -> "Grant":
        """The next version, whose refresh token is known not to be spent."""
        return replace(self, version=self.version + 1, intent=None)

    @property
    def renews_id_token(self) -> bool:
        """Whether a refresh may bring a new ID token; one answer without may be an accident."""
        return self.answers_without_id_token < 2

    def is_behind(self, other: "Grant") -> bool:
        """Whether this is an earlier state than `other`.

        Newer tokens count for more than changes: a store that has gone back may have been
        written to since, and counts its changes anew.
        """
        return (self.renewals, self.version) < (other.renewals, other.version)

    @property
    def answer_unknown(self) -> bool:
        """Whether its refresh token was presented and no answer is known."""
        return self.intent is not None and self.intent.refresh_token_hash == refresh_token_hash(
            self.tokens.refresh_token
        )


def refresh_token_hash(refresh_token: str) -> str:
    """The SHA-256 of a refresh token, which tells two apart without showing either."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()


def _newest(candidates: tuple[Candidate, ...], *, but: str) -> tuple[Candidate, ...]:
    """As many candidates as fit beside the current refresh token, each once."""
    unique: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.refresh_token not in ("", but):
            unique.setdefault(candidate.refresh_token, candidate)
    return tuple(unique.values())[: MAX_CANDIDATES - 1]
