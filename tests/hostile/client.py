"""A hostile provider in a process of its own, and browsers that log in quickly."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, CookieJar, TCPConnector
from yarl import URL

from sidecar.demo.valkey import ended
from tests.hostile.log import Entry
from tests.hostile.provider import secret_of
from tests.hostile.rules import Rule
from tests.world import Browser

ROOT = Path(__file__).parents[2]
START_SECONDS = STOP_SECONDS = 20.0


class ControlRefused(Exception):
    """The provider does not understand a command; the message says why."""


@dataclass(frozen=True, kw_only=True)
class GrantState:
    """A grant at the provider, with the SHA-256 of its newest refresh token."""

    number: int
    user: str
    ended: bool
    generation: int
    sha256: str


@dataclass(frozen=True)
class Hostile:
    """The handle of a running hostile provider."""

    issuer: str
    control: str
    _http: ClientSession
    client_id: str = "argo-cd"

    def client_secret(self, replica: str = "") -> str:
        """The client's secret; with a replica's own the log knows its requests."""
        return secret_of("demo-secret", replica)

    async def add(self, *rules: Rule, **rule: Any) -> list[int]:
        """Put rules in force (or one, from its fields); their numbers."""
        wanted = [*rules, *([Rule(**rule)] if rule else [])]
        return [int(await self._command("add", **each.to_json())) for each in wanted]

    async def remove(self, *numbers: int) -> None:
        """Take rules out; all without a number."""
        for number in numbers:
            await self._command("remove", number=number)
        if not numbers:
            await self._command("remove")

    async def set(self, **settings: Any) -> None:
        """Change settings (`tests.hostile.grants.HostileSettings`) from now on."""
        await self._command("set", **settings)

    async def end(self, *, user: str = "", grant: int = 0) -> int:
        """End the grants of a user, one grant, or all; how many were alive."""
        return int(await self._command("end", user=user, grant=grant))

    async def dismiss(self, user: str) -> None:
        """Refuse a user's refreshes from now on."""
        await self._command("dismiss", user=user)

    async def rotate_keys(self, *, keep_old: bool) -> None:
        """Sign with a new key; the old one stays published if `keep_old`."""
        await self._command("keys", keep_old=keep_old)

    async def skew_clock(self, seconds: float) -> None:
        """Let tokens and dates say another time; positive: ahead."""
        await self._command("clock", skew_seconds=seconds)

    async def go_away(self, *, abort: bool = False) -> None:
        """Refuse connections; cut off what is being answered with `abort`."""
        await self._command("away", abort=abort)

    async def come_back(self) -> None:
        """Take connections again."""
        await self._command("back")

    async def restart(self) -> None:
        """New keys, and no code or token from before, as a Dex with storage in memory."""
        await self._command("restart")

    async def reset(self) -> None:
        """Back to the settings of the start, without rules; grants and log stay."""
        await self._command("reset")

    async def tidy(self) -> None:
        """Let it forget what ended before this was last called: a run of a day has no end else."""
        await self._command("tidy")

    async def state(self) -> dict[str, Any]:
        """Counts by kind, requests by path, rules, settings."""
        found: dict[str, Any] = await self._command("state")
        return found

    async def grants(self, *, user: str = "") -> list[GrantState]:
        """All grants, or a user's."""
        found = [GrantState(**each) for each in await self._command("grants")]
        return [each for each in found if user in ("", each.user)]

    async def log(self, *, after: int = 0, user: str = "", kind: str = "") -> list[Entry]:
        """The entries behind a sequence number, those of a user or kind only.

        Raises:
            LookupError: older ones than the oldest that is kept.
        """
        entries: list[Entry] = []
        while True:
            page = await self._command("log", after=after)
            if page["oldest"] > after + 1:
                raise LookupError(f"the log begins at {page['oldest']}")
            if not page["entries"]:
                break
            entries += [Entry(**each) for each in page["entries"]]
            after = entries[-1].sequence
        return [e for e in entries if user in ("", e.user) and kind in ("", e.kind)]

    async def logged(
        self,
        kind: str,
        *,
        user: str = "",
        times: int = 1,
        after: int = 0,
        within_seconds: float = 10.0,
    ) -> list[Entry]:
        """The entries of a kind, once there are so many of them."""
        async with asyncio.timeout(within_seconds):
            while len(found := await self.log(after=after, user=user, kind=kind)) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found

    async def _command(self, name: str, **arguments: Any) -> Any:
        async with self._http.post(f"{self.control}/{name}", json=arguments) as answer:
            if answer.status != 200:
                raise ControlRefused(await answer.text())
            return await answer.json()


@asynccontextmanager
async def hostile_provider(
    *, port: int = 0, replicas: Iterable[str] = (), **settings: Any
) -> AsyncIterator[Hostile]:
    """A hostile provider that lives as long as the block, with these `HostileSettings`."""
    named = [word for name in replicas for word in ("--replica", name)]
    if "id_token_seconds" in settings:
        settings.setdefault("access_token_seconds", settings["id_token_seconds"])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hostile", "--port", str(port), *named),
        *("--settings", json.dumps(settings)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(START_SECONDS):
            found = json.loads(await process.stdout.readline() or "{}")
        assert found, "the hostile provider did not start"
        async with ClientSession(timeout=ClientTimeout(total=20)) as http:
            yield Hostile(found["issuer"], found["control"], http)
    finally:
        process.stdin.close()
        await ended(process, seconds=STOP_SECONDS)


@dataclass
class Browsers:
    """Many browsers, each with its own cookies, on one pool of connections."""

    _connector: TCPConnector
    _owned: AsyncExitStack
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(20))

    async def new(self, base: str) -> Browser:
        """A browser without cookies, in front of the sidecar at `base`."""
        http = await self._owned.enter_async_context(
            ClientSession(
                connector=self._connector,
                connector_owner=False,
                cookie_jar=CookieJar(unsafe=True),
                timeout=ClientTimeout(total=30),
                max_field_size=65536,
                max_line_size=65536,
            )
        )
        return Browser(http, base)

    async def logged_in(self, base: str, user: str) -> Browser:
        """A browser that is logged in, through the sidecar at `base`."""
        async with self.at_once:
            browser = await self.new(base)
            await log_in(browser, user)
            return browser

    async def all_logged_in(
        self, base_of: Callable[[int], str], users: Iterable[str]
    ) -> list[Browser]:
        """A browser for each of the users; the n-th comes through `base_of(n)`."""
        return await asyncio.gather(
            *(self.logged_in(base_of(number), user) for number, user in enumerate(users))
        )


async def log_in(browser: Browser, user: str) -> None:
    """Sign in at the provider's form, through the sidecar in front of which the browser is.

    The callback goes there too, though the public URL may be another replica's.
    """
    callback = await browser.sign_in(user=user)
    answer = await browser.get(_here(browser.base, callback))
    assert answer.status == 303, f"{answer.status} {await answer.text()}"


def _here(base: str, callback: str) -> str:
    """The callback's address at `base`, whatever its host."""
    return str(URL(base).origin()) + str(URL(callback, encoded=True).relative())


@asynccontextmanager
async def browsers() -> AsyncIterator[Browsers]:
    """Browsers that are closed with the block."""
    connector = TCPConnector(limit=0)
    async with connector, AsyncExitStack() as owned:
        yield Browsers(connector, owned)
