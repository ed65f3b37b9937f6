"""Refresh tokens of the upstream's own logins, from the token answer to the callback's answer."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from structlog.testing import capture_logs

from sidecar.core.grant import Sharing
from sidecar.core.provider_profiles import Provider, profile_of
from sidecar.core.tokens import TokenResponse
from sidecar.errors import StoreUnavailable
from sidecar.flows.observed import KEPT_SECONDS, MAX_KEPT, ObservedLogins
from sidecar.flows.records import Client, Live
from sidecar.ports import SaveResult
from tests.demo.client import Client as OAuthClient
from tests.flows.replica import PREFIX, RING, Flows, Replica
from tests.flows.test_revocation import revoked
from tests.world import plain_http

AGENT = "a browser"


@dataclass
class Login:
    """What the token endpoint answered."""

    response: TokenResponse

    @property
    def id_token(self) -> str:
        assert self.response.id_token
        return self.response.id_token


def observed(here: Flows, replica: Replica | None = None) -> ObservedLogins:
    """The observed logins of a replica (the first)."""
    on = replica or here.first
    client = Client(here.provider.issuer, "argo-cd")
    return ObservedLogins(
        on.parts.joining,
        here.store,
        on.identity,
        RING,
        client,
        on.schedule,
        on.runtime,
        prefix=PREFIX,
    )


async def signed_in(here: Flows) -> Login:
    """A login at the provider, by a client that is not ours."""
    async with plain_http() as http:
        given = await OAuthClient(http, here.provider).log_in()
    return Login(
        TokenResponse(given["access_token"], given["id_token"], given["refresh_token"], 300, None)
    )


async def session_of(here: Flows, cookie: str | None) -> Live:
    """The session of a cookie value."""
    assert cookie
    key = here.first.sessions.read_cookies([cookie])
    assert key
    live = await here.first.sessions.load(key)
    assert live
    return live


def counted(replica: Replica, result: str) -> float:
    name = "argocd_token_refresh_observed_logins_total"
    return replica.metrics.registry.get_sample_value(name, {"result": result}) or 0.0


def alarms(replica: Replica) -> float:
    name, kind = "argocd_token_refresh_alarms_total", {"kind": "login_not_observed"}
    return replica.metrics.registry.get_sample_value(name, kind) or 0.0


async def test_the_callback_that_brings_the_id_token_gets_a_session_with_its_refresh_token(
    here: Flows,
) -> None:
    login, logins = await signed_in(here), observed(here)

    await logins.keep(login.response)
    live = await session_of(here, await logins.begin(login.id_token, user_agent=AGENT))

    assert live.grant.tokens.refresh_token == login.response.refresh_token
    assert live.grant.tokens.id_token == login.id_token
    assert live.grant.nonce == "a-nonce"
    assert live.session.user_agent == AGENT


async def test_another_replica_may_see_the_callback(here: Flows) -> None:
    login, other = await signed_in(here), await here.add()

    await observed(here).keep(login.response)
    cookie = await observed(here, other).begin(login.id_token, user_agent=AGENT)

    live = await session_of(here, cookie)
    assert live.grant.tokens.refresh_token == login.response.refresh_token


async def test_a_second_answer_with_the_same_id_token_gets_nothing(here: Flows) -> None:
    login, logins = await signed_in(here), observed(here)
    await logins.keep(login.response)

    first, second = await asyncio.gather(
        *(logins.begin(login.id_token, user_agent=AGENT) for _ in range(2))
    )
    third = await logins.begin(login.id_token, user_agent=AGENT)

    assert [bool(first), bool(second), bool(third)].count(True) == 1
    assert third is None


async def test_two_answers_at_once_with_the_same_id_token_get_one_session(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two replicas, each of which has seen what is kept before the other took it."""
    login, logins = await signed_in(here), [observed(here), observed(here, await here.add())]
    await logins[0].keep(login.response)
    looked, look = asyncio.Event(), here.store.redeemed
    waiting: list[None] = []

    async def together(state_hash: str) -> bytes | None:
        found = await look(state_hash)
        waiting.append(None)
        if len(waiting) == 2:
            looked.set()
        await looked.wait()
        return found

    monkeypatch.setattr(here.store, "redeemed", together)
    cookies = await asyncio.gather(
        *(each.begin(login.id_token, user_agent=AGENT) for each in logins)
    )

    assert [bool(cookie) for cookie in cookies].count(True) == 1


async def test_an_id_token_of_another_login_gets_nothing(here: Flows) -> None:
    ours, other, logins = await signed_in(here), await signed_in(here), observed(here)
    await logins.keep(ours.response)

    assert await logins.begin(other.id_token, user_agent=AGENT) is None
    assert await logins.begin("x.y.z", user_agent=AGENT) is None
    assert await logins.begin(ours.id_token, user_agent=AGENT)


async def test_a_token_that_never_reaches_a_callback_is_gone_after_a_minute(here: Flows) -> None:
    login, logins = await signed_in(here), observed(here)
    await logins.keep(login.response)

    here.clock.advance(KEPT_SECONDS + 1)

    assert await logins.begin(login.id_token, user_agent=AGENT) is None
    assert not here.store._redeemed or not any(
        each.outcome for each in here.store._redeemed.values()
    )


async def test_nothing_of_a_token_is_left_in_the_store_once_it_has_its_session(
    here: Flows,
) -> None:
    login, logins = await signed_in(here), observed(here)
    await logins.keep(login.response)
    (kept,) = here.store._redeemed.values()
    assert kept.outcome
    assert login.response.refresh_token
    assert login.response.refresh_token.encode() not in kept.outcome

    await logins.begin(login.id_token, user_agent=AGENT)

    assert not any(each.outcome for each in here.store._redeemed.values())


async def test_an_id_token_that_has_ended_meanwhile_begins_nothing(here: Flows) -> None:
    here.provider.settings.id_token_seconds = KEPT_SECONDS / 2
    login, logins = await signed_in(here), observed(here)
    await logins.keep(login.response)

    here.clock.advance(KEPT_SECONDS / 2 + 1)

    assert await logins.begin(login.id_token, user_agent=AGENT) is None


def forged(login: Login) -> TokenResponse:
    head, body, _ = login.id_token.split(".")
    return replace(login.response, id_token=f"{head}.{body}.{'A' * 342}")


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param(forged, id="a signature that is nobody's"),
        pytest.param(lambda login: replace(login.response, id_token=None), id="no ID token"),
        pytest.param(
            lambda login: replace(login.response, access_token="another"), id="another access token"
        ),
    ],
)
async def test_an_answer_whose_id_token_cannot_be_verified_is_not_kept(
    here: Flows, spoiled: Callable[[Login], TokenResponse]
) -> None:
    login, logins = await signed_in(here), observed(here)
    response = spoiled(login)

    await logins.keep(response)

    assert await logins.begin(response.id_token or login.id_token, user_agent=AGENT) is None
    assert counted(here.first, "id_token") == 1
    assert not here.store._redeemed


async def test_tokens_for_another_client_or_of_another_issuer_are_not_kept(here: Flows) -> None:
    login = await signed_in(here)
    for client in (Client(here.provider.issuer, "another"), Client("https://other", "argo-cd")):
        logins = observed(here)
        logins._client = client

        await logins.keep(login.response)

        assert await logins.begin(login.id_token, user_agent=AGENT) is None


async def test_an_answer_without_a_refresh_token_is_left_to_the_upstream(here: Flows) -> None:
    login, logins = await signed_in(here), observed(here)

    await logins.keep(replace(login.response, refresh_token=None))

    assert await logins.begin(login.id_token, user_agent=AGENT) is None
    assert counted(here.first, "no_refresh_token") == 1
    assert alarms(here.first) == 1


async def test_a_flood_of_token_answers_is_kept_up_to_a_bound_and_ends_with_the_minute(
    here: Flows,
) -> None:
    login, logins = await signed_in(here), observed(here)
    logins._kept_at.extend([here.clock.monotonic()] * MAX_KEPT)

    await logins.keep(login.response)

    assert await logins.begin(login.id_token, user_agent=AGENT) is None
    assert counted(here.first, "too_many") == 1
    assert not here.store._redeemed
    await here.first.tasks.idle()
    here.clock.advance(KEPT_SECONDS + 1)
    later = await signed_in(here)
    await logins.keep(later.response)
    assert await logins.begin(later.id_token, user_agent=AGENT)


async def test_where_a_login_ends_the_users_other_tokens_they_get_the_new_one_at_once(
    here: Flows,
) -> None:
    """At Dex, whose callback might never come."""
    profile = profile_of(Provider.DEX)
    assert profile
    here.profile = profile
    dex = await here.add()
    key = await here.logged_in(Sharing.PER_USER)
    login = await signed_in(here)

    await observed(here, dex).keep(login.response)
    await dex.tasks.idle()

    live = await dex.sessions.load(key)
    assert live
    assert live.grant.tokens.refresh_token == login.response.refresh_token


async def test_without_a_store_nothing_is_kept_and_nothing_fails(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, logins = await signed_in(here), observed(here)

    async def away(*_: object, **__: object) -> bool:
        raise StoreUnavailable("told to fail")

    with monkeypatch.context() as patched:
        patched.setattr(here.store, "redeem", away)
        await logins.keep(login.response)

    assert await logins.begin(login.id_token, user_agent=AGENT) is None
    assert counted(here.first, "unavailable") == 1
    assert not alarms(here.first)


@pytest.mark.parametrize("became", ["of another key", "damaged"])
async def test_what_does_not_open_here_begins_nothing_and_is_an_operators_fault(
    here: Flows, became: str
) -> None:
    login, logins = await signed_in(here), observed(here)
    await logins.keep(login.response)
    name, kept = next(iter(here.store._redeemed.items()))
    spoiled = bytes([kept.outcome[-1] ^ 1])
    sealed = kept.outcome[:-1] + spoiled if became == "damaged" else os.urandom(200)
    await here.store.set_redeemed(name, sealed)

    with capture_logs() as logs:
        assert await logins.begin(login.id_token, user_agent=AGENT) is None

    assert counted(here.first, "unreadable") == alarms(here.first) == 1
    assert "SIDECAR_SESSION_KEYS" in logs[0]["mend"]


async def test_a_login_whose_keys_cannot_be_read_is_not_kept_and_is_no_operators_fault(
    here: Flows,
) -> None:
    login, other = await signed_in(here), await here.add()
    here.provider.available = False

    await observed(here, other).keep(login.response)

    assert counted(other, "unavailable") == 1
    assert not alarms(other)
    assert not here.store._redeemed


async def test_a_login_that_the_store_does_not_take_in_the_end_is_given_back_to_the_provider(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, logins = await signed_in(here), observed(here)
    await logins.keep(login.response)

    async def away(*_: object, **__: object) -> SaveResult:
        raise StoreUnavailable("told to fail")

    monkeypatch.setattr(here.store, "attach", away)

    assert await logins.begin(login.id_token, user_agent=AGENT) is None
    assert counted(here.first, "unavailable") == 1
    assert revoked(here) == 1


async def test_whose_login_gets_no_session_gives_its_token_to_the_users_others_at_a_dex(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.profile = profile_of(Provider.DEX) or here.profile
    dex = await here.add()
    key = await here.logged_in(Sharing.PER_USER)
    login = await signed_in(here)

    async def away(*_: object, **__: object) -> bool:
        raise StoreUnavailable("told to fail")

    with monkeypatch.context() as patched:
        patched.setattr(here.store, "redeem", away)
        await observed(here, dex).keep(login.response)
    await dex.tasks.idle()

    live = await dex.sessions.load(key)
    assert live
    assert live.grant.tokens.refresh_token == login.response.refresh_token
    assert revoked(here) == 0


def test_the_client_whose_logins_are_observed_is_known_to_who_asks(here: Flows) -> None:
    assert observed(here).client_id == "argo-cd"


async def test_a_login_whose_token_the_store_does_not_give_back_begins_nothing_and_passes(
    here: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, logins = await signed_in(here), observed(here)
    await logins.keep(login.response)

    async def away(_: str) -> bytes:
        raise StoreUnavailable("told to fail")

    with monkeypatch.context() as patched:
        patched.setattr(here.store, "redeemed", away)
        assert await logins.begin(login.id_token, user_agent=AGENT) is None

    assert counted(here.first, "unavailable") == 1
    assert not alarms(here.first)
    assert await logins.begin(login.id_token, user_agent=AGENT)  # it is repeated once that is back
