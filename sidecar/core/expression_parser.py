"""Text → tree, by the grammar beside this file. Loaded only where there is a condition to read.

It reads what expr-lang/expr 1.17 reads, which Argo Workflows evaluates its rules with, less what
a rule has no need of: maps, pipes, `let`, `if`, and most functions.
"""

import difflib
import re
import sys
from functools import cache
from typing import Any

import lark

from sidecar.core.expression_functions import FUNCTIONS
from sidecar.core.expression_operators import MAX_DEPTH, Climbing, start_of, too_deep
from sidecar.core.expression_strings import unescaped
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
    children,
)
from sidecar.core.expression_values import compiled_pattern
from sidecar.errors import ExpressionFailed

MAX_TEXT = 8 * 1024
_BIGGEST_INTEGER = 2**63 - 1

# In a name's place: `not`, `true`, `false` and `nil` have a meaning there.
_NOT_NAMES = frozenset(
    ("and", "or", "in", "matches", "contains", "startsWith", "endsWith", "let", "if", "else")
)
_NOT_TAKEN = {
    "|": "pipes are not taken here: write upper(name), not name | upper()",
    "{": "maps are not taken here",
    ";": "several expressions are not taken here",
    "=": "write == to compare",
    "&": "write && or and",
    "let": "variables are not taken here",
    "if": "write condition ? one : other",
}


def parse(text: str) -> Node:
    """The tree of a condition.

    Raises:
        ExpressionBroken: with the place.
    """
    if len(text) > MAX_TEXT:
        raise ExpressionBroken(f"is longer than {MAX_TEXT // 1024} KiB", 0)
    try:
        found: Any = _grammar().parse(text)
    except lark.UnexpectedInput as error:
        raise _unexpected(text, error) from None
    node: Node = found  # lark knows of trees only
    _check(node)
    return node


@cache
def _grammar() -> lark.Lark:
    # With the builder inside, nodes are made while it parses: no text makes it recurse.
    return lark.Lark.open(
        "expression.lark",
        rel_to=__file__,
        parser="lalr",
        start="expression",
        transformer=_Builder(),
    )


def _unexpected(text: str, error: lark.UnexpectedInput) -> ExpressionBroken:
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        return ExpressionBroken("ends too early", len(text.rstrip()))
    at: int = error.pos_in_stream  # type: ignore[assignment] # declared as None alone
    found = str(token) if token is not None else text[at]
    if found in ("'", '"', "`"):
        return ExpressionBroken("a string does not end", at)
    words = (found, re.split(r"\W", text[:at].rstrip())[-1])
    hint = next((f": {_NOT_TAKEN[word]}" for word in words if word in _NOT_TAKEN), "")
    return ExpressionBroken(f"unexpected {found[:40]!r}{hint}", at)


@lark.v_args(inline=True)
class _Builder(lark.Transformer[lark.Token, Node]):
    """Nodes of what the grammar found."""

    def conditional(self, condition: Node, then: Node, otherwise: Node) -> Node:
        return Conditional(condition, then, otherwise, condition.at)

    def otherwise(self, condition: Node, otherwise: Node) -> Node:
        return Conditional(condition, condition, otherwise, condition.at)

    @lark.v_args(inline=False)
    def operations(self, parts: list[Any]) -> Node:
        return Climbing(parts).expression()

    @lark.v_args(inline=False)
    def prefixed(self, parts: list[Any]) -> list[Any]:
        return parts

    def prefix(self, token: lark.Token) -> lark.Token:
        return token

    @lark.v_args(inline=False)
    def operator(self, tokens: list[lark.Token]) -> list[lark.Token]:
        return tokens

    def constant(self, token: lark.Token) -> Node:
        if token.type == "CONSTANT":
            return Literal({"true": True, "false": False, "nil": None}[token], start_of(token))
        return Literal(_number(token), start_of(token))

    def string(self, token: lark.Token) -> Node:
        try:
            return Literal(unescaped(token[1:-1]), start_of(token))
        except ValueError as error:
            raise ExpressionBroken(str(error), start_of(token)) from None

    def raw_string(self, token: lark.Token) -> Node:
        return Literal(token[1:-1].replace("``", "`"), start_of(token))

    def atom(self, node: Node) -> Node:
        return node

    def parenthesized(self, node: Node) -> Node:
        return node

    def name(self, token: lark.Token) -> Node:
        if token in _NOT_NAMES:
            hint = _NOT_TAKEN.get(token)
            why = f"unexpected {str(token)!r}" + (f": {hint}" if hint else "")
            raise ExpressionBroken(why, start_of(token))
        return Name(str(token), start_of(token))

    def array(self, bracket: lark.Token, *items: Node) -> Node:
        return Array(items, start_of(bracket))

    def member(self, base: Node, name: lark.Token) -> Node:
        return _member(base, name, optional=False)

    def optional_member(self, base: Node, name: lark.Token) -> Node:
        return _member(base, name, optional=True)

    def index(self, base: Node, key: Node) -> Node:
        return Member(base, key, False, key.at)

    def optional_index(self, base: Node, key: Node) -> Node:
        return Chain(Member(base, key, True, key.at), key.at)

    def slice(self, base: Node, first: Node | None, end: Node | None) -> Node:
        return Slice(base, first, end, base.at)

    @lark.v_args(inline=False)
    def bound(self, found: list[Node]) -> Node | None:
        return found[0] if found else None

    def pointer(self, token: lark.Token) -> Node:
        return Pointer(start_of(token))

    def pointed(self, dot: lark.Token, name: lark.Token) -> Node:
        return _member(Pointer(start_of(dot)), name, optional=False)

    def predicate(self, node: Node) -> Node:
        return node

    def call(self, token: lark.Token, *arguments: Node) -> Node:
        name, at = str(token), start_of(token)
        if name not in FUNCTIONS:
            near = difflib.get_close_matches(name, [*FUNCTIONS, *_EACH])
            hint = f": did you mean {near[0]}?" if near else ""
            raise ExpressionBroken(f"there is no function {name[:40]!r} here{hint}", at)
        takes = FUNCTIONS[name].takes
        if len(arguments) != len(takes):
            count = f"{len(takes)} value" + ("" if len(takes) == 1 else "s")
            raise ExpressionBroken(f"{name} takes {count}", at)
        return Call(name, arguments, at)

    def each(self, token: lark.Token, collection: Node, predicate: Node | None = None) -> Node:
        name, at = str(token), start_of(token)
        if predicate is None and name != "count":
            raise ExpressionBroken(f"{name} takes a list and what is asked of each", at)
        return Each(name, collection, predicate or Pointer(at), at)


_EACH = ("all", "any", "none", "one", "filter", "map", "count")


def _member(base: Node, name: lark.Token, *, optional: bool) -> Node:
    """A member by its name; a chain goes on with it."""
    inner = base.node if isinstance(base, Chain) else base
    member: Node = Member(inner, Literal(str(name), start_of(name)), optional, start_of(name))
    return Chain(member, start_of(name)) if optional or isinstance(base, Chain) else member


def _number(token: lark.Token) -> int | float:
    text = token.replace("_", "").lower()
    try:
        whole = text[:2] in ("0x", "0o", "0b")
        broken = not whole and not text.isdigit()
        value = float(text) if broken else int(text, 0 if whole else 10)
    except ValueError:
        raise ExpressionBroken(f"no number: {str(token)[:40]!r}", start_of(token)) from None
    if value > (sys.float_info.max if broken else _BIGGEST_INTEGER):
        raise ExpressionBroken("a number is too big", start_of(token))
    return value


def _check(root: Node) -> None:
    """Refuse what is nested too deep, elements outside of a predicate, and broken patterns."""
    waiting: list[tuple[Node, int, bool]] = [(root, 1, False)]
    while waiting:
        node, depth, in_predicate = waiting.pop()
        if depth > MAX_DEPTH:
            raise too_deep(node.at)
        match node:
            case Pointer() if not in_predicate:
                raise ExpressionBroken("# and .name are for what is asked of each element", node.at)
            case Binary(operator="%", right=Literal(value=0)):
                raise ExpressionBroken("% does not divide by zero", node.right.at)
            case Binary(operator="matches", right=Literal(value=str(pattern))):
                try:
                    compiled_pattern(pattern)
                except ExpressionFailed as error:
                    raise ExpressionBroken(str(error), node.right.at) from None
            case Binary(operator="matches", right=right):
                # Anybody who may choose a claim would choose the pattern, and what it costs.
                raise ExpressionBroken("matches takes a pattern that is written down", right.at)
        for child in children(node):
            inside = in_predicate or (isinstance(node, Each) and child is node.predicate)
            waiting.append((child, depth + 1, inside))
