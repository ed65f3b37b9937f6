"""Requests of sessions that a replica knows: without the store, while it is right to do so.

Most tests need no provider: their sessions begin with tokens that live for an hour.
"""

import asyncio
import copy
import functools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.adapters.memory_store import MemoryStore
from sidecar.adapters.openid_provider import OpenIdProvider
from sidecar.adapters.provider_http import provider_session
from sidecar.core.client_authentication import Credentials
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.provider_addresses import ProviderAddresses
from sidecar.core.refresh_policy import (
    Action,
    Background,
    RefreshWindow,
    decide,
    usable_seconds,
    used_until,
)
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import EndReason, SessionKey
from sidecar.core.timings import Timings
from sidecar.core.tokens import TokenSet
from sidecar.errors import KeyUnknown, SessionOver, StoreUnavailable, TryLater
from sidecar.flows.assembly import SessionParts, session_parts
from sidecar.flows.cache import grant_name, session_name
from sidecar.flows.confirmations import Confirmations
from sidecar.flows.health import ASK_EVERY_SECONDS, FAILURES
from sidecar.flows.records import Client, Live, Records
from sidecar.flows.refresh import Refresh, TokenMissing
from sidecar.flows.revocation import Revocations
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes, Sessions
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.ports import Record, SaveResult, Store, Write
from tests.core.examples import properties
from tests.fakes.clock import FakeClock

PREFIX, ISSUER, CLIENT_ID = "test:", "https://idp.invalid", "argo-cd"
CLIENT = Client(ISSUER, CLIENT_ID)
RING = KeyRing([Key("k", b"k" * 32)])
HOUR = 3600.0
LIFETIMES = Lifetimes(idle_seconds=72 * HOUR, max_seconds=168 * HOUR, grace_seconds=300)
_LOCAL = {"now", "interrupted_at"}
_TRIPS = {name for name in vars(Store) if not name.startswith("_")} - _LOCAL
_WAITERS = 5000


class WatchedStore(MemoryStore):
    """A store that counts its trips, is away when told to, and keeps answers back."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.trips: list[str] = []
        self.away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.after: dict[str, Callable[[], Awaitable[object]]] = {}

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return functools.partial(self._trip, name, found) if name in _TRIPS else found

    async def _trip(
        self, name: str, call: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> Any:
        self.trips.append(name)
        if self.away:
            raise StoreUnavailable("away")
        answer = await call(*args, **options)
        await self.may_answer.wait()
        if name in self.after:
            await self.after.pop(name)()
        return answer


@dataclass
class Replica:
    """One process' sessions over the store."""

    parts: SessionParts
    refresh: Refresh
    runtime: Runtime

    @property
    def sessions(self) -> Sessions:
        return self.parts.sessions

    @property
    def confirmations(self) -> Confirmations:
        return self.parts.confirmations

    async def settled(self) -> None:
        await self.runtime.tasks.idle()

    def counted(self, name: str) -> float:
        registry = self.runtime.metrics.registry
        return registry.get_sample_value(f"argocd_token_refresh_{name}_total") or 0.0


@dataclass
class Here:
    """A store, a clock and replicas; the first one knows what it has begun."""

    clock: FakeClock
    store: WatchedStore
    owned: AsyncExitStack
    number: int = 0
    replicas: list[Replica] = field(default_factory=list)
    random: Random = field(default_factory=lambda: Random(7))

    async def add(self, window: RefreshWindow = RefreshWindow()) -> Replica:  # noqa: B008
        """A replica that knows nothing."""
        log = structlog.get_logger()
        runtime = Runtime(self.clock, self.random.randbytes, Tasks(log), Metrics(), log)
        http = await self.owned.enter_async_context(provider_session(total_seconds=1))
        provider = OpenIdProvider(
            http,
            ProviderAddresses(ISSUER),
            CLIENT_ID,
            lambda: Credentials(secret="secret"),
            clock=self.clock,
            metrics=runtime.metrics,
            keys_seconds=1,
        )
        schedule = Schedule(self.store, window, Background.ACTIVE)
        parts = session_parts(self.store, RING, CLIENT, schedule, LIFETIMES, runtime, prefix=PREFIX)
        refresh = Refresh(
            parts.sessions,
            self.store,
            provider,
            schedule,
            runtime,
            window=window,
            timings=Timings(),
            revocations=Revocations(
                self.store, parts.records, provider, runtime, provider_seconds=1.0
            ),
        )
        self.replicas.append(Replica(parts, refresh, runtime))
        return self.replicas[-1]

    async def begun(self, replica: Replica, *, life: float = HOUR, age: float = 0.0) -> Live:
        """A new session, whose ID token lives for `life` seconds and is `age` seconds old."""
        self.number += 1
        issued_at = self.clock.now() - age
        tokens = TokenSet(
            id_token="id",
            id_token_issued_at=issued_at,
            id_token_expires_at=issued_at + life,
            access_token="access",
            access_token_expires_at=None,
            refresh_token="refresh",
            refresh_token_expires_at=None,
            renewed_at=issued_at,
        )
        claims = IdTokenClaims(ISSUER, f"user-{self.number}", issued_at, issued_at + life, "")
        cookie, grant = await replica.parts.joining.start(
            tokens, claims, nonce="n", user_agent="test"
        )
        key = replica.sessions.read_cookies([cookie])
        assert key
        live = await replica.sessions.load(key)
        assert live
        assert live.grant == grant
        self.store.trips.clear()
        return live

    async def log_out_elsewhere(self, live: Live) -> None:
        """What another replica does, which nobody is told of."""
        other = await self.add()
        await other.sessions.end(live.session.key, live.grant.id, EndReason.LOGOUT)
        self.store.trips.clear()


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    clock = FakeClock()
    async with AsyncExitStack() as owned:
        yield Here(clock, WatchedStore(clock), owned)


@pytest.fixture
async def one(here: Here) -> Replica:
    return await here.add()


@pytest.fixture
async def live(here: Here, one: Replica) -> Live:
    """A session that the first replica knows and has just confirmed."""
    return await here.begun(one)


@pytest.fixture
def key(live: Live) -> SessionKey:
    return live.session.key


async def is_over(replica: Replica, key: SessionKey) -> bool:
    try:
        await replica.sessions.load(key)
    except SessionOver:
        return True
    return False


# Whose a record is


@pytest.mark.parametrize("copied", [True, False])
async def test_what_is_known_of_a_grant_is_its_users_alone(
    here: Here, one: Replica, live: Live, copied: bool
) -> None:
    """Who writes to the store may copy a record, write id and all, to another user's place."""
    other, grant_id = "A" * 22, live.grant.id
    record = await here.store.load_grant(live.grant.user_tag, grant_id)
    assert record
    if copied:
        write = Write(record.version, record.write_id, record.sealed, live.grant.ends_at)
        await here.store.put_back_grant(other, grant_id, write, over=0, hold_seconds=0)

    with suppress(SessionOver):
        assert await one.sessions.load_grant(other, grant_id) is None

    assert await one.sessions.load_grant(live.grant.user_tag, grant_id) == live.grant


# The hot path


async def test_a_request_of_a_confirmed_session_costs_no_trip_to_the_store(
    here: Here, one: Replica, key: SessionKey, live: Live
) -> None:
    for _ in range(100):
        here.clock.advance(0.005)
        assert one.refresh.current_now(key) == live
        assert await one.refresh.current(key) == live
        assert one.refresh.may_go_up(live)

    assert here.store.trips == []


async def test_a_session_in_steady_use_is_asked_for_by_its_rounds_alone(
    here: Here, one: Replica, key: SessionKey
) -> None:
    for _ in range(60):
        await one.confirmations.round()
        for _ in range(5):
            here.clock.advance(0.1)
            assert one.refresh.current_now(key)

    assert Counter(here.store.trips) == {"changed": 60}


async def test_that_a_session_is_used_is_noted_once_a_minute_behind_its_requests(
    here: Here, one: Replica, key: SessionKey
) -> None:
    for _ in range(361):
        here.clock.advance(0.5)
        await one.confirmations.round()
        assert one.refresh.current_now(key)
        await one.settled()

    assert Counter(here.store.trips)["touch"] == 3
    stored = await here.store.load(key)
    assert stored
    assert stored.last_seen_at >= here.clock.now() - 1


async def test_many_requests_at_once_note_the_use_of_their_session_once(
    here: Here, one: Replica, key: SessionKey
) -> None:
    here.clock.advance(61)
    assert await one.sessions.load(key)

    for _ in range(20):
        assert one.refresh.current_now(key)
    await one.settled()

    assert Counter(here.store.trips) == {"load": 1, "touch": 1}


async def test_what_is_known_too_long_ago_is_loaded_before_it_is_used(
    here: Here, one: Replica, key: SessionKey
) -> None:
    here.clock.advance(1.0)

    assert one.refresh.current_now(key) is None
    assert here.store.trips == []
    assert await one.sessions.load(key)
    assert here.store.trips == ["load"]
    assert one.refresh.current_now(key)


# One load for all


async def test_many_requests_at_once_share_one_load(
    here: Here, live: Live, key: SessionKey
) -> None:
    two = await here.add()

    loaded = await asyncio.gather(*(two.sessions.load(key) for _ in range(50)))

    assert loaded == [live] * 50
    assert here.store.trips == ["load"]


async def test_a_request_that_comes_after_a_load_does_not_get_its_answer(
    here: Here, one: Replica, key: SessionKey
) -> None:
    for _ in range(3):
        here.clock.advance(1.0)
        assert await one.sessions.load(key)

    assert here.store.trips == ["load"] * 3


async def test_a_browser_that_leaves_stops_no_load_that_others_wait_for(
    here: Here, live: Live, key: SessionKey
) -> None:
    two = await here.add()
    here.store.may_answer.clear()
    asks = [asyncio.ensure_future(two.sessions.load(key)) for _ in range(3)]
    await asyncio.sleep(0)

    asks[0].cancel()
    await asyncio.wait(asks[:1])
    here.store.may_answer.set()

    assert await asyncio.gather(*asks[1:]) == [live, live]
    assert here.store.trips == ["load"]


async def test_a_load_of_which_all_have_left_still_serves_the_next(
    here: Here, live: Live, key: SessionKey
) -> None:
    two = await here.add()
    here.store.may_answer.clear()
    leaving = asyncio.ensure_future(two.sessions.load(key))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])

    here.store.may_answer.set()
    await two.settled()

    assert two.sessions.known(key) == live
    assert here.store.trips == ["load"]


async def test_so_many_wait_for_the_store_and_no_more_and_those_who_leave_make_room(
    here: Here, live: Live, key: SessionKey
) -> None:
    two = await here.add()
    here.store.may_answer.clear()
    asks = [asyncio.ensure_future(two.sessions.load(key)) for _ in range(_WAITERS)]
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match="too many"):
        await two.sessions.load(key)
    for ask in asks:
        ask.cancel()
    await asyncio.wait(asks)
    another = asyncio.ensure_future(two.sessions.load(key))
    here.store.may_answer.set()

    assert await another == live


async def test_loads_that_fail_leave_nothing_behind(here: Here, live: Live) -> None:
    two = await here.add()
    here.store.away = True
    for _ in range(2 * _WAITERS):
        with pytest.raises(StoreUnavailable):
            await two.sessions.load(live.session.key)

    here.store.away = False
    here.clock.advance(ASK_EVERY_SECONDS)

    assert await asyncio.gather(*(two.sessions.load(live.session.key) for _ in range(40)))


# A logout elsewhere


async def test_a_logout_elsewhere_is_seen_within_a_second_without_any_round(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    await here.log_out_elsewhere(live)

    here.clock.advance(1.0)

    assert one.refresh.current_now(key) is None
    assert await is_over(one, key)


async def test_a_logout_elsewhere_is_seen_by_the_next_round(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    await here.log_out_elsewhere(live)
    here.clock.advance(0.5)

    await one.confirmations.round()

    assert one.refresh.current_now(key) is None
    assert not one.refresh.may_go_up(live)
    assert await is_over(one, key)
    assert here.store.trips == ["changed"]


async def test_a_logout_elsewhere_is_seen_before_a_head_that_has_waited_goes_up(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    await here.log_out_elsewhere(live)
    at_once = one.refresh.may_go_up(live)

    here.clock.advance(1.0)

    assert at_once  # nothing was confirmed since
    assert not one.refresh.may_go_up(live)
    assert here.store.trips == []


async def test_a_logout_here_counts_at_once(here: Here, one: Replica, live: Live) -> None:
    key = live.session.key

    await one.sessions.end(key, live.grant.id, EndReason.LOGOUT)
    here.store.trips.clear()

    assert one.refresh.current_now(key) is None
    assert not one.refresh.may_go_up(live)
    assert await is_over(one, key)
    assert here.store.trips == []


async def test_a_grant_that_ends_here_ends_its_sessions_at_once(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    assert await one.sessions.end_grant(live.grant, EndReason.ENDED_BY_PROVIDER)
    here.store.trips.clear()

    assert one.refresh.current_now(key) is None
    assert not one.refresh.may_go_up(live)
    assert await is_over(one, key)
    assert here.store.trips == []


async def test_a_load_that_was_answered_before_the_logout_brings_nothing_back(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    here.clock.advance(1.0)
    here.store.may_answer.clear()
    loading = asyncio.ensure_future(one.sessions.load(key))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    here.store.may_answer.set()
    other = asyncio.ensure_future(one.sessions.end(key, live.grant.id, EndReason.LOGOUT))
    here.store.after["load"] = lambda: asyncio.wait([other])

    await asyncio.wait([loading])

    assert one.refresh.current_now(key) is None
    assert not one.refresh.may_go_up(live)
    assert await is_over(one, key)


async def test_a_grant_that_ended_elsewhere_ends_its_sessions_here(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    other = await here.add()
    assert await other.sessions.end_grant(live.grant, EndReason.ENDED_BY_PROVIDER)

    await one.confirmations.round()

    assert one.refresh.current_now(key) is None
    assert await is_over(one, key)


# While the store is away


async def test_while_the_store_is_away_what_is_known_is_served_for_the_grace_time_and_no_longer(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    here.store.away = True
    here.clock.advance(LIFETIMES.grace_seconds)
    within = await one.refresh.current(key)
    went_up = one.refresh.may_go_up(live)

    here.clock.advance(0.001)

    assert within == live
    assert went_up
    assert not one.refresh.may_go_up(live)
    with pytest.raises(StoreUnavailable):
        await one.refresh.current(key)
    await one.settled()


async def lost(here: Here) -> list[Live]:
    """Two sessions that a store has lost with all else, of which one stranger is asked for."""
    two = await here.add()
    kept = [await here.begun(two) for _ in range(2)]
    here.store._slots.clear()
    here.store.trips.clear()
    return kept


async def test_a_session_that_is_not_there_is_soon_believed_to_be_gone(
    here: Here, one: Replica
) -> None:
    (stranger, _), began_at = await lost(here), here.clock.monotonic()

    assert await one.sessions.load(stranger.session.key) is None

    assert here.clock.monotonic() - began_at < 1


async def test_a_session_of_another_replica_is_waited_for_while_the_store_is_seen_to_have_lost_some(
    here: Here, one: Replica, live: Live
) -> None:
    stranger, _ = await lost(here)
    await one.confirmations.round()  # which puts the first one's own session back
    two, began_at = here.replicas[-1], here.clock.monotonic()

    async def slowly_put_back() -> None:
        if here.clock.monotonic() - began_at > 3:
            await two.confirmations.round()
        else:
            here.store.after["load"] = slowly_put_back

    here.store.after["load"] = slowly_put_back

    found = await one.sessions.load(stranger.session.key)

    assert found == stranger
    assert 3 < here.clock.monotonic() - began_at < 5


async def test_what_is_known_from_before_a_process_stood_still_is_served_by_no_grace(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    """Its first question may fail, and the session may have ended while it was stopped."""
    one.parts.cache.beat(here.clock.monotonic())
    here.store.away = True
    here.clock.advance(40)

    assert not one.refresh.may_go_up(live)
    with pytest.raises(StoreUnavailable):
        await one.refresh.current(key)
    one.parts.cache.beat(here.clock.monotonic())
    with pytest.raises(StoreUnavailable):
        await one.refresh.current(key)
    await one.settled()


async def test_a_request_that_was_served_unconfirmed_is_counted(
    here: Here, one: Replica, key: SessionKey
) -> None:
    here.clock.advance(1.0)
    assert await one.sessions.load(key)
    confirmed = one.counted("served_unconfirmed")

    here.store.away = True
    here.clock.advance(1.0)
    assert await one.sessions.load(key)

    assert confirmed == 0
    assert one.counted("served_unconfirmed") == 1


async def test_while_the_store_is_away_no_token_is_used_past_its_end(
    here: Here, one: Replica
) -> None:
    short = await here.begun(one, life=300, age=200)
    here.store.away = True
    here.clock.advance(98)
    served, served_at = await one.refresh.current(short.session.key), here.clock.now()
    await one.settled()

    here.clock.advance(1)

    assert served
    assert usable_seconds(served.grant, served_at) > 0
    with pytest.raises(TokenMissing):
        await one.refresh.current(short.session.key)
    await one.settled()


async def test_after_some_failures_what_is_not_known_is_refused_without_a_trip(
    here: Here, live: Live
) -> None:
    two = await here.add()
    here.store.away = True
    for _ in range(FAILURES):
        with pytest.raises(StoreUnavailable):
            await two.sessions.load(live.session.key)
    asked = len(here.store.trips)

    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            await two.sessions.load(live.session.key)

    assert asked == FAILURES
    assert len(here.store.trips) == FAILURES
    assert two.runtime.metrics.registry.get_sample_value("argocd_token_refresh_store_away")


async def test_a_store_that_is_away_is_asked_twice_a_second_by_one_request(
    here: Here, live: Live
) -> None:
    two = await here.add()
    here.store.away = True
    for _ in range(FAILURES):
        with pytest.raises(StoreUnavailable):
            await two.sessions.load(live.session.key)
    here.store.trips.clear()

    for _ in range(4):
        here.clock.advance(ASK_EVERY_SECONDS)
        asks = (two.sessions.load(SessionKey("u", str(number))) for number in range(20))
        assert all(
            isinstance(answer, StoreUnavailable)
            for answer in await asyncio.gather(*asks, return_exceptions=True)
        )

    assert here.store.trips == ["load"] * 4


async def test_when_the_store_is_back_a_round_lets_all_ask_again(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    two = await here.add()
    here.store.away = True
    here.clock.advance(1.0)
    for _ in range(FAILURES):
        with pytest.raises(StoreUnavailable):
            await two.sessions.load(key)

    here.store.away = False
    with pytest.raises(StoreUnavailable):
        await two.sessions.load(key)
    await two.confirmations.round()

    assert await two.sessions.load(key)
    assert two.runtime.metrics.registry.get_sample_value("argocd_token_refresh_store_away") == 0


async def test_a_store_that_was_away_ends_no_session_and_forgets_no_logout(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    ended = await here.begun(one)
    await one.sessions.end(ended.session.key, ended.grant.id, EndReason.LOGOUT)
    here.store.away = True
    for _ in range(40):
        here.clock.advance(1.0)
        with pytest.raises(StoreUnavailable):
            await one.confirmations.round()
        assert await one.sessions.load(key) == live
        assert await is_over(one, ended.session.key)

    here.store.away = False
    await one.confirmations.round()

    assert one.refresh.current_now(key) == live
    assert await is_over(one, ended.session.key)
    assert not one.refresh.may_go_up(ended)


async def test_an_end_elsewhere_counts_as_soon_as_the_store_is_back(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    await here.log_out_elsewhere(live)
    here.store.away = True
    here.clock.advance(10)
    cut_off = await one.sessions.load(key)

    here.store.away = False
    await one.confirmations.round()

    assert cut_off
    assert not one.refresh.may_go_up(live)
    assert await is_over(one, key)


# What the store has, and has not


async def test_a_record_whose_key_is_not_here_is_an_error_and_no_end(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    ring = KeyRing([Key("unknown here", b"u" * 32), Key("k", b"k" * 32)])
    records = Records(ring, CLIENT, one.runtime, prefix=PREFIX)
    newer = live.grant.with_tokens(live.grant.tokens)
    write = records.seal_grant(newer)
    saved = await here.store.save_grant(newer.user_tag, newer.id, write)
    another = await here.begun(one)
    two = await here.add()

    for _ in range(2 * FAILURES):
        with pytest.raises(KeyUnknown):
            await two.sessions.load(key)

    assert saved is SaveResult.SAVED
    assert await two.sessions.load(another.session.key)  # the store answers, and is asked
    record = await here.store.load_grant(newer.user_tag, newer.id)
    assert record
    assert not record.ended


async def test_a_session_has_the_grant_that_its_record_names_whatever_the_index_says(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    cookie = await one.parts.joining.join(key.user_tag, live.grant.id, user_agent="another browser")
    slot = here.store._slots[key.user_tag]
    slot.grants["another"] = replace(slot.grants[live.grant.id], record=Record(1, "w", b"other"))
    slot.index[key.digest] = "another"
    two = await here.add()

    loaded = await two.sessions.load(key)

    assert cookie
    assert loaded
    assert loaded.grant.id == live.grant.id


async def test_a_session_that_is_missing_is_asked_for_twice_before_it_is_believed(
    here: Here, live: Live, key: SessionKey
) -> None:
    two = await here.add()
    here.store._slots.clear()
    asked_at = here.clock.monotonic()

    assert await two.sessions.load(key) is None

    assert here.store.trips == ["load", "load"]
    assert 0.5 < here.clock.monotonic() - asked_at < 1.0


async def test_a_session_that_another_replica_puts_back_meanwhile_is_found(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    two = await here.add()
    here.store._slots.clear()
    here.store.after["load"] = one.confirmations.round

    assert await two.sessions.load(key) == live


async def test_after_an_interruption_a_missing_session_is_waited_for_as_long_as_others_may_look(
    here: Here, live: Live, key: SessionKey
) -> None:
    two = await here.add()
    here.store._slots.clear()
    asked_at = here.store.interrupted_at = here.clock.monotonic()

    assert await two.sessions.load(key) is None

    assert here.clock.monotonic() - asked_at >= 2.0


async def test_a_session_ends_at_its_absolute_end_though_it_was_just_confirmed(
    here: Here, one: Replica, key: SessionKey
) -> None:
    for hours in (71, 71, 26 - 0.5 / HOUR):
        here.clock.advance(hours * HOUR)
        assert await one.sessions.load(key)
        await one.settled()
    just_before = one.sessions.known(key)

    here.clock.advance(0.6)

    assert just_before
    assert one.sessions.known(key) is None
    with pytest.raises(SessionOver, match=EndReason.ABSOLUTE):
        await one.sessions.load(key)
    assert await is_over(await here.add(), key)


async def test_the_absolute_end_is_judged_by_the_clock_of_the_store() -> None:
    clock = FakeClock()

    class AnHourAhead(FakeClock):
        def now(self) -> float:
            return clock.now() + HOUR

    async with AsyncExitStack() as owned:
        here = Here(clock, WatchedStore(AnHourAhead()), owned)
        one = await here.add()
        live = await here.begun(one)
        for hours in (71, 71, 26 - 0.5 / HOUR):
            clock.advance(hours * HOUR)
            assert await one.sessions.load(live.session.key)
            await one.settled()
        just_before = one.sessions.known(live.session.key)

        clock.advance(0.6)

        assert just_before
        assert one.sessions.known(live.session.key) is None


async def test_a_session_that_has_idled_out_is_not_put_back_by_those_who_know_it(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    with one.sessions.held_open(live):  # so that it is confirmed, and not touched
        for _ in range(72 * 6):
            await one.confirmations.round()
            here.clock.advance(600)
        known = one.parts.cache.unconfirmed(key, 0.0, here.clock.monotonic())
        await one.confirmations.round()

    assert known == live
    assert await here.store.load(key) is None
    assert one.refresh.current_now(key) is None
    assert (
        one.parts.cache.unconfirmed(key, 0.0, here.clock.monotonic()) is None
    )  # nor served while the store is away
    assert await one.sessions.load(key) is None
    assert one.counted("put_back") == 0


async def test_a_request_does_not_put_back_a_session_that_has_idled_out(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    with one.sessions.held_open(live):
        for _ in range(72 * 6):
            await one.confirmations.round()
            here.clock.advance(600)

    assert await one.sessions.load(key) is None
    assert await here.store.load(key) is None


async def test_what_a_request_finds_lost_is_put_back_before_it_goes_on(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    here.clock.advance(1.0)
    here.store._slots.clear()

    assert await one.sessions.load(key) == live

    assert await (await here.add()).sessions.load(key) == live


async def test_something_of_a_session_is_open_until_the_last_of_it_is_closed(
    here: Here, one: Replica, live: Live
) -> None:
    names = {session_name(live.session.key), grant_name(live.grant.user_tag, live.grant.id)}

    async def confirmed() -> set[object]:
        here.clock.advance(61)
        await one.sessions.look_after_held_open()
        return {name for name, _ in one.parts.cache.to_confirm(here.clock.monotonic())}

    with one.sessions.held_open(live):
        with one.sessions.held_open(live):
            assert await confirmed() == names
        assert await confirmed() == names
        with (
            pytest.raises(OSError, match="the terminal broke off"),
            one.sessions.held_open(live),
        ):
            raise OSError("the terminal broke off")
        assert await confirmed() == names
    assert await confirmed() == set()


# With nothing to wait for

_LIVES = st.floats(2.0, 40_000.0)
_SHARES_OF_LIFE = st.floats(0.0, 1.2)
_WINDOWS = st.one_of(
    st.floats(0.01, 0.9).map(lambda share: RefreshWindow(share=share)),
    st.floats(1.0, 4000.0).map(lambda seconds: RefreshWindow(seconds=seconds)),
)
_MIN_LIVES = st.sampled_from([0.0, 30.0, 600.0])
_REFRESH_ENDS = st.one_of(st.none(), st.floats(1.0, 50_000.0))


@properties
@given(_LIVES, _SHARES_OF_LIFE, _WINDOWS, _MIN_LIVES, _REFRESH_ENDS)
def test_what_is_given_at_once_is_what_is_given_to_those_who_wait(
    life: float,
    share: float,
    window: RefreshWindow,
    min_life: float,
    refresh_ends_in: float | None,
) -> None:
    asyncio.run(_compare(life, share, window, min_life, refresh_ends_in))


async def _compare(
    life: float,
    share: float,
    window: RefreshWindow,
    min_life: float,
    refresh_ends_in: float | None,
) -> None:
    clock = FakeClock()
    async with AsyncExitStack() as owned:
        here = Here(clock, WatchedStore(clock), owned)
        one = await here.add(window)
        live = await here.begun(one, life=life)
        grant = live.grant
        ends_at = refresh_ends_in and clock.now() + refresh_ends_in
        grant = grant.with_tokens(replace(grant.tokens, refresh_token_expires_at=ends_at))
        assert await one.sessions.save(grant) is SaveResult.SAVED
        clock.advance(share * life)
        until = used_until(grant, window=window, min_life=min_life)
        assume(abs(until - clock.now()) > 0.001)
        await one.sessions.load(live.session.key)
        await one.settled()
        here.store.trips.clear()

        at_once = one.refresh.current_now(live.session.key, min_life=min_life)

        assert here.store.trips == []
        decision = decide(grant, clock.now(), window=window, min_life=min_life)
        assert (at_once is not None) == (decision.action is Action.USE)
        if at_once is not None:
            assert at_once == await one.refresh.current(live.session.key, min_life=min_life)
            assert usable_seconds(at_once.grant, clock.now()) > min(min_life, life / 2)
            assert here.store.trips == []


async def test_what_is_given_at_once_has_the_tokens_that_the_store_has_not_taken_yet(
    here: Here, one: Replica, live: Live
) -> None:
    newer = live.grant.with_tokens(
        TokenSet("new", here.clock.now(), here.clock.now() + HOUR, "a", None, "r", None,
                 here.clock.now() + 1)
    )  # fmt: skip
    here.store.away = True
    await one.refresh._saving.save(live.grant, newer)

    at_once = one.refresh.current_now(live.session.key)
    waited = await one.refresh.current(live.session.key)
    here.store.away = False
    await one.settled()

    assert at_once == waited == live._replace(grant=newer)
    stored = await one.sessions.load(live.session.key)
    assert stored == live._replace(grant=newer)


async def test_a_token_that_is_good_for_a_request_may_be_too_short_for_a_terminal(
    here: Here,
) -> None:
    one = await here.add(RefreshWindow(seconds=5))
    live = await here.begun(one, age=HOUR - 20)

    at_once = [one.refresh.current_now(live.session.key, min_life=life) for life in (0, 30, 0)]

    assert at_once == [live, None, live]


async def test_once_a_token_was_renewed_there_is_nothing_to_wait_for_again(
    here: Here, one: Replica
) -> None:
    live = await here.begun(one, age=HOUR - 20)
    due = one.refresh.current_now(live.session.key)
    now, two = here.clock.now(), await here.add()
    newer = live.grant.with_tokens(replace(live.grant.tokens, id_token_expires_at=now + HOUR))
    await two.sessions.save(newer)

    await one.confirmations.round()

    assert due is None
    assert one.refresh.current_now(live.session.key) == live._replace(grant=newer)


async def test_a_session_that_is_not_known_is_waited_for(here: Here, live: Live) -> None:
    two = await here.add()

    assert two.refresh.current_now(live.session.key) is None
    assert here.store.trips == []
    try:
        assert await two.refresh.current(live.session.key) == live
    except TryLater:
        pytest.fail("a session that the store has")


# A store that is away, and a clock that steps


async def test_those_who_queue_for_a_store_that_went_away_are_refused_at_once(
    here: Here, one: Replica
) -> None:
    here.store.away = True
    strangers = [SessionKey("u", str(number)) for number in range(1000)]

    answers = await asyncio.gather(
        *(one.sessions.load(key) for key in strangers), return_exceptions=True
    )

    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert here.store.trips.count("load") < 64


async def test_the_use_of_a_session_is_not_noted_in_a_store_that_fails(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    here.clock.advance(61)
    here.store.away = True

    for _ in range(50):
        here.clock.advance(0.01)
        with suppress(StoreUnavailable):
            await one.sessions.load(key)
        await one.settled()

    assert here.store.trips.count("touch") == 0


async def test_tokens_that_are_not_stored_yet_are_served_though_the_clock_stepped_back(
    here: Here, one: Replica, live: Live
) -> None:
    here.clock._now -= 60
    tokens = replace(live.grant.tokens, id_token="new", renewed_at=here.clock.now())
    newer = live.grant.with_tokens(tokens)
    here.store.away = True

    await one.refresh._saving.save(live.grant, newer)

    assert one.refresh._saving.latest(live).grant == newer
    here.store.away = False
    await one.settled()


async def test_what_is_given_at_once_has_no_ended_token_though_a_version_came_twice(
    here: Here, one: Replica, live: Live, key: SessionKey
) -> None:
    before = copy.deepcopy(here.store._slots)
    now = here.clock.now()
    lasting = replace(live.grant.tokens, id_token_issued_at=now, id_token_expires_at=now + 9e4)
    await one.sessions.save(live.grant.with_tokens(lasting))
    assert one.refresh.current_now(key)
    one.parts.cache.forget(session_name(key))
    one.parts.cache.forget(grant_name(live.grant.user_tag, live.grant.id))
    here.store._slots = before
    await (await here.add()).parts.joining.join(live.grant.user_tag, live.grant.id, user_agent="")

    here.clock.advance(2 * HOUR)
    await one.sessions.load(key)

    assert one.refresh.current_now(key) is None


async def test_a_session_whose_record_is_broken_is_over_for_all_replicas(
    here: Here, one: Replica, key: SessionKey
) -> None:
    two = await here.add()
    here.store._slots[key.user_tag].sessions[key.digest].record = Record(1, "broken", b"no seal")

    with pytest.raises(SessionOver, match=EndReason.UNREADABLE):
        await two.sessions.load(key)

    stored = await here.store.load(key)
    assert stored
    assert stored.session.ended == EndReason.UNREADABLE
