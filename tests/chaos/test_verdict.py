"""That the verdicts can fail: what they say of logs that were written by hand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.evidence import Answers, Evidence, ForcedLogin, Halt
from tests.chaos.faults import Plan
from tests.chaos.revocation import Revoked, too_late
from tests.chaos.upstream import EXPIRED_FOR_SECONDS, Upstream
from tests.chaos.verdict import LEASE_HOLDER_KILLS, RENEWALS, Verdict, verdict
from tests.hostile.log import Entry

# Ada's grant is the only one that anything happens to. Ann asks at 100 s, from port 4000.
LOGIN = {"kind": "login", "monotonic": 10.0, "given": 1, "given_sha256": "first", "replica": "cat"}
GIVEN = {
    "kind": "refresh",
    "monotonic": 100.0,
    "presented": 1,
    "presented_sha256": "first",
    "given": 2,
    "given_sha256": "second",
    "replica": "ann",
    "peer_port": 4000,
}
REUSE = {
    "kind": "reuse",
    "monotonic": 140.0,
    "presented": 1,
    "presented_sha256": "first",
    "replica": "ben",
    "peer_port": 5000,
}
REVOKED = {"kind": "revoked", "monotonic": 140.0, "replica": "ben"}
ADA_LOGS_IN = ForcedLogin(user="ada", at=141.0, how="401")
KILL = Halt(replica="ann", started_at=90.0, at=100.1, ports=frozenset({4000}))
STOP = Halt(replica="dot", started_at=0.0, at=30.0, until=70.0, ports=frozenset({1}))
LOST = (LOGIN, GIVEN, REUSE, REVOKED)


def run(
    *entries: dict[str, Any],
    kills: Sequence[Halt] = (KILL,),
    forced: Sequence[ForcedLogin] = (ADA_LOGS_IN,),
    stored: Sequence[str] = ("first",),
    **what: Any,
) -> Evidence:
    """A long run in which all else was well, and these entries were written for Ada."""
    others = [
        Entry(
            sequence=number,
            monotonic=50.0,
            wall=50.0,
            kind="refresh",
            user="bob",
            grant=2,
            presented_sha256=f"bob-{number}",
            given_sha256=f"bob-{number + 1}",
            replica="cat",
        )
        for number in range(1, RENEWALS + 1)
    ]
    hers = [
        Entry(**{"sequence": 1000 + n, "wall": 0.0, "user": "ada", "grant": 1, **entry})
        for n, entry in enumerate(entries)
    ]
    enough = [
        Halt(replica="dot", started_at=0.0, at=float(n), ports=frozenset({n}))
        for n in range(1, LEASE_HOLDER_KILLS + 1)
    ]
    evidence = Evidence(
        log=[*others, *hers],
        stored={each.given_sha256: 50.0 for each in others} | dict.fromkeys(stored, 20.0),
        kills=[*enough, *kills],
        stops=[STOP],
        forced_logins=forced,
        answers=Answers(statuses=Counter({200: 1000})),
    )
    return replace(evidence, **what)


def judged(evidence: Evidence, *, excuses: bool = True) -> Verdict:
    return verdict(evidence, excuses=excuses)


def test_a_run_without_a_forced_login_is_good() -> None:
    found = judged(run(LOGIN, forced=()))

    assert found.failures == []
    assert (found.renewals, found.lease_holder_kills) == (RENEWALS, LEASE_HOLDER_KILLS + 1)


def test_an_answer_that_died_with_its_process_excuses_one_login_and_one_reuse() -> None:
    found = judged(run(*LOST))

    assert found.failures == []
    assert (found.forced_logins, found.excused_by_kill) == (1, 1)
    assert (found.reuse, found.reuse_after_lost_answer) == (0, 1)


def test_with_a_reuse_window_there_is_no_excuse() -> None:
    [failure] = judged(run(*LOST), excuses=False).failures

    assert "forced login (401) of ada, grant 1" in failure
    assert "40.0 s after it had been exchanged by ann, which was killed" in failure


def test_an_answer_that_reached_the_store_excuses_nothing() -> None:
    found = judged(run(*LOST, stored=("first", "second")))

    assert (found.reuse, found.excused_by_kill, len(found.failures)) == (1, 0, 2)


def test_an_answer_that_somebody_knew_excuses_nothing() -> None:
    later = {**REUSE, "monotonic": 150.0, "presented": 2, "presented_sha256": "second"}
    found = judged(run(*LOST, later))

    assert found.reuse == 2
    assert found.excused_by_kill == 0


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param([], id="nobody"),
        pytest.param([replace(KILL, replica="ben")], id="another replica"),
        pytest.param([replace(KILL, started_at=101.0, at=130.0)], id="a later process of its own"),
        pytest.param([replace(KILL, at=99.0, ports=frozenset({4001}))], id="one that did not ask"),
        pytest.param([replace(KILL, at=145.0)], id="one that died afterwards"),
    ],
)
def test_the_death_of_another_process_excuses_nothing(kills: list[Halt]) -> None:
    found = judged(run(*LOST, kills=kills))

    assert (found.reuse, found.excused_by_kill, len(found.failures)) == (1, 0, 2)


def test_a_provider_commits_what_was_under_way_when_its_sender_died() -> None:
    found = judged(run(*LOST, kills=[replace(KILL, at=99.8)]))

    assert found.failures == []
    assert found.excused_by_kill == 1


def test_a_process_that_stood_still_excuses_only_what_happened_meanwhile() -> None:
    stop = replace(KILL, until=145.0)

    assert judged(run(*LOST, kills=(), stops=[STOP, stop])).excused_by_stop == 1
    for woken in (replace(stop, until=139.0), replace(stop, at=141.0)):
        found = judged(run(*LOST, kills=(), stops=[STOP, woken]))
        assert (found.reuse, found.excused_by_stop, len(found.failures)) == (1, 0, 2)


def test_a_process_that_stood_still_with_an_answer_in_hand_excuses_too() -> None:
    stop = replace(KILL, until=145.0, ports=frozenset())

    assert judged(run(*LOST, kills=(), stops=[STOP, stop])).excused_by_stop == 1
    saved = run(*LOST, kills=(), stops=[STOP, stop], stored=("first", "second"))
    assert (judged(saved).reuse, judged(saved).excused_by_stop) == (1, 0)


def test_a_lost_answer_excuses_one_try_only() -> None:
    again = {**REUSE, "monotonic": 150.0, "replica": "cat"}

    found = judged(run(*LOST, again))

    assert (found.reuse_after_lost_answer, found.reuse) == (1, 1)
    assert len(found.failures) == 1


def test_whoever_cannot_know_of_the_refusal_may_try_once_more() -> None:
    again = {**REUSE, "monotonic": 180.0, "replica": "cat"}
    died = Halt(replica="ben", started_at=120.0, at=140.1, ports=frozenset({5000}))

    found = judged(run(*LOST, again, kills=[KILL, died]))

    assert (found.reuse_after_lost_refusal, found.failures) == (1, [])
    late = judged(run(*LOST, again, kills=[KILL, replace(died, at=170.0, ports=frozenset())]))
    assert (late.reuse_after_lost_refusal, late.reuse) == (0, 1)


def test_a_login_that_nothing_asked_for_is_a_failure() -> None:
    [failure] = judged(run(LOGIN)).failures

    assert failure == ("forced login (401) of ada, grant 1, though the provider had ended nothing")


def test_a_login_before_the_provider_ended_anything_is_a_failure() -> None:
    found = judged(run(*LOST, forced=[replace(ADA_LOGS_IN, at=139.0)]))

    assert (found.excused_by_kill, len(found.failures)) == (0, 1)


def test_a_grant_that_the_script_ended_is_nobodys_fault() -> None:
    ended = {"kind": "ended_by_script", "monotonic": 130.0}

    found = judged(run(LOGIN, ended), excuses=False)

    assert (found.failures, found.forced_logins, found.ended_by_script) == ([], 0, 1)


def test_the_excuse_of_one_login_is_none_for_the_next() -> None:
    anew = {**LOGIN, "monotonic": 142.0, "grant": 3}

    found = judged(run(*LOST, anew, forced=[ADA_LOGS_IN, replace(ADA_LOGS_IN, at=170.0)]))

    [failure] = found.failures
    assert "grant 3, though the provider had ended nothing" in failure


def test_a_quiet_run_proves_nothing() -> None:
    idle = replace(KILL, ports=frozenset())
    quiet = replace(run(LOGIN, forced=()), stored={}, kills=[KILL, idle], stops=[])

    assert judged(quiet).failures == [
        f"only 0 renewals of {RENEWALS}",
        f"only 1 kills of a lease holder of {LEASE_HOLDER_KILLS}",
        "no lease holder was stopped",
    ]


def test_a_503_without_retry_after_and_any_other_answer_are_failures() -> None:
    answers = Answers(without_retry_after=2, strange=["502 for ada"])

    found = judged(run(LOGIN, forced=(), answers=answers, expired_tokens=1))

    assert found.failures == [
        "2 answers of 503 without Retry-After",
        "502 for ada",
        "1 expired tokens went up",
    ]


def test_a_token_that_goes_up_after_a_second_is_too_late() -> None:
    good = Revoked(number=1, acknowledged_at=10.0, went_up_at=10.9)
    late = Revoked(number=2, acknowledged_at=10.0, went_up_at=11.1)
    waited = replace(late, number=3, upstream_was_away=True)

    assert too_late([good, late, waited], upstream_away=False) == [late]
    assert too_late([good, late, waited], upstream_away=True) == [waited]


def test_the_stand_in_refuses_a_token_that_has_ended_and_notes_when_each_came() -> None:
    upstream, ended = Upstream(), "e30.eyJleHAiOiAxfQ.x"  # its exp is 1
    head = b"GET /api HTTP/1.1\r\nHost: here\r\nCookie: a=b; argocd.token=%s"

    assert b" 401 " in upstream.answer(head % ended.encode(), 5.0)
    assert b" 200 " in upstream.answer(head % b"session.1.token", 6.0)

    assert upstream.seen.last == {ended: 5.0, "session.1.token": 6.0}
    assert upstream.seen.expired == 1
    assert EXPIRED_FOR_SECONDS <= 1


def test_a_seed_makes_the_same_plan_again() -> None:
    assert Plan.from_seed(7) == Plan.from_seed(7)
    assert Plan.from_seed(7) != Plan.from_seed(8)
