"""Attacks with requests that can be read in two ways, or are another's, or have no end."""

import asyncio
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

from sidecar.core.heads import values
from sidecar.proxy.site import Limits
from tests.attacks.attack import Defence, attack, becomes, is_always
from tests.attacks.lab import Lab
from tests.proxy.stack import Peer, get, request, stack
from tests.world import eventually


def spellings(path: str) -> Iterator[str]:
    """Other ways to write a path that a server may take for the same."""
    first, last = path[1:].split("/")
    words = {
        w: (w, f"%{ord(w[0]):02x}{w[1:]}", "".join(f"%{ord(c):02X}" for c in w))
        for w in (first, last)
    }
    for one, two in product(words[first], words[last]):
        yield f"/{one}/{two}"
        yield f"//{one}/{two}"
        yield f"/{one}//{two}"
        yield f"/./{one}/./{two}"
        yield f"/x/../{one}/{two}"
        yield f"/%2e%2E/{one}/{two}"
        yield f"/{one}/x/%2e%2e/{two}"
        yield f"/{one}%2f{two}"
        yield f"/{one}/{two}/"
        yield f"/{one}/{two}?x=/api/v1/settings"
        yield f"/..//{one}/{two}//"


@attack(
    6,
    does="Writes Argo CD's own login and callback in over a hundred ways, to get to them.",
    stopped_by=Defence(
        "rules go by the path as Go's mux would clean it",
        "sidecar.core.heads:clean_path",
        lambda _: lambda target: target.partition("?")[0],
    ),
)
async def spelled_otherwise(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        for path in [*spellings("/auth/login"), *spellings("/auth/callback")]:
            await browser.get(path)
        return here.argocd.seen.own_logins > 0


async def _keeps_all(peer: Peer) -> None:
    while data := await peer.reader.read(65536):
        peer.got += data


async def _goes_up(raw: bytes, what: bytes, *, limits: Limits | None = None) -> bool:
    """Whether a part of a request reaches the upstream, which answers nothing."""
    async with stack(_keeps_all, limits=limits) as here:
        client = await here.client()
        await client.send(raw)
        refused = asyncio.ensure_future(client.rest())
        await eventually(lambda: what in here.upstream.got or refused.done())
        refused.cancel()
        await asyncio.gather(refused, return_exceptions=True)
        return what in here.upstream.got


@attack(
    6,
    does="Puts a fragment into the target: rules by path end at `#`, another reader goes on.",
    stopped_by=Defence(
        "a target with a fragment is refused",
        "sidecar.core.messages:_REQUEST_LINE",
        becomes(re.compile(rb"([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.([01])\r\n")),
    ),
)
async def fragment_in_the_target(lab: Lab) -> bool:
    return await _goes_up(get("/api/version#/../../auth/login"), b"#/../")


@attack(
    7,
    does="Writes `X_Forwarded_For`, which some take for `X-Forwarded-For` (CVE-2025-64484).",
    stopped_by=Defence(
        "a twin of a field that matters is refused",
        "sidecar.core.messages:_check_names",
        is_always(None),
    ),
)
async def underscored_twin(lab: Lab) -> bool:
    return await _goes_up(get("/x", "X_Forwarded_For: 127.0.0.1"), b"X_Forwarded_For")


@attack(
    7,
    does="Names a field in `Connection` that the Ingress has set, so that it is lost on the way "
    "(CVE-2025-48865).",
    stopped_by=Defence(
        "`Connection` may name no field that was judged",
        "sidecar.core.messages:_NOT_FOR_ONE_HOP",
        becomes(frozenset()),
    ),
)
async def field_dropped_on_the_way(lab: Lab) -> bool:
    raw = get("/x", "X-Forwarded-For: 192.0.2.1", "Connection: X-Forwarded-For")
    async with stack() as here:
        client = await here.client()
        await client.send(raw)
        await client.until(b"\r\n\r\n")
        return bool(here.upstream.got) and b"X-Forwarded-For" not in here.upstream.got


@attack(
    7,
    20,
    does="Sends two `Host` fields.",
    stopped_by=Defence("one usable `Host`", "sidecar.core.messages:_check_host", is_always(None)),
)
async def two_hosts(lab: Lab) -> bool:
    return await _goes_up(get("/x", "Host: evil.example"), b"evil.example")


def _length_gives_way(original: Any) -> Any:
    def content_length(fields: Any) -> Any:
        coded = any(name.lower() == "transfer-encoding" for name, _ in fields)
        return None if coded else original(fields)

    return content_length


@attack(
    20,
    does="Frames one body in two ways, `Content-Length` and `Transfer-Encoding`, with a request "
    "hidden in the difference.",
    stopped_by=(
        Defence(
            "a length beside a transfer coding is refused",
            "sidecar.core.messages:content_length",
            _length_gives_way,
        ),
        Defence("llhttp refuses it, too", "sidecar.core.messages:_check_request", is_always(None)),
    ),
)
async def two_framings(lab: Lab) -> bool:
    hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    framings = (f"Content-Length: {len(hidden)}", "Transfer-Encoding: chunked")
    return await _goes_up(request("POST", "/x", *framings, body=hidden), b"Content-Length")


@attack(
    20,
    does="Writes a chunk's size in a way that others read otherwise: `0x5`, `+5`, ` 5`.",
    stopped_by=Defence(
        "a size has one spelling",
        "sidecar.core.framing:_SIZE_LINE",
        becomes(re.compile(rb"[ +]*(?:0x)?([0-9A-Fa-f]{1,15})[ ]*(;[\t\x20-\x7e]*)?\r\n")),
    ),
)
async def odd_chunk_sizes(lab: Lab) -> bool:
    odd = (b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n")
    framed = [request("POST", "/x", "Transfer-Encoding: chunked", body=body) for body in odd]
    return any([await _goes_up(raw, b"hello") for raw in framed])


@attack(
    20,
    does="Brings a cookie, a length or a host behind the body, as a trailer.",
    stopped_by=Defence(
        "fields that matter are no trailers",
        "sidecar.core.framing:_NO_TRAILERS",
        becomes(frozenset()),
    ),
)
async def cookie_in_a_trailer(lab: Lab) -> bool:
    body = b"5\r\nhello\r\n0\r\nCookie: argocd.token=evil\r\n\r\n"
    return await _goes_up(request("POST", "/x", "Transfer-Encoding: chunked", body=body), b"=evil")


@attack(
    20,
    25,
    does="Sends a head that goes on and on.",
    stopped_by=(
        Defence("a head has 64 KiB at most", "sidecar.core.messages:check_length", is_always(None)),
        Defence(
            "nothing more is read while so much waits",
            "sidecar.proxy.watched:Watched._hold_if_full",
            is_always(None),
        ),
    ),
)
async def endless_head(lab: Lab) -> bool:
    raw = get("/x", *(f"A{i}: {'a' * 8000}" for i in range(60)))
    return await _goes_up(raw, b"A59: ", limits=Limits(head_seconds=0.2))


@attack(
    20,
    25,
    does="Sends trailers without an end (CVE-2026-22815).",
    stopped_by=Defence(
        "trailers have 16 KiB at most", "sidecar.core.framing:MAX_TRAILERS", becomes(10**9)
    ),
)
async def endless_trailers(lab: Lab) -> bool:
    trailers = b"".join(b"A%d: %s\r\n" % (i, b"a" * 900) for i in range(40))
    body = b"0\r\n" + trailers + b"\r\n"
    return await _goes_up(request("POST", "/x", "Transfer-Encoding: chunked", body=body), b"A39: ")


def _as_the_one_before(original: Any) -> Any:
    """Takes who sent a connection's first request for who sends all that follow."""

    def read(reader: Any, raw: bytes) -> Any:
        last = reader._last
        head = original(reader, raw)
        if (
            last is not None
            and not head.block.websocket
            and not values(head.block.fields, "cookie")
        ):
            head.block, head.passing = reader._last = last
        return head

    return read


@attack(
    17,
    does="Comes over the connection of an Ingress right behind a user, without a cookie.",
    stopped_by=Defence(
        "fields count for the request that they came with",
        "sidecar.core.messages:RequestReader.read",
        _as_the_one_before,
    ),
)
async def borrowed_session(lab: Lab) -> bool:
    async with stack() as here:
        client = await here.client()
        await client.send(get("/x", f"Cookie: {here.cookie}"))
        await client.until(b"ok")
        await client.send(get("/y"))
        await client.until(b"ok")
        return b"argocd.token" in here.upstream.got.partition(b"GET /y")[2]
