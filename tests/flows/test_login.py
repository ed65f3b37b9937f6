"""A login, from the code to the session, where something fails in between."""

import pytest
from structlog.testing import capture_logs

from sidecar.core.authorization import (
    AuthorizationResponse,
    LoginAttempt,
    OfflineAccess,
    read_authorization_response,
)
from sidecar.core.grant import Sharing
from sidecar.core.provider_profiles import Provider, profile_of
from sidecar.errors import LoginRefused, StoreUnavailable
from sidecar.flows.limits import LoginLimits
from sidecar.flows.login import Login, LoginSettings
from sidecar.ports import SaveResult
from tests.demo.client import ADA, REDIRECT_URI, location_parameters
from tests.flows.replica import PREFIX, RING, Flows
from tests.flows.test_revocation import revoked
from tests.world import plain_http

SCOPES = ("openid", "profile", "email", "groups")


def logins(here: Flows) -> Login:
    replica = here.first
    return Login(
        replica.sessions,
        replica.parts.joining,
        here.store,
        replica.identity,
        RING,
        replica.parts.records.client,
        LoginSettings(SCOPES, OfflineAccess.AUTO),
        replica.schedule,
        replica.runtime,
        LoginLimits(replica.runtime),
        prefix=PREFIX,
    )


async def signed_in(flow: Login) -> tuple[AuthorizationResponse, LoginAttempt]:
    """What a browser brings to the callback."""
    url, attempt, _ = await flow.start("/", REDIRECT_URI)
    async with plain_http() as http:
        answer = await http.post(url, data=ADA, allow_redirects=False)
    return read_authorization_response(list(location_parameters(answer).items())), attempt


@pytest.mark.parametrize("away", [False, True])
async def test_tokens_of_which_no_session_comes_are_given_back_if_the_provider_is_there(
    here: Flows, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    flow = logins(here)
    response, attempt = await signed_in(flow)

    async def no_place(*_: object, **__: object) -> SaveResult:
        here.provider.available = not away
        raise StoreUnavailable("told to fail")

    monkeypatch.setattr(here.store, "attach", no_place)
    with capture_logs() as logs:
        with pytest.raises(StoreUnavailable):
            await flow.finish(response, attempt, user_agent="test")
        await here.first.tasks.idle()

    assert revoked(here) == (0 if away else 1)
    assert ("not_revoked" in [line["event"] for line in logs]) == away


async def test_tokens_of_which_no_session_comes_go_to_the_users_others_at_a_dex(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.profile = profile_of(Provider.DEX) or here.profile
    here.replicas[0] = await here.add()
    key = await here.logged_in(Sharing.PER_USER)
    before = (await here.live(key)).grant.tokens
    flow = logins(here)
    response, attempt = await signed_in(flow)

    async def no_place(*_: object, **__: object) -> SaveResult:
        raise StoreUnavailable("told to fail")

    with monkeypatch.context() as patched:
        patched.setattr(here.store, "attach", no_place)
        with pytest.raises(StoreUnavailable):
            await flow.finish(response, attempt, user_agent="test")
    await here.first.tasks.idle()

    grant = (await here.live(key)).grant
    assert grant.tokens.refresh_token != before.refresh_token
    assert [other.refresh_token for other in grant.others] == [before.refresh_token]
    assert revoked(here) == 0


async def test_a_login_is_done_though_what_came_of_it_could_not_be_kept_for_a_repetition(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = logins(here)
    response, attempt = await signed_in(flow)

    async def away(*_: object) -> None:
        raise StoreUnavailable("told to fail")

    monkeypatch.setattr(here.store, "set_redeemed", away)
    with capture_logs() as logs:
        cookie = await flow.finish(response, attempt, user_agent="test")

    assert here.first.sessions.read_cookies([cookie])
    assert "redeemed_state_not_kept" in [line["event"] for line in logs]


async def test_a_repeated_callback_waits_for_the_first_a_while_and_is_then_refused(
    here: Flows,
) -> None:
    """The first one's process died with it."""
    flow = logins(here)
    response, attempt = await signed_in(flow)
    await here.store.redeem(attempt.state_hash, "another", seconds=900)
    began_at = here.clock.monotonic()

    with pytest.raises(LoginRefused, match="used already"):
        await flow.finish(response, attempt, user_agent="test")

    assert 14 < here.clock.monotonic() - began_at < 16
    assert here.provider.token_requests == 0


async def test_what_somebody_wrote_into_the_store_leads_nobody_to_a_grant(here: Flows) -> None:
    flow = logins(here)
    response, attempt = await signed_in(flow)
    await flow.finish(response, attempt, user_agent="test")
    kept = here.store._redeemed[attempt.state_hash]
    kept.outcome = kept.outcome[:-1] + bytes([kept.outcome[-1] ^ 1])

    with pytest.raises(LoginRefused, match="used already"):
        await flow.finish(response, attempt, user_agent="test")
