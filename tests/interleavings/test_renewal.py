"""Renewals that meet: every order of the steps of two and three replicas.

`tell` explores a story and prints how many schedules it had (`pytest -rP` shows it).
"""

import pytest

from tests.interleavings.explorer import Bounds
from tests.interleavings.stories import Story, tell

EVERY_ORDER = Bounds(preemptions=None)
TWO = {"one": ("use", "A"), "two": ("use", "B")}
THREE = {**TWO, "three": ("use", "C")}
TABS = {"one": ("use", "A"), "tab": ("use", "A"), "two": ("use", "B")}
IN_THE_WINDOW, ENDED = 200.0, 301.0


@pytest.mark.parametrize("age", [IN_THE_WINDOW, ENDED])
def test_two_replicas_that_renew_at_once_ask_once_and_serve_both(age: float) -> None:
    tell(Story(TWO, age=age, asks=1), EVERY_ORDER)


@pytest.mark.parametrize("age", [IN_THE_WINDOW, ENDED])
def test_three_replicas_that_renew_at_once_ask_once_and_serve_all(age: float) -> None:
    tell(Story(THREE, age=age, asks=1), EVERY_ORDER)


def test_two_tabs_at_one_replica_and_one_at_another_ask_once() -> None:
    tell(Story(TABS, asks=1), EVERY_ORDER)


def test_replies_that_come_late_change_nothing() -> None:
    tell(Story(TWO, asks=1), Bounds(preemptions=1, late=True))


def test_while_replies_take_as_long_as_it_takes_nobody_asks_twice() -> None:
    tell(Story(TWO, slow=True), Bounds(preemptions=1, early=1))


def test_a_session_that_joins_during_a_renewal_loses_neither() -> None:
    for age in (IN_THE_WINDOW, ENDED):
        callers = {"one": ("use", "A"), "joins": ("join", "B")}
        tell(Story(callers, age=age), EVERY_ORDER)


def test_two_sessions_that_join_during_a_renewal_lose_nothing() -> None:
    callers = {"one": ("use", "A"), "joins": ("join", "B"), "joins too": ("join", "C")}

    tell(Story(callers), Bounds(preemptions=1))
