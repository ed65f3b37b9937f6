"""One renewal of a grant, and what comes between its reading, its asking and its keeping."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from sidecar.core.grant import Grant, Sharing
from sidecar.core.id_token import IdTokenClaims
from sidecar.core.session import SessionKey
from sidecar.core.timings import Timings
from sidecar.core.tokens import TokenSet
from sidecar.errors import SessionOver, TryLater
from sidecar.flows.records import Live
from sidecar.flows.saving import SAVED_BY_THEN_SECONDS
from tests.flows.replica import FailingStore, Flows, Happens, Replica, logs_in
from tests.flows.test_lost_provider import metric
from tests.world import eventually

LIFE = 300.0


Waiting = asyncio.Task[Live | None]
Given = tuple[TokenSet, IdTokenClaims]


async def asking(here: Flows, key: SessionKey) -> tuple[Waiting, Callable[[], None]]:
    """Who waits for a renewal that stands at the provider's door, and what lets it go on."""
    gate = here.provider.hold()
    waiting = asyncio.ensure_future(here.first.refresh.current(key))
    await gate.reached()
    return waiting, gate.release


def joins(other: Replica, key: SessionKey, grant: Grant) -> Happens:
    """A repeated callback, which another replica gives a session on the same grant."""
    return lambda: other.parts.joining.join(key.user_tag, grant.id, user_agent="another")


# Before the provider is asked


async def test_a_grant_that_changes_before_its_intent_is_written_is_read_again_and_renewed_once(
    here: Flows,
) -> None:
    key = await here.logged_in()
    grant, other = (await here.live(key)).grant, await here.add()
    here.clock.advance(LIFE + 1)

    here.store.then["load_grant"].append(joins(other, key, grant))
    live = await here.first.refresh.current(key)

    assert live
    assert live.grant.renewals == here.provider.refreshes == 1
    assert metric(here.first, "lost_races_total") == 1


async def test_whoever_finds_that_another_has_just_asked_waits_for_what_that_one_may_hold(
    here: Flows,
) -> None:
    """The other has the answer in memory, has given the lease back, and saves it behind."""
    key = await here.logged_in()
    other = await here.add()
    here.clock.advance(LIFE + 1)
    assert await other.sessions.load(key)
    here.store.saves.extend(["", FailingStore.BEFORE])  # the intent, then the answer
    first = await here.first.refresh.current(key)

    second = await other.refresh.current(key)
    await here.first.tasks.idle()

    assert first
    assert second
    assert second.grant.tokens == first.grant.tokens
    assert (here.provider.refreshes, here.provider.reuses) == (1, 0)
    assert SAVED_BY_THEN_SECONDS in here.clock.slept


async def test_who_has_a_token_does_not_wait_for_the_replica_that_renews(here: Flows) -> None:
    key = await here.logged_in()
    other = await here.add()
    here.clock.advance(200)
    assert await other.sessions.load(key)
    waiting, go_on = await asking(here, key)
    slept = len(here.clock.slept)

    assert await other.refresh.current(key)
    await other.tasks.idle()

    assert metric(other, "lease_waits_total") == 1
    assert len(here.clock.slept) == slept
    go_on()
    await waiting
    await here.first.tasks.idle()


async def test_who_waits_for_another_replica_in_vain_renews_by_itself_in_the_end(
    here: Flows,
) -> None:
    key = await here.logged_in()
    other = await here.add()
    here.clock.advance(LIFE + 1)
    waiting, go_on = await asking(here, key)
    second = asyncio.ensure_future(other.refresh.current(key))
    await eventually(lambda: metric(other, "lease_waits_total") >= 2)

    here.provider.settings.client_secret = "another"
    go_on()
    with pytest.raises(TryLater):
        await waiting
    here.provider.settings.client_secret = "demo-secret"

    assert await second
    assert (here.provider.refreshes, here.provider.reuses) == (1, 0)


# A provider that refuses


async def about_to_be_refused(here: Flows) -> tuple[Waiting, Callable[[], None], Given]:
    """Who waits for a renewal that will be refused, what lets it go on, and a login meanwhile."""
    key = await here.logged_in(Sharing.PER_USER)
    here.clock.advance(LIFE + 1)
    waiting, go_on = await asking(here, key)
    here.provider.end_all()
    return waiting, go_on, await here.signed_in()


async def test_a_login_that_comes_while_the_old_token_is_refused_saves_the_session(
    here: Flows,
) -> None:
    waiting, go_on, given = await about_to_be_refused(here)

    await logs_in(await here.add(), given)()
    go_on()

    live = await waiting
    assert live
    assert live.grant.tokens == given[0]


async def test_a_login_that_is_stored_right_after_its_predecessor_was_refused_saves_the_session(
    here: Flows,
) -> None:
    waiting, go_on, given = await about_to_be_refused(here)

    here.store.then["load_grant"].append(logs_in(await here.add(), given))
    go_on()

    live = await waiting
    assert live
    assert live.grant.tokens == given[0]


async def test_a_login_that_comes_while_a_refused_grant_is_ended_saves_the_session(
    here: Flows,
) -> None:
    waiting, go_on, given = await about_to_be_refused(here)

    async def nothing() -> None: ...

    # A grant that is shared is read twice before it is ended.
    here.store.then["load_grant"].extend([nothing, logs_in(await here.add(), given)])
    go_on()

    live = await waiting
    assert live
    assert live.grant.tokens == given[0]


async def test_of_two_logins_tokens_the_older_one_is_tried_where_the_newer_is_refused(
    here: Flows,
) -> None:
    key = await here.logged_in(Sharing.PER_USER)
    await here.logged_in(Sharing.PER_USER)
    grant = (await here.live(key)).grant
    await here.first.identity.revoke(grant.tokens.refresh_token)
    here.clock.advance(LIFE + 1)

    live = await here.first.refresh.current(key)

    assert live
    assert live.grant.others == ()
    assert (here.provider.refreshes, here.provider.reuses) == (1, 0)


async def test_a_client_that_is_refused_takes_a_login_that_came_meanwhile_nothing_away(
    here: Flows,
) -> None:
    key = await here.logged_in(Sharing.PER_USER)
    here.clock.advance(LIFE + 1)
    waiting, go_on = await asking(here, key)
    given = await here.signed_in()
    here.provider.settings.client_secret = "another"

    await logs_in(await here.add(), given)()
    go_on()

    live = await waiting
    assert live
    assert live.grant.tokens == given[0]
    assert not live.grant.answer_unknown


async def test_whoever_is_refused_too_late_leaves_the_intent_of_the_one_that_asks_now(
    here: Flows,
) -> None:
    """Its lease has run out, and another replica has noted that it tries the token once more."""
    key = await here.logged_in()
    other = await here.add()
    here.clock.advance(LIFE + 1)
    late, go_on = await asking(here, key)
    here.clock.advance(here.first.refresh.lease_seconds)
    gate = here.provider.hold()
    now = asyncio.ensure_future(other.refresh.current(key))
    await gate.reached()
    here.provider.settings.client_secret = "another"

    go_on()
    with pytest.raises(TryLater):
        await late
    assert (await here.live(key)).grant.answer_unknown

    here.provider.settings.client_secret = "demo-secret"
    gate.release()
    assert await now
    assert (here.provider.refreshes, here.provider.reuses) == (1, 0)


async def test_an_unspent_token_is_not_lost_to_those_who_join_its_grant_all_the_while(
    here: Flows,
) -> None:
    """They join as often as the intent would be taken back; then it stays, as if in doubt."""
    key = await here.logged_in()
    here.clock.advance(200)
    waiting, go_on = await asking(here, key)
    here.provider.settings.client_secret = "another"
    joined = joins(await here.add(), key, (await here.live(key)).grant)

    await joined()
    here.store.then["load_grant"].extend([joined] * 5)
    go_on()
    await waiting
    await here.first.tasks.idle()

    assert not here.store.then["load_grant"]
    here.provider.settings.client_secret = "demo-secret"
    here.clock.advance(LIFE - 199)
    assert await here.first.refresh.current(key)
    assert (here.provider.refreshes, here.provider.reuses) == (1, 0)


async def test_a_grant_that_is_over_ends_though_others_join_it_all_the_while(here: Flows) -> None:
    key = await here.logged_in()
    here.clock.advance(LIFE + 1)
    waiting, go_on = await asking(here, key)
    here.provider.end_all()
    joined = joins(await here.add(), key, (await here.live(key)).grant)

    here.store.then["load_grant"].extend([joined] * 6)
    go_on()

    with pytest.raises(SessionOver):
        await waiting
    assert not here.store.then["load_grant"]


# What is kept of an answer


@pytest.mark.parametrize("keys", ["refused", "slow"])
async def test_a_new_refresh_token_is_kept_though_the_keys_for_its_id_token_cannot_be_read(
    here: Flows, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    """By a process that has just started, and has never read them."""
    key, fast_enough = await here.logged_in(), asyncio.Event()
    before = (await here.live(key)).grant.tokens
    started = await here.add(timings=Timings(keys_seconds=0.05))
    here.clock.advance(200)

    async def away(_: web.Request) -> web.Response:
        if keys == "slow":
            await fast_enough.wait()
        return web.Response(status=503)

    with monkeypatch.context() as patched:
        patched.setattr(here.provider, "_jwks", away)
        assert await started.refresh.current(key)
        await started.tasks.idle()
    fast_enough.set()

    tokens = (await here.live(key)).grant.tokens
    assert tokens.refresh_token != before.refresh_token
    assert tokens.id_token == before.id_token
    assert metric(started, "renewals_total", result="passing") == 1
    here.clock.advance(LIFE - 199)
    assert await here.first.refresh.current(key)
    assert (here.provider.refreshes, here.provider.reuses) == (2, 0)


async def test_a_key_that_changes_while_the_keys_cannot_be_read_is_nothing_to_mend(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await here.logged_in()
    here.clock.advance(200)
    here.provider.rotate_keys()

    async def away(_: web.Request) -> web.Response:
        return web.Response(status=503)

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(here.provider, "_jwks", away)
        assert await here.first.refresh.current(key)
        await here.first.tasks.idle()

    assert metric(here.first, "renewals_total", result="passing") == 1
    assert "id_token_refused" not in [line["event"] for line in logs]
    here.clock.advance(LIFE - 199)
    assert await here.first.refresh.current(key)
    assert (here.provider.refreshes, here.provider.reuses) == (2, 0)


async def test_a_grant_that_is_lost_while_its_lease_is_taken_is_asked_for_nothing(
    here: Flows,
) -> None:
    key = await here.logged_in()
    here.clock.advance(LIFE + 1)
    before = here.provider.token_requests

    async def lost() -> None:
        # And this process stood still for so long that it may bring nothing back.
        here.store._slots.clear()
        here.clock.advance(700)

    here.store.then["take_lease"].append(lost)

    assert await here.first.refresh.current(key) is None
    assert here.provider.token_requests == before
