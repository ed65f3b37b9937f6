"""The functions that a condition may call with values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.core.expression_values import Steps, kind
from sidecar.errors import ExpressionFailed


@dataclass(frozen=True, slots=True)
class Function:
    """A function of values; `takes` are the kinds of each, `gives` of what comes."""

    takes: tuple[tuple[str, ...], ...]
    gives: str
    call: Callable[..., Any]


def _each_character(change: Callable[[str], str], text: str) -> str:
    """Go changes each character for one other."""
    changed = ((change(one), one) for one in text)
    return "".join(new if len(new) == 1 else old for new, old in changed)


_TEXT = ("string",)
# Python's own, but for four separators that Go does not count (\x1c to \x1f).
_SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
FUNCTIONS: Mapping[str, Function] = {
    "len": Function((("string", "list", "map"),), "int", len),
    "lower": Function((_TEXT,), "string", lambda text: _each_character(str.lower, text)),
    "upper": Function((_TEXT,), "string", lambda text: _each_character(str.upper, text)),
    "trim": Function((_TEXT,), "string", lambda text: text.strip(_SPACES)),
    "hasPrefix": Function((_TEXT, _TEXT), "bool", str.startswith),
    "hasSuffix": Function((_TEXT, _TEXT), "bool", str.endswith),
    "split": Function(
        (_TEXT, _TEXT), "list", lambda text, by: text.split(by) if by else list(text)
    ),
}


def call(name: str, values: list[Any], steps: Steps) -> Any:
    """What a function gives for values."""
    function = FUNCTIONS[name]
    for place, value in enumerate(values):
        if kind(value) not in function.takes[place]:
            raise ExpressionFailed(f"{name} does not take a {kind(value)}")
        if isinstance(value, str):
            steps.take(1 + len(value))  # characters, one by one
    return function.call(*values)
