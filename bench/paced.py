"""`python -m bench.paced`: so many requests a second, whether the answers come or not.

Each request has its instant. Its time counts from then, so an answer that is late makes those
behind it late too, as it would people who do not wait for each other. What the load itself was
late by is said beside it: that is not the server's.
"""

import ctypes
import gc
import json
import re
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GRACE_SECONDS = 2.0  # for the last answers
_NUMBERS = 1009  # prime: no connection gets the same ones in turn
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_PR_SET_TIMERSLACK = 29


@dataclass(slots=True)
class _Line:
    """A connection, with the request that waits on it."""

    socket: socket.socket
    due_at: float = 0.0
    left: int = 0
    """Of the answer's bytes; 0 before its head."""


class Paced:
    """One run against one server."""

    def __init__(self, port: int, heads: list[bytes], connections: int) -> None:
        self._heads = heads
        self._lines = [_Line(_connected(port)) for _ in range(connections)]
        self._idle = deque(self._lines)
        self._poll = select.epoll()
        for line in self._lines:
            self._poll.register(line.socket, select.EPOLLIN)
        self._by_file = {line.socket.fileno(): line for line in self._lines}
        self.took: list[float] = []
        self.late: list[float] = []

    def run(self, rate: float, seconds: float) -> None:
        """Send at every instant on a connection that has nothing to do, or on the next that has."""
        began_at = time.perf_counter() + 0.05
        ends_at = began_at + seconds + _GRACE_SECONDS
        asked, all_of_them = 0, int(rate * seconds)
        while len(self.took) < all_of_them:
            now = time.perf_counter()
            if now > ends_at:
                return
            while asked < all_of_them and (due_at := began_at + asked / rate) <= now and self._idle:
                self._send(self._idle.popleft(), due_at, self._heads[asked % len(self._heads)])
                asked += 1
            until = began_at + asked / rate if self._idle and asked < all_of_them else ends_at
            # epoll waits in whole milliseconds, which is four requests at 4,000 a second.
            select.select([self._poll], [], [], max(until - time.perf_counter(), 0))
            for file, _ in self._poll.poll(0):
                self._receive(self._by_file[file])

    def _send(self, line: _Line, due_at: float, head: bytes) -> None:
        line.due_at = due_at
        line.socket.send(head)
        self.late.append(time.perf_counter() - due_at)

    def _receive(self, line: _Line) -> None:
        data = line.socket.recv(262144)
        if not data:
            raise RuntimeError("the server has closed a connection")
        if line.left:
            line.left -= len(data)
        else:
            line.left = self._length(data) - len(data)
        if line.left == 0:
            self.took.append(time.perf_counter() - line.due_at)
            self._idle.append(line)

    def _length(self, data: bytes) -> int:
        """How many bytes an answer has, of which these are the first; its head is among them."""
        end = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, end + 2)
        if data[9:12] != b"200" or length is None:
            raise RuntimeError(f"an answer that is not 200 with a length: {data[:80]!r}")
        return end + 4 + int(length[1])


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=20)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _heads(head: str, numbered: bool, cookies: str) -> list[bytes]:
    """What the requests take turns with: one, or many with a number or a Cookie field of their own.

    `cookies` is the file that has the fields, one on each line, or "".
    """
    if cookies:
        start = head.removesuffix("\r\n")
        lines = Path(cookies).read_text().splitlines()
        return [f"{start}Cookie: {line}\r\n\r\n".encode() for line in lines]
    if not numbered:
        return [head.encode()]
    start = head.removesuffix("\r\n")
    return [f"{start}X-Request-ID: {number:032x}\r\n\r\n".encode() for number in range(_NUMBERS)]


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """What a run gave, in microseconds."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # else each wait takes 50 more
    heads = _heads(asked["head"], asked["numbered"], asked.get("cookies", ""))
    load = Paced(asked["port"], heads, asked["connections"])
    gc.collect()
    gc.disable()
    load.run(asked["rate"], asked["seconds"])
    return {
        "asked": len(load.late),
        "answered": len(load.took),
        "p50_us": _percentile(load.took, 0.5) * 1e6,
        "p99_us": _percentile(load.took, 0.99) * 1e6,
        "late_p99_us": _percentile(load.late, 0.99) * 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
