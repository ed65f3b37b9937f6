"""What a condition consists of, in the terms of the expression language's own syntax tree.

`at` is where a node's text begins, from 0.
"""

from dataclasses import dataclass
from typing import TypeAlias


class ExpressionBroken(ValueError):
    """A text that is no condition; `at` is where in it, from 0, and the message says why."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why)
        self.at = at


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, a number, true, false or nil."""

    value: str | int | float | bool | None
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """A claim, or `$env` for all of them."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """The element that a predicate is about: `#`, or nothing before a `.`."""

    at: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`not`, `!`, `-` or `+` before a value."""

    operator: str
    operand: "Node"
    at: int


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two values."""

    operator: str
    left: "Node"
    right: "Node"
    at: int


@dataclass(frozen=True, slots=True)
class Conditional:
    """`condition ? then : otherwise`."""

    condition: "Node"
    then: "Node"
    otherwise: "Node"
    at: int


@dataclass(frozen=True, slots=True)
class Array:
    """`[1, 2]`."""

    items: tuple["Node", ...]
    at: int


@dataclass(frozen=True, slots=True)
class Member:
    """`base.key` or `base[key]`; `optional` with `?.`, which gives up the chain around it."""

    base: "Node"
    key: "Node"
    optional: bool
    at: int


@dataclass(frozen=True, slots=True)
class Chain:
    """As far as a `?.` reaches: nil in the place of all of it, where one finds nil."""

    node: "Node"
    at: int


@dataclass(frozen=True, slots=True)
class Slice:
    """`base[first:end]`."""

    base: "Node"
    first: "Node | None"
    end: "Node | None"
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """`len(value)`, and other functions of values."""

    name: str
    arguments: tuple["Node", ...]
    at: int


@dataclass(frozen=True, slots=True)
class Each:
    """`any(collection, predicate)`, and others that look at each element."""

    name: str
    collection: "Node"
    predicate: "Node"
    at: int


Node: TypeAlias = (
    Literal
    | Name
    | Pointer
    | Unary
    | Binary
    | Conditional
    | Array
    | Member
    | Chain
    | Slice
    | Call
    | Each
)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below one."""
    match node:
        case Unary(operand=only) | Chain(node=only):
            return (only,)
        case Binary(left=left, right=right) | Member(base=left, key=right):
            return (left, right)
        case Each(collection=left, predicate=right):
            return (left, right)
        case Conditional():
            return (node.condition, node.then, node.otherwise)
        case Array(items=items) | Call(arguments=items):
            return items
        case Slice():
            return tuple(one for one in (node.base, node.first, node.end) if one is not None)
    return ()
