"""Renewals that failed: when each grant may be tried again, and what the operator is told."""

from collections import OrderedDict
from dataclasses import dataclass

from sidecar.core.grant import Grant
from sidecar.core.refresh_policy import is_over_alone, usable_seconds
from sidecar.errors import ProviderUnavailable, StoreUnavailable, TryLater
from sidecar.flows.tasks import Runtime

BACK_OFF_FIRST_SECONDS = 1.0
BACK_OFF_MOST_SECONDS = 30.0
_REMEMBERED = 20_000
_MENDS = {
    "provider_refuses_client": "check SIDECAR_CLIENT_ID, the client's secret or key, and its "
    "settings at the provider: sidecar doctor says how it authenticates; sessions stay",
    "other_subject": "the provider answered a refresh with another user's token: report it",
    "id_token_refused": "check SIDECAR_ISSUER and SIDECAR_CLIENT_ID against the provider's tokens",
    "no_id_token_on_refresh": "make the provider return an ID token on refresh (PingFederate: "
    "'Return ID Token On Refresh Grant'; else add the scope openid)",
}


@dataclass(frozen=True, slots=True)
class Setback:
    """How often in a row a grant's renewal failed, and until when it is left alone.

    `operator` says that somebody has to mend something; `alone` how many of the failures, after
    the token's end and since `alone_since`, were about this grant and no other. Instants are by
    `Clock.monotonic()`: a wall clock that steps must leave no wait behind.
    """

    count: int
    retry_at: float
    operator: bool
    alone: int
    alone_since: float


class Setbacks:
    """The setbacks of all grants in this process, the latest 20,000."""

    def __init__(self, runtime: Runtime) -> None:
        self._clock = runtime.clock
        self._random = runtime.random
        self._metrics = runtime.metrics
        self._log = runtime.log
        self._of: OrderedDict[str, Setback] = OrderedDict()
        self._told: set[str] = set()
        self._renewed_at = float("-inf")

    def of(self, grant_id: str) -> Setback | None:
        """A grant's setbacks; None when its last renewal went well."""
        return self._of.get(grant_id)

    def forget(self, grant_id: str) -> None:
        """A grant has ended, or is well again."""
        self._of.pop(grant_id, None)

    def clear(self) -> None:
        """What failed until now may go well now."""
        self._of.clear()

    def renewed(self, grant_id: str) -> None:
        """A renewal went well."""
        self.forget(grant_id)
        self._renewed_at = self._clock.monotonic()

    def passing(self, grant: Grant, error: TryLater) -> None:
        """Nobody is to blame, or nobody knows who: it is tried again."""
        self._metrics.renewals.labels("passing").inc()
        away = "store" if isinstance(error, StoreUnavailable) else "provider"
        self._metrics.renewal_failures.labels(away).inc()
        self._log.warning("renewal_failed", user=grant.user_tag, error=str(error))
        about_it = isinstance(error, ProviderUnavailable) and error.only_this_grant
        alone = about_it and usable_seconds(grant, self._clock.now()) <= 0
        self._note(grant, at_least=error.retry_after_seconds, alone=alone)

    def alarm(self, grant: Grant, kind: str, **detail: str) -> None:
        """The operator has something to mend; the grant is tried again."""
        self._metrics.alarms.labels(kind).inc()
        self._log.error(kind, user=grant.user_tag, mend=_MENDS[kind], **detail)
        self._note(grant, at_least=BACK_OFF_FIRST_SECONDS, operator=True)

    def tell_once(self, kind: str) -> None:
        """An alarm about the provider, not about one grant."""
        if kind not in self._told:
            self._told.add(kind)
            self._metrics.alarms.labels(kind).inc()
            self._log.error(kind, mend=_MENDS[kind])

    def is_over_alone(self, grant: Grant) -> bool:
        """Whether a grant is to be given up, though nobody said that it is over."""
        setback = self._of.get(grant.id)
        return setback is not None and is_over_alone(
            grant,
            self._clock.now(),
            tries=setback.alone,
            since=setback.alone_since,
            renewed_at=self._renewed_at,
        )

    def _note(
        self, grant: Grant, *, at_least: float, operator: bool = False, alone: bool = False
    ) -> None:
        """Exponential, with full jitter, so that what failed together does not return together."""
        now = self._clock.monotonic()
        before = self._of.pop(grant.id, None) or Setback(0, 0.0, False, 0, now)
        count = before.count + 1
        most = min(BACK_OFF_MOST_SECONDS, BACK_OFF_FIRST_SECONDS * 2 ** min(count, 16))
        share = int.from_bytes(self._random(2)) / 65535
        self._of[grant.id] = Setback(
            count,
            retry_at=now + max(at_least, most * share),
            operator=operator,
            alone=before.alone + alone,
            alone_since=before.alone_since if before.alone else now,
        )
        while len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)
