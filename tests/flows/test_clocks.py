"""Replicas whose clocks are wrong, or step: no storm of renewals, and nobody is logged out."""

from collections import deque
from collections.abc import Callable

import pytest

from sidecar.core.provider_profiles import Provider, profile_of
from sidecar.core.refresh_policy import MIN_INTERVAL_SECONDS
from sidecar.core.session import SessionKey
from sidecar.demo.misbehaviour import Answer, Drop
from sidecar.errors import TryLater
from sidecar.flows.knowledge import HOLD_SECONDS
from tests.flows.replica import Flows, Replica, SkewedClock
from tests.world import PacedClock

LIFE, LOOK_EVERY, HOUR = 300.0, 10.0, 3600.0
FOUR_MINUTES = 240.0


async def use(here: Flows, replicas: list[Replica], key: SessionKey, seconds: float) -> int:
    """Use a session on all replicas for so long, each time with a token that is good upstream.

    The upstream is in the replica's pod, and has its clock.
    """
    before = here.provider.refreshes
    for _ in range(round(seconds / LOOK_EVERY)):
        for replica in replicas:
            live = await replica.refresh.current(key)
            await replica.tasks.idle()
            assert live
            assert live.grant.tokens.id_token_expires_at > replica.runtime.clock.now()
        here.clock.advance(LOOK_EVERY)
    return here.provider.refreshes - before


async def test_true_clocks_renew_once_in_each_window(here: Flows) -> None:
    key = await here.logged_in()
    replicas = [here.first, await here.add(), await here.add()]

    assert HOUR / LIFE < await use(here, replicas, key, HOUR) <= 2 * HOUR / LIFE


@pytest.mark.parametrize("ahead", [(60, -60), (FOUR_MINUTES, -FOUR_MINUTES), (290, 0)])
async def test_skewed_replicas_serve_all_and_renew_now_and_then(
    here: Flows, ahead: tuple[float, float]
) -> None:
    key = await here.logged_in()
    skewed = [await here.add(SkewedClock(here.clock, each)) for each in ahead]

    renewals = await use(here, [here.first, *skewed], key, HOUR)

    assert renewals <= HOUR / MIN_INTERVAL_SECONDS
    assert here.provider.reuses == 0


@pytest.mark.parametrize("ahead", [FOUR_MINUTES, -FOUR_MINUTES])
async def test_a_provider_whose_clock_is_minutes_off_ends_nobody_and_is_not_stormed(
    here: Flows, ahead: float
) -> None:
    key = await here.logged_in()
    others = SkewedClock(here.clock, -ahead)
    replicas = [await here.add(others), await here.add(others)]

    renewals = await use(here, replicas, key, HOUR)

    assert renewals <= HOUR / MIN_INTERVAL_SECONDS
    assert here.provider.reuses == 0


@pytest.mark.parametrize("ahead", [60.0, -60.0])
async def test_an_answer_that_a_skewed_replica_lost_is_asked_for_again_within_the_reuse_window(
    here: Flows, ahead: float
) -> None:
    okta = profile_of(Provider.OKTA)
    assert okta
    here.profile = okta
    here.provider.settings.reuse_window_seconds = okta.reuse_window_seconds
    skewed = await here.add(SkewedClock(here.clock, ahead))
    other = await here.add()
    key = await here.logged_in()
    here.clock.advance(LIFE - 30)
    grant = (await here.live(key)).grant
    here.provider.script.append(Drop(after_commit=True))
    await skewed.refresh.renew_behind(grant)

    here.clock.advance(10)
    live = await other.refresh.current(key)
    await other.tasks.idle()

    assert live
    renewed = (await here.live(key)).grant
    assert renewed.renewals == grant.renewals + 1
    assert here.provider.reuses == 0


@pytest.mark.parametrize("leap", [HOUR, 24 * HOUR])
async def test_a_clock_that_leaps_and_comes_back_leaves_no_wait_behind(
    here: Flows, leap: float
) -> None:
    """A renewal fails while the clock is wrong; once that is right, it is tried again soon."""
    key = await here.logged_in()
    clock = SkewedClock(here.clock, 0.0)
    leaping = await here.add(clock)
    assert await leaping.refresh.current(key)
    here.clock.advance(LIFE + 1)
    clock.ahead = leap
    here.provider.script.append(Answer(status=503, headers={"Retry-After": "5"}))
    with pytest.raises(TryLater):
        await leaping.refresh.current(key)
    clock.ahead = 0.0

    here.clock.advance(31)

    live = await leaping.refresh.current(key)
    await leaping.tasks.idle()
    assert live
    assert live.grant.tokens.id_token_expires_at > here.clock.now()


async def test_a_provider_that_was_away_is_asked_again_though_the_clock_stepped_back_meanwhile(
    here: Flows,
) -> None:
    keys = [await here.logged_in() for _ in range(6)]
    clock = SkewedClock(here.clock, 0.0)
    leaping = await here.add(clock)
    here.clock.advance(LIFE + 1)
    clock.ahead = HOUR
    here.provider.script.extend([Answer(status=503)] * 5)
    for key in keys[:5]:
        with pytest.raises(TryLater):
            await leaping.refresh.current(key)
    assert leaping.refresh.provider_away
    clock.ahead = 0.0

    here.clock.advance(31)

    await leaping.refresh.renew_behind((await here.live(keys[5])).grant)

    assert not leaping.refresh.provider_away


class StoppingClock(SkewedClock):
    """A process that is stopped at the end of its next sleeps, for so long each time."""

    def __init__(self, clock: PacedClock, stops: list[float]) -> None:
        super().__init__(clock, 0.0)
        self.stops = deque(stops)
        self.slept: list[float] = []
        self.woken: Callable[[], None] = lambda: None

    async def sleep(self, seconds: float) -> None:
        """Sleep, and wake up late."""
        self.slept.append(seconds)
        await super().sleep(seconds)
        self._clock.advance(self.stops.popleft() if self.stops else 0.0)
        self.woken()


@pytest.mark.parametrize(("stops", "waits"), [([], 1), ([60.0], 2), ([60.0, 60.0, 60.0], 2)])
async def test_who_stood_still_while_others_might_tell_more_waits_once_more_and_not_for_ever(
    here: Flows, stops: list[float], waits: int
) -> None:
    """After a store was reached again, another replica may put a newer grant back."""
    key = await here.logged_in()
    clock = StoppingClock(here.clock, stops)
    stopping = await here.add(clock)
    here.clock.advance(LIFE + 1)
    here.store.interrupted_at = here.clock.monotonic()

    assert await stopping.refresh.current(key)

    assert clock.slept.count(HOLD_SECONDS) == waits
    assert here.provider.refreshes == 1


async def test_while_the_store_breaks_off_again_and_again_nobody_asks_the_provider(
    here: Flows,
) -> None:
    key = await here.logged_in()
    clock = StoppingClock(here.clock, [])
    waiting = await here.add(clock)
    here.clock.advance(LIFE + 1)
    asked = here.provider.token_requests

    def breaks_off() -> None:
        here.store.interrupted_at = here.clock.monotonic()

    clock.woken = breaks_off
    breaks_off()
    with pytest.raises(TryLater):
        await waiting.refresh.current(key)

    assert here.provider.token_requests == asked
    clock.woken = lambda: None
    here.clock.advance(31)
    assert await waiting.refresh.current(key)
