"""Spans by OpenTelemetry, sent by OTLP over HTTP. Loaded only where tracing is on.

All that can be configured is configured by the variables that OpenTelemetry itself defines.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from sidecar.tracing import Attribute

_LONGEST_VALUE = 256
_CLOSE_SECONDS = 2.0
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
# W3C Trace Context, section 3.2: version 00, or a later one, which may have more behind it.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class OpenTelemetrySpan:
    """A span of OpenTelemetry's, which gets words and numbers of ours only."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def recording(self) -> bool:
        """Whether it will be told of."""
        return self._span.is_recording()

    @property
    def traceparent(self) -> str:
        """The span as the next hop is told of it."""
        one = self._span.get_span_context()
        return f"00-{one.trace_id:032x}-{one.span_id:016x}-{one.trace_flags:02x}"

    def note(self, **attributes: Attribute) -> None:
        """Say more of it."""
        _note(self._span, attributes)

    @contextmanager
    def active(self) -> Iterator[None]:
        """What begins in this block is a part of it."""
        token = context.attach(trace.set_span_in_context(self._span))
        try:
            yield
        finally:
            context.detach(token)

    def end(self) -> None:
        """It is over."""
        self._span.end()


class OpenTelemetryTracer:
    """Makes OpenTelemetry's spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("argocd-token-refresh")

    @property
    def inside(self) -> bool:
        """Whether a span that will be told of is active here."""
        return trace.get_current_span().is_recording()

    def begin(
        self, name: str, *, kind: str = "internal", traceparent: str = "", **attributes: Attribute
    ) -> OpenTelemetrySpan:
        """A span that has begun."""
        begun = self._tracer.start_span(name, context=_parent(traceparent), kind=_KINDS[kind])
        _note(begun, attributes)
        return OpenTelemetrySpan(begun)

    def note(self, **attributes: Attribute) -> None:
        """Say more of the active span."""
        _note(trace.get_current_span(), attributes)

    async def aclose(self) -> None:
        """Send what has not been sent yet. A collector that is away holds nobody up for long."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, daemon=True).start()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await done.wait()
        except TimeoutError:
            return


class _Told(SpanExporter):
    """An exporter whose failures are told when they begin and when they end; never an error."""

    def __init__(self, exporter: SpanExporter, told: Callable[[bool], None]) -> None:
        self._exporter = exporter
        self._told = told
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:  # a collector's answer is none of ours
            result = SpanExportResult.FAILURE
        failing = result is not SpanExportResult.SUCCESS
        if failing is not self._failing:
            self._failing = failing
            self._told(failing)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def open_telemetry(
    told: Callable[[bool], None], exporter: SpanExporter | None = None
) -> OpenTelemetryTracer:
    """The tracer that the environment's `OTEL_…` describe.

    `told` hears, from another thread, that exports fail, and that they do so no more.

    Raises:
        ValueError: one of these variables cannot be used.
    """
    # What its loggers say may have the collector's address, with what is secret in it.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "argocd-token-refresh"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Told(exporter or OTLPSpanExporter(), told)))
    return OpenTelemetryTracer(provider)


def _note(span: trace.Span, attributes: dict[str, Attribute]) -> None:
    if not span.is_recording():
        return
    error = attributes.pop("error", "")
    if error:
        span.set_status(Status(StatusCode.ERROR))
        span.set_attribute("error.type", str(error))
    for name, value in attributes.items():
        told: Any = value[:_LONGEST_VALUE] if isinstance(value, str) else value
        span.set_attribute(_NAMES.get(name, f"sidecar.{name}"), told)


# The words of OpenTelemetry's semantic conventions for HTTP; all others are ours.
_NAMES = {
    "method": "http.request.method",
    "path": "url.path",
    "status": "http.response.status_code",
    "host": "server.address",
    "port": "server.port",
}


def _parent(traceparent: str) -> context.Context | None:
    """The context of a span that comes from outside; None: the active one."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if not found or (found[1] == "00" and found[5]):
        return None
    flags = TraceFlags(int(found[4], 16) & TraceFlags.SAMPLED)
    given = SpanContext(int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(given)) if given.is_valid else None
