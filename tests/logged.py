"""Every event that the code writes, read from the code: its name, level, log, and fields."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.flows.setbacks import _MENDS

_LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
# Those whose names are not written where they are logged.
_CALLED = {"alarm": 1, "tell_once": 0, "note": 0}


@dataclass
class Event:
    """What is known of one event; `audit` says that it goes to the audit log."""

    levels: set[str] = field(default_factory=set)
    audit: set[bool] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def events(root: Path) -> dict[str, Event]:
    """The events of all modules below `root`."""
    found: dict[str, Event] = {}
    for path in sorted(root.rglob("*.py")):
        if "demo" in path.parts:
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                for name, level, audit in _named(call, call.func, path):
                    event = found.setdefault(name, Event())
                    event.levels.add(level)
                    event.audit.add(audit)
                    event.fields |= {word.arg for word in call.keywords if word.arg}
                    event.fields |= _added(call, call.func)
    return found


def _named(call: ast.Call, func: ast.Attribute, path: Path) -> Iterator[tuple[str, str, bool]]:
    receiver = ast.unparse(func.value)
    if func.attr in _LEVELS and receiver.endswith(("log", "audit")):
        # A name that is passed on is one of those below, where it is written.
        passed_on = not isinstance(call.args[0], ast.Constant)
        assert not passed_on or path.stem in ("setbacks", "audit"), ast.unparse(call)
        if not passed_on:
            yield _text(call.args[0]), func.attr, receiver.endswith("audit")
    elif func.attr in _CALLED and receiver.endswith(("setbacks", "audit")):
        name = _text(call.args[_CALLED[func.attr]])
        audit = receiver.endswith("audit")
        assert audit or name in _MENDS
        yield name, "info" if audit else "error", audit


def _added(call: ast.Call, func: ast.Attribute) -> set[str]:
    """The fields that are added on the way, or unpacked."""
    receiver = ast.unparse(func.value)
    if receiver.endswith("setbacks"):
        return {"user", "mend"} if func.attr == "alarm" else {"mend"}
    unpacked = any(word.arg is None for word in call.keywords)
    return {"user", "session"} if unpacked else set()


def _text(node: ast.expr) -> str:
    assert isinstance(node, ast.Constant), ast.unparse(node)
    assert isinstance(node.value, str)
    return node.value
