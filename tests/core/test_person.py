import base64
import json
from typing import Any

import pytest

from sidecar.core.grant import Grant, Sharing
from sidecar.core.person import Person, person_of, printable
from sidecar.core.tokens import TokenSet


def grant_of(id_token: str) -> Grant:
    """A grant of ada's with this ID token."""
    tokens = TokenSet(id_token, 0.0, 1.0, "", None, "", None, 0.0)
    return Grant("g", "u", 1, "https://idp", "argo-cd", "ada-1", Sharing.PER_SESSION, tokens, 1.0)


def token(claims: Any) -> str:
    """An ID token whose signature nobody looks at: it was verified when it was sealed."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def test_a_person_is_who_the_id_token_says() -> None:
    claims = {"sub": "x", "email": "ada@example.org", "name": "Ada", "groups": ["dev", "ops"]}

    person = person_of(grant_of(token(claims)))

    assert person == Person("ada-1", "ada@example.org", "Ada", "", ("dev", "ops"))
    assert person.known_as == "ada@example.org"


@pytest.mark.parametrize(
    ("person", "name"),
    [
        (Person("s", "e@example.org", "Name", "user"), "e@example.org"),
        (Person("s", "", "Name", "user"), "user"),
        (Person("s", "", "Name"), "Name"),
        (Person("s", "", "", "user"), "user"),
        (Person("s"), "s"),
    ],
)
def test_an_operator_knows_a_person_by_the_first_name_that_there_is(
    person: Person, name: str
) -> None:
    assert person.known_as == name


def test_a_claim_that_is_no_text_is_no_name() -> None:
    claims = {"email": ["e@example.org"], "name": 7, "preferred_username": "user"}

    assert person_of(grant_of(token(claims))) == Person("ada-1", "", "", "user")


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        ("dev", ("dev",)),
        (None, ()),
        ([1, {"a": 1}, "dev", None], ("dev",)),
        ({"dev": 1}, ()),
        (["g"] * 3000, ("g",) * 2000),
    ],
)
def test_groups_are_texts_however_they_come(claim: Any, groups: tuple[str, ...]) -> None:
    assert person_of(grant_of(token({"groups": claim}))).groups == groups


@pytest.mark.parametrize("id_token", ["", "a.b.c", "..", "e30", token([]), token("x"), "a.!!!.c"])
def test_of_an_id_token_that_says_nothing_the_subject_is_known(id_token: str) -> None:
    assert person_of(grant_of(id_token)) == Person("ada-1")


@pytest.mark.parametrize("name", ["ada-1", "ADA@example.org", "ada lovelace", "Ada"])
def test_a_person_is_called_by_each_of_their_names(name: str) -> None:
    assert Person("ada-1", "ada@example.org", "Ada Lovelace", "ada").is_called(name)


@pytest.mark.parametrize("name", ["", "ADA-1", "ada@example", "dev", "lovelace"])
def test_a_person_is_not_called_by_a_part_of_a_name_or_none(name: str) -> None:
    assert not Person("ada-1", "ada@example.org", "Ada Lovelace", "", ("dev",)).is_called(name)
    assert not Person("ada-1").is_called(name)


def test_what_is_shown_does_nothing_to_a_terminal() -> None:
    assert printable("Ada\x1b[2J\r\n\u202eevil") == "Ada?[2J???evil"
    assert len(printable("x" * 10_000)) == 300
