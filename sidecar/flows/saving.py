"""Renewed tokens on their way to the store: none is dropped before the store has taken it."""

import itertools
from dataclasses import dataclass

from sidecar.core.grant import Grant
from sidecar.core.tokens import TokenSet
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.flows.records import Live
from sidecar.flows.revocation import Revocations
from sidecar.flows.sessions import Sessions
from sidecar.flows.tasks import Runtime
from sidecar.ports import SaveResult, Write

_SAVE_AGAIN_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
SAVED_BY_THEN_SECONDS = 3.0  # longer than the longest of those, and a try
_MISSING_FOR_SECONDS = 60.0  # a failover may show an empty store for a while


class GrantMissing(StoreUnavailable):
    """The store answers, and has no record of a grant that has not ended."""


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """New tokens that the store has not taken yet, and those that they replace."""

    replaces: TokenSet
    grant: Grant
    write: Write


class Saving:
    """Keeps what the store has not taken yet, serves it, and goes on until the store has it."""

    def __init__(self, sessions: Sessions, revocations: Revocations, runtime: Runtime) -> None:
        self._sessions = sessions
        self._revocations = revocations
        self._clock = runtime.clock
        self._tasks = runtime.tasks
        self._log = runtime.log
        self._unsaved: dict[str, _Unsaved] = {}

    def __contains__(self, grant_id: str) -> bool:
        """Whether a grant has tokens that the store has not taken yet."""
        return grant_id in self._unsaved

    def latest(self, live: Live) -> Live:
        """A session with the newest tokens of its grant, whether they are stored or not."""
        unsaved = self._unsaved.get(live.grant.id) if self._unsaved else None
        if unsaved and unsaved.grant.renewals > live.grant.renewals:
            return live._replace(grant=unsaved.grant)
        return live

    async def save(self, asked: Grant, renewed: Grant) -> None:
        """Store new tokens; what the store does not take at once is served, and saved behind."""
        unsaved = _Unsaved(asked.tokens, renewed, self._sessions.seal_grant(renewed))
        self._unsaved[renewed.id] = unsaved
        self._sessions.has_tokens(renewed)
        try:
            await self._try_to_save(unsaved)
        except StoreUnavailable:
            self._log.error("renewal_not_saved_yet", user=renewed.user_tag)
            self._tasks.start(self._save_behind(renewed.id), "save")

    async def _save_behind(self, grant_id: str) -> None:
        give_up_at = self._clock.monotonic() + _MISSING_FOR_SECONDS
        pauses = itertools.chain(_SAVE_AGAIN_SECONDS, itertools.repeat(_SAVE_AGAIN_SECONDS[-1]))
        while True:
            await self._clock.sleep(next(pauses))
            try:
                await self._try_to_save(self._unsaved[grant_id])
            except GrantMissing:
                if self._clock.monotonic() > give_up_at:
                    lost = self._unsaved.pop(grant_id).grant
                    self._log.error("renewal_lost_with_its_record", user=lost.user_tag)
                    return self._revocations.begin(lost)
            except StoreUnavailable:
                continue
            else:
                return None

    async def _try_to_save(self, unsaved: _Unsaved) -> None:
        """Save until the store took it, or has a newer or ended grant.

        Raises:
            StoreUnavailable: not known; the same write is tried again.
            GrantMissing: the store has no such grant; absence is no end, so it is tried again.
        """
        grant = unsaved.grant
        while True:
            result = await self._sessions.write(grant, unsaved.write)
            if result not in (SaveResult.MOVED, SaveResult.MISSING):
                break
            try:
                # What the store has lost is put back by this.
                stored = await self._sessions.load_grant(grant.user_tag, grant.id)
            except SessionOver:
                result = SaveResult.ENDED
                break
            if stored is None:
                raise GrantMissing("the store has lost this grant")
            if stored.tokens != unsaved.replaces:
                break  # it has newer tokens than those that ours replace
            # Somebody attached a session meanwhile: our tokens belong on top of that.
            has_id_token = grant.answers_without_id_token == 0
            grant = stored.with_tokens(grant.tokens, has_id_token=has_id_token)
            unsaved = _Unsaved(unsaved.replaces, grant, self._sessions.seal_grant(grant))
            self._unsaved[grant.id] = unsaved
        del self._unsaved[grant.id]
        if result is SaveResult.ENDED:
            # It has ended meanwhile: nobody needs what its renewal got.
            self._revocations.begin(grant)
