"""What a process knows, as a plain data structure. Instants are `Clock.monotonic()`."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.grant import Candidate, Grant
from sidecar.core.session import Session, SessionKey
from sidecar.flows.cache import (
    HOLDS_SECONDS,
    IN_USE_SECONDS,
    REMEMBERED_SECONDS,
    Cache,
    grant_name,
    session_name,
)
from sidecar.ports import RecordName
from tests.core import examples
from tests.core.examples import properties, token_set

MIB = 1024 * 1024
START = 1000.0
LAPTOP = SessionKey("alice", "laptop")


def a_session(key: SessionKey = LAPTOP, grant_id: str = "grant-1", agent: str = "") -> Session:
    return Session(key, grant_id, 1000.0, 600_000.0, agent, last_seen_at=1000.0)


def a_grant(name: str = "grant-1", version: int = 1, renewals: int = 0) -> Grant:
    return examples.grant(id=name, version=version, renewals=renewals)


def note(
    cache: Cache,
    session: Session | None = None,
    grant: Grant | None = None,
    *,
    asked_at: float = START,
    now: float = START,
) -> SessionKey:
    """A session and its grant, as one answer brings them."""
    session = session or a_session()
    grant = grant or a_grant(session.grant_id)
    cache.note_session(session, f"write of {session.key.digest}", asked_at, now)
    cache.note_grant(grant, f"write of {grant.id}", asked_at, now)
    return session.key


def write_of(name: RecordName) -> str:
    return f"write of {name.id}"


def confirm(cache: Cache, now: float) -> list[RecordName]:
    """A round in which nothing has changed; what was asked for."""
    names = [name for name, _ in cache.to_confirm(now)]
    for name in names:
        cache.confirmed(name, write_of(name), now, now)
    return names


@pytest.fixture
def cache() -> Cache:
    return Cache(MIB)


# What may be relied on


@pytest.mark.parametrize("earlier", ["session", "grant"])
def test_what_was_answered_holds_for_a_second_from_when_it_was_asked(
    cache: Cache, earlier: str
) -> None:
    of_session, of_grant = (0.0, 0.8) if earlier == "session" else (0.8, 0.0)
    told_at = START + 0.9
    cache.note_session(a_session(), "w", START + of_session, told_at)
    cache.note_grant(a_grant(), "w", START + of_grant, told_at)

    assert cache.live(LAPTOP, START + HOLDS_SECONDS - 0.001)
    assert cache.live(LAPTOP, START + HOLDS_SECONDS) is None


@pytest.mark.parametrize("earlier", ["session", "grant"])
def test_a_confirmation_holds_for_a_second_from_when_it_was_asked(
    cache: Cache, earlier: str
) -> None:
    key = note(cache)
    for name in (session_name(key), grant_name("alice", "grant-1")):
        asked_at = START + (5.0 if name.kind == earlier else 5.8)
        cache.confirmed(name, write_of(name), asked_at, START + 5.9)

    assert cache.live(key, START + 5.0 + HOLDS_SECONDS - 0.001)
    assert cache.live(key, START + 5.0 + HOLDS_SECONDS) is None


@pytest.mark.parametrize("name", [session_name(LAPTOP), grant_name("alice", "grant-1")])
def test_a_session_and_its_grant_must_both_be_confirmed(cache: Cache, name: RecordName) -> None:
    note(cache)

    cache.confirmed(name, write_of(name), START + 5, START + 5)

    assert cache.live(LAPTOP, START + 5) is None


def test_a_session_without_its_grant_is_not_relied_on(cache: Cache) -> None:
    cache.note_session(a_session(), "w", START, START)

    assert cache.live(LAPTOP, START) is None
    assert cache.unconfirmed(LAPTOP, START, START) is None


def test_a_confirmation_of_what_was_known_before_says_nothing_of_what_is_known_now(
    cache: Cache,
) -> None:
    key = note(cache)
    for name in (session_name(key), grant_name("alice", "grant-1")):
        cache.confirmed(name, "an earlier write", START + 5, START + 5)

    assert cache.live(key, START + 5) is None


def test_a_confirmation_that_comes_late_takes_no_time_away(cache: Cache) -> None:
    key = note(cache, asked_at=START + 0.5, now=START + 0.6)
    for name in (session_name(key), grant_name("alice", "grant-1")):
        cache.confirmed(name, write_of(name), START, START + 0.9)

    assert cache.live(key, START + 0.5 + HOLDS_SECONDS - 0.001)


@pytest.mark.parametrize(("of_session", "of_grant"), [(0, 3), (3, 0), (0, 0)])
def test_what_was_not_confirmed_since_an_instant_is_told_apart_by_the_older_of_the_two(
    cache: Cache, of_session: float, of_grant: float
) -> None:
    note(cache)
    session, grant = session_name(LAPTOP), grant_name("alice", "grant-1")
    cache.confirmed(session, write_of(session), START + of_session, START + 9)
    cache.confirmed(grant, write_of(grant), START + of_grant, START + 9)

    assert cache.unconfirmed(LAPTOP, START, START)
    assert cache.unconfirmed(LAPTOP, START + 0.001, START) is None


# What is confirmed


def test_what_was_used_or_written_in_the_last_minute_is_confirmed(cache: Cache) -> None:
    key = note(cache)
    both = [(session_name(key), "write of laptop"), (grant_name("alice", "grant-1"), "new write")]
    cache.note_grant(a_grant(version=2), "new write", START + 30, START + 30)

    assert cache.to_confirm(START + IN_USE_SECONDS) == both
    assert cache.to_confirm(START + IN_USE_SECONDS + 1) == both[1:]
    assert cache.to_confirm(START + 30 + IN_USE_SECONDS + 1) == []


def test_a_request_counts_as_use_of_the_session_and_of_its_grant(cache: Cache) -> None:
    key = note(cache)

    assert cache.live(key, START + 0.5)

    assert len(cache.to_confirm(START + 0.5 + IN_USE_SECONDS)) == 2
    assert cache.to_confirm(START + 0.501 + IN_USE_SECONDS) == []


def test_to_be_looked_after_is_no_use(cache: Cache) -> None:
    note(cache)
    for second in range(int(IN_USE_SECONDS)):
        confirm(cache, START + second)
        cache.note_grant(a_grant(), "write of grant-1", START + second, START + second, used=False)

    assert cache.to_confirm(START + IN_USE_SECONDS + 1) == []


def test_a_session_that_something_holds_open_is_confirmed_for_as_long(cache: Cache) -> None:
    key = note(cache)
    for minute in range(60):
        now = START + 60 * minute
        cache.use(key, now)
        assert confirm(cache, now + 0.5) == [session_name(key), grant_name("alice", "grant-1")]

    assert cache.to_confirm(START + 3600 + 60) == []


def test_to_hold_open_what_is_not_known_is_nothing(cache: Cache) -> None:
    cache.use(LAPTOP, START)

    assert cache.to_confirm(START) == []


def test_an_end_is_confirmed_for_ten_minutes_and_then_forgotten(cache: Cache) -> None:
    key = note(cache)

    cache.note_end(session_name(key), "logout", "the end", START, fresh=True)

    assert (session_name(key), "the end") in cache.to_confirm(START + REMEMBERED_SECONDS)
    assert confirm(cache, START + REMEMBERED_SECONDS + 1) == []
    assert not cache.ends


# Ends, and late answers


@pytest.mark.parametrize("kind", ["session", "grant"])
def test_nothing_un_ends_what_has_ended(cache: Cache, kind: str) -> None:
    key = note(cache)
    name = session_name(key) if kind == "session" else grant_name("alice", "grant-1")
    cache.note_end(name, "logout", "the end", START, fresh=True)

    note(cache, asked_at=START + 1, now=START + 1)
    cache.note_grant(a_grant(version=9, renewals=9), "w", START + 1, START + 1, put_back=True)
    cache.confirmed(name, write_of(name), START + 1, START + 1)

    assert name in cache.ends
    assert cache.live(key, START + 1) is None
    assert cache.unconfirmed(key, 0.0, START) is None


def test_what_has_ended_is_not_kept_for_any_other_purpose(cache: Cache) -> None:
    key = note(cache)

    cache.note_end(session_name(key), "logout", "the end", START, fresh=True)
    cache.note_end(grant_name("alice", "grant-1"), "logout", "the end", START, fresh=True)

    assert not cache.sessions
    assert not cache.grants
    assert cache.bytes == 0


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (a_grant(version=4, renewals=2), "fewer changes"),
        (a_grant(version=6, renewals=1), "older tokens, though a store counts anew"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_late_answer_never_replaces_a_newer_grant(cache: Cache, late: Grant, why: str) -> None:
    newer = a_grant(version=5, renewals=2)
    key = note(cache, grant=newer)

    cache.note_grant(late, "late", START + 0.5, START + 0.5)

    live = cache.live(key, START + 0.5)
    assert live
    assert live.grant == newer, why


def test_a_grant_that_is_as_new_is_taken_since_it_is_what_stands_there(cache: Cache) -> None:
    note(cache)

    cache.note_grant(a_grant(), "another write", START + 0.5, START + 0.5)

    assert (grant_name("alice", "grant-1"), "another write") in cache.to_confirm(START + 1)


def test_when_a_grant_was_put_back_is_known_of_its_later_versions_too(cache: Cache) -> None:
    cache.note_grant(a_grant(), "w1", START, START + 0.1, put_back=True)
    cache.note_grant(a_grant(version=2), "w2", START + 1, START + 1.1)

    assert cache.grants["grant-1"].put_back_at == START + 0.1


def test_a_use_that_the_store_knows_of_is_known_here(cache: Cache) -> None:
    key = note(cache)

    cache.seen(a_session(), 2000.0)
    cache.seen(a_session(SessionKey("alice", "phone")), 2000.0)

    live = cache.live(key, START)
    assert live
    assert live.session == replace(a_session(), last_seen_at=2000.0)


def test_the_sessions_of_a_shared_grant_are_found(cache: Cache) -> None:
    phone, tablet = SessionKey("alice", "phone"), SessionKey("alice", "tablet")
    note(cache)
    note(cache, a_session(phone))
    note(cache, a_session(tablet, "grant-2"))

    assert cache.sessions_of("grant-1") == [LAPTOP, phone]


# Bounds


def test_what_was_not_confirmed_for_ten_minutes_is_forgotten(cache: Cache) -> None:
    key = note(cache, asked_at=START - 5, now=START)

    cache.to_confirm(START + REMEMBERED_SECONDS)
    remembered = cache.unconfirmed(key, 0.0, START)
    cache.to_confirm(START + REMEMBERED_SECONDS + 1)

    assert remembered
    assert not cache.sessions
    assert not cache.grants
    assert cache.bytes == 0


def test_what_was_used_least_lately_goes_first(cache: Cache) -> None:
    keys = [SessionKey("alice", f"s{number}") for number in range(2000)]
    used, unused = keys[0], keys[1]
    for number, key in enumerate(keys):
        now = START + number / 10_000
        note(cache, a_session(key, f"grant-{number}"), asked_at=now, now=now)
        cache.live(used, now)

    assert cache.bytes <= MIB
    assert cache.live(used, START + 0.3)
    assert cache.live(keys[-1], START + 0.3)
    assert cache.live(unused, START + 0.3) is None
    kept = [key for key in keys[1:] if cache.live(key, START + 0.3)]
    assert kept == keys[-len(kept) :]


def test_room_is_made_for_a_tenth_at_once(cache: Cache) -> None:
    number = 0
    before = 0
    while cache.bytes >= before:
        before = cache.bytes
        note(cache, a_session(SessionKey("alice", f"s{number}"), f"grant-{number}"))
        number += 1

    assert 0.85 * MIB < cache.bytes <= 0.91 * MIB


def test_what_is_larger_than_all_the_room_is_not_kept() -> None:
    cache = Cache(10_000)
    key = note(cache, grant=examples.grant(token_set(id_token="x" * 20_000)))

    assert cache.live(key, START) is None
    assert cache.bytes <= 10_000


def test_large_tokens_and_long_names_of_browsers_are_counted(cache: Cache) -> None:
    note(cache)
    plain = cache.bytes

    note(cache, a_session(agent="x" * 200), examples.grant(token_set(access_token="x" * 5000)))

    assert cache.bytes == plain + 200 + 5000 - len("access-1")


def test_ends_are_bounded_and_the_oldest_goes_first(cache: Cache) -> None:
    names = [session_name(SessionKey("alice", f"s{number}")) for number in range(50_010)]
    for name in names:
        cache.note_end(name, "logout", "w", START, fresh=True)

    assert len(cache.ends) == 50_000
    assert names[9] not in cache.ends
    assert names[10] in cache.ends


# Whatever happens to it

_KEYS = [SessionKey(tag, f"s{number}") for tag in ("alice", "bob") for number in range(6)]
_KEY = st.sampled_from(_KEYS)
_GRANT_ID = st.sampled_from(["grant-1", "grant-2", "grant-3", "grant-4"])
_LENGTH = st.integers(0, 4000)
_VERSION = st.integers(1, 4)
_PAUSE = st.sampled_from([0.0, 0.4, 1.0, 61.0, 599.0])

_Step = Callable[[Cache, float], object]


def _note_session(key: SessionKey, grant_id: str, length: int) -> _Step:
    session = a_session(key, grant_id, "x" * (length % 200))
    return lambda cache, now: cache.note_session(session, write_of(session_name(key)), now, now)


def _note_grant(grant_id: str, version: int, renewals: int, length: int) -> _Step:
    grant = examples.grant(
        token_set(id_token="x" * length), id=grant_id, version=version, renewals=renewals
    )
    return lambda cache, now: cache.note_grant(grant, f"write of {grant_id}", now, now)


def _end_session(key: SessionKey) -> _Step:
    return lambda cache, now: cache.note_end(session_name(key), "logout", "w", now, fresh=True)


def _end_grant(grant_id: str) -> _Step:
    return lambda cache, now: cache.note_end(
        grant_name("alice", grant_id), "logout", "w", now, fresh=True
    )


_STEP: st.SearchStrategy[_Step] = st.one_of(
    st.builds(_note_session, _KEY, _GRANT_ID, _LENGTH),
    st.builds(_note_grant, _GRANT_ID, _VERSION, _VERSION, _LENGTH),
    st.builds(_end_session, _KEY),
    st.builds(_end_grant, _GRANT_ID),
    st.builds(lambda key: lambda cache, _: cache.forget(session_name(key)), _KEY),
    st.builds(lambda g: lambda cache, _: cache.forget(grant_name("alice", g)), _GRANT_ID),
    st.builds(lambda key: lambda cache, now: cache.live(key, now), _KEY),
    st.builds(lambda key: lambda cache, now: cache.use(key, now), _KEY),
    st.builds(lambda key: lambda cache, now: cache.seen(a_session(key), now), _KEY),
    st.just(confirm),
)


def _counted_anew(cache: Cache) -> int:
    """The bytes of a cache that was given the same things and nothing else."""
    fresh = Cache(10**9)
    for session in cache.sessions.values():
        fresh.note_session(session.value, session.write_id, 0.0, 0.0)
    for grant in cache.grants.values():
        fresh.note_grant(grant.value, grant.write_id, 0.0, 0.0)
    return fresh.bytes


@properties
@given(st.integers(3000, 40_000), st.lists(st.tuples(_PAUSE, _STEP), max_size=60))
def test_whatever_happens_the_count_is_right_and_within_bounds_and_ends_stay(
    max_bytes: int, steps: list[tuple[float, _Step]]
) -> None:
    cache, now = Cache(max_bytes), START
    for pause, step in steps:
        now += pause
        newest = {grant_id: known.value for grant_id, known in cache.grants.items()}
        step(cache, now)

        assert cache.bytes == _counted_anew(cache)
        assert cache.bytes <= max_bytes
        assert not cache.ends.keys() & {session_name(key) for key in cache.sessions}
        assert not cache.ends.keys() & {grant_name("alice", grant_id) for grant_id in cache.grants}
        for grant_id, known in cache.grants.items():
            assert grant_id not in newest or not known.value.is_behind(newest[grant_id])


def test_an_end_that_was_old_when_it_was_seen_is_answered_and_not_written_again() -> None:
    cache = Cache(10**9)
    name = session_name(LAPTOP)

    cache.note_end(name, "logout", "the end", START, fresh=False)

    assert cache.ends[name].reason == "logout"
    assert cache.to_confirm(START + 1) == []


def test_what_is_served_while_the_store_is_away_is_in_use(cache: Cache) -> None:
    note(cache)

    assert cache.unconfirmed(LAPTOP, START, START + 300)

    assert len(cache.to_confirm(START + 330)) == 2


def test_every_refresh_token_of_a_grant_is_counted(cache: Cache) -> None:
    cache.note_grant(a_grant(version=1), "w", START, START)
    before = cache.bytes

    others = (Candidate("x" * 50_000, "a-nonce"),)
    cache.note_grant(replace(a_grant(version=2), others=others), "w", START, START)

    assert cache.bytes - before == 50_000


def test_people_with_two_browsers_are_counted_once() -> None:
    cache = Cache(MIB)
    for key in (LAPTOP, SessionKey("alice", "phone"), SessionKey("bob", "laptop")):
        note(cache, a_session(key))

    assert cache.count() == {"sessions": 3, "people": 2}


def test_a_use_that_is_noted_after_its_session_has_ended_brings_nothing_back(cache: Cache) -> None:
    key = note(cache)
    cache.note_end(session_name(key), "logout", "end", START, fresh=True)

    cache.seen(a_session(key), START + 1)

    assert not cache.knows(session_name(key))
    assert cache.live(key, START) is None


def test_what_is_open_keeps_its_session_in_use_though_its_grant_is_not_known(cache: Cache) -> None:
    cache.note_session(a_session(), "w", START, START)

    cache.use(LAPTOP, START + 2 * IN_USE_SECONDS)

    in_use = [name for name, _ in cache.to_confirm(START + 2 * IN_USE_SECONDS)]
    assert in_use == [session_name(LAPTOP)]
