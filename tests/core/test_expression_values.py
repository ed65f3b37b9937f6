from typing import Any

import pytest

from sidecar.core.expression_functions import call
from sidecar.core.expression_values import MAX_STEPS, OPERATIONS, Steps, compiled_pattern
from sidecar.core.expressions import Expression
from sidecar.errors import ExpressionFailed


def with_left(steps: int) -> Steps:
    left = Steps()
    left.take(MAX_STEPS - steps)
    return left


@pytest.mark.parametrize(
    ("operator", "left", "right", "cost"),
    [
        ("==", 1, 1.0, 1),
        ("==", None, None, 1),
        ("==", "a", 1, 1),
        ("==", "x" * 63, "x", 2),
        ("==", "x" * 64, "x", 3),
        ("==", "x" * 127, "x", 3),
        ("==", [1, 2], [1, 2], 3),
        ("==", [1, 2], [1], 1),
        ("==", {"a": 1, "b": 2}, {"a": 1, "b": 2}, 3),
        ("==", {"a": 1}, {"b": 1}, 1),
        ("!=", [1, 2], [1, 2], 3),
        ("in", 2, [1, 2, 3], 2),
        ("<", "x" * 63, "y", 1),
        ("<", "x" * 64, "y", 2),
        ("+", "", "", 1),
        ("+", "x" * 64, "x" * 63, 2),
        ("+", "x" * 64, "x" * 64, 3),
        ("contains", "x" * 64, "x" * 63, 2),
        ("contains", "x" * 64, "x" * 64, 3),
        ("startsWith", "x" * 64, "x" * 64, 3),
        ("endsWith", "x" * 64, "x" * 64, 3),
        ("..", 5, 5, 1),
        ("..", 5, 7, 3),
        ("..", -3, 2, 6),
        ("matches", "", "a", 1),
        ("matches", "x" * 39, "a", 1),
        ("matches", "x" * 40, "a", 2),
        ("matches", "x" * 200, "a", 6),
        ("matches", "x" * 200, "(a)", 6),
        ("matches", "x" * 200, "aa", 7),
    ],
    ids=lambda one: str(one)[:12],
)
def test_an_operator_takes_so_many_steps(operator: str, left: Any, right: Any, cost: int) -> None:
    OPERATIONS[operator](left, right, with_left(cost))

    with pytest.raises(ExpressionFailed, match="takes more than 50000 steps"):
        OPERATIONS[operator](left, right, with_left(cost - 1))


@pytest.mark.parametrize(
    ("function", "values", "cost"),
    [("lower", ["abc"], 4), ("hasPrefix", ["abc", "a"], 6), ("split", ["", ""], 2)],
)
def test_a_function_takes_a_step_for_each_character(
    function: str, values: list[Any], cost: int
) -> None:
    call(function, values, with_left(cost))

    with pytest.raises(ExpressionFailed, match="takes more than 50000 steps"):
        call(function, values, with_left(cost - 1))


def test_a_range_of_nothing_takes_no_step() -> None:
    assert OPERATIONS[".."](5, 3, with_left(0)) == []


def test_a_condition_has_fifty_thousand_steps() -> None:
    # One for each element, each part, and the four of what stands around.
    assert Expression("len(1..49994) > 0").holds({})

    with pytest.raises(ExpressionFailed, match="takes more than 50000 steps"):
        Expression("len(1..49995) > 0").holds({})


def test_a_pattern_has_a_mebibyte() -> None:
    compiled_pattern("x{1000}" * 87)  # RE2 takes 8 bytes for each state, and has two thirds of it

    with pytest.raises(ExpressionFailed, match="no regular expression of RE2"):
        compiled_pattern("x{1000}" * 88)


def test_of_a_pattern_that_is_none_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExpressionFailed, match="no regular expression of RE2"):
        compiled_pattern("of whom (")

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("some[0] > 1", "> does not take a string and a int"),
        ("1 <= some[0]", "<= does not take a int and a string"),
        ("some[0] >= 1", ">= does not take a string and a int"),
        ("some[1] startsWith 'x'", "startsWith does not take a float"),
        ("'x' startsWith some[1]", "startsWith does not take a float"),
        ("some[1] endsWith 'x'", "endsWith does not take a float"),
        ("some[0] * 2 == 1", "* does not take a string and a int"),
        ("some[0] / 2 == 1", "/ does not take a string and a int"),
        ("some[0] ** 2 == 1", "** does not take a string and a int"),
        ("lower(some[1]) == 'x'", "lower does not take a float"),
        ("lower('x') == 1", "== does not take a string and a int"),
        ("hasPrefix('x', 'x') == 1", "== does not take a bool and a int"),
        ("hasSuffix('x', 'x') == 1", "== does not take a bool and a int"),
    ],
)
def test_whoever_does_not_take_a_value_is_named(text: str, why: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        Expression(text).holds({"some": ["x", 1]})

    assert str(caught.value) == why


_SPACES = [one for one in map(chr, range(0x110000)) if one.isspace()]


@pytest.mark.parametrize("space", _SPACES, ids=ascii)
def test_spaces_are_trimmed_that_are_some_to_go(space: str) -> None:
    is_trimmed = not "\x1c" <= space <= "\x1f"

    assert Expression("trim(s) == 'x'").holds({"s": f"{space}x{space}"}) is is_trimmed


def test_letters_are_not_trimmed() -> None:
    assert Expression("trim('Xx') == 'Xx'").holds({})


@pytest.mark.parametrize(
    "text",
    ["lower('ABC') == 'abc'", "lower('x\\u03a3') == 'x\\u03c3'", "lower('A') + 'b' == 'ab'"],
)
def test_each_character_is_made_small(text: str) -> None:
    assert Expression(text).holds({})


@pytest.mark.parametrize(
    "text",
    [
        "halved == 'a\\uFFFDb'",
        "halved == 'a\udfffb'",
        "halved matches '^a.b$'",
        "halved matches '^a\\uFFFDb$'",
        "not (halved matches '[?]')",
        "halved[0:4] == 'a\\uFFFD'",
        "halved[0:2] + 'x' != 'a?x'",
        "halved[:-1][:2] == halved[:2]",
        "'a\udfffb'[4:] == 'b'",
        "'\\uFFFD' in inner",
        "len(halved) == 3",
    ],
)
def test_half_a_pair_in_a_claim_is_what_go_makes_of_it(text: str) -> None:
    assert Expression(text).holds({"halved": "a\ud800b", "inner": {"\udc00": 1}})
