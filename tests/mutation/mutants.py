"""The mutants of a module: its text with one small change each.

The changes are mutmut's. What is looked at here and not by mutmut itself: methods of decorated
classes (every dataclass), decorated functions (every property), and what stands outside of
functions: limits, tables, patterns, fields.
"""

import ast
import codecs
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

import libcst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import NEVER_MUTATE_FUNCTION_CALLS
from mutmut.mutation.mutators import mutation_operators

OUTSIDE = "<module>"
"""What is outside of functions, as a part of a name."""


@dataclass(frozen=True)
class Mutant:
    """A text that differs from a module's in one place."""

    module: str
    function: str
    """The outermost function that the change is in, with its class; "" outside of functions."""
    lines: range
    """That function's lines."""
    number: int
    text: str
    original: str

    @property
    def name(self) -> str:
        """What it is called in a run; the numbers change with the module."""
        return f"{self.module}:{self.function or OUTSIDE}:{self.number}"

    @cached_property
    def change(self) -> tuple[str, str]:
        """What stood there, and what stands there now: whole lines, without their margins."""
        old, new = self.original.splitlines(), self.text.splitlines()
        places = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        changed = [place for place in places if place[0] != "equal"]
        first, last = changed[0], changed[-1]
        return in_words(old[first[1] : last[2]]), in_words(new[first[3] : last[4]])


def in_words(lines: Sequence[str]) -> str:
    """Lines as one, without their margins."""
    return " ".join(line.strip() for line in lines)


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """All mutants of a module that is still Python, each once."""
    wrapper = MetadataWrapper(libcst.parse_module(source))
    visitor = _Changes(wrapper.resolve(PositionProvider), wrapper.module, source)
    wrapper.module.visit(visitor)
    seen = {source}
    for number, (function, lines, text) in enumerate(visitor.found, 1):
        if text not in seen and _is_python(text):
            seen.add(text)
            yield Mutant(module, function, lines, number, text, source)


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


class _Changes(libcst.CSTVisitor):
    """Collects what mutmut's operators make of each node.

    Annotations and decorators are left as they are, as mutmut leaves them: nothing that runs reads
    the first; what the second ask for here (frozen, slots, the size of a cache) is no behaviour.
    So is the spelling of a sentence that is raised; that it is this sentence is behaviour.
    """

    def __init__(self, positions: Any, module: libcst.Module, source: str) -> None:
        super().__init__()
        self.found: list[tuple[str, range, str]] = []
        self._positions = positions
        self._module = module
        self._source = source
        self._line_starts = [0]
        for line in source.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))
        self._path: list[str] = []
        self._function: tuple[str, range] | None = None
        self._is_raised = False

    def on_visit(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.Annotation | libcst.Decorator) or _is_left_alone(node):
            return False
        if self._is_raised and isinstance(node, libcst.SimpleString) and " " in node.raw_value:
            return False
        if isinstance(node, libcst.Raise):
            self._is_raised = True
        if isinstance(node, libcst.FunctionDef | libcst.ClassDef):
            self._path.append(node.name.value)
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for changed in operator(node):
                    if not _is_the_same_codec(node, changed):
                        self._add(node, changed)
        return True

    def on_leave(self, original_node: libcst.CSTNode) -> None:
        if isinstance(original_node, libcst.FunctionDef | libcst.ClassDef):
            self._path.pop()
        elif isinstance(original_node, libcst.Raise):
            self._is_raised = False

    def visit_FunctionDef_body(self, node: libcst.FunctionDef) -> None:
        if self._function is None:
            place = self._range(node)
            first = min([place.start.line, *(self._range(d).start.line for d in node.decorators)])
            self._function = ".".join(self._path), range(first, place.end.line + 1)

    def leave_FunctionDef_body(self, node: libcst.FunctionDef) -> None:
        if self._function is not None and self._function[0] == ".".join(self._path):
            self._function = None

    def _add(self, node: libcst.CSTNode, changed: libcst.CSTNode) -> None:
        function, lines = self._function or ("", range(0))
        self.found.append((function, lines, self._with(node, changed)))

    def _with(self, node: libcst.CSTNode, changed: libcst.CSTNode) -> str:
        """The module's text with one node changed."""
        place = self._range(node)
        start, end = (self._offset(at.line, at.column) for at in (place.start, place.end))
        if self._code(node, node) == self._source[start:end]:
            return self._source[:start] + self._code(changed, node) + self._source[end:]
        # What spans lines and is indented is printed anew; that takes longer.
        module = libcst.ensure_type(self._module.deep_replace(node, changed), libcst.Module)
        return module.code

    def _code(self, node: libcst.CSTNode, original: libcst.CSTNode) -> str:
        """A node as it is printed where `original` stands, whose parentheses stay around it."""
        around = getattr(original, "lpar", ())
        if around and getattr(node, "lpar", ()) == around:
            node = node.with_changes(lpar=(), rpar=())
        return self._module.code_for_node(node).strip()

    def _range(self, node: libcst.CSTNode) -> CodeRange:
        found: CodeRange = self._positions[node]
        return found

    def _offset(self, line: int, column: int) -> int:
        return self._line_starts[line - 1] + column


def _is_left_alone(node: libcst.CSTNode) -> bool:
    """Calls that mutmut leaves alone: all that could become of them is a TypeError."""
    return (
        isinstance(node, libcst.Call)
        and isinstance(node.func, libcst.Name)
        and node.func.value in NEVER_MUTATE_FUNCTION_CALLS
    )


def _is_the_same_codec(node: libcst.CSTNode, changed: libcst.CSTNode) -> bool:
    """Whether both name a text's encoding, in which capitals do not count."""
    if isinstance(node, libcst.SimpleString) and isinstance(changed, libcst.SimpleString):
        with suppress(LookupError, ValueError):
            return codecs.lookup(node.raw_value) == codecs.lookup(changed.raw_value)
    return False
