"""What an operator ends: tombstones for all, and what the provider and Argo CD are told."""

import pytest
from aiohttp import web

from sidecar.core.session import ENDED_BY_OPERATOR, SessionKey
from sidecar.errors import StoreUnavailable
from sidecar.flows.cache import grant_name
from sidecar.flows.ending import Done, Ending, Revoked
from sidecar.flows.walk import Found, Walk
from sidecar.ports import Record, RecordName, SaveResult, Upstream
from tests.flows.replica import Flows, NoUpstream
from tests.flows.test_logout import AwayUpstream
from tests.flows.test_revocation import queued, revoked


def ending(here: Flows, upstream: Upstream | None = None) -> Ending:
    """An operator who has refresh tokens revoked."""
    return Ending(
        here.store,
        here.first.parts.records,
        here.clock,
        provider=here.first.identity,
        revocations=here.first.revocations,
        upstream=upstream,
    )


async def found(here: Flows, key: SessionKey) -> Found:
    (one,) = await Walk(here.store, here.first.parts.records).look([key])
    return one


async def name_of(here: Flows, key: SessionKey) -> RecordName:
    grant = (await here.live(key)).grant
    return grant_name(grant.user_tag, grant.id)


async def ended(here: Flows, name: RecordName) -> str:
    record = await here.store.load_grant(name.user_tag, name.id)
    assert record
    return record.ended


async def test_a_session_that_shares_its_grant_ends_alone(here: Flows) -> None:
    key = await here.logged_in()
    other = await here.joined(key)

    assert await ending(here).end(await found(here, key)) == Done(last=False)

    assert revoked(here) == 0
    assert await Walk(here.store, here.first.parts.records).look([key]) == []
    assert (await found(here, other)).key == other


async def test_with_the_last_session_the_refresh_token_that_its_grant_has_by_then_is_revoked(
    here: Flows,
) -> None:
    key = await here.logged_in()
    seen = await found(here, key)
    here.clock.advance(301)
    assert await here.first.refresh.current(key)  # since it was found

    assert await ending(here).end(seen) == Done(True, Revoked.DONE)

    assert [event.kind for event in here.provider.log][-2:] == ["refresh", "revoked"]
    assert await ended(here, grant_name(key.user_tag, seen.grant_id)) == ENDED_BY_OPERATOR


async def test_a_session_without_a_refresh_token_has_nothing_to_revoke(here: Flows) -> None:
    key = await here.logged_in(refreshable=False)

    assert await ending(here).end(await found(here, key)) == Done(True, Revoked.NOTHING)


async def test_a_token_of_which_the_provider_knows_that_it_is_over_needs_nobody_any_more(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await here.logged_in()

    async def over(_: web.Request) -> web.Response:
        return web.json_response({"error": "invalid_grant"}, status=400)

    monkeypatch.setattr(here.provider, "_revoke", over)

    assert await ending(here).end(await found(here, key)) == Done(True, Revoked.NOTHING)
    assert await queued(here) == []


async def test_what_the_provider_refuses_waits_in_the_queue_for_the_replicas(here: Flows) -> None:
    key = await here.logged_in()
    here.provider.settings.client_secret = "another"

    assert await ending(here).end(await found(here, key)) == Done(True, Revoked.QUEUED)
    assert len(await queued(here)) == 1


@pytest.mark.parametrize(("fault", "said"), [("away", Revoked.AWAY), ("secret", Revoked.REFUSED)])
async def test_what_could_be_neither_revoked_nor_queued_is_said_to_be_left(
    here: Flows, fault: str, said: Revoked
) -> None:
    key = await here.logged_in()
    seen = await found(here, key)
    here.store.refuses_revocations = True
    here.provider.available = fault != "away"
    here.provider.settings.client_secret = "another"

    done = await ending(here).end(seen)

    assert done == Done(True, said)
    assert done.revoked.failed


async def test_a_provider_that_revokes_nothing_is_said_to_be_one(here: Flows) -> None:
    here.provider.settings.revocation_endpoint = False
    key = await here.logged_in()

    assert await ending(here).end(await found(here, key)) == Done(True, Revoked.NO_ENDPOINT)


async def test_of_a_session_that_nobody_here_can_read_it_is_said_what_was_not_told_to_anybody(
    here: Flows,
) -> None:
    key = await here.logged_in()
    slot = here.store._slots[key.user_tag]
    for entry in (*slot.sessions.values(), *slot.grants.values()):
        entry.record = Record(1, "newer", b"?", newer=True)

    done = await ending(here, NoUpstream()).end(await found(here, key))

    assert done == Done(True, Revoked.UNREADABLE, told=False)
    assert slot.sessions[key.digest].record.ended == ENDED_BY_OPERATOR


@pytest.mark.parametrize(("upstream", "told"), [(NoUpstream(), True), (AwayUpstream(), False)])
async def test_it_is_said_whether_argo_cd_was_told(
    here: Flows, upstream: Upstream, told: bool
) -> None:
    key = await here.logged_in()

    done = await ending(here, upstream).end(await found(here, key))

    assert done == Done(True, Revoked.DONE, told=told)


async def test_a_grant_that_is_renewed_meanwhile_ends_with_what_it_has_got(here: Flows) -> None:
    key = await here.logged_in()
    name, grant, other = await name_of(here, key), (await here.live(key)).grant, await here.add()
    here.clock.advance(200)

    async def renewed() -> None:
        await other.refresh.renew_behind(grant)
        await other.tasks.idle()

    here.store.then["load_grant"].append(renewed)

    assert await ending(here).end_grant(name) == Done(True, Revoked.DONE)

    assert await ended(here, name) == ENDED_BY_OPERATOR
    assert [event.kind for event in here.provider.log][-2:] == ["refresh", "revoked"]


async def test_a_grant_that_always_changes_is_not_passed_over_as_if_it_had_ended(
    here: Flows,
) -> None:
    key = await here.logged_in()
    name = await name_of(here, key)

    async def changed() -> None:
        grant = (await here.live(key)).grant
        assert await here.first.sessions.save(grant.without_intent()) is SaveResult.SAVED

    here.store.then["load_grant"].extend([changed] * 5)
    with pytest.raises(StoreUnavailable):
        await ending(here).end_grant(name)

    assert await ending(here).end_grant(name) == Done(True, Revoked.DONE)


async def test_a_grant_that_has_ended_or_is_gone_is_not_ended_again(here: Flows) -> None:
    key = await here.logged_in()
    name = await name_of(here, key)
    assert await ending(here).end_grant(name)

    assert await ending(here).end_grant(name) is None
    assert await ending(here).end_grant(grant_name(key.user_tag, "gone")) is None
    assert revoked(here) == 1
