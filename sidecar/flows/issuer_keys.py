"""The keys of one trusted issuer, as they were last read: for tokens of anybody who sends one.

No request has them read but the first, and one for a key that is not known: that at most once in
an interval, however many come. Otherwise they are read behind requests, and what is known goes on
while their issuer is away.
"""

import asyncio
import math
from collections.abc import Sequence

from sidecar.core.id_token import SigningKey
from sidecar.errors import MachineCredentialUnavailable, ProviderUnavailable
from sidecar.flows.tasks import Runtime
from sidecar.ports import KeySource

FRESH_SECONDS = 300.0
"""As old as that, keys are read again behind the request that needs them."""
OLD_SECONDS = 3600.0
"""As old as that, the request waits for them: a key may have been taken back long ago."""
LAST_SECONDS = 86400.0
"""As old as that, they are not relied on: whoever keeps us from the issuer keeps no key alive."""
INTERVAL_SECONDS = 10.0
MOST_WAITING = 256


class IssuerKeys:
    """What one issuer publishes. `version` is another object each time that the keys are others."""

    def __init__(self, name: str, source: KeySource, runtime: Runtime) -> None:
        self._name = name
        self.source = source
        self._clock = runtime.clock
        self._tasks = runtime.tasks
        self._log = runtime.log
        self._reads = runtime.metrics.machine_key_reads
        self._keys: Sequence[SigningKey] = ()
        self._read_at = self._tried_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        self._waiting = 0
        self._away = False
        self.version: object = object()

    @property
    def known(self) -> bool:
        """Whether there are keys that can be relied on."""
        return self._age < LAST_SECONDS

    @property
    def old(self) -> bool:
        """Whether the keys are to be read before they are used, if that is possible."""
        return self._age >= OLD_SECONDS and self.may_change

    @property
    def may_change(self) -> bool:
        """Whether `read` could bring others: they are being read, or may be read now."""
        return self._reading is not None or self._may_read

    @property
    def _may_read(self) -> bool:
        return self._clock.monotonic() >= self._tried_at + INTERVAL_SECONDS

    @property
    def _age(self) -> float:
        return self._clock.monotonic() - self._read_at

    def fitting(self, kid: str | None) -> list[SigningKey]:
        """The known keys that may have signed a token with this `kid`."""
        keys = self._keys if self.known else ()
        return [key for key in keys if kid is None or key.kid in (None, kid)]

    def hold(self, version: object) -> bool:
        """Whether the keys of this version can be relied on; read again behind if not fresh."""
        age = self._age
        if age >= FRESH_SECONDS:
            self.look_behind()
        return version is self.version and age < LAST_SECONDS

    def look_behind(self) -> None:
        """Have the keys read again if they are not fresh; nobody waits for that."""
        if self._age >= FRESH_SECONDS and self._may_read:
            self._begin()

    async def read(self) -> None:
        """Read the keys, or wait for whoever does, unless that was just done.

        Raises:
            MachineCredentialUnavailable: there are none that can be relied on.
        """
        if self._waiting >= MOST_WAITING:
            raise MachineCredentialUnavailable(f"too many wait for the keys of {self._name}")
        self._waiting += 1
        try:
            if self.may_change:
                await asyncio.shield(self._begin())
        finally:
            self._waiting -= 1
        if not self.known:
            raise MachineCredentialUnavailable(f"the keys of {self._name} are not known")

    def _begin(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._tried_at = self._clock.monotonic()
            self._reading = self._tasks.start(self._read(), "read a machine issuer's keys")
        return self._reading

    async def _read(self) -> None:
        asked_at = self._clock.monotonic()
        try:
            keys = await self.source.keys()
        except ProviderUnavailable as error:
            self._reads.labels(self._name, "failed").inc()
            self._tell_away(str(error))
        else:
            self._reads.labels(self._name, "ok").inc()
            self._tell_away("")
            self._take(keys, asked_at)
        finally:
            self._tried_at = self._clock.monotonic()  # a slow failure must not be repeated at once
            self._reading = None

    def _take(self, keys: Sequence[SigningKey], asked_at: float) -> None:
        if list(keys) != list(self._keys):
            self.version = object()
        self._keys, self._read_at = keys, asked_at

    def _tell_away(self, why: str) -> None:
        if why and not self._away:
            self._log.warning(
                "machine_keys_not_read",
                issuer=self._name,
                error=why,
                mend="see the issuer's addresses and ca_file in SIDECAR_MACHINE_RULES",
            )
        elif self._away and not why:
            self._log.info("machine_keys_read_again", issuer=self._name)
        self._away = bool(why)
