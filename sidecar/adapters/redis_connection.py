"""A connection to a Redis server, by RESP2: what many ask in one moment goes out together.

Answers come in the order of the questions, so that nobody waits for a connection of his own,
and whoever leaves takes nothing from the others: his answer is read, and dropped.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

from hiredis import ProtocolError, Reader, pack_command

_LONGEST_ANSWER = 64 * 1024 * 1024
_MORE = object()


class ResponseError(Exception):
    """What a server says instead of an answer. Its text may show what was sent."""

    @property
    def code(self) -> str:
        """Its first word, in capital letters: `MOVED`, `NOPERM`, or `ERR` for what has none."""
        word = str(self).partition(" ")[0]
        return word if word.isalpha() and word.isupper() else "ERR"


class AuthenticationError(ConnectionError):
    """The server does not take the user name and password, or wants some."""


class NotSent(ConnectionError):
    """The connection was closed before the commands went out: the server has not seen them.

    `why` is what closed it.
    """

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


def packed(*words: str | bytes | int) -> bytes:
    """A command as it goes over the wire."""
    command: bytes = pack_command(words)  # type: ignore[arg-type]  # it takes more than one word
    return command


def taken(answers: list[Any]) -> list[Any]:
    """Answers to commands of which none was refused.

    Raises:
        ResponseError: the first refusal, if there is one.
    """
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


@dataclass(slots=True, eq=False)
class _Trip:
    """Commands that were sent in one piece, and what has been answered of them."""

    count: int
    sent_at: float
    done: asyncio.Future[list[Any]]
    answers: list[Any] = field(default_factory=list)


class RedisConnection(asyncio.Protocol):
    """Sends commands and gives each its answer.

    Within `seconds` the server has to say something, and within twice as many it has to answer:
    where many ask at once, some wait for their turn. If it does not, or says what is no answer,
    the connection is broken: everybody who waits is told, and nothing is sent again, since it may
    have run.
    """

    def __init__(self, *, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._reader = Reader(ProtocolError, ResponseError, notEnoughData=_MORE)
        self._unread = 0
        self._heard_at = 0.0
        self._trips: deque[_Trip] = deque()
        self._unsent: list[bytes] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._lost = self._loop.create_future()
        self._why: Exception = _closed()
        self.is_open = False

    def send(self, commands: bytes, count: int = 1) -> asyncio.Future[list[Any]]:
        """The answers to so many commands, refusals (`ResponseError`) among them.

        They go out with what else is asked in this turn of the event loop, and side by side.

        Raises:
            NotSent: the connection is broken, or broke before they went out.
            OSError: it broke before all were answered.
            TimeoutError: they were not answered in time.
        """
        done: asyncio.Future[list[Any]] = self._loop.create_future()
        if not self.is_open:
            done.set_exception(NotSent(self._why))
            return done
        now = self._loop.time()
        self._trips.append(_Trip(count, now, done))
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(commands)
        if self._alarm is None:
            self._alarm = self._loop.call_at(now + self._seconds, self._ring)
        return done

    def abort(self, error: Exception | None = None) -> None:
        """Close it at once; whoever waits is told `error`, or `NotSent`."""
        if self.is_open:
            self._why = error or self._why
        self.is_open = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._transport is not None:
            self._transport.abort()
        trips, self._trips = self._trips, deque()
        sent = len(trips) - len(self._unsent)
        self._unsent.clear()
        for number, trip in enumerate(trips):
            if not trip.done.done():
                trip.done.set_exception(self._why if number < sent else NotSent(self._why))

    async def aclose(self) -> None:
        """Close it, and wait until the event loop is done with it."""
        self.abort()
        if self._transport is not None:
            await self._lost

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a way to the server, TLS and all."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """The server, or the way to it, is gone."""
        self.abort(exc if isinstance(exc, OSError) else None)
        if not self._lost.done():
            self._lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """A part of an answer, or several."""
        self._heard_at = self._loop.time()
        self._reader.feed(data)
        self._unread += len(data)
        try:
            while (answer := self._reader.gets()) is not _MORE:
                self._unread = 0
                self._answered(answer)
        except (ProtocolError, IndexError):
            self.abort(ConnectionError("the server says what is no answer"))
        if self._unread > _LONGEST_ANSWER:
            self.abort(ConnectionError("the server's answer is too long"))

    def _answered(self, answer: Any) -> None:
        trip = self._trips[0]
        trip.answers.append(answer)
        if len(trip.answers) == trip.count:
            self._trips.popleft()
            if not trip.done.done():
                trip.done.set_result(trip.answers)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None and unsent:
            self._transport.write(b"".join(unsent))

    def _ring(self) -> None:
        """Look whether the answer that is to come next is overdue.

        What came while the process stood still has been read: event loops look at their sockets
        before they look at their clocks.
        """
        self._alarm = None
        if self._trips:
            sent_at, patience = self._trips[0].sent_at, self._seconds
            ends_at = min(max(sent_at, self._heard_at) + patience, sent_at + 2 * patience)
            if ends_at <= self._loop.time():
                self.abort(TimeoutError())
            else:
                self._alarm = self._loop.call_at(ends_at, self._ring)


def _closed() -> ConnectionError:
    return ConnectionError("the connection to the server is closed")
