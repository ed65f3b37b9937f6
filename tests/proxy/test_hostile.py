"""No request is read in one way here and in another behind us."""

import re

import pytest

from tests.proxy.hostile import CHUNKS, HARMLESS, REFUSED
from tests.proxy.stack import OK, Peer, get, stack, status


def test_the_corpus_is_not_smaller_than_it_was() -> None:
    assert len(REFUSED) + len(CHUNKS) + len(HARMLESS) >= 250
    assert len({raw for raw, _ in [*REFUSED, *CHUNKS]}) == len(REFUSED) + len(CHUNKS)


@pytest.mark.parametrize(("raw", "expected"), REFUSED, ids=range(len(REFUSED)))
async def test_a_request_with_two_readings_is_refused_and_nothing_reaches_the_upstream(
    raw: bytes, expected: int
) -> None:
    async with stack() as here:
        answer = await here.ask(raw)

        assert status(answer) == expected
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert here.upstream.connections == []
        assert here.own == []


@pytest.mark.parametrize(("raw", "expected"), REFUSED[::7], ids=range(len(REFUSED[::7])))
async def test_it_is_refused_behind_a_good_request_and_byte_by_byte_too(
    raw: bytes, expected: int
) -> None:
    async with stack() as here:
        client = await here.client()
        whole = get("/good") + raw
        for at in range(0, min(len(whole), 600)):
            client.writer.write(whole[at : at + 1])
        client.writer.write(whole[600:])
        answer = await client.rest()

        assert answer.startswith(OK)
        assert status(answer.removeprefix(OK)) == expected
        assert here.upstream.got == get("/good")


@pytest.mark.parametrize(("raw", "expected"), CHUNKS, ids=range(len(CHUNKS)))
async def test_a_body_with_two_readings_is_refused_and_its_odd_line_stays_here(
    raw: bytes, expected: int
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.rest()

    async with stack(talk) as here:
        answer = await here.ask(raw)

        head, _, body = here.upstream.got.partition(b"\r\n\r\n")
        assert status(answer) == expected
        assert head.count(b"HTTP/1.1") <= 1
        # What went up is a clean beginning of a body, and the connection has ended.
        assert re.fullmatch(
            rb"(1;a+\r\nx\r\n)*(5\r\nhello)?(5\r\nhell\r)?(0\r\n(A\d+: b+\r\n)*)?", body
        )
        assert here.pool.idle == 0


@pytest.mark.parametrize(("raw", "form"), HARMLESS, ids=range(len(HARMLESS)))
async def test_an_odd_request_with_one_meaning_goes_up_in_one_form(raw: bytes, form: bytes) -> None:
    async def talk(peer: Peer) -> None:
        await peer.exactly(len(form))
        await peer.send(OK)
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(raw)
        answer = await client.until(b"ok")

        assert status(answer) == 200
        assert here.upstream.got == form
