"""What counts as growth, and what does not."""

import math
import random
from collections.abc import Callable

import pytest

from tests.soak.growth import ALLOWED, LEAST_SECONDS, Allowance, growth

ALLOWANCE = Allowance(6.0)


def points(value: Callable[[float], float], *, seconds: float = 600.0) -> list[tuple[float, float]]:
    """A sample every two seconds."""
    return [(float(at), value(at)) for at in range(0, int(seconds), 2)]


def grows(value: Callable[[float], float], *, seconds: float = 600.0) -> bool:
    found = growth(points(value, seconds=seconds), ALLOWANCE)
    assert found is not None
    return found.grows


def test_what_stays_does_not_grow() -> None:
    assert not grows(lambda at: 80.0)


def test_what_rises_all_the_time_grows() -> None:
    assert grows(lambda at: 80.0 + at / 20)


def test_a_slow_rise_is_seen_in_a_long_run_and_not_in_a_short_one() -> None:
    def a_mebibyte_an_hour(at: float) -> float:
        return 80.0 + at / 3600

    assert not grows(a_mebibyte_an_hour, seconds=600)
    assert grows(a_mebibyte_an_hour, seconds=86400)


def test_a_rise_under_noise_is_seen() -> None:
    dice = random.Random(1)

    assert grows(lambda at: 80.0 + at / 20 + dice.gauss(0, 5))


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_no_growth(seed: int) -> None:
    dice = random.Random(seed)

    assert not grows(lambda at: 80.0 + dice.gauss(0, 10))


def test_what_follows_the_load_up_and_down_is_no_growth() -> None:
    assert not grows(lambda at: 200.0 + 100 * math.sin(at / 30))


def test_a_peak_is_no_growth_wherever_it_is() -> None:
    assert not grows(lambda at: 900.0 if at > 590 else 80.0)
    assert not grows(lambda at: 900.0 if 300 < at < 340 else 80.0)


def test_the_warm_up_is_no_growth() -> None:
    assert not grows(lambda at: 60.0 + min(at, 170) / 5)


def test_what_falls_does_not_grow() -> None:
    assert not grows(lambda at: 100.0 - at / 20)


def test_a_leak_that_peaks_hide_grows_all_the_same() -> None:
    assert grows(lambda at: 80.0 + at / 15 + (300 if at % 60 < 20 else 0))


def test_an_allowance_is_a_share_where_that_is_more() -> None:
    def by_thirty(at: float) -> float:
        return 1000.0 + at / 20

    found = growth(points(by_thirty), Allowance(6.0, share=0.1))
    strict = growth(points(by_thirty), Allowance(6.0, share=0.0))

    assert found is not None
    assert strict is not None
    assert (found.grows, strict.grows) == (False, True)
    assert strict.per_hour == pytest.approx(180, rel=0.01)


def test_of_too_little_nothing_is_said() -> None:
    assert growth([], ALLOWANCE) is None
    assert growth(points(lambda at: 80.0 + at, seconds=LEAST_SECONDS), ALLOWANCE) is None
    assert growth([(0.0, 1.0), (9000.0, 2.0)], ALLOWANCE) is None


def test_memory_tasks_connections_and_descriptors_are_judged() -> None:
    assert set(ALLOWED) == {"memory_mib", "tasks", "connections", "descriptors"}
