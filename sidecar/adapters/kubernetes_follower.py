"""One ConfigMap or Secret, kept as the Kubernetes API has it: listed once, then watched."""

from collections.abc import Callable
from contextlib import aclosing

from structlog.typing import FilteringBoundLogger

from sidecar.adapters.kubernetes_api import Connection, KubernetesApi
from sidecar.core.kubernetes_objects import Item, Kind
from sidecar.errors import KubernetesApiFailed, KubernetesApiRefused, VersionGone
from sidecar.ports import Clock

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_QUIET_SECONDS = 5.0  # a watch that lasts as long has worked, though nothing happened


class Follower:
    """Keeps `item`, and says by `changed` when that, or what is `wrong`, is another."""

    def __init__(
        self,
        api: KubernetesApi,
        kind: Kind,
        name: str,
        changed: Callable[[], None],
        *,
        clock: Clock,
        random: Callable[[int], bytes],
        log: FilteringBoundLogger,
    ) -> None:
        self._api = api
        self._kind = kind
        self.name = name
        self._changed = changed
        self._clock = clock
        self._random = random
        self._log = log
        self._version = ""
        self._watches = False
        self._happened = False
        self.item: Item | None = None
        self.listed = False
        """Whether the API has said once whether there is such an object."""
        self.refused = False
        """Whether the API does not let it be read."""
        self.wrong = ""
        """Why it cannot be read now, "" where it can."""

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            began, failed = self._clock.monotonic(), False
            self._watches = self._happened = False
            try:
                async with self._api.connected(self._kind, self.name) as connection:
                    await self._follow(connection)
            except VersionGone:
                self._version = ""
            except KubernetesApiFailed as error:
                failed = True
                self._go_wrong(error)
            lasted = self._clock.monotonic() - began
            worked = self._happened or (self._watches and lasted > _QUIET_SECONDS)
            # A broken connection is not made again at once by all pods; an ended watch is.
            failures = (1 if failed else 0) if worked else failures + 1
            await self._clock.sleep(self._pause(failures))

    async def _follow(self, connection: Connection) -> None:
        if not self._version:
            item, self._version = await connection.list()
            self._go_right(item)
        async with aclosing(connection.watch(self._version)) as events:
            async for event in events:
                self._watches = True
                self._happened = self._happened or event.version != self._version
                self._version = event.version
                self._go_right(event.item if event.changed else self.item)

    def _go_right(self, item: Item | None) -> None:
        known = self.listed and not self.wrong and item == self.item
        if self.wrong:
            self._log.info("kubernetes_api_answers", object=self.name)
        self.item, self.listed, self.refused, self.wrong = item, True, False, ""
        if not known:
            self._changed()

    def _go_wrong(self, error: KubernetesApiFailed) -> None:
        if str(error) == self.wrong:
            return
        self.refused, self.wrong = isinstance(error, KubernetesApiRefused), str(error)
        self._log.error(
            "kubernetes_api", object=self.name, error=self.wrong, meaning="what is known goes on"
        )
        self._changed()

    def _pause(self, failures: int) -> float:
        """Longer with each failure in a row; the random half keeps replicas apart."""
        if failures == 0:
            return 0.0
        doubled = FIRST_PAUSE_SECONDS * (1 << min(failures - 1, 10))
        longest = min(doubled, LONGEST_PAUSE_SECONDS)
        return longest * (0.5 + self._random(1)[0] / 510)
