"""Which of a user's sessions a logout token ends: shared grants, old records, other keys."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from sidecar.core.grant import Sharing
from sidecar.core.logout_token import EVENT
from sidecar.core.sealing import Key, KeyRing
from sidecar.core.session import SessionKey, provider_sid_hash
from sidecar.errors import RecordUnreadable, SessionOver, StoreUnavailable, TokenInvalid
from sidecar.flows import backchannel as module
from sidecar.flows.backchannel import BATCH, BackchannelLogout
from sidecar.flows.verification import verified_logout_token
from tests.flows.replica import Flows, Replica, flows, logout


@pytest.fixture
async def there(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[Flows]:
    async with flows(signing_key) as made:
        yield made


def backchannel(there: Flows, replica: Replica) -> BackchannelLogout:
    parts = replica.parts
    return BackchannelLogout(
        parts.sessions,
        parts.records,
        there.store,
        replica.identity,
        logout(replica),
        parts.records.client,
        replica.runtime,
    )


def token(there: Flows, key: rsa.RSAPrivateKey, **claims: str) -> str:
    now = int(there.clock.now())
    named = {
        "iss": there.provider.issuer,
        "aud": "argo-cd",
        "iat": now,
        "exp": now + 120,
        "jti": "one",
        "events": {EVENT: {}},
    }
    return jwt.encode({**named, **claims}, key, "RS256")


def sids(there: Flows) -> list[str]:
    return [event.detail for event in there.provider.log if event.kind == "code"]


async def lives(there: Flows, key: SessionKey) -> bool:
    try:
        return await there.first.sessions.load(key) is not None
    except SessionOver:
        return False


async def test_of_the_sessions_that_share_a_grant_only_the_named_one_ends(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    laptop = await there.logged_in(Sharing.PER_USER)
    phone = await there.logged_in(Sharing.PER_USER)
    flow = backchannel(there, there.first)

    ended = await flow.log_out(token(there, signing_key, sid=sids(there)[1]))

    assert ended == 1
    assert await lives(there, laptop)
    assert not await lives(there, phone)
    await there.first.tasks.idle()
    assert not [event for event in there.provider.log if event.kind == "revoked"]


async def test_with_the_last_session_of_a_shared_grant_it_is_revoked(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    for _ in range(2):
        await there.logged_in(Sharing.PER_USER)

    ended = await backchannel(there, there.first).log_out(token(there, signing_key, sub="ada"))

    assert ended == 2
    await there.first.tasks.idle()
    assert len([event for event in there.provider.log if event.kind == "revoked"]) == 1


async def test_the_providers_session_is_known_before_ours_is_there(there: Flows) -> None:
    key = await there.logged_in()
    named = provider_sid_hash(there.provider.issuer, "argo-cd", sids(there)[0])

    assert await there.store.user_of_provider_sid(named) == key.user_tag
    order = there.store.order
    assert order.index("note_provider_sid") < order.index("attach")


async def test_a_session_of_which_no_sid_is_known_ends_with_its_named_user_only(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    key = await unnamed_session(there)
    flow = backchannel(there, there.first)

    assert await flow.log_out(token(there, signing_key, sid="any", jti="a")) == 0
    assert await lives(there, key)
    assert await flow.log_out(token(there, signing_key, sid="any", sub="ada", jti="b")) == 1
    assert not await lives(there, key)


async def unnamed_session(there: Flows) -> SessionKey:
    """A session at a provider whose ID tokens have no `sid`."""
    tokens, claims = await there.signed_in()
    cookie, _ = await there.first.parts.joining.start(
        tokens, replace(claims, provider_sid=""), nonce="a-nonce", user_agent=""
    )
    key = there.first.sessions.read_cookies([cookie])
    assert key
    return key


async def test_more_sessions_than_are_read_at_once_all_end(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    tokens, claims = await there.signed_in()
    for _ in range(BATCH + 3):
        await there.first.parts.joining.start(tokens, claims, nonce="a-nonce", user_agent="")

    ended = await backchannel(there, there.first).log_out(token(there, signing_key, sub="ada"))

    assert ended == BATCH + 3


async def test_a_session_that_this_replica_cannot_read_ends_where_all_of_the_users_do(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    key = await there.logged_in()
    other = await there.add()
    other.parts.records.ring = KeyRing([Key("other", b"o" * 32)])

    ended = await backchannel(there, other).log_out(token(there, signing_key, sub="ada"))

    assert ended == 1
    stored = await there.store.load(key)
    assert stored
    assert stored.session.ended == "provider_logout"


async def test_a_logout_done_half_way_may_come_again_and_one_that_is_done_may_not(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    key = await there.logged_in()
    other = await there.add()
    other.parts.records.ring = KeyRing([Key("other", b"o" * 32)])
    logout = token(there, signing_key, sid=sids(there)[0])
    with pytest.raises(RecordUnreadable):
        await backchannel(there, other).log_out(logout)

    assert await backchannel(there, there.first).log_out(logout) == 1
    assert not await lives(there, key)
    with pytest.raises(TokenInvalid, match="replayed"):
        await backchannel(there, there.first).log_out(logout)


async def test_a_logout_that_comes_twice_while_the_store_is_away_is_done_once_it_is_back(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    key = await there.logged_in()
    flow, logout = backchannel(there, there.first), token(there, signing_key, sub="ada")
    there.store.failing_logout_tokens = 4

    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await flow.log_out(logout)
    with capture_logs() as logs:
        await there.first.tasks.idle()

    assert not await lives(there, key)
    done = [line for line in logs if line["event"] == "backchannel_logout"]
    assert [line["sessions"] for line in done] == [1]
    assert there.clock.slept[-3:] == [1.0, 2.0, 4.0]


async def test_a_logout_that_two_replicas_were_told_of_while_the_store_was_away_is_done_once(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    await there.logged_in()
    await there.add()
    logout = token(there, signing_key, sub="ada")
    flows = [backchannel(there, replica) for replica in there.replicas]
    for number, flow in enumerate(flows):  # they have read the keys
        await flow.log_out(token(there, signing_key, sub="nobody", jti=f"{number}"))
    there.store.failing_logout_tokens = 2

    with capture_logs() as logs:
        failed = await asyncio.gather(*(f.log_out(logout) for f in flows), return_exceptions=True)
        for replica in there.replicas:
            await replica.tasks.idle()

    assert [type(error) for error in failed] == [StoreUnavailable] * 2
    events = [line["event"] for line in logs]
    assert events.count("session_ended") == events.count("backchannel_logout") == 1
    assert "backchannel_logout_lost" not in events


async def test_a_logout_that_the_store_did_not_take_in_ten_minutes_is_an_operators(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    await there.logged_in()
    there.store.failing_logout_tokens = 1000
    began_at = there.clock.monotonic()
    with pytest.raises(StoreUnavailable):
        await backchannel(there, there.first).log_out(token(there, signing_key, sub="ada"))

    with capture_logs() as logs:
        await there.first.tasks.idle()

    assert [line["event"] for line in logs] == ["backchannel_logout_lost"]
    assert 590 < there.clock.monotonic() - began_at < 610


async def test_a_logout_goes_through_so_many_sessions_and_no_more(
    there: Flows, signing_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "_ROUNDS", 2)
    tokens, claims = await there.signed_in()
    for _ in range(5):
        await there.first.parts.joining.start(tokens, claims, nonce="a-nonce", user_agent="")

    ended = await backchannel(there, there.first).log_out(token(there, signing_key, sub="ada"))

    assert ended == 4


async def test_a_session_whose_grant_is_damaged_keeps_no_other_from_ending(
    there: Flows, signing_key: rsa.RSAPrivateKey
) -> None:
    damaged, key = await there.logged_in(), await there.logged_in()
    grant, other = [(await there.live(each)).grant for each in (damaged, key)]
    foreign = there.first.parts.records.seal_grant(replace(other, version=grant.version + 1))
    await there.store.save_grant(grant.user_tag, grant.id, foreign)

    ended = await backchannel(there, there.first).log_out(token(there, signing_key, sub="ada"))

    assert ended == 1
    assert not await lives(there, key)


async def test_a_logout_token_that_is_too_long_is_not_read(there: Flows) -> None:
    client = there.first.parts.records.client

    with pytest.raises(TokenInvalid, match="length"):
        await verified_logout_token(
            there.first.identity,
            "x" * 100_000,
            issuer=client.issuer,
            client_id=client.client_id,
            now=there.clock.now(),
        )
