"""A logout that meets renewals and joins: it is final, and the provider is told."""

import pytest

from tests.interleavings.explorer import Bounds
from tests.interleavings.stories import Story, tell

EVERY_ORDER = Bounds(preemptions=None)
LOST = frozenset({"lost_answer", "ended_by_provider"})
MEETS_RENEWAL = {"one": ("use", "A"), "bye": ("log out", "B")}
MEETS_JOIN = {"joins": ("join", "A"), "bye": ("log out", "B")}
IN_THE_WINDOW, ENDED = 200.0, 301.0


@pytest.mark.parametrize("age", [IN_THE_WINDOW, ENDED])
def test_after_a_logout_that_met_a_renewal_nobody_is_served_and_the_grant_is_revoked(
    age: float,
) -> None:
    tell(Story(MEETS_RENEWAL, age=age), EVERY_ORDER)
    # A logout with a token that has ended looks for its renewal a hundred times: too many orders.
    switches = 1 if age < ENDED else 0
    tell(Story(MEETS_RENEWAL, age=age, slow=True), Bounds(preemptions=switches, early=1))


def test_after_a_logout_that_met_two_renewals_nobody_is_served() -> None:
    tell(Story({**MEETS_RENEWAL, "two": ("use", "C")}), Bounds(preemptions=2))


def test_a_session_that_joined_before_the_last_logout_lives_and_none_joins_after_it() -> None:
    tell(Story(MEETS_JOIN), EVERY_ORDER)
    tell(Story({**MEETS_JOIN, "one": ("use", "C")}), Bounds(preemptions=1))


def test_two_logouts_of_one_session_both_end() -> None:
    tell(Story({"bye": ("log out", "A"), "bye bye": ("log out", "B")}), EVERY_ORDER)


def test_a_session_that_a_new_login_replaced_is_served_by_nobody() -> None:
    tell(Story({"one": ("use", "A"), "anew": ("log in anew", "B")}), EVERY_ORDER)


@pytest.mark.parametrize("wrong", ["store", "provider", "turned away", "cancel", "jump", "cut off"])
def test_a_logout_is_final_whatever_fails_meanwhile(wrong: str) -> None:
    switches = 1 if wrong in ("store", "provider") else 0
    tell(Story(MEETS_RENEWAL, wrong=(wrong,), ends=LOST), Bounds(preemptions=switches, faults=1))


@pytest.mark.parametrize("wrong", ["kill", "pause"])
def test_a_logout_is_final_though_a_replica_dies_or_stands_still(wrong: str) -> None:
    # Before the token's end, where a logout renews nothing: its looks for a renewal are too many.
    story = Story(MEETS_RENEWAL, age=IN_THE_WINDOW, wrong=(wrong,), ends=LOST)
    tell(story, Bounds(preemptions=0, faults=1))


@pytest.mark.parametrize("wrong", ["store", "cancel", "kill"])
def test_a_session_joins_or_does_not_whatever_goes_wrong(wrong: str) -> None:
    tell(Story(MEETS_JOIN, wrong=(wrong,), ends=LOST), Bounds(preemptions=0, faults=1))
