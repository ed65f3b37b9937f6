"""Rounds: what a replica relies on is confirmed, taken anew, dropped, or put back."""

import asyncio
import copy
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
import structlog

from sidecar.adapters.memory_store import MemoryStore
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.refresh_policy import Background, RefreshWindow
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import EndReason, SessionKey
from sidecar.core.tokens import TokenSet
from sidecar.errors import RecordUnreadable, SessionOver, StoreUnavailable
from sidecar.flows.assembly import SessionParts, session_parts
from sidecar.flows.cache import grant_name
from sidecar.flows.confirmations import BATCH, EVERY_SECONDS
from sidecar.flows.knowledge import HOLD_SECONDS
from sidecar.flows.records import Client, Live, Records
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.ports import DUE_SHARDS, Record, SaveResult, Store
from tests.fakes.clock import FakeClock

PREFIX, ISSUER, CLIENT_ID = "test:", "https://idp.invalid", "argo-cd"
CLIENT = Client(ISSUER, CLIENT_ID)
RING = KeyRing([Key("k", b"k" * 32)])
HOUR = 3600.0
LIFETIMES = Lifetimes(idle_seconds=72 * HOUR, max_seconds=168 * HOUR)
_TRIPS = {name for name in vars(Store) if not name.startswith("_")} - {"now", "interrupted_at"}


class WatchedStore(MemoryStore):
    """A store that notes what it is asked, fails when told to, and keeps an answer back."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.trips: list[str] = []
        self.batches: list[int] = []
        self.asked_at: list[float] = []
        self._asked = asyncio.Event()
        self.fails: set[str] = set()
        self.refuses: set[SessionKey] = set()
        self.before_answer: dict[str, Callable[[], Awaitable[object]]] = {}

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return functools.partial(self._trip, name, found) if name in _TRIPS else found

    async def _trip(
        self, name: str, call: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> Any:
        self.trips.append(name)
        if name == "changed":
            self.batches.append(len(args[0]))
            self.asked_at.append(self._clock.monotonic())
            self._asked.set()
        if name in self.fails or (name == "put_back_session" and args[0] in self.refuses):
            raise StoreUnavailable("told to fail")
        answer = await call(*args, **options)
        if name in self.before_answer:
            # What happens now, the caller hears of before this answer.
            await self.before_answer.pop(name)()
        return answer

    async def rounds(self, count: int) -> None:
        """Until it was asked so often."""
        while len(self.batches) < count:
            self._asked.clear()
            await self._asked.wait()

    def lose_all(self) -> None:
        self._slots.clear()
        self._due.clear()


@dataclass
class Replica:
    """One process' sessions over the store."""

    parts: SessionParts
    runtime: Runtime

    async def round(self) -> None:
        await self.parts.confirmations.round()

    async def load(self, live: Live) -> Live | None:
        return await self.parts.sessions.load(live.session.key)

    def known(self, live: Live) -> Live | None:
        return self.parts.sessions.known(live.session.key)

    def put_back(self, kind: str) -> float:
        registry = self.runtime.metrics.registry
        name = "argocd_token_refresh_put_back_total"
        return registry.get_sample_value(name, {"record": kind}) or 0.0


@dataclass
class Here:
    """A store, a clock, and replicas."""

    clock: FakeClock
    store: WatchedStore
    random: Random = field(default_factory=lambda: Random(7))
    number: int = 0

    def add(self) -> Replica:
        """A replica that knows nothing."""
        log = structlog.get_logger()
        runtime = Runtime(self.clock, self.random.randbytes, Tasks(log), Metrics(), log)
        schedule = Schedule(self.store, RefreshWindow(), Background.ACTIVE)
        parts = session_parts(self.store, RING, CLIENT, schedule, LIFETIMES, runtime, prefix=PREFIX)
        return Replica(parts, runtime)

    async def begun(self, replica: Replica) -> Live:
        """A new session, whose tokens live for an hour; this replica knows it."""
        self.number += 1
        now = self.clock.now()
        tokens = TokenSet("id", now, now + HOUR, "access", None, "refresh", None, now)
        claims = IdTokenClaims(ISSUER, f"user-{self.number}", now, now + HOUR, "")
        sessions, joining = replica.parts.sessions, replica.parts.joining
        cookie, _ = await joining.start(tokens, claims, nonce="n", user_agent="test")
        key = sessions.read_cookies([cookie])
        assert key
        live = await sessions.load(key)
        assert live
        self.store.trips.clear()
        return live

    async def renewed(self, replica: Replica, live: Live) -> Live:
        """The session after a replica has stored other tokens for it."""
        newer = live.grant.with_tokens(live.grant.tokens)
        assert await replica.parts.sessions.save(newer) is SaveResult.SAVED
        return live._replace(grant=newer)

    async def due(self) -> set[str]:
        """The grants that are renewed without a request, within the next hour."""
        found = set()
        for shard in range(DUE_SHARDS):
            at = self.clock.now() + HOUR
            due = await self.store.take_due(shard, now=at, limit=10, hide_seconds=0)
            found |= {grant_id for _, grant_id in due}
        return found

    async def stored(self, live: Live) -> tuple[str, str] | None:
        """Why the two records of a session have ended, "" while they live; None: one is lost."""
        session = await self.store.load(live.session.key)
        grant = await self.store.load_grant(live.grant.user_tag, live.grant.id)
        return (session.session.ended, grant.ended) if session and grant else None


@pytest.fixture
def here() -> Here:
    clock = FakeClock()
    return Here(clock, WatchedStore(clock))


@pytest.fixture
async def one(here: Here) -> AsyncIterator[Replica]:
    replica = here.add()
    yield replica
    await replica.runtime.tasks.aclose(seconds=1)


@pytest.fixture
async def live(here: Here, one: Replica) -> Live:
    """A session that the first replica knows and has just confirmed."""
    return await here.begun(one)


LIVES = ("", "")


# What is asked, and what is made of the answer


async def test_what_is_known_is_asked_for_in_batches(here: Here, one: Replica) -> None:
    sessions = [await here.begun(one) for _ in range(300)]

    here.clock.advance(EVERY_SECONDS)
    await one.round()

    assert here.store.batches == [BATCH, BATCH, 600 - 2 * BATCH]
    here.clock.advance(0.9)
    assert all(one.known(live) for live in sessions)


async def test_a_replica_that_knows_nothing_asks_whether_the_store_is_there(
    here: Here, one: Replica
) -> None:
    await one.round()

    assert here.store.batches == [0]


async def test_what_has_not_changed_is_good_for_a_second_from_when_it_was_asked_for(
    here: Here, one: Replica, live: Live
) -> None:
    async def slowly() -> None:
        here.clock.advance(0.9)

    here.clock.advance(EVERY_SECONDS)
    here.store.before_answer["changed"] = slowly

    await one.round()

    assert one.known(live) == live
    here.clock.advance(0.1)
    assert one.known(live) is None
    assert here.store.trips == ["changed"]


async def test_a_grant_that_was_renewed_elsewhere_is_taken_without_a_request(
    here: Here, one: Replica, live: Live
) -> None:
    newer = await here.renewed(here.add(), live)
    here.store.trips.clear()

    await one.round()

    assert one.known(live) == newer
    assert here.store.trips == ["changed"]
    await one.round()
    assert one.known(live) == newer


async def test_what_nobody_uses_is_not_kept_in_use_by_its_renewals(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    for _ in range(7):
        here.clock.advance(10)
        live = await here.renewed(two, live)
        await one.round()
    here.store.batches.clear()

    await one.round()

    assert here.store.batches == [0]


async def test_a_session_that_has_ended_elsewhere_is_dropped(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    await two.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    here.store.trips.clear()

    await one.round()

    assert one.known(live) is None
    with pytest.raises(SessionOver, match=EndReason.LOGOUT):
        await one.load(live)
    assert here.store.trips == ["changed"]


async def test_a_record_that_this_replica_cannot_open_does_not_stop_the_others(
    here: Here, one: Replica, live: Live
) -> None:
    others = [await here.begun(one) for _ in range(3)]
    ring = KeyRing([Key("unknown here", b"u" * 32), Key("k", b"k" * 32)])
    newer = live.grant.with_tokens(live.grant.tokens)
    write = Records(ring, CLIENT, one.runtime, prefix=PREFIX).seal_grant(newer)
    await here.store.save_grant(newer.user_tag, newer.id, write)
    ended = await here.begun(one)
    await here.add().parts.sessions.end(ended.session.key, ended.grant.id, EndReason.LOGOUT)
    here.clock.advance(EVERY_SECONDS)
    here.store.trips.clear()

    await one.round()
    here.clock.advance(0.9)

    assert one.known(live) is None
    assert all(one.known(other) for other in others)
    with pytest.raises(SessionOver):
        await one.load(ended)
    assert here.store.trips == ["changed"]
    # Nobody is alarmed of it again until somebody uses it.
    asked = [name for name, _ in one.parts.cache.to_confirm(here.clock.monotonic())]
    assert grant_name(newer.user_tag, newer.id) not in asked


async def test_a_broken_record_does_not_stop_the_others(
    here: Here, one: Replica, live: Live
) -> None:
    others = [await here.begun(one) for _ in range(3)]
    broken = Record(1, "another write", b"no record")
    here.store._slots[live.grant.user_tag].grants[live.grant.id].record = broken
    here.clock.advance(EVERY_SECONDS)

    await one.round()
    here.clock.advance(0.9)

    assert one.known(live) is None
    assert all(one.known(other) for other in others)


# What the store has lost


async def test_what_is_lost_is_put_back_with_all_that_belongs_to_it(
    here: Here, one: Replica, live: Live
) -> None:
    here.clock.advance(EVERY_SECONDS)
    here.store.lose_all()

    await one.round()

    assert await here.stored(live) == LIVES
    assert await here.add().load(live) == live
    assert await here.due() == {live.grant.id}
    assert (one.put_back("session"), one.put_back("grant")) == (1, 1)
    # The index too: a logout elsewhere knows that this was the grant's last session.
    two = here.add()
    ended = await two.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    assert ended.last


async def test_what_was_put_back_is_relied_on_and_not_put_back_again(
    here: Here, one: Replica, live: Live
) -> None:
    here.clock.advance(EVERY_SECONDS)
    here.store.lose_all()
    await one.round()
    here.clock.advance(0.9)
    relied_on = one.known(live)
    here.store.trips.clear()

    await one.round()

    assert relied_on == live
    assert here.store.trips == ["changed"]


async def test_what_several_put_back_counts_once(here: Here, one: Replica, live: Live) -> None:
    two = here.add()
    await two.load(live)
    names = [name for name, _ in one.parts.cache.to_confirm(here.clock.monotonic())]
    asked = [(name, "") for name in names]
    before = await here.store.changed(asked)
    here.store.lose_all()

    await asyncio.gather(one.round(), two.round())

    after = await here.store.changed(asked)
    assert [record and record.write_id for record in after.values()] == [
        record and record.write_id for record in before.values()
    ]
    assert one.known(live) == two.known(live) == live


async def test_a_session_comes_back_with_the_idle_time_that_it_had(
    here: Here, one: Replica, live: Live
) -> None:
    here.clock.advance(50)
    here.store.lose_all()
    await one.round()

    stored = await here.store.load(live.session.key)
    here.clock.advance(LIFETIMES.idle_seconds - 50)

    assert stored
    assert stored.last_seen_at == live.session.last_seen_at
    assert await here.store.load(live.session.key) is None


async def test_what_has_gone_back_is_put_right(here: Here, one: Replica, live: Live) -> None:
    before = copy.deepcopy(here.store._slots)
    newer = await here.renewed(one, live)
    here.store._slots = before

    await one.round()

    assert await here.add().load(live) == newer
    assert one.put_back("grant") == 1


async def test_new_tokens_win_over_a_store_that_went_back_and_was_written_to_since(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    before = copy.deepcopy(here.store._slots)
    newer = await here.renewed(one, live)
    here.store._slots = before
    for _ in range(5):
        assert await two.parts.joining.join(live.grant.user_tag, live.grant.id, user_agent="")

    await one.round()

    found = await here.add().load(live)
    assert found
    assert found.grant.renewals == newer.grant.renewals
    assert found.grant.version > newer.grant.version
    await two.round()
    assert two.parts.cache.grants[live.grant.id].value == found.grant


async def test_nobody_renews_a_grant_for_a_while_after_it_was_put_back(
    here: Here, one: Replica, live: Live
) -> None:
    tag, grant_id = live.grant.user_tag, live.grant.id
    here.store.lose_all()
    await one.round()

    assert one.parts.sessions.sure_at(grant_id) == here.clock.monotonic() + HOLD_SECONDS
    here.clock.advance(HOLD_SECONDS - 0.001)
    assert not await here.store.take_lease(tag, grant_id, "two", seconds=1)
    here.clock.advance(0.002)
    assert await here.store.take_lease(tag, grant_id, "two", seconds=1)


async def stands_still(here: Here, one: Replica, seconds: float, *, wakes: bool) -> None:
    """The process is stopped; when it goes on, its beat comes first, or whoever was waiting."""
    cache = one.parts.cache
    cache.beat(here.clock.monotonic())
    here.clock.advance(seconds)
    if wakes:
        cache.beat(here.clock.monotonic())


@pytest.mark.parametrize("wakes", [False, True])
async def test_a_process_that_stood_still_brings_nothing_back_that_may_have_ended_meanwhile(
    here: Here, one: Replica, live: Live, wakes: bool
) -> None:
    await one.round()
    await stands_still(here, one, 40, wakes=wakes)
    await here.add().parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    here.store.lose_all()  # and whoever knew of the end has died

    found = await one.load(live)
    await one.round()

    assert found is None
    assert await here.stored(live) is None


async def test_a_process_that_ran_all_the_while_brings_back_what_a_long_outage_lost(
    here: Here, one: Replica, live: Live
) -> None:
    await one.round()
    here.store.fails |= {"changed", "load"}
    for _ in range(240):
        one.parts.cache.beat(here.clock.monotonic())
        here.clock.advance(1)
        assert await one.load(live)
        with suppress(StoreUnavailable):
            await one.round()
    here.store.lose_all()
    here.store.fails.clear()

    await one.round()

    assert await here.stored(live) == LIVES


async def test_what_was_confirmed_since_a_process_woke_up_is_brought_back_again(
    here: Here, one: Replica, live: Live
) -> None:
    await stands_still(here, one, 40, wakes=True)
    await one.load(live)
    await one.round()
    here.store.lose_all()
    here.clock.advance(0.5)

    await one.round()

    assert await here.stored(live) == LIVES


async def test_a_lost_tombstone_is_written_again(here: Here, one: Replica, live: Live) -> None:
    before = copy.deepcopy(here.store._slots)
    await one.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    here.store.lose_all()
    await one.round()
    emptied = await here.stored(live)

    here.store._slots = before
    await one.round()

    assert emptied == await here.stored(live) == ("logout", "logout")
    with pytest.raises(SessionOver):
        await here.add().load(live)
    assert one.put_back("end") == 4
    await one.round()
    assert one.put_back("end") == 4


async def test_what_has_ended_is_refused_though_a_store_that_went_back_has_it(
    here: Here, one: Replica, live: Live
) -> None:
    before = copy.deepcopy(here.store._slots)
    await one.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    here.store._slots = before
    two = here.add()
    cookie = await two.parts.joining.join(live.grant.user_tag, live.grant.id, user_agent="")
    another = two.parts.sessions.read_cookies([cookie or ""])
    assert another

    for key in (live.session.key, another):
        with pytest.raises(SessionOver):
            await one.parts.sessions.load(key)
    with pytest.raises(SessionOver):
        await one.parts.sessions.load_grant(live.grant.user_tag, live.grant.id)


async def test_a_tombstone_that_was_only_seen_is_written_again_too(
    here: Here, one: Replica, live: Live
) -> None:
    before = copy.deepcopy(here.store._slots)
    await here.add().parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    await one.round()
    here.store._slots = before

    await one.round()

    assert await here.stored(live) == ("logout", "logout")


async def test_what_ended_does_not_come_back_from_a_replica_that_looks_too_late(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    await two.load(live)
    await two.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    here.store.lose_all()
    here.clock.advance(EVERY_SECONDS)

    await one.round()
    await two.round()
    await one.round()

    assert await here.stored(live) == ("logout", "logout")
    assert one.known(live) is None
    with pytest.raises(SessionOver):
        await one.load(live)


async def test_what_was_not_confirmed_for_ten_minutes_is_never_put_back(
    here: Here, one: Replica, live: Live
) -> None:
    here.clock.advance(601)
    here.store.lose_all()

    assert await one.load(live) is None
    await one.round()

    assert await here.stored(live) is None
    assert one.put_back("session") == one.put_back("grant") == 0


async def test_a_request_puts_back_what_was_confirmed_within_ten_minutes(
    here: Here, one: Replica, live: Live
) -> None:
    here.clock.advance(599)
    here.store.lose_all()

    assert await one.load(live) == live

    assert await here.stored(live) == LIVES


async def test_what_has_reached_its_end_is_not_put_back(
    here: Here, one: Replica, live: Live
) -> None:
    session = live.session
    with one.parts.sessions.held_open(live):
        while here.clock.now() < session.ends_at:
            await one.parts.sessions.touch_held_open()
            here.clock.advance(599)
            with suppress(SessionOver):
                await one.round()
    assert here.clock.now() > session.ends_at

    await one.round()

    assert await here.stored(live) is None
    assert one.put_back("session") == one.put_back("grant") == 0
    assert one.known(live) is None


# Rounds that fail, and answers that come late


async def test_a_round_that_fails_goes_on_the_next_time(
    here: Here, one: Replica, live: Live
) -> None:
    newer = await here.renewed(here.add(), live)
    here.store.fails.add("changed")
    with pytest.raises(StoreUnavailable):
        await one.round()

    here.store.fails.clear()
    await one.round()

    assert one.known(live) == newer


async def test_what_could_not_be_put_back_is_put_back_the_next_time(
    here: Here, one: Replica, live: Live
) -> None:
    here.store.lose_all()
    here.store.fails |= {"put_back_grant", "put_back_session"}
    with pytest.raises(StoreUnavailable):
        await one.round()

    here.store.fails.clear()
    await one.round()

    assert await here.stored(live) == LIVES


async def test_a_put_back_whose_reply_was_lost_counts_once(
    here: Here, one: Replica, live: Live
) -> None:
    async def lose_it() -> None:
        raise StoreUnavailable("the reply is lost")

    here.store.lose_all()
    here.store.before_answer = {"put_back_session": lose_it, "put_back_grant": lose_it}
    with pytest.raises(StoreUnavailable):
        await one.round()

    await one.round()

    assert await here.add().load(live) == live
    assert one.known(live) == live


async def test_rounds_go_on_twice_a_second_whatever_fails(
    here: Here, one: Replica, live: Live
) -> None:
    began_at = here.clock.monotonic()
    here.store.fails.add("changed")

    one.runtime.tasks.start_endless(one.parts.confirmations.run, "confirmations", one.runtime.clock)
    await here.store.rounds(10)
    here.store.fails.clear()
    await here.store.rounds(20)

    times = [began_at + EVERY_SECONDS * number for number in range(20)]
    assert here.store.asked_at[:20] == times
    assert one.known(live)


async def test_a_round_that_took_long_is_followed_by_the_next_after_a_breath(
    here: Here, one: Replica, live: Live
) -> None:
    async def slowly() -> None:
        here.clock.advance(7.0)

    here.store.before_answer["changed"] = slowly

    one.runtime.tasks.start_endless(one.parts.confirmations.run, "confirmations", one.runtime.clock)
    await here.store.rounds(2)

    first, second, *_ = here.store.asked_at
    assert 7.0 < second - first < 7.0 + EVERY_SECONDS / 5


async def test_an_answer_to_a_question_sent_before_the_last_write_is_no_loss(
    here: Here, one: Replica, live: Live
) -> None:
    newer = await here.renewed(here.add(), live)
    newest: list[Live] = []

    async def write() -> None:
        here.clock.advance(0.1)
        newest.append(await here.renewed(one, newer))

    here.store.before_answer["changed"] = write

    await one.round()

    assert one.known(live) == newest[0]
    assert await here.add().load(live) == newest[0]
    assert one.put_back("grant") == 0


async def test_an_answer_that_says_lost_counts_for_nothing_once_it_was_put_back(
    here: Here, one: Replica, live: Live
) -> None:
    async def put_back() -> None:
        here.clock.advance(1.0)
        assert await one.load(live) == live

    here.store.lose_all()
    here.store.before_answer["changed"] = put_back

    await one.round()

    assert (one.put_back("session"), one.put_back("grant")) == (1, 1)
    assert one.known(live) == live


async def test_an_answer_from_before_a_logout_here_brings_nothing_back(
    here: Here, one: Replica, live: Live
) -> None:
    async def log_out() -> None:
        await one.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)

    here.store.lose_all()
    here.store.before_answer["changed"] = log_out

    await one.round()

    assert one.known(live) is None
    with pytest.raises(SessionOver):
        await one.load(live)
    stored = await here.store.load(live.session.key)
    assert stored
    assert stored.session.ended == "logout"


async def test_a_put_back_that_meets_a_logout_elsewhere_gives_way(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    here.store.lose_all()

    async def log_out() -> None:
        await two.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)

    here.store.before_answer["changed"] = log_out
    with pytest.raises(StoreUnavailable):
        await one.round()
    at_once = one.known(live)

    await one.round()

    assert at_once is one.known(live) is None
    stored = await here.store.load(SessionKey(live.grant.user_tag, live.session.key.digest))
    assert stored
    assert stored.session.ended == "logout"


async def test_an_end_that_comes_between_question_and_answer_is_not_confirmed_away(
    here: Here, one: Replica, live: Live
) -> None:
    async def log_out() -> None:
        await here.add().parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)

    asked_at = here.clock.monotonic()
    here.store.before_answer["changed"] = log_out
    await one.round()

    while here.clock.monotonic() < asked_at + 1.0:
        here.clock.advance(EVERY_SECONDS)
        await one.round()

    assert one.known(live) is None


# What one record, one failure or one loss must not do to the others


async def test_a_record_of_a_newer_release_stops_no_round_and_no_other_session(
    here: Here, one: Replica, live: Live
) -> None:
    other = await here.begun(one)
    slot = here.store._slots[live.session.key.user_tag]
    slot.grants[live.grant.id].record = Record(2, "newer", b"?", newer=True)

    for _ in range(4):
        here.clock.advance(0.5)
        await one.round()

    assert one.known(other)
    assert one.known(live) is None
    with pytest.raises(RecordUnreadable, match="newer release"):
        await one.load(live)
    assert not one.parts.sessions.health.failing


async def test_a_record_that_says_what_this_release_does_not_know_stops_no_round(
    here: Here, one: Replica, live: Live
) -> None:
    other = await here.begun(one)
    records, key = one.parts.records, live.session.key
    sealed = records._seal(b'{"a": "newer form"}', records._session_label(key, 1))
    here.store._slots[key.user_tag].sessions[key.digest].record = Record(1, "newer", sealed)

    for _ in range(4):
        here.clock.advance(0.5)
        await one.round()

    assert one.known(other)
    with pytest.raises(RecordUnreadable):
        await one.load(live)


async def test_a_mistake_about_one_record_ends_no_rounds(
    here: Here, one: Replica, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await here.begun(one)

    async def mistake(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(one.parts.confirmations._knowledge, "settle_session", mistake)
    here.store._slots[live.session.key.user_tag].sessions.clear()
    one.runtime.tasks.start_endless(one.parts.confirmations.run, "confirmations", one.runtime.clock)
    await here.store.rounds(6)

    assert one.known(other)


async def test_one_record_that_cannot_be_put_back_holds_up_no_other(
    here: Here, one: Replica, live: Live
) -> None:
    others = [await here.begun(one) for _ in range(40)]
    here.store.lose_all()
    here.store.refuses.add(live.session.key)

    with pytest.raises(StoreUnavailable):
        await one.round()

    assert [await here.stored(other) for other in others] == [LIVES] * 40


async def test_ends_are_written_again_before_anything_else(here: Here, one: Replica) -> None:
    ended = await here.begun(one)
    await one.parts.sessions.end(ended.session.key, ended.grant.id, EndReason.LOGOUT)
    for _ in range(100):
        await here.begun(one)
    here.store.lose_all()
    here.store.trips.clear()

    await one.round()

    puts = [trip for trip in here.store.trips if trip.startswith("put_back")]
    assert puts[:2] == ["put_back_end", "put_back_end"]


async def test_a_broken_record_is_told_of_once(here: Here, one: Replica, live: Live) -> None:
    slot = here.store._slots[live.grant.user_tag]
    slot.grants[live.grant.id].record = Record(1, "broken", b"no seal")

    for _ in range(30):
        here.clock.advance(0.5)
        await one.round()

    registry = one.runtime.metrics.registry
    name = "argocd_token_refresh_alarms_total"
    assert registry.get_sample_value(name, {"kind": "record_broken"}) == 1


async def test_what_the_last_round_did_not_confirm_is_not_put_back(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    for _ in range(130):  # nobody uses it at the first replica any more
        here.clock.advance(0.5)
        await one.round()
    await two.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    for _ in range(60):
        here.clock.advance(0.5)
        await one.round()

    here.store.lose_all()  # and the second replica, which ended it, has gone

    assert await one.load(live) is None


async def a_round_begins_while(here: Here, one: Replica, trip: str) -> None:
    """The next trip of this kind has been asked for, and not answered, when a round begins."""

    async def round_begins() -> None:
        here.clock.advance(0.01)
        await one.round()
        here.clock.advance(0.01)

    here.store.before_answer[trip] = round_begins


async def test_a_login_whose_answer_came_while_a_round_was_under_way_is_put_back(
    here: Here, one: Replica
) -> None:
    await a_round_begins_while(here, one, "attach")
    live = await here.begun(one)
    here.store.lose_all()
    here.clock.advance(0.5)

    await one.round()

    assert await here.stored(live) == LIVES


async def test_new_tokens_whose_answer_came_while_a_round_was_under_way_are_put_back(
    here: Here, one: Replica, live: Live
) -> None:
    await a_round_begins_while(here, one, "save_grant")
    newer = await here.renewed(one, live)
    here.store.lose_all()
    here.clock.advance(0.5)

    await one.round()

    found = await here.add().load(live)
    assert found
    assert found.grant.renewals == newer.grant.renewals


async def test_a_session_served_through_an_outage_is_put_back_for_the_others(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    here.store.fails |= _TRIPS
    for _ in range(90):
        here.clock.advance(1.0)
        with suppress(StoreUnavailable):
            await one.round()
        if one.parts.sessions.health.away:
            assert await one.load(live)
    here.store.fails.clear()
    here.store.lose_all()

    await one.round()

    assert await two.load(live)


async def test_one_failed_question_serves_nobody_who_ended_while_the_store_was_there(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    here.clock.advance(61)
    await one.round()
    await two.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    for _ in range(20):
        here.clock.advance(0.5)
        await one.round()
    here.store.fails.add("load")

    with pytest.raises(StoreUnavailable):
        await one.load(live)

    assert not one.parts.sessions.may_go_up(live)


async def test_a_logout_right_after_a_loss_ends_the_grant_too(
    here: Here, one: Replica, live: Live
) -> None:
    here.store.lose_all()

    ended = await one.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    await one.round()

    grant = await here.store.load_grant(live.grant.user_tag, live.grant.id)
    assert ended.last
    assert grant
    assert grant.ended == "logout"


async def test_a_tombstone_that_reaches_its_own_end_is_no_loss(
    here: Here, one: Replica, live: Live
) -> None:
    await here.add().parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)

    for _ in range(2 * 120):
        here.clock.advance(30)
        await one.round()
        with suppress(SessionOver):
            await one.load(live)

    assert one.put_back("end") == 0


async def test_a_tombstone_says_that_the_store_is_there(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    await one.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    here.store.fails.add("load")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await two.load(live)
    here.store.fails.clear()

    with pytest.raises(SessionOver):
        await two.load(live)

    assert not two.parts.sessions.health.failing


async def test_where_each_record_fails_most_are_left_to_the_next_round(
    here: Here, one: Replica
) -> None:
    sessions = [await here.begun(one) for _ in range(100)]
    here.store.lose_all()
    here.store.fails |= {"put_back_session", "put_back_grant"}
    here.store.trips.clear()

    with pytest.raises(StoreUnavailable):
        await one.round()

    tries = [trip for trip in here.store.trips if trip.startswith("put_back")]
    assert 0 < len(tries) < 50
    here.store.fails.clear()
    await one.round()
    assert [await here.stored(live) for live in sessions] == [LIVES] * 100


async def test_an_end_that_another_replica_wrote_first_is_taken_for_the_same(
    here: Here, one: Replica, live: Live
) -> None:
    two = here.add()
    await two.parts.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
    await one.parts.sessions.end(live.session.key, live.grant.id, EndReason.ENDED_BY_USER)

    await one.round()

    known = one.parts.cache.to_confirm(here.clock.monotonic())
    assert known
    assert await here.store.changed(known) == {}
    assert one.put_back("end") == 0
