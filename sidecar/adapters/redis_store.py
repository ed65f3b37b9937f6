"""The store on Redis 6.2 or later, or Valkey: what belongs together, in one slot and script.

Nothing is repeated here: a repeated script or `SET NX` whose first reply was lost would read as
somebody else's. The flows repeat what may be repeated, with the same write id.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, cast

from sidecar.adapters.redis_node import FAILURES, error_name
from sidecar.adapters.redis_servers import servers_of, shape_of
from sidecar.adapters.redis_way import Access
from sidecar.adapters.store_listing import literally, name_at, read_key_reports
from sidecar.core.session import SessionKey
from sidecar.core.store_address import StoreAddress
from sidecar.core.timings import STORE_CONNECT_SECONDS
from sidecar.errors import StoreUnavailable
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

TOMBSTONE_MS = 3600 * 1000
REVOCATIONS_MS = 7 * 24 * 3600 * 1000  # longer than anybody goes on with one
FORMAT = b"1"
_SCANNED_AT_ONCE = 512

_SCRIPTS = (
    "load",
    "changed",
    "attach",
    "user_sessions",
    "shared",
    "surplus",
    "touch",
    "save",
    "end_session",
    "end_grant",
    "release",
    "take_due",
    "last_seen",
    "put_back_grant",
    "put_back_session",
    "put_back_end",
    "redeem",
    "set_redeemed",
    "queue",
    "reseal",
    "report_keys",
    "key_reports",
)
_RESULTS = {
    b"saved": SaveResult.SAVED,
    b"moved": SaveResult.MOVED,
    b"ended": SaveResult.ENDED,
    b"missing": SaveResult.MISSING,
}


class RedisStore:
    """Sessions and grants on a Redis server, under `prefix`."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        clock: Clock,
        command_seconds: float = 0.25,
        connect_seconds: float = STORE_CONNECT_SECONDS,
        access: Access | None = None,
    ) -> None:
        address = StoreAddress.parse(url)
        self._servers = servers_of(
            address,
            access or Access.of(address),
            clock,
            command_seconds=command_seconds,
            connect_seconds=connect_seconds,
        )
        self._prefix = prefix
        self._clock = clock
        self._offset: float | None = None
        folder = resources.files("sidecar.adapters") / "scripts"
        self._scripts = {name: _Script((folder / f"{name}.lua").read_text()) for name in _SCRIPTS}

    @property
    def interrupted_at(self) -> float:
        """When (`Clock.monotonic()`) a connection was last made that took another's place."""
        return self._servers.interrupted_at

    async def aclose(self) -> None:
        """Close all connections."""
        await self._servers.aclose()

    async def now(self) -> float:
        """The server's time; asked for once, afterwards known from every script's answer."""
        if self._offset is None:
            seconds, micros = await self._ask(f"{self._prefix}keys", "TIME")
            self._offset = int(seconds) + int(micros) / 1e6 - self._clock.now()
        return self._clock.now() + self._offset

    async def ping(self) -> None:
        """Nothing, if every server answers."""
        try:
            for node in await self._servers.nodes():
                await node.ask("PING")
        except FAILURES as error:
            raise _unavailable(error) from error

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
        tag = key.user_tag
        answer = await self._run(
            "attach",
            [self._session(key), self._grant(tag, grant_id), self._index(tag)],
            [key.digest, session.write_id, session.sealed, _ms(idle_ends_at),
             grant_id, grant.version, grant.write_id, grant.sealed, _ms(grant.ends_at),
             int(shared), self._grant(tag, "")],
        )  # fmt: skip
        return _RESULTS[answer[0]]

    async def load(self, key: SessionKey) -> StoredSession | None:
        """A session with its grant."""
        keys = [self._session(key), self._index(key.user_tag)]
        args = [key.digest, self._grant(key.user_tag, "")]
        answer = await self._run("load", keys, args)
        if not answer:
            return None
        session = _record(answer[0][:6])
        if session is None:
            return None
        seen_at = float(answer[0][6] or 0) / 1000
        if len(answer) == 1:
            return StoredSession(session, seen_at, "", None)
        return StoredSession(session, seen_at, answer[1].decode(), _record(answer[2]))

    async def load_grant(self, user_tag: str, grant_id: str) -> Record | None:
        """A grant's record."""
        key = self._grant(user_tag, grant_id)
        return _record(await self._ask(key, "HMGET", "f", "s", "v", "w", "d", "r"))

    async def user_sessions(self, user_tag: str, *, limit: int) -> UserSessions:
        """A user's live sessions with their grants, those used latest first."""
        count, *listed = await self._run(
            "user_sessions",
            [self._index(user_tag)],
            [self._sessions(user_tag), self._grant(user_tag, ""), limit],
        )
        found: list[tuple[SessionKey, StoredSession]] = []
        grants: dict[str, Record | None] = {}
        for digest, grant_id, fields, grant in listed:
            session, name = _record(fields[:6]), grant_id.decode()
            if grant is not None:  # sent once, however many have it
                grants[name] = _record(grant)
            if session is not None:
                seen_at = float(fields[6] or 0) / 1000
                stored = StoredSession(session, seen_at, name, grants[name])
                found.append((SessionKey(user_tag, digest.decode()), stored))
        return UserSessions(found, count)

    async def shared_grant(self, user_tag: str) -> str:
        """The id of the live grant that a user's sessions share; "" if they share none."""
        keys, args = [self._index(user_tag)], [self._grant(user_tag, "")]
        answer = await self._run("shared", keys, args)
        return answer[0].decode() if answer else ""

    async def surplus(self, key: SessionKey, *, most: int) -> list[tuple[SessionKey, str]]:
        """The sessions that a user has beyond `most`, unused the longest."""
        tag = key.user_tag
        args = [self._sessions(tag), most, key.digest]
        answer = [part.decode() for part in await self._run("surplus", [self._index(tag)], args)]
        digests, grant_ids = answer[::2], answer[1::2]
        keys = (SessionKey(tag, digest) for digest in digests)
        return list(zip(keys, grant_ids, strict=True))

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
        keys = [self._session(key), self._index(key.user_tag)]
        args = [_ms(seen_at), _ms(idle_ends_at), key.digest, grant_id, _ms(ends_at)]
        await self._run("touch", keys, args)

    async def save_grant(self, user_tag: str, grant_id: str, grant: Write) -> SaveResult:
        """Put a grant's next version in the place of the one before."""
        answer = await self._run(
            "save",
            [self._grant(user_tag, grant_id)],
            [grant.version, grant.write_id, grant.sealed, _ms(grant.ends_at)],
        )
        return _RESULTS[answer[0]]

    async def end_session(
        self, key: SessionKey, grant_id: str, *, reason: str, write_id: str
    ) -> Ended:
        """A tombstone for a session, and for its grant if no other live session has it."""
        tag = key.user_tag
        answer = await self._run(
            "end_session",
            [self._session(key), self._grant(tag, grant_id), self._index(tag)],
            [key.digest, grant_id, reason, write_id, TOMBSTONE_MS, self._sessions(tag)],
        )
        return Ended(answer[0] == b"1", _record(answer[1]) if len(answer) > 1 else None)

    async def end_grant(
        self, user_tag: str, grant_id: str, *, version: int, reason: str, write_id: str
    ) -> SaveResult:
        """Tombstones for a grant at `version` and all its sessions."""
        answer = await self._run(
            "end_grant",
            [self._grant(user_tag, grant_id), self._index(user_tag)],
            [grant_id, version, reason, write_id, TOMBSTONE_MS, self._sessions(user_tag)],
        )
        return _RESULTS[answer[0]]

    async def take_lease(self, user_tag: str, grant_id: str, owner: str, *, seconds: float) -> bool:
        """Whether the lease of a grant is now `owner`'s."""
        key = self._lease(user_tag, grant_id)
        return await self._ask(key, "SET", owner, "NX", "PX", _ms(seconds)) is not None

    async def release_lease(self, user_tag: str, grant_id: str, owner: str) -> None:
        """Give the lease back, if it is still `owner`'s."""
        await self._run("release", [self._lease(user_tag, grant_id)], [owner])

    async def changed(
        self, known: Sequence[tuple[RecordName, str]]
    ) -> dict[RecordName, Record | None]:
        """Of records that are known by their write ids, those that are not so any more."""
        self._servers.look()
        keys = [self._record(name) for name, _ in known]
        parts = self._servers.parted(keys)
        answers = await asyncio.gather(
            *(
                self._run("changed", [keys[at] for at in part], [known[at][1] for at in part])
                for part in parts
            )
        )
        return {
            known[part[i - 1]][0]: _record(fields)
            for part, answer in zip(parts, answers, strict=True)
            for i, fields in answer
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
        lease, index = self._lease(user_tag, grant_id), self._index(user_tag)
        answer = await self._run(
            "put_back_grant",
            [self._grant(user_tag, grant_id), lease, index],
            [over, grant.version, grant.write_id, grant.sealed, _ms(grant.ends_at),
             _ms(hold_seconds), grant_id if shared else "", self._grant(user_tag, "")],
        )  # fmt: skip
        return _RESULTS[answer[0]]

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
        answer = await self._run(
            "put_back_session",
            [self._session(key), self._index(key.user_tag)],
            [key.digest, session.version, session.write_id, session.sealed, _ms(seen_at),
             _ms(idle_ends_at), grant_id, _ms(session.ends_at)],
        )  # fmt: skip
        return _RESULTS[answer[0]]

    async def put_back_end(self, name: RecordName, *, reason: str, write_id: str) -> None:
        """Write a tombstone that the store has lost, whatever stands there."""
        keys = [self._record(name), self._index(name.user_tag)]
        await self._run("put_back_end", keys, [name.id, reason, write_id, TOMBSTONE_MS])

    async def schedule(self, user_tag: str, grant_id: str, due_at: float | None) -> None:
        """Note when a grant is to be renewed without a request."""
        key, member = self._due(due_shard(grant_id)), f"{user_tag}/{grant_id}"
        if due_at is None:
            await self._ask(key, "ZREM", member)
        else:
            await self._ask(key, "ZADD", _ms(due_at), member)

    async def take_due(
        self, shard: int, *, now: float, limit: int, hide_seconds: float
    ) -> list[tuple[str, str]]:
        """Grants of a shard that are due, hidden from others for a while."""
        members = await self._run(
            "take_due", [self._due(shard)], [_ms(now), limit, _ms(now + hide_seconds)]
        )
        parted = [member.decode().partition("/") for member in members]
        return [(tag, grant_id) for tag, _, grant_id in parted]

    async def last_seen(self, user_tag: str, grant_id: str) -> float | None:
        """When a live session of a grant was last used."""
        keys, args = [self._index(user_tag)], [grant_id, self._sessions(user_tag)]
        answer = await self._run("last_seen", keys, args)
        return int(answer[0]) / 1000 if answer else None

    async def redeem(self, state_hash: str, owner: str, *, seconds: float) -> bool:
        """Whether a login's state is `owner`'s to redeem."""
        answer = await self._run("redeem", [self._redeemed(state_hash)], [owner, _ms(seconds)])
        return cast(bytes, answer[0]) == b"1"

    async def set_redeemed(self, state_hash: str, outcome: bytes) -> None:
        """What became of a redeemed state."""
        await self._run("set_redeemed", [self._redeemed(state_hash)], [outcome])

    async def redeemed(self, state_hash: str) -> bytes | None:
        """What became of a redeemed state: empty while not known, None when not redeemed."""
        owner, outcome = await self._ask(self._redeemed(state_hash), "HMGET", "owner", "outcome")
        return None if owner is None else outcome or b""

    async def note_provider_sid(self, sid_hash: str, user_tag: str, *, seconds: float) -> None:
        """Note whose the provider's session is."""
        await self._ask(self._provider_sid(sid_hash), "SET", user_tag, "PX", _ms(seconds))

    async def user_of_provider_sid(self, sid_hash: str) -> str:
        """Whose the provider's session is; "" where that is not known."""
        tag = await self._ask(self._provider_sid(sid_hash), "GET")
        return cast(bytes, tag or b"").decode()

    async def note_logout_token(self, token_hash: str, *, seconds: float) -> None:
        """Note that a logout token has done its work."""
        await self._ask(self._logout_token(token_hash), "SET", 1, "PX", _ms(seconds))

    async def knows_logout_token(self, token_hash: str) -> bool:
        """Whether a logout token has done its work."""
        return cast(int, await self._ask(self._logout_token(token_hash), "EXISTS")) == 1

    async def queue_revocation(self, entry: bytes, *, due_at: float, limit: int) -> bool:
        """Whether a sealed revocation is in the queue now."""
        args = [entry, _ms(due_at), limit, REVOCATIONS_MS]
        return cast(bytes, (await self._run("queue", [self._revoke], args))[0]) == b"1"

    async def take_revocations(self, *, now: float, limit: int, hide_seconds: float) -> list[bytes]:
        """Revocations that are due, hidden from others for a while."""
        return await self._run(
            "take_due", [self._revoke], [_ms(now), limit, _ms(now + hide_seconds)]
        )

    async def queued_revocations(self, *, limit: int) -> list[bytes]:
        """Revocations that are in the queue, due or not."""
        return cast(list[bytes], await self._ask(self._revoke, "ZRANGE", 0, limit - 1))

    async def put_off_revocation(self, entry: bytes, due_at: float | None) -> None:
        """When a revocation that is in the queue is due again; None: it is taken out."""
        if due_at is None:
            await self._ask(self._revoke, "ZREM", entry)
        else:
            await self._ask(self._revoke, "ZADD", "XX", _ms(due_at), entry)

    @property
    def _revoke(self) -> str:
        return f"{self._prefix}revoke"

    def _provider_sid(self, sid_hash: str) -> str:
        return f"{self._prefix}provider-sid:{sid_hash}"

    def _logout_token(self, token_hash: str) -> str:
        return f"{self._prefix}logout-token:{token_hash}"

    async def scan(self, kind: RecordKind, cursor: str = "") -> tuple[str, list[RecordName]]:
        """Some of all records' names, tombstones too, and where the next ones are; "": nowhere."""
        where, number, at = _read_cursor(cursor)
        pattern = f"{literally(self._prefix)}{{*}}:{kind.value}:*"
        try:
            nodes = await self._servers.nodes()
            # What moved from a server that is still to come to one that is done would be missed.
            if where not in ("", shape := shape_of(nodes)):
                raise StoreUnavailable("the Cluster's servers are others now")
            following, keys = await nodes[number].ask(
                "SCAN", at, "MATCH", pattern, "COUNT", _SCANNED_AT_ONCE
            )
        except FAILURES as error:
            raise _unavailable(error) from error
        found = (key.decode("utf-8", "replace") for key in cast(list[bytes], keys))
        names = (name_at(self._prefix, kind, key) for key in found)
        if int(following) == 0:
            number, following = number + 1, b"0"
        ended = number == len(nodes)
        following_cursor = "" if ended else f"{shape}/{number}/{int(following)}"
        return following_cursor, [name for name in names if name]

    async def reseal(self, name: RecordName, opened: Record, sealed: bytes) -> SaveResult:
        """Put the same content, sealed by another key, in the place of what was opened."""
        args = [opened.version, opened.write_id, sealed]
        answer = await self._run("reseal", [self._record(name)], args)
        return _RESULTS[answer[0]]

    async def report_keys(self, replica: str, report: str, *, in_use: str) -> None:
        """Say for a minute which keys a replica has, and that the key `in_use` seals there."""
        lives = [_ms(KEY_REPORT_SECONDS), _ms(KEY_USE_SECONDS)]
        await self._run("report_keys", [f"{self._prefix}keys"], [replica, report, in_use, *lives])

    async def key_reports(self) -> KeyReports:
        """What all replicas have said of their keys."""
        answer = await self._run("key_reports", [f"{self._prefix}keys"], [])
        fields = [field.decode("utf-8", "replace") for field in (answer[0] if answer else ())]
        return read_key_reports(zip(fields[::2], fields[1::2], strict=True), await self.now())

    def _redeemed(self, state_hash: str) -> str:
        return f"{self._prefix}redeemed:{state_hash}"

    def _due(self, shard: int) -> str:
        return f"{self._prefix}due:{shard}"

    def _user(self, user_tag: str) -> str:
        """The start of a user's keys; the braces are Redis Cluster's hash tag."""
        return f"{self._prefix}{{{user_tag}}}:"

    def _sessions(self, user_tag: str) -> str:
        return f"{self._user(user_tag)}session:"

    def _session(self, key: SessionKey) -> str:
        return self._sessions(key.user_tag) + key.digest

    def _grant(self, user_tag: str, grant_id: str) -> str:
        return f"{self._user(user_tag)}grant:{grant_id}"

    def _record(self, name: RecordName) -> str:
        # In one piece: it is asked for thousands of times a second.
        kind, user_tag, record_id = name
        return f"{self._prefix}{{{user_tag}}}:{kind.value}:{record_id}"

    def _lease(self, user_tag: str, grant_id: str) -> str:
        return f"{self._user(user_tag)}lease:{grant_id}"

    def _index(self, user_tag: str) -> str:
        return f"{self._user(user_tag)}index"

    async def _run(self, script: str, keys: list[str], args: list[Any]) -> list[Any]:
        """A script's answer behind the server's time, which comes first in every one."""
        one, key = self._scripts[script], keys[0] if keys else ""
        try:
            answered: list[Any] = await self._servers.ask(
                key, "EVALSHA", one.digest, len(keys), *keys, *args, source=one.source
            )
        except FAILURES as error:
            raise _unavailable(error) from error
        self._offset = answered[0] / 1000 - self._clock.now()
        return answered[1:]

    async def _ask(self, key: str, command: str, *args: Any) -> Any:
        """The answer to a command about this key, which has it as its first argument."""
        words = (key, *args) if command != "TIME" else ()
        try:
            return await self._servers.ask(key, command, *words)
        except FAILURES as error:
            raise _unavailable(error) from error


class _Script:
    """A script, and what a server knows it by."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _read_cursor(cursor: str) -> tuple[str, int, int]:
    """The servers that it is for, which of them, and where in that one."""
    where, number, at = cursor.split("/") if cursor else ("", "0", "0")
    return where, int(number), int(at)


def _unavailable(error: Exception) -> StoreUnavailable:
    """Shows nothing of what was sent, and of the server's own text its code alone."""
    return StoreUnavailable(
        f"the store did not answer ({error_name(error)}); see SIDECAR_STORE_URL"
    )


def _record(fields: list[bytes | None]) -> Record | None:
    """A record from its fields f, s, v, w, d, r; None where nothing is stored."""
    form, state, version, write_id, sealed, reason = fields
    if state is None:
        return None
    ended = (reason or b"unknown").decode() if state == b"ended" else ""
    newer = form != FORMAT
    return Record(int(version or 0), (write_id or b"").decode(), sealed or b"", ended, newer)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
