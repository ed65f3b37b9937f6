"""One request and its answer: what goes up when, and what happens at each kind of end."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from typing import Any

from structlog.contextvars import bind_contextvars

from sidecar.core.answer_heads import AnswerHead
from sidecar.core.framing import Body
from sidecar.core.heads import Kind
from sidecar.core.request_id import given_request_ids, name_upstream, usable_request_id
from sidecar.errors import AnswerMalformed, RequestMalformed, TryLater, UpstreamUnavailable
from sidecar.proxy.passes import Asked, Memory, Pass
from sidecar.proxy.pool import Upstream
from sidecar.proxy.reply import Reply
from sidecar.proxy.sides import Browser
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.way import Way

MAX_WAITING = 64 * 1024  # of a body that comes before there is a connection to the upstream
_DECISIONS = 3


class Exchange:
    """One request, from its head to the last byte of its answer."""

    __slots__ = (
        "_asked", "_body", "_browser", "_given", "_held_open", "_memory", "_repeated", "_reply",
        "_request_id", "_slow", "_task", "_tunnel", "_upstream", "_waiting", "_way",
    )  # fmt: skip

    def __init__(
        self, browser: Browser, way: Way, asked: Asked, memory: Memory, body: Body
    ) -> None:
        self._browser = browser
        self._way = way
        self._asked = asked
        self._memory = memory
        self._body = body
        self._waiting = b""
        self._slow = False
        self._repeated = False
        self._reply: Reply | None = None
        self._upstream: Upstream | None = None
        self._tunnel: Tunnel | None = None
        self._task: asyncio.Task[None] | None = None
        self._held_open: ExitStack | None = None
        self._request_id = ""
        self._given: Sequence[str] = ()

    @property
    def request_id(self) -> str:
        """The request's name in the log and on pages; made when it is asked for first.

        Nobody asks where nothing is waited for and nothing goes wrong.
        """
        if not self._request_id:
            self._given = given_request_ids(self._asked.head)
            self._request_id = usable_request_id(self._given) or self._way.request_ids()
        return self._request_id

    def _name_upstream(self) -> None:
        """Have the request go up with its name."""
        name = self.request_id  # which looks at what was given
        name_upstream(self._asked.head, name, self._given)

    @property
    def name(self) -> str:
        """An event stream, which lasts, or a plain request."""
        return "stream" if self._asked.kind is Kind.STREAM else "request"

    # The request on its way up

    def start(self) -> None:
        """Send the request up: at once, if there is nothing to wait for.

        Raises:
            RequestMalformed: it is not passed on.
        """
        way = self._way
        passed = way.gate.pass_now(self._asked, self._memory)
        if passed is None:
            self._do(self._go_up(None))
        elif passed.answer is not None:
            self._browser.answer(passed.answer)
        elif (upstream := way.pool.take()) is None:
            self._do(self._go_up(passed))
        elif not self._send(passed, upstream):
            self._do(self._go_up(None))

    async def _go_up(self, passed: Pass | None) -> None:
        """Send the request up after what there is to wait for."""
        # For good: the task is this request's own, and its context ends with it.
        bind_contextvars(request_id=self.request_id)
        try:
            await self._wait_and_send(passed)
        except RequestMalformed as error:
            self._browser.refuse(error.status)
        except TryLater as error:
            self._say_later(error)
        except Exception:
            self._browser.refuse(500)
            raise

    async def _wait_and_send(self, passed: Pass | None) -> None:
        gate, pool = self._way.gate, self._way.pool
        for _ in range(_DECISIONS):
            if passed is None:
                # What it waits for has lines in the log, of which the upstream's can be found.
                self._name_upstream()
                passed = await gate.pass_later(self._asked, self._memory)
            if passed.answer is not None:
                self._browser.answer(passed.answer)
                return
            # What is repeated was lost on an idle connection: the others may be as old.
            upstream = None if self._repeated else pool.take()
            if self._send(passed, upstream or await pool.connect()):
                return
            passed = None
        raise TryLater("the login changes all the time")

    def _send(self, passed: Pass, upstream: Upstream) -> bool:
        """Write the request's head; False if its session has ended in this moment."""
        gate = self._way.gate
        if passed.lasting:
            self._hold_open(passed)
        if passed.live is not None and not gate.may_go_up(passed.live):
            self._let_go()
            self._way.pool.give_back(upstream)
            return False
        self._reply = Reply(self._browser, gate, self._asked, passed)
        self._upstream = upstream
        upstream.user = self
        upstream.transport.write(self._asked.head.to_bytes(passed.pieces))
        if self._waiting:
            waiting, self._waiting = self._waiting, b""
            self._browser.release()
            upstream.transport.write(waiting)
        return True

    def from_browser(self, data: bytes) -> bytes:
        """Pass on what is of the body; the rest comes back.

        Raises:
            RequestMalformed: the body is none.
        """
        if self._body.done:
            return data
        mine, rest = self._body.take(data)
        if self._upstream is not None:
            self._upstream.transport.write(mine)
            return rest
        self._waiting += mine
        if len(self._waiting) > MAX_WAITING:
            self._browser.hold()
        return rest

    def waits_for_browser(self) -> bool:
        """Whether nothing happens before the browser sends more of its body."""
        answered = self._reply is not None and self._reply.begun
        return not self._body.done and not self._slow and not answered

    def upstream_slow(self) -> None:
        """The upstream takes no more of the body for now."""
        self._slow = True
        self._browser.hold()

    def upstream_ready(self) -> None:
        """The upstream takes more of the body again."""
        self._slow = False
        self._browser.release()

    # The answer on its way back

    def from_upstream(self, data: bytes) -> None:
        """Read the answer's head, pass its body on."""
        reply = self._reply
        if reply is None:
            return
        try:
            if reply.head is not None:
                reply.pass_body(data)
            elif head := reply.read_head(data):
                self._begin(reply, head)
        except (AnswerMalformed, RequestMalformed):
            self._fail(f"the answer of {self._way.pool.name} is not HTTP")
            return
        if reply.done:
            self._end(reply)

    def _begin(self, reply: Reply, head: AnswerHead) -> None:
        gate, passed = self._way.gate, reply.passed
        gate.note_answer(passed, head)
        if head.status == 101:
            self._open_tunnel(reply)
        elif not head.plain and gate.takes_over(passed, head):
            self.browser_slow()
            self._do(self._take_over(reply, head))
        else:
            reply.begin([], may_keep=self._may_keep())

    async def _take_over(self, reply: Reply, head: AnswerHead) -> None:
        # A browser that leaves here must not leave its session behind.
        taking = self._way.gate.take_over(reply.passed, head)
        more = await asyncio.shield(self._way.tasks.start(taking, "take over"))
        if self._upstream is None:
            return
        self._upstream.resume_reading()
        reply.begin(more, may_keep=self._may_keep())
        if reply.done:
            self._end(reply)

    def _may_keep(self) -> bool:
        # What is left of a body when its answer comes early could not be told from a request.
        return self._body.done and not self._browser.draining

    def browser_slow(self) -> None:
        """The browser takes no more of the answer for now."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def browser_ready(self) -> None:
        """The browser takes more of the answer again."""
        if self._upstream is not None:
            self._upstream.resume_reading()

    def _open_tunnel(self, reply: Reply) -> None:
        if self._upstream is not None:
            reply.switch()
            self._tunnel = Tunnel(self._browser, self._upstream, self._let_go)
            self._browser.becomes(self._tunnel)

    # Ends

    def _end(self, reply: Reply) -> None:
        """The answer is whole: both connections may serve the next request."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None and self._body.done and reply.leaves_upstream_usable:
            self._way.pool.give_back(upstream)
        elif upstream is not None:
            upstream.close()
        if self._held_open is not None:
            self._let_go()
        self._browser.finish(keep=reply.keeps_alive)

    def upstream_lost(self, error: Exception | None) -> None:
        """The upstream's connection has ended: the answer with it, or before it, or too early."""
        reply, upstream = self._reply, self._upstream
        self._upstream = None
        stale = upstream is not None and upstream.used_before
        if reply is not None and reply.until_close and error is None:
            reply.finish()
            self._end(reply)
        elif stale and reply is not None and reply.silent and self._asked.head.is_harmless_again:
            # It had ended unnoticed while it was idle. The next one is new: there is no third try.
            self._repeated = True
            self._do(self._go_up(None))
        else:
            self._fail(f"{self._way.pool.name} broke off before its answer")

    def _fail(self, sentence: str) -> None:
        """An answer that cannot be had: said as long as nothing of another has gone out."""
        self._let_upstream_go()
        if self._reply is not None and self._reply.begun:
            self._let_go()
            self._browser.break_off()
        else:
            self._say_later(UpstreamUnavailable(sentence))

    def _say_later(self, error: TryLater) -> None:
        self._let_go()
        is_stream = self._asked.kind is Kind.STREAM
        if is_stream and self._way.gate.has_session(self._asked, self._memory):
            self._do(self._hold_back(error))
        else:
            self._answer_later(error)

    async def _hold_back(self, error: TryLater) -> None:
        await self._way.hold_back.wait(error)
        self._answer_later(error)

    def _answer_later(self, error: TryLater) -> None:
        answer = self._way.apology(error, self._asked.kind, self.request_id)
        self._browser.answer(answer)

    def browser_lost(self) -> None:
        """The browser has left: nobody waits for the answer any more."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._let_upstream_go()
        self._let_go()

    def end_politely(self) -> None:
        """The session has ended, or its groups changed: what it has open ends with that."""
        if self._tunnel is not None:
            self._tunnel.end_politely()
            return
        self.browser_lost()
        if self._reply is not None and not self._reply.begun and self._may_come_again(self._reply):
            self._answer_later(TryLater("the login has changed"))
        elif self._reply is None or not self._reply.begun:
            answer = self._way.gate.ended(self._asked.kind)
            self._browser.answer(answer) if answer else self._browser.finish(keep=False)
        elif self._reply.end_chunks():
            self._browser.finish(keep=False)
        else:
            self._browser.break_off()

    def _may_come_again(self, reply: Reply) -> bool:
        return self._way.gate.still_lives(reply.passed)

    def drain(self) -> None:
        """The process ends: an event stream, which never ends by itself, ends now."""
        if self._asked.kind is Kind.STREAM and self._reply is not None and self._reply.begun:
            self.end_politely()

    def _let_upstream_go(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()

    def _hold_open(self, passed: Pass) -> None:
        """From now on this ends with its session, which is in use until then."""
        if passed.live is not None and self._held_open is None:
            self._held_open = self._way.hold_open(passed.live, self)

    def _let_go(self) -> None:
        if self._held_open is not None:
            held, self._held_open = self._held_open, None
            held.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that waits; it ends when the browser leaves."""
        self._task = self._way.tasks.start(work, "request")
