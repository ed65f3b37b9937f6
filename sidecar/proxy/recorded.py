"""An exchange of which is told: what was asked, how it went up, what came back, and when.

Only where somebody wants to know is one made of these: others are `Exchange` itself.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.core.answer_heads import AnswerHead
from sidecar.core.answers import Answer
from sidecar.core.framing import Body
from sidecar.core.heads import Kind
from sidecar.core.messages import RequestHead
from sidecar.errors import RequestMalformed
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.passes import Asked, Memory, Pass
from sidecar.proxy.pool import Upstream
from sidecar.proxy.reply import Reply
from sidecar.proxy.sides import Browser, Middle
from sidecar.proxy.way import Way

_LONGEST_PATH = 256


@dataclass(slots=True)
class Record:
    """What is told of one request. Nothing of its query, its fields or its body."""

    method: str
    path: str
    kind: Kind
    request_id: str
    began_at: float
    credential: str = ""
    """The rule that it went up by; "" where it did not go up."""
    user_tag: str = ""
    sent_at: float = 0.0
    status: int = 0
    """The answer's; 0 where there was none."""
    ended: str = ""
    """How it ended: whole, refused, left, broken_off, switched, session_ended."""
    ended_at: float = 0.0


Tell = Callable[[Record], None]


def path_of(head: RequestHead) -> str:
    """The path of a request as it may be told: without its query, bounded, and printable."""
    return head.target.partition("?")[0][:_LONGEST_PATH]


class RecordedExchange(Exchange):
    """An exchange that ends with a record; its id goes up, so that all can be told of it."""

    __slots__ = ("_ending", "_now", "_tell", "record")

    def __init__(
        self, browser: Browser, way: Way, asked: Asked, memory: Memory, body: Body, *, tell: Tell
    ) -> None:
        super().__init__(_Told(browser, self), way, asked, memory, body)
        self._now = asyncio.get_running_loop().time
        self._tell = tell
        self._ending = "left"
        path, now = path_of(asked.head), self._now()
        self.record = Record(asked.head.method, path, asked.kind, self.request_id, now)

    def start(self) -> None:
        """Send the request up.

        Raises:
            RequestMalformed: it is not passed on.
        """
        self._name_upstream()
        try:
            super().start()
        except RequestMalformed as error:
            self.end("refused", error.status)
            raise

    def _send(self, passed: Pass, upstream: Upstream) -> bool:
        sent = super()._send(passed, upstream)
        if sent:
            self.record.credential = passed.credential.value
            self.record.user_tag = passed.live.grant.user_tag if passed.live else ""
            self.record.sent_at = self._now()
        return sent

    def _begin(self, reply: Reply, head: AnswerHead) -> None:
        self.record.status = head.status
        super()._begin(reply, head)

    def browser_lost(self) -> None:
        """The browser has left."""
        self.end(self._ending)
        super().browser_lost()

    def end_politely(self) -> None:
        """The session has ended."""
        self._ending = "session_ended"
        super().end_politely()

    def end(self, how: str, status: int = 0) -> None:
        """Tell of it, once."""
        if not self.record.ended:
            self.record.ended, self.record.ended_at = how, self._now()
            self.record.status = status or self.record.status
            self._tell(self.record)


class _Told:
    """The browser's side, which knows when an exchange ends."""

    __slots__ = ("_browser", "_exchange", "hold", "release", "write", "write_both")

    def __init__(self, browser: Browser, exchange: RecordedExchange) -> None:
        self._browser = browser
        self._exchange = exchange
        self.write, self.write_both = browser.write, browser.write_both
        self.hold, self.release = browser.hold, browser.release

    @property
    def draining(self) -> bool:
        return self._browser.draining

    def answer(self, answer: Answer) -> None:
        self._exchange.end("whole", answer.status)
        self._browser.answer(answer)

    def refuse(self, status: int) -> None:
        self._exchange.end("refused", status)
        self._browser.refuse(status)

    def finish(self, *, keep: bool) -> None:
        self._exchange.end("whole")
        self._browser.finish(keep=keep)

    def break_off(self) -> None:
        self._exchange.end("broken_off")
        self._browser.break_off()

    def becomes(self, middle: Middle) -> None:
        self._exchange.end("switched")
        self._browser.becomes(middle)
