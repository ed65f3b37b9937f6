"""Defences are taken out from here alone: the product has no way to do it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SIDECAR = Path(__file__).parents[2] / "sidecar"
MODULES = sorted(SIDECAR.rglob("*.py"))
DOORS = ("setattr", "delattr", "exec", "eval", "globals")


def replacements(source: str) -> Iterator[int]:
    """The lines on which code could put something else in the place of a part of a module."""
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.Global():
                yield node.lineno
            case ast.Call(func=ast.Name(id=name)) if name in DOORS:
                yield node.lineno
            case ast.Attribute(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                if name in imported:
                    yield node.lineno


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SIDECAR)))
def test_nothing_in_the_product_replaces_a_part_of_it(module: Path) -> None:
    source = module.read_text(encoding="utf-8")

    assert not list(replacements(source))
    assert "tests" not in {name.partition(".")[0] for name in imports(source)}


def imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize(
    "source",
    [
        "from sidecar.core import heads\nheads.clean_path = str",
        "import sidecar.core.heads as h\nsetattr(h, 'clean_path', str)",
        "def off():\n    global CHECKED\n    CHECKED = False",
    ],
)
def test_what_would_replace_one_is_seen(source: str) -> None:
    assert list(replacements(source))
