"""The arithmetic of `docs/sizing.md`."""

import math
from dataclasses import asdict, fields, replace
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sizing_limits import Most, fits, full_at, nodes_for, replicas_for
from bench.sizing_model import Cores, Costs, People, Replicas, renewal_seconds, takes
from sidecar.core.grant import Grant, Sharing
from sidecar.core.refresh_policy import Background, RefreshWindow, background_due_at
from sidecar.core.tokens import TokenSet

amounts = st.floats(0.1, 10_000)
_SIZES = {"few": st.just(5_000.0), "more": st.just(50_000.0)}
costs_of = st.builds(Costs, **{each.name: amounts for each in fields(Costs)} | _SIZES)
numbers = st.integers(0, 2_000_000)
lives = st.floats(60, 24 * 3600)
shares = st.floats(0, 1)
people_of = st.builds(
    People,
    sessions=numbers,
    token_seconds=lives,
    in_use=shares,
    requests=st.floats(0, 5),
    streams=st.floats(0, 3),
    refresh_token_seconds=st.just(math.inf) | st.floats(120, 90 * 86400),
)
replicas_of = st.builds(Replicas, count=st.integers(1, 500), together=st.booleans())

COSTS = replace(Costs(**{each.name: 1.0 for each in fields(Costs)}), few=5_000.0, more=50_000.0)
SOMEBODY = People(10_000, 300)


@given(costs_of, people_of, replicas_of, st.integers(1, 100_000))
def test_more_sessions_never_take_less(
    costs: Costs, people: People, replicas: Replicas, more: int
) -> None:
    less = asdict(takes(costs, people, replicas))

    grown = asdict(takes(costs, replace(people, sessions=people.sessions + more), replicas))

    assert all(grown[name] >= less[name] for name in less)


@given(costs_of, people_of, replicas_of, st.integers(2, 50))
def test_what_sessions_take_is_so_many_times_what_one_takes(
    costs: Costs, people: People, replicas: Replicas, times: int
) -> None:
    costs = replace(costs, more_look_us=costs.few_look_us)  # else a look grows with them
    nobody = asdict(takes(costs, replace(people, sessions=0), replicas))
    some = asdict(takes(costs, people, replicas))

    all_of_them = asdict(takes(costs, replace(people, sessions=people.sessions * times), replicas))

    for name in set(all_of_them) - {"round_seconds"}:  # it waits for all the other work
        taken = all_of_them[name]
        expected = nobody[name] + times * (some[name] - nobody[name])
        assert taken == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(costs_of, people_of, replicas_of)
def test_nobody_takes_no_more_than_a_process_at_rest(
    costs: Costs, people: People, replicas: Replicas
) -> None:
    taken = takes(costs, replace(people, sessions=0), replicas)

    assert taken.cpu == pytest.approx(costs.idle_us / 1e6)
    assert taken.resident_mib == costs.rest_mib
    assert taken.commands == pytest.approx(replicas.count * costs.idle_scripts)
    assert taken.store_mib == taken.looks == taken.renewals == taken.streams == 0


@given(costs_of, people_of, replicas_of, st.floats(0.1, 10))
def test_a_slower_machine_takes_longer_and_nothing_else(
    costs: Costs, people: People, replicas: Replicas, slower: float
) -> None:
    here = asdict(takes(costs, people, replicas))

    there = asdict(takes(costs.at(costs.yardstick_ms * slower), people, replicas))

    for name in set(here) - {"round_seconds"}:
        pace = slower if name in ("cpu", "store_cpu") else 1
        assert there[name] == pytest.approx(here[name] * pace, rel=1e-6)


@given(costs_of, people_of, st.integers(2, 500))
def test_where_each_person_is_at_one_replica_these_share_the_work(
    costs: Costs, people: People, count: int
) -> None:
    alone, shared = takes(costs, people, Replicas()), takes(costs, people, Replicas(count))
    at_rest = costs.idle_us / 1e6

    assert count * (shared.cpu - at_rest) == pytest.approx(alone.cpu - at_rest, rel=1e-6, abs=1e-9)
    assert count * shared.looks == pytest.approx(alone.looks)


@given(costs_of, people_of, st.integers(2, 500))
def test_where_requests_are_spread_everything_is_more(
    costs: Costs, people: People, count: int
) -> None:
    # Who is in use asks once in a minute, or has a stream open.
    people = replace(people, requests=max(people.requests, 1 / 60))

    together = asdict(takes(costs, people, Replicas(count, together=True)))
    spread = asdict(takes(costs, people, Replicas(count, together=False)))

    assert all(spread[name] >= together[name] * (1 - 1e-9) for name in together)


def test_a_replica_knows_all_whose_requests_reach_it_within_a_minute() -> None:
    often = replace(SOMEBODY, requests=1.0)

    assert Replicas(3, together=True).knowing(often) == pytest.approx(1 / 3)
    assert Replicas(3, together=False).knowing(often) > 0.999
    assert Replicas(1, together=False).knowing(often) == 1


@given(people_of, lives)
def test_shorter_tokens_are_renewed_more_often(people: People, life: float) -> None:
    shorter = replace(people, token_seconds=min(life, people.token_seconds))

    assert shorter.renewals >= people.renewals * (1 - 1e-9)


@pytest.mark.parametrize("life", [300.0, 900.0, 3600.0])
def test_a_grant_in_use_is_renewed_as_often_as_its_schedule_says(life: float) -> None:
    def due_at(number: int) -> float:
        tokens = TokenSet("", 0.0, life, "", life, "refresh", None, 0.0)
        grant = Grant(
            str(number), "", 1, "", "", "", Sharing.PER_SESSION, tokens=tokens, ends_at=life
        )
        found = background_due_at(
            grant, window=RefreshWindow(), background=Background.ACTIVE, unused_seconds=0.0
        )
        assert found is not None
        return found

    assert mean(map(due_at, range(5000))) == pytest.approx(renewal_seconds(life), rel=0.01)


def test_idle_sessions_are_renewed_once_before_their_refresh_tokens_end() -> None:
    idle = People(1740, 300, in_use=0.0, refresh_token_seconds=1800)

    assert idle.renewals == pytest.approx(1)
    assert replace(idle, refresh_token_seconds=math.inf).renewals == 0


@given(people_of, st.booleans())
def test_the_fewest_replicas_fit_and_one_less_does_not(people: People, together: bool) -> None:
    most = Most()

    found = replicas_for(COSTS, people, most, together=together)

    assert fits(takes(COSTS, people, found), most)
    if found.count > 1:
        assert not fits(takes(COSTS, people, replace(found, count=found.count - 1)), most)


def test_a_replica_that_is_full_at_rest_is_an_error_and_no_endless_search() -> None:
    busy = replace(COSTS, idle_us=600_000)

    with pytest.raises(ValueError, match="alone"):
        replicas_for(busy, SOMEBODY, Most(), together=True)


@given(costs_of)
def test_what_is_full_is_full_with_so_many_sessions(costs: Costs) -> None:
    costs = replace(costs, idle_us=1.0, store_idle_us=1.0)  # else it is full with nobody
    most = Most()
    full = full_at(costs, SOMEBODY, most)

    def taken(name: str) -> float:
        return float(asdict(takes(costs, replace(SOMEBODY, sessions=full[name]), Replicas()))[name])

    assert taken("cpu") == pytest.approx(most.cpu)
    assert taken("streams") == pytest.approx(most.streams)
    assert taken("renewals") == pytest.approx(most.renewals)
    assert taken("store_cpu") == pytest.approx(most.store_cpu)
    assert taken("store_mib") == pytest.approx(most.store_mib)
    assert full["cpu"] <= min(full["cpu_looks"], full["cpu_requests"], full["cpu_renewals"])


def test_a_round_takes_its_time_of_a_core_that_does_nothing_else_and_longer_beside_others() -> None:
    alone = replace(COSTS, idle_us=0.0, request_us=0.0, touch_us=0.0, renewal_us=0.0)
    half = replace(alone, idle_us=500_000.0)

    def seconds(costs: Costs) -> float:
        return takes(costs, SOMEBODY, Replicas()).round_seconds

    assert seconds(alone) == pytest.approx(20_000 * (1 + 1) / 1e6)
    assert seconds(half) == pytest.approx(20_000 * (2 + 1) / 1e6)
    assert seconds(replace(alone, idle_us=1e6)) == math.inf


def test_where_others_have_the_cores_rounds_are_slow_and_so_there_are_fewer() -> None:
    costs = replace(COSTS, look_us=10.0, store_look_us=5.0)
    costs = replace(costs, idle_us=0.0, request_us=0.0, touch_us=0.0, renewal_us=0.0)

    free = takes(costs, SOMEBODY, Replicas())
    shared = takes(costs, SOMEBODY, Replicas(), Cores(wait=4.0, store_wait=1.0))

    assert free.round_seconds == pytest.approx(20_000 * 15 / 1e6)
    assert free.looks == pytest.approx(40_000)
    assert shared.round_seconds == pytest.approx(20_000 * (50 + 10) / 1e6)
    assert shared.looks == pytest.approx(20_000 / (1.2 + 0.05))


def test_a_record_is_farther_away_the_more_there_are_by_the_same_for_each_tenfold() -> None:
    costs = replace(COSTS, few_look_us=2.0, more_look_us=2.5)

    taken = [costs.farther_us(sessions, than=5_000) for sessions in (100, 5_000, 50_000, 500_000)]

    assert taken == pytest.approx([0, 0, 0.5, 1.0])
    assert costs.farther_us(1_000_000, than=100_000) == pytest.approx(0.5)
    assert replace(costs, more_look_us=1.0).farther_us(1_000_000, than=100) == 0


def test_a_store_needs_a_primary_for_each_half_of_a_core() -> None:
    taken = takes(COSTS, SOMEBODY, Replicas())

    assert nodes_for(replace(taken, store_cpu=0.4), Most()) == 1
    assert nodes_for(replace(taken, store_cpu=1.2), Most()) == 3
