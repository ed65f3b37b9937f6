"""The page about reliability is what the last result makes of it."""

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.soak.__main__ import faults_of
from tests.soak.page import BEGIN, END, PAGE, PICTURE, RESULT, block, plots


@pytest.fixture
def found() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(RESULT.read_text())
    return result


def test_the_page_is_what_the_committed_result_makes_of_it(found: dict[str, Any]) -> None:
    page = PAGE.read_text()

    assert page.count(BEGIN) == page.count(END) == 1
    assert page.partition(BEGIN)[2].partition(END)[0].strip() == block(found).strip()


def test_the_picture_is_what_the_committed_result_makes_of_it(found: dict[str, Any]) -> None:
    assert PICTURE.read_text() == plots(found)
    ElementTree.fromstring(plots(found))


def test_the_committed_result_was_good_and_of_a_run_that_is_long_enough(
    found: dict[str, Any],
) -> None:
    assert found["seconds"] >= 300
    assert found["growth_judged"]
    assert found["renewals"] > 0
    assert faults_of(found) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("forced_logins_unexplained", 1),
        ("reuses_unexplained", 1),
        ("growth", True),
        ("expired_tokens", 1),
        ("without_retry_after", 1),
        ("strange", ["500 at /"]),
        ("renewals", 0),
    ],
)
def test_what_must_not_be_fails_a_run(found: dict[str, Any], name: str, value: object) -> None:
    assert len(faults_of({**found, name: value})) == 1


def test_the_page_says_that_something_grew_and_that_a_run_was_too_short(
    found: dict[str, Any],
) -> None:
    assert "| yes " in block({**found, "growth": True})
    assert "too short to tell" in block({**found, "growth_judged": False, "growth_of": {}})
