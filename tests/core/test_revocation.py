"""A revocation in the queue: what it looks like, and when it is tried again."""

import itertools

import pytest

from sidecar.core.revocation import (
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


def test_an_entry_of_an_earlier_or_a_newer_release_is_read() -> None:
    assert ONE.name == "ab12 1800000000"
    assert to_entry(ONE.name, b"sealed") == b"ab12 1800000000 sealed"
    assert ONE.to_bytes() == b'["https://idp", "argo-cd", "tag", "a-refresh-token"]'
    newer = b'["https://idp", "argo-cd", "tag", "a-refresh-token", "new", 7]'
    assert Revocation.from_bytes(ONE.name, newer) == ONE


def test_a_name_that_nobody_here_has_written_is_read_all_the_same() -> None:
    found = Revocation.from_bytes("a\tb 1800", ONE.to_bytes())

    assert (found.id, found.began_at) == ("a\tb", 1800.0)


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
    assert pauses[:4] == [5.0, 5.0, 10.0, 20.0]
    assert max(pauses) == 600.0
    assert 86_400 <= tries[-1] < 87_000
    assert len(tries) < 200


def test_a_day_after_it_began_a_revocation_is_given_up() -> None:
    assert next_try_at(100.0, 86_499.9, random=0.0) == 86_499.9 + 600
    assert next_try_at(100.0, 86_500.0, random=0.0) is None


def test_tries_are_spread() -> None:
    tries = [next_try_at(0.0, 100.0, random=share) for share in (0.0, 0.5, 0.75)]

    assert tries == [200.0, 210.0, 215.0]
