"""What the operators and functions of a condition do with values, as expr does it in Go.

Claims are JSON: their numbers are floats. Integers are a condition's own, and have 64 bits.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from sidecar.core.expression_strings import whole
from sidecar.errors import ExpressionFailed

MAX_STEPS = 50_000
_PATTERN_MEMORY = 1 << 20  # RE2 refuses a pattern that needs more
_CHARACTERS_A_STEP = 64
_STATES_A_STEP = 200  # of RE2, at its slowest, which takes 7 ns for one
_T = TypeVar("_T")


class Steps:
    """What one evaluation may still cost."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def take(self, count: int = 1) -> None:
        """So many steps are done.

        Raises:
            ExpressionFailed: they were too many.
        """
        self._left -= count
        if self._left < 0:
            raise ExpressionFailed(f"takes more than {MAX_STEPS} steps")

    def read(self, *texts: str) -> None:
        """Texts were looked through."""
        self.take(1 + sum(map(len, texts)) // _CHARACTERS_A_STEP)


class Pattern(Protocol):
    """A compiled regular expression; `programsize` is how much each byte of a text may cost."""

    programsize: int

    def search(self, text: bytes) -> object:
        """A match, or None."""


@lru_cache(maxsize=256)
def compiled_pattern(pattern: str) -> Pattern:
    """A regular expression of RE2, which Go's are, too: matching takes linear time.

    Raises:
        ExpressionFailed: it is none, or too big.
    """
    import re2  # only for those who match: 1.5 MiB

    if r"\C" in pattern:  # one byte, which Go does not have
        raise ExpressionFailed("no regular expression of Go")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True  # whether it matches is all that is asked
    options.max_mem = _PATTERN_MEMORY
    try:
        compiled: Pattern = re2.compile(pattern, options)
    except (re2.error, UnicodeError):
        raise ExpressionFailed("no regular expression of RE2") from None
    return compiled


def kind(value: object) -> str:
    """What a value is, for messages."""
    match value:
        case None:
            return "nil"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
        case list():
            return "list"
    return "map"


def expect(value: object, wanted: type[_T], doing: str) -> _T:
    """The value, if it is of that type.

    Raises:
        ExpressionFailed: it is not.
    """
    if not isinstance(value, wanted):
        raise ExpressionFailed(f"{doing} does not take a {kind(value)}")
    return value


def is_number(value: object) -> bool:
    """Whether it is an integer or a float."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left: Any, right: Any, steps: Steps) -> bool:
    """Whether two values are the same; 1 and 1.0 are, and no two of different kinds."""
    steps.take()
    if is_number(left) and is_number(right):
        return bool(left == right)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(
            equal(one, right[at], steps) for at, one in enumerate(left)
        )
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            equal(value, right[key], steps) for key, value in left.items()
        )
    if isinstance(left, str):
        steps.read(left)
    return bool(left == right)


def is_in(needle: object, found: object, steps: Steps) -> bool:
    """Whether a value is in a list, or a key in a map; nothing is in nil."""
    match found:
        case None:
            return False
        case list():
            return any(equal(one, needle, steps) for one in found)
        case dict():
            return as_key(needle) in found
    raise ExpressionFailed(f"in does not take a {kind(found)} on its right")


def as_key(value: object) -> str:
    """A map's key; nil stands for the empty one."""
    return expect("" if value is None else value, str, "a map's key")


def fetch(base: object, key: object) -> Any:
    """A member of a map, nil if there is none, or an element of a list."""
    if isinstance(base, dict):
        return base.get(as_key(key))
    elements = expect(base, list, "[]")
    index = as_int(key)
    if not -len(elements) <= index < len(elements):
        raise ExpressionFailed(f"index out of range: the list has {len(elements)} elements")
    return elements[index]


def cut(base: object, first: int, end: int | None) -> Any:
    """A part of a list, or of a string by its bytes; without an end, to the last one."""
    if isinstance(base, str):
        # Half a character is a byte that is escaped, until it is cut again.
        return base.encode(errors="surrogateescape")[first:end].decode(errors="surrogateescape")
    return expect(base, list, "[:]")[first:end]


def as_int(value: object) -> int:
    """An integer; what a float has behind its point is dropped."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ExpressionFailed(f"a {kind(value)} is no integer")
    return int(value)


def _wrapped(value: int) -> int:
    """The 64 bits that Go would have left."""
    return ((value & (2**64 - 1)) ^ 2**63) - 2**63


def _compare(name: str, test: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Steps], Any]:
    def operation(left: Any, right: Any, steps: Steps) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            steps.read(left)
        elif not (is_number(left) and is_number(right)):
            raise _mismatch(name, left, right)
        return test(left, right)

    return operation


def _calculate(name: str, calculate: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Steps], Any]:
    def operation(left: Any, right: Any, steps: Steps) -> Any:
        if not (is_number(left) and is_number(right)):
            raise _mismatch(name, left, right)
        try:
            value = calculate(left, right)
        except OverflowError:
            value = math.inf
        return _wrapped(value) if isinstance(value, int) else value

    return operation


def _mismatch(name: str, left: object, right: object) -> ExpressionFailed:
    return ExpressionFailed(f"{name} does not take a {kind(left)} and a {kind(right)}")


def _add(left: Any, right: Any, steps: Steps) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        steps.read(left, right)
        return left + right
    return _calculate("+", lambda a, b: a + b)(left, right, steps)


def _divide(left: float, right: float) -> float:
    return float(left) / float(right) if right else left * math.copysign(math.inf, right)


def _power(left: float, right: float) -> float:
    try:
        return math.pow(left, right)
    except ValueError:  # Go gives what IEEE 754 says
        return math.inf if left == 0 else math.nan


def _remainder(left: Any, right: Any, steps: Steps) -> int:
    for value in (left, right):
        if type(value) is not int:
            raise _mismatch("%", left, right)
    if right == 0:
        raise ExpressionFailed("% does not divide by zero")
    sign = int(math.copysign(1, left))  # Go divides towards zero
    return int(sign * (abs(left) % abs(right)))


def _range(left: Any, right: Any, steps: Steps) -> list[int]:
    first, last = as_int(left), as_int(right)
    steps.take(max(0, last - first + 1))
    return list(range(first, last + 1))


def _of_texts(name: str, test: Callable[[str, str], bool]) -> Callable[[Any, Any, Steps], Any]:
    def operation(left: Any, right: Any, steps: Steps) -> bool:
        if left is None or right is None:
            return False
        text, part = expect(left, str, name), expect(right, str, name)
        steps.read(text, part)
        return test(text, part)

    return operation


def _matches(left: Any, right: str, steps: Steps) -> bool:
    if left is None:
        return False
    text = whole(expect(left, str, "matches")).encode()
    pattern = compiled_pattern(right)
    steps.take(1 + len(text) * pattern.programsize // _STATES_A_STEP)
    return pattern.search(text) is not None


OPERATIONS: Mapping[str, Callable[[Any, Any, Steps], Any]] = {
    "==": equal,
    "!=": lambda left, right, steps: not equal(left, right, steps),
    "in": is_in,
    "<": _compare("<", lambda left, right: left < right),
    ">": _compare(">", lambda left, right: left > right),
    "<=": _compare("<=", lambda left, right: left <= right),
    ">=": _compare(">=", lambda left, right: left >= right),
    "matches": _matches,
    "contains": _of_texts("contains", lambda text, part: part in text),
    "startsWith": _of_texts("startsWith", str.startswith),
    "endsWith": _of_texts("endsWith", str.endswith),
    "+": _add,
    "-": _calculate("-", lambda left, right: left - right),
    "*": _calculate("*", lambda left, right: left * right),
    "/": _calculate("/", _divide),
    "%": _remainder,
    "**": _calculate("**", _power),
    "..": _range,
}


def negative(value: object) -> Any:
    """`-value`."""
    if not is_number(value):
        raise ExpressionFailed(f"- does not take a {kind(value)}")
    return _wrapped(-value) if isinstance(value, int) else -value  # type: ignore[operator] # a number
