"""How long each part of a renewal may take; what a lease and a shutdown need follows from it."""

from collections.abc import Iterator
from dataclasses import dataclass

STORE_CONNECT_SECONDS = 1.0
# What is left of Kubernetes' 30 seconds between SIGTERM and SIGKILL, once answers are through.
WORK_SECONDS = 20.0
_SHORTEST_LEASE_SECONDS = 2.5  # half of it is enough to read, note, connect and send
_LONGEST_WINDOW_SECONDS = 60.0  # longer ones are as good as endless


@dataclass(frozen=True, slots=True)
class Timings:
    """How long each part may take, in seconds.

    A request is sent in the first half of the lease, or not at all; what follows it fits into the
    second half, so that the lease outlasts its work. No more than `renewals_at_once` run in a
    process, so that a provider that is back is not run over.
    """

    provider_seconds: float = 10.0
    keys_seconds: float = 5.0
    command_seconds: float = 0.25
    wait_seconds: float = 15.0
    renewals_at_once: int = 32

    @property
    def store_seconds(self) -> float:
        """What a step of the store takes at most: to connect, for its turn, for its answer."""
        return 2 * self.command_seconds + STORE_CONNECT_SECONDS

    @property
    def answer_seconds(self) -> float:
        """From when a refresh token is presented until what came of it is stored."""
        return self.provider_seconds + self.keys_seconds + 2 * self.store_seconds

    @property
    def lease_seconds(self) -> float:
        """How long a lease holds."""
        return 2 * self.answer_seconds

    def lease_at(self, reuse_window_seconds: float) -> float:
        """How long a lease holds at a provider that takes a spent refresh token again for a while.

        A second use is harmless there, so the lease of a process that died ends early enough for
        several more tries within that time.
        """
        if not reuse_window_seconds:
            return self.lease_seconds
        window = min(reuse_window_seconds, _LONGEST_WINDOW_SECONDS)
        return min(max(window / 12, _SHORTEST_LEASE_SECONDS), self.lease_seconds)

    def faults(self) -> Iterator[str]:
        """Why a refresh token could be lost with these, each with its mend."""
        over = self.answer_seconds - WORK_SECONDS
        if over > 0:
            yield (
                f"SIDECAR_PROVIDER_TIMEOUT and SIDECAR_STORE_TIMEOUT let a renewal take "
                f"{self.answer_seconds:.1f}s until it is stored, and a shutdown waits for "
                f"{WORK_SECONDS:.0f}s: its refresh token would be lost. Make the first one "
                f"{over:.1f}s shorter"
            )
