"""A real sidecar with one link that has a fault, and what its users see meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientError, ClientTimeout

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.valkey import valkey
from tests.chaos.replicas import Replica, addresses, new_log, nursery
from tests.faults.plan import LOSSY, Fault, Kind, Timed, Way
from tests.faults.proxy import FaultProxy
from tests.hostile.client import Browsers, Hostile, browsers, hostile_provider
from tests.hostile.log import Entry
from tests.system.process import until_ready
from tests.world import KEYS, Browser, system_now

API = "/api/v1/applications"
PAGE_REQUESTS = 3
LOOK_EVERY_SECONDS = 0.3
TOKEN_SECONDS = 5.0
FAULT_SECONDS = 6.0  # longer than a token lives
WELL_WITHIN_SECONDS = 40.0  # a lease that nobody gives back has 22
BROWSER_SECONDS = 40.0
PROVIDER, STORE, UPSTREAM = LINKS = ("provider", "store", "upstream")
SERVED = 200
UNHEARD = 0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A link, and what befalls it."""

    link: str
    fault: Fault

    @property
    def name(self) -> str:
        """The replica's name, and the test's."""
        return f"{self.link}-{self.fault.kind}-{self.fault.way}"

    @property
    def loses_answers(self) -> bool:
        """Whether the provider may have answered what nobody heard."""
        answers = self.fault.way is Way.ANSWERS and self.fault.kind in LOSSY
        return self.link == PROVIDER and answers


@dataclass(frozen=True)
class Seen:
    """An answer, when it came and after how long; `UNHEARD` is none."""

    at: float
    status: int
    seconds: float
    retry_after: str


@dataclass
class Outcome:
    """What a case's user saw, what the provider has written about them, and what was lost."""

    during: list[Seen] = field(default_factory=list)
    afterwards: list[Seen] = field(default_factory=list)
    log: Sequence[Entry] = ()
    lost_ports: frozenset[int] = frozenset()

    def statuses(self) -> set[int]:
        """All that was seen."""
        return {each.status for each in (*self.during, *self.afterwards)}

    def longest_seconds(self) -> float:
        """The longest wait."""
        return max(each.seconds for each in (*self.during, *self.afterwards))


@dataclass(frozen=True)
class Place:
    """What all cases share."""

    hostile: Hostile
    browsers: Browsers

    async def story(self, case: Case, replica: Replica, proxy: FaultProxy) -> Outcome:
        """Somebody who goes on working while the fault lasts, and afterwards."""
        found = Outcome()
        person = await self._logged_in(replica, case.name)
        if case.fault.kind is Kind.HALF_OPEN:
            await proxy.cut_all()  # it befalls new connections only
        plan = [Timed(at=0.0, until=FAULT_SECONDS, fault=case.fault)]
        following = asyncio.ensure_future(proxy.follow(plan))
        while not following.done():
            found.during += await _page(person)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        until = time.monotonic() + WELL_WITHIN_SECONDS
        while time.monotonic() < until:
            page = await _page(person)
            found.afterwards += page
            if {each.status for each in page} <= {SERVED, 401}:
                break
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        found.log = await self.hostile.log(user=case.name)
        found.lost_ports = frozenset(each.server_port for each in proxy.losses)
        return found

    async def _logged_in(self, replica: Replica, name: str) -> Browser:
        """Somebody who is served; a busy machine may need several tries."""
        async with asyncio.timeout(WELL_WITHIN_SECONDS):
            while True:
                with suppress(AssertionError, KeyError):
                    person = await self.browsers.logged_in(replica.base, name)
                    if {each.status for each in await _page(person)} == {SERVED}:
                        return person
                await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _page(person: Browser) -> list[Seen]:
    """A page's requests at once."""
    return await asyncio.gather(*(_asked(person) for _ in range(PAGE_REQUESTS)))


async def _asked(person: Browser) -> Seen:
    began_at = time.monotonic()
    status, retry_after = UNHEARD, ""
    with suppress(ClientError, TimeoutError):
        answer = await person.get(API, timeout=ClientTimeout(total=BROWSER_SECONDS))
        status, retry_after = answer.status, answer.headers.get("Retry-After", "")
    at = time.monotonic()
    return Seen(at, status, at - began_at, retry_after)


@asynccontextmanager
async def outcomes(cases: Sequence[Case], logs: Path) -> AsyncIterator[Mapping[str, Outcome]]:
    """All cases at once, each with a sidecar, a database and proxies of its own."""
    names = [case.name for case in cases]
    addressed = addresses(names)
    callbacks = [f"http://{each['SIDECAR_LISTEN']}/auth/callback" for each in addressed.values()]
    async with AsyncExitStack() as owned:
        store = await owned.enter_async_context(valkey("--databases", str(len(cases))))
        hostile = await owned.enter_async_context(
            hostile_provider(redirect_uris=callbacks, id_token_seconds=TOKEN_SECONDS)
        )
        argocd = Argocd(
            ArgocdSettings(issuer=hostile.issuer, url=hostile.issuer, event_seconds=None),
            # A little behind: it is no fault of the sidecar's if this machine is slow.
            now=lambda: system_now() - 1,
        )
        upstream = await owned.enter_async_context(argocd.running())
        started_by = await owned.enter_async_context(nursery())
        servers = {
            PROVIDER: hostile.issuer.removeprefix("http://"),
            STORE: store,
            UPSTREAM: upstream.removeprefix("http://"),
        }
        replicas, proxies = [], []
        for number, case in enumerate(cases):
            proxy = FaultProxy(servers[case.link])
            behind = await owned.enter_async_context(proxy.running())
            common = {
                "SIDECAR_PUBLIC_URL": "http://" + addressed[case.name]["SIDECAR_LISTEN"],
                "SIDECAR_UPSTREAM": upstream,
                "SIDECAR_ISSUER": hostile.issuer,
                "SIDECAR_PROVIDER": "generic",
                "SIDECAR_PROVIDER_TIMEOUT": "3s",  # its lease follows from it
                "SIDECAR_CLIENT_ID": hostile.client_id,
                "SIDECAR_CLIENT_SECRET": hostile.client_secret(),
                "SIDECAR_STORE_URL": f"{store}?db={number}",
                "SIDECAR_SESSION_KEYS": KEYS,
            }
            through = {
                PROVIDER: {"SIDECAR_ISSUER_INTERNAL_URL": f"http://{behind}"},
                STORE: {"SIDECAR_STORE_URL": f"redis://{behind}/{number}"},
                UPSTREAM: {"SIDECAR_UPSTREAM": f"http://{behind}"},
            }[case.link]
            environment = {**common, **addressed[case.name], **through}
            replica = Replica(case.name, environment, new_log(logs, case.name), started_by)
            await replica.start()
            replicas.append(replica)
            proxies.append(proxy)
        await asyncio.gather(*(until_ready(replica.admin) for replica in replicas))
        place = Place(hostile, await owned.enter_async_context(browsers()))
        found = await asyncio.gather(
            *(place.story(*each) for each in zip(cases, replicas, proxies, strict=True))
        )
        yield dict(zip(names, found, strict=True))


def every_case() -> list[Case]:
    """Each link with each kind of fault."""
    return [Case(link=link, fault=fault) for link in LINKS for fault in _every_fault(link)]


def _every_fault(link: str) -> list[Fault]:
    """Each kind, and where the way makes a difference, each way."""
    small = {Kind.DELAY: 1.5, Kind.REORDER: 2.0}
    found = []
    for kind in Kind:
        ways = list(Way) if kind in (Kind.CUT, Kind.SILENT) else [Way.ANSWERS]
        for way in ways:
            seconds = small.get(kind, 0.0) / (4 if link == STORE else 1)
            found.append(Fault(kind=kind, way=way, seconds=seconds, bytes_per_second=4000))
    return found
