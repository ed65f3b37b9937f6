"""What a chaos run leaves behind for its verdict. Instants are by the machine's monotonic clock."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.hostile.log import Entry


@dataclass(frozen=True, kw_only=True)
class Halt:
    """A process of a replica that was killed, or only stopped until it could go on.

    `ports` are its own ends of the connections to the provider that it had at that moment. It has
    one for each refresh that is under way, and refreshes run under a lease only.
    """

    replica: str
    started_at: float
    at: float
    until: float | None = None
    ports: frozenset[int] = frozenset()

    @property
    def held_a_lease(self) -> bool:
        """Whether a refresh was under way."""
        return bool(self.ports)


@dataclass(frozen=True, kw_only=True)
class ForcedLogin:
    """Somebody who was logged in, and was told to log in."""

    user: str
    at: float
    how: str


@dataclass(frozen=True)
class Asked:
    """An answer that somebody got, by which replica."""

    at: float
    user: str
    replica: str
    status: int


@dataclass
class Answers:
    """What the browsers were told."""

    asked: list[Asked] = field(default_factory=list)

    statuses: Counter[int] = field(default_factory=Counter)
    unheard: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    strange: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All logs of a run. `stored`: when a refresh token's SHA-256 was first seen in the store."""

    log: Sequence[Entry]
    stored: Mapping[str, float]
    kills: Sequence[Halt]
    stops: Sequence[Halt]
    forced_logins: Sequence[ForcedLogin]
    answers: Answers
    expired_tokens: int = 0
    faults: Sequence[tuple[float, str]] = ()
    issuer: str = ""
    client_id: str = ""
