"""What goes up with a session, at once where it is at hand, and what its end means."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.messages import RequestFields, RequestReader
from sidecar.core.session import EndReason
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.ports import SaveResult
from sidecar.proxy.passes import Memories
from tests.proxy.stack import OK, TOKEN, Peer, answers_ok, get, request, stack, status, waited
from tests.world import eventually

CLOSE = "Connection: close"
STREAM = "/api/v1/stream/applications"
WEBSOCKET = ("Upgrade: websocket", "Connection: Upgrade")
ORIGIN = "Origin: http://argocd.example.org"


async def streams(peer: Peer) -> None:
    """An upstream that begins an event stream and does not end it."""
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n")
    await peer.rest()


async def switches(peer: Peer) -> None:
    """An upstream that opens a tunnel and sends back what it gets."""
    await peer.until(b"\r\n\r\n")
    await peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: x\r\n\r\nhello"
    )
    while data := await peer.reader.read(65536):
        peer.got += data
        await peer.send(data)


async def test_a_session_at_hand_goes_up_without_a_wait_and_without_a_task() -> None:
    async with stack() as here:
        client = await here.client()
        await client.send(get("/api/v1/a", f"Cookie: {here.cookie}; x=1", "X-Last: 1"))
        assert await client.answer() == OK
        tasks = count_tasks()
        await client.send(get("/api/v1/b", f"Cookie: {here.cookie}; x=1", "X-Last: 1"))
        assert await client.answer() == OK

        assert tasks == []
        assert here.renewing.asked == []
        field = f"Cookie: x=1; argocd.token={TOKEN}"
        assert here.upstream.got == get("/api/v1/a", field, "X-Last: 1") + get(
            "/api/v1/b", field, "X-Last: 1"
        )
        assert here.metric("requests_total", credential="session") == 2


def count_tasks() -> list[str]:
    """The tasks that are made from now on."""
    made: list[str] = []

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(repr(work))
        return asyncio.Task(work, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(make)
    return made


async def test_a_new_token_replaces_the_remembered_one_with_the_next_request() -> None:
    async with stack() as here:
        client = await here.client()
        for token in (TOKEN, "new.id.token"):
            here.renewed(token)
            await client.send(get("/api/v1/a", f"Cookie: {here.cookie}"))
            assert await client.answer() == OK

        assert here.upstream.got.endswith(get("/api/v1/a", "Cookie: argocd.token=new.id.token"))


async def test_a_session_that_is_asked_for_each_time_goes_up_with_the_token_found() -> None:
    async with stack() as here:
        here.renewing.at_hand.clear()
        client, found = await here.client(), here.live.grant
        for token in (TOKEN, TOKEN, "new.id.token"):
            tokens = replace(found.tokens, id_token=token)
            found = replace(found, version=found.version + 1, tokens=tokens)
            assert await here.sessions.save(found) is SaveResult.SAVED
            await client.send(get("/api/v1/a", f"Cookie: {here.cookie}"))
            assert await client.answer() == OK

        up = re.findall(rb"argocd.token=([^\r]+)", bytes(here.upstream.got))
        assert up == [TOKEN.encode(), TOKEN.encode(), b"new.id.token"]


async def test_a_line_that_changes_goes_up_in_its_place_with_all_that_stays() -> None:
    def fields(number: int, cookie: str) -> list[str]:
        return ["X-A: 1", f"X-Request-ID: {number}", f"Cookie: {cookie}", "X-Request-ID:", "X-Z: z"]

    async with stack() as here:
        for number in range(3):
            client = await here.client()
            for again in (number, 7, 7, number):
                await client.send(get("/api/v1/a", *fields(again, here.cookie)))
                assert await client.answer() == OK

        up = f"argocd.token={TOKEN}"
        assert here.upstream.got.replace(b"X-Request-ID: \r\n", b"X-Request-ID:\r\n") == b"".join(
            get("/api/v1/a", *fields(each, up))
            for number in range(3)
            for each in (number, 7, 7, number)
        )
        assert here.metric("requests_total", credential="session") == 12


async def test_users_whose_requests_share_a_connection_have_each_their_own_token() -> None:
    async with stack() as here:
        other, key = await here.another_session("other.id.token")
        client = await here.client()
        for _ in range(2):
            for cookie in (here.cookie, other, "nobody=1"):
                await client.send(get("/api/v1/a", f"Cookie: {cookie}", "X-Last: 1"))
                assert await client.answer() == OK
        here.renewing.at_hand.pop(key)
        await here.sessions.end(key, "", EndReason.LOGOUT)
        await client.send(get("/api/v1/a", f"Cookie: {other}", "X-Last: 1"))
        ended = await client.answer()

        cookies = [f"argocd.token={TOKEN}", "argocd.token=other.id.token", "nobody=1"] * 2
        assert here.upstream.got == b"".join(
            get("/api/v1/a", f"Cookie: {cookie}", "X-Last: 1") for cookie in cookies
        )
        assert status(ended) == 401


def test_what_strangers_can_have_remembered_is_bounded() -> None:
    memories, first = Memories(), block("0")
    remembered = memories.of(first)
    assert memories.of(first) is remembered

    for number in range(3000):
        memories.of(block(str(number)))

    assert memories.of(first) is not remembered


def block(token: str) -> RequestFields:
    """The fields of some request."""
    return RequestReader().read(get("/", f"Token: {token}")).block


async def test_what_is_remembered_is_forgotten_with_time() -> None:
    async with stack() as here:
        await here.ask(get("/api/v1/a", f"Cookie: {here.cookie}", CLOSE))
        remembered = RequestReader().read(get("/", f"Cookie: {here.cookie}", CLOSE)).block
        memory = here.site.way.gate.memories.of(remembered)
        assert memory.passed is not None

        here.port.sweep(asyncio.get_running_loop().time() + 61)

        assert here.site.way.gate.memories.of(remembered) is not memory
        again = RequestReader().read(get("/", f"Cookie: {here.cookie}", CLOSE)).block
        assert again is not remembered  # nor do the lines stay that a credential stood in


async def test_the_same_fields_for_another_kind_of_request_are_judged_anew() -> None:
    bearer = "Authorization: Bearer a.b.c"
    async with stack() as here:
        client = await here.client()
        for target in ("/api/v1/a", "/terminal", "/api/v1/a"):
            await client.send(get(target, f"Cookie: {here.cookie}", bearer))
            assert await client.answer() == OK

        token = f"Cookie: argocd.token={TOKEN}"
        assert here.upstream.got == (
            get("/api/v1/a", bearer) + get("/terminal", token, bearer) + get("/api/v1/a", bearer)
        )


async def test_a_session_that_is_not_at_hand_is_waited_for_and_the_body_with_it() -> None:
    async with stack() as here:
        del here.renewing.at_hand[here.key]
        here.renewing.gate.clear()
        client = await here.client()
        await client.send(
            request("POST", "/api/v1/a", f"Cookie: {here.cookie}", "Content-Length: 5"), b"hello"
        )
        await eventually(lambda: bool(here.renewing.asked))
        here.renewing.gate.set()

        assert await client.answer() == OK
        assert here.upstream.got.endswith(b"\r\n\r\nhello")


async def test_a_token_at_hand_that_may_not_go_up_any_more_is_asked_for_again() -> None:
    async with stack() as here:
        client = await here.client()
        await client.send(get("/warm"))
        await client.answer()
        here.renewing.forbidden.add(here.key)
        here.renewing.at_hand_once = True
        here.renewing.error = SessionOver(EndReason.LOGOUT)
        await client.send(get("/api/v1/a", f"Cookie: {here.cookie}"))

        assert status(await client.answer()) == 401
        assert b"/api/v1/a" not in here.upstream.got
        assert here.pool.idle == 1


@pytest.mark.parametrize("target", [STREAM, "/terminal", "/extensions/x/y"])
async def test_what_lasts_asks_for_a_token_that_lasts(target: str) -> None:
    async with stack() as here:
        del here.renewing.at_hand[here.key]
        await here.ask(get(target, f"Cookie: {here.cookie}", CLOSE))

        assert here.renewing.asked == [30.0]


async def test_while_the_store_is_away_the_answer_is_503_and_what_needs_no_login_passes() -> None:
    async with stack() as here:
        del here.renewing.at_hand[here.key]
        here.renewing.error = StoreUnavailable("the store does not answer")
        page = await here.ask(get("/", f"Cookie: {here.cookie}", "Accept: text/html", CLOSE))
        api = await here.ask(get("/api/v1/a", f"Cookie: {here.cookie}", CLOSE))
        public = await here.ask(get("/api/version", f"Cookie: {here.cookie}", CLOSE))

    assert status(page) == 503
    assert b"text/html" in page
    assert status(api) == 503
    assert b"Retry-After: 1" in api
    assert b"Set-Cookie" not in page + api
    assert status(public) == 200
    assert here.upstream.got == waited(get("/api/version"))


async def test_the_connection_goes_on_after_an_answer_of_ours() -> None:
    async with stack() as here:
        here.renewing.at_hand.clear()
        here.renewing.error = SessionOver(EndReason.LOGOUT)
        client = await here.client()
        for _ in range(2):
            await client.send(get("/api/v1/a", f"Cookie: {here.cookie}"))
            assert status(await client.answer()) == 401
        await client.send(get("/public"))
        assert await client.answer() == OK


async def test_a_stream_ends_politely_when_its_session_does() -> None:
    async with stack(streams) as here:
        client = await here.client()
        await client.send(get(STREAM, f"Cookie: {here.cookie}"))
        await client.until(b"a\n\r\n")
        here.port.close_session(here.key)

        assert await client.rest() == b"0\r\n\r\n"
        await eventually(lambda: here.pool.open == 0)
        assert not len(here.site.way.open_things)


async def test_a_terminal_ends_when_its_session_does() -> None:
    async with stack(switches) as here:
        client = await here.client()
        await client.send(get("/terminal", f"Cookie: {here.cookie}", ORIGIN, *WEBSOCKET))
        await client.until(b"hello")
        here.port.close_session(here.key)

        assert await client.rest() == b""
        await eventually(lambda: here.pool.open == 0)
        assert not len(here.site.way.open_things)


async def test_a_stream_that_has_not_begun_when_its_session_ends_is_told_so() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.rest()

    async with stack(silent) as here:
        client = await here.client()
        await client.send(get(STREAM, f"Cookie: {here.cookie}"))
        await eventually(lambda: len(here.site.way.open_things) == 1)
        await here.sessions.end(here.key, "", EndReason.LOGOUT)
        here.port.close_session(here.key)

        assert status(await client.answer()) == 401


async def test_one_that_has_not_begun_when_its_groups_change_may_come_again() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.rest()

    async with stack(silent) as here:
        client = await here.client()
        await client.send(get(STREAM, f"Cookie: {here.cookie}"))
        await eventually(lambda: len(here.site.way.open_things) == 1)
        here.port.close_session(here.key)

        answer = await client.answer()
        assert status(answer) == 503
        assert b"Retry-After: 1" in answer
        assert not len(here.site.way.open_things)


async def test_the_end_of_a_session_leaves_other_sessions_and_plain_requests_alone() -> None:
    async with stack(streams) as here:
        clients = [await here.client() for _ in range(2)]
        await clients[0].send(get(STREAM))
        await clients[1].send(get("/api/v1/a", f"Cookie: {here.cookie}"))
        for client in clients:
            await client.until(b"a\n\r\n")
        here.port.close_session(here.key)

        assert here.port.connections == 2


async def test_an_open_stream_keeps_its_session_in_use_until_it_ends() -> None:
    async with stack(streams) as here:
        client = await here.client()
        await client.send(get(STREAM, f"Cookie: {here.cookie}"))
        await client.until(b"a\n\r\n")
        assert here.sessions._held_open.sessions()
        client.close()

        await eventually(lambda: not here.sessions._held_open.sessions())


@pytest.mark.parametrize(
    "origins",
    [
        [],
        ["Origin: null"],
        ["Origin: https://evil.example.org"],
        ["Origin: https://argocd.example.org"],
        ["Origin: http://argocd.example.org.evil.example.org"],
        [ORIGIN, ORIGIN],
        [ORIGIN, "Origin: https://evil.example.org"],
    ],
)
async def test_a_websocket_with_a_session_comes_from_our_site_or_not_at_all(
    origins: list[str],
) -> None:
    async with stack() as here:
        answer = await here.ask(get("/terminal", f"Cookie: {here.cookie}", *origins, *WEBSOCKET))

    assert status(answer) == 400
    assert here.upstream.got == b""


async def test_a_tunnel_carries_bytes_both_ways_and_what_came_early() -> None:
    async with stack(switches) as here:
        client = await here.client()
        await client.send(get("/terminal", f"Cookie: {here.cookie}", ORIGIN, *WEBSOCKET) + b"early")
        head = await client.until(b"\r\n\r\n")
        assert await client.exactly(10) == b"helloearly"
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.exactly(18) == b"GET / HTTP/1.1\r\n\r\n"

    assert b"Sec-WebSocket-Accept: x" in head
    assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
    upgraded = get(
        "/terminal", f"Cookie: argocd.token={TOKEN}", ORIGIN, "Connection: Upgrade", WEBSOCKET[0]
    )
    assert here.upstream.got.startswith(upgraded)


async def test_a_tunnel_ends_on_one_side_when_the_other_does() -> None:
    async def one_word(peer: Peer) -> None:
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nbye")

    async with stack(one_word) as here:
        client = await here.client()
        await client.send(get("/terminal", *WEBSOCKET))
        await client.until(b"\r\n\r\n")
        assert await client.rest() == b"bye"

    async with stack(switches) as here:
        client = await here.client()
        await client.send(get("/terminal", *WEBSOCKET))
        await client.until(b"hello")
        client.close()
        await eventually(lambda: here.pool.open == 0)


async def test_a_refused_upgrade_is_an_answer_like_any_other() -> None:
    async def refuses(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        await answers_ok(peer)

    async with stack(refuses) as here:
        client = await here.client()
        await client.send(get("/terminal", *WEBSOCKET))
        assert await client.answer() == (
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
        )
        await client.send(get("/x"))
        assert await client.answer() == OK


async def test_answers_for_a_session_lose_the_tokens_that_argocd_renews() -> None:
    async def renews(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: argocd.token=x; path=/\r\nSet-Cookie: a=b\r\n"
            b"Grpc-Metadata-Renew-Token: x\r\nContent-Length: 2\r\n\r\nok"
        )

    async with stack(renews) as here:
        client = await here.client()
        await client.send(get("/api/v1/a", f"Cookie: {here.cookie}"))
        answer = await client.answer()

    assert answer == b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok"


async def test_in_mirror_mode_the_plainest_answer_brings_the_token() -> None:
    async with stack(mirror=True) as here:
        client = await here.client()
        await client.send(get("/api/v1/a", f"Cookie: {here.cookie}"))
        answer = await client.answer()

    assert f"Set-Cookie: argocd.token={TOKEN};".encode() in answer
    assert b"Cache-Control: no-store" in answer


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_settings_are_rewritten_whatever_their_framing(framing: str) -> None:
    body = b'{"oidcConfig":{"enablePKCEAuthentication":true}}'
    framed = {
        "length": b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x;a=b\r\n%s\r\n0\r\n\r\n"
        % (body[:5], len(body) - 5, body[5:]),
        "close": b"\r\n" + body,
    }[framing]

    async def settings(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n" + framed)

    async with stack(settings) as here:
        answer = await here.ask(get("/api/v1/settings", "Accept-Encoding: gzip", CLOSE))

    assert here.upstream.got == get("/api/v1/settings", "Accept-Encoding: identity")
    assert answer.endswith(b'{"oidcConfig":{"enablePKCEAuthentication":false}}')
    assert b"\r\nContent-Length: 49\r\n" in answer
    assert b"Transfer-Encoding" not in answer
    assert b"X-A: 1" in answer


# Own paths


@pytest.mark.parametrize(
    "target",
    [
        "/auth/login",
        "/auth/login?return_url=x",
        "/auth/callback?code=x",
        "//auth//login",
        "/auth/./login",
        "/x/../auth/login",
        "/auth%2flogin",
        "/%61uth/login",
        "/auth/login/",
        "/auth/log%69n",
        "/_sidecar",
        "/_sidecar/session",
        "/%5Fsidecar/x",
        "/x/..%2f_sidecar/",
    ],
)
async def test_no_spelling_of_an_own_path_goes_up(target: str) -> None:
    async with stack() as here:
        answer = await here.ask(get(target))

    assert answer.endswith(b"own")
    assert here.own == [get(target)]
    assert here.upstream.got == b""


async def test_an_own_page_comes_after_the_answers_before_it_and_ends_the_connection() -> None:
    async with stack() as here:
        answer = await here.ask(get("/a") + get("/auth/login") + get("/b"))

    assert answer == OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nown"
    assert here.own == [get("/auth/login") + get("/b")]
    assert here.upstream.got == get("/a")


async def test_a_logout_is_ours_with_a_session_and_argocds_without() -> None:
    async with stack() as here:
        ours = await here.ask(get("/auth/logout", f"Cookie: {here.cookie}"))
        theirs = await here.ask(get("/auth/logout", "Cookie: argocd.token=local", CLOSE))

    assert ours.endswith(b"own")
    assert theirs.endswith(b"ok")
    assert here.upstream.got == get("/auth/logout", "Cookie: argocd.token=local")


# HTTP/2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("cut", [0, 1, 14, 23])
async def test_a_connection_that_begins_in_http_2_goes_up_as_it_is(cut: int) -> None:
    async def echoes(peer: Peer) -> None:
        while data := await peer.reader.read(65536):
            peer.got += data
            await peer.send(data)

    async with stack(echoes) as here:
        client = await here.client()
        sent = PREFACE + bytes(range(256))
        if cut:
            await client.send(sent[:cut])
            await asyncio.sleep(0.01)
        await client.send(sent[cut:])

        assert await client.exactly(len(sent)) == sent
        assert here.metric("spliced_connections_total") == 1


async def test_http_2_can_be_refused() -> None:
    async with stack(http2=False) as here:
        answer = await here.ask(PREFACE)

    assert status(answer) == 505
    assert here.upstream.got == b""


async def test_http_2_after_a_request_is_400() -> None:
    async with stack() as here:
        answer = await here.ask(get("/a") + PREFACE)

    assert answer.startswith(OK)
    assert status(answer.removeprefix(OK)) == 400
    assert here.upstream.got == get("/a")


# What is remembered


async def test_the_settings_are_asked_for_unpacked_though_the_fields_are_the_same() -> None:
    async with stack() as here:
        client = await here.client()
        for target in ("/api/version", "/api/v1/settings", "/api/version"):
            await client.send(get(target, "Accept-Encoding: gzip"))
            await client.until(b"ok")

    assert here.upstream.got == (
        get("/api/version", "Accept-Encoding: gzip")
        + get("/api/v1/settings", "Accept-Encoding: identity")
        + get("/api/version", "Accept-Encoding: gzip")
    )


async def test_what_went_up_without_a_login_during_an_outage_has_it_again_afterwards() -> None:
    async with stack() as here:
        here.renewing.at_hand.clear()
        here.renewing.error = StoreUnavailable("the store does not answer")
        client = await here.client()
        await client.send(get("/api/version", f"Cookie: {here.cookie}"))
        assert await client.answer() == OK
        here.renewing.error = None
        here.renewing.at_hand[here.key] = here.live
        await client.send(get("/api/version", f"Cookie: {here.cookie}"))
        assert await client.answer() == OK

    token = f"Cookie: argocd.token={TOKEN}"
    assert here.upstream.got == waited(get("/api/version")) + get("/api/version", token)


@pytest.mark.parametrize("target", ["/api/dex/auth?client_id=a", "/api/dex/token", "/api/dex"])
async def test_what_goes_to_the_bundled_dex_passes_without_our_cookies_and_without_a_token(
    target: str,
) -> None:
    async with stack() as here:
        here.renewing.error = StoreUnavailable("nothing is waited for")
        here.renewing.at_hand.clear()
        client = await here.client()
        await client.send(get(target, f"Cookie: a=1; {here.cookie}; b=2", "Authorization: Basic x"))

        assert await client.answer() == OK
        assert here.upstream.got == get(target, "Cookie: a=1; b=2", "Authorization: Basic x")
        assert here.renewing.asked == []


async def test_the_bundled_dex_is_asked_for_a_body_as_it_came() -> None:
    async with stack() as here:
        client = await here.client()
        form = b"grant_type=refresh_token&refresh_token=a%2Bb"
        head = f"POST /api/dex/token HTTP/1.1\r\nHost: a\r\nContent-Length: {len(form)}\r\n\r\n"
        await client.send(head.encode() + form)

        assert await client.answer() == OK
        assert here.upstream.got.endswith(b"\r\n\r\n" + form)


AT_ONCE = (EndReason.PROVIDER_LOST_STATE, EndReason.NO_REFRESH_TOKEN)


@pytest.mark.parametrize("reason", AT_ONCE)
async def test_a_page_leads_to_the_login_by_itself_where_that_may_need_no_form(
    reason: EndReason,
) -> None:
    async with stack() as here:
        here.renewing.error = SessionOver(reason)
        here.renewing.at_hand.clear()
        client = await here.client()
        await client.send(get("/applications?a=b", f"Cookie: {here.cookie}", "Accept: text/html"))
        answer = await client.answer()

        assert status(answer) == 303
        assert b"Location: /auth/login?return_url=http%3A%2F%2F" in answer
        assert b"%2Fapplications%3Fa%3Db\r\n" in answer
        assert here.upstream.got == b""


@pytest.mark.parametrize(
    ("reason", "target"),
    [
        (EndReason.ENDED_BY_PROVIDER, "/applications"),
        (EndReason.LOGOUT, "/applications"),
        # Whoever wants to log in by a local account must get there.
        (EndReason.PROVIDER_LOST_STATE, "/login?return_url=a"),
    ],
)
async def test_other_pages_of_a_session_that_has_ended_are_argo_cds(
    reason: EndReason, target: str
) -> None:
    async with stack() as here:
        here.renewing.error = SessionOver(reason)
        here.renewing.at_hand.clear()
        client = await here.client()
        await client.send(get(target, f"Cookie: {here.cookie}", "Accept: text/html"))

        assert await client.answer() == OK
        assert here.upstream.got == waited(get(target, "Accept: text/html"))


async def test_api_calls_of_a_session_that_has_ended_so_are_told_as_argo_cd_would() -> None:
    async with stack() as here:
        here.renewing.error = SessionOver(EndReason.PROVIDER_LOST_STATE)
        here.renewing.at_hand.clear()
        client = await here.client()
        await client.send(get("/api/v1/applications", f"Cookie: {here.cookie}"))
        assert status(await client.answer()) == 401
        await client.send(get("/api/v1/session/userinfo", f"Cookie: {here.cookie}"))
        answer = await client.answer()

        assert status(answer) == 200
        assert answer.endswith(b'{"iss":"sso"}')


async def refuses(peer: Peer) -> None:
    """An upstream that takes no token."""
    while True:
        await peer.request()
        await peer.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")


async def test_a_token_that_argo_cd_refuses_is_looked_at_again() -> None:
    async with stack(refuses) as here:
        client = await here.client()
        await client.send(get("/api/v1/a", f"Cookie: {here.cookie}"))
        assert status(await client.answer()) == 401
        assert here.renewing.refusals == 1

        await client.send(get("/api/v1/a", "Authorization: Bearer a.b.c"))
        assert status(await client.answer()) == 401
        assert here.renewing.refusals == 1


async def test_a_page_waits_where_its_token_is_in_doubt_and_nothing_else_does() -> None:
    async with stack() as here:
        here.renewing.doubting = True
        client = await here.client()
        await client.send(get("/api/v1/a", f"Cookie: {here.cookie}"))
        assert await client.answer() == OK
        assert here.renewing.asked == []
        for asked in ([0.0], [0.0, 0.0]):  # the second one is the same again
            await client.send(get("/applications", f"Cookie: {here.cookie}", "Accept: text/html"))
            assert await client.answer() == OK
            assert here.renewing.asked == asked
