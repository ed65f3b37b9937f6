"""A request goes up as it came, and its answer comes back as it was given."""

import asyncio

import pytest

from tests.proxy.stack import OK, Peer, get, request, stack, status
from tests.world import eventually

CLOSE = "Connection: close"


async def test_target_order_and_case_of_fields_and_their_repetitions_arrive_unchanged() -> None:
    async with stack() as here:
        await here.ask(
            b"GET /a%2Fb/%7e?x=%20&&|{}' HTTP/1.1\r\nx-LOWER: 1\r\nHost: argocd.example.org\r\n"
            b"X-Two: b\r\nAccept:*/*\r\nX-Two: a\r\nX-Empty:\r\nX-Latin: \xe9\xff\r\n"
            b"Connection: close\r\n\r\n"
        )

    assert here.upstream.got == (
        b"GET /a%2Fb/%7e?x=%20&&|{}' HTTP/1.1\r\nx-LOWER: 1\r\nHost: argocd.example.org\r\n"
        b"X-Two: b\r\nAccept: */*\r\nX-Two: a\r\nX-Empty: \r\nX-Latin: \xe9\xff\r\n\r\n"
    )


async def test_what_is_for_one_hop_stays_here() -> None:
    async with stack() as here:
        await here.ask(
            get(
                "/x",
                "Connection: close, X-Mine",
                "X-Mine: 1",
                "Keep-Alive: 5",
                "TE: trailers",
                "Upgrade: h2c",
                "Proxy-Connection: x",
                "Proxy-Authorization: x",
                "X-Other: 2",
            )
        )

    assert here.upstream.got == get("/x", "X-Other: 2")


@pytest.mark.parametrize("pieces", [1, 7, 100])
@pytest.mark.parametrize(
    "body",
    [
        ("Content-Length: 12", b"hello, world"),
        ("Content-Length: 0", b""),
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b'5;a="b"\r\nhello\r\n00\r\nX-T: 1\r\n\r\n'),
        ("Transfer-Encoding: Chunked", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
    ],
)
async def test_a_body_arrives_byte_for_byte_however_it_is_cut(
    body: tuple[str, bytes], pieces: int
) -> None:
    async def talk(peer: Peer) -> None:
        head = await peer.until(b"\r\n\r\n")
        await peer.exactly(len(body[1]))
        assert b"Host" in head
        await peer.send(OK)

    whole = request("POST", "/x", CLOSE, body[0], body=body[1])
    size = -(-len(whole) // pieces)

    async with stack(talk) as here:
        answer = await here.ask(*(whole[i : i + size] for i in range(0, len(whole), size)))

    field = body[0].replace("Chunked", "chunked")
    assert here.upstream.got == request("POST", "/x", field, body=body[1])
    assert status(answer) == 200


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-b: 2\r\nX-B: 1\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2;x="y"\r\nhi\r\n'
    b"0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
    b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 9\r\n\r\n',
    b"HTTP/1.1 500 Caf\xe9\r\nContent-Length: 2\r\nX-A: \xff\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nhello",
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
@pytest.mark.parametrize("pieces", [1, 9])
async def test_an_answer_comes_back_byte_for_byte_and_the_connections_go_on(
    answer: bytes, pieces: int
) -> None:
    size = -(-len(answer) // pieces)

    async def talk(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(*(answer[i : i + size] for i in range(0, len(answer), size)))
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        for _ in range(2):
            await client.send(get("/x"))
            assert await client.exactly(len(answer)) == answer
            await here.idle()

        assert len(here.upstream.connections) == 1


@pytest.mark.parametrize("hop", [b"", b"Connection: keep-alive\r\n"])
@pytest.mark.parametrize("length", [0, 1000, 16 * 1024, 100 * 1024])
@pytest.mark.parametrize("more", [0, 1, 100 * 1024])
async def test_a_head_and_the_first_of_its_body_come_back_as_they_came(
    hop: bytes, length: int, more: int
) -> None:
    body, head = bytes(range(256)) * 800, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n"
    body = body[: length + more]

    async def talk(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(head % len(body) + hop + b"\r\n" + body[:length], body[length:])

    async with stack(talk) as here:
        client = await here.client()
        for _ in range(2):
            await client.send(get())
            answer = await client.exactly(len(head % len(body)) + 2 + len(body))
            assert answer == head % len(body) + b"\r\n" + body

        assert len(here.upstream.connections) == 1


async def test_fields_for_one_hop_of_an_answer_stay_here() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"
        b"Upgrade: h2c\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok"
    )

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/x"))

        assert await client.answer() == (
            b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok"
        )


async def test_an_answer_to_head_has_a_length_and_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"

    async def talk(peer: Peer) -> None:
        for _ in range(2):
            await peer.until(b"\r\n\r\n")
            await peer.send(answer)
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        for _ in range(2):
            await client.send(request("HEAD", "/x"))
            assert await client.exactly(len(answer)) == answer
            await here.idle()


async def test_an_answer_that_ends_with_its_connection_ends_ours() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello, ", b"world")

    async with stack(talk) as here:
        answer = await here.ask(get("/x"))

    assert answer == b"HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: close\r\n\r\nhello, world"


async def test_requests_that_come_at_once_are_answered_in_their_order() -> None:
    async def talk(peer: Peer) -> None:
        while True:
            head = await peer.until(b"\r\n\r\n")
            name = head.split()[1]
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name) + name)

    async with stack(talk) as here:
        requests = [get(f"/{i}") for i in range(50)]
        answer = await here.ask(b"".join(requests) + get("/last", CLOSE))

    order = [part.split(b"HTTP/1.1")[0] for part in answer.split(b"\r\n\r\n")[1:]]
    assert order == [*(b"/%d" % i for i in range(50)), b"/last"]


async def test_the_request_behind_a_body_is_not_taken_for_a_part_of_it() -> None:
    async with stack() as here:
        await here.ask(
            request("POST", "/a", "Content-Length: 3", body=b"abc")
            + request("POST", "/b", "Transfer-Encoding: chunked", body=b"1\r\nz\r\n0\r\n\r\n")
            + get("/c", CLOSE)
        )

    assert here.upstream.got == (
        request("POST", "/a", "Content-Length: 3", body=b"abc")
        + request("POST", "/b", "Transfer-Encoding: chunked", body=b"1\r\nz\r\n0\r\n\r\n")
        + get("/c")
    )


async def test_a_client_that_waits_for_100_gets_the_upstreams() -> None:
    async def talk(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.exactly(5)
        await peer.send(OK)
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(request("POST", "/x", "Content-Length: 5", "Expect: 100-continue"))
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert await client.answer() == OK


async def test_interim_answers_pass_before_the_final_one() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK)
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/x"))
        first = await client.until(b"\r\n\r\n")

        assert first == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        assert await client.answer() == OK


async def test_a_client_of_http_1_0_gets_no_interim_answer_and_a_connection_that_ends() -> None:
    async def talk(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n", OK)

    async with stack(talk) as here:
        answer = await here.ask(b"GET /healthz HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")

    assert here.upstream.got == b"GET /healthz HTTP/1.0\r\n\r\n"
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


async def test_chunks_are_not_given_to_a_client_of_http_1_0() -> None:
    async def talk(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    async with stack(talk) as here:
        answer = await here.ask(b"GET /x HTTP/1.0\r\n\r\n")

    assert status(answer) == 502


async def test_an_answer_that_comes_before_the_body_arrives_and_ends_the_connection() -> None:
    async def talk(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(request("POST", "/x", "Content-Length: 1000000"), b"x" * 1000)

        answer = await client.rest()

        assert answer.startswith(b"HTTP/1.1 413 Too Large\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.endswith(b"no")
        assert here.pool.idle == 0


async def test_an_answer_that_begins_before_the_body_ends_does_not_stop_the_body() -> None:
    async def talk(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await peer.exactly(5)
        await peer.send(b"cd")
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(request("POST", "/x", "Content-Length: 5"))
        await client.until(b"ab")
        await client.send(b"hello")

        assert await client.rest() == b"cd"
        assert here.upstream.got.endswith(b"hello")


async def test_events_pass_at_once() -> None:
    heard = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n6\r\ndata:1\r\n"
        )
        await heard.wait()
        await peer.send(b"6\r\ndata:2\r\n")
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/api/v1/stream/applications", "Accept: text/event-stream"))
        await client.until(b"data:1\r\n")
        heard.set()

        assert await client.until(b"data:2\r\n") == b"6\r\ndata:2\r\n"


async def test_a_browser_that_leaves_ends_its_stream_at_the_upstream() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await peer.rest()
        peer.got += b"LEFT"

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/api/v1/stream/applications"))
        await client.until(b"a\r\n")
        client.close()

        await eventually(lambda: here.upstream.got.endswith(b"LEFT") or here.pool.open == 0)


async def test_a_browser_that_leaves_before_the_answer_ends_the_request() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/slow"))
        await eventually(lambda: b"/slow" in here.upstream.got)
        client.close()

        await eventually(lambda: here.pool.open == 0)
        assert here.pool.idle == 0


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
    ],
)
async def test_an_answer_that_breaks_off_breaks_off_here(begun: bytes) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/x"))

        with pytest.raises(ConnectionError):
            await client.rest()


async def test_a_broken_answer_without_an_end_of_its_own_is_not_taken_for_whole() -> None:
    heard = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await heard.wait()
        peer.reset()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/x"))
        await client.until(b"hello")
        heard.set()

        with pytest.raises(ConnectionError):
            await client.rest()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
        b"",
    ],
    ids=range(16),
)
async def test_an_upstream_that_speaks_no_http_is_502_in_argocds_form(nonsense: bytes) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(nonsense)

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/api/v1/applications"))
        answer = await client.answer()

    assert status(answer) == 502
    assert b"application/json" in answer
    assert b"Retry-After: 1" in answer


async def test_bytes_behind_an_answer_end_its_upstream_connection() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        for _ in range(2):
            await client.send(get("/x"))
            assert await client.answer() == OK

        assert len(here.upstream.connections) == 2


async def test_an_idle_upstream_connection_that_speaks_is_not_used_again() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.01)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/x"))
        assert await client.answer() == OK
        await eventually(lambda: here.pool.open == 0)
        await client.send(get("/x"))
        assert await client.answer() == OK


async def test_an_upstream_of_http_1_0_is_answered_in_our_version() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/x"))

        assert await client.answer() == OK
        assert here.pool.idle == 0
