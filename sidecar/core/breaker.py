"""When a provider is away: how many grants it failed, and when to ask it again.

It counts distinct grants, so that one user's lasting error (as Dex gives when its connector
refuses a dismissed user) does not stop everybody's renewals.
"""

from dataclasses import dataclass, replace

OPENS_AT_GRANTS = 5
FIRST_SECONDS = 1.0
MOST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Closed while `opened` is 0. Instants are by `Clock.monotonic()`: a wall clock may step.

    While open, one renewal at a time asks the provider, to see; it is the `probing` one.
    """

    failed_grants: frozenset[str] = frozenset()
    opened: int = 0
    next_probe_at: float = 0.0
    probing: bool = False

    def retry_at(self, now: float) -> float:
        """When a renewal may ask again; 0 where it may ask now."""
        if not self.opened:
            return 0.0
        return max(self.next_probe_at, now + FIRST_SECONDS if self.probing else 0.0)

    def ask(self, now: float) -> "Breaker | None":
        """The breaker once a renewal has begun to ask; None: it may not ask now."""
        if not self.opened:
            return self
        if self.probing or now < self.next_probe_at:
            return None
        return replace(self, probing=True)

    def unanswered(self) -> "Breaker":
        """After a renewal that came to no answer of the provider, good or bad."""
        return replace(self, probing=False)

    def failed(self, grant_id: str, now: float, *, at_least: float, share: float) -> "Breaker":
        """After a grant's renewal found the provider away.

        `share` in [0, 1) is random: full jitter, so that replicas do not return together.
        `at_least` seconds is what the provider itself has asked for.
        """
        if self.opened and not self.probing:
            return self  # it was sent before the breaker opened, and says nothing new
        grants = self.failed_grants
        if len(grants) < OPENS_AT_GRANTS:
            grants |= {grant_id}
        if len(grants) < OPENS_AT_GRANTS:
            return replace(self, failed_grants=grants)
        most = min(MOST_SECONDS, FIRST_SECONDS * 2 ** min(self.opened, 16))
        wait = max(at_least, FIRST_SECONDS + (most - FIRST_SECONDS) * share)
        return Breaker(grants, self.opened + 1, now + wait)


CLOSED = Breaker()
