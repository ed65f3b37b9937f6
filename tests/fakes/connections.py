"""What servers between two others share: connections that end with them, and bytes both ways."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any


class Connections(ABC):
    """The connections of a server, each served by `_serve` until it ends or all are cut."""

    def __init__(self) -> None:
        self._connections: set[asyncio.Task[None]] = set()

    async def cut_all(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # an end like any other
        finally:
            self._connections.discard(task)
            writer.close()


async def both_ways(ours: asyncio.StreamWriter, *ways: Coroutine[Any, Any, None]) -> None:
    """Go both ways until one has ended; then `ours` is closed."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ours.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
