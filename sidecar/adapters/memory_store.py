"""The store in dictionaries: for one replica, and for tests. It forgets at every restart."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sidecar.core.session import SessionKey
from sidecar.ports import (
    KEY_REPORT_SECONDS,
    KEY_USE_SECONDS,
    Clock,
    Ended,
    KeyReports,
    Record,
    RecordKind,
    RecordName,
    SaveResult,
    StoredSession,
    UserSessions,
    Write,
    due_shard,
)

TOMBSTONE_SECONDS = 3600.0
_SCANNED_AT_ONCE = 100  # users


@dataclass(slots=True)
class _Entry:
    record: Record
    ends_at: float
    last_seen_at: float = 0.0
    last: bool = False


@dataclass(slots=True)
class _Slot:
    """Everything of one user, which lives in one Redis Cluster slot there."""

    sessions: dict[str, _Entry] = field(default_factory=dict)
    grants: dict[str, _Entry] = field(default_factory=dict)
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    index: dict[str, str] = field(default_factory=dict)
    shared: str = ""


@dataclass(slots=True)
class _Redeemed:
    owner: str
    ends_at: float
    outcome: bytes = b""


class MemoryStore:
    """The same answers as `RedisStore`, from the memory of this process."""

    interrupted_at = float("-inf")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: dict[str, _Slot] = {}
        self._redeemed: dict[str, _Redeemed] = {}
        self._due: dict[tuple[str, str], float] = {}
        self._provider_sids: dict[str, tuple[str, float]] = {}
        self._logout_tokens: dict[str, float] = {}
        self._revocations: dict[bytes, float] = {}
        self._reports: dict[str, tuple[float, str]] = {}
        self._keys_used_at: dict[str, float] = {}

    async def now(self) -> float:
        """The local time: there is no other clock."""
        return self._clock.now()

    async def ping(self) -> None:
        """Nothing: memory always answers."""

    async def attach(
        self,
        key: SessionKey,
        session: Write,
        grant_id: str,
        grant: Write,
        *,
        idle_ends_at: float,
        shared: bool = False,
    ) -> SaveResult:
        """A new session, with the next version of its grant."""
        slot = self._slot(key.user_tag)
        there = slot.sessions.get(key.digest)
        if there:
            if there.record.write_id == session.write_id:
                return SaveResult.SAVED
            return SaveResult.ENDED if there.record.ended else SaveResult.MOVED
        refused = self._refused(slot.grants.get(grant_id), grant, makes=True)
        if shared and slot.shared not in ("", grant_id):
            refused = SaveResult.MOVED
        if refused:
            return refused
        now = self._clock.now()
        slot.sessions[key.digest] = _Entry(_live(session), idle_ends_at, last_seen_at=now)
        slot.grants[grant_id] = _Entry(_live(grant), grant.ends_at)
        slot.index[key.digest] = grant_id
        slot.shared = grant_id if shared else slot.shared
        return SaveResult.SAVED

    async def shared_grant(self, user_tag: str) -> str:
        """The id of the live grant that a user's sessions share; "" if they share none."""
        return self._slot(user_tag).shared

    async def load(self, key: SessionKey) -> StoredSession | None:
        """A session with its grant."""
        slot = self._slot(key.user_tag)
        session = slot.sessions.get(key.digest)
        if session is None:
            return None
        grant_id = slot.index.get(key.digest, "")
        grant = slot.grants.get(grant_id)
        return StoredSession(
            session.record, session.last_seen_at, grant_id, grant.record if grant else None
        )

    async def load_grant(self, user_tag: str, grant_id: str) -> Record | None:
        """A grant's record."""
        grant = self._slot(user_tag).grants.get(grant_id)
        return grant.record if grant else None

    async def user_sessions(self, user_tag: str, *, limit: int) -> UserSessions:
        """A user's live sessions with their grants, those used latest first."""
        slot = self._slot(user_tag)
        found = []
        for digest, grant_id in slot.index.items():
            session, grant = slot.sessions[digest], slot.grants.get(grant_id)
            stored = StoredSession(
                session.record, session.last_seen_at, grant_id, grant.record if grant else None
            )
            found.append((SessionKey(user_tag, digest), stored))
        found.sort(key=lambda one: (-one[1].last_seen_at, one[0].digest))
        return UserSessions(found[:limit], len(found))

    async def surplus(self, key: SessionKey, *, most: int) -> list[tuple[SessionKey, str]]:
        """The sessions that a user has beyond `most`, unused the longest."""
        slot = self._slot(key.user_tag)
        unused_first = sorted(slot.index, key=lambda d: (slot.sessions[d].last_seen_at, d))
        others = [digest for digest in unused_first if digest != key.digest]
        surplus = others[: max(0, len(slot.index) - most)]
        return [(SessionKey(key.user_tag, digest), slot.index[digest]) for digest in surplus]

    async def touch(
        self,
        key: SessionKey,
        grant_id: str,
        *,
        seen_at: float,
        idle_ends_at: float,
        ends_at: float,
    ) -> None:
        """Note that a live session was used, and that it has this grant."""
        slot = self._slot(key.user_tag)
        session = slot.sessions.get(key.digest)
        if session and not session.record.ended:
            session.last_seen_at, session.ends_at = seen_at, idle_ends_at
            slot.index.setdefault(key.digest, grant_id)

    async def save_grant(self, user_tag: str, grant_id: str, grant: Write) -> SaveResult:
        """Put a grant's next version in the place of the one before."""
        grants = self._slot(user_tag).grants
        there = grants.get(grant_id)
        if there and not there.record.ended and there.record.write_id == grant.write_id:
            return SaveResult.SAVED
        refused = self._refused(there, grant, makes=False)
        if not refused:
            grants[grant_id] = _Entry(_live(grant), grant.ends_at)
        return refused or SaveResult.SAVED

    async def end_session(
        self, key: SessionKey, grant_id: str, *, reason: str, write_id: str
    ) -> Ended:
        """A tombstone for a session, and for its grant if no other live session has it."""
        slot = self._slot(key.user_tag)
        there = slot.sessions.get(key.digest)
        if there and there.record.ended:
            return Ended(there.record.write_id == write_id and there.last)
        slot.index.pop(key.digest, None)
        grant = slot.grants.get(grant_id)
        last = grant is not None and not grant.record.ended and grant_id not in slot.index.values()
        slot.sessions[key.digest] = self._tombstone(there, reason, write_id, last=last)
        if not grant or not last:
            return Ended(last=False)
        slot.grants[grant_id] = self._tombstone(grant, reason, write_id)
        return Ended(True, grant.record)

    async def end_grant(
        self, user_tag: str, grant_id: str, *, version: int, reason: str, write_id: str
    ) -> SaveResult:
        """Tombstones for a grant at `version` and all its sessions."""
        slot = self._slot(user_tag)
        there = slot.grants.get(grant_id)
        if there and there.record.ended:
            same = there.record.write_id == write_id
            return SaveResult.SAVED if same else SaveResult.ENDED
        if there and there.record.version != version:
            return SaveResult.MOVED
        slot.grants[grant_id] = self._tombstone(there, reason, write_id)
        for digest in [d for d, attached in slot.index.items() if attached == grant_id]:
            del slot.index[digest]
            slot.sessions[digest] = self._tombstone(slot.sessions.get(digest), reason, write_id)
        return SaveResult.SAVED

    async def take_lease(self, user_tag: str, grant_id: str, owner: str, *, seconds: float) -> bool:
        """Whether the lease of a grant is now `owner`'s."""
        leases = self._slot(user_tag).leases
        if grant_id in leases:
            return False
        leases[grant_id] = (owner, self._clock.now() + seconds)
        return True

    async def release_lease(self, user_tag: str, grant_id: str, owner: str) -> None:
        """Give the lease back, if it is still `owner`'s."""
        leases = self._slot(user_tag).leases
        if leases.get(grant_id, ("", 0.0))[0] == owner:
            del leases[grant_id]

    async def changed(
        self, known: Sequence[tuple[RecordName, str]]
    ) -> dict[RecordName, Record | None]:
        """Of records that are known by their write ids, those that are not so any more."""
        found = ((name, write_id, self._entries(name).get(name.id)) for name, write_id in known)
        return {
            name: there.record if there else None
            for name, write_id, there in found
            if there is None or there.record.write_id != write_id
        }

    async def put_back_grant(
        self,
        user_tag: str,
        grant_id: str,
        grant: Write,
        *,
        over: int,
        hold_seconds: float,
        shared: bool = False,
    ) -> SaveResult:
        """Write a grant that the store has lost, over version `over`, 0 where nothing stands."""
        slot = self._slot(user_tag)
        there = slot.grants.get(grant_id)
        if there and there.record.ended:
            return SaveResult.ENDED
        if there and there.record.write_id == grant.write_id:
            return SaveResult.SAVED
        if (there.record.version if there else 0) != over:
            return SaveResult.MOVED
        slot.grants[grant_id] = _Entry(_live(grant), grant.ends_at)
        slot.leases.setdefault(grant_id, (grant.write_id, self._clock.now() + hold_seconds))
        if shared and not slot.shared:
            slot.shared = grant_id
        return SaveResult.SAVED

    async def put_back_session(
        self,
        key: SessionKey,
        session: Write,
        grant_id: str,
        *,
        seen_at: float,
        idle_ends_at: float,
    ) -> SaveResult:
        """Write a session that the store has lost, where nothing stands."""
        slot = self._slot(key.user_tag)
        there = slot.sessions.get(key.digest)
        if there and there.record.ended:
            return SaveResult.ENDED
        if not there:
            slot.sessions[key.digest] = _Entry(_live(session), idle_ends_at, last_seen_at=seen_at)
            slot.index[key.digest] = grant_id
        return SaveResult.SAVED

    async def put_back_end(self, name: RecordName, *, reason: str, write_id: str) -> None:
        """Write a tombstone that the store has lost, whatever stands there."""
        entries = self._entries(name)
        there = entries.get(name.id)
        if there is None or not there.record.ended:
            entries[name.id] = self._tombstone(there, reason, write_id)
            if name.kind is RecordKind.SESSION:
                self._slots[name.user_tag].index.pop(name.id, None)

    async def schedule(self, user_tag: str, grant_id: str, due_at: float | None) -> None:
        """Note when a grant is to be renewed without a request."""
        self._due.pop((user_tag, grant_id), None)
        if due_at is not None:
            self._due[user_tag, grant_id] = due_at

    async def take_due(
        self, shard: int, *, now: float, limit: int, hide_seconds: float
    ) -> list[tuple[str, str]]:
        """Grants of a shard that are due, hidden from others for a while."""
        due = [name for name, at in self._due.items() if at <= now and due_shard(name[1]) == shard]
        due = sorted(due, key=lambda name: self._due[name])[:limit]
        for name in due:
            self._due[name] = now + hide_seconds
        return due

    async def last_seen(self, user_tag: str, grant_id: str) -> float | None:
        """When a live session of a grant was last used."""
        slot = self._slot(user_tag)
        digests = [digest for digest, attached in slot.index.items() if attached == grant_id]
        return max((slot.sessions[digest].last_seen_at for digest in digests), default=None)

    async def redeem(self, state_hash: str, owner: str, *, seconds: float) -> bool:
        """Whether a login's state is `owner`'s to redeem."""
        self._forget_redeemed()
        mine = _Redeemed(owner, self._clock.now() + seconds)
        return self._redeemed.setdefault(state_hash, mine).owner == owner

    async def set_redeemed(self, state_hash: str, outcome: bytes) -> None:
        """What became of a redeemed state."""
        self._forget_redeemed()
        if state_hash in self._redeemed:
            self._redeemed[state_hash].outcome = outcome

    async def redeemed(self, state_hash: str) -> bytes | None:
        """What became of a redeemed state: empty while not known, None when not redeemed."""
        self._forget_redeemed()
        known = self._redeemed.get(state_hash)
        return known.outcome if known else None

    async def note_provider_sid(self, sid_hash: str, user_tag: str, *, seconds: float) -> None:
        """Note whose the provider's session is."""
        now = self._clock.now()
        self._provider_sids = {k: v for k, v in self._provider_sids.items() if v[1] > now}
        self._provider_sids[sid_hash] = (user_tag, now + seconds)

    async def user_of_provider_sid(self, sid_hash: str) -> str:
        """Whose the provider's session is; "" where that is not known."""
        tag, ends_at = self._provider_sids.get(sid_hash, ("", 0.0))
        return tag if ends_at > self._clock.now() else ""

    async def note_logout_token(self, token_hash: str, *, seconds: float) -> None:
        """Note that a logout token has done its work."""
        now = self._clock.now()
        self._logout_tokens = {k: end for k, end in self._logout_tokens.items() if end > now}
        self._logout_tokens[token_hash] = now + seconds

    async def knows_logout_token(self, token_hash: str) -> bool:
        """Whether a logout token has done its work."""
        return self._logout_tokens.get(token_hash, 0.0) > self._clock.now()

    async def queue_revocation(self, entry: bytes, *, due_at: float, limit: int) -> bool:
        """Whether a sealed revocation is in the queue now."""
        if entry not in self._revocations and len(self._revocations) >= limit:
            return False
        self._revocations.setdefault(entry, due_at)
        return True

    async def take_revocations(self, *, now: float, limit: int, hide_seconds: float) -> list[bytes]:
        """Revocations that are due, hidden from others for a while."""
        due = sorted((at, entry) for entry, at in self._revocations.items() if at <= now)[:limit]
        for _, entry in due:
            self._revocations[entry] = now + hide_seconds
        return [entry for _, entry in due]

    async def queued_revocations(self, *, limit: int) -> list[bytes]:
        """Revocations that are in the queue, due or not."""
        return list(self._revocations)[:limit]

    async def put_off_revocation(self, entry: bytes, due_at: float | None) -> None:
        """When a revocation that is in the queue is due again; None: it is taken out."""
        if due_at is None:
            self._revocations.pop(entry, None)
        elif entry in self._revocations:
            self._revocations[entry] = due_at

    async def scan(self, kind: RecordKind, cursor: str = "") -> tuple[str, list[RecordName]]:
        """Some of all records' names, tombstones too, and where the next ones are; "": nowhere."""
        tags = sorted(tag for tag in self._slots if tag > cursor)[:_SCANNED_AT_ONCE]
        names: list[RecordName] = []
        for tag in tags:
            slot = self._slot(tag)
            entries = slot.sessions if kind is RecordKind.SESSION else slot.grants
            names += [RecordName(kind, tag, record_id) for record_id in entries]
        return (tags[-1] if len(tags) == _SCANNED_AT_ONCE else ""), names

    async def reseal(self, name: RecordName, opened: Record, sealed: bytes) -> SaveResult:
        """Put the same content, sealed by another key, in the place of what was opened."""
        there = self._entries(name).get(name.id)
        if there is None:
            return SaveResult.MISSING
        if there.record.ended:
            return SaveResult.ENDED
        found, expected = there.record, (opened.version, opened.write_id)
        if (found.version, found.write_id) != expected:
            return SaveResult.MOVED
        there.record = replace(found, sealed=sealed)
        return SaveResult.SAVED

    async def report_keys(self, replica: str, report: str, *, in_use: str) -> None:
        """Say for a minute which keys a replica has, and that the key `in_use` seals there."""
        now = self._clock.now()
        self._reports[replica] = (now, report)
        self._keys_used_at[in_use] = now

    async def key_reports(self) -> KeyReports:
        """What all replicas have said of their keys."""
        now = self._clock.now()
        lately = {
            name: said for name, said in self._reports.items() if now - said[0] < KEY_REPORT_SECONDS
        }
        used = {key: at for key, at in self._keys_used_at.items() if now - at < KEY_USE_SECONDS}
        self._reports, self._keys_used_at = lately, used
        return KeyReports(dict(lately), dict(used))

    def _entries(self, name: RecordName) -> dict[str, _Entry]:
        slot = self._slot(name.user_tag)
        return slot.sessions if name.kind is RecordKind.SESSION else slot.grants

    def _slot(self, user_tag: str) -> _Slot:
        """A user's slot, without what has ended; empty ones are forgotten."""
        now = self._clock.now()
        slot = self._slots.setdefault(user_tag, _Slot())
        slot.sessions = {k: e for k, e in slot.sessions.items() if e.ends_at > now}
        slot.grants = {k: e for k, e in slot.grants.items() if e.ends_at > now}
        slot.leases = {k: lease for k, lease in slot.leases.items() if lease[1] > now}
        live = {k for k, e in slot.sessions.items() if not e.record.ended}
        slot.index = {k: grant for k, grant in slot.index.items() if k in live}
        shared = slot.grants.get(slot.shared)
        slot.shared = slot.shared if shared and not shared.record.ended else ""
        self._forget_empty(user_tag)
        return slot

    def _forget_empty(self, but: str) -> None:
        """Forget one other user of whom nothing is left, so that memory does not only grow."""
        oldest = next(iter(self._slots))
        if oldest == but:
            return
        slot = self._slots.pop(oldest)
        now = self._clock.now()
        entries = [*slot.sessions.values(), *slot.grants.values()]
        if slot.leases or any(entry.ends_at > now for entry in entries):
            self._slots[oldest] = slot

    def _forget_redeemed(self) -> None:
        now = self._clock.now()
        self._redeemed = {k: v for k, v in self._redeemed.items() if v.ends_at > now}

    def _refused(self, there: _Entry | None, grant: Write, *, makes: bool) -> SaveResult | None:
        if there is None:
            return None if makes and grant.version == 1 else SaveResult.MISSING
        if there.record.ended:
            return SaveResult.ENDED
        return None if there.record.version == grant.version - 1 else SaveResult.MOVED

    def _tombstone(
        self, there: _Entry | None, reason: str, write_id: str, *, last: bool = False
    ) -> _Entry:
        record = there.record if there else Record(0, "", b"")
        ended = replace(record, write_id=write_id, sealed=b"", ended=reason)
        return _Entry(ended, self._clock.now() + TOMBSTONE_SECONDS, last=last)


def _live(write: Write) -> Record:
    return Record(write.version, write.write_id, write.sealed)
