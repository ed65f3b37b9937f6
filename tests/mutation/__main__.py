"""Mutation testing of the core: `python -m tests.mutation [module | module:function]...`.

The tests of the core judge them, and of those that no test notices the type check, which looks at
each change of the code too. Exits with 1 where a mutant survives that `survivors.toml` does not
explain, or explains one that does not survive, or where more than two in a hundred survive.
"""

import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from multiprocessing import get_context
from pathlib import Path

from tests.mutation.forks import Verdict
from tests.mutation.imports import CORE
from tests.mutation.judges import Broken, Found, judged
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.survivors import Change, differences, explained
from tests.mutation.typed import refused

_MOST_SURVIVING = 0.02
_WRITTEN = Path("build/mutation")


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0 where all that survives is explained, and is little."""
    names = {each.removeprefix("sidecar.core.") for each in arguments}
    wanted = _wanted(names)
    if not wanted:
        print("no mutant has such a name")
        return 1
    begun_at = time.monotonic()
    try:
        found = judged(wanted, os.cpu_count() or 1, _Progress(len(wanted)))
    except (Broken, EOFError):
        print('the tests do not pass as they are, and cannot judge: make test-py ARGS="tests/core"')
        return 1
    untyped = refused(mutant for mutant, verdict in found if verdict is Verdict.SURVIVED)
    found = [
        (mutant, Verdict.REFUSED if mutant.name in untyped else verdict)
        for mutant, verdict in found
    ]
    print(f"\n{_table(found)}\n{time.monotonic() - begun_at:.0f} seconds\n")
    survivors = sorted(
        (mutant for mutant, verdict in found if verdict is Verdict.SURVIVED),
        key=lambda mutant: (mutant.module, mutant.number),
    )
    _write(survivors, {mutant.module for mutant in wanted})
    listed = {
        change: reason
        for change, reason in explained().items()
        if not names or {change.module, change.place} & names
    }
    faults = differences(survivors, listed)
    if not names and len(survivors) > _MOST_SURVIVING * len(wanted):
        faults.append(f"more than {_MOST_SURVIVING:.0%} survive")
    print("\n".join(faults))
    return 1 if faults else 0


def _wanted(names: Set[str]) -> list[Mutant]:
    """The mutants that are asked for; without names all."""
    modules = {name.partition(":")[0] for name in names}
    paths = [path for path in sorted(Path(CORE).glob("*.py")) if not names or path.stem in modules]
    with get_context("fork").Pool() as pool:
        made = [mutant for each in pool.map(_mutants_in, paths) for mutant in each]
    return [mutant for mutant in made if not names or _names(mutant) & names]


def _mutants_in(path: Path) -> list[Mutant]:
    return list(mutants(path.stem, path.read_text(encoding="utf-8")))


def _names(mutant: Mutant) -> set[str]:
    return {mutant.module, mutant.name, mutant.name.rpartition(":")[0]}


class _Progress:
    """Counts what is done, on a terminal's one line."""

    def __init__(self, of: int) -> None:
        self._of = of
        self._counts: Counter[Verdict] = Counter()

    def __call__(self, found: Found) -> None:
        self._counts[found[1]] += 1
        done, survived = self._counts.total(), self._counts[Verdict.SURVIVED]
        if sys.stderr.isatty():
            print(f"\r{done} of {self._of}, {survived} survived", end="", file=sys.stderr)


def _table(found: Sequence[Found]) -> str:
    counts: Mapping[str, Counter[Verdict]] = defaultdict(Counter)
    for mutant, verdict in found:
        counts[mutant.module][verdict] += 1
        counts["all"][verdict] += 1
    modules = [*sorted(set(counts) - {"all"}), "all"]
    shown = (Verdict.ENDLESS, Verdict.REFUSED, Verdict.SURVIVED)
    lines = [f"{'':26}{'mutants':>8}" + "".join(f"{each:>9}" for each in shown)]
    for module in modules:
        count = counts[module]
        share = count[Verdict.SURVIVED] / count.total()
        columns = "".join(f"{count[each]:9}" for each in shown)
        lines.append(f"{module:26}{count.total():8}{columns}{share:8.1%}")
    return "\n".join(lines)


def _write(survivors: Sequence[Mutant], modules: set[str]) -> None:
    """The survivors, a file for each module."""
    _WRITTEN.mkdir(parents=True, exist_ok=True)
    for module in modules:
        shown = [Change.of(each).shown(each.name) for each in survivors if each.module == module]
        Path(_WRITTEN, f"{module}.txt").write_text("".join(shown), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
