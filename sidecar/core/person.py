"""Whose a session is, as the ID token of its grant says it: for operators, who know people."""

from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.core.grant import Grant
from sidecar.core.groups import claims_in

_LONGEST = 300
_MOST_GROUPS = 2000
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
    claims = claims_in(grant.tokens.id_token)
    names = {claim: _text(claims.get(claim)) for claim in _NAMES}
    return Person(grant.subject, groups=tuple(_groups(claims.get("groups"))), **names)


def printable(text: str) -> str:
    """A text that does nothing to a terminal: people choose their names themselves."""
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST])


def _groups(claim: object) -> Iterator[str]:
    """The groups of a claim, which some providers send as a text where there is one only."""
    groups = claim if isinstance(claim, list) else [claim]
    return (group for group in groups[:_MOST_GROUPS] if isinstance(group, str))


def _text(claim: object) -> str:
    return claim if isinstance(claim, str) else ""
