"""Calls of one script that come in the same turn of the event loop go to the server together."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, NoScriptError, ResponseError, TryAgainError

from sidecar.adapters.redis_node import FAILURES, Node
from sidecar.adapters.redis_servers import Servers

MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Call:
    """One call; all its keys are in one slot, so that calls can be sent to where theirs is."""

    keys: Sequence[str]
    args: Sequence[str]
    answer: asyncio.Future[Any] = field(default_factory=lambda: _future())

    @property
    def key(self) -> str:
        return self.keys[0] if self.keys else ""


class ScriptBatch:
    """A script that changes nothing, called by many at once: one trip to each server.

    A call that fails, fails alone; a trip that fails, fails for all in it, and is not repeated.
    Whoever leaves takes nothing from the others.
    """

    def __init__(self, servers: Servers, source: str, *, seconds: float) -> None:
        self._servers = servers
        self._source = source
        digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        self._command = ("EVALSHA", digest)
        self._seconds = seconds
        self._waiting: list[_Call] = []
        self._trips: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Break off what is under way."""
        for trip in self._trips:
            trip.cancel()
        await asyncio.gather(*self._trips, return_exceptions=True)

    async def call(self, keys: Sequence[str], args: Sequence[str]) -> Any:
        """The script's answer.

        Raises:
            RedisError: the server refused the call, or could not be asked.
            OSError: the same.
            TimeoutError: it did not answer in time.
        """
        call = _Call(keys, args)
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._begin)
        self._waiting.append(call)
        return await call.answer

    def _begin(self) -> None:
        """Send what this turn has brought."""
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), MOST_AT_ONCE):
            calls = waiting[first : first + MOST_AT_ONCE]
            trip = asyncio.get_running_loop().create_task(self._send(calls), name="store trip")
            self._trips.add(trip)
            trip.add_done_callback(self._trips.discard)

    async def _send(self, calls: Sequence[_Call]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                by_node: dict[Node, list[_Call]] = {}
                for call in calls:
                    by_node.setdefault(await self._servers.node_of(call.key), []).append(call)
                await asyncio.gather(*(self._send_to(*part) for part in by_node.items()))
        except FAILURES as error:
            _fail(calls, error)
        except BaseException:
            _fail(calls, ConnectionError("the store is closed"))
            raise

    async def _send_to(self, node: Node, calls: Sequence[_Call]) -> None:
        """One trip, and what the server sends elsewhere. It fails for its own calls alone."""
        try:
            unknown = await self._ask(node, calls)
            if unknown:
                # What the server did not know it has not run.
                await node.redis.script_load(self._source)
                await self._ask(node, unknown, again=True)
        except FAILURES as error:
            await node.note(error)
            _fail(calls, error)

    async def _ask(self, node: Node, calls: Sequence[_Call], *, again: bool = False) -> list[_Call]:
        """Give each call its answer; those whose script the server does not know come back."""
        unknown: list[_Call] = []
        for call, answer in zip(calls, await self._answers(node, calls), strict=True):
            if isinstance(answer, NoScriptError) and not again:
                unknown.append(call)
            elif isinstance(answer, (AskError, TryAgainError)):
                await self._ask_elsewhere(call)
            elif isinstance(answer, Exception):
                _fail([call], answer)
            elif not call.answer.done():
                call.answer.set_result(answer)
        return unknown

    async def _ask_elsewhere(self, call: _Call) -> None:
        """A call that was sent on or put off, and so not run."""
        command = (*self._command, len(call.keys), *call.keys, *call.args)
        try:
            answer = await self._servers.ask(call.key, *command, source=self._source)
        except FAILURES as error:
            _fail([call], error)
        else:
            if not call.answer.done():
                call.answer.set_result(answer)

    async def _answers(self, node: Node, calls: Sequence[_Call]) -> list[Any]:
        """What the server says to each call, be it an error.

        The library's pipeline does the same for any command, and takes longer over it. Its
        connection closes where an answer does not come: the next trip gets none of this one's.
        """
        packed = [_packed(*self._command, len(c.keys), *c.keys, *c.args) for c in calls]
        pool = node.redis.connection_pool
        connection: AbstractConnection = await pool.get_connection()
        try:
            await connection.send_packed_command(b"".join(packed))
            return [await _answer(connection) for _ in calls]
        finally:
            await pool.release(connection)


def _packed(*words: str | int) -> bytes:
    packed: bytes = pack_command(words)  # type: ignore[arg-type]  # it takes more than one
    return packed


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _fail(calls: Sequence[_Call], error: Exception) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
