"""Imports of the core as it is not on the disk: with a mutant, or saying what of it runs."""

import ast
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

_PACKAGE = "sidecar.core"
CORE = str(Path("sidecar/core").resolve())
_SAYS = "__ran__"

Place = tuple[str, int]
"""A file of the core, and the line on which a function in it begins."""


def file_of(module: str) -> str:
    """The file of a module of the core."""
    return f"{CORE}/{module}.py"


class Changed(MetaPathFinder):
    """Finds one module of the core, with another text."""

    def __init__(self, module: str, text: str) -> None:
        self._module = module
        self._text = text

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != f"{_PACKAGE}.{self._module}":
            return None
        return _spec(fullname, lambda path: compile(self._text, path, "exec", dont_inherit=True))


class Talking(MetaPathFinder):
    """Finds the modules of the core, whose functions add to `ran` where they are when they run."""

    def __init__(self, ran: set[Place]) -> None:
        self._ran = ran

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname.rpartition(".")[0] != _PACKAGE:
            return None
        return _spec(fullname, _talking, **{_SAYS: self._ran.add})


def _spec(fullname: str, code: Callable[[str], CodeType], **known: object) -> ModuleSpec | None:
    path = file_of(fullname.rpartition(".")[2])
    loader = _Loader(fullname, path)
    loader.code, loader.known = code, known
    return spec_from_file_location(fullname, path, loader=loader)


class _Loader(SourceFileLoader):
    code: Callable[[str], CodeType]
    known: dict[str, object]

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self.known)
        super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType:
        return self.code(self.path)


def _talking(path: str) -> CodeType:
    """A module's code, with a word at the beginning of each function and lambda."""
    tree = ast.parse(Path(path).read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            after_docstring = 1 if ast.get_docstring(node) is not None else 0
            node.body.insert(after_docstring, ast.Expr(_said(path, node)))
        elif isinstance(node, ast.Lambda):
            both = ast.Tuple([_said(path, node), node.body], ast.Load())
            node.body = ast.Subscript(both, ast.Constant(1), ast.Load())
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


def _said(path: str, node: ast.FunctionDef | ast.Lambda) -> ast.Call:
    place = ast.Tuple([ast.Constant(path), ast.Constant(node.lineno)], ast.Load())
    return ast.Call(ast.Name(_SAYS, ast.Load()), [place], [])
