"""One thing goes wrong, at each point of two renewals that meet: no refresh token is lost.

Under strict rotation one loss cannot be helped: the answer that only a process had that was
killed, or an answer that never came. The stories excuse these, and nothing else.
"""

import pytest

from tests.interleavings.explorer import Bounds
from tests.interleavings.stories import Story, tell

ONE_FAULT = Bounds(preemptions=0, faults=1)
ONE_FAULT_AND_A_SWITCH = Bounds(preemptions=1, faults=1)
LOST = frozenset({"lost_answer"})
TWO = {"one": ("use", "A"), "two": ("use", "B")}
THREE = {**TWO, "three": ("use", "C")}
IN_THE_WINDOW, ENDED = 200.0, 301.0
_SWITCHES = {IN_THE_WINDOW: ONE_FAULT, ENDED: ONE_FAULT_AND_A_SWITCH}
AGES = pytest.mark.parametrize("age", [IN_THE_WINDOW, ENDED])


@AGES
def test_a_store_call_that_fails_or_whose_reply_is_lost_loses_no_token(age: float) -> None:
    tell(Story(TWO, age=age, wrong=("store",)), _SWITCHES[age])


def test_two_store_calls_that_fail_lose_no_token() -> None:
    tell(Story({"one": ("use", "A")}, wrong=("store",)), Bounds(preemptions=1, faults=2))


@AGES
def test_a_replica_that_is_cut_off_from_the_store_keeps_its_answer(age: float) -> None:
    tell(Story(TWO, age=age, wrong=("cut off",), ends=LOST), ONE_FAULT)


@AGES
def test_an_answer_that_never_came_is_asked_for_once_more_when_the_token_has_ended(
    age: float,
) -> None:
    tell(Story(TWO, age=age, wrong=("provider",), ends=LOST), _SWITCHES[age])


@AGES
def test_a_request_turned_away_at_the_door_costs_nothing(age: float) -> None:
    tell(Story(TWO, age=age, wrong=("turned away",)), _SWITCHES[age])


@AGES
def test_a_browser_that_leaves_stops_no_renewal(age: float) -> None:
    tell(Story(TWO, age=age, wrong=("cancel",)), ONE_FAULT)


@AGES
def test_a_killed_replica_takes_no_token_with_it_but_an_unsaved_answer(age: float) -> None:
    tell(Story(TWO, age=age, wrong=("kill",), ends=LOST), ONE_FAULT)


@AGES
def test_a_lease_that_ends_in_the_middle_makes_nobody_ask_twice(age: float) -> None:
    tell(Story(TWO, age=age, wrong=("jump",)), _SWITCHES[age])


@AGES
def test_a_replica_that_stood_still_past_its_lease_presents_no_spent_token(age: float) -> None:
    tell(Story(TWO, age=age, wrong=("pause",), ends=LOST), ONE_FAULT)


def test_who_wakes_up_too_late_leaves_the_intent_of_the_one_that_asks_now() -> None:
    callers = {"one": ("use", "A"), "two": ("use when the lease has ended", "B")}
    ends = LOST | {"ended_by_provider"}  # the one try came while the answer was not stored yet
    story = Story(callers, wrong=("pause asking",), ends=ends, slow=True)

    tell(story, Bounds(preemptions=1, faults=1, early=1))


@AGES
def test_a_grant_that_the_provider_ends_is_over_and_no_token_is_presented_twice(
    age: float,
) -> None:
    ends = frozenset({"ended_by_provider"})

    tell(Story(TWO, age=age, wrong=("ended there",), ends=ends), ONE_FAULT)


@pytest.mark.parametrize("wrong", ["store", "jump"])
def test_three_replicas_lose_no_token_to_one_fault(wrong: str) -> None:
    tell(Story(THREE, wrong=(wrong,)), ONE_FAULT)


@pytest.mark.parametrize("wrong", ["store", "cancel", "kill", "turned away", "cut off"])
def test_a_session_that_joins_and_a_renewal_lose_no_token_to_one_fault(wrong: str) -> None:
    callers = {"one": ("use", "A"), "joins": ("join", "B")}

    tell(Story(callers, wrong=(wrong,), ends=LOST), ONE_FAULT)


def test_an_older_version_that_comes_back_before_the_answer_is_stored_loses_nothing() -> None:
    tell(Story(TWO, wrong=("failover before the save",)), ONE_FAULT_AND_A_SWITCH)
