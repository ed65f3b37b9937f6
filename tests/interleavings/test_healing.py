"""A store that goes back, or forgets: what the replicas know of it comes back, and nothing else."""

import pytest

from tests.interleavings.explorer import Bounds
from tests.interleavings.stories import Story, tell

ONE_FAULT = Bounds(preemptions=0, faults=1)
BOTH_LOOK = {"a looks": ("look after", "A"), "b looks": ("look after", "B")}
TWO = {"one": ("use", "A"), "two": ("use", "B")}
IN_THE_WINDOW, ENDED = 200.0, 301.0
AGES = pytest.mark.parametrize("age", [IN_THE_WINDOW, ENDED])
LOSSES = pytest.mark.parametrize("wrong", ["failover", "goes back", "emptied", "flushed"])


@AGES
@LOSSES
def test_what_a_store_loses_during_a_renewal_comes_back_and_no_token_is_presented_twice(
    age: float, wrong: str
) -> None:
    tell(Story({**TWO, **BOTH_LOOK}, age=age, wrong=(wrong,), known=("A", "B")), ONE_FAULT)


@LOSSES
def test_a_replica_that_knows_nothing_waits_for_what_the_others_know(wrong: str) -> None:
    looks = {"a looks": ("look after", "A"), "c looks": ("look after", "C")}
    callers = {"one": ("use", "A"), "stranger": ("use", "C"), **looks}

    tell(Story(callers, wrong=(wrong,), known=("A",)), ONE_FAULT)


@pytest.mark.parametrize("wrong", ["goes back", "emptied", "flushed"])
def test_what_has_ended_stays_ended_though_the_store_forgets_it(wrong: str) -> None:
    callers = {"bye": ("log out", "A"), "one": ("use", "B"), **BOTH_LOOK}

    tell(Story(callers, wrong=(wrong,), known=("A", "B")), ONE_FAULT)
