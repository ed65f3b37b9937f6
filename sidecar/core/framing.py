"""Where a message's body ends in a stream of bytes (RFC 9112 section 6): found, never decoded.

A body takes its bytes piece by piece. What it has taken is passed on as it is, so the chunked
scanner knows one spelling of everything: nobody behind it can read the same bytes otherwise.
"""

import re
from typing import Protocol

from sidecar.errors import RequestMalformed

MAX_CHUNK_LINE = 4096
MAX_EXTENSIONS = 64 * 1024
MAX_TRAILERS = 16 * 1024
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*\r\n")
# What would change a message's meaning after it was judged (RFC 9110 section 6.5.1).
_NO_TRAILERS = frozenset(
    (b"authorization", b"connection", b"content-encoding", b"content-length", b"content-type",
     b"cookie", b"expect", b"grpc-metadata-token", b"host", b"set-cookie", b"te", b"token",
     b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip


class Body(Protocol):
    """Finds a body's end; `done` when it has been found."""

    done: bool

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What of the body is to be passed on now, and what comes after the body.

        Raises:
            RequestMalformed: these bytes are no body of this framing, or too much.
        """
        ...

    def takes_all(self, count: int) -> bool:
        """Whether as many bytes are all the body's, whatever they are; then they are taken."""
        ...


class NoBody:
    """A message that has none."""

    __slots__ = ()
    done = True

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Nothing is the body's."""
        return b"", data

    def takes_all(self, count: int) -> bool:
        """Where there are none."""
        return count == 0


NO_BODY = NoBody()  # it keeps nothing, and most requests have it


class Length:
    """A body of as many bytes as Content-Length says."""

    __slots__ = ("_left", "done")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """As many bytes as are still missing."""
        left = self._left - len(data)
        if left >= 0:
            self._left = left
            self.done = not left
            return data, b""
        mine, self._left, self.done = data[: self._left], 0, True
        return mine, data[left:]

    def takes_all(self, count: int) -> bool:
        """As long as so many are missing."""
        if count > self._left:
            return False
        self._left -= count
        self.done = not self._left
        return True


class UntilClose:
    """A body that ends with its connection; only an answer's can."""

    __slots__ = ()
    done = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """All there is."""
        return data, b""

    def takes_all(self, count: int) -> bool:
        """Always."""
        return True


class Chunked:
    """A body in chunks, with extensions and trailers, of at most `most` bytes of data.

    A line is passed on when it is whole and has been checked, data at once.
    """

    __slots__ = ("_expects", "_extensions", "_held", "_left", "_most", "_trailers", "done")

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._left = 0
        self._held = b""
        self._expects = Chunked._size_line  # not bound to self: that would be a cycle
        self._extensions = MAX_EXTENSIONS
        self._trailers = MAX_TRAILERS
        self.done = False

    @property
    def between_chunks(self) -> bool:
        """Whether a last chunk could be written behind what has been passed on."""
        return self._expects is Chunked._size_line and not self.done

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Data at once, the lines between when they are whole."""
        if self._held:
            data, self._held = self._held + data, b""
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            end = data.find(b"\n", at) + 1
            if (end or len(data)) - at > MAX_CHUNK_LINE:
                raise RequestMalformed("a chunk's line is too long")
            if not end:
                self._held = data[at:]
                break
            self._expects(self, data[at:end])
            at = end
        if at == len(data):
            return data, b""
        return data[:at], data[at:] if self.done else b""

    def takes_all(self, count: int) -> bool:
        """Never: they have to be looked at."""
        return False

    def _size_line(self, line: bytes) -> None:
        found = _SIZE_LINE.fullmatch(line)
        if not found:
            raise RequestMalformed("a chunk's size cannot be read")
        self._extensions -= len(found[2] or b"")
        if self._extensions < 0:
            raise RequestMalformed("more chunk extensions than anybody needs")
        self._left = int(found[1], 16)
        self._count(self._left)
        self._expects = Chunked._line_after_data if self._left else Chunked._trailer_line

    def _count(self, size: int) -> None:
        if self._most is None:
            return
        self._most -= size
        if self._most < 0:
            raise RequestMalformed("a body is too long", status=413)

    def _line_after_data(self, line: bytes) -> None:
        if line != b"\r\n":
            raise RequestMalformed("a chunk is longer than its size")
        self._expects = Chunked._size_line

    def _trailer_line(self, line: bytes) -> None:
        self._trailers -= len(line)
        if self._trailers < 0:
            raise RequestMalformed("trailers are too long", status=431)
        if line == b"\r\n":
            self.done = True
            return
        found = _TRAILER_LINE.fullmatch(line)
        if not found or found[1].lower().replace(b"_", b"-") in _NO_TRAILERS:
            raise RequestMalformed("a trailer that may not be one")


def dechunked(body: bytes) -> bytes:
    """The data of a whole chunked body, which `Chunked` has taken."""
    pieces: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].partition(b";")[0], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
