"""Heads of requests, read from bytes: strictly, whole, and one at a time.

llhttp checks the grammar. What it lets through and a proxy must not is checked here: the
request line, Host, framing, and names that somebody behind us could read otherwise. Text is
Latin-1, so that every byte keeps its value.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import httptools

from sidecar.core.framing import NO_BODY, Body, Chunked, Length
from sidecar.core.heads import PASSING, Fields, connection_options, is_usable_host, values
from sidecar.core.request_lines import (
    REMEMBERED_LENGTH,
    ChangingValue,
    Lines,
    changing_value,
    forget_lines,
    lines_of,
    told_apart,
)
from sidecar.errors import RequestMalformed

MAX_FIELDS = 256
# A target in origin form without a fragment.
_REQUEST_LINE = re.compile(
    rb"(?!CONNECT |TRACE )([A-Z][A-Z-]{0,30}) (/[\x21\x22\x24-\x7e]*) HTTP/1\.([01])\r\n"
)
_ANY_LINE = re.compile(rb"([A-Z][A-Z-]{0,30}) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_SAFE = ("GET", "HEAD", "OPTIONS")
_NOT_FOR_A_PROXY = (b"CONNECT", b"TRACE")
_LENGTH = re.compile(r"[0-9]{1,18}")
# Fields on which framing, routing or credentials depend: an option of Connection that names one
# would take it from the request after it was judged.
_NOT_FOR_ONE_HOP = frozenset(
    ("api-token", "authorization", "content-length", "content-type", "cookie", "expect",
     "forwarded", "grpc-metadata-token", "host", "origin", "token", "transfer-encoding",
     "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip")
)  # fmt: skip
_TWINS = _NOT_FOR_ONE_HOP | {"sec-websocket-key", "proxy-authorization"}


@dataclass(frozen=True, slots=True, eq=False)
class RequestFields:
    """The fields of a request that are read here, and what the connection needs of them.

    The same lines are the same object, as long as they are remembered.
    """

    fields: Fields
    """In their order, as they came, with `PASSING` for each run of others between them."""
    length: int | None
    """What Content-Length says."""
    chunked: bool
    keeps_alive: bool
    """Whether the client lets the connection go on."""
    websocket: bool
    """Whether this is a WebSocket handshake (RFC 6455 section 4.1)."""
    accept: str
    http_1_0: bool
    has_body: bool
    """Whether there is at least a byte of it to come."""

    @property
    def size(self) -> int:
        """How many characters its fields have."""
        return sum(len(name) + len(value) for name, value in self.fields)

    def body(self, most: int | None = None) -> Body:
        """The request's body, which ends somewhere (RFC 9112 section 6.3).

        Raises:
            RequestMalformed: it is longer than `most`, as is known by now.
        """
        if self.chunked:
            return Chunked(most)
        if most is not None and (self.length or 0) > most:
            raise RequestMalformed("a body is too long", status=413)
        return Length(self.length) if self.length else NO_BODY

    def for_the_next_hop(self) -> Fields:
        """The hop-by-hop fields that we write ourselves."""
        if self.websocket:
            return [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        return [("Transfer-Encoding", "chunked")] if self.chunked else []


@dataclass(slots=True)  # not frozen: that costs a microsecond with every request
class RequestHead:
    """A request without its body; `line` is its first line as it goes up, and what is added."""

    method: str
    target: str
    line: bytes
    block: RequestFields
    passing: Sequence[bytes]
    """The runs of lines that pass, as they go up."""

    @property
    def is_harmless_again(self) -> bool:
        """Whether a repetition of it changes nothing (RFC 9110 section 9.2.1)."""
        return self.method in _SAFE and not self.block.has_body

    def find(self, name: str) -> list[str]:
        """Every value of a field, `name` in lower case: lines that only pass are looked through."""
        pattern, named = _passing(name), name.encode()
        # Most requests have no such field: that is seen without the pattern.
        runs = [run for run in self.passing if named in run.lower()]
        found = [one for run in runs for one in pattern.findall(run)]
        return [*values(self.block.fields, name), *(one.decode("latin-1") for one in found)]

    def to_bytes(self, pieces: Sequence[bytes]) -> bytes:
        """The head as it goes up: what passes, between `pieces` of other lines."""
        parts = [b""] * (len(pieces) + len(self.passing))
        parts[::2], parts[1::2] = pieces, self.passing
        return self.line + b"".join(parts)


@lru_cache(maxsize=16)
def _passing(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|\n)%b: ([^\r\n]*)\r" % name.encode(), re.IGNORECASE)


class RequestReader:
    """Reads the request heads of one connection.

    A browser sends the same fields with nearly every request: a block of bytes that was read
    before is not read again. Only its request line is new, and that is checked here in full.
    Where a proxy in front of us gives each request a number, only that value is new, too.
    """

    __slots__ = ("_changing", "_last", "_last_bytes", "_most_fields")

    def __init__(self, most_fields: int = MAX_FIELDS) -> None:
        self._most_fields = most_fields
        self._last_bytes = (b"", b"", b"")
        self._last: tuple[RequestFields, Sequence[bytes]] | None = None
        self._changing: ChangingValue | None = None

    def read(self, raw: bytes) -> RequestHead:
        """The head in `raw`, which ends with its empty line.

        Raises:
            RequestMalformed: it is not to be passed on; with the status to answer.
        """
        found = _REQUEST_LINE.match(raw)
        if not found:
            raise _refusal_of_line(raw)
        method, target, minor = found.groups()
        end = found.end()
        same = (method, minor, raw[end:])
        if self._last is None or same != self._last_bytes:
            self._last = self._with_another_value(same) or self._read_anew(raw, same)
            self._last_bytes = same
        block, passing = self._last
        return RequestHead(method.decode(), target.decode(), raw[:end], block, passing)

    def _with_another_value(
        self, now: tuple[bytes, bytes, bytes]
    ) -> tuple[RequestFields, Sequence[bytes]] | None:
        """What is known of the head before, if this one differs in the one value that changes."""
        was = self._last_bytes
        if self._last is None or self._changing is None or now[:2] != was[:2]:
            return None
        block, passing = self._last
        runs = self._changing.put(passing, was[2], now[2])
        return None if runs is None else (block, runs)

    def _read_anew(
        self, raw: bytes, now: tuple[bytes, bytes, bytes]
    ) -> tuple[RequestFields, Sequence[bytes]]:
        _check_request(raw)
        method, minor, came = now
        lines = lines_of(came[:-2], self._most_fields)
        read, passing = told_apart(lines)
        # Bounds what strangers can fill the memory of blocks with.
        judge = _block if len(came) <= REMEMBERED_LENGTH else _block.__wrapped__
        block = judge(read, method, minor == b"0")
        self._changing = changing_value(self._last_bytes[2], came, lines, passing)
        return block, passing


def check_beginning(head: bytes, searched: int, most: int) -> None:
    """That what has come of a head may become one; the first `searched` bytes were looked at.

    Raises:
        RequestMalformed: with the status to answer.
    """
    if _BARE_LF.search(head, searched):
        raise RequestMalformed("a line that ends with LF alone")
    check_length(head, most)


def check_length(head: bytes, most: int) -> None:
    """That a head, whole or not, is not longer than `most` bytes.

    Raises:
        RequestMalformed: it is; with the status to answer.
    """
    if len(head) > most:
        status = 431 if b"\r\n" in head[: 32 * 1024] else 414
        raise RequestMalformed("a head is too long", status=status)


def _refusal_of_line(raw: bytes) -> RequestMalformed:
    """What a request line is told that is not as it must be."""
    found = _ANY_LINE.match(raw)
    if not found or found[1] == b"PRI":  # an HTTP/2 preface that comes too late
        return RequestMalformed("no request line")
    if found[3] not in (b"1.1", b"1.0"):
        return RequestMalformed("another version of HTTP", status=505)
    if found[1] in _NOT_FOR_A_PROXY:
        return RequestMalformed("a method that is not for a reverse proxy", status=405)
    return RequestMalformed("a target that is not in origin form")


@lru_cache(maxsize=1024)
def _block(lines: Lines, method: bytes, http_1_0: bool) -> RequestFields:
    fields = [line.field if line else PASSING for line in lines]
    return _judge_request_fields(fields, method, http_1_0=http_1_0)


def forget() -> None:
    """Begin anew with what is remembered of requests: some of it is credentials."""
    forget_lines()
    _block.cache_clear()


def _check_request(raw: bytes) -> None:
    """That llhttp takes it."""
    end = HeadEnd()
    feed(httptools.HttpRequestParser(end), end, raw)


def _judge_request_fields(fields: Fields, method: bytes, *, http_1_0: bool) -> RequestFields:
    options = connection_options(fields)
    _check_names(fields)
    _check_host(fields, http_1_0=http_1_0)
    if options & _NOT_FOR_ONE_HOP:
        raise RequestMalformed("Connection names a field that is for more than one hop")
    length = content_length(fields)
    chunked = is_chunked(fields)
    if chunked and (length is not None or http_1_0):
        raise RequestMalformed("a body with two framings, or one that HTTP/1.0 does not have")
    has_body = chunked or bool(length)
    upgrades = [value.lower() for value in values(fields, "upgrade")]
    websocket = method == b"GET" and "upgrade" in options and upgrades == ["websocket"]
    if websocket and has_body:
        raise RequestMalformed("a WebSocket handshake with a body")
    return RequestFields(
        fields=fields,
        length=length,
        chunked=chunked,
        keeps_alive=not http_1_0 and "close" not in options,
        websocket=websocket,
        has_body=has_body,
        accept=", ".join(values(fields, "accept")),
        http_1_0=http_1_0,
    )


def _check_names(fields: Fields) -> None:
    """No name that becomes another one behind us, where `_` and `-` are the same (CGI, WSGI)."""
    for name, _ in fields:
        if "_" in name and name.lower().replace("_", "-") in _TWINS:
            raise RequestMalformed("a field's twin with an underscore")


def _check_host(fields: Fields, *, http_1_0: bool) -> None:
    """One usable Host; HTTP/1.0 knows none, and some load balancers still check with it."""
    hosts = values(fields, "host")
    if not hosts and http_1_0:
        return
    if len(hosts) != 1 or not is_usable_host(hosts[0]):
        raise RequestMalformed("no Host, or none that can be used")


def content_length(fields: Fields) -> int | None:
    """What Content-Length says, in its one spelling; None without one.

    Raises:
        RequestMalformed: there are several, or what is there is no number.
    """
    lengths = values(fields, "content-length")
    if not lengths:
        return None
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise RequestMalformed("a Content-Length that is no number, or several")
    return int(lengths[0])


def is_chunked(fields: Fields) -> bool:
    """Whether the one transfer coding is `chunked`.

    Raises:
        RequestMalformed: there is another, and there is no other that we pass on.
    """
    codings = values(fields, "transfer-encoding")
    if not codings:
        return False
    if len(codings) != 1 or codings[0].lower() != "chunked":
        raise RequestMalformed("another transfer coding than chunked")
    return True


class HeadEnd:
    """Knows whether llhttp has read a head to its end."""

    def __init__(self) -> None:
        self.complete = False

    def on_headers_complete(self) -> None:
        """The empty line has been read."""
        self.complete = True


class _Reads(Protocol):
    def feed_data(self, data: bytes) -> None: ...


def feed(parser: _Reads, reader: HeadEnd, raw: bytes) -> None:
    """Let llhttp read a whole head.

    Raises:
        RequestMalformed: it is none.
    """
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # all of the head has been read
    except httptools.HttpParserError as error:
        raise RequestMalformed("this is not HTTP") from error
    if not reader.complete:
        raise RequestMalformed("a head without an end")
