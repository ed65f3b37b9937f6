"""Where log lines go: a stream or a file, and never an error to whoever logs."""

import errno
import os
from collections.abc import Callable
from typing import TextIO

# Nobody waits for a pipe that nobody reads; a file knows no waiting.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
_MODE = 0o640


class Stream:
    """Lines to standard output or error. One that cannot be written is lost, and nothing else."""

    def __init__(self, stream: Callable[[], TextIO]) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write a line."""
        try:
            stream = self._stream()
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):  # a full disk behind it; a stream that was closed
            return

    debug = info = warning = error = critical = msg


class AuditFile:
    """Lines appended to a file, which may be renamed or removed at any time: it is made anew.

    What it does not take goes to `otherwise`. `failed` is told why when that begins, and gets ""
    when it is over.
    """

    def __init__(
        self, path: str, *, otherwise: Callable[[str], None], failed: Callable[[str], None]
    ) -> None:
        self._path = path
        self._otherwise = otherwise
        self._failed = failed
        self._fd = -1
        self._failing = self._torn = False

    def msg(self, line: str) -> None:
        """Write a line, whole or elsewhere."""
        try:
            self._append(line.encode(errors="replace") + b"\n")
        except OSError as error:
            self._tell(os.strerror(error.errno) if error.errno else type(error).__name__)
            self._otherwise(line)
        else:
            self._tell("")

    debug = info = warning = error = critical = msg

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _append(self, data: bytes) -> None:
        if not self._is_open_there():
            self.close()
            self._fd = os.open(self._path, _FLAGS, _MODE)
            self._torn = False
        if self._torn:  # what is left of a line that was cut must not take the next one with it
            data = b"\n" + data
        written = os.write(self._fd, data)
        self._torn = written < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, "no room for a whole line")

    def _is_open_there(self) -> bool:
        """Whether what is open is what the path leads to: a rotation renames it."""
        if self._fd < 0:
            return False
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        here = os.fstat(self._fd)
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _tell(self, why: str) -> None:
        if bool(why) is not self._failing:
            self._failing = bool(why)
            self._failed(why)
