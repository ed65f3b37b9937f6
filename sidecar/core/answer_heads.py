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
    """Its status line, in our version of HTTP (RFC 9110 section 2.5). Empty where it is plain."""
    length: int | None
    chunked: bool
    keeps_alive: bool
    plain: bytes
    """The head as it may pass as it came, where it may; else empty."""
    fields: Fields
    """Empty there, too: nobody needs them, and most answers are plain."""

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
    if not as_fields and raw.startswith(b"HTTP/1.1 "):
        plain = _PLAIN.fullmatch(raw.lower())
        if plain:
            return _plain_head(raw, plain)
    found = _STATUS_LINE.match(raw)
    if not found:
        raise AnswerMalformed("no status line")
    try:
        return _read_answer_fields(raw, int(found[2]), found[0], http_1_0=found[1] == b"0")
    except RequestMalformed as error:
        raise AnswerMalformed(str(error)) from error


# A head in lower case that is no more than bytes to pass. It has no field for one hop but one
# `Connection: keep-alive`, no cookie and no token, and framing in its usual spelling only, once.
# All else is read field by field: what is no head is refused there.
_PLAIN = re.compile(
    rb"http/1.1 ([2-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n"
    rb"(?:(?!connection:|content-length:|grpc-metadata-renew-token:|keep-alive:|proxy-|set-cookie:"
    rb"|te:|transfer-encoding:|upgrade:)[!#$%&'*+.^_`|~0-9a-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n"
    rb"|(?(2)(?!))(?(3)(?!))content-length: ([0-9]{1,18})\r\n"
    rb"|(?(2)(?!))(?(3)(?!))(transfer-encoding: chunked\r\n)"
    rb"|(?(4)(?!))(connection: keep-alive\r\n))*+\r\n"
)


def _plain_head(raw: bytes, found: re.Match[bytes]) -> AnswerHead:
    """The head, less the one field for one hop that it may have."""
    status, length, chunked = found.group(1, 2, 3)
    at, end = found.span(4)
    plain = raw if at < 0 else raw[:at] + raw[end:]
    return AnswerHead(
        int(status), b"", int(length) if length else None, chunked is not None, True, plain, []
    )


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
