"""Whatever is done to a store, in whatever order, it answers as a few dictionaries would.

The same rules drive the store in memory and the one on a real Valkey. After every step all
records of two users, who have the same session and grant ids, are compared with the model.

Time is counted in whole minutes, because a real server's clock cannot be stopped: it goes on
by less than that while an example runs. For memory minutes pass on the test's clock, for
Valkey all ends come closer by as much.
"""

import asyncio
import copy
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import pytest
import redis
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sidecar.adapters.memory_store import MemoryStore
from sidecar.adapters.redis_store import RedisStore
from sidecar.core.session import SessionKey
from sidecar.ports import (
    Ended,
    Record,
    RecordKind,
    RecordName,
    SaveResult,
    Store,
    StoredSession,
    Write,
    due_shard,
)
from tests.adapters.conftest import PATIENT, ValkeyServer
from tests.core.examples import properties
from tests.fakes.clock import FakeClock

MINUTE = 60.0
TOMBSTONE_SECONDS = 60 * MINUTE
USERS = ("YWxpY2U", "Ym9i")
DIGESTS = ("1a", "2b", "3c", "4d", "5e")
GRANTS = ("grant-1", "grant-2", "grant-29")  # the first and the last are in one shard
SHARED = ("grant-1", "grant-29")  # a grant is for all sessions of its user, or is never
OWNERS = ("replica-1", "replica-2", "replica-3")
ALL = [
    *(RecordName(RecordKind.GRANT, user, grant) for user in USERS for grant in GRANTS),
    *(RecordName(RecordKind.SESSION, user, digest) for user in USERS for digest in DIGESTS),
]
SAVED, MOVED, ENDED, MISSING = SaveResult

_T = TypeVar("_T")


# The model


@dataclass
class Kept:
    """A record that stands: until when, and for a session what it says and the index says.

    `most_ends_at` is as late as it may end: what its login said of a session or a grant.
    """

    record: Record
    ends_at: float
    most_ends_at: float = 0.0
    seen_at: float = 0.0
    own_grant_id: str = ""
    grant_id: str = ""
    last: bool = False

    @property
    def lives(self) -> bool:
        return not self.record.ended


@dataclass
class Model:
    """What `Store` promises, in its docstrings' words.

    `now` is the time by which ends are judged, `told` what the store says that it is.
    """

    now: float
    told: float = 0.0
    kept: dict[RecordName, Kept] = field(default_factory=dict)
    leases: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    due: dict[tuple[str, str], float] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    idled_out: dict[RecordName, str] = field(default_factory=dict)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        for name, gone in list(self.kept.items()):
            if gone.ends_at <= self.now:
                del self.kept[name]
                if gone.grant_id:
                    self.idled_out[name] = gone.grant_id
        self.leases = {name: held for name, held in self.leases.items() if held[1] > self.now}

    def attach(
        self,
        key: SessionKey,
        session: Write,
        grant_id: str,
        grant: Write,
        *,
        idle_ends_at: float,
        shared: bool,
    ) -> SaveResult:
        name, of_grant = _session(key), _grant(key.user_tag, grant_id)
        if there := self.kept.get(name):
            if there.record.write_id == session.write_id:
                return SAVED
            return MOVED if there.lives else ENDED
        if shared and self.shared_grant(key.user_tag) not in ("", grant_id):
            return MOVED
        result = self._next(of_grant, grant, where_nothing_is=grant.version == 1)
        if result is SAVED:
            self.kept[of_grant] = Kept(_live(grant), grant.ends_at, grant.ends_at)
            self.kept[name] = Kept(
                _live(session), idle_ends_at, session.ends_at, self.told, grant_id, grant_id
            )
            if shared:
                self.shared[key.user_tag] = grant_id
        return result

    def shared_grant(self, user: str) -> str:
        grant_id = self.shared.get(user, "")
        there = self.kept.get(_grant(user, grant_id))
        return grant_id if there and there.lives else ""

    def load(self, key: SessionKey) -> StoredSession | None:
        there = self.kept.get(_session(key))
        if there is None:
            return None
        grant = self.load_grant(key.user_tag, there.grant_id)
        return StoredSession(there.record, _instant(there.seen_at), there.grant_id, grant)

    def load_grant(self, user: str, grant_id: str) -> Record | None:
        there = self.kept.get(_grant(user, grant_id))
        return there.record if there else None

    def touch(
        self,
        key: SessionKey,
        grant_id: str,
        *,
        seen_at: float,
        idle_ends_at: float,
        ends_at: float,
    ) -> None:
        there = self.kept.get(_session(key))
        if there and there.lives:
            there.seen_at, there.ends_at = seen_at, idle_ends_at
            there.grant_id = there.grant_id or grant_id

    def save_grant(self, user: str, grant_id: str, grant: Write) -> SaveResult:
        name = _grant(user, grant_id)
        there = self.kept.get(name)
        if there and there.lives and there.record.write_id == grant.write_id:
            return SAVED
        result = self._next(name, grant, where_nothing_is=False)
        if result is SAVED:
            self.kept[name] = Kept(_live(grant), grant.ends_at, self.kept[name].most_ends_at)
        return result

    def end_session(self, key: SessionKey, grant_id: str, *, reason: str, write_id: str) -> Ended:
        name, of_grant = _session(key), _grant(key.user_tag, grant_id)
        there, grant = self.kept.get(name), self.kept.get(of_grant)
        if there and not there.lives:
            return Ended(there.last and there.record.write_id == write_id)
        others = set(self.sessions_of(key.user_tag, grant_id)) - {name}
        last = bool(grant and grant.lives and not others)
        self._end(name, reason, write_id, last=last)
        if not grant or not last:
            return Ended(last=False)
        self._end(of_grant, reason, write_id)
        return Ended(True, grant.record)

    def end_grant(
        self, user: str, grant_id: str, *, version: int, reason: str, write_id: str
    ) -> SaveResult:
        name = _grant(user, grant_id)
        there = self.kept.get(name)
        if there and not there.lives:
            return SAVED if there.record.write_id == write_id else ENDED
        if there and there.record.version != version:
            return MOVED
        for ended in (name, *self.sessions_of(user, grant_id)):
            self._end(ended, reason, write_id)
        return SAVED

    def take_lease(self, user: str, grant_id: str, owner: str, *, seconds: float) -> bool:
        if (user, grant_id) in self.leases:
            return False
        self.leases[user, grant_id] = (owner, self.now + seconds)
        return True

    def release_lease(self, user: str, grant_id: str, owner: str) -> None:
        if self.leases.get((user, grant_id), ("", 0.0))[0] == owner:
            del self.leases[user, grant_id]

    def changed(self, known: list[tuple[RecordName, str]]) -> dict[RecordName, Record | None]:
        now = {name: there.record for name, there in self.kept.items()}
        return {
            name: now.get(name)
            for name, write_id in known
            if name not in now or now[name].write_id != write_id
        }

    def put_back_grant(
        self,
        user: str,
        grant_id: str,
        grant: Write,
        *,
        over: int,
        hold_seconds: float,
        shared: bool,
    ) -> SaveResult:
        name = _grant(user, grant_id)
        there = self.kept.get(name)
        if there and not there.lives:
            return ENDED
        if there and there.record.write_id == grant.write_id:
            return SAVED
        if (there.record.version if there else 0) != over:
            return MOVED
        self.kept[name] = Kept(_live(grant), grant.ends_at, grant.ends_at)
        self.take_lease(user, grant_id, grant.write_id, seconds=hold_seconds)
        if shared and not self.shared_grant(user):
            self.shared[user] = grant_id
        return SAVED

    def put_back_session(
        self,
        key: SessionKey,
        session: Write,
        grant_id: str,
        *,
        seen_at: float,
        idle_ends_at: float,
    ) -> SaveResult:
        there = self.kept.setdefault(
            _session(key),
            Kept(_live(session), idle_ends_at, session.ends_at, seen_at, grant_id, grant_id),
        )
        return SAVED if there.lives else ENDED

    def put_back_end(self, name: RecordName, *, reason: str, write_id: str) -> None:
        if name not in self.kept or self.kept[name].lives:
            self._end(name, reason, write_id)

    def schedule(self, user: str, grant_id: str, due_at: float | None) -> None:
        self.due.pop((user, grant_id), None)
        if due_at is not None:
            self.due[user, grant_id] = due_at

    def last_seen(self, user: str, grant_id: str) -> float | None:
        seen = [self.kept[name].seen_at for name in self.sessions_of(user, grant_id)]
        return _instant(max(seen)) if seen else None

    def loses_index(self, user: str) -> None:
        self.shared.pop(user, None)
        for name, there in self.kept.items():
            if name.user_tag == user:
                there.grant_id = ""

    def sessions_of(self, user: str, grant_id: str) -> list[RecordName]:
        """The live sessions that the index names for a grant."""
        return [
            name
            for name, there in self.kept.items()
            if name.user_tag == user and there.lives and there.grant_id == grant_id
        ]

    def _next(self, name: RecordName, write: Write, *, where_nothing_is: bool) -> SaveResult:
        """Whether a grant's version may be written now."""
        there = self.kept.get(name)
        if there is None:
            return SAVED if where_nothing_is else MISSING
        if not there.lives:
            return ENDED
        return SAVED if write.version == there.record.version + 1 else MOVED

    def _end(self, name: RecordName, reason: str, write_id: str, *, last: bool = False) -> None:
        record = Record(0, write_id, b"", reason)
        self.kept[name] = Kept(record, self.now + TOMBSTONE_SECONDS, last=last)


# The stores


class World(Protocol):
    """A store, its time, and what can happen to its data."""

    store: Store
    started_at: float

    def here(self, at: float) -> float:
        """What the store is to be told for an instant of the model."""
        ...

    def passes(self, seconds: float) -> None: ...

    def loses_everything(self) -> None: ...

    def loses_index(self, user: str) -> None: ...

    def ends(self) -> dict[tuple[str, str, str], float]:
        """When what is stored will be gone, in the model's time, by user, kind and id."""
        ...

    def copied(self) -> Callable[[], None]:
        """The way back to the data as they are now."""
        ...

    async def close(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self._clock = FakeClock()
        self.started_at = self._clock.now()
        self.store: Store = MemoryStore(self._clock)

    def here(self, at: float) -> float:
        return at

    def passes(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def loses_everything(self) -> None:
        self.store = MemoryStore(self._clock)

    def loses_index(self, user: str) -> None:
        assert isinstance(self.store, MemoryStore)
        slot = self.store._slot(user)  # memory loses nothing by itself
        slot.index, slot.shared = {}, ""

    def ends(self) -> dict[tuple[str, str, str], float]:
        assert isinstance(self.store, MemoryStore)
        ends: dict[tuple[str, str, str], float] = {}
        for user in USERS:
            slot = self.store._slot(user)
            ends |= {(user, "session", id_): there.ends_at for id_, there in slot.sessions.items()}
            ends |= {(user, "grant", id_): there.ends_at for id_, there in slot.grants.items()}
            ends |= {(user, "lease", id_): ends_at for id_, (_, ends_at) in slot.leases.items()}
        return ends

    def copied(self) -> Callable[[], None]:
        kept = self._copy(self.store)

        def go_back() -> None:
            self.store = self._copy(kept)

        return go_back

    async def close(self) -> None:
        pass

    def _copy(self, store: Store) -> Store:
        return copy.deepcopy(store, {id(self._clock): self._clock})


# One trip, since it is asked for after every step.
ENDS = """
local ends = {}
for i, key in ipairs(redis.call('KEYS', ARGV[1])) do
  ends[i] = {key, redis.call('PEXPIRETIME', key)}
end
return ends
"""


class OnValkey:
    def __init__(self, url: str) -> None:
        self._prefix = f"{uuid4().hex}:"
        self.store: Store = RedisStore(url, prefix=self._prefix, clock=FakeClock(), **PATIENT)
        self._server = redis.Redis.from_url(url)
        self.started_at = float(self._server.time()[0])
        self._passed = 0.0

    def here(self, at: float) -> float:
        return at - self._passed

    def passes(self, seconds: float) -> None:
        self._passed += seconds
        ends = self._ends()
        with self._server.pipeline() as pipeline:
            for key, end_ms in ends.items():
                pipeline.pexpireat(key, end_ms - int(seconds * 1000))
            pipeline.execute()

    def loses_everything(self) -> None:
        with self._server.pipeline() as pipeline:
            for key in self._keys():
                pipeline.delete(key)
            pipeline.execute()

    def loses_index(self, user: str) -> None:
        self._server.delete(f"{self._prefix}{{{user}}}:index")

    def ends(self) -> dict[tuple[str, str, str], float]:
        ends: dict[tuple[str, str, str], float] = {}
        for key, end_ms in self._ends().items():
            user, kind, id_ = f"{key.removeprefix(self._prefix)}:".split(":")[:3]
            ends[user.strip("{}"), kind, id_] = end_ms / 1000 + self._passed
        return ends

    def copied(self) -> Callable[[], None]:
        keys, ends, passed = self._keys(), self._ends(), self._passed
        with self._server.pipeline() as pipeline:
            for key in keys:
                pipeline.dump(key)
            dumps = dict(zip(keys, pipeline.execute(), strict=True))

        def go_back() -> None:
            self.loses_everything()
            since_ms = int((self._passed - passed) * 1000)
            with self._server.pipeline() as pipeline:
                for key, dump in dumps.items():
                    end_ms = ends[key] - since_ms if key in ends else 0
                    pipeline.restore(key, end_ms, dump, absttl=True)
                pipeline.execute()

        return go_back

    async def close(self) -> None:
        self.loses_everything()
        self._server.close()
        assert isinstance(self.store, RedisStore)
        await self.store.aclose()

    def _keys(self) -> list[str]:
        found = self._server.keys(f"{self._prefix}*")
        return [key.decode() if isinstance(key, bytes) else key for key in found]

    def _ends(self) -> dict[str, int]:
        """When keys end, in Unix milliseconds: all of them but the sets of due grants."""
        found: Any = self._server.eval(ENDS, 0, f"{self._prefix}*")
        ends = {key.decode(): end_ms for key, end_ms in found if b":due:" not in key}
        assert -1 not in ends.values(), "a record or an index that stays for ever"
        return ends


# What is done to them


@dataclass
class Past:
    """What has been seen of a record since the store last lost something."""

    now: Record | None = None
    replaced: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Call:
    """A call of a store. Its instants are the model's."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def of_model(self, model: Model) -> Any:
        answer = getattr(model, self.name)(*self.args, **self.kwargs)
        model.passes(0)  # what is written with an end that has passed is gone at once
        return answer

    async def of_store(self, world: World) -> tuple[Any, float]:
        """The answer, and the store's time that came with it."""
        args = (
            replace(arg, ends_at=world.here(arg.ends_at)) if isinstance(arg, Write) else arg
            for arg in self.args
        )
        kwargs = {
            name: world.here(value) if name in ("idle_ends_at", "ends_at") else value
            for name, value in self.kwargs.items()
        }
        answer = await getattr(world.store, self.name)(*args, **kwargs)
        return _comparable(answer), await world.store.now()


users = st.sampled_from((USERS[0], USERS[0], USERS[1]))
whiches = st.integers(0, 11)
versions_off = st.sampled_from((0, 0, 0, -1, 1))
lives = st.sampled_from((150, 90, 30, 5))
idles = st.sampled_from((20, 60, 5, 1000))
owners = st.sampled_from(OWNERS)
reasons = st.sampled_from(("logout", "over"))
moments = st.integers(0, 5)
seen = st.integers(-5, 5).map(lambda hours: hours * 60 * MINUTE)
lost_replies = st.sampled_from((False, False, True))


class Machine(RuleBasedStateMachine):
    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        super().__init__()
        self._runner = runner
        self.world = world
        self.model = Model(world.started_at)
        self.writes: list[Call] = []
        self.past: dict[RecordName, Past] = {name: Past() for name in ALL}
        # Kept when data are lost: a tombstone that comes back with a replica's is no younger.
        self.tombstones_end: dict[tuple[RecordName, str], float] = {}
        self.way_back: tuple[Callable[[], None], Model] | None = None
        self._ids = 0

    def teardown(self) -> None:
        self._run(self.world.close())

    @initialize(logins=st.lists(st.tuples(users, whiches, lives), min_size=2, max_size=6))
    def some_have_logged_in(self, logins: list[tuple[str, int, int]]) -> None:
        for free, (user, which, life) in enumerate(logins):
            self._attach(user, SessionKey(user, DIGESTS[free % 5]), GRANTS[which % 3], life=life)

    # Reading

    @rule(user=users, digest=whiches, grant=whiches)
    def read(self, user: str, digest: int, grant: int) -> None:
        self._ask("load", self._key(user, digest))
        self._ask("load_grant", user, self._grant_id(user, grant))
        self._ask("last_seen", user, self._grant_id(user, grant))

    @rule(user=users, digest=whiches, most=st.integers(1, 4))
    def surplus(self, user: str, digest: int, most: int) -> None:
        key = self._key(user, digest)
        found = self._run(self.world.store.surplus(key, most=most))
        live = {
            name.id: there
            for name, there in self.model.kept.items()
            if name[:2] == (RecordKind.SESSION, user) and there.lives and there.grant_id
        }
        others = len(live) - (key.digest in live)
        assert len(found) == len(set(found)) == min(others, max(0, len(live) - most))
        assert key not in [each for each, _ in found]
        assert all(live[each.digest].grant_id == grant_id for each, grant_id in found)
        seen = [live[each.digest].seen_at for each, _ in found]
        assert seen == [_instant(at) for at in sorted(seen)]

    @rule(
        known=st.dictionaries(st.sampled_from(ALL), st.sampled_from(("as it is", "", "stranger")))
    )
    def changed(self, known: dict[RecordName, str]) -> None:
        as_it_is = {name: there.record.write_id for name, there in self.model.kept.items()}
        self._ask(
            "changed",
            [
                (name, as_it_is.get(name, "nothing") if write_id == "as it is" else write_id)
                for name, write_id in known.items()
            ],
        )

    # Writing

    @rule(
        user=users,
        grant=whiches,
        life=lives,
        longer=st.sampled_from((0, 100)),
        idle=idles,
        lost=lost_replies,
    )
    def log_in(
        self, user: str, grant: int, life: int, longer: int, idle: int, *, lost: bool
    ) -> None:
        self._attach(
            user,
            self._key(user, -1),
            self._grant_id(user, grant),
            life=life,
            longer=longer,
            idle=idle,
            lost=lost,
        )

    @rule(user=users, digest=whiches, grant=whiches, off=versions_off)
    def log_in_at_another_version_or_with_a_taken_session_id(
        self, user: str, digest: int, grant: int, off: int
    ) -> None:
        key = self._key(user, digest if off == 0 else -1)
        self._attach(user, key, self._grant_id(user, grant), off=off)

    @rule(user=users, grant=whiches, off=versions_off, life=lives, lost=lost_replies)
    def save_grant(self, user: str, grant: int, off: int, life: int, *, lost: bool) -> None:
        grant_id = self._grant_id(user, grant)
        version = max(1, self._version(user, grant_id) + 1 + off)
        there = self.model.kept.get(_grant(user, grant_id))
        write = self._write(version, life)
        if there and there.lives:
            # Only a login makes a grant end later, and the index with it.
            write = replace(write, ends_at=min(write.ends_at, there.most_ends_at))
        self._ask("save_grant", user, grant_id, write, lost=lost)

    @rule(user=users, grant=whiches, off=versions_off)
    def save_grant_with_the_write_id_that_stands_there(
        self, user: str, grant: int, off: int
    ) -> None:
        grant_id = self._grant_id(user, grant)
        there = self.model.kept.get(_grant(user, grant_id))
        if there:
            version = max(1, self._version(user, grant_id) + 1 + off)
            same = replace(self._write(version, 30), write_id=there.record.write_id)
            self._ask_once(Call("save_grant", (user, grant_id, same), {}))

    @rule(
        user=users,
        digest=whiches,
        grant=whiches,
        own=st.sampled_from((True, True, False)),
        reason=reasons,
        lost=lost_replies,
        twice=st.booleans(),
    )
    def end_session(
        self, user: str, digest: int, grant: int, reason: str, *, own: bool, lost: bool, twice: bool
    ) -> None:
        key = self._key(user, digest)
        there = self.model.kept.get(_session(key))
        grant_id = there.own_grant_id if own and there else self._grant_id(user, grant)
        write_id = self._write_id()
        self._ask("end_session", key, grant_id, reason=reason, write_id=write_id, lost=lost)
        if twice:
            another = self._write_id()
            self._ask("end_session", key, grant_id, reason=reason, write_id=another)
        self._read_ended(user)

    @rule(user=users, grant=whiches, reason=reasons)
    def all_others_of_a_grant_idle_out_and_then_its_last_session_ends(
        self, user: str, grant: int, reason: str
    ) -> None:
        grant_id = self._grant_id(user, grant)
        names = self.model.sessions_of(user, grant_id)
        for name in names[1:]:
            self._touch(SessionKey(user, name.id), seen_at=self.world.started_at, idle=0)
        if names:
            key, write_id = SessionKey(user, names[0].id), self._write_id()
            self._ask("end_session", key, grant_id, reason=reason, write_id=write_id)

    @rule(user=users, backwards=st.booleans())
    def a_user_logs_out_everywhere(self, user: str, *, backwards: bool) -> None:
        live = [
            (SessionKey(user, name.id), there.own_grant_id)
            for name, there in self.model.kept.items()
            if name[:2] == (RecordKind.SESSION, user) and there.lives
        ]
        for key, grant_id in reversed(live) if backwards else live:
            write_id = self._write_id()
            self._ask("end_session", key, grant_id, reason="logout", write_id=write_id)
            self._ask("shared_grant", user)

    @rule(user=users, grant=whiches, off=versions_off, reason=reasons, lost=lost_replies)
    def end_grant(self, user: str, grant: int, off: int, reason: str, *, lost: bool) -> None:
        grant_id = self._grant_id(user, grant)
        self._ask(
            "end_grant",
            user,
            grant_id,
            version=self._version(user, grant_id) + off,
            reason=reason,
            write_id=self._write_id(),
            lost=lost,
        )
        self._read_ended(user)

    @rule(user=users, digest=whiches, seen=seen, idle=st.one_of(idles, st.just(0)))
    def touch(self, user: str, digest: int, seen: float, idle: int) -> None:
        self._touch(self._key(user, digest), seen_at=self.world.started_at + seen, idle=idle)

    @rule(user=users, grant=whiches, owner=owners, minutes=st.sampled_from((1, 5, 90)))
    def take_lease(self, user: str, grant: int, owner: str, minutes: int) -> None:
        seconds = minutes * MINUTE
        self._ask("take_lease", user, self._grant_id(user, grant), owner, seconds=seconds)

    @rule(user=users, grant=whiches, owner=owners, other=owners)
    def release_lease_for_another(self, user: str, grant: int, owner: str, other: str) -> None:
        grant_id = self._grant_id(user, grant)
        self._ask("release_lease", user, grant_id, owner)
        self._ask("take_lease", user, grant_id, other, seconds=5 * MINUTE)

    @rule(which=st.integers(0, 5))
    @precondition(lambda self: self.writes)
    def a_write_comes_again_after_others(self, which: int) -> None:
        call = self.writes[-1 - which % len(self.writes)]
        ends = [arg.ends_at for arg in call.args if isinstance(arg, Write)]
        # Left out: what is written when all its ends have passed. It is gone at once, but on
        # Valkey an index that it has made stays, without an end, until the next login.
        if call.name in INDEXED and max(ends) <= self.model.now:
            return
        self._ask_once(call)

    # Putting back

    @rule(
        user=users,
        grant=whiches,
        off=versions_off,
        ahead=st.integers(1, 3),
        life=lives,
        lost=lost_replies,
    )
    def put_back_grant(
        self, user: str, grant: int, off: int, ahead: int, life: int, *, lost: bool
    ) -> None:
        grant_id = self._grant_id(user, grant)
        over = max(0, self._version(user, grant_id) + off)
        self._ask(
            "put_back_grant",
            user,
            grant_id,
            self._write(over + ahead, life),
            over=over,
            hold_seconds=2 * MINUTE,
            shared=grant_id in SHARED,
            lost=lost,
        )

    @rule(
        user=users,
        digest=whiches,
        grant=whiches,
        version=st.integers(1, 2),
        life=lives,
        idle=idles,
        seen=seen,
        lost=lost_replies,
    )
    def put_back_session(
        self,
        user: str,
        digest: int,
        grant: int,
        version: int,
        life: int,
        idle: int,
        seen: float,
        *,
        lost: bool,
    ) -> None:
        session = self._write(version, life)
        self._ask(
            "put_back_session",
            self._key(user, digest),
            session,
            self._grant_id(user, grant),
            seen_at=self.world.started_at + seen,
            idle_ends_at=min(self._in(idle), session.ends_at),
            lost=lost,
        )

    @rule(name=st.sampled_from(ALL), reason=reasons, lost=lost_replies)
    def put_back_end(self, name: RecordName, reason: str, *, lost: bool) -> None:
        self._ask("put_back_end", name, reason=reason, write_id=self._write_id(), lost=lost)
        self._read_ended(name.user_tag)

    @rule(user=users, grant=whiches, owner=owners, other=owners)
    def put_back_grant_whose_lease_is_held(
        self, user: str, grant: int, owner: str, other: str
    ) -> None:
        grant_id = self._grant_id(user, grant)
        over = self._version(user, grant_id)
        self._ask("take_lease", user, grant_id, owner, seconds=5 * MINUTE)
        self._ask(
            "put_back_grant",
            user,
            grant_id,
            self._write(over + 1, 30),
            over=over,
            hold_seconds=2 * MINUTE,
            shared=grant_id in SHARED,
        )
        self._ask("release_lease", user, grant_id, owner)
        self._ask("take_lease", user, grant_id, other, seconds=MINUTE)

    @rule(user=users, one=st.sampled_from(SHARED), reason=reasons)
    def another_grant_is_put_back_when_the_shared_one_has_ended(
        self, user: str, one: str, reason: str
    ) -> None:
        other = SHARED[1 - SHARED.index(one)]
        over = self._version(user, other)
        self._ask("put_back_end", _grant(user, one), reason=reason, write_id=self._write_id())
        self._ask(
            "put_back_grant",
            user,
            other,
            self._write(over + 1, 90),
            over=over,
            hold_seconds=MINUTE,
            shared=True,
        )

    # Hints of what is due

    @rule(
        dues=st.lists(
            st.tuples(users, st.sampled_from(GRANTS), st.one_of(moments, moments, st.none())),
            min_size=2,
            max_size=6,
        )
    )
    def schedule(self, dues: list[tuple[str, str, int | None]]) -> None:
        for user, grant_id, at in dues:
            self._ask("schedule", user, grant_id, at)

    @rule(
        grant=st.sampled_from(GRANTS),
        first=moments,
        limit=st.sampled_from((1, 1, 2, 3)),
        hide=st.integers(1, 5),
    )
    def take_due(self, grant: str, first: int, limit: int, hide: int) -> None:
        for now in (first, first + 1, first + 2):
            self._take_due(due_shard(grant), now, limit, hide)

    # Time, and what is lost

    @rule(minutes=st.sampled_from((1, 5, 30, 61)))
    def time_passes(self, minutes: int) -> None:
        self._passes(minutes * MINUTE)

    @rule(which=st.integers(0, 5), just_before=st.booleans())
    @precondition(lambda self: self._ends())
    def time_passes_until_an_end(self, which: int, *, just_before: bool) -> None:
        ends = self._ends()
        self._passes(ends[which % len(ends)] - self.model.now - (MINUTE if just_before else 0))

    @rule()
    def the_store_loses_everything(self) -> None:
        self.world.loses_everything()
        self.model = Model(self.model.now)
        self._may_forget()

    @rule(user=users, used=st.lists(whiches, max_size=4))
    def the_store_loses_an_index(self, user: str, used: list[int]) -> None:
        self.world.loses_index(user)
        self.model.loses_index(user)
        for digest in used:
            self._touch(self._key(user, digest), seen_at=self.world.started_at, idle=20)

    @rule()
    def a_replica_has_come_so_far(self) -> None:
        self.way_back = self.world.copied(), copy.deepcopy(self.model)

    @rule()
    @precondition(lambda self: self.way_back)
    def the_store_goes_back_to_what_its_replica_had(self) -> None:
        assert self.way_back
        go_back, model = self.way_back
        now = self.model.now
        go_back()
        self.model = copy.deepcopy(model)
        self.model.passes(now - model.now)
        self._may_forget()

    # What holds after each step

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        records, sessions, shared = self._run(self._everything())
        for name, record in records.items():
            there = self.model.kept.get(name)
            assert record == (there and there.record), name
            self._follows_from_the_past(name, record)
        for user in USERS:
            assert shared[user] == self.model.shared_grant(user)
        for key, session in sessions.items():
            assert session == self.model.load(key)
            assert session.grant_id == self.model.kept[_session(key)].grant_id, "the index is wrong"

    @invariant()
    def nothing_ends_sooner_or_later_than_the_model_says(self) -> None:
        ends = self.world.ends()
        expected = {
            (name.user_tag, str(name.kind), name.id): there.ends_at
            for name, there in self.model.kept.items()
        }
        expected |= {(user, "lease", id_): at for (user, id_), (_, at) in self.model.leases.items()}
        indexes = {user: ends.pop((user, "index", ""), None) for user in USERS}
        assert ends.keys() == expected.keys()
        for name, ends_at in ends.items():
            # What lasts for a time begins on Valkey by a clock that goes on.
            assert -0.002 < ends_at - expected[name] < MINUTE, name
        for name, there in self.model.kept.items():
            index_ends_at = indexes[name.user_tag]
            if there.grant_id and index_ends_at:
                assert index_ends_at > there.most_ends_at - 0.002, "an index ends too soon"

    def _follows_from_the_past(self, name: RecordName, record: Record | None) -> None:
        past = self.past[name]
        before = past.now
        if before and before.ended:
            over = self.model.now >= self.tombstones_end[name, before.write_id]
            assert record == before or over, f"the tombstone of {name} was undone"
        if record is None:
            self.past[name] = Past()
            return
        assert record.write_id not in past.replaced, f"{name} went back to an older write"
        if before and record != before:
            assert record.write_id != before.write_id, f"one write of {name} counted twice"
            past.replaced.add(before.write_id)
            if not record.ended:
                assert record.version > before.version, f"{name} went back"
        if record.ended:
            ends_at = self.model.now + TOMBSTONE_SECONDS
            self.tombstones_end.setdefault((name, record.write_id), ends_at)
        past.now = record

    # How it is done

    def _attach(
        self,
        user: str,
        key: SessionKey,
        grant: str,
        *,
        off: int = 0,
        life: int = 30,
        longer: int = 0,
        idle: int = 20,
        lost: bool = False,
    ) -> None:
        session = self._write(1, life)
        of_grant = self._write(max(1, self._version(user, grant) + 1 + off), life + longer)
        self._ask(
            "attach",
            key,
            session,
            grant,
            of_grant,
            idle_ends_at=min(self._in(idle), session.ends_at),
            shared=grant in SHARED,
            lost=lost,
        )

    def _touch(self, key: SessionKey, *, seen_at: float, idle: int) -> None:
        there = self.model.kept.get(_session(key))
        live = there if there and there.lives else Kept(Record(0, "", b""), 0, self._in(60))
        grant_id = live.own_grant_id or GRANTS[0]
        self._ask(
            "touch",
            key,
            grant_id,
            seen_at=seen_at,
            # A session's end is its grant's at most, and so is that of the index.
            idle_ends_at=min(self._in(idle), live.most_ends_at),
            ends_at=live.most_ends_at,
        )
        self._ask("last_seen", key.user_tag, grant_id)

    def _read_ended(self, user: str) -> None:
        """What ended sessions say of themselves: they name no grant any more."""
        for name, there in self.model.kept.items():
            if name[:2] == (RecordKind.SESSION, user) and not there.lives:
                self._ask("load", SessionKey(user, name.id))

    def _ask(self, name: str, *args: object, lost: bool = False, **kwargs: object) -> None:
        """Call store and model; when the reply is `lost`, twice, and it must count once."""
        call = Call(name, args, kwargs)
        if name not in READS:
            self.writes.append(call)
        if not lost:
            self._ask_once(call)
            return
        first = self._ask_once(call, heard=False)
        after = copy.deepcopy(self.model)
        again = self._ask_once(call)
        assert again == (replace(first, grant=None) if isinstance(first, Ended) else first)
        assert self.model.kept == after.kept

    def _ask_once(self, call: Call, *, heard: bool = True) -> Any:
        """The answer of the model, which the store must give too, if anyone hears it."""
        answer, self.model.told = self._run(call.of_store(self.world))
        expected = call.of_model(self.model)
        if heard:
            assert answer == expected, call
        if call.name == "end_grant":
            self._look_after_sessions_that_have_idled_out(call)
        return expected

    def _look_after_sessions_that_have_idled_out(self, call: Call) -> None:
        """They may have got a tombstone with their grant, or not.

        Valkey's index names them until somebody tidies up, so they get one; that of memory
        does not. Nobody can tell them apart but by a session id that is used again.
        """
        user, grant_id = call.args
        for name, of_grant in self.model.idled_out.items():
            if (name.user_tag, of_grant) == (user, grant_id) and name not in self.model.kept:
                found = self._run(self.world.store.load(SessionKey(user, name.id)))
                if found:
                    self.model.put_back_end(name, **_without_version(call.kwargs))

    async def _everything(
        self,
    ) -> tuple[dict[RecordName, Record | None], dict[SessionKey, StoredSession], dict[str, str]]:
        """All records that could stand, the sessions that live, and what is shared."""
        records: dict[RecordName, Record | None] = {}
        for user in USERS:
            unknown = [(name, "") for name in ALL if name.user_tag == user]
            records |= _comparable(await self.world.store.changed(unknown))
        live = [
            SessionKey(name.user_tag, name.id)
            for name, record in records.items()
            if name.kind is RecordKind.SESSION and record and not record.ended
        ]
        sessions = {key: _comparable(await self.world.store.load(key)) for key in live}
        return (
            records,
            sessions,
            {user: await self.world.store.shared_grant(user) for user in USERS},
        )

    def _take_due(self, shard: int, now: int, limit: int, hide: int) -> None:
        due = self.model.due
        there = [name for name, at in due.items() if due_shard(name[1]) == shard and at <= now]
        step = self.world.store.take_due(shard, now=now, limit=limit, hide_seconds=hide)
        taken = self._run(step)
        # Which of two that are due at the same moment comes first is nobody's promise.
        assert len(set(taken)) == len(taken)
        assert set(taken) <= set(there)
        assert [due[name] for name in taken] == sorted(due[name] for name in there)[:limit]
        due.update(dict.fromkeys(taken, float(now + hide)))

    def _passes(self, seconds: float) -> None:
        self.world.passes(seconds)
        self.model.passes(seconds)

    def _may_forget(self) -> None:
        self.past = {name: Past() for name in ALL}

    def _ends(self) -> list[float]:
        held = [ends_at for _, ends_at in self.model.leases.values()]
        return sorted({*held, *(there.ends_at for there in self.model.kept.values())})

    def _key(self, user: str, which: int) -> SessionKey:
        return SessionKey(user, self._id(RecordKind.SESSION, user, which, DIGESTS))

    def _grant_id(self, user: str, which: int) -> str:
        return self._id(RecordKind.GRANT, user, which, GRANTS)

    def _id(self, kind: RecordKind, user: str, which: int, ids: tuple[str, ...]) -> str:
        """Mostly one that lives; else the first that has ended, or of which nothing stands."""
        live = self._ids_that(lambda there: bool(there and there.lives), kind, user, ids)
        ended = self._ids_that(lambda there: bool(there and not there.lives), kind, user, ids)
        nowhere = self._ids_that(lambda there: there is None, kind, user, ids)
        choice = [*live, *live, *ended[:1], *nowhere[:1]]
        return choice[which % len(choice)]

    def _ids_that(
        self,
        holds: Callable[[Kept | None], bool],
        kind: RecordKind,
        user: str,
        ids: tuple[str, ...],
    ) -> list[str]:
        return [id_ for id_ in ids if holds(self.model.kept.get(RecordName(kind, user, id_)))]

    def _version(self, user: str, grant_id: str) -> int:
        there = self.model.kept.get(_grant(user, grant_id))
        return there.record.version if there else 0

    def _write(self, version: int, minutes: int) -> Write:
        write_id = self._write_id()
        return Write(version, write_id, f"sealed {write_id}".encode(), self._in(minutes))

    def _write_id(self) -> str:
        self._ids += 1
        return f"write-{self._ids}"

    def _in(self, minutes: int) -> float:
        return self.model.now + minutes * MINUTE

    def _run(self, step: Coroutine[Any, Any, _T]) -> _T:
        # Not `Runner.run`, which sets a signal handler each time: that takes as long as a step.
        return self._runner.get_loop().run_until_complete(step)


READS = ("load", "load_grant", "last_seen", "shared_grant", "changed")
INDEXED = ("attach", "put_back_session", "put_back_grant")


def _session(key: SessionKey) -> RecordName:
    return RecordName(RecordKind.SESSION, key.user_tag, key.digest)


def _grant(user: str, grant_id: str) -> RecordName:
    return RecordName(RecordKind.GRANT, user, grant_id)


def _live(write: Write) -> Record:
    return Record(write.version, write.write_id, write.sealed)


def _instant(at: float) -> Any:
    """An instant as a store tells it again: Valkey keeps milliseconds."""
    return pytest.approx(at, abs=0.002)


def _without_version(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != "version"}


def _comparable(answer: Any) -> Any:
    """An answer without the versions of tombstones.

    They mean nothing, and differ: memory leaves the record's, Valkey writes that of the
    grant, or 0.
    """
    if isinstance(answer, dict):
        return {name: _comparable(record) for name, record in answer.items()}
    if isinstance(answer, StoredSession):
        session, grant = _comparable(answer.session), _comparable(answer.grant)
        return replace(answer, session=session, grant=grant)
    if isinstance(answer, Record) and answer.ended:
        return replace(answer, version=0)
    return answer


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


# Hypothesis makes most of its examples out of another one, by repeating parts of it; the first
# ten are all new. So there are many runs of ten, each with a seed of its own.
few = settings(properties, max_examples=10, report_multiple_bugs=False)


@pytest.mark.timeout(400)  # to find a failure takes seconds, to make it short takes minutes
@pytest.mark.parametrize("number", range(10))
def test_memory_answers_as_the_model_whatever_is_done_to_it(
    runner: asyncio.Runner, number: int
) -> None:
    machine = seed(number)(lambda: Machine(runner, InMemory()))
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # it takes what makes a machine, too
        settings=settings(few, stateful_step_count=40),
    )


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", range(6))
def test_valkey_answers_as_the_model_whatever_is_done_to_it(
    runner: asyncio.Runner, valkey_server: ValkeyServer, number: int
) -> None:
    machine = seed(number)(lambda: Machine(runner, OnValkey(valkey_server.unix)))
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]
        settings=settings(few, stateful_step_count=30),
    )
