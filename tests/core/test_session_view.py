import base64
import json

import pytest

from sidecar.core.grant import Grant
from sidecar.core.session import Session, SessionKey
from sidecar.core.session_view import SessionView, person, view
from tests.core.examples import grant, token_set


def id_token(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.x"


def shown(claims: object) -> str:
    return person(grant(token_set(id_token=id_token(claims))))


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Alice", "preferred_username": "al", "email": "a@example.org"}, "a@example.org"),
        ({"name": "Alice", "preferred_username": "al"}, "al"),
        ({"name": "Alice", "email": ""}, "Alice"),
        ({"name": "Alice", "email": "a\n@example.org"}, "Alice"),
        ({"name": "Alice", "email": ["a@example.org"]}, "Alice"),
        ({"name": "x" * 200}, "x" * 100),
        ({}, "alice"),
        ([], "alice"),
    ],
)
def test_a_person_is_named_by_the_first_claim_that_can_be_shown(claims: object, name: str) -> None:
    assert shown(claims) == name


@pytest.mark.parametrize("token", ["", "e30", "e30.%.x", "e30.e.x", "e30._w.x"])
def test_a_person_whose_token_cannot_be_read_is_named_by_the_subject(token: str) -> None:
    assert person(grant(token_set(id_token=token), subject="s" * 200)) == "s" * 100


def viewed(of: Grant, *, current: bool = True, unasked: bool = False) -> SessionView:
    """A session with this grant, as it is shown."""
    session = Session(SessionKey("alice", "d" * 64), "grant-1", 1000.0, 9000.0, "curl/8", 2000.0)
    return view(
        session,
        of,
        current=current,
        store_is_ahead=10.0,
        next_renewal_at=1200.0,
        unasked=unasked,
    )


@pytest.mark.parametrize("said", [True, False])
def test_a_view_says_which_browser_it_is_and_whether_it_is_the_one_that_asks(said: bool) -> None:
    made = viewed(grant(), current=said, unasked=not said)

    assert (made.device, made.user_agent) == ("curl", "curl/8")
    assert (made.current, made.unasked) == (said, not said)


@pytest.mark.parametrize(
    ("shown", "renews"),
    [
        (grant(), True),
        (grant(token_set(refresh_token="")), False),
        (grant(answers_without_id_token=2), False),
    ],
    ids=["renewed", "no refresh token", "no ID tokens"],
)
def test_a_view_says_whether_its_token_is_renewed_at_all(shown: Grant, renews: bool) -> None:
    assert viewed(shown).renews is renews


@pytest.mark.parametrize(
    ("issuer", "provider"),
    [("https://idp.example.org/realms/a", "idp.example.org"), ("accounts.google.com",) * 2],
)
def test_a_sessions_instants_are_those_of_the_local_clock(issuer: str, provider: str) -> None:
    made = viewed(grant(issuer=issuer))

    assert (made.first_seen_at, made.last_seen_at, made.ends_at) == (990.0, 1990.0, 8990.0)
    assert (made.token_ends_at, made.next_renewal_at) == (1300.0, 1200.0)
    assert (made.id, made.provider) == ("d" * 16, provider)
    assert made.renews
