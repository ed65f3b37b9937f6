"""Two requests with one state: the code is redeemed once, and both browsers' tabs are in."""

import pytest

from tests.interleavings.explorer import Bounds
from tests.interleavings.stories import Story, tell

EVERY_ORDER = Bounds(preemptions=None)
TWICE = {"one": ("log in", "A"), "again": ("log in", "B")}


def test_a_state_that_comes_twice_is_redeemed_once_and_gives_two_sessions() -> None:
    tell(Story(TWICE, age=None), EVERY_ORDER)
    tell(Story(TWICE, age=None, slow=True), Bounds(preemptions=1, early=1))


def test_a_state_that_comes_thrice_is_redeemed_once_and_gives_three_sessions() -> None:
    tell(Story({**TWICE, "once more": ("log in", "C")}, age=None), Bounds(preemptions=1))


@pytest.mark.parametrize(
    "wrong", ["store", "provider", "cancel", "kill", "pause", "jump", "cut off"]
)
def test_whatever_goes_wrong_a_code_is_redeemed_once_and_a_cookie_given_is_good(
    wrong: str,
) -> None:
    tell(Story(TWICE, age=None, wrong=(wrong,)), Bounds(preemptions=0, faults=1))
