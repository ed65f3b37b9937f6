"""An operator ends sessions: tombstones, which every replica sees, and revocation where asked."""

from dataclasses import dataclass
from enum import Enum, auto

from sidecar.core.grant import Grant
from sidecar.core.session import ENDED_BY_OPERATOR
from sidecar.errors import (
    ProviderRefused,
    RecordUnreadable,
    SessionOver,
    StoreUnavailable,
    TryLater,
)
from sidecar.flows.health import insist
from sidecar.flows.records import Records
from sidecar.flows.revocation import Revocations
from sidecar.flows.walk import Found
from sidecar.ports import (
    Clock,
    IdentityProvider,
    Record,
    RecordName,
    SaveResult,
    Store,
    Upstream,
)

_ATTEMPTS = 5


class Revoked(Enum):
    """What became of a grant at the provider."""

    NOT_ASKED = auto()
    """Nobody asked for it, or other sessions have the grant."""
    NOTHING = auto()
    """It has no refresh token that is good."""
    DONE = auto()
    QUEUED = auto()
    """The provider did not take it; the replicas try again."""
    NO_ENDPOINT = auto()
    REFUSED = auto()
    AWAY = auto()
    UNREADABLE = auto()
    """Its record does not open here."""

    @property
    def failed(self) -> bool:
        """Whether the provider may still take its refresh token."""
        return self not in (Revoked.NOT_ASKED, Revoked.NOTHING, Revoked.DONE)


@dataclass(frozen=True, slots=True)
class Done:
    """What ending one session did. `told` is whether Argo CD was, None where it need not be."""

    last: bool
    revoked: Revoked = Revoked.NOT_ASKED
    told: bool | None = None


class Ending:
    """Ends sessions and grants for an operator.

    With a provider their refresh tokens are revoked there, now or from the queue. With an upstream
    it is told of their ID tokens, which browsers have in mirror mode.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        clock: Clock,
        *,
        provider: IdentityProvider | None = None,
        revocations: Revocations | None = None,
        upstream: Upstream | None = None,
    ) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        self._provider = provider
        self._revocations = revocations
        self._upstream = upstream

    async def end(self, found: Found) -> Done:
        """End a session, and its grant if no other has it.

        Raises:
            StoreUnavailable: after a few tries; it is not known whether it ended.
        """
        write_id = self._records.new_write_id()
        ended = await insist(
            lambda: self._store.end_session(
                found.key, found.grant_id, reason=ENDED_BY_OPERATOR, write_id=write_id
            ),
            self._clock,
        )
        if not ended.last:
            return Done(last=False)
        return await self._after(found.key.user_tag, found.grant_id, ended.grant, found.grant)

    async def end_grant(self, name: RecordName) -> Done | None:
        """End a grant that no session has; None where it does not live, or open, or is not ours.

        Raises:
            StoreUnavailable: after a few tries; it is not known whether it ended.
        """
        write_id = self._records.new_write_id()
        for _ in range(_ATTEMPTS):
            record = await self._store.load_grant(name.user_tag, name.id)
            if record is None or self._opened(name.user_tag, name.id, record) is None:
                return None
            if await self._end_at(name, record.version, write_id) is SaveResult.SAVED:
                return await self._after(name.user_tag, name.id, record, None)
        raise StoreUnavailable("a grant changed too often to end it")

    async def _end_at(self, name: RecordName, version: int, write_id: str) -> SaveResult:
        reason = ENDED_BY_OPERATOR
        return await insist(
            lambda: self._store.end_grant(
                name.user_tag, name.id, version=version, reason=reason, write_id=write_id
            ),
            self._clock,
        )

    async def _after(
        self, tag: str, grant_id: str, record: Record | None, known: Grant | None
    ) -> Done:
        grant = self._opened(tag, grant_id, record) or known
        return Done(True, await self._revoke(grant), await self._tell(grant))

    def _opened(self, tag: str, grant_id: str, record: Record | None) -> Grant | None:
        """The grant as it was when it ended: it may have been renewed since it was found."""
        try:
            return self._records.open_grant(tag, grant_id, record) if record else None
        except (SessionOver, RecordUnreadable):
            return None

    async def _revoke(self, grant: Grant | None) -> Revoked:
        if self._provider is None:
            return Revoked.NOT_ASKED
        if grant is None:
            return Revoked.UNREADABLE
        if not grant.tokens.refresh_token:
            return Revoked.NOTHING
        try:
            told = await self._provider.revoke(grant.tokens.refresh_token)
        except (TryLater, ProviderRefused) as error:
            if isinstance(error, ProviderRefused) and error.over:
                return Revoked.NOTHING
            queued = self._revocations and await self._revocations.queue(grant)
            failed = Revoked.AWAY if isinstance(error, TryLater) else Revoked.REFUSED
            return Revoked.QUEUED if queued else failed
        return Revoked.DONE if told else Revoked.NO_ENDPOINT

    async def _tell(self, grant: Grant | None) -> bool | None:
        if self._upstream is None:
            return None
        if grant is None:
            return False
        try:
            await self._upstream.log_out(grant.tokens.id_token, site="")
        except TryLater:
            return False
        return True
