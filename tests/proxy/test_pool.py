"""The upstream's connections: kept, aged, waited for; over TCP, TLS and Unix sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.config.tls import upstream_tls
from sidecar.proxy.front import PREFACE
from sidecar.proxy.pool import Pool, UpstreamAddress, UpstreamTls
from tests.proxy.certificates import self_signed
from tests.proxy.stack import OK, Peer, Recorder, answers_ok, get, request, stack, status
from tests.world import eventually, free_port

CLOSE = "Connection: close"


async def one_answer(peer: Peer) -> None:
    """An upstream that ends each connection after one answer, without saying so."""
    await peer.request()
    await peer.send(OK)


async def test_one_upstream_connection_serves_one_request_after_the_other() -> None:
    async with stack() as here:
        for _ in range(3):
            assert status(await here.ask(get("/x", CLOSE))) == 200

        assert len(here.upstream.connections) == 1


async def test_requests_at_once_have_a_connection_each() -> None:
    proceed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await proceed.wait()
        await peer.send(OK)
        await peer.rest()

    async with stack(talk) as here:
        clients = [await here.client() for _ in range(5)]
        for client in clients:
            await client.send(get("/x"))
        await eventually(lambda: len(here.upstream.connections) == 5)
        proceed.set()
        for client in clients:
            assert await client.answer() == OK


async def test_idle_connections_are_bounded_and_the_oldest_goes() -> None:
    async with stack() as here:
        here.pool._max_idle = 2
        clients = [await here.client() for _ in range(4)]
        for client in clients:
            await client.send(get("/x"))
        for client in clients:
            assert await client.answer() == OK

        await eventually(lambda: here.pool.open == 2 == here.pool.idle)


async def test_idle_connections_are_aged() -> None:
    async with stack() as here:
        await here.ask(get("/x", CLOSE))
        now = asyncio.get_running_loop().time()
        here.pool.close_aged(now)
        here.pool.close_aged(now + 29)
        assert here.pool.idle == 1
        here.pool.close_aged(now + 31)

        assert here.pool.idle == 0
        await eventually(lambda: here.pool.open == 0)


async def test_a_connection_that_is_about_to_end_is_not_taken() -> None:
    async with stack() as here:
        await here.ask(get("/x", CLOSE))
        (upstream,) = here.pool._idle
        upstream.data_received(b"HTTP/1.1 200 OK\r\n\r\n")

        assert here.pool.take() is None


async def closes_on_the_second(peer: Peer) -> None:
    """An upstream whose idle connection ends just when the next request comes."""
    await peer.request()
    await peer.send(OK)
    await peer.until(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_request_that_may_be_repeated_survives_a_connection_that_had_ended(
    method: str,
) -> None:
    async with stack(closes_on_the_second) as here:
        client = await here.client()
        for _ in range(3):
            await client.send(request(method, "/x"))
            assert status(await client.until(b"\r\n\r\n")) == 200
            if method != "HEAD":
                await client.exactly(2)
            else:
                break


@pytest.mark.parametrize(
    "again",
    [
        request("POST", "/x", "Content-Length: 0"),
        request("PUT", "/x", "Content-Length: 1", body=b"a"),
        request("DELETE", "/x"),
        request("GET", "/x", "Content-Length: 1", body=b"a"),
    ],
)
async def test_any_other_is_not_sent_twice(again: bytes) -> None:
    async with stack(closes_on_the_second) as here:
        client = await here.client()
        await client.send(get("/first"))
        assert await client.answer() == OK
        await here.idle()
        await client.send(again)

        assert status(await client.answer()) == 502
        assert len(here.upstream.connections) == 1


async def test_a_request_is_repeated_once_only() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        if len(here.upstream.connections) == 1:
            await peer.send(OK)
            await peer.until(b"\r\n\r\n")

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/first"))
        assert await client.answer() == OK
        await client.send(get("/x"))

        assert status(await client.answer()) == 502
        assert len(here.upstream.connections) == 2


async def test_a_request_that_had_an_answers_first_byte_is_not_repeated() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 O")

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/first"))
        assert await client.answer() == OK
        await client.send(get("/x"))

        assert status(await client.answer()) == 502
        assert len(here.upstream.connections) == 1


async def test_a_connection_that_says_it_ends_is_not_used_again() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        for _ in range(2):
            await client.send(request("POST", "/x", "Content-Length: 0"))
            assert await client.answer() == OK

        assert len(here.upstream.connections) == 2


async def test_a_refused_connection_is_tried_again_whatever_the_method() -> None:
    port = free_port()
    async with stack(address=lambda _: UpstreamAddress("127.0.0.1", port)) as here:
        client = await here.client()
        await client.send(request("POST", "/x", "Content-Length: 5", body=b"hello"))
        await asyncio.sleep(0.15)
        late = Recorder()
        async with await asyncio.start_server(late.serve, "127.0.0.1", port):
            assert await client.answer() == OK
            await here.port.aclose(seconds=0)

    assert late.got.endswith(b"hello")


async def test_an_upstream_that_is_away_for_longer_is_502() -> None:
    async def now(_: float) -> None:
        elapsed.append(1.0)

    elapsed: list[float] = []
    pool_address = UpstreamAddress("127.0.0.1", free_port())
    pool = Pool(pool_address, monotonic=lambda: sum(elapsed), sleep=now)

    with pytest.raises(Exception, match="cannot be reached") as failed:
        await pool.connect()

    assert getattr(failed.value, "status", 0) == 502
    assert len(elapsed) == 3


async def test_the_upstream_may_listen_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "argocd.sock")
    recorder = Recorder()
    server = await asyncio.start_unix_server(recorder.serve, path)
    async with stack(address=lambda _: UpstreamAddress.from_url(f"unix://{path}")) as here:
        assert status(await here.ask(get("/x", CLOSE))) == 200
    server.close()

    assert recorder.got == get("/x")


def to_upstream(*, verify: bool = True, ca_file: str | None = None) -> UpstreamTls:
    """TLS for both versions of HTTP."""
    return UpstreamTls(
        upstream_tls(verify=verify, ca_file=ca_file),
        upstream_tls(verify=verify, ca_file=ca_file, http2=True),
    )


@pytest.fixture
async def tls_upstream(tmp_path: Path) -> AsyncIterator[tuple[Recorder, str]]:
    """A recorder with a certificate that it signed itself, for the name argocd-server."""
    cert_file, key_file = self_signed(tmp_path, "argocd-server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
    context.set_alpn_protocols(["http/1.1", "h2"])
    recorder = Recorder(answers_ok)
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0, ssl=context)
    recorder.port = server.sockets[0].getsockname()[1]
    yield recorder, cert_file
    server.close()
    for peer in recorder.connections:
        peer.writer.transport.abort()


async def test_a_certificate_that_a_given_authority_signed_is_accepted(
    tls_upstream: tuple[Recorder, str],
) -> None:
    recorder, ca_file = tls_upstream
    tls = to_upstream(ca_file=ca_file)
    to = UpstreamAddress("127.0.0.1", recorder.port, tls=tls, server_name="argocd-server")
    async with stack(address=lambda _: to) as here:
        client = await here.client()
        for _ in range(2):
            await client.send(get("/x"))
            assert await client.answer() == OK

        assert len(recorder.connections) == 1
        assert recorder.connections[0].writer.get_extra_info("ssl_object") is not None


@pytest.mark.parametrize(
    ("authority", "server_name"), [(False, "argocd-server"), (True, "elsewhere")]
)
async def test_a_certificate_that_is_not_the_upstreams_is_502_at_once(
    tls_upstream: tuple[Recorder, str], authority: bool, server_name: str
) -> None:
    recorder, ca_file = tls_upstream
    tls = to_upstream(ca_file=ca_file if authority else None)
    to = UpstreamAddress("127.0.0.1", recorder.port, tls=tls, server_name=server_name)
    async with stack(address=lambda _: to) as here:
        async with asyncio.timeout(2):
            answer = await here.ask(get("/api/v1/x", CLOSE))

    assert status(answer) == 502
    assert recorder.got == b""


async def test_a_self_signed_certificate_is_accepted_when_nobody_wants_it_verified(
    tls_upstream: tuple[Recorder, str],
) -> None:
    recorder, _ = tls_upstream
    to = UpstreamAddress.from_url(f"https://127.0.0.1:{recorder.port}", to_upstream(verify=False))
    async with stack(address=lambda _: to) as here:
        assert status(await here.ask(get("/x", CLOSE))) == 200


async def test_bodies_pass_to_an_upstream_in_tls_however_long_they_are(
    tls_upstream: tuple[Recorder, str],
) -> None:
    recorder, _ = tls_upstream
    to = UpstreamAddress.from_url(f"https://127.0.0.1:{recorder.port}", to_upstream(verify=False))
    body = b"x" * 3_000_000
    async with stack(address=lambda _: to) as here:
        client = await here.client()
        for length in (1, 100_000, 3_000_000):
            fields = f"Content-Length: {length}"
            await client.send(request("POST", "/x", fields), body[:length])
            assert await client.answer() == OK


async def test_an_upstream_that_never_ends_its_handshake_is_504(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def says_nothing(peer: Peer) -> None:
        await peer.rest()

    monkeypatch.setattr("sidecar.proxy.pool.CONNECT_SECONDS", 0.2)
    tls = to_upstream(verify=False)
    async with stack(
        says_nothing, address=lambda port: UpstreamAddress("127.0.0.1", port, tls=tls)
    ) as here:
        assert status(await here.ask(get("/api/v1/x", CLOSE))) == 504


def test_an_https_address_without_tls_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="needs TLS"):
        UpstreamAddress.from_url("https://argocd-server")


async def test_an_upstream_in_tls_is_told_which_http_follows(
    tls_upstream: tuple[Recorder, str],
) -> None:
    recorder, _ = tls_upstream
    to = UpstreamAddress.from_url(f"https://127.0.0.1:{recorder.port}", to_upstream(verify=False))
    async with stack(address=lambda _: to) as here:
        await here.ask(get("/x", CLOSE))
        spliced = await here.client()
        await spliced.send(PREFACE + b"frames\r\n\r\n")
        await eventually(lambda: recorder.got.endswith(b"frames\r\n\r\n"))
        first, second = recorder.connections

        assert first.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert second.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"


# The end of the process


async def test_at_the_end_idle_connections_close_and_answers_under_way_arrive() -> None:
    proceed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await proceed.wait()
        await peer.send(OK)

    async with stack(talk) as here:
        busy, idle = await here.client(), await here.client()
        await busy.send(get("/x"))
        await eventually(lambda: bool(here.upstream.got) and here.port.connections == 2)
        closing = asyncio.ensure_future(here.port.aclose(seconds=5))
        assert await idle.closed()
        idle.close()
        proceed.set()
        answer = await busy.rest()
        busy.close()
        await closing

    assert b"Connection: close" in answer
    assert answer.endswith(b"ok")


async def test_at_the_end_event_streams_and_terminals_end_politely() -> None:
    async def talk(peer: Peer) -> None:
        head = await peer.until(b"\r\n\r\n")
        if b"/terminal" in head:
            await peer.send(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        else:
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await peer.rest()

    async with stack(talk) as here:
        stream, terminal = await here.client(), await here.client()
        await stream.send(get("/api/v1/stream/applications"))
        await stream.until(b"a\r\n")
        await terminal.send(get("/terminal", "Upgrade: websocket", "Connection: upgrade"))
        await terminal.until(b"\r\n\r\n")
        closing = asyncio.ensure_future(here.port.aclose(seconds=5))

        assert await stream.rest() == b"0\r\n\r\n"
        assert await terminal.rest() == b""
        stream.close()
        terminal.close()
        await closing


async def test_at_the_end_what_takes_longer_than_the_budget_is_cut_off() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.rest()

    async with stack(talk) as here:
        client = await here.client()
        await client.send(get("/endless"))
        await eventually(lambda: bool(here.upstream.got))
        async with asyncio.timeout(2):
            await here.port.aclose(seconds=0.1)

        assert await client.closed()
        assert here.port.connections == 0
