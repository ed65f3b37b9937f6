"""Strangers who ask for more than there is, while a few known people go on with their work."""

import asyncio
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, CookieJar, TCPConnector
from yarl import URL

from sidecar.core.cookies import CookieJar as SidecarJar
from tests.chaos.people import API
from tests.chaos.replicas import Replica
from tests.chaos.run import STRICT, Place, place
from tests.world import Browser

MOST_CONNECTIONS = 300
TIMES = 10
SETTINGS = {
    "SIDECAR_MAX_CONNECTIONS": str(MOST_CONNECTIONS),
    "SIDECAR_HEAD_TIMEOUT": "5s",
    "SIDECAR_BODY_TIMEOUT": "5s",
}
UNKNOWN_COOKIES = int(os.environ.get("OVERLOAD_COOKIES", "10000"))
LOGINS = 1000
USERS = 4
TOKEN_SECONDS = 20.0
EACH_SECONDS = 8.0
_PAUSE_SECONDS = 0.2
_DRIBBLE_SECONDS = 0.5
_FLOODERS = 40


@dataclass
class Overload:
    """What known people were told during each attack and after all of them, and the memory."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    largest_mib: float = 0.0
    gave_way: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)

    def served(self, during: str) -> float:
        """The share of their requests that was answered as ever."""
        told = self.statuses[during]
        return told[200] / max(told.total(), 1)


async def overload(seed: int, *, logs: Path) -> Overload:
    """One attack after the other, on one replica."""
    found, dice = Overload(), random.Random(seed)
    async with place(
        STRICT, seed, logs=logs, users=USERS, token_seconds=TOKEN_SECONDS, more=SETTINGS
    ) as here:
        target = here.fleet.replicas[0]
        attacks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "connections": lambda: _crowd(target, found, b""),
            "slow heads": lambda: _crowd(target, found, b"GET / HTTP/1.1\r\nHost: a\r\nX: "),
            "slow bodies": lambda: _crowd(target, found, _BODY),
            "unknown cookies": lambda: _unknown(target, found, dice),
            "logins": lambda: _logins(target, found),
            "nothing": lambda: asyncio.sleep(EACH_SECONDS / 2),
        }
        for name, attack in attacks.items():
            found.statuses[name] = Counter()
            work = asyncio.ensure_future(_work(here, target, found.statuses[name]))
            await attack()
            work.cancel()
            await asyncio.wait({work})
            found.largest_mib = max(found.largest_mib, _resident_mib(target.pid))
        found.gave_way = await _metric(target, "connections_gave_way_total")
    return found


_BODY = b"POST /api/v1/session HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


async def _work(here: Place, target: Replica, told: Counter[int]) -> None:
    """Everybody asks again and again, over new connections as well as over their old one."""
    async with asyncio.TaskGroup() as people:
        for person in here.crowd.people:
            people.create_task(_asks(person.browser, target, told))


async def _asks(browser: Browser, target: Replica, told: Counter[int]) -> None:
    jar = browser.http.cookie_jar
    cookies = {each.key: each.value for each in jar.filter_cookies(URL(target.base)).values()}
    while True:
        async with ClientSession(cookies=cookies, cookie_jar=CookieJar(unsafe=True)) as fresh:
            for http in (browser.http, fresh):
                try:
                    answer = await Browser(http, target.base).get(API)
                    told[answer.status] += 1
                except (ClientError, ConnectionError, TimeoutError):
                    told[0] += 1
        await asyncio.sleep(_PAUSE_SECONDS)


async def _crowd(target: Replica, found: Overload, beginning: bytes) -> None:
    """Ten times as many connections as there may be, each with a byte now and then."""
    until = time.monotonic() + EACH_SECONDS
    async with asyncio.TaskGroup() as strangers:
        for _ in range(MOST_CONNECTIONS * TIMES):
            strangers.create_task(_dribble(target, found, beginning, until))
            await asyncio.sleep(0.0025)


async def _dribble(target: Replica, found: Overload, beginning: bytes, until: float) -> None:
    url = URL(target.base)
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        found.sent["connections"] += 1
        try:
            writer.write(beginning)
            while time.monotonic() < until and not reader.at_eof():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DRIBBLE_SECONDS):
                        if not await reader.read(4096):
                            break
                if beginning:
                    writer.write(b"a")
        finally:
            writer.close()


async def _unknown(target: Replica, found: Overload, dice: random.Random) -> None:
    """Cookies that were never given, each of another form of wrong."""
    left = iter(range(UNKNOWN_COOKIES))
    name = SidecarJar(target.base).session

    async def flood() -> None:
        connector = TCPConnector(limit=1)
        async with ClientSession(connector=connector) as http:
            for _ in left:
                cookie = f"{name}={dice.randbytes(60).hex()}"
                with suppress(ClientError, ConnectionError):
                    async with http.get(target.base + API, headers={"Cookie": cookie}) as answer:
                        await answer.read()
                        found.sent["cookies"] += 1

    await asyncio.gather(*(flood() for _ in range(_FLOODERS)))


async def _logins(target: Replica, found: Overload) -> None:
    left = iter(range(LOGINS))

    async def flood() -> None:
        async with ClientSession(connector=TCPConnector(limit=1)) as http:
            for _ in left:
                with suppress(ClientError, ConnectionError):
                    request = http.get(target.base + "/auth/login", allow_redirects=False)
                    async with request as answer:
                        await answer.read()
                        found.sent["logins"] += 1

    await asyncio.gather(*(flood() for _ in range(_FLOODERS)))


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


async def _metric(target: Replica, name: str) -> float:
    async with ClientSession() as http, http.get(f"{target.admin}/metrics") as answer:
        text = await answer.text()
    found = re.search(rf"^argocd_token_refresh_{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
