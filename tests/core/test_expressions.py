import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.expression_operators import MAX_DEPTH
from sidecar.core.expression_parser import MAX_TEXT, parse
from sidecar.core.expression_tree import ExpressionBroken
from sidecar.core.expression_values import MAX_STEPS, Steps
from sidecar.core.expressions import MAX_CLAIMS_DEPTH, Expression, Unreadable, condition
from sidecar.errors import ExpressionFailed
from tests.core.expression_table import CLAIMS, TABLE

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
_NAMES = ["a", "b", "c", "$env", "nil", "true", "'x'", "'a+'", "1", "0", "2.5", "#", ".name"]
_SIGNS = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    "?.",
    "?",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "..",
]
_OPERATORS = ["??", "==", "!=", "<", "in", "not", "and", "or", "!", "matches", "contains"]
_CALLS = ["any(", "all(", "filter(", "map(", "count(", "len(", "lower(", "split("]
WORDS = st.sampled_from([*_NAMES, *_SIGNS, *_OPERATORS, *_CALLS])


def said(text: str, claims: dict[str, Any]) -> bool | None:
    try:
        return Expression(text).holds(claims)
    except (ExpressionBroken, ExpressionFailed):
        return None


def test_the_expression_table_has_enough_cases() -> None:
    assert len({text for text, _ in TABLE}) >= 120


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_an_expression_says_what_it_says_in_argo_workflows(
    text: str, expected: bool | None
) -> None:
    assert said(text, CLAIMS) is expected


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("groups | any(# == 'ops')", 7, "pipes are not taken here"),
        ("let x = 1; x == 1", 4, "variables are not taken here"),
        ("any(groups, {let x = #; x == 'ops'})", 17, "variables are not taken here"),
        ("if verified {true} else {false}", 3, "write condition . one : other"),
        ("{'a': 1} == nil", 0, "maps are not taken here"),
        ("verified;", 8, "several expressions are not taken here"),
        ("verified = true", 9, "write == to compare"),
        ("verified & blocked", 9, "write && or and"),
        ("now() == nil", 0, "there is no function 'now'"),
        ("lenght(groups) == 2", 0, "did you mean len"),
        ("filtr(groups, true)", 0, "did you mean filter"),
        ("'ops' in", 8, "ends too early"),
        ("'ops in groups", 0, "a string does not end"),
        ("verified ==\n  && blocked", 14, "unexpected '&&'"),
        ("'a\\q' == ''", 0, "no escape"),
        ("email matches '('", 14, "no regular expression of RE2"),
        ("email matches '\\\\C'", 14, "no regular expression of Go"),
        ("email matches sub", 14, "a pattern that is written down"),
        ("run % 0 == 1", 6, "does not divide by zero"),
        ("a ?? b == c", 7, "need parentheses"),
        ("len(a, b)", 0, "len takes 1 value"),
        ("# == 1", 0, "for what is asked of each element"),
        ("99999999999999999999 > 1", 0, "a number is too big"),
    ],
)
def test_a_broken_expression_is_refused_with_the_place_and_a_mend(
    text: str, place: int, why: str
) -> None:
    with pytest.raises(ExpressionBroken, match=why) as caught:
        Expression(text)

    assert caught.value.at == place


@pytest.mark.parametrize("text", ["any(sub, true)", "all(realm, true)"])
def test_an_expression_looks_at_each_element_of_lists_alone(text: str) -> None:
    # Where the kind is not known before, expr goes through a string's bytes too.
    with pytest.raises(ExpressionFailed):
        Expression(text.replace("sub", "$env.sub")).holds(CLAIMS)


def test_a_failing_expression_shows_no_value_of_a_claim() -> None:
    failures = []
    for text in ("secret + 1 == 2", "secret.a == 1", "upper(list[0]) == ''", "list[0] < secret"):
        with pytest.raises(ExpressionFailed) as caught:
            Expression(text).holds({"secret": "hunter2", "list": [["hunter2"]]})
        failures.append(str(caught.value))

    assert all(failures)
    assert "hunter2" not in "".join(failures)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "!" * 5000 + "true",
        "-" * 5000 + "1 == 1",
        "(!" * 200 + "true" + ")" * 200,
        "[" * 200 + "]" * 200 + " == nil",
        "true && " * 500 + "true",
        "1 ** " * 500 + "1 == 1",
        "1 < " * 500 + "1",
        "a" + ".b" * 500 + " == 1",
        "true ? " * 200 + "true" + " : true" * 200,
        "any(a, " * 200 + "true" + ")" * 200,
        "'" + "x" * MAX_TEXT + "' == ''",
    ],
    ids=lambda text: text[:12],
)
def test_a_huge_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionBroken):
        Expression(text)


@pytest.mark.parametrize(
    "text",
    [
        " || ".join(["'x' in groups"] * (MAX_DEPTH - 2) + ["'ops' in groups"]),
        "any(groups, {" * (MAX_DEPTH - 1) + "true" + "})" * (MAX_DEPTH - 1),
        "!" * (MAX_DEPTH - 2) + "true",
    ],
    ids=["or", "any", "not"],
)
def test_an_expression_as_deep_as_allowed_is_evaluated(text: str) -> None:
    def deep_in_a_server(frames: int) -> bool:
        return Expression(text).holds(CLAIMS) if not frames else deep_in_a_server(frames - 1)

    assert deep_in_a_server(100)


@pytest.mark.parametrize(
    "text",
    [
        "any(g, {any(g, {# == 'z'})})",
        "all(g, {g == g})",
        "any(1..9223372036854775807, {# == 0})",
        "len(1..1000000) == 0",
        "any(g, {s contains #})",
        "any(g, {s + s == #})",
        "any(g, {lower(s) == #})",
        "any(g, {split(s, '') == [#]})",
        "any(g, {s matches '(?:.{1,30}){1,30}x'})",
        "s matches '[xy]*x[xy]{900}z'",
        "len(map(g, {g[1:]})) == 0",
    ],
)
def test_an_expression_that_would_go_on_for_long_fails_soon(text: str) -> None:
    claims = {"g": ["x" * 20] * 1000, "s": "xy" * 25_000}
    expression = Expression(text)
    begun = time.process_time()

    with pytest.raises(ExpressionFailed, match="steps"):
        expression.holds(claims)

    assert time.process_time() - begun < 5  # it takes a tenth of a second


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a+)+b", "(a|aa)+$", "(.*)(.*)(.*)(.*)b$"])
def test_an_expression_with_a_pattern_takes_linear_time(pattern: str) -> None:
    expression = Expression(f"s matches '{pattern}'")
    begun = time.process_time()

    assert expression.holds({"s": "a" * 100 * 1024}) is ("b" not in pattern)
    assert not expression.holds({"s": "a" * 100 * 1024 + "c"})
    assert time.process_time() - begun < 5  # it takes milliseconds; Python's own takes for ever


def test_steps_end() -> None:
    steps = Steps()
    steps.take(MAX_STEPS)

    with pytest.raises(ExpressionFailed, match="more than"):
        steps.take()


def test_an_expression_cannot_make_a_long_string_of_a_short_one() -> None:
    doubled = "#"
    for _ in range(30):
        doubled = f"map([{doubled}], # + #)[0]"

    with pytest.raises(ExpressionFailed, match="steps"):
        Expression(f"any(['{'x' * 100}'], {doubled} == '')").holds({})


def test_claims_that_are_nested_too_deep_fail_an_expression() -> None:
    claims: dict[str, Any] = {}
    for _ in range(MAX_CLAIMS_DEPTH + 1):
        claims = {"a": claims}

    with pytest.raises(ExpressionFailed, match="deeper than"):
        Expression("true").holds(claims)


def test_a_number_that_no_float_can_be_fails_an_expression() -> None:
    with pytest.raises(ExpressionFailed, match="too big"):
        Expression("true").holds({"exp": 10**400})


def test_claims_that_are_not_json_fail_an_expression() -> None:
    with pytest.raises(ExpressionFailed, match="not JSON"):
        Expression("true").holds({"exp": b"7"})


def test_a_condition_that_cannot_be_read_always_fails_and_says_why() -> None:
    found = condition("'ops' in")

    assert isinstance(found, Unreadable)
    with pytest.raises(ExpressionFailed, match=r"cannot be read: ends too early .character 9."):
        found.holds(CLAIMS)


def test_a_condition_that_can_be_read_is_an_expression() -> None:
    assert condition("'ops' in groups") == Expression("'ops' in groups")


def test_nobody_without_an_expression_loads_the_parser() -> None:
    code = (
        "import sys, sidecar.app, sidecar.core.expressions;"
        "print(sorted({'lark', 're2'} & sys.modules.keys()))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


def test_an_expression_without_a_pattern_does_not_load_re2() -> None:
    code = (
        "import sys; from sidecar.core.expressions import Expression;"
        "assert Expression(\"sub startsWith 'x'\").holds({'sub': 'xy'});"
        "print('re2' in sys.modules)"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "False\n"


@given(text=st.text(max_size=60))
def test_any_text_is_an_expression_or_is_said_to_be_none(text: str) -> None:
    try:
        parse(text)
    except ExpressionBroken as error:
        place = error.at
    else:
        place = 0

    assert 0 <= place <= len(text)


@settings(max_examples=300)
@given(
    words=st.lists(WORDS, min_size=1, max_size=14),
    claims=st.dictionaries(st.sampled_from("abc"), JSON),
)
def test_an_expression_ends_with_a_bool_or_its_own_error(
    words: list[str], claims: dict[str, Any]
) -> None:
    try:
        expression = Expression(" ".join(words))
    except ExpressionBroken:
        return

    try:
        found: object = expression.holds(claims)
    except ExpressionFailed as error:
        found = str(error)

    assert found in (True, False) or found


@settings(max_examples=300)
@given(
    first=st.sampled_from(TABLE),
    second=st.sampled_from(TABLE),
    cut=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_what_is_nearly_an_expression_ends_with_a_bool_or_an_error(
    first: tuple[str, object], second: tuple[str, object], cut: tuple[int, int]
) -> None:
    text = first[0][: cut[0]] + second[0][cut[1] :]

    assert said(text, CLAIMS) in (True, False, None)


@given(value=JSON)
def test_an_expression_finds_a_claim_equal_to_itself(value: Any) -> None:
    value = json.loads(json.dumps(value).replace("NaN", "0"))

    assert Expression("$env?.a == a and a in [a] and !(a != a)").holds({"a": value})
