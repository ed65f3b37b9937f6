"""The upstream's answer on its way to the browser: its heads are read and written anew."""

from sidecar.core.answer_heads import AnswerHead, read_answer_head
from sidecar.core.argocd_settings import without_pkce
from sidecar.core.framing import Body, Chunked, UntilClose, dechunked
from sidecar.core.heads import Fields, end_to_end, head_bytes
from sidecar.errors import AnswerMalformed
from sidecar.proxy.gate import Gate
from sidecar.proxy.passes import Asked, Pass
from sidecar.proxy.sides import Browser

MAX_ANSWER_HEAD = 256 * 1024  # Argo CD may set 20 cookies of 4 KiB
MAX_SETTINGS = 1024 * 1024
_COPIED = 16 * 1024  # up to here a copy costs less than two pieces to write


class Reply:
    """One answer. `begun` once its head went out, `done` when all of it has."""

    __slots__ = (
        "_asked",
        "_body",
        "_browser",
        "_collected",
        "_gate",
        "_head_end",
        "_held",
        "_rest",
        "begun",
        "done",
        "head",
        "keeps_alive",
        "passed",
    )

    def __init__(self, browser: Browser, gate: Gate, asked: Asked, passed: Pass) -> None:
        self._browser = browser
        self._gate = gate
        self._asked = asked
        self.passed = passed
        self._held = b""
        self._head_end = 0
        self._rest = b""
        self._body: Body | None = None
        self._collected: bytes | None = None
        self.head: AnswerHead | None = None
        self.begun = False
        self.done = False
        self.keeps_alive = False

    @property
    def silent(self) -> bool:
        """Whether not a byte of it has come."""
        return self.head is None and not self._held

    @property
    def until_close(self) -> bool:
        """Whether only the end of the upstream's connection ends it."""
        return isinstance(self._body, UntilClose)

    @property
    def leaves_upstream_usable(self) -> bool:
        """Whether the upstream's connection may serve the next request."""
        return self.head is not None and self.head.keeps_alive and not self._rest

    def read_head(self, data: bytes) -> AnswerHead | None:
        """The final head, None while it has not come; interim ones are passed on.

        Raises:
            AnswerMalformed: this is no answer.
        """
        self._held += data
        while True:
            held = self._held
            end = held.find(b"\r\n\r\n") + 4
            if (end if end >= 4 else len(held)) > MAX_ANSWER_HEAD:
                raise AnswerMalformed("its head is too long")
            if end < 4:
                return None
            head = read_answer_head(held[:end], as_fields=self.passed.rewrites)
            if head.plain or not head.interim:
                self.head, self._head_end = head, end
                return head
            self._held = held[end:]
            if not self._asked.head.block.http_1_0:
                self._browser.write(head_bytes(head.line, end_to_end(head.fields)))

    def begin(self, more: Fields, *, may_keep: bool) -> None:
        """Write the head, with more fields, and what has come of the body.

        Raises:
            AnswerMalformed: it cannot be passed on to this client.
        """
        head = self.head
        if head is None:
            return
        block = self._asked.head.block
        if head.chunked and block.http_1_0:
            raise AnswerMalformed("chunked, though HTTP/1.0 was asked")
        body = self._body = head.body(self._asked.head.method)
        self.keeps_alive = may_keep and block.keeps_alive and not isinstance(body, UntilClose)
        if self._asked.rewrites_settings and head.status == 200:
            self._collected = b""
            self.pass_body(self._take_held()[self._head_end :])
        else:
            self.begun = True
            goes_on = head.plain if self.keeps_alive else b""
            self._write_first(goes_on or self._head_bytes(head, more), body)
            self.done = body.done

    def _write_first(self, head: bytes, body: Body) -> None:
        """Write the head, and what has come behind it, which may be the longest of all pieces."""
        came, self._held, at = self._held, b"", self._head_end
        if not body.takes_all(len(came) - at):
            mine, self._rest = body.take(came[at:])
            self._browser.write(head + mine)
        elif len(head) == at and came.startswith(head):
            self._browser.write(came)
        elif len(came) <= _COPIED:
            self._browser.write(head + came[at:])
        else:
            self._browser.write_both(head, memoryview(came)[at:])

    def _take_held(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def pass_body(self, data: bytes) -> None:
        """Pass on what comes of the body.

        Raises:
            RequestMalformed: it is not framed as its head says.
        """
        if self._body is None:
            return
        mine, self._rest = self._body.take(data)
        if self._collected is not None:
            self._collected += mine
            if len(self._collected) > MAX_SETTINGS:
                raise AnswerMalformed("its settings are longer than 1 MiB")
        elif mine:
            self._browser.write(mine)
        if self._body.done:
            self.finish()

    def finish(self) -> None:
        """All of it has come."""
        self.done = True
        if self._collected is not None and self.head is not None:
            self._write_settings(self.head, self._collected)

    def switch(self) -> None:
        """Write a 101, and what has come behind it.

        Raises:
            AnswerMalformed: nobody asked for it.
        """
        head = self.head
        if head is None or not self._asked.head.block.websocket:
            raise AnswerMalformed("it switches the protocol, though nobody asked")
        self.begun = True
        came = self._take_held()[self._head_end :]
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        self._browser.write(head_bytes(head.line, [*self._fields(head), *upgrade]) + came)

    def end_chunks(self) -> bool:
        """Write the end of a body that never ends by itself; False where it cannot be ended."""
        if isinstance(self._body, Chunked) and self._body.between_chunks:
            self._browser.write(b"0\r\n\r\n")
            return True
        return self.until_close

    def _fields(self, head: AnswerHead) -> Fields:
        return self._gate.answer_fields(self.passed, head)

    def _head_bytes(self, head: AnswerHead, more: Fields) -> bytes:
        if head.plain:
            return head.plain[:-2] + b"Connection: close\r\n\r\n"
        fields = [*self._fields(head), *more]
        if head.chunked:
            fields.append(("Transfer-Encoding", "chunked"))
        if not self.keeps_alive:
            fields.append(("Connection", "close"))
        return head_bytes(head.line, fields)

    def _write_settings(self, head: AnswerHead, collected: bytes) -> None:
        """Argo CD's settings, in which the UI's own login flow is switched off."""
        body = without_pkce(dechunked(collected) if head.chunked else collected)
        fields = [
            f for f in self._fields(head) if f[0].lower() not in ("content-length", "trailer")
        ]
        fields.append(("Content-Length", str(len(body))))
        if not self.keeps_alive:
            fields.append(("Connection", "close"))
        self.begun = True
        self._browser.write(head_bytes(head.line, fields) + body)
