"""One public connection: its requests are read one by one, each to whom it is for."""

import asyncio
from typing import cast

from sidecar.core.answers import Answer, overloaded, refused, to_bytes, to_https
from sidecar.core.framing import NO_BODY
from sidecar.core.heads import OwnPath, values
from sidecar.core.messages import RequestHead, RequestReader, check_beginning, check_length
from sidecar.errors import RequestMalformed
from sidecar.proxy.passes import Asked
from sidecar.proxy.room import make_room
from sidecar.proxy.sides import MOST_UNSENT, Middle
from sidecar.proxy.site import Site
from sidecar.proxy.tls import HANDSHAKE, TlsTransport
from sidecar.proxy.tunnel import Waiting, splice
from sidecar.proxy.watched import Watched

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4


class Front(Watched):
    """A browser's connection. One request at a time; others wait in its buffer."""

    __slots__ = (
        "_first", "_head", "_reader", "_reading", "_searched",
    )  # fmt: skip

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._reader = RequestReader(site.limits.fields)
        self._searched = 0
        self._first = True
        self._head: RequestHead | None = None
        self._reading = False

    @property
    def draining(self) -> bool:
        """Whether no other request follows on this connection."""
        return self._site.draining

    @property
    def at(self) -> str:
        """What this connection is at, for whoever watches."""
        if self._middle is not None:
            return self._middle.name
        return "own_page" if self._own is not None else "idle"

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A browser is there; one too many is told so."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by form only
        self.transport.set_write_buffer_limits(MOST_UNSENT)
        has_room = make_room(self._site, self._now())
        self._site.connections.add(self)
        if not has_room:
            self._refuse(overloaded())

    def data_received(self, data: bytes) -> None:
        """Bytes, for whoever's turn it is."""
        self._since = self._now()
        if self._middle is not None:
            self._to_middle(self._middle, data)
        elif self._own is not None:
            self._own.data_received(data)
        elif not self._ending:
            if not self._buffer:
                self._head_since = self._since
                if self._first and data[0] == HANDSHAKE and self._tls is None:
                    self._begin_tls(data)
                    return
            self._buffer += data
            self._read()

    def eof_received(self) -> bool | None:
        """A browser that says no more has left: nobody tells them apart."""
        return self._own.eof_received() if self._own is not None else None

    def connection_lost(self, error: Exception | None) -> None:
        """The browser has left."""
        self._site.connections.discard(self)
        self._site.leaving.discard(self)
        if self.draining and not self._site.connections:
            self._site.empty.set()
        self._ending = True
        middle, self._middle = self._middle, None
        if middle is not None:
            middle.browser_lost()
        if self._own is not None:
            self._own.connection_lost(error)

    def pause_writing(self) -> None:
        """The browser takes no more for now: neither do we, from the other side."""
        self._slow_since = self._now()
        if self._middle is not None:
            self._middle.browser_slow()
        elif self._own is not None:
            self._own.pause_writing()

    def resume_writing(self) -> None:
        """The browser takes more again."""
        self._slow_since = 0.0
        if self._middle is not None:
            self._middle.browser_ready()
        elif self._own is not None:
            self._own.resume_writing()
        else:
            self._read()

    # Requests, one by one

    def _read(self) -> None:
        """Begin with the requests in the buffer, as far as one ends at once."""
        if self._reading:
            return
        self._reading = True
        try:
            while self._buffer and self._is_free() and self._read_one():
                pass
        finally:
            self._reading = False
        if self._buffer or self._full:
            self._hold_if_full()

    def _is_free(self) -> bool:
        is_idle = self._middle is None and self._own is None
        return is_idle and not (self._ending or self._slow_since)

    def _read_one(self) -> bool:
        """Take a head from the buffer; False if it is not whole yet."""
        came = self._buffer
        if self._first and PREFACE.startswith(came[: len(PREFACE)]):
            return self._read_preface()
        end = came.find(b"\r\n\r\n", self._searched) + 4
        try:
            if end < 4:
                check_beginning(came, self._searched, self._site.limits.head_bytes)
                self._searched = max(0, len(came) - 3)
                return False
            self._buffer, self._searched, self._first = came[end:], 0, False
            self._begin(came[:end])
        except RequestMalformed as error:
            self.refuse(error.status)
        return True

    def _begin(self, raw: bytes) -> None:
        site = self._site
        check_length(raw, site.limits.head_bytes)
        head = self._reader.read(raw)
        purpose = site.paths.purpose(head.method, head.target, head.block.accept)
        if purpose is None:
            raise RequestMalformed("a target that hides a NUL")
        self._head, self._answering = head, False
        asked = Asked(head, purpose.kind, purpose.gets_settings)
        if site.certificate is not None and self._tls is None:
            self._send_to_https(head)
        elif purpose.own is None:
            self._start_exchange(asked)
        elif purpose.own is OwnPath.LOGOUT:
            self._middle = Waiting(self._site.way.tasks, self._log_out(asked, raw))
        else:
            self._hand_over(raw)

    def _start_exchange(self, asked: Asked) -> None:
        site, block = self._site, asked.head.block
        way, memory = site.way, site.way.gate.memories.of(block)
        body = block.body(site.limits.body_bytes) if block.has_body else NO_BODY
        exchange = site.exchange(self, way, asked, memory, body)
        self._middle = exchange
        exchange.start()
        if block.has_body and self._buffer and self._middle is exchange:
            data, self._buffer = self._buffer, b""
            self._to_middle(exchange, data)

    async def _log_out(self, asked: Asked, raw: bytes) -> None:
        ours = await self._site.way.gate.ends_session(asked.head)
        self._middle = None
        try:
            if ours:
                self._hand_over(raw)
            else:
                self._start_exchange(asked)
        except RequestMalformed as error:
            self.refuse(error.status)

    def _hand_over(self, raw: bytes) -> None:
        """Give the connection to aiohttp, with the request's bytes.

        It does not come back: aiohttp would read the next request, too, and it is not told
        apart there whose that is. Own pages are rare, and a new connection is cheap.
        """
        self._own = self._site.own()
        self._own.connection_made(self.transport)
        data, self._buffer = raw + self._buffer, b""
        self._release_all()
        self._own.data_received(data)

    def _to_middle(self, middle: Middle, data: bytes) -> None:
        try:
            rest = middle.from_browser(data)
        except RequestMalformed as error:
            middle.browser_lost()
            self.break_off() if self._answering else self.refuse(error.status)
            return
        if rest:
            self._buffer += rest
            self._hold_if_full()

    # TLS and HTTP/2

    def _begin_tls(self, hello: bytes) -> None:
        """From now on all bytes pass through TLS; these are its first."""
        certificate, handshakes = self._site.certificate, self._site.metrics.tls_handshakes
        if certificate is None:
            handshakes.labels("no_certificate").inc()
            self._end()
            return
        self._tls = TlsTransport(self.transport, self, certificate.context, handshakes)
        self.transport = self._tls
        self._tls.data_received(hello)

    def _send_to_https(self, head: RequestHead) -> None:
        """What Argo CD answers to every request without TLS, its health checks included."""
        hosts = values(head.block.fields, "host")
        if not hosts:
            raise RequestMalformed("no Host to send the client to")
        self.answer(to_https(hosts[0], head.target))

    def _read_preface(self) -> bool:
        if len(self._buffer) < len(PREFACE):
            return False
        self._first = False
        # Where there is TLS, a client's token does not come without it.
        if self._site.http2 and (self._tls is not None or self._site.certificate is None):
            count = self._site.metrics.spliced_connections.inc
            spliced = splice(self, self._site.way.pool, count)
            self._middle = Waiting(self._site.way.tasks, spliced)
        else:
            self.refuse(505)
        return True

    # What exchanges and tunnels ask for

    def answer(self, answer: Answer) -> None:
        """Send an answer of our own, which ends the exchange."""
        head = self._head
        keep = head is not None and head.block.keeps_alive and not head.block.has_body
        keep = keep and not self.draining
        body = head is None or head.method != "HEAD"
        self.write(to_bytes(answer, close=not keep, body=body))
        self.finish(keep=keep)

    def refuse(self, status: int) -> None:
        """Answer a request that is not passed on, and close."""
        self._refuse(refused(status))

    def _refuse(self, answer: Answer) -> None:
        self._site.metrics.refused_requests.labels(str(answer.status)).inc()
        # Strangers can cause it as often as they like: counted always, told only who debugs.
        self._site.way.log.debug("request_refused", status=answer.status)
        self.write(to_bytes(answer, close=True))
        self.finish(keep=False)

    def finish(self, *, keep: bool) -> None:
        """The answer is whole; the next request may follow if the connection is kept."""
        self._middle = None
        self._since = self._head_since = self._now()
        if keep and not self._site.draining:
            if self._held:
                self.release()
            if self._buffer:
                self._read()
        else:
            self._end()

    def break_off(self) -> None:
        """End the connection so that nobody takes what has gone out for the whole."""
        self._middle = None
        self._reset()

    def becomes(self, middle: Middle) -> None:
        """From now on the connection's bytes are for another."""
        self._middle = middle
        data, self._buffer = self._buffer, b""
        self._release_all()
        if data:
            self._to_middle(middle, data)
        if self._slow_since:
            middle.browser_slow()

    # The end of the process

    def drain(self) -> None:
        """The process ends: end now, or with the answer that is under way."""
        if self._middle is not None:
            self._middle.drain()
        elif self._own is None:
            self._end()
