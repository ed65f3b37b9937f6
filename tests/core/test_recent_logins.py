"""What a browser carries of its own logins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.recent_logins import (
    MOST_LOGINS,
    WITHIN_SECONDS,
    recent_logins,
    wait_seconds,
    with_login,
)

NOW = 1_800_000_000.5


def after(number: int, *, every: float, now: float = NOW) -> tuple[list[int], float]:
    """What is known after so many logins, and when."""
    value = ""
    for _ in range(number):
        value = with_login(recent_logins(value, now), now)
        now += every
    return recent_logins(value, now), now


def test_as_many_as_a_browser_has_tabs_are_free_and_then_it_waits_for_a_minutes_rest() -> None:
    recent, now = after(MOST_LOGINS - 1, every=1)
    assert wait_seconds(recent, now) == 0

    recent, now = after(MOST_LOGINS, every=1)
    assert 0 < wait_seconds(recent, now) <= WITHIN_SECONDS - MOST_LOGINS + 1
    assert wait_seconds(recent_logins(with_login(recent[1:], now), now + WITHIN_SECONDS), now) == 0


def test_twenty_logins_are_free_and_then_a_browser_waits_until_the_first_is_a_minute_old() -> None:
    began = int(NOW)
    recent = recent_logins(".".join(f"{began + n:x}" for n in range(20)), began + 20)

    assert wait_seconds(recent[1:], began + 20) == 0
    assert wait_seconds(recent, began + 20) == 40


def test_a_login_counts_for_a_minute_from_the_instant_at_which_it_began() -> None:
    now = int(NOW)
    value = ".".join(f"{now - ago:x}" for ago in (-1, 0, 59, 60, 61))

    assert recent_logins(value, now) == [now - 59, now]


def test_twenty_logins_are_read_of_a_cookie_and_of_a_longer_one_none() -> None:
    began = int(NOW)

    assert recent_logins(".".join([f"{began:012x}"] * 20), NOW) == [began] * 20
    assert recent_logins(".".join([f"{began:x}"] * 21), NOW) == []
    assert recent_logins(f"{began:013x}", NOW) == recent_logins(f"1.{began:013x}", NOW) == []


def test_whoever_logs_in_now_and_then_never_waits() -> None:
    recent, now = after(500, every=4)

    assert wait_seconds(recent, now) == 0


@pytest.mark.parametrize("value", ["", "x", "1.", "-1", "1..2", "f" * 400, "1." * 200 + "1"])
def test_what_no_sidecar_wrote_is_nothing(value: str) -> None:
    assert recent_logins(value, NOW) == []


@given(value=st.text(max_size=400) | st.from_regex(r"[0-9a-f]{1,12}(\.[0-9a-f]{1,12}){0,30}"))
def test_whatever_the_cookie_says_the_wait_is_a_minute_at_most_and_the_cookie_short(
    value: str,
) -> None:
    recent = recent_logins(value, NOW)

    assert 0 <= wait_seconds(recent, NOW) <= WITHIN_SECONDS
    assert len(with_login(recent, NOW)) < 300
