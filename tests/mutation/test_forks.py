import os
import sys
from signal import SIGTERM

import pytest

from tests.mutation.forks import Task, Verdict, answer, verdicts


def ended() -> bool:
    os.kill(os.getpid(), SIGTERM)
    return True


def endless() -> bool:
    while True:
        pass


def test_what_passes_survives_and_what_fails_or_does_not_end_is_killed() -> None:
    tasks = [
        Task("passes", lambda: True, 5),
        Task("fails", lambda: False, 5),
        Task("ends by a signal", ended, 5),
        Task("endless", endless, 0),
    ]

    assert dict(verdicts(tasks, at_once=2)) == {
        "passes": Verdict.SURVIVED,
        "fails": Verdict.KILLED,
        "ends by a signal": Verdict.KILLED,
        "endless": Verdict.ENDLESS,
    }


def test_a_fault_of_the_judge_is_no_verdict() -> None:
    with pytest.raises(RuntimeError, match="could not be tried: a mutant"):
        list(verdicts([Task("a mutant", lambda: bool(1 / 0), 5)], at_once=1))


def test_an_answer_comes_from_a_process_that_is_gone_with_all_that_it_did() -> None:
    def work() -> list[int]:
        sys.modules.pop("pytest")
        return [1, 2]

    assert answer(work) == [1, 2]
    assert "pytest" in sys.modules


def test_who_fails_gives_no_answer() -> None:
    with pytest.raises(EOFError):
        answer(lambda: 1 / 0)
