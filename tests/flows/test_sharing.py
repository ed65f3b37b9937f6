"""Sessions of one user that share a grant, at a provider with one refresh token per user."""

import pytest

from sidecar.core.grant import Sharing
from sidecar.core.session import EndReason
from sidecar.errors import SessionOver
from sidecar.flows.records import Client
from tests.flows.replica import FailingStore, Flows


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
