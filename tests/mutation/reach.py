"""Which tests a module can reach: those whose file imports it, or imports what does."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_TESTS = Path("tests/core")
_OURS = ("sidecar.core.", "tests.core.")


@cache
def reached_by(module: str) -> tuple[str, ...]:
    """The files of tests that import a module of the core, its own first."""
    files = sorted(_TESTS.glob("test_*.py"), key=lambda path: path.stem != f"test_{module}")
    return tuple(str(path) for path in files if f"sidecar.core.{module}" in _all_imports(path))


@cache
def _all_imports(path: Path) -> frozenset[str]:
    """The modules of ours that a file imports, at whatever place, and those that they do."""
    found: set[str] = set()
    waiting = list(_imports(path))
    for name in waiting:
        if name not in found:
            found.add(name)
            waiting.extend(_imports(_file(name)))
    return frozenset(found)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        yield from (name for name in names if name.startswith(_OURS) and _file(name).is_file())


def _file(name: str) -> Path:
    return Path(f"{name.replace('.', '/')}.py")
