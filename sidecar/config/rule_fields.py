"""A mapping of YAML, read strictly: every fault with its line and column, and the nearest name."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

_T = TypeVar("_T")
_D = TypeVar("_D")
_MOST_FAULTS = 20
_SHOWN = 60


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What is wrong, and where; both numbers begin with 1."""

    line: int
    column: int
    sentence: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.sentence}"


class Faults:
    """What was found wrong so far."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, where: yaml.Node | yaml.Mark, sentence: str) -> None:
        """One more fault, at a node's beginning."""
        mark = where if isinstance(where, yaml.Mark) else where.start_mark
        self.add_at(mark.line + 1, mark.column + 1, sentence)

    def add_at(self, line: int, column: int, sentence: str) -> None:
        """One more fault at a place."""
        if len(self.found) < _MOST_FAULTS:
            self.found.append(Fault(line, column, sentence))


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a sentence about an unknown name."""
    near = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}"


def shown(text: str) -> str:
    """A text of the file, for messages."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


class Fields:
    """The keys and values of one mapping; unknown keys and duplicates are faults at once."""

    def __init__(self, node: yaml.Node, known: Sequence[str], faults: Faults, *, of: str) -> None:
        self._node = node
        self._faults = faults
        self._of = of
        self._values: dict[str, yaml.Node] = {}
        if not isinstance(node, yaml.MappingNode):
            faults.add(node, f"{of} is a mapping, with keys of: {', '.join(known)}")
            return
        for key, value in pairs(node, faults):
            if known and key.value not in known:
                faults.add(
                    key, f"unknown key {shown(key.value)} in {of}. {nearest(key.value, known)}"
                )
            else:
                self._values[key.value] = value

    def node(self, name: str) -> yaml.Node | None:
        """What stands there, None for nothing."""
        return self._values.get(name)

    def required(self, name: str) -> yaml.Node | None:
        """What stands there; nothing is a fault."""
        if name not in self._values and isinstance(self._node, yaml.MappingNode):
            self._faults.add(self._node, f"{self._of} lacks {name}")
        return self._values.get(name)

    @property
    def place(self) -> yaml.Node:
        """The mapping itself."""
        return self._node

    def parsed(self, node: yaml.Node | None, read: Callable[[str], _T], default: _D) -> _T | _D:
        """A value by one of the readers of variables, whose errors go on from a name."""
        text = self.text(node)
        if node is None or text is None:
            return default
        try:
            return read(text)
        except ValueError as error:
            self._faults.add(node, f"this {error}")
            return default

    def text(self, node: yaml.Node | None) -> str | None:
        """A value's text, None for a fault or where there is none."""
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            self._faults.add(node, "a text is wanted here")
            return None
        return str(node.value)

    def texts(self, node: yaml.Node | None) -> tuple[tuple[str, yaml.Node], ...]:
        """A list of texts, each with its node; one alone needs no list."""
        if node is None:
            return ()
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not nodes:
            self._faults.add(node, "this list is empty")
        found = ((self.text(one), one) for one in nodes)
        return tuple((text, one) for text, one in found if text is not None)

    def items(self, name: str) -> list[yaml.Node]:
        """The members of a list of mappings."""
        node = self._values.get(name)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._faults.add(node, f"{name} is a list")
            return []
        return list(node.value)


def pairs(node: yaml.MappingNode, faults: Faults) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """The keys and values of a mapping, less what is no name or is there already."""
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            faults.add(key, "a key is a name")
        elif key.value in seen:
            faults.add(key, f"{shown(key.value)} is here twice")
        else:
            seen.add(key.value)
            yield key, value


def scalar(node: yaml.Node) -> Any:
    """A scalar as YAML means it: a bool, a number, nothing, or a text; else the node."""
    try:
        return yaml.SafeLoader("").construct_object(node) if _is_scalar(node) else node
    except (yaml.YAMLError, ValueError, OverflowError):  # a tag of its own, or one that lies
        return node


def _is_scalar(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def place(text: str, node: yaml.ScalarNode, at: int) -> tuple[int, int]:
    """The line and column in a text of the character that is `at` in one of its scalars.

    Where YAML has put the scalar together of others than its own characters: its beginning.
    """
    line, column = node.start_mark.line, node.start_mark.column
    lines, before = text.splitlines(), node.value[:at]
    if node.style == "|":
        first = next((one for one in lines[line + 1 :] if one.strip()), "")
        indent = len(first) - len(first.lstrip())
        down = before.count("\n") + 1
        return line + down + 1, indent + len(before.rpartition("\n")[2]) + 1
    written = lines[line][column : node.end_mark.column]
    if node.style == ">" or node.end_mark.line != line or (node.style == '"' and "\\" in written):
        return line + 1, column + 1
    doubled = before.count("'") if node.style == "'" else 0
    return line + 1, column + (node.style is not None) + at + doubled + 1
