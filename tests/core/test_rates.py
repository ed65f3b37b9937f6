"""So often within a time, for each name; and for so many names at most."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.rates import Rate, Rates

NOW = 1000.0


def test_so_many_at_once_and_then_one_for_each_share_of_the_time() -> None:
    rates = Rates(Rate(4, 60.0))

    assert [rates.wait_seconds("a", NOW) for _ in range(4)] == [0.0] * 4
    assert rates.wait_seconds("a", NOW) == 15.0
    assert rates.wait_seconds("a", NOW + 14) == 1.0
    assert rates.wait_seconds("a", NOW + 15) == 0.0
    assert rates.wait_seconds("a", NOW + 15) == 15.0


def test_what_is_refused_does_not_count() -> None:
    rates = Rates(Rate(1, 60.0))
    rates.wait_seconds("a", NOW)

    for _ in range(1000):
        assert rates.wait_seconds("a", NOW + 59) > 0
    assert rates.wait_seconds("a", NOW + 60) == 0.0


def test_what_is_left_by_rounding_is_waited_for_by_nobody() -> None:
    rates = Rates(Rate(1, 1e-6))

    assert [rates.wait_seconds("a", 0.0) for _ in range(2)] == [0.0, 0.0]
    assert rates.wait_seconds("a", 0.0) > 1e-6


def test_each_name_has_its_own() -> None:
    rates = Rates(Rate(1, 60.0))

    assert [rates.wait_seconds(name, NOW) for name in ("a", "b", "a")] == [0.0, 0.0, 60.0]


def test_another_rate_counts_from_the_next_time_on() -> None:
    rates = Rates(Rate(1, 60.0))
    rates.wait_seconds("a", NOW)

    rates.rate = Rate(60, 60.0)

    assert rates.wait_seconds("a", NOW) < 2


def test_a_million_names_take_no_more_room_than_a_few_thousand() -> None:
    rates = Rates(Rate(1, 60.0), most=1000)

    for number in range(100_000):
        assert rates.wait_seconds(f"name{number}", NOW) == 0.0
        assert len(rates) <= 1000
    assert rates.wait_seconds("name99999", NOW) > 0  # of the last ones it still knows


def test_who_came_least_lately_is_forgotten_for_one_more_than_there_is_room_for() -> None:
    rates = Rates(Rate(2, 60.0), most=2)

    for name in ("a", "b", "a", "c"):
        rates.wait_seconds(name, NOW)

    assert rates.wait_seconds("a", NOW) > 0
    assert rates.wait_seconds("b", NOW) == 0  # as good as one that never came
    assert len(Rates(Rate(1, 60.0), most=2)) == 0


def test_ten_thousand_names_are_known_unless_it_is_said_otherwise() -> None:
    rates = Rates(Rate(1, 60.0))

    for number in range(10_001):
        rates.wait_seconds(f"name{number}", NOW)

    assert len(rates) == 10_000


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 8), st.floats(0, 30)), max_size=60),
)
def test_within_any_time_no_name_gets_more_than_twice_its_count_and_room_is_bounded(
    count: int, most: int, asked: list[tuple[int, float]]
) -> None:
    """Twice: what was spared before, and what comes in again meanwhile."""
    rates, now = Rates(Rate(count, 10.0), most=most), NOW
    roomy = Rates(Rate(count, 10.0))
    allowed: dict[int, list[float]] = {}
    for name, later in asked:
        now += later
        rates.wait_seconds(str(name), now)
        assert len(rates) <= most
        if roomy.wait_seconds(str(name), now) == 0.0:
            allowed.setdefault(name, []).append(now)
    for instants in allowed.values():
        for first in instants:
            assert sum(first <= at < first + 10.0 for at in instants) <= 2 * count
