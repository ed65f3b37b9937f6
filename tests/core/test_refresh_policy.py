import hashlib
import math
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.grant import Grant
from sidecar.core.refresh_policy import (
    MIN_INTERVAL_SECONDS,
    Action,
    Background,
    Decision,
    RefreshWindow,
    background_due_at,
    decide,
    is_harmless_again,
    is_over_alone,
    usable_seconds,
    used_until,
)
from tests.core.examples import grant, properties, token_set

QUARTER = RefreshWindow(share=0.25)
HOUR = 3600.0
USES = (Action.USE, Action.USE_AND_RENEW)
RENEWS = (Action.USE_AND_RENEW, Action.RENEW_FIRST)
# The last quarter of a token that lives from 1000 to 4600, for a grant whose jitter is none.
WINDOW_OPENS = 3700.0
NO_JITTER = next(
    name for name in map(str, range(5000)) if hashlib.sha256(name.encode()).digest()[0] == 0
)


def hour(**changes: Any) -> Grant:
    """A grant whose ID token lives from 1000 to 4600."""
    return grant(token_set(life=HOUR, **{"refresh_token_expires_at": None, **changes}))


def action(found: Grant, now: float, *, min_life: float = 0.0, retry_at: float = 0.0) -> Action:
    return decide(found, now, window=QUARTER, min_life=min_life, retry_at=retry_at).action


class Case(NamedTuple):
    """Everything that `decide` looks at."""

    grant: Grant
    now: float
    window: RefreshWindow
    min_life: float
    retry_at: float

    @property
    def life(self) -> float:
        return self.grant.tokens.id_token_expires_at - self.grant.tokens.id_token_issued_at

    @property
    def action(self) -> Action:
        return self.decision.action

    @property
    def decision(self) -> Decision:
        found, now, window, min_life, retry_at = self
        return decide(found, now, window=window, min_life=min_life, retry_at=retry_at)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    life = draw(st.floats(1, 100_000))
    age = draw(st.floats(-0.5, 1.5)) * life
    tokens = token_set(
        life=life,
        renewed_at=1000.0 + draw(st.sampled_from((0.0, age, age - 1, age - 9, age + 5))),
        refresh_token=draw(st.sampled_from(("refresh-1", ""))),
        refresh_token_expires_at=None,
    )
    found = grant(tokens, id=draw(st.text(max_size=5)))
    if draw(st.booleans()):
        found = found.with_intent(now=1000.0)
    window = draw(
        st.builds(RefreshWindow, share=st.floats(0.01, 0.5))
        | st.builds(RefreshWindow, seconds=st.floats(0.001, 200_000))
    )
    now = 1000.0 + age
    retry_at = draw(st.sampled_from((0.0, now - 1, now, now + 0.1, now + 30)))
    return Case(found, now, window, draw(st.floats(0, 200_000)), retry_at)


@properties
@given(cases())
def test_a_token_that_has_ended_is_never_used(case: Case) -> None:
    ended = case.now >= case.grant.tokens.id_token_expires_at

    assert not (ended and case.action in USES)


@properties
@given(cases())
def test_nothing_is_renewed_before_its_next_try(case: Case) -> None:
    early = case.now < case.retry_at

    assert not (early and case.action in RENEWS)


@properties
@given(cases())
def test_nothing_is_renewed_again_within_the_minimum_interval(case: Case) -> None:
    age = case.now - case.grant.tokens.renewed_at
    lately = 0 <= age < min(MIN_INTERVAL_SECONDS, case.life / 4) - 1e-6

    assert not (lately and case.action in RENEWS)


@properties
@given(cases())
def test_a_token_in_the_first_half_of_its_life_is_used_whatever_is_set(case: Case) -> None:
    fresh = usable_seconds(case.grant, case.now) > case.life / 2 + 1e-6

    assert not fresh or case.action is Action.USE


@properties
@given(cases())
def test_a_token_with_less_than_is_needed_is_never_used_where_it_can_be_renewed(case: Case) -> None:
    left = usable_seconds(case.grant, case.now)
    short = 0 < left < min(case.min_life, case.life / 2) - 1e-6
    renewable = case.grant.tokens.refresh_token and not case.grant.answer_unknown

    assert not (short and renewable and case.action in USES)


@properties
@given(cases())
def test_a_grant_without_a_refresh_token_is_used_to_its_end_and_then_over(case: Case) -> None:
    if case.grant.tokens.refresh_token:
        return

    left = usable_seconds(case.grant, case.now)
    assert case.action is (Action.USE if left > 0 else Action.OVER)


@properties
@given(cases())
def test_a_grant_with_a_refresh_token_is_never_over_by_the_clock(case: Case) -> None:
    over = case.action is Action.OVER

    assert not (over and case.grant.tokens.refresh_token)


@properties
@given(cases())
def test_backing_off_says_until_when_and_nothing_else_does(case: Case) -> None:
    decision = case.decision

    if decision.action is Action.BACK_OFF:
        assert decision.retry_at > case.now
    else:
        assert decision.retry_at == 0.0


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (1000, Action.USE),
        (2700, Action.USE),
        (3690, Action.USE),  # before the window of 900 s, however much jitter takes of it
        (3885, Action.USE_AND_RENEW),  # in it, jitter taken off
        (4598.5, Action.USE_AND_RENEW),
        (4599, Action.RENEW_FIRST),  # the request has to travel
        (4600, Action.RENEW_FIRST),
        (99_999, Action.RENEW_FIRST),
    ],
)
def test_a_token_is_used_then_renewed_behind_the_request_then_first(
    now: float, expected: Action
) -> None:
    assert decide(hour(), now, window=RefreshWindow()).action is expected


@pytest.mark.parametrize(
    ("window", "life", "seconds"),
    [
        (QUARTER, 3600.0, 900.0),
        (QUARTER, 600.0, 150.0),
        (QUARTER, 400.0, 150.0),  # at least 2m30s
        (QUARTER, 300.0, 150.0),
        (QUARTER, 120.0, 60.0),  # and never more than half of the life
        (QUARTER, 10.0, 5.0),
        (RefreshWindow(share=0.5), 3600.0, 1800.0),
        (RefreshWindow(seconds=120.0), 3600.0, 120.0),
        (RefreshWindow(seconds=1.0), 3600.0, 1.0),  # a length is what the operator wrote
        (RefreshWindow(seconds=3600.0), 3600.0, 1800.0),
    ],
)
def test_the_window_is_a_share_or_a_length_and_never_more_than_half(
    window: RefreshWindow, life: float, seconds: float
) -> None:
    assert window.length_seconds(life) == seconds


def test_grants_that_were_got_together_are_not_renewed_together() -> None:
    begins = set()
    for name in map(str, range(50)):
        found = replace(hour(), id=name)
        now = next(t for t in range(3000, 4600) if action(found, t) is not Action.USE)
        begins.add(now)

    assert len(begins) > 25
    assert min(begins) >= 4600 - 900 - 1
    assert max(begins) <= 4600 - 900 * 0.8


def test_the_life_is_the_providers_so_that_a_skewed_clock_of_ours_does_not_shrink_it() -> None:
    """Our clock is two hours behind: seen from it the token was issued in the future."""
    assert action(hour(renewed_at=-6200.0), -6199.0) is Action.USE


@pytest.mark.parametrize(
    ("min_life", "expected"),
    [
        (0.0, Action.USE_AND_RENEW),
        (29.0, Action.USE_AND_RENEW),
        (31.0, Action.RENEW_FIRST),
    ],
)
def test_a_stream_waits_for_a_token_that_lasts(min_life: float, expected: Action) -> None:
    assert action(hour(), 4569.0, min_life=min_life) is expected


def test_a_stream_asks_for_no_more_than_half_of_a_life() -> None:
    twenty = grant(token_set(life=20.0))

    assert action(twenty, 1008.0, min_life=30.0) is Action.USE
    assert action(twenty, 1010.0, min_life=30.0) is Action.RENEW_FIRST


@pytest.mark.parametrize("now", [4500.0, 4700.0], ids=["usable", "ended"])
def test_a_failed_renewal_waits_for_its_next_try(now: float) -> None:
    decision = decide(hour(), now, window=QUARTER, retry_at=now + 8)

    assert decision == Decision(Action.BACK_OFF, now + 8)


@pytest.mark.parametrize(
    ("now", "expected"), [(4500.0, Action.USE_AND_RENEW), (4700.0, Action.RENEW_FIRST)]
)
def test_the_next_try_is_made_when_its_time_has_come(now: float, expected: Action) -> None:
    assert action(hour(), now, retry_at=now) is expected


def test_an_old_failure_says_nothing_about_a_token_outside_of_its_window() -> None:
    assert action(hour(), 1500.0, retry_at=1600.0) is Action.USE


def test_a_token_that_came_back_old_is_not_renewed_at_once_again() -> None:
    """The provider's clock is an hour behind: every token it gives has ended for us."""
    renewed_now = hour(renewed_at=5000.0)

    assert decide(renewed_now, 5000.0, window=QUARTER) == Decision(Action.BACK_OFF, 5010.0)
    assert decide(renewed_now, 5003.0, window=QUARTER) == Decision(Action.BACK_OFF, 5010.0)
    assert action(renewed_now, 5010.0) is Action.RENEW_FIRST


def test_the_minimum_interval_is_at_most_a_quarter_of_a_life() -> None:
    four_seconds = grant(token_set(life=4.0, renewed_at=1005.0))

    assert action(four_seconds, 1005.9) is Action.BACK_OFF
    assert action(four_seconds, 1006.0) is Action.RENEW_FIRST


def test_a_renewal_in_the_future_was_a_skewed_clock_and_blocks_nothing() -> None:
    assert action(hour(renewed_at=9000.0), 4700.0) is Action.RENEW_FIRST


def test_an_unknown_answer_leaves_the_token_in_peace_while_it_can_be_used() -> None:
    asked = hour().with_intent(now=4000.0)

    assert action(asked, 4500.0) is Action.USE
    assert action(asked, 4500.0, min_life=200.0) is Action.USE
    assert action(asked, 4600.0) is Action.RENEW_FIRST


def test_an_ended_token_without_a_refresh_token_is_over_even_while_backing_off() -> None:
    assert action(hour(refresh_token=""), 4700.0, retry_at=4800.0) is Action.OVER


@pytest.mark.parametrize(("life", "travel"), [(3600.0, 1.0), (20.0, 1.0), (10.0, 0.5), (1.0, 0.05)])
def test_a_token_is_not_sent_when_it_would_end_on_the_way(life: float, travel: float) -> None:
    found = grant(token_set(life=life))

    assert usable_seconds(found, 1000.0) == pytest.approx(life - travel)


@pytest.mark.parametrize("life", [0.0, -500.0])
@pytest.mark.parametrize("late", [0.0, 1.0, 100.0, 5000.0])
def test_a_token_that_ends_before_it_begins_ends_all_the_same(life: float, late: float) -> None:
    found = grant(token_set(life=life, renewed_at=0.0))

    assert action(found, 1000.0 + life + late) is Action.RENEW_FIRST


# --- without a request


@pytest.mark.parametrize(
    ("background", "unused", "refresh_ends_at", "due_at"),
    [
        (Background.ACTIVE, 0.0, None, WINDOW_OPENS),
        (Background.ACTIVE, HOUR, None, WINDOW_OPENS),
        (Background.ACTIVE, HOUR + 1, None, None),
        (Background.ACTIVE, HOUR + 1, 90_000.0, 90_000.0 - 60),
        (Background.ACTIVE, 0.0, 90_000.0, WINDOW_OPENS),
        (Background.ACTIVE, 0.0, 1600.0, 1600.0 - 60),
        (Background.ACTIVE, 0.0, 1100.0, 1100.0 - 25),
        (Background.ALL, 90_000.0, None, WINDOW_OPENS),
        (Background.OFF, 0.0, 1600.0, None),
    ],
)
def test_a_grant_is_due_without_a_request_when_it_is_used_or_its_refresh_token_ends(
    background: Background, unused: float, refresh_ends_at: float | None, due_at: float | None
) -> None:
    found = replace(hour(refresh_token_expires_at=refresh_ends_at), id=NO_JITTER)

    due = background_due_at(found, window=QUARTER, background=background, unused_seconds=unused)

    assert due == (None if due_at is None else pytest.approx(due_at, abs=1))


def test_a_short_token_counts_as_used_for_as_long_as_uses_are_noted() -> None:
    found = grant(token_set(life=20, refresh_token_expires_at=None))

    for unused, is_due in ((60.0, True), (151.0, False)):
        due = background_due_at(
            found, window=QUARTER, background=Background.ACTIVE, unused_seconds=unused
        )
        assert (due is not None) == is_due


def test_a_grant_whose_provider_renews_no_id_tokens_is_not_renewed_for_one() -> None:
    found = replace(hour(), answers_without_id_token=2)

    due = background_due_at(found, window=QUARTER, background=Background.ALL, unused_seconds=0.0)

    assert due is None
    assert action(found, 4500.0) is Action.USE
    assert action(found, 4600.0) is Action.LOG_IN_SILENTLY


def test_a_refresh_token_that_ends_soon_is_renewed_though_the_id_token_is_fresh() -> None:
    found = hour(refresh_token_expires_at=1600.0)

    assert action(found, 1530.0) is Action.USE
    assert action(found, 1541.0) is Action.USE_AND_RENEW


@pytest.mark.parametrize(
    ("reuse_window", "age", "expected"),
    [
        (0.0, 0.0, Action.USE),
        (30.0, 5.0, Action.USE_AND_RENEW),
        (30.0, 25.0, Action.USE),  # it might arrive too late
        (math.inf, 500.0, Action.USE_AND_RENEW),
    ],
)
def test_a_spent_token_is_presented_again_only_where_the_provider_takes_it(
    reuse_window: float, age: float, expected: Action
) -> None:
    now = 4000.0
    found = hour().with_intent(now=now - age)

    decision = decide(found, now, window=QUARTER, reuse_window=reuse_window)

    assert decision.action is expected


def test_the_reuse_window_counts_from_the_first_time_a_token_was_presented() -> None:
    found = hour().with_intent(now=4000.0).with_intent(now=4020.0)

    assert found.intent
    assert found.intent.at == 4000.0


def test_a_token_whose_key_is_gone_is_renewed_first_however_new_it_is() -> None:
    found = hour(renewed_at=1000.0)

    assert decide(found, 1001.0, window=QUARTER).action is Action.USE
    assert decide(found, 1001.0, window=QUARTER, key_gone=True).action is Action.RENEW_FIRST
    later = decide(found, 1001.0, window=QUARTER, key_gone=True, retry_at=1005.0)
    assert later == Decision(Action.BACK_OFF, 1005.0)
    asked = found.with_intent(now=1000.0)
    assert decide(asked, 1001.0, window=QUARTER, key_gone=True).action is Action.RENEW_FIRST


def test_a_token_whose_key_is_gone_and_that_cannot_be_renewed_has_ended() -> None:
    found = hour(refresh_token="")

    assert decide(found, 1001.0, window=QUARTER, key_gone=True).action is Action.OVER
    assert decide(found, 1001.0, window=QUARTER).action is Action.USE


# --- the instants themselves

HALF_JITTER = next(
    name for name in map(str, range(5000)) if hashlib.sha256(name.encode()).digest()[0] == 128
)


def test_a_grants_window_opens_later_by_its_own_part_of_a_fifth() -> None:
    first, half = (replace(hour(), id=name) for name in (NO_JITTER, HALF_JITTER))

    assert used_until(first, window=QUARTER) == 4600 - 1 - 900
    assert used_until(half, window=QUARTER) == 4600 - 1 - 810


@pytest.mark.parametrize(
    ("changes", "min_life", "until"),
    [
        ({}, 0.0, 3699.0),
        ({}, 900.0, 3699.0),
        ({}, 1000.0, 3599.0),
        ({}, 9000.0, 2799.0),
        ({"refresh_token_expires_at": 3000.0}, 0.0, 2940.0),
        ({"refresh_token_expires_at": 90_000.0}, 0.0, 3699.0),
        ({"renewed_at": 2000.0, "refresh_token_expires_at": 2100.0}, 0.0, 2075.0),
    ],
)
def test_a_token_is_used_until_an_instant_and_not_at_it(
    changes: dict[str, Any], min_life: float, until: float
) -> None:
    found = replace(hour(**changes), id=NO_JITTER)

    assert used_until(found, window=QUARTER, min_life=min_life) == until
    assert action(found, until - 0.5, min_life=min_life) is Action.USE
    assert action(found, until, min_life=min_life) is not Action.USE


def test_a_window_may_be_shorter_than_a_second() -> None:
    found = replace(hour(), id=NO_JITTER)

    assert used_until(found, window=RefreshWindow(seconds=0.5)) == 4600 - 1 - 0.5
    assert (RefreshWindow().share, RefreshWindow().seconds) == (0.25, 0.0)


def test_a_short_tokens_way_is_a_twentieth_of_its_life() -> None:
    found = grant(token_set(life=10.0, refresh_token_expires_at=None), id=NO_JITTER)

    assert used_until(found, window=QUARTER) == 1010.0 - 0.5 - 5.0


@pytest.mark.parametrize(
    ("min_life", "expected"), [(29.5, Action.USE_AND_RENEW), (30.0, Action.RENEW_FIRST)]
)
def test_a_token_that_lasts_as_long_as_is_needed_and_no_longer_is_renewed_first(
    min_life: float, expected: Action
) -> None:
    assert action(hour(), 4569.0, min_life=min_life) is expected


def test_a_token_whose_last_second_has_begun_is_not_sent_whatever_else_there_is() -> None:
    silent = replace(hour(), answers_without_id_token=2)
    asked = hour().with_intent(now=4000.0)

    assert action(hour(refresh_token=""), 4599.0) is Action.OVER
    assert action(hour(refresh_token=""), 4598.5) is Action.USE
    assert action(silent, 4599.0) is Action.LOG_IN_SILENTLY
    assert action(silent, 4598.5) is Action.USE
    assert action(asked, 4599.0) is Action.RENEW_FIRST
    assert action(asked, 4598.5) is Action.USE


def test_no_instant_is_so_early_that_something_was_before_it() -> None:
    early = replace(hour(), tokens=token_set(
        id_token_issued_at=-3600.0, id_token_expires_at=0.25, renewed_at=-3600.0,
        refresh_token_expires_at=None,
    ))  # fmt: skip

    assert decide(early, 0.5, window=QUARTER).action is Action.RENEW_FIRST
    assert decide(early, 0.5, window=QUARTER, key_gone=True).action is Action.RENEW_FIRST
    ahead = replace(early, tokens=replace(early.tokens, renewed_at=9000.0))
    assert decide(ahead, 0.5, window=QUARTER).action is Action.RENEW_FIRST


def test_a_token_without_a_life_has_a_second_of_it() -> None:
    assert usable_seconds(grant(token_set(life=0.0)), 1000.0) == pytest.approx(-0.05)


@pytest.mark.parametrize(
    ("age", "harmless"), [(0.0, True), (24.0, True), (24.5, False), (-0.5, False)]
)
def test_a_second_use_is_harmless_while_another_try_fits_into_the_window(
    age: float, harmless: bool
) -> None:
    found = hour().with_intent(now=4000.0)
    expected = Action.USE_AND_RENEW if harmless else Action.USE

    assert is_harmless_again(found, 4000.0 + age, 30.0) is harmless
    assert decide(found, 4000.0 + age, window=QUARTER, reuse_window=30.0).action is expected


def test_a_token_that_was_never_presented_is_harmless_whatever_the_provider_does() -> None:
    assert is_harmless_again(hour(), 4000.0, 0.0)


def test_an_intents_age_is_by_the_stores_clock() -> None:
    found = hour().with_intent(now=4010.0)

    def ahead(seconds: float) -> Action:
        return decide(
            found, 4000.0, window=QUARTER, reuse_window=30.0, store_is_ahead=seconds
        ).action

    assert [ahead(seconds) for seconds in (9.0, 10.0, 34.0, 35.0)] == [
        Action.USE,
        Action.USE_AND_RENEW,
        Action.USE_AND_RENEW,
        Action.USE,
    ]


@pytest.mark.parametrize(
    ("tries", "renewed_at", "now", "over"),
    [
        (4, 501.0, 9000.0, False),
        (5, 501.0, 4700.0, True),
        (5, 500.0, 4700.0, False),
        (5, 0.0, 8200.0, False),
        (5, 0.0, 8200.5, True),
    ],
)
def test_a_grant_is_over_alone_after_five_tries_if_others_live_or_an_hour_has_passed(
    tries: int, renewed_at: float, now: float, over: bool
) -> None:
    found = is_over_alone(hour(), now, tries=tries, since=500.0, renewed_at=renewed_at)

    assert found is over


@pytest.mark.parametrize(("unused", "due_at"), [(150.0, 1010.0), (150.5, None)])
def test_a_use_counts_for_as_long_as_it_may_not_have_been_noted(
    unused: float, due_at: float | None
) -> None:
    short = grant(token_set(life=20.0, refresh_token_expires_at=None), id=NO_JITTER)

    found = background_due_at(
        short, window=QUARTER, background=Background.ACTIVE, unused_seconds=unused
    )

    assert found == due_at


def test_without_a_refresh_token_nothing_is_renewed_without_a_request() -> None:
    found = background_due_at(
        hour(refresh_token="", refresh_token_expires_at=9000.0),
        window=QUARTER,
        background=Background.ALL,
        unused_seconds=0.0,
    )

    assert found is None


def test_what_is_renewed_without_a_request_has_a_word_in_the_settings() -> None:
    assert {str(each) for each in Background} == {"off", "active", "all"}
