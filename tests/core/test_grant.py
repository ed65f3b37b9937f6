from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.grant import Grant, Intent, Sharing, refresh_token_hash
from sidecar.core.tokens import TokenSet
from tests.core.examples import grant, properties, token_set

instants = st.floats(0, 1e11)
token_sets = st.builds(
    TokenSet,
    st.text(),
    instants,
    instants,
    st.text(),
    st.none() | instants,
    st.text(),
    st.none() | instants,
    instants,
)
grants = st.builds(
    Grant,
    st.text(),
    st.text(),
    st.integers(1),
    st.text(),
    st.text(),
    st.text(),
    st.sampled_from(Sharing),
    token_sets,
    instants,
    st.text(),
    st.text(),
    st.none() | st.builds(Intent, st.text(), instants),
)


@properties
@given(grants)
def test_a_grant_comes_back_from_storage_as_it_went(stored: Grant) -> None:
    read = Grant.from_bytes(stored.id, stored.user_tag, stored.version, stored.to_bytes())

    assert read == stored


def test_what_the_seal_binds_is_taken_from_where_it_was_found() -> None:
    read = Grant.from_bytes("other", "mallory", 9, grant().to_bytes())

    assert (read.id, read.user_tag, read.version) == ("other", "mallory", 9)


@pytest.mark.parametrize(
    "changed",
    [
        grant().with_tokens(token_set(refresh_token="refresh-2")),
        grant().with_intent(now=1200.0),
        grant().without_intent(),
    ],
    ids=["tokens", "intent", "no-intent"],
)
def test_every_change_is_the_next_version(changed: Grant) -> None:
    assert changed.version == grant().version + 1


def test_new_tokens_close_the_intent() -> None:
    asked = grant().with_intent(now=1200.0)

    renewed = asked.with_tokens(token_set(refresh_token="refresh-2"))

    assert renewed.intent is None
    assert renewed.tokens.refresh_token == "refresh-2"
    assert not renewed.answer_unknown


def test_an_intent_names_the_refresh_token_without_showing_it() -> None:
    asked = grant().with_intent(now=1200.0)

    assert asked.intent == Intent(refresh_token_hash("refresh-1"), 1200.0)
    assert "refresh-1" not in repr(asked)
    assert asked.tokens == grant().tokens


def test_an_answer_is_unknown_from_the_intent_until_it_is_taken_back() -> None:
    asked = grant().with_intent(now=1200.0)

    assert not grant().answer_unknown
    assert asked.answer_unknown
    assert not asked.without_intent().answer_unknown


def test_an_intent_about_an_older_refresh_token_says_nothing_about_this_one() -> None:
    asked = grant().with_intent(now=1200.0)
    moved = replace(asked, tokens=token_set(refresh_token="refresh-2"))

    assert not moved.answer_unknown


def test_a_grant_never_prints_a_token() -> None:
    shown = repr(grant())

    assert "grant-1" in shown
    for secret in ("id-1", "access-1", "refresh-1"):
        assert secret not in shown


def test_what_a_newer_release_has_added_does_not_keep_this_one_from_reading_a_grant() -> None:
    stored = grant()
    newer = stored.to_bytes().replace(b'{"issuer"', b'{"added_later":[1],"issuer"')

    assert Grant.from_bytes(stored.id, stored.user_tag, stored.version, newer) == stored
