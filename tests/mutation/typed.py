"""What the type check says of mutants: it looks at a copy of each, all in one run."""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from shutil import rmtree

from tests.mutation.mutants import Mutant

_COPIES = Path("build/mutation/typed")
_ERROR = re.compile(r"(?:.*/)?(\w+)\.py:\d+: error: ")


class NotTyped(Exception):
    """The type check did not say of each text whether it passes."""


def refused(mutants: Iterable[Mutant]) -> frozenset[str]:
    """The names of the mutants that the type check refuses.

    Raises:
        NotTyped: it could not look, or refuses one of these modules as it is.
    """
    texts = {f"{each.module}_{each.number}": each for each in mutants}
    unchanged = {f"{each.module}_0": each.original for each in texts.values()}
    if not texts:
        return frozenset()
    rmtree(_COPIES, ignore_errors=True)
    _COPIES.mkdir(parents=True)
    for name, text in ({name: each.text for name, each in texts.items()} | unchanged).items():
        (_COPIES / f"{name}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(_COPIES)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {match[1] for match in map(_ERROR.match, run.stdout.splitlines()) if match}
    if found - set(texts) or bool(found) != bool(run.returncode):
        raise NotTyped(run.stdout + run.stderr)
    return frozenset(texts[name].name for name in found)
