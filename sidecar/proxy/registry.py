"""Which streams and tunnels are open, by the session that opened them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from sidecar.core.session import SessionKey


class Lasting(Protocol):
    """A stream or a tunnel."""

    def end_politely(self) -> None:
        """End it, as well as it can be ended where it stands."""


class OpenThings:
    """What must end when a session does."""

    def __init__(self) -> None:
        self._open: dict[SessionKey, dict[Lasting, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    @contextmanager
    def holding(self, key: SessionKey, thing: Lasting) -> Iterator[None]:
        """While this lasts, `thing` ends with its session."""
        self._open.setdefault(key, {})[thing] = None
        try:
            yield
        finally:
            del self._open[key][thing]
            if not self._open[key]:
                del self._open[key]

    def close_all(self) -> None:
        """End all that any session has open."""
        for key in list(self._open):
            self.close_session(key)

    def close_session(self, key: SessionKey) -> None:
        """End all that a session has open."""
        for thing in list(self._open.get(key, ())):
            thing.end_politely()
