"""People with browsers' habits, and the Ingress between them and the replicas."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientTimeout,
    WSMsgType,
    WSServerHandshakeError,
)
from multidict import CIMultiDict, CIMultiDictProxy

from tests.chaos.replicas import Fleet, Replica
from tests.chaos.upstream import STREAM
from tests.hostile.client import Browsers, log_in
from tests.soak.judge import Forced
from tests.soak.tally import Tally
from tests.soak.upstream import TERMINAL
from tests.world import PAGE, Browser

PAGE_PATHS = (
    "/api/v1/applications?fields=items.metadata.name",
    "/api/v1/applications",
    "/api/v1/clusters",
    "/api/v1/projects",
    "/api/v1/repositories",
    "/api/v1/account/can-i/projects/create/*",
)
PAUSE_SECONDS = (4.0, 12.0)
TAB_SECONDS, TERMINAL_SECONDS, SLEEP_SECONDS = (15.0, 60.0), (8.0, 30.0), (60.0, 180.0)
LINE_EVERY_SECONDS, ECHO_SECONDS = 3.0, 20.0
RECONNECT_SECONDS = 1.0
BROWSER = ClientTimeout(total=45, sock_connect=5)
TRIES = 4
AGAIN_SECONDS = (0.1, 0.4)
SECOND_DEVICES = 3  # every third has one
_LATER = (502, 503, 504)


@dataclass
class Crowd:
    """Everybody, and what they were told."""

    fleet: Fleet
    browsers: Browsers
    public_url: str
    dice: random.Random
    latest_grant: Callable[[str], Awaitable[int]]
    """The grant of somebody's last login."""
    forced: Callable[[Forced], None]
    tally: Tally = field(default_factory=Tally)
    devices: list["Device"] = field(default_factory=list)
    over: bool = False

    async def arrive(self, users: int) -> None:
        """Everybody has a browser, some have another one, and the first ones are logged in."""
        for number in range(users):
            alone = asyncio.Lock()
            for _ in range(1 if number % SECOND_DEVICES else 2):
                browser = await self.browsers.new("")
                self.devices.append(Device(f"user-{number}", browser, self, alone))
        firsts = {each.name: each for each in reversed(self.devices)}
        await asyncio.gather(*(self._arrives(each) for each in firsts.values()))

    async def _arrives(self, device: "Device") -> None:
        async with self.browsers.at_once:
            await device.log_in()

    async def live(self) -> None:
        """Everybody goes by their habits until cancelled."""
        async with asyncio.TaskGroup() as everybody:
            for device in self.devices:
                everybody.create_task(device.live())

    def replica(self) -> Replica:
        """One of those that a readiness probe finds."""
        return self.dice.choice(self.fleet.in_service() or list(self.fleet.replicas))


@dataclass
class Device:
    """One browser of somebody; `alone` keeps logins of a person apart, to tell their grants."""

    name: str
    browser: Browser
    crowd: Crowd
    alone: asyncio.Lock
    grant: int = 0
    logged_in: bool = False
    logins: int = 0

    async def live(self) -> None:
        """One habit after another."""
        dice = self.crowd.dice
        await asyncio.sleep(dice.uniform(0, PAUSE_SECONDS[1]))
        while not self.crowd.over:
            if not self.logged_in:
                await asyncio.sleep(dice.uniform(*PAUSE_SECONDS) * 2)
                await self.log_in()
            habits = (self._works, self._idles, self._has_a_terminal, self._sleeps, self._leaves)
            [habit] = dice.choices(habits, weights=(55, 20, 12, 9, 4))
            await habit()

    async def log_in(self) -> None:
        """Until it has worked."""
        dice = self.crowd.dice
        async with self.alone:
            while not self.crowd.over:
                base = self.crowd.replica().base
                with suppress(ClientError, ConnectionError, TimeoutError, AssertionError, KeyError):
                    async with asyncio.timeout(BROWSER.total):
                        await log_in(Browser(self.browser.http, base), self.name)
                    break
                self.crowd.tally.habits["logins_tried_again"] += 1
                await asyncio.sleep(dice.uniform(1.0, 3.0))
            self.grant = await self.crowd.latest_grant(self.name)
            self.logins += 1
            self.logged_in = True
            self.crowd.tally.habits["logins"] += 1

    async def _works(self) -> None:
        """A page after another: a document, and then its requests at once."""
        dice = self.crowd.dice
        for _ in range(dice.randint(1, 5)):
            await self._loads()
            await asyncio.sleep(dice.uniform(*PAUSE_SECONDS))

    async def _loads(self) -> None:
        self.crowd.tally.habits["pages"] += 1
        await self._asks("/applications", page=True)
        async with asyncio.TaskGroup() as at_once:
            for path in PAGE_PATHS:
                at_once.create_task(self._asks(path))

    async def _idles(self) -> None:
        """A tab with an event stream that is opened again whenever it ends, and nothing else."""
        until = time.monotonic() + self.crowd.dice.uniform(*TAB_SECONDS)
        self.crowd.tally.habits["idle_tabs"] += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic()):
                while self.logged_in and not self.crowd.over:
                    await self._streams()
                    await asyncio.sleep(RECONNECT_SECONDS)

    async def _streams(self) -> None:
        as_of = self.logins
        url, as_events = (
            self.crowd.replica().base + STREAM.decode(),
            {"Accept": "text/event-stream"},
        )
        limits = ClientTimeout(total=None, sock_connect=5)
        with suppress(ClientError, ConnectionError):
            async with self.browser.http.get(url, headers=as_events, timeout=limits) as answer:
                if answer.status != 200:
                    await self._is_told(answer.status, answer.headers, as_of, STREAM.decode())
                    return
                self.crowd.tally.habits["streams"] += 1
                async for _ in answer.content.iter_any():
                    pass
        self.crowd.tally.habits["streams_ended"] += 1

    async def _has_a_terminal(self) -> None:
        """A line now and then, which comes back."""
        until = time.monotonic() + self.crowd.dice.uniform(*TERMINAL_SECONDS)
        tally, as_of = self.crowd.tally, self.logins
        url = self.crowd.replica().base + TERMINAL
        try:
            async with (
                asyncio.timeout(BROWSER.total) as opening,
                self.browser.http.ws_connect(url, origin=self.crowd.public_url) as terminal,
            ):
                opening.reschedule(None)
                tally.habits["terminals"] += 1
                for number in count():
                    if time.monotonic() > until or self.crowd.over:
                        return
                    await terminal.send_str(f"{self.name} {number}")
                    said = await terminal.receive(ECHO_SECONDS)
                    if said.type is not WSMsgType.TEXT:
                        break
                    if said.data != f"{self.name} {number}":
                        tally.note_strange(f"a terminal of {self.name} says {said.data!r:.100}")
                    await asyncio.sleep(LINE_EVERY_SECONDS)
        except WSServerHandshakeError as refused:
            headers = CIMultiDictProxy(CIMultiDict(refused.headers or {}))
            await self._is_told(refused.status, headers, as_of, TERMINAL)
            return
        except (ClientError, ConnectionError, TimeoutError):
            pass
        tally.habits["terminals_broken"] += 1

    async def _sleeps(self) -> None:
        """A laptop's lid is closed; opened again, all its tabs ask at once."""
        await asyncio.sleep(self.crowd.dice.uniform(*SLEEP_SECONDS))
        self.crowd.tally.habits["woken"] += 1
        async with asyncio.TaskGroup() as at_once:
            for _ in range(4):
                at_once.create_task(self._loads())

    async def _leaves(self) -> None:
        """A logout."""
        self.logged_in = False
        self.logins += 1
        with suppress(ClientError, ConnectionError, TimeoutError):
            await Browser(self.browser.http, self.crowd.replica().base).get(
                "/auth/logout", timeout=BROWSER
            )
        self.crowd.tally.habits["logouts"] += 1

    async def _asks(self, path: str, *, page: bool = False) -> None:
        """As an Ingress asks: whoever does not answer is left for another replica."""
        tally, as_of = self.crowd.tally, self.logins
        for _ in range(TRIES):
            if self.crowd.over or as_of != self.logins:
                return
            began_at = time.monotonic()
            try:
                answer = await Browser(self.browser.http, self.crowd.replica().base).get(
                    path, timeout=BROWSER, headers=PAGE if page else {}
                )
            except ClientConnectorError:
                tally.unheard["refused"] += 1
            except (ClientError, ConnectionError):
                tally.unheard["broken_off"] += 1
            except TimeoutError:
                tally.unheard["timeout"] += 1
            else:
                tally.waits.add(time.monotonic() - began_at)
                await self._is_told(answer.status, answer.headers, as_of, path)
                return
            await asyncio.sleep(self.crowd.dice.uniform(*AGAIN_SECONDS))

    async def _is_told(
        self, status: int, headers: CIMultiDictProxy[str], as_of: int, path: str
    ) -> None:
        tally = self.crowd.tally
        tally.statuses[status] += 1
        if status == 401 or "/auth/login" in headers.get("Location", ""):
            await self._is_out(as_of, f"{status} at {path}")
        elif status in _LATER:
            tally.without_retry_after += "Retry-After" not in headers
        elif status != 200:
            tally.note_strange(f"{status} at {path} for {self.name}")

    async def _is_out(self, as_of: int, how: str) -> None:
        """Once for each login; what is told after a logout of one's own is none."""
        if as_of != self.logins or not self.logged_in:
            return
        self.logged_in = False
        at = time.monotonic()
        self.crowd.forced(Forced(user=self.name, grant=self.grant, at=at, how=how))
        await self.log_in()
