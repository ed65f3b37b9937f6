"""Spans, for whoever traces; nothing for everybody else.

What is traced is said in the flows by these few words. OpenTelemetry is known to one adapter, which
is loaded only where tracing is on.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

Attribute = str | bool | int | float
"""No value comes from a query, a field or a body: codes, states, tokens and cookies are there."""


class Span(Protocol):
    """One thing that is done, with its beginning and its end."""

    @property
    def recording(self) -> bool:
        """Whether it will be told of: not all are, if there are many."""
        ...

    @property
    def traceparent(self) -> str:
        """The span as the next hop is told of it (W3C Trace Context)."""
        ...

    def note(self, **attributes: Attribute) -> None:
        """Say more of it; `error` is the kind of one, and marks it as failed."""
        ...

    def active(self) -> AbstractContextManager[None]:
        """What begins in this block, and in tasks that are started in it, is a part of it."""
        ...

    def end(self) -> None:
        """It is over."""
        ...


class Tracer(Protocol):
    """Makes spans."""

    @property
    def inside(self) -> bool:
        """Whether a span that will be told of is active here."""
        ...

    def begin(
        self, name: str, *, kind: str = "internal", traceparent: str = "", **attributes: Attribute
    ) -> Span:
        """A span that has begun. `kind` is `server`, `client` or `internal`.

        It is a part of what `traceparent` names if that is well-formed, else of the active span.
        """
        ...

    def note(self, **attributes: Attribute) -> None:
        """Say more of the active span."""
        ...


class _Nothing:
    """Neither a span nor a tracer."""

    traceparent = ""
    inside = recording = False

    def note(self, **attributes: Attribute) -> None:
        return

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()

    def end(self) -> None:
        return

    def begin(
        self, name: str, *, kind: str = "internal", traceparent: str = "", **attributes: Attribute
    ) -> Span:
        return self


NO_TRACING: Tracer = _Nothing()
"""Where nobody traces."""


@contextmanager
def span(
    tracer: Tracer,
    name: str,
    *,
    kind: str = "internal",
    traceparent: str = "",
    **attributes: Attribute,
) -> Iterator[Span]:
    """A span around a block, active in it. Of an error it has the kind, never the text."""
    begun = tracer.begin(name, kind=kind, traceparent=traceparent, **attributes)
    try:
        with begun.active():
            yield begun
    except BaseException as error:
        begun.note(error=type(error).__name__)
        raise
    finally:
        begun.end()
