"""What expr makes shorter before it evaluates: `x and false` is false, whatever `x` would do."""

from dataclasses import replace

from sidecar.core.expression_tree import (
    Array,
    Binary,
    Call,
    Chain,
    Conditional,
    Each,
    Literal,
    Member,
    Node,
    Slice,
    Unary,
)


def folded(node: Node) -> Node:
    """The same condition, less what is true or false by itself."""
    match node:
        case Unary():
            return _unary(replace(node, operand=folded(node.operand)))
        case Binary():
            return _binary(replace(node, left=folded(node.left), right=folded(node.right)))
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return replace(
                node, condition=folded(condition), then=folded(then), otherwise=folded(otherwise)
            )
        case Array(items=items):
            return replace(node, items=tuple(folded(item) for item in items))
        case Call(arguments=arguments):
            return replace(node, arguments=tuple(folded(one) for one in arguments))
        case Each(collection=collection, predicate=predicate):
            return replace(node, collection=folded(collection), predicate=folded(predicate))
        case Member(base=base, key=key):
            return replace(node, base=folded(base), key=folded(key))
        case Chain(node=inner):
            return replace(node, node=folded(inner))
        case Slice(base=base, first=first, end=end):
            return replace(
                node,
                base=folded(base),
                first=folded(first) if first else None,
                end=folded(end) if end else None,
            )
    return node


def _unary(node: Unary) -> Node:
    known = _truth(node.operand)
    if node.operator == "not" and known is not None:
        return Literal(not known, node.at)
    return node


def _binary(node: Binary) -> Node:
    left, right = _truth(node.left), _truth(node.right)
    if node.operator in ("and", "or"):
        decides = node.operator == "or"
        if left is (not decides):
            return node.right
        if right is (not decides):
            return node.left
        if decides in (left, right):
            return Literal(decides, node.at)
    elif node.operator == "==":
        return _equality(node)
    return node


def _equality(node: Binary) -> Node:
    match node.left, node.right:
        case Literal(value=bool() | int() | str() as left), Literal(value=right) if type(
            left
        ) is type(right):
            return Literal(left == right, node.at)
    return node


def _truth(node: Node) -> bool | None:
    return node.value if isinstance(node, Literal) and isinstance(node.value, bool) else None
