"""Heads of answers: checked in full, but read field by field only where somebody needs it."""

import re
from dataclasses import dataclass

import httptools

from sidecar.core.framing import NO_BODY, Body, Chunked, Length, UntilClose
from sidecar.core.heads import Fields, connection_options
from sidecar.core.messages import MAX_FIELDS, HeadEnd, content_length, feed, is_chunked
from sidecar.errors import AnswerMalformed, RequestMalformed

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")


@dataclass(slots=True)
class AnswerHead:
    """An answer without its body."""

    status: int
    line: bytes
    """Its status line, in our version of HTTP (RFC 9110 section 2.5)."""
    length: int | None
    chunked: bool
    keeps_alive: bool
    plain: bytes
    """The head as it may pass as it came, where it may; else empty."""
    fields: Fields
    """Empty where the head is plain: nobody needs them, and most answers are."""

    @property
    def interim(self) -> bool:
        """Whether another answer follows (RFC 9110 section 15.2); 101 is the last of its kind."""
        return self.status < 200 and self.status != 101

    def body(self, method: str) -> Body:
        """The answer's body to a request with this method (RFC 9112 section 6.3)."""
        if method == "HEAD" or self.status < 200 or self.status in (204, 304):
            return NO_BODY
        if self.chunked:
            return Chunked()
        return UntilClose() if self.length is None else Length(self.length)


def read_answer_head(raw: bytes, *, as_fields: bool = False) -> AnswerHead:
    """The head in `raw`, which ends with its empty line; its fields, too, if they are needed.

    Raises:
        AnswerMalformed: it is no answer, or one whose end cannot be told.
    """
    found = _STATUS_LINE.match(raw)
    if not found:
        raise AnswerMalformed("no status line")
    status, http_1_0 = int(found[2]), found[1] == b"0"
    lowered = raw.lower()
    codings = lowered.count(b"\r\ntransfer-encoding:")
    needs = as_fields or http_1_0 or status < 200 or codings > 1
    try:
        if needs or _NEEDS_FIELDS.search(lowered):
            return _read_answer_fields(raw, status, found[0], http_1_0=http_1_0)
        _check_answer(raw)
    except RequestMalformed as error:
        raise AnswerMalformed(str(error)) from error
    length = _LENGTH_LINE.search(lowered)
    return AnswerHead(
        status,
        found[0],
        int(length[1]) if length else None,
        codings == 1,
        True,
        _without_keep_alive(raw, lowered),
        [],
    )


# What makes an answer more than bytes to pass: a field for one hop, a cookie or a token, and
# every spelling of framing but the usual one.
_NEEDS_FIELDS = re.compile(
    rb"\r\n(?:connection:(?! keep-alive\r\n)|keep-alive:|proxy-|te:|upgrade:|set-cookie:"
    rb"|grpc-metadata-renew-token:|transfer-encoding:(?! chunked\r\n)"
    rb"|content-length:(?! [0-9]{1,18}\r\n))"
)
_LENGTH_LINE = re.compile(rb"\r\ncontent-length: ([0-9]{1,18})\r\n")
_KEEP_ALIVE = b"\r\nconnection: keep-alive\r\n"


def _without_keep_alive(raw: bytes, lowered: bytes) -> bytes:
    """The head without the one field for one hop that a plain one may have, even twice."""
    at = lowered.rfind(_KEEP_ALIVE)
    while at != -1:
        raw = raw[:at] + raw[at + len(_KEEP_ALIVE) - 2 :]
        at = lowered.rfind(_KEEP_ALIVE, None, at + 2)
    return raw


def _check_answer(raw: bytes) -> None:
    """That llhttp takes it: it refuses two lengths, and a length with a coding."""
    end = HeadEnd()
    feed(httptools.HttpResponseParser(end), end, raw)


def _read_answer_fields(raw: bytes, status: int, line: bytes, *, http_1_0: bool) -> AnswerHead:
    fields = _AnswerParser(raw).fields
    length, chunked = content_length(fields), is_chunked(fields)
    if chunked and (length is not None or http_1_0):
        raise RequestMalformed("two framings")
    options = connection_options(fields)
    keeps_alive = "close" not in options if not http_1_0 else "keep-alive" in options
    line = b"HTTP/1.1" + line[8:]
    return AnswerHead(status, line, length, chunked, keeps_alive, b"", fields)


class _AnswerParser(HeadEnd):
    """Collects the fields of one head: llhttp would run on into what comes after it."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.fields: Fields = []
        feed(httptools.HttpResponseParser(self), self, raw)
        if len(self.fields) > MAX_FIELDS:
            raise RequestMalformed("more fields than anybody sends")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field; llhttp has taken the white space before its value, and takes no other."""
        self.fields.append((name.decode("latin-1"), value.rstrip().decode("latin-1")))
