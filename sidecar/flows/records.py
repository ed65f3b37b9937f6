"""Records of sessions and grants: sealed on the way out, opened on the way back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.core.grant import Grant
from sidecar.core.revocation import Revocation, read_entry, to_entry
from sidecar.core.sealing import SEAL_RANDOM_BYTES, KeyRing, Label
from sidecar.core.session import EndReason, Session, SessionKey
from sidecar.errors import KeyUnknown, RecordBroken, RecordUnreadable, SessionOver
from sidecar.flows.tasks import Runtime
from sidecar.ports import Record, RecordName, Write

WRITE_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Client:
    """The OIDC client whose grants these are; tokens go to no other provider and client."""

    issuer: str
    client_id: str


class Live(NamedTuple):
    """A session that may be used, with its grant."""

    session: Session
    grant: Grant


class Records:
    """Seals and opens, with a label that binds each record to its place and version."""

    def __init__(self, ring: KeyRing, client: Client, runtime: Runtime, *, prefix: str) -> None:
        self.ring = ring
        self.client = client
        self._prefix = prefix
        self._random = runtime.random
        self._metrics = runtime.metrics
        self._log = runtime.log

    def new_write_id(self) -> str:
        """A name for one write, so that it counts once however often it is sent."""
        return self._random(WRITE_ID_BYTES).hex()

    def open_session(self, key: SessionKey, record: Record, *, seen_at: float) -> Session:
        """The session in a record.

        Raises:
            SessionOver: the record is a tombstone, or broken.
            RecordUnreadable: a newer release wrote it, or this replica lacks its key.
        """
        plain = self._open(record, self._session_label(key, record.version))
        with _understood("session"):
            return Session.from_bytes(key, plain, last_seen_at=seen_at)

    def open_grant(self, tag: str, grant_id: str, record: Record) -> Grant:
        """The grant in a record.

        Raises:
            SessionOver: the record is a tombstone, broken, or another client's.
            RecordUnreadable: a newer release wrote it, or this replica lacks its key.
        """
        plain = self._open(record, self._grant_label(tag, grant_id, record.version))
        with _understood("grant"):
            grant = Grant.from_bytes(grant_id, tag, record.version, plain)
        if (grant.issuer, grant.client_id) != (self.client.issuer, self.client.client_id):
            raise SessionOver(EndReason.OTHER_PROVIDER)
        return grant

    def seal_session(self, session: Session, *, write_id: str = "") -> Write:
        """A write of a session, which has one version only."""
        sealed = self._seal(session.to_bytes(), self._session_label(session.key, 1))
        return Write(1, write_id or self.new_write_id(), sealed, session.ends_at)

    def seal_grant(self, grant: Grant, *, write_id: str = "") -> Write:
        """A write of this version of a grant."""
        label = self._grant_label(grant.user_tag, grant.id, grant.version)
        sealed = self._seal(grant.to_bytes(), label)
        return Write(grant.version, write_id or self.new_write_id(), sealed, grant.ends_at)

    def resealed(self, name: RecordName, record: Record) -> bytes:
        """What is in a record, sealed anew by the key that seals now; nothing else is another.

        Raises:
            KeyUnknown: it was sealed by a key that is not here.
            RecordBroken: its key does not open it.
        """
        label = self._label_of(name, record.version)
        return self._seal(self.ring.open(record.sealed, label), label)

    def opens(self, name: RecordName, record: Record) -> bool:
        """Whether a key here opens a record."""
        try:
            self.ring.open(record.sealed, self._label_of(name, record.version))
        except (KeyUnknown, RecordBroken):
            return False
        return True

    def _label_of(self, name: RecordName, version: int) -> Label:
        return Label(self._prefix, name.kind, f"{name.user_tag}/{name.id}", version)

    def seal_revocation(self, revocation: Revocation) -> bytes:
        """A revocation as it stands in the queue."""
        label = Label(self._prefix, "revoke", revocation.name)
        return to_entry(revocation.name, self._seal(revocation.to_bytes(), label))

    def open_revocation(self, entry: bytes) -> Revocation:
        """The revocation in an entry of the queue.

        Raises:
            SessionOver: the entry is broken.
            RecordUnreadable: a newer release wrote it, or this replica lacks its key.
        """
        try:
            name, sealed = read_entry(entry)
        except ValueError as error:
            raise SessionOver(EndReason.UNREADABLE) from error
        plain = self._open(Record(0, "", sealed), Label(self._prefix, "revoke", name))
        with _understood("revocation"):
            return Revocation.from_bytes(name, plain)

    def is_for_us(self, revocation: Revocation) -> bool:
        """Whether a revocation's token is this client's; else it is to go nowhere from here."""
        return (revocation.issuer, revocation.client_id) == (
            self.client.issuer,
            self.client.client_id,
        )

    def _session_label(self, key: SessionKey, version: int) -> Label:
        return Label(self._prefix, "session", f"{key.user_tag}/{key.digest}", version)

    def _grant_label(self, tag: str, grant_id: str, version: int) -> Label:
        return Label(self._prefix, "grant", f"{tag}/{grant_id}", version)

    def _open(self, record: Record, label: Label) -> bytes:
        if record.ended:
            raise SessionOver(record.ended)
        if record.newer:
            raise _from_newer_release(label.kind)
        try:
            return self.ring.open(record.sealed, label)
        except KeyUnknown as error:
            if self.ring.has_replaced(record.sealed):
                raise SessionOver(EndReason.UNREADABLE) from error
            self._metrics.alarms.labels("key_unknown").inc()
            self._log.error("record_key_unknown", record=label.kind, mend="SIDECAR_SESSION_KEYS")
            raise
        except RecordBroken as error:
            self._metrics.alarms.labels("record_broken").inc()
            self._log.error("record_broken", record=label.kind)
            raise SessionOver(EndReason.UNREADABLE) from error

    def _seal(self, plain: bytes, label: Label) -> bytes:
        return self.ring.seal(plain, label, random=self._random(SEAL_RANDOM_BYTES))


@contextmanager
def _understood(kind: str) -> Iterator[None]:
    """What our own seal has opened is well-formed, but may say more than this release knows."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise _from_newer_release(kind) from error


def _from_newer_release(kind: str) -> RecordUnreadable:
    return RecordUnreadable(f"a {kind} was written by a newer release; roll this one forward")
