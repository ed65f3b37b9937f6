"""Whatever the documentation tells somebody to type is run by a test, or says why it is not."""

import re
from itertools import chain

import pytest

from sidecar.__main__ import _parser
from tests.docs.commands import found, lines_of
from tests.docs.pages import ROOT
from tests.docs.registry import BY_ANOTHER, BY_CI, BY_HAND, ELSEWHERE, RUN_BY

FOUND = found()
KNOWN = [*chain.from_iterable([*RUN_BY.values(), *ELSEWHERE.values()])]
MADE = {target: command for command in FOUND for target in re.findall(r"^make ([a-z-]+)", command)}
TESTS = [*RUN_BY, *(by for by in BY_ANOTHER.values() if "::" in by)]
MAKEFILE = (ROOT / "Makefile").read_text()
OURS = [
    command for command in FOUND if re.match(r"sidecar (?!sessions$|rules (check|try)$)", command)
]


def test_the_pages_name_commands() -> None:
    assert len(FOUND) > 120


@pytest.mark.parametrize("command", FOUND)
def test_somebody_runs_a_command_or_it_is_said_why_not(command: str) -> None:
    made = re.match(r"make ([a-z-]+)", command)

    if made:
        assert made[1] in {*BY_CI, *BY_ANOTHER, *BY_HAND}, FOUND[command]
    else:
        assert command in KNOWN, f"{FOUND[command]}: tests/docs/registry.py does not know this one"


def test_nothing_is_registered_twice_or_is_gone() -> None:
    assert sorted(KNOWN) == sorted(set(KNOWN) & FOUND.keys())
    assert MADE.keys() == BY_CI | BY_ANOTHER.keys() | BY_HAND.keys()


@pytest.mark.parametrize("test", TESTS)
def test_the_test_that_runs_it_exists(test: str) -> None:
    file, _, name = test.partition("::")

    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_ci_makes_what_it_is_said_to_make() -> None:
    script = (ROOT / ".ci/run").read_text()

    assert set(re.findall(r"^make ([a-z-]+)", script, re.MULTILINE)) == BY_CI


@pytest.mark.parametrize(
    ("target", "of"), [(target, of) for target, of in BY_ANOTHER.items() if "::" not in of]
)
def test_what_make_does_as_a_part_of_something_else_is_a_part_of_it(target: str, of: str) -> None:
    (parts,) = re.findall(rf"^{of}: ([^#\n]*)", MAKEFILE, re.MULTILINE)

    assert target in parts.split()


@pytest.mark.parametrize("target", MADE)
def test_make_knows_the_target(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("command", OURS)
def test_the_command_line_takes_a_command_as_it_is_written(command: str) -> None:
    given = _parser().parse_args(command.split()[1:])

    assert callable(given.command)


def test_a_comment_is_no_part_of_a_command_and_lines_may_go_on() -> None:
    block = """
make x   # it's what "x" does
# nothing
kubectl -p '[
  {"a": "#b"}]'
curl -b "$X # y" \\
  -d z
"""

    assert lines_of(block) == ["make x", 'kubectl -p \'[ {"a": "#b"}]\'', 'curl -b "$X # y" -d z']
