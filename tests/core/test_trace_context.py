import pytest

from sidecar.core.messages import RequestHead, RequestReader
from sidecar.core.trace_context import given_traceparent, hand_on

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def reads(reader: RequestReader, *fields: str) -> RequestHead:
    lines = ["GET /x HTTP/1.1", "Host: argocd", *fields, "", ""]
    return reader.read("\r\n".join(lines).encode("latin-1"))


def upstream(head: RequestHead) -> bytes:
    return head.to_bytes([b""] * (len(head.passing) + 1))


def test_the_one_that_a_request_brings_is_found() -> None:
    assert given_traceparent(reads(RequestReader(), "Via: x", f"TraceParent: {PARENT}")) == PARENT


@pytest.mark.parametrize("fields", [(), (f"traceparent: {PARENT}",) * 2])
def test_none_or_several_are_none(fields: tuple[str, ...]) -> None:
    assert given_traceparent(reads(RequestReader(), *fields)) == ""


def test_the_next_hop_is_told_of_the_new_one_in_the_place_of_the_old() -> None:
    head = reads(RequestReader(), "Via: x", f"TraceParent: {PARENT}", "tracestate: a=b")

    hand_on(head, PARENT, PARENT[:36] + "1" * 16 + "-01")

    new = PARENT[:36].encode() + b"1" * 16 + b"-01"
    assert upstream(head).endswith(b"Via: x\r\nTraceParent: " + new + b"\r\ntracestate: a=b\r\n")
    assert PARENT.encode() not in upstream(head)


@pytest.mark.parametrize("at", [0, 2, 35, 36, 51, 54])
def test_what_a_trace_is_called_is_its_id_alone(at: int) -> None:
    other = f"{PARENT[:at]}_{PARENT[at + 1 :]}"
    head = reads(RequestReader(), "tracestate: a=b", f"traceparent: {PARENT}")

    hand_on(head, PARENT, other)

    assert upstream(head).endswith(f"tracestate: a=b\r\ntraceparent: {other}\r\n".encode())


@pytest.mark.parametrize("at", [3, 20, 34])
def test_the_state_of_a_trace_of_another_id_does_not_pass(at: int) -> None:
    other = f"{PARENT[:at]}_{PARENT[at + 1 :]}"
    head = reads(RequestReader(), "A: b", "TRACESTATE: a=b", f"traceparent: {PARENT}")

    hand_on(head, PARENT, other)

    assert upstream(head).endswith(f"A: b\r\ntraceparent: {other}\r\n".encode())


def test_a_trace_that_begins_here_has_no_state_of_another() -> None:
    given = ("Via: x", "tracestate: a=b", "TraceState: c=d", "traceparent: nonsense", "X-Y: z")
    head = reads(RequestReader(), *given)

    hand_on(head, "nonsense", PARENT)

    assert upstream(head).endswith(b"Via: x\r\ntraceparent: " + PARENT.encode() + b"\r\nX-Y: z\r\n")


def test_a_request_without_one_goes_up_with_one() -> None:
    head = reads(RequestReader(), "Via: x")

    hand_on(head, "", "new")

    assert upstream(head).startswith(b"GET /x HTTP/1.1\r\ntraceparent: new\r\n")


def test_of_several_none_goes_up() -> None:
    head = reads(RequestReader(), "TraceParent: a", "TRACESTATE: x=y", "traceparent: b", "X-Y: z")

    hand_on(head, given_traceparent(head), "new")

    assert upstream(head) == b"GET /x HTTP/1.1\r\ntraceparent: new\r\nX-Y: z\r\n"


def test_the_next_request_with_the_same_fields_has_its_own_again() -> None:
    reader = RequestReader()
    hand_on(reads(reader, f"traceparent: {PARENT}"), PARENT, "new")

    assert given_traceparent(reads(reader, f"traceparent: {PARENT}")) == PARENT


def test_one_that_is_for_one_hop_only_is_left_to_the_rules_for_those() -> None:
    head = reads(RequestReader(), "Connection: traceparent", f"traceparent: {PARENT}")

    hand_on(head, "", "new")

    assert b"new" not in upstream(head)
