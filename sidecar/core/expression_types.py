"""Which conditions expr refuses for given claims before it evaluates them, by what they are.

Argo Workflows compiles a rule anew for each user's claims. A claim that is not there is then an
error, and a comparison of what cannot be equal is one, even where it would not be reached.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.core.expression_functions import FUNCTIONS
from sidecar.core.expression_tree import (
    Array,
    Binary,
    Call,
    Chain,
    Conditional,
    Each,
    Literal,
    Member,
    Name,
    Node,
    Pointer,
    Slice,
    Unary,
)
from sidecar.core.expression_values import kind
from sidecar.errors import ExpressionFailed


@dataclass(frozen=True, slots=True)
class Type:
    """What a part of a condition is known to be; of a list, what its elements are."""

    kind: str
    element: "Type | None" = None

    def __str__(self) -> str:
        return self.kind

    @property
    def is_open(self) -> bool:
        """Whether it is seen only at evaluation."""
        return self.kind in ("unknown", "any")

    def is_one_of(self, *kinds: str) -> bool:
        """Whether it is known to be one of these."""
        return self.kind in kinds


# expr has two: of what comes from a list or a map of claims, it does know the type `any`.
UNKNOWN, ANY = Type("unknown"), Type("any")
NIL, BOOL, INT, FLOAT, STRING, MAP = (
    Type(name) for name in ("nil", "bool", "int", "float", "string", "map")
)
_NUMBER = ("int", "float")
_TEXTUAL = ("matches", "contains", "startsWith", "endsWith")


def check(node: Node, claims: Mapping[str, Any]) -> None:
    """Refuse what expr refuses.

    Raises:
        ExpressionFailed: naming the claims or types.
    """
    _Checker(claims).type_of(node)


def _list_of(element: Type) -> Type:
    return Type("list", element)


class _Checker:
    def __init__(self, claims: Mapping[str, Any]) -> None:
        self._claims = claims
        self._elements: list[Type] = []

    def type_of(self, node: Node) -> Type:
        match node:
            case Literal(value=value):
                return Type(kind(value))
            case Name(name=name):
                return UNKNOWN if name == "$env" else self._claim(name)
            case Pointer():
                return self._elements[-1]
            case Chain(node=inner):
                return self.type_of(inner)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Conditional():
                return self._conditional(node)
            case Array(items=items):
                return self._array(items)
            case Member():
                return self._member(node)
            case Slice():
                return self._slice(node)
            case Call():
                return self._call(node)
        return self._each(node)

    def _claim(self, name: str) -> Type:
        if name not in self._claims:
            raise ExpressionFailed(f"there is no claim {name[:100]!r}")
        found = kind(self._claims[name])
        return _list_of(ANY) if found == "list" else Type(found)

    def _unary(self, node: Unary) -> Type:
        operand = self.type_of(node.operand)
        if node.operator == "not":
            if operand.is_open or operand == BOOL:
                return BOOL
        elif operand.is_open:
            return UNKNOWN
        elif operand.is_one_of(*_NUMBER):
            return operand
        raise ExpressionFailed(f"{node.operator} does not take a {operand}")

    def _binary(self, node: Binary) -> Type:
        left, right = self.type_of(node.left), self.type_of(node.right)
        operator = node.operator
        if operator == "??":
            return _either(left, right)
        if operator == "in":
            fits = _fits_in(left, right)
        elif operator in ("==", "!="):
            fits = _are_comparable(left, right)
        else:
            fits = _are_operands(operator, left, right)
        if not fits:
            raise ExpressionFailed(f"{operator} does not take a {left} and a {right}")
        return _result(operator, left, right)

    def _conditional(self, node: Conditional) -> Type:
        condition = self.type_of(node.condition)
        if not (condition.is_open or condition == BOOL):
            raise ExpressionFailed(f"? does not take a {condition}")
        then, otherwise = self.type_of(node.then), self.type_of(node.otherwise)
        if then == NIL or otherwise == NIL:
            return otherwise if then == NIL else then
        if not _is_assignable(then, otherwise):
            return UNKNOWN
        if then.kind == otherwise.kind == "list" and then != otherwise:
            return _list_of(ANY)
        return then

    def _array(self, items: tuple[Node, ...]) -> Type:
        types = [self.type_of(item) for item in items]
        if not types:
            return _list_of(UNKNOWN)
        # To expr, nil and what is not known are of one kind here.
        kinds = {None if one in (UNKNOWN, NIL) else one.kind for one in types}
        return _list_of(types[-1] if len(kinds) == 1 else ANY)

    def _member(self, node: Member) -> Type:
        key = node.key
        if isinstance(node.base, Name) and node.base.name == "$env":
            if not isinstance(key, Literal) or not isinstance(key.value, str):
                self.type_of(key)
                return UNKNOWN
            is_there = key.value in self._claims
            return UNKNOWN if node.optional and not is_there else self._claim(key.value)
        base, by = self.type_of(node.base), self.type_of(key)
        if base.is_open:
            return UNKNOWN
        if base == MAP and (by == STRING or by.is_open):
            return ANY
        if base.kind == "list" and (by == INT or by.is_open):
            return base.element or ANY
        raise ExpressionFailed(f"a {base} has no members by a {by}")

    def _slice(self, node: Slice) -> Type:
        base = self.type_of(node.base)
        if base.is_open:
            return UNKNOWN
        bounds = [self.type_of(one) for one in (node.first, node.end) if one is not None]
        if not base.is_one_of("string", "list"):
            raise ExpressionFailed(f"[:] does not take a {base}")
        for bound in bounds:
            if not (bound.is_open or bound == INT):
                raise ExpressionFailed(f"[:] does not take a {bound} as a bound")
        return base

    def _call(self, node: Call) -> Type:
        self._refuse_a_claim(node.name)
        function = FUNCTIONS[node.name]
        for place, argument in enumerate(node.arguments):
            found = self.type_of(argument)
            if not (found.is_open or found.is_one_of(*function.takes[place])):
                raise ExpressionFailed(f"{node.name} does not take a {found}")
        return _list_of(STRING) if function.gives == "list" else Type(function.gives)

    def _each(self, node: Each) -> Type:
        self._refuse_a_claim(node.name)
        collection = self.type_of(node.collection)
        if not (collection.is_open or collection.kind == "list"):
            raise ExpressionFailed(f"{node.name} does not take a {collection}")
        self._elements.append(collection.element or UNKNOWN)
        predicate = self.type_of(node.predicate)
        self._elements.pop()
        if node.name == "map" and predicate != NIL:
            return _list_of(predicate)
        if not (predicate.is_open or predicate == BOOL):
            raise ExpressionFailed(f"{node.name} asks for a bool of each, not a {predicate}")
        if node.name == "filter":
            return _list_of(collection.element or ANY)
        return INT if node.name == "count" else BOOL

    def _refuse_a_claim(self, name: str) -> None:
        if name in self._claims:
            raise ExpressionFailed(f"{name} is a claim here, and no function")


def _is_assignable(one: Type, to: Type) -> bool:
    """Whether one fits where another is; who asks has looked for nil before."""
    if UNKNOWN in (one, to):
        return False
    return to == ANY or one.kind == to.kind


def _are_comparable(left: Type, right: Type) -> bool:
    return (
        left.is_open
        or right.is_open
        or NIL in (left, right)
        or (left.is_one_of(*_NUMBER) and right.is_one_of(*_NUMBER))
        or _is_assignable(left, right)
    )


def _fits_in(left: Type, right: Type) -> bool:
    if right == MAP:
        return left.is_open or left == STRING
    if right.kind == "list":
        return _are_comparable(left, right.element or ANY)
    return right.is_open or (left.is_open and right == STRING)


def _are_operands(operator: str, left: Type, right: Type) -> bool:
    """Whether both are of one kind that the operator takes, as far as that is known."""
    kinds = _TAKEN[operator]
    if left.is_open or right.is_open:
        known = right if left.is_open else left
        return known.is_open or any(known.is_one_of(*each) for each in kinds)
    return any(left.is_one_of(*each) and right.is_one_of(*each) for each in kinds)


_TAKEN: Mapping[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("and", "or"), (("bool",),)),
    **dict.fromkeys(("<", ">", "<=", ">=", "+"), (_NUMBER, ("string",))),
    **dict.fromkeys(("-", "*", "/", "**"), (_NUMBER,)),
    **dict.fromkeys(("%", ".."), (("int",),)),
    **dict.fromkeys(_TEXTUAL, (("string",),)),
}


def _either(left: Type, right: Type) -> Type:
    if NIL in (left, right):
        return right if left == NIL else left
    return left if _is_assignable(right, left) else UNKNOWN


def _result(operator: str, left: Type, right: Type) -> Type:
    fixed: Callable[[], Type | None] = lambda: {  # noqa: E731 - one table, read where it is used
        "/": FLOAT,
        "**": FLOAT,
        "%": INT,
        "..": _list_of(INT),
    }.get(operator)
    if operator not in ("+", "-", "*"):
        return fixed() or BOOL
    if left.is_open or right.is_open:
        return UNKNOWN
    if left == STRING:
        return STRING
    return FLOAT if FLOAT in (left, right) else INT
