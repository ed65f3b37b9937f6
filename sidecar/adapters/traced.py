"""Store and provider with spans, where tracing is on; only as parts of something else.

The looks at the store twice a second, which nobody asked for, are none.
"""

import inspect
from functools import wraps
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import (
    ClientSession,
    TraceConfig,
    TraceRequestEndParams,
    TraceRequestExceptionParams,
    TraceRequestStartParams,
)

from sidecar.ports import Store
from sidecar.tracing import Tracer, span


def traced_store(store: Store, tracer: Tracer) -> Store:
    """The same store, each of whose trips is a span."""
    return cast(Store, _Traced(store, tracer))


class _Traced:
    """Stands before a store; its operations are made once."""

    def __init__(self, store: Store, tracer: Tracer) -> None:
        self._store = store
        self._tracer = tracer
        self._made: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name in self._made:
            return self._made[name]
        one = getattr(self._store, name)
        if not inspect.iscoroutinefunction(one):
            return one
        tracer, title = self._tracer, f"store {name}"

        @wraps(one)
        async def traced(*args: Any, **options: Any) -> Any:
            if not tracer.inside:
                return await one(*args, **options)
            with span(tracer, title, kind="client"):
                return await one(*args, **options)

        self._made[name] = traced
        return traced


def provider_trace(tracer: Tracer) -> TraceConfig:
    """Spans for the requests to a provider: which endpoint, and the status.

    The provider is not told of them: it is another's.
    """

    async def begin(
        _: ClientSession, about: SimpleNamespace, sent: TraceRequestStartParams
    ) -> None:
        about.span = None
        if tracer.inside:
            about.span = tracer.begin(
                f"provider {sent.method}",
                kind="client",
                method=sent.method,
                host=sent.url.host or "",
                port=sent.url.port or 0,
                path=sent.url.raw_path,
            )

    async def end(_: ClientSession, about: SimpleNamespace, came: TraceRequestEndParams) -> None:
        if about.span is not None:
            about.span.note(status=came.response.status)
            if came.response.status >= 400:
                about.span.note(error=str(came.response.status))
            about.span.end()

    async def fail(
        _: ClientSession, about: SimpleNamespace, came: TraceRequestExceptionParams
    ) -> None:
        if about.span is not None:
            about.span.note(error=type(came.exception).__name__)
            about.span.end()

    config = TraceConfig()
    config.on_request_start.append(begin)
    config.on_request_end.append(end)
    config.on_request_exception.append(fail)
    return config
