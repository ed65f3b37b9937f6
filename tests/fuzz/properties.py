"""What holds for whatever bytes come. hypothesis and atheris look for bytes for which it does not.

Each property reads its bytes as the data path does, and what that writes, as h11 does.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import h11

from sidecar.core.answer_heads import read_answer_head
from sidecar.core.framing import Chunked, dechunked
from sidecar.core.heads import Kind, Paths
from sidecar.core.messages import RequestFields, RequestHead, RequestReader
from sidecar.errors import AnswerMalformed, RequestMalformed
from sidecar.proxy.passes import Asked, Memory, Pass
from sidecar.proxy.reply import Reply
from sidecar.proxy.sides import Browser
from tests.fuzz.gate import gate
from tests.reading import Field, Message, read_answer, read_request, read_requests

_GATE = gate()
_PATHS = Paths()
# RFC 9110 section 7.6.1, written down a second time: not what the sidecar takes for it.
_ONE_HOP = {
    b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"proxy-connection",
    b"proxy-authenticate", b"proxy-authorization",
}  # fmt: skip
_LONGEST = 4096
_AFTER = b"GET /after HTTP/1.1\r\nHost: argocd.example.org\r\n\r\n"


def request_head(data: bytes) -> None:
    """A head is refused, or goes up as the one request that h11 sees in what came, too."""
    raw, _ = _cut(data)
    reader = RequestReader()
    try:
        head = reader.read(raw)
        passed = _pass(head)
    except RequestMalformed:
        return
    if passed is None:
        return
    assert reader.read(raw).block is head.block
    body = _a_body(head.block)
    up = head.to_bytes(passed.pieces)

    if (head.block.length or 0) > len(body):
        assert read_requests(raw + body)[0] == read_requests(up + body)[0] == []
        return

    came, _ = read_requests(raw + body + _AFTER)
    went, rest = read_requests(up + body + _AFTER)

    assert rest == b""
    assert [request.start[1] for request in went] == [head.target.encode(), b"/after"]
    assert went[0].start == came[0].start
    assert _but_cookies(went[0].fields) == _but_cookies(_sent_up(came[0], head))
    assert set(_cookies(went[0])) <= set(_cookies(came[0]))
    assert (went[0].body, went[0].trailers) == (came[0].body, came[0].trailers)
    _is_stable(up)


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """A head, as the data path cuts it off, and the rest."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return head + end, rest


def _pass(head: RequestHead) -> Pass | None:
    """How the request goes up, as `Front` asks for it; None where it does not."""
    purpose = _PATHS.purpose(head.method, head.target, head.block.accept)
    if purpose is None or purpose.own is not None:
        return None
    passed = _GATE.pass_now(Asked(head, purpose.kind, purpose.gets_settings), Memory())
    assert passed is not None
    return passed


def _a_body(block: RequestFields) -> bytes:
    """A body of this framing; the beginning of one that is too long to be made here."""
    if block.chunked:
        return b"5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    return b"x" * min(block.length or 0, _LONGEST)


def _sent_up(came: Message, head: RequestHead) -> list[Field]:
    """The fields of a request as they have to go up."""
    purpose = _PATHS.purpose(head.method, head.target, head.block.accept)
    named = {
        option.strip().lower()
        for value in came.field(b"connection")
        for option in value.split(b",")
    }
    dropped = _ONE_HOP | named | ({b"expect"} if head.block.http_1_0 else set())
    fields = [field for field in came.fields if field[0].lower() not in dropped]
    if purpose is not None and purpose.gets_settings:
        fields = [field for field in fields if field[0].lower() != b"accept-encoding"]
        fields.append((b"Accept-Encoding", b"identity"))
    if head.block.websocket:
        fields += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return fields


def _but_cookies(fields: Iterable[Field]) -> list[Field]:
    return [field for field in fields if field[0].lower() != b"cookie"]


def _cookies(message: Message) -> list[bytes]:
    return [crumb.strip() for value in message.field(b"cookie") for crumb in value.split(b";")]


def _is_stable(up: bytes) -> None:
    """What goes up is read by another sidecar as it was written."""
    again = RequestReader().read(up)
    passed = _pass(again)
    assert passed is not None
    assert again.to_bytes(passed.pieces) == up


def answer(data: bytes) -> None:
    """An answer is refused, cut off, or comes back as h11 sees it in what came.

    The first byte says where it is cut in two, and whether it is one to HEAD.
    """
    control, data = data[:1] or b"\0", data[1:]
    method, cut = ("GET", "HEAD")[control[0] & 1], control[0] >> 1
    asked, passed = _a_request(method)
    browser = _Collected()
    reply = Reply(cast(Browser, browser), _GATE, asked, passed)
    try:
        _same_framing(_cut(data)[0])
        unread = _come_back(reply, [data[:cut], data[cut:]])
    except (AnswerMalformed, RequestMalformed):
        _is_not_whole(browser.got, method)
        return
    if reply.head is None or reply.head.status == 101:
        return
    if reply.until_close:
        reply.finish()
    if not reply.done:
        _is_not_whole(browser.got, method)
        return
    came, after = read_answer(data, method)
    back, rest = read_answer(browser.got, method)
    assert came is not None
    assert back is not None
    assert rest == b""
    assert after == unread or not reply.leaves_upstream_usable
    assert back.start[0] == came.start[0]
    assert (back.body, back.trailers) == (came.body, came.trailers)
    assert [f for f in back.fields if f[0] != b"Connection"] == _sent_back(came)
    assert back.field(b"connection") == ([] if reply.keeps_alive else [b"close"])


class _Collected:
    """A browser that keeps what it gets."""

    def __init__(self) -> None:
        self.got = b""

    def write(self, data: bytes) -> None:
        self.got += data

    def write_both(self, head: bytes, data: memoryview) -> None:
        self.got += head + data


def _a_request(method: str) -> tuple[Asked, Pass]:
    head = RequestReader().read(f"{method} /x HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    passed = _pass(head)
    assert passed is not None
    return Asked(head, Kind.OTHER, False), passed


def _same_framing(raw: bytes) -> None:
    """An answer's head means the same whether its fields are wanted or not."""

    def framing(*, as_fields: bool) -> object:
        try:
            head = read_answer_head(raw, as_fields=as_fields)
        except AnswerMalformed:
            return None
        return head.status, head.length, head.chunked, head.keeps_alive

    assert framing(as_fields=False) == framing(as_fields=True)


def _come_back(reply: Reply, pieces: list[bytes]) -> bytes:
    """Give a reply its bytes, as an exchange does; those that come after its end."""
    for i, piece in enumerate(pieces):
        if reply.done:
            return b"".join(pieces[i:])
        if reply.head is not None:
            reply.pass_body(piece)
        elif head := reply.read_head(piece):
            if head.status == 101:
                break
            reply.begin([], may_keep=True)
    return b""


def _is_not_whole(got: bytes, method: str) -> None:
    """What a browser got of an answer that breaks off does not look like all of one."""
    with suppress(h11.RemoteProtocolError):
        assert read_answer(got, method)[0] is None


def _sent_back(came: Message) -> list[Field]:
    named = {
        option.strip().lower()
        for value in came.field(b"connection")
        for option in value.split(b",")
    }
    return [field for field in came.fields if field[0].lower() not in _ONE_HOP | named]


def chunked_body(data: bytes) -> None:
    """Chunks are refused, go on, or end where h11 sees them end, in whatever pieces they come.

    The first byte says how long the pieces are.
    """
    size, data = 1 + (data[:1] or b"\0")[0] % 16, data[1:]
    whole, pieces = _take(data, max(1, len(data))), _take(data, size)

    assert whole.refused == pieces.refused
    if pieces.refused:
        assert read_requests(_CHUNKED + pieces.passed)[0] == []
        return
    assert whole == pieces
    if not whole.done:
        assert read_requests(_CHUNKED + whole.passed)[0] == []
        return
    came, after = read_request(_CHUNKED + data)
    assert came is not None
    assert after == whole.after
    assert read_requests(_CHUNKED + whole.passed) == ([came], b"")
    assert dechunked(whole.passed) == came.body


_CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class _Taken:
    refused: int = 0
    done: bool = False
    passed: bytes = b""
    after: bytes = b""


def _take(data: bytes, size: int) -> _Taken:
    body, passed, after = Chunked(), b"", b""
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        if body.done:
            after += piece
            continue
        try:
            mine, rest = body.take(piece)
        except RequestMalformed as error:
            return _Taken(error.status, False, passed)
        passed, after = passed + mine, after + rest
    return _Taken(0, body.done, passed, after)


PROPERTIES: Mapping[str, Callable[[bytes], None]] = {
    "request_head": request_head,
    "answer": answer,
    "chunked_body": chunked_body,
}
