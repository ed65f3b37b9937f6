"""Samples stay few, and rates come from them; waits are counted, not kept."""

from itertools import pairwise

import pytest

from tests.soak.samples import Samples, thinned
from tests.soak.tally import KEPT_STRANGE, Tally, Waits, quantile


def test_a_day_of_samples_is_as_many_as_ten_minutes_and_spans_all_of_it() -> None:
    samples = Samples(most=100)
    for second in range(86400):
        samples.add(float(second), {"memory": float(second)})

    points = samples.points("memory")
    assert 50 <= len(points) <= 100
    assert points[0][0] < 2000
    assert points[-1][0] > 84000
    apart = {b[0] - a[0] for a, b in pairwise(points)}
    assert len(apart) == 1


def test_a_counters_rate_is_the_same_whatever_was_left_out() -> None:
    samples = Samples(most=10)
    for second in range(100):
        samples.add(float(second), {"asked": 5.0 * second})

    assert {rate for _, rate in samples.rates("asked")} == {5.0}
    assert len(samples.rates("asked", least_seconds=20)) == 2


def test_what_was_not_sampled_is_no_point() -> None:
    samples = Samples()
    samples.add(0.0, {"a": 1.0})
    samples.add(1.0, {"b": 1.0})

    assert samples.points("a") == [(0.0, 1.0)]


def test_thinned_points_keep_the_last_one() -> None:
    points = [(float(n), 0.0) for n in range(1000)]

    assert len(thinned(points, 100)) == 100
    assert thinned(points, 100)[-1] == points[-1]
    assert thinned(points[:3], 100) == points[:3]


def test_a_wait_is_told_to_a_fifth() -> None:
    waits = Waits()
    for number in range(1, 1001):
        waits.add(number / 1000)

    assert quantile(waits.counts, 0.5) == pytest.approx(0.5, rel=0.2)
    assert quantile(waits.counts, 0.99) == pytest.approx(0.99, rel=0.2)
    assert waits.longest == 1.0


def test_without_answers_nobody_has_waited() -> None:
    assert quantile(Waits().counts, 0.99) == 0.0


def test_strange_answers_are_counted_and_the_first_few_kept() -> None:
    tally = Tally()
    for number in range(100):
        tally.note_strange(str(number))

    assert len(tally.strange) == KEPT_STRANGE
    assert tally.habits["strange"] == 100
