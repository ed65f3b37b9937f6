"""The explorer itself: it counts right, and sees what it is there to see."""

import asyncio
from collections.abc import Callable
from math import comb

import pytest

from tests.interleavings.explorer import (
    REPLICA,
    Access,
    Bounds,
    NoProgress,
    Scenario,
    Turns,
    explore,
)
from tests.interleavings.loop import NothingLeft

_SHARED = Access(writes=frozenset({"shared"}))


class Counting(Scenario):
    """Two replicas that take `steps` turns each, and add to a shared number in two of them."""

    def __init__(self, steps: int, access: Access, found: set[int]) -> None:
        self.steps, self.access, self.found = steps, access, found
        self.number = 0

    async def _work(self, turns: Turns, who: str) -> None:
        for _ in range(self.steps - 2):
            await turns.step(who, "idle", self.access)
        await turns.step(who, "read", self.access)
        seen = self.number
        await turns.step(who, "write", self.access)
        self.number = seen + 1

    def begin(self, turns: Turns) -> None:
        for who in "AB":
            REPLICA.set(who)
            turns.loop.create_task(self._work(turns, who), name=who)

    def check(self, turns: Turns) -> None:
        self.found.add(self.number)


class Stuck(Counting):
    """Both wait for what never comes, or go round for ever."""

    def __init__(self, wait: Callable[[Turns], "asyncio.Future[None] | None"]) -> None:
        super().__init__(2, _SHARED, set())
        self.wait = wait

    async def _work(self, turns: Turns, who: str) -> None:
        while True:
            await turns.step(who, "go", _SHARED)
            future = self.wait(turns)
            if future is not None:
                await future


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_every_order_of_steps_that_meet_is_tried_once(steps: int) -> None:
    found: set[int] = set()

    seen = explore(lambda: Counting(steps, _SHARED, found), Bounds(preemptions=None))

    assert seen.schedules == comb(2 * steps, steps)
    assert found == {1, 2}


def test_of_orders_that_nobody_can_tell_apart_one_is_tried() -> None:
    own = Access(reads=frozenset({"shared"}))

    seen = explore(lambda: Counting(4, own, set()), Bounds(preemptions=None))

    assert seen.schedules == 1


def test_a_lost_update_needs_one_preemption() -> None:
    without: set[int] = set()
    with_one: set[int] = set()

    explore(lambda: Counting(2, _SHARED, without), Bounds(preemptions=0))
    explore(lambda: Counting(2, _SHARED, with_one), Bounds(preemptions=1))

    assert without == {2}
    assert with_one == {1, 2}


def test_a_deadlock_is_found_and_told_with_its_schedule() -> None:
    with pytest.raises(AssertionError, match=r"(?s)deadlock.*after the schedule.*A\.A\.go"):
        explore(lambda: Stuck(lambda turns: turns.loop.create_future()), Bounds())


def test_tasks_that_go_round_for_ever_are_no_progress() -> None:
    with pytest.raises(AssertionError, match="not done after") as failure:
        explore(lambda: Stuck(lambda _: None), Bounds())

    assert isinstance(failure.value.__cause__, NoProgress)
    assert not isinstance(failure.value.__cause__, NothingLeft)
