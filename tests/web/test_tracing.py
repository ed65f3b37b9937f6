"""What is traced of logins, renewals, logouts and requests, and what is not."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from sidecar.adapters.open_telemetry import OpenTelemetryTracer, open_telemetry
from sidecar.demo.misbehaviour import Answer
from tests.fakes.clock import FakeClock
from tests.world import PAGE, World, world

API = "/api/v1/applications"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass
class Traces:
    """What was exported."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    tracer: OpenTelemetryTracer = field(init=False)

    def __post_init__(self) -> None:
        self.tracer = open_telemetry(lambda _: None, self.exporter)

    def clear(self) -> None:
        self.tracer._provider.force_flush()
        self.exporter.clear()

    def all(self) -> list[ReadableSpan]:
        self.tracer._provider.force_flush()
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.all() if one.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found

    def way(self, one: ReadableSpan) -> list[str]:
        """The names of a span and of what it is a part of."""
        by_id = {each.context.span_id: each for each in self.all() if each.context}
        names = [one.name]
        while one.parent and one.parent.span_id in by_id:
            one = by_id[one.parent.span_id]
            names.append(one.name)
        return names


def about(one: ReadableSpan) -> dict[str, object]:
    return dict(one.attributes or {})


@pytest.fixture
async def traces() -> AsyncIterator[Traces]:
    made = Traces()
    yield made
    await made.tracer.aclose()


@pytest.fixture
async def traced(
    signing_key: rsa.RSAPrivateKey, fake_clock: FakeClock, traces: Traces
) -> AsyncIterator[World]:
    async with world(signing_key, fake_clock, tracer=traces.tracer) as made:
        yield made


async def test_a_login_is_a_span_with_its_provider_requests_and_store_trips(
    traced: World, traces: Traces
) -> None:
    await traced.logged_in()

    login = traces.one("login")
    assert traces.way(login) == ["login", "request own"]
    token = [one for one in traces.named("provider POST") if "login" in traces.way(one)]
    assert [about(one)["http.response.status_code"] for one in token] == [200]
    assert [about(one)["url.path"] for one in token] == ["/token"]
    assert traces.way(traces.one("store attach")) == ["store attach", "login", "request own"]


async def test_a_login_that_is_refused_says_why(traced: World, traces: Traces) -> None:
    traced.provider.script.append(Answer(status=400, body='{"error":"invalid_grant"}'))
    await (await traced.browser()).log_in()

    callback = [one for one in traces.named("request own") if "callback" in str(about(one))]
    assert about(callback[0])["sidecar.login"] == "exchange_invalid_grant"
    assert about(callback[0])["http.response.status_code"] == 502
    assert about(traces.one("login"))["error.type"] == "LoginRefused"


async def test_a_renewal_is_a_part_of_the_request_that_began_it_and_others_say_they_joined(
    traced: World, traces: Traces
) -> None:
    browser = await traced.logged_in()
    traced.clock.advance(301)
    traces.clear()
    await asyncio.gather(*(browser.get(API) for _ in range(3)))
    await traced.settled()

    renewal = traces.one("renewal")
    assert traces.way(renewal) == ["renewal", "request api"]
    assert about(renewal)["sidecar.lease"] == "held"
    assert about(renewal)["sidecar.result"] == "renewed"
    requests = [about(one).get("sidecar.renewal") for one in traces.named("request api")]
    assert sorted(map(str, requests)) == ["began", "joined", "joined"]
    assert [traces.way(one)[1] for one in traces.named("provider POST")] == ["renewal"]


async def test_a_renewal_that_failed_says_so(traced: World, traces: Traces) -> None:
    browser = await traced.logged_in()
    traced.clock.advance(301)
    traced.provider.script.append(Answer(status=503, body=""))

    assert (await browser.get(API)).status == 503

    await traced.settled()
    assert about(traces.one("renewal"))["sidecar.result"] == "passing"
    assert about(traces.one("request api"))["error.type"] == "503"


async def test_a_logout_is_a_span_with_the_revocation(traced: World, traces: Traces) -> None:
    browser = await traced.logged_in()
    traces.clear()
    await browser.get("/auth/logout")
    await traced.settled()

    assert traces.way(traces.one("logout")) == ["logout", "request own"]
    revocation = [o for o in traces.named("provider POST") if about(o)["url.path"] == "/revoke"]
    assert traces.way(revocation[0])[1:] == ["logout", "request own"]


async def test_a_request_is_continued_from_outside_and_on_to_argo_cd(
    traced: World, traces: Traces
) -> None:
    browser = await traced.logged_in()
    traces.clear()
    asked = await browser.get("/api/v1/echo?code=x", headers={"traceparent": PARENT})
    sent = [value for name, value in (await asked.json())["headers"] if name == "traceparent"]

    one = traces.one("request api")
    assert one.context
    assert one.parent
    assert f"{one.parent.span_id:016x}" == PARENT.split("-")[2]
    assert sent == [f"00-{PARENT.split('-')[1]}-{one.context.span_id:016x}-01"]
    assert one.kind is SpanKind.SERVER
    assert about(one)["url.path"] == "/api/v1/echo"
    assert about(one)["sidecar.credential"] == "session"


async def test_a_request_that_is_not_sampled_passes_as_without_tracing(
    traced: World, traces: Traces
) -> None:
    browser = await traced.logged_in()
    traces.clear()
    fields = {"Traceparent": PARENT[:-2] + "00", "tracestate": "a=b"}
    echo = await (await browser.get("/api/v1/echo", headers=fields)).json()
    sent = {name: value for name, value in echo["headers"] if name.lower().startswith("trace")}

    assert sent == fields
    assert not traces.all()


async def test_a_new_connection_to_argo_cd_is_a_part_of_the_request_that_needed_it(
    traced: World, traces: Traces
) -> None:
    await (await traced.browser()).get("/", headers=PAGE)

    assert traces.way(traces.one("connect upstream")) == ["connect upstream", "request page"]


async def test_without_tracing_a_traceparent_passes_untouched(here: World) -> None:
    browser = await here.logged_in()
    fields = {"Traceparent": PARENT, "tracestate": "a=b"}
    for headers in (fields, {"Traceparent": "nonsense"}):
        echo = await (await browser.get("/api/v1/echo", headers=headers)).json()
        sent = {name: value for name, value in echo["headers"] if name.lower().startswith("trace")}

        assert sent == headers
