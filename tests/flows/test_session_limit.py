"""So many sessions for each user: with one more, the one that was unused the longest ends."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from sidecar.core.grant import Sharing
from sidecar.core.session import EndReason, SessionKey
from sidecar.errors import SessionOver, StoreUnavailable
from tests.flows.replica import Flows, Replica

MOST = 3


@pytest.fixture(autouse=True)
def few(here: Flows) -> None:
    limit(here.first)


def limit(replica: Replica) -> None:
    replica.sessions.lifetimes = replace(replica.sessions.lifetimes, max_sessions=MOST)


async def lives(replica: Replica, key: SessionKey) -> bool:
    try:
        return await replica.sessions.load(key) is not None
    except SessionOver as over:
        return over.reason != EndReason.TOO_MANY_SESSIONS


async def logged_in(here: Flows, sharing: Sharing = Sharing.PER_SESSION) -> SessionKey:
    here.clock.advance(1)
    return await here.logged_in(sharing)


@pytest.mark.parametrize("sharing", Sharing)
async def test_with_one_more_the_one_unused_the_longest_ends_and_no_other(
    here: Flows, sharing: Sharing
) -> None:
    keys = [await logged_in(here, sharing) for _ in range(MOST)]
    here.clock.advance(61)
    assert await lives(here.first, keys[0])  # it is used, and that is noted
    await here.first.tasks.idle()

    with capture_logs() as lines:
        newest = await logged_in(here, sharing)

    assert [await lives(here.first, key) for key in (*keys, newest)] == [True, False, True, True]
    registry = here.first.metrics.registry
    for name in ("ended_sessions", "forced_logins"):
        labels = {"reason": "too_many_sessions"}
        assert registry.get_sample_value(f"argocd_token_refresh_{name}_total", labels) == 1
    [line] = [line for line in lines if line["event"] == "session_ended"]
    assert (line["user"], line["reason"]) == (newest.user_tag, "too_many_sessions")


async def test_another_replica_and_what_is_open_there_know_within_a_round(here: Flows) -> None:
    oldest = await logged_in(here)
    other = await here.add()
    live = await other.refresh.current(oldest)
    assert live
    closed: list[SessionKey] = []
    other.sessions.close_open = closed.append
    with other.sessions.held_open(live):
        for _ in range(MOST):
            await logged_in(here)

        await other.parts.confirmations.round()

        assert set(closed) == {oldest}
    assert not await lives(other, oldest)


async def test_of_many_logins_at_once_on_two_replicas_as_many_as_may_be_are_left(
    here: Flows,
) -> None:
    other = await here.add()
    limit(other)
    found = [await here.signed_in() for _ in range(12)]

    cookies = await asyncio.gather(
        *(
            (here.first, other)[number % 2].parts.joining.start(
                *given, nonce="a-nonce", user_agent="test"
            )
            for number, given in enumerate(found)
        )
    )

    await here.first.parts.confirmations.round()
    keys = [here.first.sessions.read_cookies([cookie]) for cookie, _ in cookies]
    alive = [await lives(here.first, key) for key in keys if key]
    assert (len(alive), sum(alive)) == (12, MOST)


async def test_a_repeated_callback_cannot_make_more_of_them(here: Flows) -> None:
    first = await here.logged_in()
    live = await here.first.sessions.load(first)
    assert live
    keys = []
    for _ in range(3 * MOST):
        here.clock.advance(1)
        cookie = await here.first.parts.joining.join(
            live.grant.user_tag, live.grant.id, user_agent="again"
        )
        keys.append(here.first.sessions.read_cookies([cookie or ""]))

    assert sum([await lives(here.first, key) for key in (first, *keys) if key]) == MOST


async def test_a_login_is_no_worse_for_a_store_that_cannot_be_looked_at(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [await logged_in(here) for _ in range(MOST)]

    async def fails(key: SessionKey, *, most: int) -> list[tuple[SessionKey, str]]:
        raise StoreUnavailable("told to fail")

    with monkeypatch.context() as patched:
        patched.setattr(here.store, "surplus", fails)
        newest = await logged_in(here)
    assert await lives(here.first, newest)

    await logged_in(here)

    assert [await lives(here.first, key) for key in keys] == [False, False, True]
