"""A Sentinel that says what a test wants to be said."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HOST = "127.0.0.1"


@dataclass
class Watcher:
    """Answers SENTINEL MASTER; without a port it knows no such primary."""

    port: int = 0
    primary: int = 0
    epoch: int = 1
    flags: str = "master"
    password: str = ""
    hangs: bool = False
    asked: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def host(self) -> str:
        return f"{HOST}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        known = not self.password
        try:
            while words := await _command(reader):
                if self.hangs:
                    await reader.read()
                    return
                if words[0] == "AUTH":
                    known = words[1:] == [self.password]
                    writer.write(b"+OK\r\n" if known else b"-WRONGPASS invalid password\r\n")
                else:
                    writer.write(self._answer(words) if known else b"-NOAUTH log in first\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, words: list[str]) -> bytes:
        self.asked += 1
        if not self.primary:
            return b"-ERR No such master with that name\r\n"
        said = {
            "name": words[2],
            "ip": HOST,
            "port": str(self.primary),
            "flags": self.flags,
            "config-epoch": str(self.epoch),
        }
        parts = [part for pair in said.items() for part in pair]
        body = "".join(f"${len(part)}\r\n{part}\r\n" for part in parts)
        return f"*{len(parts)}\r\n{body}".encode()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


async def _command(reader: asyncio.StreamReader) -> list[str]:
    head = await reader.readline()
    if not head:
        return []
    words = []
    for _ in range(int(head[1:])):
        length = int((await reader.readline())[1:])
        words.append((await reader.readexactly(length + 2))[:-2].decode())
    return words


@asynccontextmanager
async def watchers(number: int) -> AsyncIterator[list[Watcher]]:
    """So many of them."""
    made, open_ = [], []
    for _ in range(number):
        watcher = Watcher()
        server = await asyncio.start_server(watcher.serve, HOST, 0)
        watcher.port = server.sockets[0].getsockname()[1]
        made.append(watcher)
        open_.append(server)
    try:
        yield made
    finally:
        for watcher, server in zip(made, open_, strict=True):
            server.close()
            watcher.close()
