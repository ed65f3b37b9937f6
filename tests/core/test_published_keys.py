"""Whether the key of a token is still published, and what follows when it is not."""

import base64
import json

import pytest

from sidecar.core.published_keys import (
    KeyState,
    PublishedKeys,
    is_lost_with_provider,
    key_state,
)
from tests.core.examples import token_set


def signed_by(kid: str | None) -> str:
    """A token's form, with a header that names a key."""
    header = {"alg": "RS256"} | ({"kid": kid} if kid else {})
    return f"{base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip('=')}.e30.c2ln"


TOKENS = token_set(id_token=signed_by("key-1"))


def published(*ids: str, at: float = 1100.0) -> PublishedKeys:
    return PublishedKeys(frozenset(ids), at)


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        (None, KeyState.PUBLISHED),
        (published("key-1"), KeyState.PUBLISHED),
        (published("key-2", "key-1"), KeyState.PUBLISHED),
        (published("key-2"), KeyState.GONE),
        (published("key-2", at=999.0), KeyState.UNKNOWN),
        (published("key-2", at=1000.0), KeyState.UNKNOWN),
        (published(), KeyState.PUBLISHED),
    ],
)
def test_a_key_is_gone_when_it_is_not_among_those_read_after_its_token_came(
    keys: PublishedKeys | None, state: KeyState
) -> None:
    assert key_state(TOKENS, keys) is state


@pytest.mark.parametrize("id_token", [signed_by(None), "no token", ""])
def test_of_a_token_that_names_no_key_nothing_is_said(id_token: str) -> None:
    assert key_state(token_set(id_token=id_token), published("key-2")) is KeyState.PUBLISHED


@pytest.mark.parametrize(
    ("now", "noticed_at", "lost"),
    [
        (1299.0, 0.0, True),
        (1301.0, 0.0, False),
        (1301.0, 1200.0, True),
        (9000.0, 1001.0, True),
        (1300.0, 0.0, False),
        (1301.0, 1000.0, False),
        (1301.0, 900.0, False),
    ],
)
def test_a_provider_has_lost_its_state_if_a_good_tokens_key_is_gone_or_was_seen_to_be(
    now: float, noticed_at: float, lost: bool
) -> None:
    assert is_lost_with_provider(TOKENS, now, noticed_at=noticed_at) is lost
