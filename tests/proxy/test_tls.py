"""Plain and TLS on one port, on both event loops."""

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from sidecar.proxy.front import PREFACE
from sidecar.proxy.site import Limits
from tests.proxy.certificates import Pair, self_signed
from tests.proxy.stack import OK, Peer, Stack, get, request, stack, status
from tests.world import eventually

NAME = "argocd.example.org"
CLOSE = "Connection: close"
WEBSOCKET = ("Upgrade: websocket", "Connection: Upgrade")
SWITCH = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return self_signed(tmp_path / "secret", NAME)


def client_context(pair: Pair, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=pair[0])
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


async def over_tls(here: Stack, pair: Pair, *protocols: str) -> Peer:
    """A client that checks the certificate, and offers these protocols."""
    return await here.client(ssl=client_context(pair, *protocols), server_hostname=NAME)


def protocol_of(client: Peer) -> str | None:
    tls: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
    return tls.selected_alpn_protocol()


class ByHand:
    """A TLS client whose bytes are sent by hand."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        self.peer = peer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=NAME)

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    async def finish(self) -> None:
        """The rest of the handshake."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.take()
            else:
                await self.send(b"")
                return

    async def send(self, data: bytes) -> None:
        if data:
            self.tls.write(data)
        await self.peer.send(self.outgoing.read())

    async def take(self) -> None:
        """Some bytes of the other side's."""
        async with asyncio.timeout(10):
            data = await self.peer.reader.read(65536)
        assert data, "the other side has left"
        self.incoming.write(data)

    async def read(self, count: int) -> bytes:
        """As many bytes, or fewer up to the other side's goodbye."""
        got = bytearray()
        while len(got) < count:
            try:
                data = self.tls.read(count - len(got))
            except ssl.SSLWantReadError:
                await self.take()
                continue
            if not data:
                break
            got += data
        return bytes(got)


# Both on one port


async def test_plain_and_tls_are_told_apart_on_one_port(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = await over_tls(here, pair)
        for _ in range(2):
            await client.send(get("/x"))
            assert await client.answer() == OK
        plain = await here.ask(get("/x", CLOSE))

        assert status(plain) == 307
        assert here.upstream.got == get("/x") * 2
        assert here.metric("tls_handshakes_total", result="ok") == 1


@pytest.mark.parametrize(
    "asked",
    [
        get("/healthz?full=true"),
        get("/auth/login?return_url=%2Fa"),
        get("/api/v1/repositories/a%2Fb?x=1#"[:-1]),
        get("/terminal", *WEBSOCKET),
        request("POST", "/api/v1/session", "Content-Length: 2", body=b"{}"),
    ],
)
async def test_without_tls_every_request_is_sent_to_https_as_argocd_does_it(
    pair: Pair, asked: bytes
) -> None:
    async with stack(certificate=pair) as here:
        client = await here.client()
        await client.send(asked)
        answer = await client.answer()

    target = asked.split(b" ")[1]
    assert status(answer) == 307
    assert b"\r\nLocation: https://argocd.example.org" + target + b"\r\n" in answer
    assert here.upstream.got == b""
    assert here.own == []


async def test_several_requests_without_tls_are_sent_to_https_on_one_connection(
    pair: Pair,
) -> None:
    async with stack(certificate=pair) as here:
        client = await here.client()
        for target in ("/a", "/b"):
            await client.send(get(target))
            assert f"Location: https://argocd.example.org{target}\r\n".encode() in (
                await client.answer()
            )


async def test_a_request_without_tls_and_without_a_host_cannot_be_sent_anywhere(
    pair: Pair,
) -> None:
    async with stack(certificate=pair) as here:
        assert status(await here.ask(b"GET / HTTP/1.0\r\n\r\n")) == 400


async def test_without_a_certificate_tls_is_closed_cleanly_and_counted() -> None:
    async with stack() as here:
        client = await here.client()
        await client.send(ByHand(client, ssl.create_default_context()).hello())

        assert await client.rest() == b""
        assert here.metric("tls_handshakes_total", result="no_certificate") == 1
        assert here.upstream.connections == []
        assert status(await here.ask(get("/x", CLOSE))) == 200


async def test_a_hello_may_come_in_pieces(pair: Pair) -> None:
    context = client_context(pair)
    async with stack(certificate=pair) as here:
        length = len(ByHand(await here.client(), context).hello())
        for cut in [*range(1, 48), length // 2, length - 1]:
            client = ByHand(await here.client(), context)
            hello = client.hello()
            await client.peer.send(hello[:cut])
            await asyncio.sleep(0.002)
            await client.peer.send(hello[cut:])
            await client.finish()
            await client.send(get(f"/{cut}"))

            assert await client.read(len(OK)) == OK
            client.peer.close()


async def test_a_hello_that_comes_byte_by_byte_and_a_request_behind_the_last_one(
    pair: Pair,
) -> None:
    async with stack(certificate=pair) as here:
        client = ByHand(await here.client(), client_context(pair))
        for byte in client.hello():
            await client.peer.send(bytes([byte]))
            await asyncio.sleep(0)
        while True:
            try:
                client.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await client.take()
        # The client's last flight and its first request in one segment.
        await client.send(get("/x"))

        assert await client.read(len(OK)) == OK


# Which protocol


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("h2", "http/1.1"), "http/1.1"),
        (("http/1.1", "h2"), "http/1.1"),
        (("h2",), "h2"),
        (("http/1.1",), "http/1.1"),
        (("spdy/3",), None),
        ((), None),
    ],
)
async def test_a_browser_which_offers_both_is_never_spliced(
    pair: Pair, offered: tuple[str, ...], chosen: str | None
) -> None:
    async with stack(certificate=pair) as here:
        client = await over_tls(here, pair, *offered)

        assert protocol_of(client) == chosen


async def test_where_http_2_is_off_it_is_not_offered(pair: Pair) -> None:
    async with stack(certificate=pair, http2=False) as here:
        client = await over_tls(here, pair, "h2")
        assert protocol_of(client) is None
        await client.send(PREFACE)

        assert (await client.rest()).startswith(b"HTTP/1.1 505 ")


async def test_http_2_in_tls_goes_up_as_it_is(pair: Pair) -> None:
    async def talk(peer: Peer) -> None:
        await peer.until(PREFACE)
        await peer.until(b"frames")
        await peer.send(b"answers")
        await peer.rest()

    async with stack(talk, certificate=pair) as here:
        client = await over_tls(here, pair, "h2")
        await client.send(PREFACE, b"frames")

        assert await client.exactly(7) == b"answers"
        assert here.metric("spliced_connections_total") == 1


async def test_http_2_without_tls_does_not_pass_where_there_is_tls(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        assert status(await here.ask(PREFACE)) == 505
        assert here.upstream.got == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(pair: Pair, version: ssl.TLSVersion) -> None:
    context = client_context(pair)
    context.minimum_version = context.maximum_version = version
    async with stack(certificate=pair) as here:
        client = await here.client(ssl=context, server_hostname=NAME)
        await client.send(get("/x"))
        assert await client.answer() == OK


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_older_versions_are_not(pair: Pair) -> None:
    context = client_context(pair)
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with stack(certificate=pair) as here:
        here.site.certificate.context.set_ciphers("DEFAULT:@SECLEVEL=0")  # type: ignore[union-attr]
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await here.client(ssl=context, server_hostname=NAME)
        await eventually(lambda: here.metric("tls_handshakes_total", result="failed") == 1)


# Handshakes that are none


async def test_a_handshake_that_does_not_end_in_time_is_cut_off_and_blocks_nobody(
    pair: Pair,
) -> None:
    async with stack(certificate=pair, limits=Limits(head_seconds=5)) as here:
        slow = await here.client()
        hello = ByHand(slow, client_context(pair)).hello()
        await slow.send(hello[:-1])
        await eventually(lambda: any(front._tls for front in here.site.connections))
        quick = await over_tls(here, pair)
        await quick.send(get("/x"))
        assert await quick.answer() == OK
        (front,) = [front for front in here.site.connections if front._tls and front._tls.shaking]
        front.check(front._since + 4)
        assert not front.transport.is_closing()
        await slow.send(hello[-1:][:0])
        front.check(front._since + 6)

        assert await slow.closed()
        assert here.metric("tls_handshakes_total", result="failed") == 1


async def test_a_trickle_does_not_make_the_time_of_a_handshake_longer(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = await here.client()
        hello = ByHand(client, client_context(pair)).hello()
        await client.send(hello[:10])
        await eventually(lambda: any(front._tls for front in here.site.connections))
        (front,) = here.site.connections
        begun = front._since
        await client.send(hello[10:20])
        await asyncio.sleep(0.05)

        assert front._since == begun


@pytest.mark.parametrize("garbage", [b"\x16" * 100, b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01"])
async def test_garbage_ends_its_own_connection_only(pair: Pair, garbage: bytes) -> None:
    async with stack(certificate=pair) as here:
        client = await here.client()
        await client.send(garbage)
        client.writer.write_eof()
        answer = await client.rest()
        quick = await over_tls(here, pair)
        await quick.send(get("/x"))

        assert answer == b"" or answer[0] == 0x15  # an alert
        assert await quick.answer() == OK
        assert here.metric("tls_handshakes_total", result="failed") == 1


async def test_tls_in_tls_is_a_malformed_request(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = await over_tls(here, pair)
        await client.send(b"\x16\x03\x01\r\n\r\n")

        assert status(await client.rest()) == 400


async def test_a_record_that_was_changed_on_its_way_ends_the_connection(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = ByHand(await here.client(), client_context(pair))
        await client.peer.send(client.hello())
        await client.finish()
        client.tls.write(get("/x"))
        record = bytearray(client.outgoing.read())
        record[-1] ^= 1
        await client.peer.send(bytes(record))
        await client.peer.rest()

        assert here.upstream.got == b""
        client.peer.close()
        await eventually(lambda: here.port.connections == 0)


async def test_who_asks_for_records_without_end_and_reads_none_is_cut_off(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = await over_tls(here, pair)
        await eventually(lambda: any(front._tls for front in here.site.connections))
        (front,) = here.site.connections
        assert front._tls is not None
        front._tls._below = cast(asyncio.Transport, _Clogged(front._tls._below))
        await client.send(b"GET ")

        assert await client.closed()


class _Clogged:
    """A transport to a client that does not read."""

    def __init__(self, below: asyncio.Transport) -> None:
        self._below = below

    def __getattr__(self, name: str) -> object:
        return getattr(self._below, name)

    def get_write_buffer_size(self) -> int:
        return 1024 * 1024 + 1


async def test_a_client_may_not_start_a_second_handshake(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        assert here.site.certificate is not None
        assert here.site.certificate.context.options & ssl.OP_NO_RENEGOTIATION


# The certificate's files


async def served(here: Stack) -> bytes:
    """The certificate that a new connection gets, whoever signed it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = await here.client(ssl=context)
    tls: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
    client.close()
    return tls.getpeercert(binary_form=True) or b""


def reload(here: Stack) -> None:
    """What the port does every second."""
    assert here.site.certificate is not None
    here.site.certificate.reload()


@asynccontextmanager
async def mounted(tmp_path: Path) -> AsyncIterator[tuple[Stack, Path]]:
    """A port with a certificate that is mounted as Kubernetes does it: by links to links."""
    self_signed(tmp_path / "..1", NAME)
    (tmp_path / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    pair = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")
    async with stack(certificate=pair) as here:
        yield here, tmp_path


def swap(folder: Path, version: str) -> None:
    """What the kubelet does when a Secret has changed."""
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").rename(folder / "..data")


async def test_a_changed_secret_is_served_and_open_connections_go_on(tmp_path: Path) -> None:
    async with mounted(tmp_path) as (here, folder):
        before = await served(here)
        client = await over_tls(here, (str(folder / "tls.crt"), ""))
        self_signed(folder / "..2", NAME)
        reload(here)
        assert await served(here) == before
        swap(folder, "..2")
        await eventually_served(here, before)

        assert await served(here) != before
        await client.send(get("/x"))
        assert await client.answer() == OK


async def eventually_served(here: Stack, before: bytes) -> None:
    """Until the port itself has seen that the certificate is another."""
    assert here.site.certificate is not None
    old = here.site.certificate.context
    await eventually(lambda: here.site.certificate.context is not old)  # type: ignore[union-attr]


async def test_a_broken_certificate_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    async with mounted(tmp_path) as (here, folder):
        before = await served(here)
        self_signed(folder / "..2", NAME)
        (folder / "..2" / "tls.key").write_text("no key")
        swap(folder, "..2")
        reload(here)
        reload(here)

        assert await served(here) == before
        assert here.metric("alarms_total", kind="certificate_refused") == 1
        self_signed(folder / "..2", NAME)
        reload(here)
        assert await served(here) != before
        assert here.metric("alarms_total", kind="certificate_refused") == 1


async def test_a_certificate_whose_key_comes_a_moment_later_is_served(tmp_path: Path) -> None:
    old, new = self_signed(tmp_path / "a", NAME), self_signed(tmp_path / "b", NAME)
    async with stack(certificate=old) as here:
        before = await served(here)
        os.rename(new[0], old[0])
        reload(here)
        assert await served(here) == before
        os.rename(new[1], old[1])
        reload(here)

        assert await served(here) != before


async def test_files_that_have_gone_are_refused_and_the_old_certificate_goes_on(
    pair: Pair,
) -> None:
    async with stack(certificate=pair) as here:
        before = await served(here)
        os.unlink(pair[1])
        reload(here)

        assert await served(here) == before
        assert here.metric("alarms_total", kind="certificate_refused") == 1


# What passes in TLS is what passes without


async def test_bodies_pass_both_ways(pair: Pair) -> None:
    body = bytes(range(256)) * 12_000

    async def talk(peer: Peer) -> None:
        sent = await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        await peer.send(sent[-len(body) :])

    async with stack(talk, certificate=pair) as here:
        client = await over_tls(here, pair)
        await client.send(request("POST", "/x", f"Content-Length: {len(body)}", body=body))

        assert (await client.answer()).endswith(body)


async def test_events_pass_at_once_and_end_upstream_when_the_browser_leaves(pair: Pair) -> None:
    proceed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await proceed.wait()
        await peer.send(b"1\r\nb\r\n")
        await peer.rest()

    async with stack(talk, certificate=pair) as here:
        client = await over_tls(here, pair)
        await client.send(get("/api/v1/stream/applications"))
        await client.until(b"a\r\n")
        proceed.set()
        await client.until(b"b\r\n")
        client.close()

        await eventually(lambda: here.pool.open == 0 and here.port.connections == 0)


async def test_a_terminal_passes_both_ways_and_ends_with_its_session(pair: Pair) -> None:
    async def talk(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(SWITCH)
        await peer.until(b"ping")
        await peer.send(b"pong")
        await peer.rest()

    async with stack(talk, certificate=pair) as here:
        client = await over_tls(here, pair)
        origin = "Origin: http://argocd.example.org"
        await client.send(get("/terminal", *WEBSOCKET, f"Cookie: {here.cookie}", origin))
        assert status(await client.until(b"\r\n\r\n")) == 101
        await client.send(b"ping")
        assert await client.exactly(4) == b"pong"
        here.port.close_session(here.key)

        assert await client.rest() == b""


async def test_an_own_page_comes_over_tls(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = await over_tls(here, pair)
        await client.send(get("/auth/login"))

        assert (await client.rest()).endswith(b"own")


async def test_pipelined_requests_are_answered_in_their_order(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = await over_tls(here, pair)
        await client.send(get("/x", "A: " + "b" * 10_000) * 40)

        assert await client.exactly(40 * len(OK)) == OK * 40


async def test_a_cut_answer_does_not_look_whole(pair: Pair) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await proceed.wait()
        peer.reset()

    proceed = asyncio.Event()
    async with stack(talk, certificate=pair) as here:
        client = await over_tls(here, pair)
        await client.send(get("/x"))
        await client.until(b"half")
        proceed.set()

        with pytest.raises((ConnectionError, ssl.SSLError)):
            await client.rest()


async def test_an_answer_that_ends_with_its_connection_ends_with_tls_goodbye(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = ByHand(await here.client(), client_context(pair))
        await client.peer.send(client.hello())
        await client.finish()
        await client.send(get("/x", CLOSE))
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        assert await client.read(len(head)) == head
        assert await client.read(1) == b""
        await client.peer.send(b"whatever comes now is read and forgotten")

        assert await client.peer.rest() == b""
        client.peer.close()
        await eventually(lambda: here.port.connections == 0)


async def test_a_refusal_arrives_though_the_client_goes_on_sending(pair: Pair) -> None:
    async with stack(certificate=pair) as here:
        client = ByHand(await here.client(), client_context(pair))
        await client.peer.send(client.hello())
        await client.finish()
        await client.send(request("POST", "/x", "Content-Length: 5, 5"))
        for _ in range(100):
            await client.send(b"x" * 10_000)

        assert status(await client.read(100)) == 400
        (front,) = here.site.connections
        assert front._tls is not None
        assert front._tls._incoming.pending == 0  # it is not kept


async def test_a_browser_that_says_goodbye_has_left(pair: Pair) -> None:
    async def talk(peer: Peer) -> None:
        await peer.rest()

    async with stack(talk, certificate=pair) as here:
        client = ByHand(await here.client(), client_context(pair))
        await client.peer.send(client.hello())
        await client.finish()
        await client.send(get("/x"))
        await eventually(lambda: here.pool.open == 1)
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        await client.send(b"")

        async with asyncio.timeout(3):
            await eventually(lambda: here.pool.open == 0)


async def test_a_slow_reader_holds_the_upstream_back(pair: Pair) -> None:
    sent = 0

    async def talk(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n")
        for _ in range(600):
            peer.writer.write(b"x" * 100_000)
            await peer.writer.drain()
            sent += 100_000

    async with stack(talk, certificate=pair) as here:
        client = ByHand(await here.client(limit=1024), client_context(pair))
        await client.peer.send(client.hello())
        await client.finish()
        await client.send(get("/big"))
        await settles(lambda: sent)
        assert sent < 30_000_000
        assert next(iter(here.site.connections)).transport.get_write_buffer_size() < 1_000_000

        async with asyncio.timeout(30):
            await client.read(60_000_000)


async def test_a_slow_upstream_holds_the_browser_back(pair: Pair) -> None:
    proceed = asyncio.Event()
    got = sent = 0

    async def talk(peer: Peer) -> None:
        nonlocal got
        await peer.until(b"\r\n\r\n")
        await proceed.wait()
        while got < 60_000_000:
            got += len(await peer.reader.read(1 << 20))
        await peer.send(OK)

    async with stack(talk, certificate=pair) as here:
        client = await over_tls(here, pair)
        await client.send(request("POST", "/x", "Content-Length: 60000000"))

        async def upload() -> None:
            nonlocal sent
            for _ in range(600):
                client.writer.write(b"x" * 100_000)
                await client.writer.drain()
                sent += 100_000

        uploading = asyncio.ensure_future(upload())
        await settles(lambda: sent)
        assert sent < 30_000_000
        proceed.set()
        await uploading
        async with asyncio.timeout(20):
            assert await client.answer() == OK


async def settles(value: object) -> None:
    """Until a number has not moved for a while."""
    assert callable(value)
    last = None
    while value() != last or not last:
        last = value()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("shaken", [False, True])
async def test_at_the_end_of_the_process_idle_connections_close(pair: Pair, shaken: bool) -> None:
    async with stack(certificate=pair) as here:
        if shaken:
            client = await over_tls(here, pair)
        else:
            client = await here.client()
            await client.send(ByHand(client, client_context(pair)).hello()[:50])
        await eventually(lambda: any(front._tls for front in here.site.connections))
        closing = asyncio.ensure_future(here.port.aclose(seconds=2))

        assert await client.rest() == b""
        client.close()
        async with asyncio.timeout(1):
            await closing


async def test_curl_comes_through_and_follows_from_http_to_https(pair: Pair) -> None:
    async with stack(certificate=pair) as here:

        def curl(*arguments: str) -> str:
            at = f"{NAME}:{here.at}:127.0.0.1"
            command = ["curl", "-sS", "--cacert", pair[0], "--resolve", at, *arguments]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        written = "%{http_code} %{http_version} %{num_redirects}"
        for scheme, redirects in (("https", "0"), ("http", "1")):
            url = f"{scheme}://{NAME}:{here.at}/x"
            said = await asyncio.to_thread(
                curl, "-L", "--proto-redir", "=https", "-w", written, url
            )

            assert said == f"ok200 1.1 {redirects}"
