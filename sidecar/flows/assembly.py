"""The parts behind the sessions, put together as the application and the tests do it."""

from dataclasses import dataclass

from sidecar.core.sealing import KeyRing
from sidecar.core.session import EndReason
from sidecar.flows.cache import REMEMBERED_SECONDS, Cache
from sidecar.flows.confirmations import Confirmations
from sidecar.flows.health import StoreHealth
from sidecar.flows.joining import Joining
from sidecar.flows.knowledge import Knowledge
from sidecar.flows.records import Client, Records
from sidecar.flows.schedule import Schedule
from sidecar.flows.sessions import Lifetimes, Sessions
from sidecar.flows.tasks import Runtime
from sidecar.metrics import Metrics
from sidecar.ports import RecordKind, Store

CACHE_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What the other flows need of the sessions, over one store."""

    records: Records
    cache: Cache
    sessions: Sessions
    joining: Joining
    confirmations: Confirmations


def session_parts(
    store: Store,
    ring: KeyRing,
    client: Client,
    schedule: Schedule,
    lifetimes: Lifetimes,
    runtime: Runtime,
    *,
    prefix: str,
    cache_bytes: int = CACHE_BYTES,
) -> SessionParts:
    """Sessions over a store, with a cache of their own."""
    _begin_at_zero(runtime.metrics)
    records = Records(ring, client, runtime, prefix=prefix)
    remembered = max(REMEMBERED_SECONDS, lifetimes.grace_seconds)
    cache, health = Cache(cache_bytes, remembered), StoreHealth(runtime)
    runtime.metrics.known.count = cache.count
    knowledge = Knowledge(
        store, records, cache, schedule, runtime, idle_seconds=lifetimes.idle_seconds
    )
    sessions = Sessions(store, records, cache, knowledge, health, lifetimes, runtime)
    joining = Joining(store, records, cache, sessions, runtime)
    confirmations = Confirmations(store, cache, knowledge, sessions, runtime)
    return SessionParts(records, cache, sessions, joining, confirmations)


def _begin_at_zero(metrics: Metrics) -> None:
    """Have the counters that alerts count on there before their first event.

    Prometheus sees no increase in a series that begins at 1.
    """
    for reason in EndReason:
        metrics.ended_sessions.labels(reason.value)
        if reason.forces_login:
            metrics.forced_logins.labels(reason.value)
    for result in ("renewed", "without_id_token", "passing", "operator", "over", "wrong_answer"):
        metrics.renewals.labels(result)
    for result in ("revoked", "not_offered", "later", "refused", "given_up"):
        metrics.revocations.labels(result)
    for result in ("ok", "no_session", "replayed", "invalid", "unavailable"):
        metrics.backchannel_logouts.labels(result)
    for kind in (RecordKind.SESSION, RecordKind.GRANT, "end"):
        metrics.put_back.labels(kind)
