"""How long the store and the provider were away, as a number that grows while they are."""

from collections.abc import Callable, Mapping

from sidecar.flows.tasks import Runtime

LOOK_EVERY_SECONDS = 1.0


class Outages:
    """Counts the seconds of each outage."""

    def __init__(self, away: Mapping[str, Callable[[], bool]], runtime: Runtime) -> None:
        self._away = away
        self._clock = runtime.clock
        self._counted = {of: runtime.metrics.outage_seconds.labels(of) for of in away}

    async def run(self) -> None:
        """Look until cancelled."""
        before = self._clock.monotonic()
        while True:
            await self._clock.sleep(LOOK_EVERY_SECONDS)
            now = self._clock.monotonic()
            self.look(now - before)
            before = now

    def look(self, seconds: float) -> None:
        """The last so many seconds were an outage of what is away now."""
        for of, is_away in self._away.items():
            if is_away():
                self._counted[of].inc(seconds)
