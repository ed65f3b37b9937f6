"""Sessions of one user that share a grant, at a provider with one refresh token per user."""

import pytest

from sidecar.core.grant import Sharing
from sidecar.core.session import EndReason
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.flows.records import Client
from sidecar.ports import Record
from tests.flows.replica import FailingStore, Flows, logs_in


async def test_a_second_login_puts_its_tokens_into_the_shared_grant(here: Flows) -> None:
    laptop = await here.logged_in(Sharing.PER_USER)
    before = await here.first.sessions.load(laptop)

    phone = await here.logged_in(Sharing.PER_USER)

    first, second = await here.first.sessions.load(laptop), await here.first.sessions.load(phone)
    assert before
    assert first
    assert second
    assert first.grant == second.grant
    assert first.grant.id == before.grant.id
    assert first.grant.tokens.refresh_token != before.grant.tokens.refresh_token
    assert [o.refresh_token for o in first.grant.others] == [before.grant.tokens.refresh_token]


async def test_sessions_of_other_providers_share_nothing(here: Flows) -> None:
    laptop = await here.logged_in()
    phone = await here.logged_in()

    first, second = await here.first.sessions.load(laptop), await here.first.sessions.load(phone)

    assert first
    assert second
    assert first.grant.id != second.grant.id


async def test_two_configurations_over_one_store_share_no_grant(here: Flows) -> None:
    laptop = await here.logged_in(Sharing.PER_USER)
    other = await here.add()
    other.parts.records.client = Client(here.provider.issuer, "another-client")
    tokens, claims = await here.signed_in()

    cookie, grant = await other.parts.joining.start(
        tokens, claims, nonce="a-nonce", user_agent="test", sharing=Sharing.PER_USER
    )

    live = await here.first.sessions.load(laptop)
    assert live
    assert grant.id != live.grant.id
    assert grant.user_tag != live.grant.user_tag
    assert other.sessions.read_cookies([cookie])


async def test_a_session_on_a_shared_grant_of_another_client_is_not_joined(here: Flows) -> None:
    """A record that was moved there by somebody who may write to the store."""
    laptop = await here.logged_in(Sharing.PER_USER)
    other = await here.add()
    other.parts.records.client = Client(here.provider.issuer, "another-client")

    with pytest.raises(SessionOver, match=EndReason.OTHER_PROVIDER):
        await other.sessions.load(laptop)


async def test_a_login_that_the_store_does_not_take_gives_its_tokens_to_the_users_others(
    here: Flows,
) -> None:
    laptop = await here.logged_in(Sharing.PER_USER)
    tokens, claims = await here.signed_in()
    here.store.saves.extend([FailingStore.BEFORE] * 7)

    await here.first.parts.joining.keep_for_others(tokens, claims, nonce="a-nonce")

    live = await here.first.sessions.load(laptop)
    assert live
    assert live.grant.tokens == tokens
    assert sum(here.clock.slept) < 10


async def test_a_login_that_nobody_shares_with_is_not_kept(here: Flows) -> None:
    tokens, claims = await here.signed_in()

    await here.first.parts.joining.keep_for_others(tokens, claims, nonce="a-nonce")

    assert not here.clock.slept


async def test_nobody_joins_a_grant_that_is_gone(here: Flows) -> None:
    joining = here.first.parts.joining

    assert await joining.join("nobody", "gone", user_agent="test") is None


async def test_a_grant_that_always_changes_is_joined_later_and_not_said_to_have_ended(
    here: Flows,
) -> None:
    key = await here.logged_in()
    grant, other = (await here.live(key)).grant, await here.add()

    async def changed() -> None:
        assert await other.parts.joining.join(grant.user_tag, grant.id, user_agent="another")

    here.store.then["load_grant"].extend([changed] * 30)
    with pytest.raises(StoreUnavailable):
        await here.first.parts.joining.join(grant.user_tag, grant.id, user_agent="test")

    assert await here.joined(key)


async def test_two_logins_of_one_user_at_once_both_get_their_session_on_one_grant(
    here: Flows,
) -> None:
    laptop = await here.logged_in(Sharing.PER_USER)
    phone = logs_in(await here.add(), await here.signed_in())

    here.store.then["load_grant"].append(phone)
    tablet = await here.logged_in(Sharing.PER_USER)

    grant = (await here.live(laptop)).grant
    assert (await here.live(tablet)).grant == grant
    assert (await here.store.user_sessions(laptop.user_tag, limit=9)).count == 3
    assert len(grant.others) == 2


async def test_a_login_whose_shared_grant_always_changes_may_be_tried_again(here: Flows) -> None:
    await here.logged_in(Sharing.PER_USER)
    others = logs_in(await here.add(), await here.signed_in())

    here.store.then["load_grant"].extend([others] * 30)
    with pytest.raises(StoreUnavailable):
        await here.logged_in(Sharing.PER_USER)

    assert await here.logged_in(Sharing.PER_USER)


async def test_tokens_that_nobody_can_be_given_are_given_up_after_a_minute(here: Flows) -> None:
    await here.logged_in(Sharing.PER_USER)
    tokens, claims = await here.signed_in()
    here.store.saves.extend([FailingStore.STUCK] * 10_000)
    began_at = here.clock.monotonic()

    await here.first.parts.joining.keep_for_others(tokens, claims, nonce="a-nonce")

    assert 60 <= here.clock.monotonic() - began_at < 70


@pytest.mark.parametrize("became", ["damaged", "ended"])
async def test_a_shared_grant_that_is_over_makes_room_for_that_of_the_next_login(
    here: Flows, became: str
) -> None:
    laptop = await here.logged_in(Sharing.PER_USER)
    grant = (await here.live(laptop)).grant
    if became == "damaged":
        entry = here.store._slots[laptop.user_tag].grants[grant.id]
        entry.record = Record(entry.record.version, "damaged", b"no record")
    else:
        here.store.then["shared_grant"].append(
            lambda: here.first.sessions.end_grant(grant, EndReason.LOGOUT)
        )

    phone = await here.logged_in(Sharing.PER_USER)

    assert (await here.live(phone)).grant.id != grant.id
    assert await here.store.shared_grant(phone.user_tag) == (await here.live(phone)).grant.id
    ended = await here.store.load_grant(laptop.user_tag, grant.id)
    assert ended
    assert ended.ended


async def test_nobody_joins_a_grant_that_has_ended_or_ends_meanwhile(here: Flows) -> None:
    grant = (await here.live(await here.logged_in())).grant
    other = await here.add()

    async def ended() -> None:
        assert await other.sessions.end_grant(grant, EndReason.LOGOUT)

    async def join() -> str | None:
        joining = here.first.parts.joining
        return await joining.join(grant.user_tag, grant.id, user_agent="test")

    here.store.then["load_grant"].append(ended)
    assert await join() is None
    assert not here.store.then["load_grant"]

    assert await join() is None
