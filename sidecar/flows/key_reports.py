"""Each replica says which keys it has and which one is in use, so that none is taken from it."""

from contextlib import suppress

from sidecar.core.key_rotation import write_report
from sidecar.errors import StoreUnavailable
from sidecar.flows.records import Records
from sidecar.flows.tasks import Runtime
from sidecar.ports import Store

EVERY_SECONDS = 5.0
_NAME_BYTES = 3


class KeyReporter:
    """Reports the keys of one process, under its host's name and a word of its own."""

    def __init__(self, store: Store, records: Records, runtime: Runtime, *, host: str) -> None:
        self._store = store
        self._records = records
        self._clock = runtime.clock
        self.name = f"{host}/{runtime.random(_NAME_BYTES).hex()}"

    async def run(self) -> None:
        """Report until cancelled; what the store does not take is said again."""
        while True:
            with suppress(StoreUnavailable):
                await self.report()
            await self._clock.sleep(EVERY_SECONDS)

    async def report(self) -> None:
        """Say it once.

        Raises:
            StoreUnavailable: it is not known whether it was heard.
        """
        ring = self._records.ring
        await self._store.report_keys(self.name, write_report(ring.keys), in_use=ring.sealing_id)
