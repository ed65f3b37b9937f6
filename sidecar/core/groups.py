"""The groups in an ID token, as Argo CD's RBAC takes them, and what the next one changes.

Whoever asks has verified the token: here it is only read.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core.base64url import from_base64url

GROUPS_CLAIMS = ("groups",)  # Argo CD's own default
MAX_CLAIMS = 20
MAX_NAMED = 20
MAX_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class GroupChange:
    """The groups that one ID token has and the next has not, and the other way round."""

    lost: frozenset[str] = frozenset()
    gained: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.lost or self.gained)


def groups_in(id_token: str, claims: Sequence[str]) -> frozenset[str]:
    """The texts in these claims, as Argo CD's `GetScopeValues` takes them: of a list, or one alone.

    A claim's name is taken to the letter: `cognito:groups`, or an address (Auth0).
    """
    said = claims_in(id_token)
    values = (said.get(claim) for claim in claims)
    return frozenset(text for value in values for text in _texts(value))


def group_change(before: str, after: str, claims: Sequence[str]) -> GroupChange:
    """What the ID token `after` has of groups more and less than `before`."""
    if before == after:
        return GroupChange()
    old, new = groups_in(before, claims), groups_in(after, claims)
    return GroupChange(lost=old - new, gained=new - old)


def named(groups: Iterable[str]) -> list[str]:
    """Groups as a log line names them: in order, some of many, and none at any length."""
    return [
        name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}…"
        for name in sorted(groups)[:MAX_NAMED]
    ]


def claims_in(id_token: str) -> dict[str, Any]:
    """What an ID token says; nothing where it is none."""
    try:
        _, part, _ = id_token.split(".")
        claims = json.loads(from_base64url(part))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    return (each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
