"""A revocation in the queue: what it looks like, and when it is tried again."""

import itertools

import pytest

from sidecar.core.revocation import (
    GIVE_UP_SECONDS,
    LATEST_SECONDS,
    SOONEST_SECONDS,
    Revocation,
    began_at,
    next_try_at,
    read_entry,
    to_entry,
)

ONE = Revocation("ab12", 1_800_000_000.0, "https://idp", "argo-cd", "tag", "a-refresh-token")


def test_a_revocation_comes_back_from_its_entry_as_it_was() -> None:
    name, sealed = read_entry(to_entry(ONE.name, b" sealed \x00\xff "))

    assert sealed == b" sealed \x00\xff "
    assert Revocation.from_bytes(name, ONE.to_bytes()) == ONE
    assert began_at(name) == ONE.began_at


def test_a_refresh_token_is_not_shown() -> None:
    assert "a-refresh-token" not in repr(ONE)
    assert "a-refresh-token" not in ONE.name


@pytest.mark.parametrize("entry", [b"", b"ab12", b"ab12 1800", b"ab12 soon sealed", b"\xff 1 x"])
def test_what_is_no_entry_is_told(entry: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any of three kinds
        read_entry(entry)


def test_the_pauses_double_up_to_ten_minutes_and_end_after_a_day() -> None:
    tries, now = [0.0], 0.0
    while (at := next_try_at(0.0, now, random=0.0)) is not None:
        tries.append(at)
        now = at

    pauses = [later - at for at, later in itertools.pairwise(tries)]
    assert pauses[0] == SOONEST_SECONDS
    assert pauses[1:4] == [5.0, 10.0, 20.0]
    assert max(pauses) == LATEST_SECONDS
    assert GIVE_UP_SECONDS <= tries[-1] < GIVE_UP_SECONDS + LATEST_SECONDS
    assert len(tries) < 200


def test_tries_are_spread() -> None:
    at, later = (next_try_at(0.0, 100.0, random=share) for share in (0.0, 0.99))

    assert at == 200.0
    assert later
    assert at < later <= 220.0
