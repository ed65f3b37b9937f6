"""A revocation that is to be repeated until the provider has heard it (RFC 7009)."""

import json
from dataclasses import dataclass, field

SOONEST_SECONDS = 5.0
LATEST_SECONDS = 600.0
GIVE_UP_SECONDS = 24 * 3600.0
_JITTER_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Revocation:
    """A refresh token that is to be revoked, at its own provider and for its own client only.

    `began_at` is in Unix seconds by the store's clock.
    """

    id: str
    began_at: float
    issuer: str
    client_id: str
    user_tag: str
    refresh_token: str = field(repr=False)

    @property
    def name(self) -> str:
        """What is in clear beside the seal, and bound by it: who cannot open it, sees its age."""
        return f"{self.id} {int(self.began_at)}"

    def to_bytes(self) -> bytes:
        """The part that is sealed."""
        fields = [self.issuer, self.client_id, self.user_tag, self.refresh_token]
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, name: str, plain: bytes) -> "Revocation":
        """The revocation whose sealed part was `plain`."""
        # What a newer release has added says nothing to this one.
        issuer, client_id, user_tag, refresh_token, *_ = json.loads(plain)
        return cls(_id(name), began_at(name), issuer, client_id, user_tag, refresh_token)


def to_entry(name: str, sealed: bytes) -> bytes:
    """A revocation as it stands in the queue."""
    return f"{name} ".encode() + sealed


def read_entry(entry: bytes) -> tuple[str, bytes]:
    """The name and the sealed part of what stands in the queue.

    Raises:
        ValueError: it is none.
    """
    token_id, began, sealed = entry.split(b" ", 2)
    return f"{token_id.decode()} {int(began)}", sealed


def began_at(name: str) -> float:
    """Since when a revocation waits."""
    return float(name.split(" ")[1])


def next_try_at(began: float, now: float, *, random: float) -> float | None:
    """When to try again what has failed at `now`; None: not any more.

    The pauses double, since each is as long as all before it. `random` in [0, 1) spreads them.
    """
    age = now - began
    if age >= GIVE_UP_SECONDS:
        return None
    pause = min(max(age, SOONEST_SECONDS), LATEST_SECONDS)
    return now + pause * (1 + _JITTER_SHARE * random)


def _id(name: str) -> str:
    return name.split(" ")[0]
