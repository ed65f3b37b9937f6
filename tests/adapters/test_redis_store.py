"""What a store in memory cannot get wrong: keys, the server's clock, and a network that fails."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from sidecar.adapters.redis_store import RedisStore
from sidecar.core.session import SessionKey
from sidecar.demo.valkey import valkey
from sidecar.errors import KeyUnknown, StoreUnavailable
from sidecar.ports import (
    Ended,
    RecordKind,
    RecordName,
    SaveResult,
    Store,
    StoredSession,
    Write,
)
from tests.adapters.conftest import PATIENT, ValkeyServer, said
from tests.adapters.records import (
    LAPTOP,
    LIFE_SECONDS,
    PHONE,
    TABLET,
    USER,
    attach,
    ended,
    grant_ended,
    save,
    version_of,
    write,
)
from tests.adapters.relay import Relay
from tests.fakes.clock import FakeClock

HASTY_SECONDS = 0.4  # long enough for a noisy machine to set a connection up


@pytest.fixture
async def redis(valkey_server: ValkeyServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey_server.unix) as client:
        yield client


@pytest.fixture
def relay(valkey_server: ValkeyServer) -> Relay:
    return Relay(valkey_server.unix)


@pytest.fixture
async def store(
    valkey_server: ValkeyServer, prefix: str, clock: FakeClock
) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey_server.unix, prefix=prefix, clock=clock, **PATIENT)
    yield store
    await store.aclose()


@pytest.fixture
async def far_store(relay: Relay, prefix: str, clock: FakeClock) -> AsyncIterator[RedisStore]:
    """A store behind the relay, connected, whose scripts the server knows."""
    async with relay.running() as url:
        store = RedisStore(url, prefix=prefix, clock=clock, **PATIENT)
        stranger = SessionKey("c3RyYW5nZXI", "1a")
        await attach(store, stranger)
        await store.save_grant(stranger.user_tag, "grant", await write(store, 2))
        await store.load(stranger)
        await store.end_session(stranger, "grant", reason="logout", write_id="end")
        await store.end_grant(stranger.user_tag, "grant", version=2, reason="over", write_id="over")
        await store.redeem("strange", "owner", seconds=1)
        yield store
        await store.aclose()


# Keys


async def test_all_of_a_user_lies_in_one_slot_under_the_names_of_the_design(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await store.take_lease(USER, "grant", "owner", seconds=60)
    await store.redeem("hash", "owner", seconds=60)

    keys = {key.decode() async for key in redis.scan_iter(match=f"{prefix}*")}

    assert keys == {
        f"{prefix}{{{USER}}}:session:{LAPTOP.digest}",
        f"{prefix}{{{USER}}}:session:{PHONE.digest}",
        f"{prefix}{{{USER}}}:grant:grant",
        f"{prefix}{{{USER}}}:index",
        f"{prefix}{{{USER}}}:lease:grant",
        f"{prefix}redeemed:hash",
    }


async def test_everything_that_is_stored_has_an_end(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await attach(store, LAPTOP, idle_in=600, ends_in=3600)
    await attach(store, PHONE, version=2, idle_in=600, ends_in=3600)
    await attach(store, TABLET, "another", idle_in=600, ends_in=7200)
    await attach(store, SessionKey(USER, "4d"), version=3, idle_in=600, ends_in=1800)
    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")
    await store.take_lease(USER, "grant", "owner", seconds=60)
    await store.redeem("hash", "owner", seconds=60)
    await store.set_redeemed("hash", b"outcome")
    await store.note_provider_sid("hash", USER, seconds=60)
    await store.note_logout_token("hash", seconds=60)
    await store.queue_revocation(b"sealed", due_at=1.0, limit=1)
    await store.report_keys("replica", "keys", in_use="1")

    async def left(name: str) -> float:
        return float(await redis.pttl(prefix + name)) / 1000

    user = f"{{{USER}}}:"
    assert await left(f"{user}session:{LAPTOP.digest}") == pytest.approx(3600, abs=20)
    assert await left(f"{user}session:{PHONE.digest}") == pytest.approx(600, abs=20)
    assert await left(f"{user}grant:grant") == pytest.approx(1800, abs=20)
    assert await left(f"{user}grant:another") == pytest.approx(7200, abs=20)
    assert await left(f"{user}index") == pytest.approx(7200, abs=20)
    assert await left(f"{user}lease:grant") == pytest.approx(60, abs=20)
    assert await left("redeemed:hash") == pytest.approx(60, abs=20)
    assert await left("provider-sid:hash") == pytest.approx(60, abs=20)
    assert await left("logout-token:hash") == pytest.approx(60, abs=20)
    assert await left("keys") == pytest.approx(400 * 24 * 3600, abs=20)
    assert await left("revoke") == pytest.approx(7 * 24 * 3600, abs=20)


@pytest.mark.parametrize("lives_in", [5.0, 90_000.0])
async def test_tombstones_stand_for_an_hour_however_long_the_record_would_have_lived(
    store: RedisStore, redis: Redis, prefix: str, lives_in: float
) -> None:
    await attach(store, LAPTOP, idle_in=lives_in, ends_in=lives_in)
    await attach(store, PHONE, "another", idle_in=lives_in, ends_in=lives_in)

    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")
    await store.end_grant(USER, "another", version=1, reason="over", write_id="end")
    await store.end_session(TABLET, "nothing", reason="logout", write_id="end")

    names = [f"session:{key.digest}" for key in (LAPTOP, PHONE, TABLET)]
    for name in [*names, "grant:grant", "grant:another"]:
        left = await redis.pttl(f"{prefix}{{{USER}}}:{name}")
        assert 3580_000 < left <= 3600_000


async def test_the_index_forgets_sessions_that_have_ended(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    index = f"{prefix}{{{USER}}}:index"
    await attach(store, LAPTOP)
    await attach(store, PHONE, version=2)
    await attach(store, TABLET, "another")

    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")
    after_logout = await redis.hgetall(index)
    await store.end_grant(USER, "grant", version=2, reason="over", write_id="over")
    after_end = await redis.hgetall(index)

    assert after_logout == {b"2b": b"grant", b"3c": b"another"}
    assert after_end == {b"3c": b"another"}


async def test_a_logout_sweeps_idled_out_sessions_from_the_index(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, "another")
    await redis.delete(f"{prefix}{{{USER}}}:session:{PHONE.digest}")

    await store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    assert await redis.hgetall(f"{prefix}{{{USER}}}:index") == {}


# The index is a hint


async def test_a_session_without_its_index_is_found_without_a_grant(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await attach(store, LAPTOP)
    await redis.delete(f"{prefix}{{{USER}}}:index")

    found = await store.load(LAPTOP)

    assert found
    assert (found.session.version, found.grant_id, found.grant) == (1, "", None)


async def test_a_wrong_index_gives_the_grant_that_it_names_for_the_caller_to_check(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, "another")
    index = f"{prefix}{{{USER}}}:index"

    await redis.hset(index, mapping={LAPTOP.digest: "another", PHONE.digest: "nothing"})
    laptop, phone = await store.load(LAPTOP), await store.load(PHONE)

    assert laptop
    assert laptop.grant_id == "another"
    assert laptop.grant == await store.load_grant(USER, "another")
    assert phone
    assert (phone.grant_id, phone.grant) == ("nothing", None)


async def test_a_load_is_one_trip(far_store: RedisStore, relay: Relay, redis: Redis) -> None:
    await attach(far_store, LAPTOP)
    before = await _calls(redis)

    await far_store.load(LAPTOP)

    after = await _calls(redis)
    assert after["evalsha"] == before["evalsha"] + 1
    assert relay.requests_seen.pop().count(b"\r\n*") == 0


async def test_loads_of_one_moment_are_one_trip_with_an_answer_for_each(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    keys = [SessionKey(USER, f"{number:02x}") for number in range(100)]
    for number, key in enumerate(keys[1:], 1):
        await attach(far_store, key, f"grant{number}")
    relay.requests_seen.clear()
    before = await _calls(redis)

    found = await asyncio.gather(*(far_store.load(key) for key in keys))

    names = [stored and stored.grant_id for stored in found]
    assert names == [None, *(f"grant{number}" for number in range(1, 100))]
    assert (await _calls(redis))["evalsha"] == before["evalsha"] + 100
    assert [data.count(b"EVALSHA") for data in relay.requests_seen] == [100]


async def test_a_load_that_the_server_refuses_fails_alone(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await attach(store, LAPTOP)
    await redis.set(f"{prefix}{{{USER}}}:session:{PHONE.digest}", "no record")

    laptop, phone, tablet = await asyncio.gather(
        *(store.load(key) for key in (LAPTOP, PHONE, TABLET)), return_exceptions=True
    )

    assert isinstance(laptop, StoredSession)
    assert isinstance(phone, StoreUnavailable)
    assert tablet is None


async def test_loads_whose_trip_fails_all_fail_and_nothing_is_asked_again(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    await attach(far_store, LAPTOP)
    before = await _calls(redis)
    relay.cut_the_answer_to(b"EVALSHA")

    found = await asyncio.gather(
        *(far_store.load(key) for key in (LAPTOP, PHONE, TABLET)), return_exceptions=True
    )
    after = await far_store.load(LAPTOP)

    assert [type(error) for error in found] == [StoreUnavailable] * 3
    assert (await _calls(redis))["evalsha"] == before["evalsha"] + 4
    assert after is not None


async def test_a_script_that_the_server_has_forgotten_is_loaded_and_asked_again_in_one_trip(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    await attach(far_store, LAPTOP)
    await redis.script_flush()
    relay.requests_seen.clear()

    assert await far_store.load(LAPTOP)

    asked = [(data.count(b"EVALSHA"), data.count(b"SCRIPT")) for data in relay.requests_seen]
    assert asked == [(1, 0), (1, 1)]


async def test_loads_under_way_end_with_the_store(far_store: RedisStore, relay: Relay) -> None:
    relay.hold_answers()
    loading = asyncio.gather(
        *(far_store.load(key) for key in (LAPTOP, PHONE)), return_exceptions=True
    )
    arrived = relay.arrival_of(b"EVALSHA")
    await arrived.wait()

    await far_store.aclose()

    assert [type(error) for error in await loading] == [StoreUnavailable] * 2


# The server's clock


async def test_replicas_with_clocks_years_apart_agree_on_the_time(
    valkey_server: ValkeyServer, prefix: str, redis: Redis
) -> None:
    early = RedisStore(valkey_server.unix, prefix=prefix, clock=FakeClock(1_000_000.0), **PATIENT)
    late = RedisStore(
        valkey_server.unix, prefix=prefix, clock=FakeClock(4_000_000_000.0), **PATIENT
    )

    await attach(early, LAPTOP, idle_in=600)
    await attach(late, PHONE, "another", idle_in=600)

    seconds, _ = await redis.time()
    assert await early.now() == pytest.approx(seconds, abs=10)
    assert await late.now() == pytest.approx(seconds, abs=10)
    assert await ended(early, PHONE) == ""
    assert await ended(late, LAPTOP) == ""
    await early.aclose()
    await late.aclose()


async def test_a_local_clock_that_steps_is_put_right_by_the_next_call(
    store: RedisStore, clock: FakeClock, redis: Redis
) -> None:
    await attach(store, LAPTOP)
    clock.advance(7200)

    await store.load(LAPTOP)

    seconds, _ = await redis.time()
    assert await store.now() == pytest.approx(seconds, abs=10)


async def test_the_time_is_asked_for_once(store: RedisStore, redis: Redis) -> None:
    await store.now()
    before = await _calls(redis)

    for _ in range(20):
        await store.now()

    assert (await _calls(redis))["time"] == before["time"]


# A network that fails


async def test_a_login_whose_answer_is_lost_was_made_once_and_counts_when_repeated(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    session, grant = await write(far_store), await write(far_store)
    idle_ends_at = await far_store.now() + 600

    async def attach_it() -> SaveResult:
        return await far_store.attach(LAPTOP, session, "grant", grant, idle_ends_at=idle_ends_at)

    await _lose_the_answer(attach_it, relay, redis)

    assert await attach_it() is SaveResult.SAVED
    assert await version_of(far_store) == 1


async def test_a_renewal_whose_answer_is_lost_was_saved_once_and_counts_when_repeated(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    await attach(far_store, LAPTOP)
    renewed = await write(far_store, 2)

    async def save_it() -> SaveResult:
        return await far_store.save_grant(USER, "grant", renewed)

    await _lose_the_answer(save_it, relay, redis)

    assert await version_of(far_store) == 2
    assert await save_it() is SaveResult.SAVED
    assert await version_of(far_store) == 2


async def test_a_logout_whose_answer_is_lost_happened_once_and_is_still_the_last(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    await attach(far_store, LAPTOP)

    async def end_it() -> Ended:
        return await far_store.end_session(LAPTOP, "grant", reason="logout", write_id="end")

    await _lose_the_answer(end_it, relay, redis)

    assert await end_it() == Ended(last=True)
    assert await grant_ended(far_store) == "logout"


async def test_the_end_of_a_grant_whose_answer_is_lost_happened_once_and_counts_when_repeated(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    await attach(far_store, LAPTOP)

    async def end_it() -> SaveResult:
        return await far_store.end_grant(USER, "grant", version=1, reason="over", write_id="end")

    await _lose_the_answer(end_it, relay, redis)

    assert await end_it() is SaveResult.SAVED
    assert await ended(far_store, LAPTOP) == "over"


async def test_a_lease_whose_answer_is_lost_was_asked_for_once(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    async def take_it() -> bool:
        return await far_store.take_lease(USER, "grant", "owner", seconds=60)

    await _lose_the_answer(take_it, relay, redis, command="set")

    assert not await take_it()
    await far_store.release_lease(USER, "grant", "owner")
    assert await take_it()


async def test_a_state_whose_redemption_was_not_heard_of_stays_its_redeemers(
    far_store: RedisStore, relay: Relay, redis: Redis
) -> None:
    async def redeem_it() -> bool:
        return await far_store.redeem("state", "owner", seconds=60)

    await _lose_the_answer(redeem_it, relay, redis, command="evalsha")

    assert not await far_store.redeem("state", "another", seconds=60)
    assert await redeem_it()


async def test_a_server_that_hangs_is_an_error_within_the_time_for_a_command(
    relay: Relay, prefix: str, clock: FakeClock
) -> None:
    async with relay.running() as url:
        store = RedisStore(url, prefix=prefix, clock=clock, command_seconds=HASTY_SECONDS)
        await store.load(LAPTOP)
        relay.hold_answers()
        asked_at = asyncio.get_running_loop().time()

        with pytest.raises(StoreUnavailable):
            await store.load(LAPTOP)

        took = asyncio.get_running_loop().time() - asked_at
        assert took < 3 * HASTY_SECONDS
        await store.aclose()


async def test_a_server_that_hangs_while_connecting_is_an_error_as_soon(
    relay: Relay, prefix: str, clock: FakeClock
) -> None:
    async with relay.running() as url:
        store = RedisStore(url, prefix=prefix, clock=clock, command_seconds=HASTY_SECONDS)
        relay.hold_answers()
        asked_at = asyncio.get_running_loop().time()

        with pytest.raises(StoreUnavailable):
            await store.load(LAPTOP)

        took = asyncio.get_running_loop().time() - asked_at
        assert took < 3 * HASTY_SECONDS
        await store.aclose()


async def test_a_server_that_comes_back_empty_is_used_again_by_every_connection(
    relay: Relay, prefix: str, clock: FakeClock
) -> None:
    async with relay.running() as url:
        store = RedisStore(url, prefix=prefix, clock=clock, **PATIENT)
        async with valkey() as first:
            relay.lead_to(first)
            await relay.cut_all()
            await attach(store, LAPTOP)
            await asyncio.gather(*(store.load(LAPTOP) for _ in range(10)))
        with pytest.raises(StoreUnavailable):
            await store.load(LAPTOP)

        async with valkey() as second:
            relay.lead_to(second)
            found = await asyncio.gather(*(store.load(LAPTOP) for _ in range(10)))
            attached = await attach(store, LAPTOP)

        assert found == [None] * 10
        assert attached is SaveResult.SAVED
        await store.aclose()


async def test_connections_that_the_server_has_closed_meanwhile_cost_no_request(
    far_store: RedisStore, relay: Relay
) -> None:
    await attach(far_store, LAPTOP)
    await asyncio.gather(*(far_store.load(LAPTOP) for _ in range(10)))
    await relay.cut_all()

    found = await asyncio.gather(*(far_store.load(LAPTOP) for _ in range(10)))

    assert None not in found


async def test_scripts_that_the_server_has_forgotten_are_loaded_again(
    store: RedisStore, redis: Redis
) -> None:
    await attach(store, LAPTOP)
    await save(store, 2)

    await redis.script_flush()
    saved = await save(store, 3)
    await redis.script_flush()
    loaded = await store.load(LAPTOP)

    assert saved is SaveResult.SAVED
    assert loaded
    assert await version_of(store) == 3


async def test_a_caller_that_leaves_in_the_middle_leaves_its_answer_to_nobody(
    far_store: RedisStore, relay: Relay
) -> None:
    """A caller that leaves while its request is on the way, or is being written, or is heard."""
    keys = [SessionKey(USER, f"{number:02x}") for number in range(8)]
    for number, key in enumerate(keys):
        await attach(far_store, key, f"grant{number}")
    shuffled = random.Random(1)

    for round_ in range(200):
        leaver, *others = shuffled.sample(range(8), 4)
        arrived = relay.arrival_of(keys[leaver].digest.encode() + b"\r\n")
        relay.hold_answers()
        leaving = asyncio.create_task(far_store.load(keys[leaver]))
        if round_ % 2:
            await arrived.wait()
        else:
            for _ in range(shuffled.randrange(6)):
                await asyncio.sleep(0)
        leaving.cancel()
        relay.let_answers_go()
        found = await asyncio.gather(*(far_store.load(keys[other]) for other in others))

        assert [stored and stored.grant_id for stored in found] == [
            f"grant{other}" for other in others
        ]
        await asyncio.wait([leaving])
        # Python 3.11's wait_for loses a cancellation at times: then the answer is one's own.
        own = None if leaving.cancelled() else leaving.result()
        assert own is None or own.grant_id == f"grant{leaver}"


# Errors


EVERY_CALL: dict[str, Callable[[Store], Awaitable[object]]] = {
    "now": lambda store: store.now(),
    "ping": lambda store: store.ping(),
    "attach": lambda store: store.attach(
        LAPTOP, Write(1, "w", b"", 4e9), "grant", Write(1, "w", b"", 4e9), idle_ends_at=4e9
    ),
    "load": lambda store: store.load(LAPTOP),
    "load_grant": lambda store: store.load_grant(USER, "grant"),
    "touch": lambda store: store.touch(LAPTOP, "grant", seen_at=1.0, idle_ends_at=4e9, ends_at=4e9),
    "save_grant": lambda store: store.save_grant(USER, "grant", Write(2, "w", b"", 4e9)),
    "end_session": lambda store: store.end_session(LAPTOP, "grant", reason="r", write_id="w"),
    "end_grant": lambda store: store.end_grant(USER, "grant", version=1, reason="r", write_id="w"),
    "take_lease": lambda store: store.take_lease(USER, "grant", "owner", seconds=1),
    "release_lease": lambda store: store.release_lease(USER, "grant", "owner"),
    "redeem": lambda store: store.redeem("state", "owner", seconds=1),
    "set_redeemed": lambda store: store.set_redeemed("state", b""),
    "redeemed": lambda store: store.redeemed("state"),
    "user_sessions": lambda store: store.user_sessions(USER, limit=1),
    "note_provider_sid": lambda store: store.note_provider_sid("sid", USER, seconds=1),
    "user_of_provider_sid": lambda store: store.user_of_provider_sid("sid"),
    "note_logout_token": lambda store: store.note_logout_token("token", seconds=1),
    "knows_logout_token": lambda store: store.knows_logout_token("token"),
    "queue_revocation": lambda store: store.queue_revocation(b"x", due_at=1.0, limit=1),
    "take_revocations": lambda store: store.take_revocations(now=1.0, limit=1, hide_seconds=1),
    "put_off_revocation": lambda store: store.put_off_revocation(b"x", None),
}


@pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL)
async def test_a_server_that_is_not_there_is_an_error_and_never_a_miss(
    call: Callable[[Store], Awaitable[object]], clock: FakeClock
) -> None:
    store = RedisStore("unix:///nonexistent/socket", prefix="p:", clock=clock, **PATIENT)

    with pytest.raises(StoreUnavailable):
        await call(store)

    await store.aclose()


async def test_a_record_of_a_newer_release_is_marked_and_stops_no_other(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await attach(store, LAPTOP)
    await attach(store, PHONE, "another")
    await redis.hset(f"{prefix}{{{USER}}}:session:{LAPTOP.digest}", "f", "2")
    await redis.hset(f"{prefix}{{{USER}}}:grant:another", "f", "2")

    laptop, phone = await store.load(LAPTOP), await store.load(PHONE)
    another = RecordName(RecordKind.GRANT, USER, "another")
    changed = await store.changed([(another, "w")])

    assert laptop
    assert phone
    assert laptop.session.newer
    assert laptop.grant
    assert not laptop.grant.newer
    assert phone.grant
    assert phone.grant.newer
    assert changed == {another: phone.grant}


async def test_a_lost_index_is_written_again_by_the_next_use(
    store: RedisStore, redis: Redis, prefix: str
) -> None:
    await attach(store, LAPTOP)
    await redis.delete(f"{prefix}{{{USER}}}:index")
    now = await store.now()
    lost = await store.last_seen(USER, "grant")

    await store.touch(
        LAPTOP, "grant", seen_at=now, idle_ends_at=now + 600, ends_at=now + LIFE_SECONDS
    )

    assert lost is None
    assert await store.last_seen(USER, "grant") == pytest.approx(now, abs=0.01)
    left = await redis.pttl(f"{prefix}{{{USER}}}:index")
    assert left / 1000 == pytest.approx(LIFE_SECONDS, abs=20)


async def test_no_error_about_the_login_to_the_store_shows_the_password(clock: FakeClock) -> None:
    async with valkey() as server, Redis.from_url(server) as redis:
        await redis.config_set("requirepass", "the-right-password")
        for login in ("", ":a-wrong-password@", "nobody:a-wrong-password@"):
            store = RedisStore(
                server.replace("unix://", f"unix://{login}"), prefix="", clock=clock, **PATIENT
            )

            for call in EVERY_CALL.values():
                with pytest.raises(StoreUnavailable) as refused:
                    await call(store)

                assert "password@" not in said(refused.value)
                assert "a-wrong-password" not in said(refused.value)
                assert not isinstance(refused.value, KeyUnknown)
            await store.aclose()


async def test_a_user_of_the_server_who_may_not_run_scripts_is_an_error_without_a_password(
    clock: FakeClock,
) -> None:
    async with valkey() as server, Redis.from_url(server) as redis:
        await redis.acl_setuser(
            "sidecar",
            enabled=True,
            passwords=["+a-right-password"],
            keys=["*"],
            categories=["+@all", "-@scripting"],
        )
        url = server.replace("unix://", "unix://sidecar:a-right-password@")
        store = RedisStore(url, prefix="", clock=clock, **PATIENT)
        await store.ping()

        with pytest.raises(StoreUnavailable) as refused:
            await store.load(LAPTOP)

        assert "a-right-password" not in said(refused.value)
        await store.aclose()


async def _lose_the_answer(
    call: Callable[[], Awaitable[object]],
    relay: Relay,
    redis: Redis,
    *,
    command: str = "evalsha",
) -> None:
    """The call reaches the server, its answer does not reach us: done once, and an error."""
    before = await _calls(redis)
    relay.cut_the_answer_to(command.upper().encode())
    with pytest.raises(StoreUnavailable):
        await call()
    assert (await _calls(redis))[command] == before[command] + 1


async def _calls(redis: Redis) -> dict[str, int]:
    """How often the server has run each command."""
    statistics = await redis.info("commandstats")
    return {
        command: statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"]
        for command in ("evalsha", "set", "time")
    }


async def test_the_first_connection_and_one_that_had_to_be_made_anew_are_interruptions(
    far_store: RedisStore, relay: Relay, clock: FakeClock
) -> None:
    first = far_store.interrupted_at
    clock.advance(5)
    await far_store.ping()
    between = far_store.interrupted_at
    await relay.cut_all()
    clock.advance(5)

    with contextlib.suppress(StoreUnavailable):  # the library may find out only now
        await far_store.ping()
    await far_store.ping()

    assert first == between == clock.monotonic() - 10
    assert far_store.interrupted_at == clock.monotonic()


async def test_a_new_connection_beside_others_is_no_interruption(
    far_store: RedisStore, clock: FakeClock
) -> None:
    clock.advance(5)

    await asyncio.gather(*(far_store.ping() for _ in range(20)))

    assert far_store.interrupted_at == clock.monotonic() - 5
