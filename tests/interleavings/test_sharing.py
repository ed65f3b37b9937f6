"""One refresh token per user, as at Dex: a login deletes the one before, and ends no session."""

import pytest

from tests.interleavings.explorer import Bounds
from tests.interleavings.stories import Story, tell

EVERY_ORDER = Bounds(preemptions=None)
SWITCHES = Bounds(preemptions=2)
IN_THE_WINDOW, ENDED = 200.0, 301.0
AGES = pytest.mark.parametrize("age", [IN_THE_WINDOW, ENDED])


@pytest.mark.parametrize("age", [None, IN_THE_WINDOW, ENDED])
def test_two_logins_in_any_order_of_exchange_and_store_leave_both_logged_in(
    age: float | None,
) -> None:
    callers = {"laptop": ("log in", "A"), "phone": ("log in", "B")}

    tell(Story(callers, age=age, shared=True), SWITCHES)


def test_three_logins_at_once_leave_all_logged_in() -> None:
    callers = {"laptop": ("log in", "A"), "phone": ("log in", "B"), "tablet": ("log in", "C")}

    tell(Story(callers, age=None, shared=True), Bounds(preemptions=1))


@AGES
def test_a_login_during_a_renewal_leaves_both_logged_in(age: float) -> None:
    callers = {"one": ("use", "A"), "phone": ("log in", "B")}

    tell(Story(callers, age=age, shared=True), SWITCHES)


@AGES
def test_a_logout_of_one_session_leaves_the_other_logged_in(age: float) -> None:
    callers = {"bye": ("log out", "A"), "phone": ("log in", "B"), "one": ("use", "C")}

    tell(Story(callers, age=age, shared=True), Bounds(preemptions=1))


def test_a_login_beside_the_last_logout_is_logged_in_whichever_comes_first() -> None:
    callers = {"bye": ("log out", "A"), "phone": ("log in", "B")}

    tell(Story(callers, shared=True), SWITCHES)


@pytest.mark.parametrize("wrong", ["store", "cancel", "kill", "turned away"])
def test_a_login_during_a_renewal_survives_one_fault(wrong: str) -> None:
    callers = {"one": ("use", "A"), "phone": ("log in", "B")}
    ends = frozenset({"lost_answer", "ended_by_provider"})

    tell(Story(callers, shared=True, wrong=(wrong,), ends=ends), Bounds(preemptions=1, faults=1))
