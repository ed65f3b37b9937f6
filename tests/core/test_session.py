import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.session import (
    ENDED_BY_OPERATOR,
    LOGOUTS,
    SESSION_SECRET_BYTES,
    EndReason,
    Session,
    SessionKey,
    form_token,
    is_form_token,
    new_session_cookie,
    provider_sid_hash,
    read_session_cookie,
    short_user_agent,
    shown_session,
    user_tag,
)
from tests.core.examples import key, properties, ring

RANDOM = bytes(range(SESSION_SECRET_BYTES))
TAG = user_tag("https://idp.example.org", "argocd", "alice")


def cookie() -> str:
    value, _ = new_session_cookie(TAG, ring(), random=RANDOM)
    return value


@properties
@given(
    random=st.binary(min_size=SESSION_SECRET_BYTES, max_size=SESSION_SECRET_BYTES),
    subject=st.text(),
)
def test_a_cookie_names_the_session_it_was_made_for(random: bytes, subject: str) -> None:
    tag = user_tag("https://idp.example.org", "argocd", subject)

    value, made = new_session_cookie(tag, ring(), random=random)

    assert read_session_cookie(value, ring()) == made
    assert made.user_tag == tag


def test_what_an_earlier_release_has_given_to_a_browser_or_the_store_holds() -> None:
    """Known answers: with others, an upgrade would end every session."""
    user = ("https://idp.example.org", "argocd")

    assert user_tag(*user, "alice") == "kHL1AV7EzJUPvDjhsQbUIw"
    assert provider_sid_hash(*user, "sid-1") == (
        "0dd3f04ab9e6a49c95127591b51ea753a9aa007be3db6349bf3186290454a400"
    )
    value, _ = new_session_cookie(TAG, ring(), random=bytes(range(32)))
    assert value == (
        "kHL1AV7EzJUPvDjhsQbUIw.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8."
        "HRFYEMLLvUg3ivX2ro30xQUj4UWn8IRVXdSsDdS9lCg"
    )
    assert form_token(SessionKey("tag", "digest"), ring()) == (
        "RYI_jyEAg08Vs-HSYfhOCSGMqv5hn04qnx-whhjajs0"
    )
    session = Session(SessionKey(TAG, "d"), "g", 1.0, 2.0, "Firefox", 5.0, "sid", "2026a")
    assert session.to_bytes() == b'["g", 1.0, 2.0, "Firefox", "sid", "2026a"]'


def test_a_session_is_named_to_people_by_the_beginning_of_a_digest() -> None:
    value, made = new_session_cookie(TAG, ring(), random=RANDOM)

    assert SessionKey(TAG, "0123456789abcdef").shown == "0123456789ab"
    assert shown_session(value, ring()) == made.shown != ""
    assert shown_session(value[:-1], ring()) == ""


@pytest.mark.parametrize(("length", "taken"), [(128, True), (129, False)])
def test_a_cookie_is_read_up_to_a_hundred_and_twenty_eight_characters(
    length: int, taken: bool
) -> None:
    value, made = new_session_cookie("t" * (length - 88), ring(), random=RANDOM)

    assert len(value) == length
    assert read_session_cookie(value, ring()) == (made if taken else None)


# Ends


def test_the_words_of_ends_are_those_that_are_stored_and_counted() -> None:
    assert {str(reason) for reason in EndReason} == {
        "absolute",
        "ended_by_provider",
        "ended_by_user",
        "idle",
        "logout",
        "lost_answer",
        "no_refresh_token",
        "other_provider",
        "provider_logout",
        "provider_lost_its_state",
        "replaced",
        "reuse_detected",
        "too_many_sessions",
        "unreadable",
        "wrong_answer",
    }
    assert ENDED_BY_OPERATOR == "ended_by_operator"


def test_nobody_is_made_to_log_in_again_who_wanted_to_be_out_or_has_another_session() -> None:
    wanted = {EndReason.LOGOUT, EndReason.PROVIDER_LOGOUT, EndReason.ENDED_BY_USER}

    assert wanted == LOGOUTS
    assert {reason for reason in EndReason if not reason.forces_login} == (
        wanted | {EndReason.REPLACED}
    )


# Values


def test_the_store_learns_the_hash_of_the_secret_and_never_the_secret() -> None:
    value, made = new_session_cookie(TAG, ring(), random=RANDOM)

    _, secret, _ = value.split(".")
    assert made.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr(made)


def test_a_cookie_with_any_one_character_changed_names_nothing() -> None:
    value = cookie()

    for i, old in enumerate(value):
        changed = value[:i] + ("A" if old != "A" else "B") + value[i + 1 :]
        assert read_session_cookie(changed, ring()) is None


def test_one_users_tag_does_not_go_with_another_users_secret() -> None:
    other = user_tag("https://idp.example.org", "argocd", "mallory")
    _, secret, mac = cookie().split(".")

    assert read_session_cookie(f"{other}.{secret}.{mac}", ring()) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b",
        "a.b.c.d",
        "é.b.c",
        "a.b.é",
        "\udce9.b.c",
        "x" * 5000,
        ".".join("x" * 999),
    ],
)
def test_what_is_no_cookie_of_ours_names_nothing_and_is_no_crash(value: str) -> None:
    assert read_session_cookie(value, ring()) is None


def test_a_cookie_longer_than_ours_is_not_even_hashed() -> None:
    tag, secret = "t" * 100, "s" * 100
    mac = ring().sign(f"{tag}.{secret}")

    assert read_session_cookie(f"{tag}.{secret}.{mac}", ring()) is None


def test_a_cookie_outlives_the_rotation_of_its_key_but_not_its_retirement() -> None:
    value = cookie()

    assert read_session_cookie(value, ring(key("new", 2), key("2026a"))) is not None
    assert read_session_cookie(value, ring(key("new", 2))) is None


@pytest.mark.parametrize("length", [0, 16, SESSION_SECRET_BYTES - 1, SESSION_SECRET_BYTES + 1])
def test_no_session_is_made_with_too_little_random(length: int) -> None:
    with pytest.raises(ValueError, match=r"^a session needs 32 random bytes$"):
        new_session_cookie(TAG, ring(), random=bytes(length))


def test_a_cookie_value_needs_no_quoting() -> None:
    value = cookie()

    assert set(value) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert len(value) <= 128


@properties
@given(
    first=st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4)),
    second=st.tuples(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4)),
)
def test_two_users_never_share_a_tag(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    assert (user_tag(*first) == user_tag(*second)) == (first == second)


def test_a_tag_is_128_bits_without_a_name_in_it() -> None:
    tag = user_tag("https://idp.example.org", "argocd", "alice")

    assert len(tag) == 22
    assert "alice" not in tag


@pytest.mark.parametrize(
    ("first", "second"),
    [(("a", "bc", "d"), ("ab", "c", "d")), (("a", "b", 'c","d'), ("a", 'b","c', "d"))],
)
def test_parts_of_a_tag_do_not_run_into_each_other(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    assert user_tag(*first) != user_tag(*second)


@properties
@given(
    grant_id=st.text(),
    created_at=st.floats(0, 1e10),
    ends_at=st.floats(0, 1e10),
    user_agent=st.text(),
    provider_sid=st.text(),
    signed_by=st.text(),
)
def test_a_session_comes_back_from_storage_as_it_went(
    grant_id: str,
    created_at: float,
    ends_at: float,
    user_agent: str,
    provider_sid: str,
    signed_by: str,
) -> None:
    key = SessionKey(TAG, "d")
    session = Session(key, grant_id, created_at, ends_at, user_agent, 5.0, provider_sid, signed_by)

    read = Session.from_bytes(session.key, session.to_bytes(), last_seen_at=5.0)

    assert read == session


def test_of_a_session_of_an_earlier_release_nobody_knows_who_signed_its_cookie() -> None:
    plain = json.dumps(["grant-1", 1.0, 2.0, "Firefox"]).encode()

    assert Session.from_bytes(SessionKey(TAG, "d"), plain, last_seen_at=5.0).signed_by == ""


def test_of_a_session_of_a_newer_release_all_is_read_that_is_known_here() -> None:
    plain = json.dumps(["grant-1", 1.0, 2.0, "Firefox", "sid", "2026a", "new", 7]).encode()

    assert Session.from_bytes(SessionKey(TAG, "d"), plain, last_seen_at=5.0) == Session(
        SessionKey(TAG, "d"), "grant-1", 1.0, 2.0, "Firefox", 5.0, "sid", "2026a"
    )


def test_of_a_session_nothing_is_known_that_nobody_has_said() -> None:
    session = Session(SessionKey(TAG, "d"), "grant-1", 1.0, 2.0, "Firefox")

    assert (session.last_seen_at, session.provider_sid, session.signed_by) == (0.0, "", "")


def test_a_touch_changes_nothing_of_what_is_sealed() -> None:
    session = Session(SessionKey(TAG, "d"), "grant-1", 1.0, 2.0, "Firefox", last_seen_at=1.0)
    touched = Session(SessionKey(TAG, "d"), "grant-1", 1.0, 2.0, "Firefox", last_seen_at=9.0)

    assert session.to_bytes() == touched.to_bytes()


def test_a_user_agent_is_kept_short_and_without_controls() -> None:
    assert short_user_agent("Mozilla/5.0\r\n\x1b[31m\u202e(X11)") == "Mozilla/5.0[31m(X11)"
    assert short_user_agent("x" * 10_000) == "x" * 200


def test_a_session_remembers_the_providers_session_and_an_older_record_has_none() -> None:
    named = SessionKey(TAG, "digest")
    session = Session(named, "grant", 1.0, 9.0, "agent", 2.0, "a-sid")

    assert Session.from_bytes(named, session.to_bytes(), last_seen_at=2.0) == session
    older = b'["grant", 1.0, 9.0, "agent"]'
    assert Session.from_bytes(named, older, last_seen_at=2.0).provider_sid == ""


def test_a_form_token_is_good_for_its_own_session_alone() -> None:
    own, other = SessionKey(TAG, "one"), SessionKey(TAG, "another")
    token = form_token(own, ring())

    assert is_form_token(own, token, ring())
    assert not is_form_token(other, token, ring())
    for wrong in ("", token[:-1], token + "x", "é", "\udce9", "x" * 1000):
        assert not is_form_token(own, wrong, ring())


def test_neither_a_cookies_mac_nor_another_rings_passes_for_a_form_token() -> None:
    value, made = new_session_cookie(TAG, ring(), random=RANDOM)

    assert not is_form_token(made, value.rpartition(".")[2], ring())
    assert not is_form_token(made, form_token(made, ring(key("other", 2))), ring())
