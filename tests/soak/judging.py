"""Judges a soak while it goes on, by the provider's log as it is written."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chaos.evidence import Halt
from tests.faults.relays import Relays
from tests.hostile.client import Hostile
from tests.hostile.log import Entry
from tests.soak.judge import Facts, Forced, Ledger, Why, told, why, why_reused

STORIES = 10
KEPT_TRIED = 5000


@dataclass
class Judging:
    """Reads the provider's log as it is written, and judges what has settled."""

    hostile: Hostile
    stored: dict[str, float]
    links: Relays
    ledger: Ledger = field(default_factory=Ledger)
    kills: deque[Halt] = field(default_factory=deque)
    logins: Counter[str] = field(default_factory=Counter)
    reuses: Counter[str] = field(default_factory=Counter)
    stories: list[str] = field(default_factory=list)
    renewals: int = 0
    _waiting: deque[Forced | Entry] = field(default_factory=deque)
    _given: deque[tuple[float, str]] = field(default_factory=deque)
    _tried: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_TRIED))
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, forced: Forced) -> None:
        """To be judged once store and log have been read."""
        self._waiting.append(forced)

    async def latest_grant(self, user: str) -> int:
        """The grant of somebody's last login."""
        await self.read()
        return self.ledger.latest(user)

    async def read(self) -> None:
        """What the provider has written since, and what the relays tell."""
        async with self._reading:
            await self.links.look()
            self.take(await self.hostile.log(after=self.ledger.last))

    def take(self, entries: Sequence[Entry]) -> None:
        """What the provider has written."""
        self._waiting.extend(self.ledger.add(entries))
        self._given.extend((e.monotonic, e.given_sha256) for e in entries if e.kind == "refresh")

    def judge(self, *, until: float) -> None:
        """All that happened before."""
        while self._given and self._given[0][0] < until:
            _, sha256 = self._given.popleft()
            self.renewals += sha256 in self.stored
        later: deque[Forced | Entry] = deque()
        for each in self._waiting:
            at = each.monotonic if isinstance(each, Entry) else each.at
            if at >= until:
                later.append(each)
            elif isinstance(each, Entry):
                self._judge_reuse(each)
            else:
                self._judge_login(each)
        self._waiting = later

    def _judge_reuse(self, reuse: Entry) -> None:
        if reuse.presented_sha256 in self._tried:
            self.reuses["refusal_lost_too"] += 1  # the grant had ended with the first one
            return
        self._tried.append(reuse.presented_sha256)
        facts = self._facts(reuse.grant)
        reason = why_reused(facts, reuse)
        self.reuses[reason] += 1
        if reason is Why.UNEXPLAINED:
            self._tell(f"reuse of {reuse.user}, grant {reuse.grant}", facts, reuse.monotonic)

    def _judge_login(self, forced: Forced) -> None:
        facts = self._facts(forced.grant)
        reason = why(facts, at=forced.at)
        self.logins[reason] += 1
        if reason is Why.UNEXPLAINED:
            what = f"forced login of {forced.user}, grant {forced.grant}: {forced.how}"
            self._tell(what, facts, forced.at)

    def _facts(self, grant: int) -> Facts:
        log = self.ledger.of(grant)
        return Facts(
            log=log,
            stored=self.stored,
            kills=tuple(self.kills),
            losses=self.links.losses["provider"],
        )

    def _tell(self, what: str, facts: Facts, at: float) -> None:
        if len(self.stories) < STORIES:
            self.stories.append("\n".join([what, *told(facts, at=at)]))
