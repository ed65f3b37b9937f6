import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sidecar.adapters.memory_store import MemoryStore
from sidecar.adapters.open_telemetry import OpenTelemetryTracer, open_telemetry
from sidecar.adapters.traced import traced_store
from sidecar.tracing import span
from tests.fakes.clock import FakeClock

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Traced:
    """A tracer, and what it has exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer: OpenTelemetryTracer = open_telemetry(lambda _: None, self.exporter)

    async def spans(self) -> dict[str, ReadableSpan]:
        await self.tracer.aclose()
        return {one.name: one for one in self.exporter.get_finished_spans()}


def parent_of(one: ReadableSpan) -> int | None:
    return one.parent.span_id if one.parent else None


async def test_a_span_in_a_span_or_in_a_task_that_it_started_is_a_part_of_it() -> None:
    traced = Traced()

    async def work() -> None:
        with span(traced.tracer, "inner"):
            assert traced.tracer.inside

    with span(traced.tracer, "outer"):
        task = asyncio.create_task(work())
    await task
    assert not traced.tracer.inside

    spans = await traced.spans()
    assert spans["outer"].context
    assert parent_of(spans["inner"]) == spans["outer"].context.span_id


async def test_a_traceparent_from_outside_is_continued() -> None:
    traced = Traced()

    begun = traced.tracer.begin("one", kind="server", traceparent=PARENT)
    begun.end()

    (one,) = (await traced.spans()).values()
    assert parent_of(one) == 0x00F067AA0BA902B7
    assert begun.traceparent.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert begun.traceparent != PARENT


async def test_one_that_is_not_sampled_is_handed_on_and_not_exported() -> None:
    traced = Traced()

    begun = traced.tracer.begin("one", traceparent=PARENT[:-2] + "00")
    begun.note(status=200)
    begun.end()

    assert await traced.spans() == {}
    assert begun.traceparent.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert begun.traceparent.endswith("-00")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        "ff" + PARENT[2:],
        PARENT.upper(),
        PARENT + "-more",
        PARENT + "\n",
        PARENT[:-1],
    ],
)
async def test_what_is_no_traceparent_begins_a_trace_of_its_own(given: str) -> None:
    traced = Traced()

    traced.tracer.begin("one", traceparent=given).end()

    (one,) = (await traced.spans()).values()
    assert one.parent is None


async def test_a_later_version_with_more_behind_it_is_understood() -> None:
    traced = Traced()

    traced.tracer.begin("one", traceparent="01" + PARENT[2:] + "-what-the-future-brings").end()

    (one,) = (await traced.spans()).values()
    assert one.parent is not None


async def test_of_an_error_a_span_has_the_kind_and_not_the_text() -> None:
    traced = Traced()

    with pytest.raises(ValueError, match="secret"), span(traced.tracer, "one"):
        raise ValueError("a secret")

    (one,) = (await traced.spans()).values()
    assert not one.status.is_ok
    assert dict(one.attributes or {}) == {"error.type": "ValueError"}
    assert not one.events
    assert "secret" not in one.to_json()


async def test_values_are_cut_where_they_are_too_long() -> None:
    traced = Traced()

    with span(traced.tracer, "one", path="/" * 1000, status=200):
        pass

    (one,) = (await traced.spans()).values()
    assert dict(one.attributes or {}) == {"url.path": "/" * 256, "http.response.status_code": 200}


async def test_the_service_has_the_name_that_otel_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, expected in (("", "argocd-token-refresh"), ("mine", "mine")):
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        traced = Traced()
        with span(traced.tracer, "one"):
            pass

        (one,) = (await traced.spans()).values()
        assert one.resource.attributes["service.name"] == expected


async def test_a_sampler_is_the_one_that_otel_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    traced = Traced()

    with span(traced.tracer, "one"):
        assert not traced.tracer.inside

    assert await traced.spans() == {}


class Failing(SpanExporter):
    """An exporter that has these results, and then succeeds."""

    def __init__(self, *results: object) -> None:
        self.results = list(results)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self.results.pop(0) if self.results else SpanExportResult.SUCCESS
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, SpanExportResult)
        return result

    def shutdown(self) -> None:
        return


@pytest.mark.parametrize(
    "results",
    [[RuntimeError("x")], [SpanExportResult.FAILURE] * 2, [RuntimeError(), RuntimeError()]],
)
async def test_failures_of_an_exporter_are_told_once_and_disturb_nobody(
    results: list[object],
) -> None:
    told: list[bool] = []
    tracer = open_telemetry(told.append, Failing(*results))

    for _ in range(4):
        with span(tracer, "one"):
            pass
        assert tracer._provider.force_flush()
    await tracer.aclose()

    assert told == [True, False]


class Hanging(Failing):
    """An exporter that comes to no end."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        future = asyncio.run_coroutine_threadsafe(self.released.wait(), self.loop)
        future.result()
        return SpanExportResult.SUCCESS


async def test_a_collector_that_hangs_does_not_hold_up_the_end() -> None:
    exporter = Hanging()
    tracer = open_telemetry(lambda _: None, exporter)
    with span(tracer, "one"):
        pass

    async with asyncio.timeout(10):
        await tracer.aclose()
    exporter.released.set()
    await asyncio.sleep(0.1)


async def test_a_store_trip_is_a_span_inside_of_others_only(fake_clock: FakeClock) -> None:
    traced = Traced()
    store = traced_store(MemoryStore(fake_clock), traced.tracer)

    await store.now()
    with span(traced.tracer, "one"):
        assert await store.now() == fake_clock.now()

    spans = await traced.spans()
    assert [name for name in spans if name.startswith("store")] == ["store now"]
    assert len(traced.exporter.get_finished_spans()) == 2
