"""By which precedence the operators of a condition bind: a table, and how it is climbed."""

from collections.abc import Sequence
from typing import Any

import lark

from sidecar.core.expression_tree import Binary, ExpressionBroken, Node, Unary

MAX_DEPTH = 100  # each level takes three frames of a thousand

# expr's own table: what binds looser stands above.
_LEVELS = (
    "or ||",
    "and &&",
    "== != < > <= >= in matches contains startsWith endsWith",
    "..",
    "+ -",
    "* / %",
    "** ^",
    "??",
)
_BINARY = {
    operator: level for level, operators in enumerate(_LEVELS) for operator in operators.split()
}
# A prefix reaches over operators that bind at least as tight as this one.
_UNARY = {"not": _BINARY["*"], "!": _BINARY["*"], "-": _BINARY["**"], "+": _BINARY["**"]}
_COMPARISONS = ("<", ">", "<=", ">=")
_SAME = {"&&": "and", "||": "or", "!": "not", "^": "**"}


class Climbing:
    """Binds a flat list of operands and operators by precedence, as expr's parser does."""

    def __init__(self, parts: Sequence[list[Any]]) -> None:
        # A list of prefixes and an operand, and a list of an operator's words, in turn.
        self._parts: list[Any] = []
        for place, part in enumerate(parts):
            self._parts.extend([part] if place % 2 else part)
        self._next = 0

    def expression(self, lowest: int = 0, depth: int = 0) -> Node:
        """What comes next, as far as operators bind at least as tight as `lowest`."""
        if depth >= MAX_DEPTH:
            raise too_deep(_place(self._parts[self._next]))
        left = self._operand(depth)
        is_coalesced: bool = False
        while self._next < len(self._parts):
            *negation, operator = self._parts[self._next]
            if _BINARY[operator] < lowest:
                break
            if is_coalesced and operator != "??":
                raise ExpressionBroken(
                    "?? and other operators need parentheses around one of them", start_of(operator)
                )
            is_coalesced = operator == "??"
            left = self._operation(left, negation, operator, depth)
        return left

    def _operand(self, depth: int) -> Node:
        """What is at the next place; a prefix reaches as far as it binds."""
        part = self._parts[self._next]
        self._next += 1
        if not isinstance(part, lark.Token):
            node: Node = part
            return node
        operand = self.expression(_UNARY[part], depth + 1)
        return Unary(_SAME.get(part, str(part)), operand, start_of(part))

    def _operation(self, left: Node, negation: list[Any], operator: lark.Token, depth: int) -> Node:
        binding = _BINARY[operator]
        if operator in _COMPARISONS:
            return self._comparisons(left, binding, depth)
        self._next += 1
        right = self.expression(binding + (operator not in ("**", "^")), depth + 1)
        name = _SAME.get(operator, str(operator))
        made: Node = Binary(name, left, right, start_of(operator))
        return Unary("not", made, start_of(negation[0])) if negation else made

    def _comparisons(self, left: Node, binding: int, depth: int) -> Node:
        """`a < b < c` is `a < b and b < c`."""
        found: Node | None = None
        while self._next < len(self._parts) and self._parts[self._next][-1] in _COMPARISONS:
            operator = self._parts[self._next][-1]
            self._next += 1
            right = self.expression(binding + 1, depth + 1)
            one: Node = Binary(str(operator), left, right, start_of(operator))
            found = Binary("and", found, one, start_of(operator)) if found else one
            left = right
        assert found is not None  # noqa: S101 - it is called at a comparison
        return found


def too_deep(place: int) -> ExpressionBroken:
    """What is said of a condition that is nested too deep there."""
    return ExpressionBroken(f"is nested deeper than {MAX_DEPTH} levels", place)


def _place(part: Node | lark.Token) -> int:
    return start_of(part) if isinstance(part, lark.Token) else part.at


def start_of(token: lark.Token) -> int:
    """Where a token begins."""
    return token.start_pos or 0
