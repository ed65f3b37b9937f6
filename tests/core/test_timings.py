"""A lease outlasts its work, and a shutdown a renewal, whatever is configured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.timings import WORK_SECONDS, Timings

SECONDS = st.floats(0.001, 3600)


@given(provider=SECONDS, keys=SECONDS, command=SECONDS)
def test_what_follows_a_request_fits_into_the_second_half_of_its_lease(
    provider: float, keys: float, command: float
) -> None:
    timings = Timings(provider_seconds=provider, keys_seconds=keys, command_seconds=command)

    # The answer, the keys that check it, and a save that waits for a connection and for its reply.
    after_sending = provider + keys + 2 * (2 * command + 1.0)

    assert timings.lease_seconds / 2 >= after_sending


def test_the_usual_ones_lose_nothing() -> None:
    assert list(Timings().faults()) == []
    assert Timings().lease_seconds == 36


@pytest.mark.parametrize(
    ("provider", "command", "shorter"), [(12.1, 0.25, "0.1s"), (30, 0.25, "18.0s"), (10, 1, "1.0s")]
)
def test_a_renewal_that_a_shutdown_would_not_wait_for_is_a_fault(
    provider: float, command: float, shorter: str
) -> None:
    (fault,) = Timings(provider_seconds=provider, command_seconds=command).faults()

    assert f"{shorter} shorter" in fault
    assert f"{WORK_SECONDS:.0f}s" in fault
