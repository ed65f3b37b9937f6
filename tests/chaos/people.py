"""People whose browsers ask for several things at once, and the Ingress in front of them."""

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import ClientConnectorError, ClientError, ClientResponse
from yarl import URL

from tests.chaos.evidence import Answers, Asked, ForcedLogin
from tests.chaos.replicas import Fleet
from tests.hostile.client import Browsers, log_in
from tests.world import Browser

API = "/api/v1/applications"
TABS = 2
REQUESTS_AT_ONCE = (1, 3)
PAUSE_SECONDS = (0.6, 1.8)
AGAIN_SECONDS = 0.15
_SEEN_STATUSES = (200, 401, 503)


@dataclass
class Crowd:
    """Everybody, and what they were told."""

    fleet: Fleet
    dice: random.Random
    answers: Answers = field(default_factory=Answers)
    forced_logins: list[ForcedLogin] = field(default_factory=list)
    people: list["Person"] = field(default_factory=list)
    over: bool = False
    """Set beside the cancellation, which a library may lose among its own timeouts."""

    async def arrive(self, browsers: Browsers, names: list[str]) -> None:
        """Everybody logs in."""
        first = self.fleet.replicas[0].base
        made = await browsers.all_logged_in(lambda _: first, names)
        self.people = [Person(n, b, self) for n, b in zip(names, made, strict=True)]

    async def work(self) -> None:
        """Use Argo CD until cancelled."""
        async with asyncio.TaskGroup() as tabs:
            for person in self.people:
                for _ in range(TABS):
                    tabs.create_task(person.tab())

    async def look_everywhere(self, seconds: float) -> None:
        """Let every replica in service have had a request of everybody, answered or not.

        What a store loses is put back by replicas that know of it, and who has just been killed
        knows of nobody.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as at_once:
                for person in self.people:
                    for replica in self.fleet.in_service():
                        at_once.create_task(_look(Browser(person.browser.http, replica.base)))

    async def ask(self, browser: Browser, path: str, *, user: str) -> ClientResponse:
        """An answer, as an Ingress gets it: whoever does not answer is left for another replica."""
        while True:
            if self.over:
                raise asyncio.CancelledError
            replica = self.dice.choice(self.fleet.in_service())
            try:
                answer = await Browser(browser.http, replica.base).get(path)
                asked = Asked(time.monotonic(), user, replica.name, answer.status)
                self.answers.asked.append(asked)
                return answer
            except ClientConnectorError:
                self.answers.unheard["refused"] += 1
            except (ClientError, ConnectionError):
                self.answers.unheard["broken_off"] += 1
            except TimeoutError:
                self.answers.unheard["timeout"] += 1
            await asyncio.sleep(AGAIN_SECONDS)


async def _look(browser: Browser) -> None:
    with suppress(ClientError, ConnectionError):
        await browser.get(API)


@dataclass
class Person:
    """One browser with some tabs."""

    name: str
    browser: Browser
    crowd: Crowd
    logins: int = 1
    _logging_in: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def tab(self) -> None:
        """Ask for a few things at once, again and again."""
        dice = self.crowd.dice
        while not self.crowd.over:
            await asyncio.sleep(dice.uniform(*PAUSE_SECONDS))
            number = dice.randint(*REQUESTS_AT_ONCE)
            async with asyncio.TaskGroup() as at_once:
                for _ in range(number):
                    at_once.create_task(self._ask())

    async def _ask(self) -> None:
        as_of = self.logins
        answer = await self.crowd.ask(self.browser, API, user=self.name)
        said = self.crowd.answers
        said.statuses[answer.status] += 1
        location = answer.headers.get("Location", "")
        if answer.status == 401 or "/auth/login" in location:
            await self._log_in_again(as_of, f"{answer.status} {URL(location).path}".strip())
        elif answer.status == 503:
            said.without_retry_after += "Retry-After" not in answer.headers
        elif answer.status not in _SEEN_STATUSES:
            said.strange.append(f"{answer.status} for {self.name}: {await answer.text()!r:.200}")

    async def _log_in_again(self, as_of: int, how: str) -> None:
        """Once for each login: what other tabs are told of the same one does not count again."""
        at = time.monotonic()
        async with self._logging_in:
            if as_of != self.logins:
                return
            self.crowd.forced_logins.append(ForcedLogin(user=self.name, at=at, how=how))
            while as_of == self.logins and not self.crowd.over:
                replica = self.crowd.dice.choice(self.crowd.fleet.in_service())
                with suppress(ClientError, ConnectionError, TimeoutError, AssertionError, KeyError):
                    await log_in(Browser(self.browser.http, replica.base), self.name)
                    self.logins += 1
