"""A fault of the store while people work: what they saw, for how long, and what was lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession

from tests.chaos.replicas import Fleet, addresses, fleet
from tests.chaos.upstream import upstream
from tests.hostile.client import Browsers, Hostile, browsers, hostile_provider
from tests.system.process import until_ready
from tests.world import KEYS, Browser

NAMES = ("ann", "ben")
BUSY, IDLE = 12, 12
PAUSE_SECONDS = 0.4
TOKEN_SECONDS = 8.0
SETTLED_SECONDS = 30.0
AT_ONCE = 4
STORY_SECONDS = 90.0
LOGIN_TRIES = 5
API = "/api/v1/applications"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A store for a story: how the sidecar reaches it, and what a fault does to it."""

    environment: dict[str, str]
    fault: Callable[[], Awaitable[None]]


Setting = Callable[[], AbstractAsyncContextManager[Place]]


@dataclass(frozen=True, kw_only=True)
class Story:
    """One row of the table."""

    name: str
    title: str
    setting: Setting
    loses_idle: bool = False
    """Whether sessions that nobody has used lately may be lost."""
    short: bool = False
    """Whether CI tells it; the others differ in what the adapters' tests see, too."""
    kills: bool = False
    """Whether one of the two replicas is killed at the same moment."""
    heals: bool = False
    """Whether what people use is lost, too, so that it has to be put back."""


@dataclass
class Outcome:
    """What a story came to. Seconds are of the machine that it ran on."""

    name: str
    title: str
    fault_seconds: float = 0.0
    requests: int = 0
    refused: int = 0
    """Answers of 503, with Retry-After."""
    longest_without: float = 0.0
    """For how long, at most, one person in use got nothing but 503."""
    slowest: float = 0.0
    busy_lost: int = 0
    idle_lost: int = 0
    reuses: int = 0
    renewals: int = 0
    put_back: int = 0
    """Records of people in use that the store had lost."""
    strange: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return asdict(self)


@dataclass
class Person:
    """Somebody who asks again and again, now here, now there."""

    name: str
    browser: Browser
    fleet: Fleet
    outcome: Outcome
    over: bool = False
    good_since: float = 0.0
    """Since when there have been good answers only; 0 after a bad one."""
    _bad_since: float = 0.0
    _turn: int = 0

    async def work(self) -> None:
        """Ask until it is over."""
        while not self.over:
            await self.ask()
            await asyncio.sleep(PAUSE_SECONDS)

    async def ask(self) -> int:
        """One request; the status, 0 where none came."""
        self._turn += 1
        replica = self.fleet.replicas[self._turn % len(self.fleet.replicas)]
        began_at = time.monotonic()
        status = 0
        with suppress(ClientError, ConnectionError, TimeoutError):
            answer = await Browser(self.browser.http, replica.base).get(API)
            status = answer.status
            if status == 503 and "Retry-After" not in answer.headers:
                self.outcome.strange.append("503 without Retry-After")
        self._note(status, began_at)
        return status

    def _note(self, status: int, began_at: float) -> None:
        now = time.monotonic()
        self.outcome.requests += 1
        self.outcome.slowest = max(self.outcome.slowest, now - began_at)
        if status == 200:
            if self._bad_since:
                lasted = now - self._bad_since
                self.outcome.longest_without = max(self.outcome.longest_without, lasted)
            self._bad_since = 0.0
            self.good_since = self.good_since or now
            return
        self._bad_since = self._bad_since or began_at
        self.good_since = 0.0
        if status == 503:
            self.outcome.refused += 1
        elif status in (302, 303, 401):
            if self.name not in self.outcome.strange:
                self.outcome.busy_lost += 1
                self.outcome.strange.append(self.name)
            self.over = True
        else:
            self.outcome.strange.append(f"status {status}")


async def told(story: Story, logs: Path) -> Outcome:
    """What comes of a story."""
    outcome = Outcome(story.name, story.title)
    async with AsyncExitStack() as owned:
        place: Place = await owned.enter_async_context(story.setting())
        here, hostile = await owned.enter_async_context(_replicas(place, logs / story.name))
        many = await owned.enter_async_context(browsers())
        base = here.replicas[0].base
        idle = await _logged_in(many, base, [f"idle-{n}" for n in range(IDLE)])
        # Who has not been used for a minute is known to no replica: these have just begun.
        await asyncio.gather(*(replica.kill() for replica in here.replicas))
        await asyncio.gather(*(until_ready(replica.admin) for replica in here.replicas))
        names = [f"busy-{n}" for n in range(BUSY)]
        made = await _logged_in(many, base, names)
        people = [Person(n, b, here, outcome) for n, b in zip(names, made, strict=True)]
        async with asyncio.TaskGroup() as beside:
            for person in people:
                beside.create_task(person.work())
            await _all_good(people)
            began_at = time.monotonic()
            if story.kills:
                await here.replicas[1].kill()
            await place.fault()
            outcome.fault_seconds = time.monotonic() - began_at
            await _all_good(people, hostile)
            for person in people:
                person.over = True
        outcome.put_back = await _put_back(here)
        await _count_idle(idle, here, outcome)
        log = await hostile.log()
        outcome.reuses = sum(entry.kind == "reuse" for entry in log)
        outcome.renewals = sum(entry.kind == "refresh" for entry in log)
    return outcome


async def told_some(stories: Sequence[Story], logs: Path) -> AsyncIterator[Outcome]:
    """What comes of these, some told at once: most of each is waiting."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def tell(story: Story) -> Outcome:
        async with turn:
            try:
                async with asyncio.timeout(STORY_SECONDS):
                    return await told(story, logs)
            except Exception as error:
                return Outcome(story.name, story.title, strange=[repr(error)[:500]])

    for telling in asyncio.as_completed([tell(story) for story in stories]):
        yield await telling


@asynccontextmanager
async def _replicas(place: Place, logs: Path) -> AsyncIterator[tuple[Fleet, Hostile]]:
    addressed = addresses(NAMES)
    public_url = "http://" + addressed[NAMES[0]]["SIDECAR_LISTEN"]
    async with AsyncExitStack() as owned:
        argocd = await owned.enter_async_context(upstream())
        hostile = await owned.enter_async_context(
            hostile_provider(
                redirect_uris=[f"{public_url}/auth/callback"],
                id_token_seconds=TOKEN_SECONDS,
                reuse_window_seconds=0,
                replicas=NAMES,
            )
        )
        common = {
            "SIDECAR_UPSTREAM": argocd.address,
            "SIDECAR_PUBLIC_URL": public_url,
            "SIDECAR_ISSUER": hostile.issuer,
            "SIDECAR_CLIENT_ID": hostile.client_id,
            "SIDECAR_SESSION_KEYS": KEYS,
            **place.environment,
        }
        environments = {
            name: {**common, **own, "SIDECAR_CLIENT_SECRET": hostile.client_secret(name)}
            for name, own in addressed.items()
        }
        made = await owned.enter_async_context(fleet(environments, logs))
        yield made, hostile


async def _all_good(people: list[Person], hostile: Hostile | None = None) -> None:
    """Until all who still work have good answers, and at this provider a token renewed since."""
    after = len(await hostile.log()) if hostile else 0
    renewed: set[str] = set()
    waiting = list(people)
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLED_SECONDS):
            while waiting:
                await asyncio.sleep(0.1)
                if hostile:
                    log = await hostile.log(after=after, kind="refresh")
                    renewed = {entry.user for entry in log}
                waiting = [
                    person
                    for person in people
                    if not person.over
                    and not (person.good_since and (not hostile or person.name in renewed))
                ]
    for person in waiting:
        person.outcome.strange.append(f"{person.name} does not come to rest")


async def _logged_in(many: Browsers, base: str, names: Sequence[str]) -> list[Browser]:
    """A browser for each. On a busy machine a login may be told to come again, as a person is."""

    async def logged_in(name: str) -> Browser:
        for _ in range(LOGIN_TRIES - 1):
            with suppress(AssertionError, KeyError):
                return await many.logged_in(base, name)
            await asyncio.sleep(0.5)
        return await many.logged_in(base, name)

    return await asyncio.gather(*(logged_in(name) for name in names))


async def _count_idle(idle: list[Browser], here: Fleet, outcome: Outcome) -> None:
    """Those who come back only now, all at once."""

    async def comes_back(number: int, browser: Browser) -> bool:
        person = Person(f"idle-{number}", browser, here, Outcome("", ""))
        status = await person.ask()
        for _ in range(20):
            if status not in (0, 503):
                break
            await asyncio.sleep(0.25)
            status = await person.ask()
        return status == 200

    found = await asyncio.gather(*(comes_back(*each) for each in enumerate(idle)))
    outcome.idle_lost = found.count(False)


async def _put_back(here: Fleet) -> int:
    """What the replicas say of it."""
    total = 0.0
    async with ClientSession() as http:
        for replica in here.replicas:
            async with http.get(f"{replica.admin}/metrics") as answer:
                for line in (await answer.text()).splitlines():
                    if line.startswith("argocd_token_refresh_put_back_total{"):
                        total += float(line.rpartition(" ")[2])
    return int(total)
