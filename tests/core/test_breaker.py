import pytest

from sidecar.core.breaker import CLOSED, MOST_SECONDS, OPENS_AT_GRANTS, Breaker

NOW = 1_800_000_000.0


def failing(breaker: Breaker, *grants: str, now: float = NOW, share: float = 0.0) -> Breaker:
    for grant in grants:
        breaker = breaker.failed(grant, now, at_least=0, share=share)
    return breaker


def many(count: int) -> list[str]:
    return [f"grant-{number}" for number in range(count)]


def test_one_users_lasting_error_never_stops_the_others() -> None:
    breaker = failing(CLOSED, *["the-dismissed-user"] * 1000)

    assert breaker.ask(NOW) is not None
    assert breaker.retry_at(NOW) == 0


def test_several_grants_that_fail_are_a_provider_that_is_away() -> None:
    nearly = failing(CLOSED, *many(OPENS_AT_GRANTS - 1))

    away = failing(nearly, "another")

    assert nearly.ask(NOW)
    assert away.ask(NOW) is None
    assert away.retry_at(NOW) > NOW


def test_after_a_while_one_renewal_asks_and_the_others_wait_for_it() -> None:
    away = failing(CLOSED, *many(OPENS_AT_GRANTS))
    later = away.retry_at(NOW)

    probing = away.ask(later)

    assert probing
    assert probing.ask(later) is None
    assert probing.retry_at(later) > later


def test_what_was_sent_before_it_opened_makes_the_wait_no_longer() -> None:
    away = failing(CLOSED, *many(OPENS_AT_GRANTS))

    assert failing(away, *many(100)) == away


def test_each_failed_probe_waits_longer_up_to_a_bound() -> None:
    breaker, now, waits = failing(CLOSED, *many(OPENS_AT_GRANTS)), NOW, []
    for _ in range(12):
        now = breaker.retry_at(now)
        probing = breaker.ask(now)
        assert probing
        breaker = failing(probing, "probe", now=now, share=0.999)
        waits.append(breaker.retry_at(now) - now)

    assert waits == sorted(waits)
    assert waits[0] < 3
    assert MOST_SECONDS * 0.9 < waits[-1] <= MOST_SECONDS


def test_a_probe_that_got_no_answer_lets_the_next_one_ask_at_once() -> None:
    away = failing(CLOSED, *many(OPENS_AT_GRANTS))
    later = away.retry_at(NOW)
    probing = away.ask(later)
    assert probing

    assert probing.unanswered().ask(later)


def test_what_the_provider_asks_for_is_waited_for() -> None:
    breaker = CLOSED
    for grant in many(OPENS_AT_GRANTS):
        breaker = breaker.failed(grant, NOW, at_least=120, share=0.5)

    assert breaker.retry_at(NOW) == NOW + 120


def test_at_first_nothing_is_known_against_the_provider() -> None:
    assert (CLOSED.failed_grants, CLOSED.opened, CLOSED.next_probe_at) == (frozenset(), 0, 0.0)
    assert CLOSED.probing is False


def test_the_fifth_grant_opens_it_and_no_other_is_remembered() -> None:
    assert failing(CLOSED, *many(4)).opened == 0
    away = failing(CLOSED, *many(5))
    assert away.opened == 1

    probing = away.ask(away.retry_at(NOW))

    assert probing
    assert failing(probing, "another").failed_grants == frozenset(many(5))


@pytest.mark.parametrize(
    ("opened", "longest"),
    [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (6, 30), (100_000, 30)],
)
def test_the_longest_wait_doubles_up_to_half_a_minute(opened: int, longest: float) -> None:
    probing = Breaker(frozenset(many(4)), opened, NOW, probing=opened > 0)

    assert failing(probing, "last", share=1.0).next_probe_at == NOW + longest
    assert failing(probing, "last", share=0.0).next_probe_at == NOW + 1


def test_who_comes_while_another_asks_waits_a_second_and_others_until_the_next_try() -> None:
    assert Breaker(opened=1, next_probe_at=0.5).retry_at(0.0) == 0.5
    assert Breaker(opened=1, next_probe_at=0.5, probing=True).retry_at(7.0) == 8.0
    assert Breaker(opened=1, probing=True).unanswered() == Breaker(opened=1, probing=False)
    assert Breaker(opened=1, probing=True).unanswered().probing is False
