"""A lease outlasts its work, and a shutdown a renewal, whatever is configured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.timings import Timings

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
    assert Timings(provider_seconds=12.0).answer_seconds == 20.0
    assert list(Timings(provider_seconds=12.0).faults()) == []


def test_without_settings_each_part_has_its_usual_time() -> None:
    usual = Timings()

    assert (usual.provider_seconds, usual.keys_seconds, usual.command_seconds) == (10.0, 5.0, 0.25)
    assert (usual.store_seconds, usual.wait_seconds, usual.renewals_at_once) == (1.5, 15.0, 32)


@pytest.mark.parametrize(
    ("reuse_window", "seconds"),
    [
        (0.0, 36.0),
        (1.0, 2.5),
        (30.0, 2.5),
        (48.0, 4.0),
        (60.0, 5.0),
        (600.0, 5.0),
        (float("inf"), 5.0),
    ],
)
def test_where_a_spent_token_may_come_again_a_lease_is_short_enough_for_more_tries(
    reuse_window: float, seconds: float
) -> None:
    assert Timings().lease_at(reuse_window) == seconds


def test_no_lease_is_longer_than_its_work_needs() -> None:
    quick = Timings(provider_seconds=0.1, keys_seconds=0.1, command_seconds=0.0)

    assert quick.lease_seconds == pytest.approx(4.4)
    assert quick.lease_at(60.0) == quick.lease_seconds


@pytest.mark.parametrize(
    ("provider", "command", "shorter"), [(12.1, 0.25, "0.1s"), (30, 0.25, "18.0s"), (10, 1, "1.0s")]
)
def test_a_renewal_that_a_shutdown_would_not_wait_for_is_a_fault(
    provider: float, command: float, shorter: str
) -> None:
    (fault,) = Timings(provider_seconds=provider, command_seconds=command).faults()

    assert fault == (
        "SIDECAR_PROVIDER_TIMEOUT and SIDECAR_STORE_TIMEOUT let a renewal take "
        f"{20 + float(shorter[:-1]):.1f}s until it is stored, and a shutdown waits for 20s: "
        f"its refresh token would be lost. Make the first one {shorter} shorter"
    )
