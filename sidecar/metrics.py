"""Counters and histograms, made once and passed in."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

_PREFIX = "argocd_token_refresh_"


class Tally(Collector):
    """A histogram without labels that one thread counts in: every request does.

    The library's own takes two locks for each value, and with them a fifteenth of all the work
    on a small request.
    """

    def __init__(
        self, name: str, meaning: str, registry: CollectorRegistry, *, buckets: Sequence[float]
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._bounds = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[Metric]:
        """What Prometheus is told: how many values were at most each bound."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        upto = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._meaning, upto, self._sum)

    describe = collect


class LabelledTally(Collector):
    """A counter with one label that one thread counts in, for the same reason."""

    def __init__(self, name: str, meaning: str, label: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._meaning = meaning
        self._labelnames = (label,)
        self._counts: dict[str, int] = {}
        registry.register(self)

    def count(self, value: str) -> None:
        """One more with this value of the label."""
        self._counts[value] = self._counts.get(value, 0) + 1

    def collect(self) -> Iterable[Metric]:
        """What Prometheus is told."""
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labelnames)
        for value, count in self._counts.items():
            family.add_metric([value], count)
        yield family

    describe = collect


class ManyLabelledTally(Collector):
    """The same with several labels; whoever counts keeps their values together."""

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labelnames = labels
        self._counts: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def count(self, values: tuple[str, ...]) -> None:
        """One more with these values of the labels."""
        self._counts[values] = self._counts.get(values, 0) + 1

    def collect(self) -> Iterable[Metric]:
        """What Prometheus is told."""
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labelnames)
        for values, count in self._counts.items():
            family.add_metric(values, count)
        yield family

    describe = collect


class Scraped(Collector):
    """A gauge with one label that is counted when Prometheus asks, and costs nothing before."""

    def __init__(self, name: str, meaning: str, label: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._meaning = meaning
        self._labelnames = (label,)
        self.count: Callable[[], Mapping[str, int]] = dict
        """How many there are by value of the label: set by whoever has them."""
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """What Prometheus is told."""
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labelnames)
        for value, count in self.count().items():
            family.add_metric([value], count)
        yield family

    describe = collect


class Metrics:
    """Every metric of the sidecar, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.logins = self._counter("logins", "Logins by result", "result")
        self.observed_logins = self._counter(
            "observed_logins", "Logins of the upstream's own that passed by, by result", "result"
        )
        self.dex_requests = self._counter(
            "dex_requests", "Requests at the port at which the upstream has the sidecar as its Dex"
        )
        self.renewals = self._counter("renewals", "Renewals by result", "result")
        self.renewal_failures = self._counter(
            "renewal_failures",
            "Renewals that brought no new ID token, by what stood in the way",
            "reason",
        )
        self.ended_sessions = self._counter(
            "ended_sessions", "Sessions that ended, by reason, logouts included", "reason"
        )
        self.revocations = self._counter(
            "revocations", "Tries to revoke a refresh token at the provider, by result", "result"
        )
        self.backchannel_logouts = self._counter(
            "backchannel_logouts", "Logouts that somebody asked for as the provider", "result"
        )
        self.outage_seconds = self._counter(
            "outage_seconds", "How long the store or the provider was taken to be away", "of"
        )
        self.forced_logins = self._counter(
            "forced_logins", "Sessions that ended though nobody logged out, by reason", "reason"
        )
        self.group_changes = self._counter(
            "group_changes", "Renewed ID tokens with other groups than before", "change"
        )
        self.requests = LabelledTally(
            _PREFIX + "requests", "Proxied requests by credential", "credential", self.registry
        )
        self.added_seconds = Tally(
            _PREFIX + "added_seconds",
            "From a request's head to its answer's, less what the upstream took; a sample",
            self.registry,
            buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5),
        )
        self.connections = Scraped(
            _PREFIX + "connections",
            "Connections to the public port, by what each is at",
            "at",
            self.registry,
        )
        self.tasks = Gauge(
            _PREFIX + "tasks", "Tasks of the event loop, counted when asked", registry=self.registry
        )
        self.tasks.set_function(_tasks)
        self.upstream_connections = Scraped(
            _PREFIX + "upstream_connections",
            "Connections to the upstream: in_use, idle",
            "state",
            self.registry,
        )
        self.refused_requests = self._counter(
            "refused_requests", "Requests that were not passed on, by the answer's status", "status"
        )
        self.gave_way = self._counter(
            "connections_gave_way", "Unused connections that ended since there were too many"
        )
        self.spliced_connections = self._counter(
            "spliced_connections", "HTTP/2 connections that went to the upstream as they came"
        )
        self.tls_handshakes = self._counter(
            "tls_handshakes", "TLS handshakes on the public port, by result", "result"
        )
        self.lease_waits = self._counter(
            "lease_waits", "Renewals that waited for another replica's, which had the lease"
        )
        self.lost_races = self._counter(
            "lost_races", "Renewals that ended unasked, since the grant had changed meanwhile"
        )
        self.served_during_failure = self._counter(
            "served_during_failure", "Requests served by a good token after a failed renewal"
        )
        self.served_unconfirmed = self._counter(
            "served_unconfirmed",
            "Requests served by what was last known of a session, while the store was away",
        )
        self.put_back = self._counter(
            "put_back", "Records that the store had lost and got back, by kind", "record"
        )
        self.store_away = Gauge(
            _PREFIX + "store_away",
            "1 while the store fails again and again, and is asked now and then only",
            registry=self.registry,
        )
        self.cached_bytes = Gauge(
            _PREFIX + "cached_bytes",
            "About how much memory the known sessions and grants take",
            registry=self.registry,
        )
        self.known = Scraped(
            _PREFIX + "known",
            "Sessions that were in use lately, and people who have them",
            "what",
            self.registry,
        )
        self.confirmation_seconds = Histogram(
            _PREFIX + "confirmation_seconds",
            "How long a round of confirmations took",
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
        )
        self.token_life_left = Tally(
            _PREFIX + "token_life_left_seconds",
            "How long the ID token still lives that a request goes up with",
            self.registry,
            buckets=(1, 5, 15, 30, 60, 150, 300, 900, 1800, 3600, 7200, 86400),
        )
        self.alarms = self._counter(
            "alarms", "What an operator has to mend, by kind; the log says what", "kind"
        )
        self.seeded_access_tokens = self._counter(
            "seeded_access_tokens",
            "Access tokens for Argo CD's own Redis: written, put_back, failed",
            "result",
        )
        self.takes_over_logins = Gauge(
            _PREFIX + "takes_over_logins",
            "1 while logins are the sidecar's, 0 while they pass to Argo CD",
            registry=self.registry,
        )
        self.configuration_refused = Gauge(
            _PREFIX + "configuration_refused",
            "1 while a changed configuration cannot be used, and the one before goes on",
            registry=self.registry,
        )
        self.provider_away = Gauge(
            _PREFIX + "provider_away",
            "1 while several grants in a row found the provider away, and one at a time asks it",
            registry=self.registry,
        )
        self.provider_seconds = Histogram(
            _PREFIX + "provider_seconds",
            "How long the provider took to answer, by endpoint",
            ["endpoint"],
            registry=self.registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.limited = self._counter(
            "limited", "What was refused because a limit was reached, by limit", "limit"
        )
        self.sso_renewals = self._counter(
            "sso_renewals", "Logins without a form in front of Argo Workflows by result", "result"
        )
        self.jwks_fetches = self._counter("jwks_fetches", "JWKS requests by result", "result")
        self.machine_requests = ManyLabelledTally(
            _PREFIX + "machine_requests",
            "Requests with a token of a trusted issuer, by issuer, rule and outcome",
            ("issuer", "rule", "outcome"),
            self.registry,
        )
        self.machine_key_reads = self._counter(
            "machine_key_reads", "Reads of a trusted issuer's keys by result", "issuer", "result"
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, meaning, labels, registry=self.registry)


def _tasks() -> int:
    """How many tasks the loop that asks has; 0 where there is none."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0
