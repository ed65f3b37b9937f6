"""What strangers may have the sidecar do: each refusal is counted, and told once a minute.

It is for one process: with more replicas there is as much more. The counters are bounded.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.core.rates import Rate, Rates
from sidecar.errors import TooMany
from sidecar.flows.tasks import Runtime

MINUTE = 60.0
# A login takes about 3 ms of a core (measured), so this is at most a sixth of it: the rest is for
# requests.
CALLBACKS = Rate(250, 5.0)
EXCHANGES_AT_ONCE = 32  # fewer than the provider's client has connections: renewals need some
REPEATS_AT_ONCE = 32  # each of them looks into the store ten times a second while it waits
_ALL = ""


class LoginLimits:
    """Bounds on logins: of a browser, of an address, and of all together."""

    def __init__(self, runtime: Runtime) -> None:
        self._clock = runtime.clock
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._addresses = Rates(Rate(1, MINUTE))
        self._callbacks = Rates(CALLBACKS, most=1)
        self._at_once = {"exchanges": EXCHANGES_AT_ONCE, "repeats": REPEATS_AT_ONCE}
        self._told_at: dict[str, float] = {}
        # Prometheus sees no increase in a series that begins at 1.
        for limit in ("browser", "address", "callbacks", *self._at_once):
            self._metrics.limited.labels(limit)

    def allow_each_address(self, per_minute: int) -> None:
        """From now on an address may ask so often."""
        self._addresses.rate = Rate(per_minute, MINUTE)

    def check_address(self, address: str | None) -> None:
        """Count a request to a login or callback; nothing where the address is not known.

        Raises:
            TooMany: this address has asked too often.
        """
        if address is not None:
            self._check("address", self._addresses.wait_seconds(address, self._clock.monotonic()))

    def check_browser(self, wait_seconds: float) -> None:
        """Count a browser that has to wait before it may begin another login.

        Raises:
            TooMany: it has.
        """
        self._check("browser", wait_seconds)

    def check_callback(self) -> None:
        """Count a callback with a genuine state, before the store or the provider is asked.

        Raises:
            TooMany: there were too many from everybody together.
        """
        self._check("callbacks", self._callbacks.wait_seconds(_ALL, self._clock.monotonic()))

    @contextmanager
    def at_once(self, what: str) -> Iterator[None]:
        """One of so many `exchanges` or `repeats`, until this is over.

        Raises:
            TooMany: all are taken.
        """
        self._check(what, 0.0 if self._at_once[what] else 1.0)
        self._at_once[what] -= 1
        try:
            yield
        finally:
            self._at_once[what] += 1

    def _check(self, limit: str, wait_seconds: float) -> None:
        if wait_seconds <= 0:
            return
        self._metrics.limited.labels(limit).inc()
        now = self._clock.monotonic()
        if now - self._told_at.get(limit, -MINUTE) >= MINUTE:
            self._told_at[limit] = now
            self._log.warning("limited", limit=limit, meaning="docs/rate-limits.md")
        raise TooMany(limit, retry_after_seconds=max(1.0, wait_seconds))
