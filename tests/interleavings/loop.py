"""An event loop with its own clock, which asks for a turn whenever nothing is left to do now."""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any


class NothingLeft(AssertionError):
    """Tasks wait, and nothing that could wake them will ever happen: a deadlock."""


class _NoSockets(selectors.BaseSelector):
    """Stands where a loop waits for sockets: when it would wait, all that is ready has run.

    `dry` gets the seconds to the loop's next timer, None without one.
    """

    def __init__(self) -> None:
        self.dry: Callable[[float | None], None] = lambda _: None
        self._registered: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, _number(fileobj), events, data)
        self._registered[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._registered.pop(_number(fileobj))

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.dry(timeout)
        return []

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._registered[_number(fileobj)]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._registered


def _number(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


class TurnLoop(asyncio.SelectorEventLoop):
    """`asyncio.timeout`, shields and tasks work on it as they do on any; its time is `instant`."""

    def __init__(self) -> None:
        self._turns = _NoSockets()
        self.instant = 1000.0  # not zero: nothing may take "the machine's start" for "never"
        super().__init__(self._turns)

    def time(self) -> float:
        return self.instant

    def run_dry(self, turn: Callable[[float | None], bool]) -> None:
        """Run until `turn`, called whenever nothing is ready, says that all is done.

        It moves the clock, or makes something ready; it is told when the next timer is due.
        """

        def dry(timer_in: float | None) -> None:
            if turn(None if timer_in is None else self.instant + timer_in):
                self.stop()

        self._turns.dry = dry
        self.run_forever()
