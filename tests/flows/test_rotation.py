"""All that is stored, sealed anew while people use it."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import structlog

from sidecar.adapters.memory_store import MemoryStore
from sidecar.core.grant import Sharing
from sidecar.core.key_rotation import NOT_OURS
from sidecar.core.sealing import Key, KeyRing, sealed_by
from sidecar.core.session import SessionKey
from sidecar.errors import KeyUnknown, StoreUnavailable
from sidecar.flows.records import Client, Records
from sidecar.flows.rotation import Rotation
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from sidecar.ports import Record, RecordKind, RecordName, SaveResult
from tests.flows.replica import PREFIX, RING, Flows

OLD, NEW = RING.keys[0], Key("new", b"n" * 32)


class RotatedStore(MemoryStore):
    """A store over what another one has, in which something happens before a record is sealed anew.

    It breaks off after so many were.
    """

    def __init__(self, here: Flows) -> None:
        super().__init__(here.clock)
        self.__dict__.update(here.store.__dict__)
        self.before: Callable[[RecordName], Awaitable[object]] | None = None
        self.left = 10**9
        self.asked = 0

    async def reseal(self, name: RecordName, opened: Record, sealed: bytes) -> SaveResult:
        """Seal anew, unless it is told otherwise."""
        self.asked += 1
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("told to fail")
        before, self.before = self.before, None
        if before is not None:
            await before(name)
        return await super().reseal(name, opened, sealed)


def records(here: Flows, *keys: Key) -> Records:
    """Who opens with these keys, and seals with the first one."""
    log = structlog.get_logger()
    runtime = Runtime(here.clock, os.urandom, Tasks(log), Metrics(), log)
    return Records(KeyRing(keys), Client(here.provider.issuer, "argo-cd"), runtime, prefix=PREFIX)


async def sealed_anew(store: MemoryStore, here: Flows) -> int:
    """How many records were."""
    return sum([count async for count in Rotation(store, records(here, NEW, OLD)).reseal()])


async def keys_in(store: MemoryStore) -> set[str]:
    """Who sealed what lives."""
    found: set[str] = set()
    for kind in RecordKind:
        _, names = await store.scan(kind)
        for record in (await store.changed([(name, "") for name in names])).values():
            if record and not record.ended:
                found.add(sealed_by(record.sealed))
    return found


async def grant_of(store: MemoryStore, key: SessionKey) -> RecordName:
    stored = await store.load(key)
    assert stored
    return RecordName(RecordKind.GRANT, key.user_tag, stored.grant_id)


async def test_all_is_sealed_by_the_new_key_and_reads_as_before(here: Flows) -> None:
    keys = [await here.logged_in() for _ in range(5)]
    store = RotatedStore(here)

    assert await sealed_anew(store, here) == 10

    assert await keys_in(store) == {"new"}
    only_new = records(here, NEW)
    for key in keys:
        stored = await store.load(key)
        assert stored
        assert stored.grant
        session = only_new.open_session(key, stored.session, seen_at=stored.last_seen_at)
        grant = only_new.open_grant(key.user_tag, session.grant_id, stored.grant)
        assert grant.tokens.refresh_token
        assert (session.signed_by, grant.version) == (OLD.id, 1)


async def test_a_second_rotation_has_nothing_to_do(here: Flows) -> None:
    await here.logged_in()
    store = RotatedStore(here)
    await sealed_anew(store, here)

    assert await sealed_anew(store, here) == 0


async def test_who_knows_a_record_goes_on_renewing_it_though_it_was_sealed_anew(
    here: Flows,
) -> None:
    key = await here.logged_in()
    live = await here.first.sessions.load(key)
    assert live
    assert await sealed_anew(here.store, here) == 2
    here.first.parts.records.ring = KeyRing([NEW, OLD])
    here.clock.advance(301)

    renewed = await here.first.refresh.current(key)

    assert renewed
    assert renewed.grant.renewals == 1
    assert await keys_in(here.store) == {"new"}


async def test_a_grant_that_is_renewed_meanwhile_keeps_its_new_tokens(here: Flows) -> None:
    key = await here.logged_in()
    store = RotatedStore(here)
    name = await grant_of(store, key)
    record = await store.load_grant(key.user_tag, name.id)
    assert record
    old = records(here, OLD)
    grant = old.open_grant(key.user_tag, name.id, record)
    renewed = replace(
        grant, version=2, renewals=1, tokens=replace(grant.tokens, refresh_token="renewed")
    )

    async def renew(asked: RecordName) -> None:
        # By a replica that still seals by the old key.
        assert asked == name
        result = await store.save_grant(key.user_tag, name.id, old.seal_grant(renewed))
        assert result is SaveResult.SAVED

    store.before = renew
    await sealed_anew(store, here)

    after = await store.load_grant(key.user_tag, name.id)
    assert after
    assert records(here, NEW).open_grant(key.user_tag, name.id, after) == renewed


async def test_a_session_that_ends_meanwhile_stays_ended(here: Flows) -> None:
    key = await here.logged_in()
    store = RotatedStore(here)
    name = await grant_of(store, key)

    async def log_out(_: RecordName) -> None:
        await store.end_session(key, name.id, reason="logout", write_id="end")

    store.before = log_out
    assert await sealed_anew(store, here) == 0

    stored = await store.load(key)
    assert stored
    assert stored.session.ended == "logout"
    grant = await store.load_grant(key.user_tag, name.id)
    assert grant
    assert (grant.ended, grant.sealed) == ("logout", b"")


async def test_one_that_was_broken_off_goes_on_where_it_was(here: Flows) -> None:
    for _ in range(5):
        await here.logged_in()
    store = RotatedStore(here)
    store.left = 4

    with pytest.raises(StoreUnavailable):
        await sealed_anew(store, here)
    assert await keys_in(store) == {"new", OLD.id}
    store.left, store.asked = 10**9, 0

    assert await sealed_anew(store, here) == 10 - 4
    assert store.asked == 10 - 4  # what is done is not done again
    assert await keys_in(store) == {"new"}


async def test_a_shared_grant_is_sealed_anew_once(here: Flows) -> None:
    for _ in range(3):
        await here.logged_in(Sharing.PER_USER)

    assert await sealed_anew(here.store, here) == 3 + 1


async def test_what_the_key_of_its_id_does_not_open_is_left_as_it_is_and_does_not_hold_up(
    here: Flows,
) -> None:
    """Another installation in the same store may have a key of the same id."""
    key, other = await here.logged_in(), await here.logged_in()
    name = await grant_of(here.store, key)
    theirs = here.store._slots[key.user_tag].grants[name.id]
    sealed = theirs.record.sealed
    theirs.record = replace(theirs.record, sealed=sealed[:-1] + bytes([sealed[-1] ^ 1]))
    before = theirs.record

    assert await sealed_anew(here.store, here) == 3

    assert await here.store.load_grant(key.user_tag, name.id) == before
    lives = await here.store.load(other)
    assert lives
    assert not lives.session.ended
    tally = await Rotation(here.store, records(here, NEW, OLD)).tally()
    assert tally.sealed(NOT_OURS) == 1
    assert tally.sealed(OLD.id) == 0


async def test_what_was_sealed_by_a_key_that_is_not_here_is_left_as_it_is(here: Flows) -> None:
    key = await here.logged_in()
    before = await here.store.load(key)
    rotation = Rotation(here.store, records(here, NEW))

    assert sum([count async for count in rotation.reseal()]) == 0

    assert await here.store.load(key) == before
    assert before
    with pytest.raises(KeyUnknown):
        records(here, NEW).open_session(key, before.session, seen_at=0)


async def test_the_tally_counts_what_lives_by_who_sealed_and_signed_it(here: Flows) -> None:
    first, second = await here.logged_in(), await here.logged_in()
    await sealed_anew(here.store, here)
    here.first.parts.records.ring = KeyRing([NEW, OLD])
    await here.logged_in()
    here.first.parts.records.ring = KeyRing([OLD, NEW])
    await here.logged_in()
    name = await grant_of(here.store, second)
    await here.store.end_session(second, name.id, reason="logout", write_id="end")

    tally = await Rotation(here.store, records(here, NEW, OLD)).tally()

    assert tally.sessions == {"new": 2, OLD.id: 1}
    assert tally.grants == {"new": 2, OLD.id: 1}
    assert tally.signed == {OLD.id: 2, "new": 1}
    stored = await here.store.load(first)
    assert stored
    session = records(here, NEW).open_session(first, stored.session, seen_at=0)
    assert tally.signed_until[OLD.id] >= session.ends_at


async def test_what_another_operator_has_sealed_anew_meanwhile_is_not_counted_twice(
    here: Flows,
) -> None:
    key = await here.logged_in()
    store = RotatedStore(here)
    name = await grant_of(store, key)
    old = records(here, OLD)
    record = await store.load_grant(key.user_tag, name.id)
    assert record
    grant = old.open_grant(key.user_tag, name.id, record)

    async def renewed_by_one_that_seals_by_the_new_key(_: RecordName) -> None:
        write = records(here, NEW, OLD).seal_grant(replace(grant, version=2))
        assert await store.save_grant(key.user_tag, name.id, write) is SaveResult.SAVED

    store.before = renewed_by_one_that_seals_by_the_new_key

    assert await sealed_anew(store, here) == 1  # the session
    assert await keys_in(store) == {"new"}


async def test_a_grant_that_always_changes_is_left_to_the_next_rotation(here: Flows) -> None:
    key = await here.logged_in()
    store = RotatedStore(here)
    name = await grant_of(store, key)
    old = records(here, OLD)

    async def renewed(_: RecordName) -> None:
        # By a replica that still seals by the old key, before each try.
        store.before = renewed
        record = await store.load_grant(key.user_tag, name.id)
        assert record
        grant = old.open_grant(key.user_tag, name.id, record)
        write = old.seal_grant(replace(grant, version=grant.version + 1))
        assert await store.save_grant(key.user_tag, name.id, write) is SaveResult.SAVED

    store.before = renewed
    assert await sealed_anew(store, here) == 1
    assert await keys_in(store) == {"new", OLD.id}

    store.before = None
    assert await sealed_anew(store, here) == 1
    assert await keys_in(store) == {"new"}


async def test_revocations_that_wait_are_counted_by_their_key_and_what_is_none_is_not(
    here: Flows,
) -> None:
    grant = (await here.live(await here.logged_in())).grant
    assert await here.first.revocations.queue(grant)
    await here.store.queue_revocation(b"nonsense", due_at=0.0, limit=10)

    tally = await Rotation(here.store, records(here, NEW, OLD)).tally()

    assert tally.revocations == {OLD.id: 1}
