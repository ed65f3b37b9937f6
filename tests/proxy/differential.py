"""What becomes of the same bytes at the sidecar and at nginx, in front of the same recorder."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import h11

from sidecar.proxy.site import Limits
from tests.proxy.nginx import nginx
from tests.proxy.stack import OK, Peer, Recorder, stack
from tests.reading import Message, read_requests

_AT_ONCE = 60  # of each kind of socket: a process may have no more than 1024 in all
_SOON = Limits(head_seconds=1, body_seconds=1, idle_seconds=1)


class Difference(Enum):
    """How the two part."""

    NGINX_PASSES = "nginx passes what we refuse"
    NGINX_REFUSES = "nginx refuses what we pass"
    STATUS = "both refuse, with another status"
    FORM = "both pass, in another form"


@dataclass(frozen=True)
class Outcome:
    """What one of them does with bytes."""

    statuses: tuple[int, ...]
    """Of its answers; none where it only closes the connection, or answers without a head."""
    went_up: tuple[Message | bytes, ...]
    """The whole requests that the upstream got; bytes where h11 cannot read what it got."""


def difference(ours: Outcome, nginx: Outcome) -> Difference | None:
    """How two outcomes part, None where they are the same."""
    if ours == nginx:
        return None
    if not ours.went_up and not nginx.went_up:
        return Difference.STATUS
    if not ours.went_up:
        return Difference.NGINX_PASSES
    return Difference.FORM if nginx.went_up else Difference.NGINX_REFUSES


async def answers_whole_requests(peer: Peer) -> None:
    """An upstream that says yes as often as it has read a request to its end."""
    answered = 0
    while data := await peer.reader.read(65536):
        peer.got += data
        whole = len(_whole_requests(peer.got))
        await peer.send(OK * (whole - answered))
        answered = whole


def _whole_requests(got: bytes) -> Sequence[Message | bytes]:
    try:
        return [_host_first(found) for found in read_requests(got)[0]]
    except h11.RemoteProtocolError:
        return [head for head in got.split(b"\r\n\r\n") if head]


def _host_first(found: Message) -> Message:
    """The order of fields counts but for Host, which nginx always writes first."""
    fields = sorted(found.fields, key=lambda field: field[0].lower() != b"host")
    return replace(found, fields=tuple(fields))


def _outcome(answer: bytes, upstream: Recorder) -> Outcome:
    statuses = tuple(int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer))
    went_up = [each for peer in upstream.connections for each in _whole_requests(peer.got)]
    return Outcome(statuses, tuple(went_up))


async def sidecar_outcomes(corpus: Sequence[bytes]) -> list[Outcome]:
    """What the sidecar does with each of these, on a connection of its own."""

    async def one(i: int) -> Outcome:
        async with stack(answers_whole_requests, limits=_SOON) as here:
            return _outcome(await here.ask(corpus[i]), here.upstream)

    return await _few_at_once(one, len(corpus))


async def nginx_outcomes(corpus: Sequence[bytes], folder: Path) -> list[Outcome]:
    """What nginx does with each of these, on a connection and with an upstream of its own."""

    async def one(i: int) -> Outcome:
        upstream = Recorder(answers_whole_requests)
        async with await asyncio.start_unix_server(upstream.serve, folder / f"{i}.up"):
            peer = Peer(*await asyncio.open_unix_connection(folder / f"{i}.in"))
            peer.writer.write(corpus[i])
            answer = await peer.rest()
            peer.close()
            return _outcome(answer, upstream)

    async with nginx(folder, len(corpus)):
        return await _few_at_once(one, len(corpus))


async def _few_at_once(one: Callable[[int], Awaitable[Outcome]], count: int) -> list[Outcome]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def in_its_turn(i: int) -> Outcome:
        async with places:
            return await one(i)

    return await asyncio.gather(*(in_its_turn(i) for i in range(count)))
