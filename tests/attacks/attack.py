"""What an attack is: what the attacker does, what stops it, and how that is taken out."""

import importlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tests.attacks.lab import Lab, ordinary_use

Run = Callable[[Lab], Coroutine[Any, Any, bool]]
"""Carries an attack out; whether the attacker got what they wanted."""

CLASSES = {
    1: "Open redirects",
    2: "Session fixation",
    3: "Login CSRF, swapped tabs",
    4: "Mix-up of providers",
    5: "Stolen codes and callbacks",
    6: "Other spellings of a path",
    7: "Header smuggling",
    8: "Forged and foreign tokens at a login",
    9: "Forged and foreign tokens at a refresh",
    10: "What is left after a logout",
    11: "Logout by others",
    12: "Cookies: tossed, doubled, odd, too many",
    13: "Cross-site requests",
    14: "Cross-site WebSockets",
    15: "Streams that outlive their session",
    16: "Sealed records: swapped, moved, changed",
    17: "Answers to the wrong person",
    18: "Leaks of tokens and secrets",
    19: "Rights that were taken away",
    20: "Request smuggling, and heads without an end",
    21: "Bombs: odd numbers, long answers",
    22: "Repeated parameters",
    23: "Provider endpoints that lead away",
    24: "Whoever reads or writes the store",
    25: "Exhaustion",
    26: "Encrypted tokens as an oracle",
    27: "Machines' tokens",
}


@dataclass(frozen=True)
class Defence:
    """One function or constant of the product, and what stands in its place when it is taken out.

    `name` is `module:attribute` or `module:Class.attribute`. A function that is named where it is
    defined is replaced wherever it was imported; else in the named module alone.
    """

    what: str
    """The rule that it keeps."""
    name: str
    instead: Callable[[Any], Any]
    """Makes, of the original, what takes its place."""

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """While this lasts the product is without it. Tests alone can reach this."""
        module = importlib.import_module(self.name.partition(":")[0])
        *holders, attribute = self.name.partition(":")[2].split(".")
        holder: Any = module
        for name in holders:
            holder = getattr(holder, name)
        original = vars(holder)[attribute]
        replacement = self.instead(original)
        with ExitStack() as restored:
            importers = [] if holders else _importers(module, attribute, original)
            for place in [holder, *importers]:
                restored.callback(setattr, place, attribute, original)
                setattr(place, attribute, replacement)
            forget_decisions()
            try:
                yield
            finally:
                restored.close()
                forget_decisions()


@dataclass(frozen=True)
class Attack:
    """An attack. Each of its defences alone stops it; without all of them it succeeds."""

    name: str
    classes: tuple[int, ...]
    does: str
    defences: tuple[Defence, ...]
    run: Run
    use: Callable[[Lab], Awaitable[None]]
    """What goes on to work without the defences: it shows that nothing else was taken out."""


ATTACKS: list[Attack] = []


def attack(
    *classes: int,
    does: str,
    stopped_by: Defence | Sequence[Defence],
    use: Callable[[Lab], Awaitable[None]] = ordinary_use,
) -> Callable[[Run], Run]:
    """Enters a function into the list of attacks, under its own name."""

    def entered(run: Run) -> Run:
        defences = (stopped_by,) if isinstance(stopped_by, Defence) else tuple(stopped_by)
        name = run.__name__.replace("_", "-")
        ATTACKS.append(Attack(name, classes, does, defences, run, use))
        return run

    return entered


def is_always(value: Any) -> Callable[[Any], Any]:
    """A function that gives `value`, whatever it is asked."""
    return lambda _: lambda *_args, **_named: value


def becomes(value: Any) -> Callable[[Any], Any]:
    """A constant with another value."""
    return lambda _: value


def does_nothing(_: Any) -> Any:
    """An `async` method that does nothing."""

    async def nothing(*_args: Any, **_named: Any) -> None:
        return None

    return nothing


@contextmanager
def all_taken_out(defences: Sequence[Defence]) -> Iterator[None]:
    """While this lasts the product is without any of these."""
    with ExitStack() as stack:
        for defence in defences:
            stack.enter_context(defence.taken_out())
        yield


def forget_decisions() -> None:
    """Let the product forget what it remembers of earlier requests: others decide now."""
    for module in _sidecar_modules():
        for value in list(vars(module).values()):
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def _importers(module: ModuleType, attribute: str, original: Any) -> list[ModuleType]:
    if getattr(original, "__module__", None) != module.__name__:
        return []
    return [m for m in _sidecar_modules() if vars(m).get(attribute) is original and m is not module]


def _sidecar_modules() -> list[ModuleType]:
    return [m for name, m in list(sys.modules.items()) if name.split(".")[0] == "sidecar"]
