from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutation.imports import file_of
from tests.mutation.mutants import in_words, mutants
from tests.mutation.survivors import Change, differences, explained

MUTANTS = list(mutants("sizes", "def is_big(size: int) -> bool:\n    return size > 10\n"))
BORDER = next(each for each in MUTANTS if each.change[1] == "return size >= 10")
LISTED = Change("sizes", "is_big", "return size > 10", "return size >= 10")


def test_a_survivor_that_is_explained_is_no_fault() -> None:
    assert differences([BORDER], {LISTED: "nobody is of this size"}) == []


def test_a_survivor_that_nobody_explained_is_a_fault() -> None:
    [fault] = differences([BORDER], {})

    assert fault.splitlines() == [
        f"survives: {BORDER.name}",
        "  - return size > 10",
        "  + return size >= 10",
    ]


@pytest.mark.parametrize(
    "listed",
    [LISTED, replace(LISTED, now="return size < 10"), replace(LISTED, function="was_there_once")],
    ids=["killed", "no-mutant", "no-function"],
)
def test_what_is_explained_and_does_not_survive_is_a_fault(listed: Change) -> None:
    [fault] = differences([], {listed: "nobody is of this size"})

    assert fault.startswith("is listed and does not survive: sizes:")


def test_what_is_explained_is_still_in_the_code() -> None:
    gone = [
        change
        for change in explained()
        if change.was not in in_words(Path(file_of(change.module)).read_text("utf-8").splitlines())
    ]

    assert gone == []
