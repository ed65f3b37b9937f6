"""How far a long work is: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable
from typing import TextIO

_WIDTH = 30
_BAR_EVERY_SECONDS = 0.1
_LINE_EVERY_SECONDS = 10.0


class Progress:
    """Tells of a work of about `total` things, 0 where nobody knows how many."""

    def __init__(
        self, what: str, stream: TextIO, monotonic: Callable[[], float], *, total: int = 0
    ) -> None:
        self._what = what
        self._stream = stream
        self._monotonic = monotonic
        self._total = total
        self._bar = stream.isatty()
        self._every = _BAR_EVERY_SECONDS if self._bar else _LINE_EVERY_SECONDS
        self._told_at = monotonic()
        self._shown = False
        self.done = 0

    def passed(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        now = self._monotonic()
        if now - self._told_at >= self._every:
            self._told_at = now
            self._show()

    def close(self) -> None:
        """Nothing more comes: what was shown on a terminal goes."""
        if self._shown and self._bar:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _show(self) -> None:
        self._shown = True
        self._stream.write(f"\r\033[K{self._line()}" if self._bar else f"{self._line()}\n")
        self._stream.flush()

    def _line(self) -> str:
        if not self._total:
            return f"{self._what}: {self.done:,}"
        share = min(1.0, self.done / self._total)
        bar = f"[{'#' * int(share * _WIDTH):{_WIDTH}}] " if self._bar else ""
        return f"{self._what}: {bar}{self.done:,} of {self._total:,} ({share:.0%})"
