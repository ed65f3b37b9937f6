"""The tests of the core as judges of its mutants.

They are collected once. A mutant's function is put in its place in a fork of the process that has
collected them and run none, so that a mutant costs as much as the tests that run its function, to
the first that fails. Where that would be another thing than a changed file, since the function ran
while modules were imported or the change is outside of functions, the fork is one of a process
without the core, which imports it with the change and collects the tests itself.
"""

import gc
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from io import StringIO
from itertools import zip_longest
from types import CodeType, FunctionType

import pytest
from hypothesis import Phase, settings

from tests.mutation.forks import Task, Verdict, answer, verdicts
from tests.mutation.imports import CORE, Changed, Place, Talking, file_of
from tests.mutation.mutants import Mutant
from tests.mutation.reach import reached_by

# Without the conftest above, which imports the whole sidecar. What is imported here already, pytest
# cannot rewrite: no matter.
_OPTIONS = (
    "-q",
    "-s",  # what is said of the progress is said while tests are collected
    "-x",
    "--tb=no",
    "--confcutdir=tests/core",
    "-pno:cacheprovider",
    "-Wignore::pytest.PytestAssertRewriteWarning",
)
_EXAMPLES = 40
_OURS = ("sidecar", "tests", "__main__")

Found = tuple[Mutant, Verdict]


@dataclass(frozen=True)
class Witness:
    """A test that runs something, and how long it takes."""

    test: str
    seconds: float

    @property
    def file(self) -> str:
        """The file that it is in."""
        return self.test.partition("::")[0]


@dataclass(frozen=True)
class Collected:
    """What is known once the tests were collected and run."""

    witnesses: Mapping[Place, Sequence[Witness]]
    """Who runs the functions that begin there."""
    ran_on_import: frozenset[Place]
    foreign: Sequence[str]
    """The modules that were imported and are not ours."""

    def witnesses_of(self, mutant: Mutant) -> Sequence[Witness]:
        """Who runs a mutant's function, or of what is outside of functions its module.

        The fastest come first.
        """
        places = [place for place in self.witnesses if _is_at(mutant, place)]
        found = {witness for place in places for witness in self.witnesses[place]}
        return sorted(found, key=lambda each: each.seconds)

    def is_too_late_for(self, mutant: Mutant) -> bool:
        """Whether it would have run before the tests."""
        return not mutant.function or any(_is_at(mutant, place) for place in self.ran_on_import)


def _is_at(mutant: Mutant, place: Place) -> bool:
    file, line = place
    return file == file_of(mutant.module) and (line in mutant.lines or not mutant.function)


class _Bench:
    """A plugin of pytest: collects as it does, and then does something else than running all."""

    def __init__(self, work: Callable[["_Bench"], None]) -> None:
        self.items: dict[str, pytest.Item] = {}
        self._work = work
        self._failed = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self._work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def passes(self, names: Sequence[str]) -> bool:
        """Whether these tests do; none is run after the first that does not."""
        items = [self.items[name] for name in names]
        for item, following in zip_longest(items, items[1:]):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                return False
        return True


class Broken(Exception):
    """The tests do not pass on the core as it is: they cannot judge."""


def judged(mutants: Sequence[Mutant], at_once: int, said: Callable[[Found], None]) -> list[Found]:
    """Each mutant with its verdict; `said` hears of each as soon as it is known.

    Raises:
        Broken: the tests cannot judge.
    """
    files = sorted({file for mutant in mutants for file in reached_by(mutant.module)})
    collected = answer(lambda: _collected(files))
    _see_an_unchanged_one_survive(mutants, files, collected)
    early = [mutant for mutant in mutants if not collected.is_too_late_for(mutant)]
    done = answer(lambda: _in_place(early, files, collected, at_once, said))
    for name in collected.foreign:
        with suppress(Exception):
            importlib.import_module(name)
    for each in done:
        said(each)  # that process has kept its count to itself
    judged_already = {mutant.name for mutant, _ in done}
    late = [mutant for mutant in mutants if mutant.name not in judged_already]
    return [*done, *_heard([_imported_anew(mutant, collected) for mutant in late], at_once, said)]


def _see_an_unchanged_one_survive(
    mutants: Sequence[Mutant], files: Sequence[str], collected: Collected
) -> None:
    """Judge a function and a module that are as they were.

    Raises:
        Broken: the way of judging kills, and not the change.
    """
    unchanged = replace(mutants[0], text=mutants[0].original)
    functions = [each for each in mutants if not collected.is_too_late_for(each)][:1]
    unchanged_functions = [replace(each, text=each.original) for each in functions]
    found = answer(lambda: _in_place(unchanged_functions, files, collected, 1, lambda _: None))
    found += verdicts([_imported_anew(unchanged, collected)], 1)
    if any(verdict is not Verdict.SURVIVED for _, verdict in found):
        raise Broken


def _heard(
    tasks: Sequence[Task[Mutant]], at_once: int, said: Callable[[Found], None]
) -> list[Found]:
    found = []
    for each in verdicts(tasks, at_once):
        said(each)
        found.append(each)
    return found


def _collected(files: Sequence[str]) -> Collected:
    """What of the core runs in each test of these files, from a core that says so."""
    found = [Collected({}, frozenset(), ())]
    ran: set[Place] = set()

    def work(bench: _Bench) -> None:
        ran_on_import = frozenset(ran)
        witnesses = defaultdict(list)
        for name in bench.items:
            ran.clear()
            begun_at = time.process_time()
            if not bench.passes([name]):
                raise Broken(name)
            witness = Witness(name, time.process_time() - begun_at)
            for place in ran:
                witnesses[place].append(witness)
        found.append(Collected(witnesses, ran_on_import, _foreign()))

    sys.meta_path.insert(0, Talking(ran))
    if not _judge(files, _Bench(work)):
        raise Broken
    return found[-1]


def _in_place(
    mutants: Sequence[Mutant],
    files: Sequence[str],
    collected: Collected,
    at_once: int,
    said: Callable[[Found], None],
) -> list[Found]:
    """The verdicts on mutants that can be put in their places after an import."""
    found: list[Found] = []

    def work(bench: _Bench) -> None:
        functions = _functions()
        tasks = [_put_in_place(mutant, collected, functions, bench) for mutant in mutants]
        found.extend(_heard([task for task in tasks if task], at_once, said))

    if not _judge(files, _Bench(work)):
        raise Broken
    return found


def _judge(files: Sequence[str], *plugins: object) -> bool:
    """Whether the tests in these files pass, with fewer examples of each property than usual."""
    if not files:
        return True
    try:
        _take_few_examples()
    except Exception:
        return False
    with redirect_stdout(StringIO()):
        return pytest.main([*_OPTIONS, *files], plugins=plugins) == pytest.ExitCode.OK


def _take_few_examples() -> None:
    """Import the core for the first time: it fails where that fails."""
    examples = importlib.import_module("tests.core.examples")
    few = settings(
        examples.properties, max_examples=_EXAMPLES, phases=(Phase.explicit, Phase.generate)
    )
    settings.register_profile("judge", few)
    settings.load_profile("judge")
    vars(examples)["properties"] = few


def _foreign() -> Sequence[str]:
    return [name for name in sys.modules if name.partition(".")[0] not in _OURS]


def _functions() -> Mapping[tuple[str, str, int], Sequence[FunctionType]]:
    """The core's functions, by file, qualified name and first line."""
    found = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(CORE):
            found[_key(each.__code__)].append(each)
    return found


def _key(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _put_in_place(
    mutant: Mutant,
    collected: Collected,
    functions: Mapping[tuple[str, str, int], Sequence[FunctionType]],
    bench: _Bench,
) -> Task[Mutant] | None:
    file = file_of(mutant.module)
    key = file, mutant.function, mutant.lines.start
    witnesses = collected.witnesses_of(mutant)

    def passes() -> bool:
        code = _code(compile(mutant.text, file, "exec", dont_inherit=True), key)
        for function in functions[key]:
            function.__code__ = code
        return bench.passes([each.test for each in witnesses])

    if key not in functions:
        return None
    return Task(mutant, passes, 5 + 10 * sum(each.seconds for each in witnesses))


def _code(within: CodeType, key: tuple[str, str, int]) -> CodeType:
    """A function's code, in that of its module."""
    waiting = [within]
    for code in waiting:
        if _key(code) == key:
            return code
        waiting.extend(each for each in code.co_consts if isinstance(each, CodeType))
    raise LookupError(key)


def _imported_anew(mutant: Mutant, collected: Collected) -> Task[Mutant]:
    reached = reached_by(mutant.module)
    running = {each.file for each in collected.witnesses_of(mutant)}
    first = [file for file in reached if file in running]
    others = [file for file in reached if file not in running]

    def passes() -> bool:
        sys.meta_path.insert(0, Changed(mutant.module, mutant.text))
        return all(_judge([file]) for file in first) and _judge(others)

    return Task(mutant, passes, 60)
