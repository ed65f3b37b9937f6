"""How long requests take while the session's token is renewed behind them."""

import asyncio
import random
import re
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.place import TOKEN_LENGTH, Made, Maker, Replica, head, maker, percentile, replica
from bench.provider import Seen, provider
from bench.serving import HOST, double
from bench.tokens import LIFE_SECONDS
from sidecar.core.refresh_policy import RefreshWindow, used_until
from sidecar.demo.valkey import valkey

WINDOW_SECONDS = 300.0
BETWEEN_SECONDS = 0.6  # from one answer of the provider to the next renewal
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class _Turn:
    """One request of each session, in milliseconds; when the one inside began, in Unix seconds."""

    began_at: float
    outside: float
    inside: float
    control: float


async def window(*, rounds: int = 14, provider_seconds: float = 2.0) -> dict[str, Any]:
    """Three sessions take turns, in an order that is drawn: one of them is inside."""
    async with AsyncExitStack() as owned:
        store_url = await owned.enter_async_context(valkey())
        upstream = await owned.enter_async_context(double("bench.upstream", {}))
        asked = await owned.enter_async_context(
            provider(delay=provider_seconds, length=TOKEN_LENGTH)
        )
        environment = {
            "SIDECAR_UPSTREAM": upstream,
            "SIDECAR_ISSUER": asked.issuer,
            "SIDECAR_STORE_URL": store_url,
            "SIDECAR_REFRESH_WINDOW": f"{WINDOW_SECONDS:.0f}s",
            "SIDECAR_BACKGROUND_RENEWAL": "off",  # the requests are to begin the renewals
        }
        running = await owned.enter_async_context(replica(environment))
        making = await owned.enter_async_context(
            maker(store_url, asked.issuer, window_seconds=WINDOW_SECONDS)
        )
        # For two seconds after its first connection to a store a process presents no token.
        first_at = time.time() + 4.0
        each_seconds = provider_seconds + BETWEEN_SECONDS
        opening = [first_at + number * each_seconds for number in range(rounds)]
        sessions = [await _opens_at(making, f"inside-{n}", at) for n, at in enumerate(opening)]
        ends_at = time.time() + LIFE_SECONDS
        others = [await making.session(user, ends_at=ends_at) for user in ("outside", "control")]
        raw = await asyncio.to_thread(
            _measure, running, others, list(zip(sessions, opening, strict=True)), provider_seconds
        )
        seen = await asked.seen()
    answered_at = {each.user: each.answered_at for each in seen.asked}
    found = [_inside_only(turns, answered_at[f"inside-{n}"]) for n, turns in enumerate(raw)]
    return _summary(found, seen, provider_seconds)


async def _opens_at(making: Maker, user: str, at: float) -> Made:
    """A session whose refresh window opens then: its jitter comes from its grant's name."""
    ends_at = at + LIFE_SECONDS
    made = await making.session(user, ends_at=ends_at)
    open_seconds = ends_at - used_until(made.grant, window=RefreshWindow(seconds=WINDOW_SECONDS))
    return await making.with_end(made, at + open_seconds)


def _measure(
    running: Replica,
    others: list[Made],
    inside: list[tuple[Made, float]],
    provider_seconds: float,
) -> list[list[_Turn]]:
    """The turns of every round; one connection for each session, as a browser has it."""
    dice = random.SystemRandom()
    found = []
    outside, control = (_Caller(running.port, each) for each in others)
    for made, opens_at in inside:
        caller = _Caller(running.port, made)
        for _ in range(5):
            for each in (outside, control, caller):
                each.ask()
        time.sleep(max(opens_at - time.time(), 0))
        turns = []
        # Turns that begin after the answer are left out afterwards.
        while time.time() < opens_at + provider_seconds + 0.2:
            took = {}
            began_at = 0.0
            order = [("outside", outside), ("inside", caller), ("control", control)]
            dice.shuffle(order)
            for name, each in order:
                if name == "inside":
                    began_at = time.time()
                took[name] = each.ask()
            turns.append(_Turn(began_at, **took))
        found.append(turns)
        caller.close()
    outside.close()
    control.close()
    return found


class _Caller:
    """A browser of one session, that waits for each answer."""

    def __init__(self, port: int, made: Made) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = head(made.cookie)

    def ask(self) -> float:
        """How many milliseconds an answer took."""
        began_at = time.perf_counter()
        self._socket.sendall(self._head)
        answer = self._socket.recv(65536)
        while not _is_whole(answer):
            more = self._socket.recv(65536)
            if not more:
                raise RuntimeError("the replica has closed the connection")
            answer += more
        took = time.perf_counter() - began_at
        if answer[9:12] != b"200":
            raise RuntimeError(f"an answer that is not 200: {answer!r:.200}")
        return took * 1000

    def close(self) -> None:
        """Leave."""
        self._socket.close()


def _is_whole(answer: bytes) -> bool:
    start, empty_line, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", start)
    return bool(empty_line) and len(body) >= (int(length[1]) if length else 0)


def _inside_only(turns: list[_Turn], answered_at: float) -> list[_Turn]:
    """The turns whose request inside the window began while its renewal ran."""
    return [turn for turn in turns if turn.began_at < answered_at]


def _summary(rounds: list[list[_Turn]], seen: Seen, provider_seconds: float) -> dict[str, Any]:
    turns = [turn for each in rounds for turn in each]
    outside = [turn.outside for turn in turns] + [turn.control for turn in turns]
    inside = [turn.inside for turn in turns]
    return {
        "provider_ms": provider_seconds * 1000,
        "renewals": len(seen.asked),
        "rounds": len(rounds),
        "samples_inside": len(inside),
        "p50_outside_ms": round(percentile(outside, 0.5), 3),
        "p50_inside_ms": round(percentile(inside, 0.5), 3),
        "p50_added_ms": round(percentile(inside, 0.5) - percentile(outside, 0.5), 3),
        "p99_outside_ms": round(percentile(outside, 0.99), 3),
        "p99_inside_ms": round(percentile(inside, 0.99), 3),
        "p99_added_ms": round(percentile(inside, 0.99) - percentile(outside, 0.99), 3),
        "p99_noise_ms": round(_noise(rounds), 3),
        "over_2ms_outside": round(sum(each > 2 for each in outside) / len(outside), 4),
        "over_2ms_inside": round(sum(each > 2 for each in inside) / len(inside), 4),
        "slowest_inside_ms": round(max(inside), 1),
        "slowest_outside_ms": round(max(outside), 1),
    }


def _noise(rounds: list[list[_Turn]]) -> float:
    """How far apart the p99 of two sessions lies that are both outside, in 95 of 100 draws.

    Whole rounds are drawn, with repetition: what disturbs one request disturbs its neighbours.
    """
    dice = random.SystemRandom()
    found = []
    for _ in range(_DRAWS):
        turns = [turn for each in dice.choices(rounds, k=len(rounds)) for turn in each]
        first = percentile([turn.outside for turn in turns], 0.99)
        second = percentile([turn.control for turn in turns], 0.99)
        found.append(abs(first - second))
    return percentile(found, 0.95)
