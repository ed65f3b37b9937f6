"""Plans of faults: the same seed is the same plan."""

from itertools import pairwise

import pytest

from tests.faults.plan import LOSSY, Again, Fault, Kind, Mix, Way, plan

MIXES = {"provider": Mix(), "store": Mix(kinds=(Kind.DELAY, Kind.RESET)), "upstream": Mix()}


def test_a_seed_is_the_same_plan_each_time_and_another_one_another() -> None:
    first = plan(7, MIXES, seconds=600)

    assert first == plan(7, MIXES, seconds=600)
    assert first != plan(8, MIXES, seconds=600)


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short, long = plan(7, MIXES, seconds=100), plan(7, MIXES, seconds=1000)

    assert all(long[link][: len(short[link])] == short[link] for link in MIXES)
    assert all(len(long[link]) > len(short[link]) for link in MIXES)


def test_links_have_faults_of_their_own_one_after_another() -> None:
    found = plan(7, MIXES, seconds=600)

    assert found["provider"] != found["upstream"]
    for timed in found.values():
        assert all(before.until < after.at for before, after in pairwise(timed))
        assert all(each.at < each.until for each in timed)


def test_a_link_has_all_kinds_of_its_mix_and_no_other() -> None:
    found = plan(7, MIXES, seconds=6000)

    assert {each.fault.kind for each in found["provider"]} == set(Kind)
    assert {each.fault.way for each in found["provider"]} == set(Way)
    assert {each.fault.kind for each in found["store"]} == {Kind.DELAY, Kind.RESET}


def test_what_loses_answers_has_a_share_of_its_own() -> None:
    mix = Mix(share=(0.9, 1.0), lossy_share=(0.0, 0.1))

    drawn = [each.fault for each in plan(7, {"provider": mix}, seconds=3000)["provider"]]

    assert drawn
    assert all((each.share < 0.5) == (each.kind in LOSSY) for each in drawn)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(kind=Kind.DELAY, seconds=1.5), "delay by 1.50 s, answers, 100%"),
        (
            Fault(kind=Kind.CUT, way=Way.REQUESTS, after_bytes=7, share=0.25),
            "cut after 7 bytes, requests, 25%",
        ),
        (Fault(kind=Kind.HALF_OPEN), "half-open, new connections, 100%"),
        (Fault(kind=Kind.DRIP, bytes_per_second=9), "drip at 9 bytes a second, answers, 100%"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_a_fault_is_said_in_a_few_words(fault: Fault, says: str) -> None:
    assert str(fault) == says


def test_a_run_is_made_once_more_by_one_line() -> None:
    assert str(Again(7, "make soak", {"SOAK_SECONDS": 60})) == (
        "Once more: CHAOS_SEED=7 SOAK_SECONDS=60 make soak"
    )
