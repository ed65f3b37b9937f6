"""Whose a session is, as the ID token of its grant says it: for operators, who know people."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.core.grant import Grant

_LONGEST = 300
_MOST_GROUPS = 2000
_MOST_TOLD = 20
_NAMES = ("email", "name", "preferred_username")


@dataclass(frozen=True, slots=True)
class Person:
    """Who somebody is: the provider's id for them, what they are called, and their groups."""

    subject: str
    email: str = ""
    name: str = ""
    preferred_username: str = ""
    groups: tuple[str, ...] = ()

    @property
    def known_as(self) -> str:
        """What an operator knows them by."""
        return self.email or self.preferred_username or self.name or self.subject

    def is_called(self, name: str) -> bool:
        """Whether this is one of their names, in whatever case, or their subject as it is."""
        names = (getattr(self, claim).casefold() for claim in _NAMES)
        return name == self.subject or (bool(name) and name.casefold() in names)


def person_of(grant: Grant) -> Person:
    """Who the ID token of a grant is about. It was verified when the grant was sealed."""
    claims = _claims(grant.tokens.id_token)
    names = {claim: _text(claims.get(claim)) for claim in _NAMES}
    return Person(grant.subject, groups=tuple(_groups(claims.get("groups"))), **names)


def changed_groups(before: Grant, after: Grant) -> tuple[list[str], list[str]]:
    """The groups that a new ID token has more, and has less; the first few of them."""
    if before.tokens.id_token == after.tokens.id_token:
        return [], []
    old, new = set(person_of(before).groups), set(person_of(after).groups)
    return _first_few(new - old), _first_few(old - new)


def _first_few(groups: set[str]) -> list[str]:
    return [printable(group) for group in sorted(groups)[:_MOST_TOLD]]


def printable(text: str) -> str:
    """A text that does nothing to a terminal: people choose their names themselves."""
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST])


def _claims(id_token: str) -> dict[str, Any]:
    try:
        payload = id_token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _groups(claim: object) -> Iterator[str]:
    """The groups of a claim, which some providers send as a text where there is one only."""
    groups = claim if isinstance(claim, list) else [claim]
    return (group for group in groups[:_MOST_GROUPS] if isinstance(group, str))


def _text(claim: object) -> str:
    return claim if isinstance(claim, str) else ""
