"""Renewed tokens that the store does not take, or has no place for any more."""

from dataclasses import replace

from structlog.testing import capture_logs

from sidecar.core.session import EndReason
from tests.flows.replica import Flows
from tests.flows.test_revocation import revoked


async def test_what_the_store_lost_of_a_renewal_is_given_up_and_revoked_after_a_while(
    here: Flows,
) -> None:
    live = await here.live(await here.logged_in())
    gone = replace(live.grant, id="gone")
    renewed = gone.with_tokens(replace(gone.tokens, renewed_at=here.clock.now()))

    with capture_logs() as logs:
        await here.first.refresh._saving.save(gone, renewed)
        await here.first.tasks.idle()

    assert "renewal_lost_with_its_record" in [line["event"] for line in logs]
    assert revoked(here) == 1


async def test_what_a_renewal_got_is_revoked_where_its_grant_was_joined_and_then_ended(
    here: Flows,
) -> None:
    """The session was joined before the tokens are to be stored, and logged out right after."""
    key = await here.logged_in()
    here.clock.advance(200)
    gate = here.provider.hold(after_commit=True)
    await here.first.refresh.current(key)
    await gate.reached()
    await here.joined(key)
    joined, other = (await here.live(key)).grant, await here.add()

    async def ended() -> None:
        assert await other.sessions.end_grant(joined, EndReason.LOGOUT)

    here.store.then["save_grant"].append(ended)
    gate.release()
    await here.first.tasks.idle()

    assert revoked(here) == 1
    assert not here.store.then["save_grant"]
