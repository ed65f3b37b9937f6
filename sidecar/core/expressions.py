"""Conditions of rules, in the expression language of Argo Workflows' `rbac-rule` annotations.

Nothing of a condition is ever Python's. It ends after a bounded number of steps, whatever it
and the claims are.
"""

from collections.abc import Mapping
from typing import Any, Final

from sidecar.core.expression_folding import folded
from sidecar.core.expression_functions import call
from sidecar.core.expression_strings import whole
from sidecar.core.expression_tree import (
    Array,
    Binary,
    Call,
    Chain,
    Conditional,
    Each,
    ExpressionBroken,
    Literal,
    Member,
    Name,
    Node,
    Pointer,
    Slice,
    Unary,
)
from sidecar.core.expression_types import check
from sidecar.core.expression_values import (
    OPERATIONS,
    Steps,
    as_int,
    as_key,
    cut,
    expect,
    fetch,
    kind,
    negative,
)
from sidecar.errors import ExpressionFailed

MAX_CLAIMS_DEPTH = 32


class Expression:
    """A condition that was read; whether it holds is said of claims."""

    __slots__ = ("_folded", "_root", "text")

    def __init__(self, text: str) -> None:
        """Read a condition.

        Raises:
            ExpressionBroken: it is none; at that place.
        """
        from sidecar.core.expression_parser import parse  # lark: 4 MiB, for those who have rules

        self.text: Final = text
        self._root: Final = parse(whole(text))
        self._folded: Final = folded(self._root)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Whether it does, of a token's claims.

        Raises:
            ExpressionFailed: it cannot be evaluated for them, or is neither true nor false.
        """
        values = as_values(claims)
        check(self._root, values)
        found = _Evaluation(values).value(self._folded)
        if not isinstance(found, bool):
            raise ExpressionFailed(f"is a {kind(found)}, neither true nor false")
        return found

    def false_part(self, claims: Mapping[str, Any]) -> str:
        """Of a condition that does not hold, the first of the parts joined by `and` that does not.

        Raises:
            ExpressionFailed: it cannot be evaluated.
        """
        values = as_values(claims)
        parts = _conjunction(self._root, self.text)
        false = (text for part, text in parts if _Evaluation(values).value(part) is False)
        first = next(false, None)
        return first if first and _is_whole(first) else " ".join(self.text.split())


def _conjunction(root: Node, text: str) -> list[tuple[Node, str]]:
    """The parts of `a and b and c`, each with its text."""
    end, parts = len(text), list[tuple[Node, str]]()
    while isinstance(root, Binary) and root.operator == "and":
        sign = next((sign for sign in ("&&", "and") if text.startswith(sign, root.at)), None)
        if not sign:  # `a < b < c`
            break
        parts.append((root.right, " ".join(text[root.at + len(sign) : end].split())))
        root, end = root.left, root.at
    parts.append((root, " ".join(text[:end].split())))
    return parts[::-1]


def _is_whole(text: str) -> bool:
    """Whether what is cut out of a condition is one: no half of a pair of parentheses."""
    from sidecar.core.expression_parser import parse

    try:
        parse(text)
    except ExpressionBroken:
        return False
    return True


class Unreadable:
    """In the place of a condition that could not be read: it always fails."""

    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        self._why = why

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Never.

        Raises:
            ExpressionFailed: always.
        """
        raise ExpressionFailed(self._why)


def condition(text: str) -> Expression | Unreadable:
    """A condition of somebody who is not told of its faults, but through those who evaluate it."""
    try:
        return Expression(text)
    except ExpressionBroken as error:
        return Unreadable(f"cannot be read: {error} (character {error.at + 1})")


def as_values(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Claims as expr has them: each number is a float.

    Raises:
        ExpressionFailed: they are nested too deep, or a number is too big.
    """
    found = _as_value(dict(claims), 0)
    assert isinstance(found, dict)  # noqa: S101 - it was one
    return found


def _as_value(claim: object, depth: int) -> Any:
    if depth > MAX_CLAIMS_DEPTH:
        raise ExpressionFailed(f"the claims are nested deeper than {MAX_CLAIMS_DEPTH} levels")
    match claim:
        case None | bool() | float():
            return claim
        case str():
            return whole(claim)
        case int():
            try:
                return float(claim)
            except OverflowError:
                raise ExpressionFailed("a number among the claims is too big") from None
        case list() | tuple():
            return [_as_value(one, depth + 1) for one in claim]
        case dict():
            return {whole(str(key)): _as_value(one, depth + 1) for key, one in claim.items()}
    raise ExpressionFailed("the claims are not JSON")


class _NilInChain(Exception):
    """A `?.` found nil."""


class _Evaluation:
    """One condition, for one token's claims."""

    def __init__(self, claims: dict[str, Any]) -> None:
        self._claims = claims
        self._steps = Steps()
        self._elements: list[Any] = []

    def value(self, node: Node) -> Any:
        self._steps.take()
        match node:
            case Literal(value=value):
                return value
            case Name(name=name):
                return self._claims if name == "$env" else self._claims[name]
            case Pointer():
                return self._elements[-1]
            case Member():
                return self._member(node)
            case Chain(node=inner):
                return self._chain(inner)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Conditional():
                holds = expect(self.value(node.condition), bool, "?")
                return self.value(node.then if holds else node.otherwise)
            case Array(items=items):
                return [self.value(item) for item in items]
            case Slice():
                return self._slice(node)
            case Call(name=name, arguments=arguments):
                return call(name, [self.value(one) for one in arguments], self._steps)
        return self._each(node)

    def _member(self, node: Member) -> Any:
        base = self.value(node.base)
        if node.optional and base is None:
            raise _NilInChain
        return fetch(base, self.value(node.key))

    def _chain(self, inner: Node) -> Any:
        try:
            return self.value(inner)
        except _NilInChain:
            return None

    def _unary(self, node: Unary) -> Any:
        operand = self.value(node.operand)
        if node.operator == "not":
            return not expect(operand, bool, "not")
        return negative(operand) if node.operator == "-" else operand

    def _binary(self, node: Binary) -> Any:
        left = self.value(node.left)
        match node.operator:
            case "and":
                return self.value(node.right) if expect(left, bool, "and") else left
            case "or":
                return left if expect(left, bool, "or") else self.value(node.right)
            case "??":
                return self.value(node.right) if left is None else left
            case "in" if _is_a_set(node.right):
                return self._is_in_a_set(left, node.right)
        return OPERATIONS[node.operator](left, self.value(node.right), self._steps)

    def _is_in_a_set(self, needle: object, texts: Node) -> bool:
        """Strings that are written down, expr looks up so that other kinds are no keys."""
        return as_key(needle) in self.value(texts)

    def _slice(self, node: Slice) -> Any:
        base = self.value(node.base)
        end = None if node.end is None else as_int(self.value(node.end))
        first = 0 if node.first is None else as_int(self.value(node.first))
        found = cut(base, first, end)
        self._steps.take(len(found))
        return found

    def _each(self, node: Each) -> Any:
        found = expect(self.value(node.collection), list, node.name)
        if node.name == "filter":
            return [one for one in found if self._of_element(node, one)]
        values = (self._of_element(node, one) for one in found)
        match node.name:
            case "map":
                return list(values)
            case "all":
                return all(values)
            case "any":
                return any(values)
            case "none":
                return not any(values)
        count = sum(values)
        return count if node.name == "count" else count == 1

    def _of_element(self, node: Each, element: Any) -> Any:
        self._elements.append(element)
        try:
            found = self.value(node.predicate)
        finally:
            self._elements.pop()
        return found if node.name == "map" else expect(found, bool, node.name)


def _is_a_set(node: Node) -> bool:
    return (
        isinstance(node, Array)
        and bool(node.items)
        and all(isinstance(one, Literal) and isinstance(one.value, str) for one in node.items)
    )
