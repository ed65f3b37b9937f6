"""JSON of tokens, read so that nobody behind us can read it otherwise: no name twice, not deep."""

import json
from typing import Any

from sidecar.errors import TokenInvalid

MOST_NESTED = 16


def read_object(text: bytes, *, named: str) -> dict[str, Any]:
    """The JSON object in `text`; every name in it comes once, and it is not nested deeply.

    Raises:
        TokenInvalid: with the check `named`, or with what is wrong with an object that it is.
    """
    try:
        found = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise TokenInvalid("nested") from error
    except ValueError as error:
        raise TokenInvalid(named) from error
    if not isinstance(found, dict):
        raise TokenInvalid(named)
    if _is_deep(found):
        raise TokenInvalid("nested")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Of two readers each may take another one (RFC 7519 section 4).
        raise TokenInvalid("duplicate")
    return found


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _is_deep(found: dict[str, Any]) -> bool:
    """Whether something lies deeper than `MOST_NESTED`; level by level, since it may be deep."""
    level: list[Any] = [found]
    for _ in range(MOST_NESTED):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
