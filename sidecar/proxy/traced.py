"""The data path with spans: exchanges and connections to the upstream, where tracing is on."""

from collections.abc import Coroutine
from typing import Any

from sidecar.core.framing import Body
from sidecar.core.trace_context import given_traceparent, hand_on
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.passes import Asked, Memory
from sidecar.proxy.pool import Pool, Upstream, UpstreamAddress
from sidecar.proxy.recorded import Record, RecordedExchange, Tell, path_of
from sidecar.proxy.sides import Browser
from sidecar.proxy.way import Way
from sidecar.tracing import Span, Tracer, span


class Exchanges:
    """Makes exchanges: with a span where the sampler wants one, else as they are without tracing.

    A trace that is not sampled passes as it came: the next hop need not know of us.
    """

    def __init__(self, tracer: Tracer, tell: Tell | None) -> None:
        self._tracer = tracer
        self._tell = tell

    def __call__(
        self, browser: Browser, way: Way, asked: Asked, memory: Memory, body: Body
    ) -> Exchange:
        """An exchange."""
        given, title = given_traceparent(asked.head), f"request {asked.kind.name.lower()}"
        begun = self._tracer.begin(title, kind="server", traceparent=given)
        if begun.recording:
            hand_on(asked.head, given, begun.traceparent)
            tell = self._tell or _nobody
            return TracedExchange(browser, way, asked, memory, body, tell=tell, begun=begun)
        if self._tell is not None:
            return RecordedExchange(browser, way, asked, memory, body, tell=self._tell)
        return Exchange(browser, way, asked, memory, body)


def _nobody(_: Record) -> None:
    """Nobody is told."""


class TracedExchange(RecordedExchange):
    """An exchange that is a span, of which what it waits for is a part, and the upstream's work."""

    __slots__ = ("_span",)

    def __init__(
        self,
        browser: Browser,
        way: Way,
        asked: Asked,
        memory: Memory,
        body: Body,
        *,
        tell: Tell,
        begun: Span,
    ) -> None:
        super().__init__(browser, way, asked, memory, body, tell=tell)
        self._span = begun
        head = asked.head
        begun.note(method=head.method, path=path_of(head), request_id=self.request_id)

    def start(self) -> None:
        """Send the request up.

        Raises:
            RequestMalformed: it is not passed on.
        """
        with self._span.active():
            super().start()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        with self._span.active():
            super()._do(work)

    def end(self, how: str, status: int = 0) -> None:
        """Tell of it, once."""
        if self.record.ended:
            return
        super().end(how, status)
        record = self.record
        self._span.note(ended=how, credential=record.credential, user=record.user_tag)
        if record.status:
            self._span.note(status=record.status)
        if record.status >= 500 or how == "broken_off":
            self._span.note(error=str(record.status) if record.status >= 500 else how)
        self._span.end()


class TracedPool(Pool):
    """The upstream's connections, whose making is a span inside of others."""

    def __init__(self, address: UpstreamAddress, *, tracer: Tracer, **options: Any) -> None:
        super().__init__(address, **options)
        self._tracer = tracer

    async def connect(self, *, http2: bool = False) -> Upstream:
        """A new connection.

        Raises:
            UpstreamUnavailable: there is none to be had.
        """
        if not self._tracer.inside:
            return await super().connect(http2=http2)
        with span(self._tracer, "connect upstream", kind="client"):
            return await super().connect(http2=http2)
