"""`traceparent`: whose part a request is, and how the next hop is told (W3C Trace Context)."""

import re

from sidecar.core.messages import RequestHead

_FIELD = "traceparent"
_TRACE = slice(3, 35)  # the trace's id
_STATE = re.compile(rb"(?<![^\n])tracestate: [^\r\n]*\r\n", re.IGNORECASE)
_ANY = re.compile(rb"(?<![^\n])trace(?:state|parent): [^\r\n]*\r\n", re.IGNORECASE)
_PASSING = re.compile(rb"((?:^|\n)traceparent: )[^\r\n]*", re.IGNORECASE)


def given_traceparent(head: RequestHead) -> str:
    """The one that a request brings; "" without one, or with several (section 3.2.1)."""
    given = head.find(_FIELD)
    return given[0] if len(given) == 1 else ""


def hand_on(head: RequestHead, given: str, traceparent: str) -> None:
    """Have a request go up with this one in the place of its own, which is the `given` one.

    `tracestate` passes as it came, which goes with another parent too (section 3.5), unless a new
    trace begins here: then it says nothing of that one, and is dropped (section 4.3).
    """
    if any(name.lower() == _FIELD for name, _ in head.block.fields):
        return  # a Connection field names others: too rare for a second way
    if not given:
        # Not in their place: the runs are remembered for the connection's next request.
        head.passing = [_ANY.sub(b"", run) for run in head.passing]
        head.line += f"{_FIELD}: {traceparent}\r\n".encode()
        return
    new = traceparent.encode()
    head.passing = [_PASSING.sub(lambda old: old[1] + new, run) for run in head.passing]
    if given[_TRACE] != traceparent[_TRACE]:
        head.passing = [_STATE.sub(b"", run) for run in head.passing]
