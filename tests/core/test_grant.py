import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.grant import GRANT_ID_BYTES, Candidate, Grant, Intent, Sharing, refresh_token_hash
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
    st.integers(0),
    st.lists(st.builds(Candidate, st.text(), st.text()), max_size=2).map(tuple),
    st.integers(0),
)


@properties
@given(grants)
def test_a_grant_comes_back_from_storage_as_it_went(stored: Grant) -> None:
    read = Grant.from_bytes(stored.id, stored.user_tag, stored.version, stored.to_bytes())

    assert read == stored
    assert read.sharing is stored.sharing


def test_a_grant_takes_no_more_room_in_the_store_than_its_words() -> None:
    assert b" " not in grant().to_bytes()


def test_a_grant_is_read_that_a_release_has_written_which_knew_less_of_it() -> None:
    stored = grant()
    fields = json.loads(stored.to_bytes())
    for name in ("answers_without_id_token", "others", "renewals"):
        del fields[name]

    older = json.dumps(fields).encode()

    assert Grant.from_bytes(stored.id, stored.user_tag, stored.version, older) == stored


@pytest.mark.parametrize("sharing", Sharing)
def test_a_grant_is_written_in_the_words_that_other_releases_read(sharing: Sharing) -> None:
    fields = json.loads(grant(sharing=sharing).with_intent(now=1200.0, asker="r1").to_bytes())
    intent = {"refresh_token_hash": refresh_token_hash("refresh-1"), "at": 1200.0, "asker": "r1"}

    assert fields == {
        "issuer": grant().issuer,
        "client_id": grant().client_id,
        "subject": grant().subject,
        "sharing": {Sharing.PER_SESSION: "per-session", Sharing.PER_USER: "per-user"}[sharing],
        "tokens": fields["tokens"],
        "ends_at": grant().ends_at,
        "nonce": grant().nonce,
        "provider_sid": grant().provider_sid,
        "intent": intent,
        "answers_without_id_token": 0,
        "others": [],
        "renewals": 0,
    }


def test_nobody_comes_upon_the_id_of_a_grant_by_chance() -> None:
    assert GRANT_ID_BYTES * 8 == 128


def test_a_grant_that_is_new_has_no_nonce_and_no_session_of_the_provider() -> None:
    known = grant()
    new = Grant(
        known.id,
        known.user_tag,
        known.version,
        known.issuer,
        known.client_id,
        known.subject,
        known.sharing,
        known.tokens,
        known.ends_at,
    )

    assert (new.nonce, new.provider_sid, new.intent, new.others) == ("", "", None, ())
    assert (new.answers_without_id_token, new.renewals) == (0, 0)


def test_what_the_seal_binds_is_taken_from_where_it_was_found() -> None:
    read = Grant.from_bytes("other", "mallory", 9, grant().to_bytes())

    assert (read.id, read.user_tag, read.version) == ("other", "mallory", 9)


@pytest.mark.parametrize(
    "changed",
    [
        grant().with_tokens(token_set(refresh_token="refresh-2")),
        grant().with_intent(now=1200.0),
        grant().without_intent(),
        grant().with_login(token_set(refresh_token="refresh-2"), nonce="n", ends_at=1.0),
        grant(others=(Candidate("refresh-2", "nonce-2"),)).without_refused(),
    ],
    ids=["tokens", "intent", "no-intent", "login", "refused"],
)
def test_every_change_is_the_next_version(changed: Grant) -> None:
    assert changed.version == grant().version + 1
    assert grant().is_behind(changed)
    assert not changed.is_behind(grant())
    assert not changed.is_behind(changed)


def test_new_tokens_close_the_intent() -> None:
    asked = grant().with_intent(now=1200.0)

    renewed = asked.with_tokens(token_set(refresh_token="refresh-2"))

    assert renewed.intent is None
    assert renewed.tokens.refresh_token == "refresh-2"
    assert not renewed.answer_unknown


def test_answers_without_an_id_token_are_counted_until_one_has_it() -> None:
    tokens = token_set(refresh_token="refresh-2")
    once = grant().with_tokens(tokens, has_id_token=False)
    twice = once.with_tokens(tokens, has_id_token=False)

    counts = [each.answers_without_id_token for each in (grant(), once, twice)]
    assert counts == [0, 1, 2]
    assert [each.renews_id_token for each in (grant(), once, twice)] == [True, True, False]
    assert twice.with_tokens(tokens).answers_without_id_token == 0
    login = twice.with_login(tokens, nonce="n", ends_at=1.0)
    assert login.answers_without_id_token == 0


def test_each_change_of_the_tokens_is_one_renewal_and_no_other_change_is() -> None:
    tokens = token_set(refresh_token="refresh-2")

    renewed = grant().with_tokens(tokens)
    assert renewed.renewals == 1
    assert renewed.with_login(tokens, nonce="n", ends_at=1.0).renewals == 2
    assert renewed.with_intent(now=1200.0).without_intent().renewals == 1


def test_a_login_closes_the_intent() -> None:
    asked = grant().with_intent(now=1200.0)

    assert asked.with_login(token_set(), nonce="n", ends_at=1.0).intent is None


def test_an_intent_says_who_asks() -> None:
    asked = grant().with_intent(now=1200.0, asker="renewal-7")

    assert asked.intent == Intent(refresh_token_hash("refresh-1"), 1200.0, "renewal-7")


def test_an_intent_about_an_older_refresh_token_does_not_say_when_this_one_was_presented() -> None:
    moved = replace(grant().with_intent(now=1200.0), tokens=token_set(refresh_token="refresh-2"))

    assert moved.with_intent(now=1300.0).intent == Intent(refresh_token_hash("refresh-2"), 1300.0)


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


# A grant that a user's sessions share


def tried(found: Grant) -> list[str]:
    """The refresh tokens of a grant in the order in which they are tried."""
    return [found.tokens.refresh_token, *(other.refresh_token for other in found.others)]


def logged_in(found: Grant, number: int) -> Grant:
    """The grant after another login."""
    tokens = token_set(refresh_token=f"login-{number}")
    return found.with_login(tokens, nonce=f"nonce-{number}", ends_at=0.0)


def test_a_login_brings_its_tokens_first_and_keeps_the_others_to_try() -> None:
    found = logged_in(logged_in(grant(), 1), 2)

    assert tried(found) == ["login-2", "login-1", "refresh-1"]
    assert found.nonce == "nonce-2"


def test_of_many_logins_the_latest_are_kept() -> None:
    found = grant()
    for number in range(9):
        found = logged_in(found, number)

    assert tried(found) == ["login-8", "login-7", "login-6"]


def test_a_token_is_tried_once_only() -> None:
    found = logged_in(logged_in(logged_in(grant(), 1), 2), 1)

    assert tried(found) == ["login-1", "login-2", "refresh-1"]


def test_a_refused_token_makes_way_for_the_next_with_its_own_nonce() -> None:
    found = logged_in(grant(), 2).with_intent(now=1200.0).without_refused()

    assert tried(found) == ["refresh-1"]
    assert found.tokens.refresh_token_expires_at is None  # whose end it was is not known
    assert found.nonce == grant().nonce
    assert found.tokens.id_token == token_set().id_token
    assert found.intent is None


def test_a_success_drops_what_else_there_was_to_try() -> None:
    found = logged_in(grant(), 1).with_tokens(token_set(refresh_token="refresh-2"))

    assert tried(found) == ["refresh-2"]


def test_a_login_may_prolong_a_grant_and_never_shortens_it() -> None:
    tokens = token_set(refresh_token="refresh-2")

    longer = grant().with_login(tokens, nonce="n", ends_at=grant().ends_at + 1)
    shorter = grant().with_login(tokens, nonce="n", ends_at=grant().ends_at - 1)

    assert longer.ends_at == grant().ends_at + 1
    assert shorter.ends_at == grant().ends_at


def test_no_refresh_token_and_no_nonce_to_try_is_in_what_is_printed_of_a_grant() -> None:
    [*others] = logged_in(logged_in(grant(), 1), 2).others

    assert len(others) == 2
    assert "login-1" not in repr(others)
    assert "nonce-1" not in repr(others)


def test_where_there_is_no_refresh_token_there_is_none_to_try() -> None:
    without = replace(grant(), tokens=token_set(refresh_token=""))

    assert tried(logged_in(without, 1)) == ["login-1"]


def test_a_grant_that_has_gone_back_is_behind_though_it_was_written_to_since() -> None:
    newer = grant().with_tokens(token_set(refresh_token="refresh-2"))
    went_back = grant().with_intent(now=1.0).without_intent().with_intent(now=2.0)

    assert went_back.version > newer.version
    assert went_back.is_behind(newer)
    assert not newer.is_behind(went_back)
