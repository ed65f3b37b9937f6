"""A request's name: from outside, or made; up, in the log, and on what people see."""

import asyncio
from functools import partial

import pytest
from structlog.testing import capture_logs

from sidecar.errors import StoreUnavailable
from sidecar.proxy.recorded import Record, RecordedExchange
from sidecar.proxy.request_log import in_log
from tests.proxy.stack import OK, Peer, Stack, get, request, stack, status
from tests.world import eventually

MADE = b"X-Request-Id: request-1\r\n"


def recorded(here: Stack) -> list[Record]:
    """The records of all requests from now on."""
    records: list[Record] = []
    here.site.exchange = partial(RecordedExchange, tell=records.append)
    return records


async def ask(here: Stack, data: bytes) -> bytes:
    client = await here.client()
    await client.send(data)
    return await client.answer()


async def test_a_request_that_waits_for_nothing_gets_no_field_more() -> None:
    async with stack() as here:
        await ask(here, get("/", f"Cookie: {here.cookie}"))
        await here.idle()
        await ask(here, get("/again", f"Cookie: {here.cookie}"))

        assert here.upstream.got.count(b"\r\n\r\n") == 2
        assert b"X-Request-Id" not in here.upstream.got


async def test_a_request_that_waited_for_its_login_goes_up_with_the_id_of_its_log_lines() -> None:
    async with stack() as here:
        here.renewing.at_hand.clear()
        await ask(here, get("/x", f"Cookie: {here.cookie}"))

        assert here.upstream.got.startswith(b"GET /x HTTP/1.1\r\n" + MADE)


async def test_an_id_from_outside_goes_up_as_it_came_whatever_is_waited_for() -> None:
    async with stack() as here:
        here.renewing.at_hand.clear()
        await ask(here, get("/x", "X-Request-Id: from-nginx", f"Cookie: {here.cookie}"))

        assert here.upstream.got.count(b"X-Request-Id: from-nginx\r\n") == 1
        assert MADE not in here.upstream.got


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_an_id_from_outside_is_on_the_page_and_in_the_log(accept: str) -> None:
    async with stack() as here:
        here.renewing.at_hand.clear()
        here.renewing.error = StoreUnavailable("the store does not answer")
        asked = get("/api/v1/x", "X-Request-Id: from-nginx", f"Accept: {accept}")
        with capture_logs() as logs:
            answer = await ask(
                here, asked.replace(b"\r\n\r\n", f"\r\nCookie: {here.cookie}\r\n\r\n".encode())
            )

    assert status(answer) == 503
    assert b"from-nginx" in answer
    assert [line["request_id"] for line in logs if line["event"] == "try_later"] == ["from-nginx"]


async def test_an_id_that_is_not_harmless_is_nowhere_but_upstream() -> None:
    async with stack() as here:
        here.renewing.at_hand.clear()
        here.renewing.error = StoreUnavailable("the store does not answer")
        with capture_logs() as logs:
            answer = await ask(
                here, get("/api/v1/x", "X-Request-Id: <b>", f"Cookie: {here.cookie}")
            )

    assert b"<b>" not in answer
    assert b"request-1" in answer
    assert [line["request_id"] for line in logs if line["event"] == "try_later"] == ["request-1"]


async def test_at_debug_there_is_a_line_for_each_request_without_its_query() -> None:
    async with stack() as here:
        with capture_logs() as logs:
            here.site.exchange = partial(RecordedExchange, tell=in_log(here.site.way.log))
            await ask(here, get("/x?token=secret", f"Cookie: {here.cookie}"))
        (line,) = [line for line in logs if line["event"] == "request"]

    told = {
        name: line[name] for name in ("method", "path", "kind", "credential", "status", "ended")
    }
    assert told == {
        "method": "GET",
        "path": "/x",
        "kind": "other",
        "credential": "session",
        "status": 200,
        "ended": "whole",
    }
    assert line["request_id"] == "request-1"
    assert line["user"] == here.key.user_tag
    assert MADE in here.upstream.got
    assert 0 <= line["waited_ms"] <= line["took_ms"]
    assert "secret" not in str(logs)


async def test_without_debug_no_request_is_recorded() -> None:
    async with stack() as here:
        with capture_logs() as logs:
            await ask(here, get("/x", f"Cookie: {here.cookie}"))

    assert not [line for line in logs if line["event"] == "request"]


async def test_each_request_of_a_connection_has_its_own_record() -> None:
    async with stack() as here:
        records = recorded(here)
        client = await here.client()
        await client.send(get("/a") + get("/b", "X-Request-Id: two"))
        await client.answer()
        await client.answer()

    assert [(one.path, one.request_id) for one in records] == [("/a", "request-1"), ("/b", "two")]


async def test_a_record_tells_how_a_request_ended() -> None:
    async with stack() as here:
        records = recorded(here)
        foreign = ("Upgrade: websocket", "Connection: Upgrade", "Origin: https://evil.example")
        await here.ask(get("/terminal", *foreign, f"Cookie: {here.cookie}"))
        here.renewing.at_hand.clear()
        here.renewing.error = StoreUnavailable("the store does not answer")
        await ask(here, get("/api/v1/x", f"Cookie: {here.cookie}"))

    assert [(one.status, one.ended) for one in records] == [(400, "refused"), (503, "whole")]


async def silent(peer: Peer) -> None:
    await peer.request()
    await asyncio.Event().wait()


async def test_a_record_tells_of_a_browser_that_left() -> None:
    async with stack(silent) as here:
        records = recorded(here)
        client = await here.client()
        await client.send(get("/x"))
        await eventually(
            lambda: (
                b"\r\n\r\n" in here.upstream.connections[0].got
                if here.upstream.connections
                else False
            )
        )
        client.close()
        await eventually(lambda: bool(records))

    assert [(one.status, one.ended) for one in records] == [(0, "left")]


async def breaks_off(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    peer.reset()


async def test_a_record_tells_of_an_answer_that_broke_off() -> None:
    async with stack(breaks_off) as here:
        records = recorded(here)
        client = await here.client()
        await client.send(get("/x"))
        await eventually(lambda: bool(records))

    assert [(one.status, one.ended) for one in records] == [(200, "broken_off")]


async def streams(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    await asyncio.Event().wait()


async def test_a_record_tells_of_a_stream_that_ended_with_its_session() -> None:
    async with stack(streams) as here:
        records = recorded(here)
        client = await here.client()
        await client.send(get("/api/v1/stream/x", f"Cookie: {here.cookie}"))
        await client.until(b"ab\r\n")
        here.port.close_session(here.key)
        await client.rest()

    assert [(one.status, one.ended) for one in records] == [(200, "session_ended")]


async def switches(peer: Peer) -> None:
    await peer.request()
    await peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    await peer.rest()


async def test_a_record_tells_of_a_connection_that_became_a_tunnel() -> None:
    async with stack(switches) as here:
        records = recorded(here)
        client = await here.client()
        await client.send(get("/terminal", "Upgrade: websocket", "Connection: Upgrade"))
        await client.until(b"\r\n\r\n")

        assert [(one.status, one.ended) for one in records] == [(101, "switched")]


async def test_a_recorded_request_passes_its_body_and_its_answers_as_any_other() -> None:
    async with stack() as here:
        recorded(here)
        answer = await ask(here, request("POST", "/x", "Content-Length: 5", body=b"hello"))

    assert answer == OK
    assert here.upstream.got.endswith(b"\r\n\r\nhello")
