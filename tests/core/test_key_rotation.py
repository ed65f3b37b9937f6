"""Where a rotation is and what comes next: a table of all that may stand in its way."""

import json

import pytest

from sidecar.core.key_rotation import (
    Advice,
    KeyMark,
    ReplicaKeys,
    Step,
    Tally,
    marks,
    missing_keys,
    next_step,
    read_reports,
    write_report,
)
from sidecar.core.sealing import Key, derived_key

NOW = 1_000_000.0
LONG_AGO = NOW - 86400
OLD, NEW, OTHER = KeyMark("old", "aa"), KeyMark("new", "bb"), KeyMark("other", "cc")
DERIVED = marks([derived_key(b"secret")])[0]


def replicas(*keys: tuple[KeyMark, ...]) -> list[ReplicaKeys]:
    """Replicas `a`, `b`, … with these keys."""
    return [ReplicaKeys("abc"[n], NOW, of) for n, of in enumerate(keys)]


def tally(sealed: dict[str, int] | None = None, signed: dict[str, float] | None = None) -> Tally:
    """So many sessions by who sealed them, and the end of a session by who signed its cookie."""
    made = Tally()
    made.sessions.update(sealed or {})
    for key_id, ends_at in (signed or {}).items():
        made.note_signed(key_id, ends_at)
    return made


def step(
    own: tuple[KeyMark, ...],
    having: list[ReplicaKeys],
    found: Tally,
    used_at: dict[str, float] | None = None,
) -> Advice:
    used = {"old": LONG_AGO} if used_at is None else used_at
    return next_step(own, having, used, found, now=NOW)


def test_one_key_that_all_have_is_no_rotation() -> None:
    advice = step((OLD,), replicas((OLD,), (OLD,)), tally({"old": 3}, {"old": NOW + 9}))

    assert advice == Advice(Step.BEGIN, "old")
    assert advice.is_done


def test_a_derived_key_is_no_rotation_and_says_so() -> None:
    assert step((DERIVED,), replicas((DERIVED,)), tally()).step is Step.DERIVED


def test_where_no_replica_reports_nothing_is_advised() -> None:
    advice = step((NEW, OLD), [], tally())

    assert advice.step is Step.NO_REPORTS
    assert not advice.is_done
    assert (advice.key_id, advice.replicas, advice.count, advice.until) == ("", (), 0, 0.0)


def test_a_new_key_waits_for_every_replica_that_lacks_it() -> None:
    advice = step((OLD, NEW), replicas((OLD, NEW), (OLD,)), tally({"old": 3}))

    assert advice == Advice(Step.WAIT_ADDED, "new", ("b",))


def test_a_new_key_that_every_replica_has_is_to_be_written_first() -> None:
    advice = step((OLD, NEW), replicas((OLD, NEW), (OLD, NEW)), tally({"old": 3}))

    assert advice == Advice(Step.WRITE_FIRST, "new")


def test_a_key_of_the_same_id_that_is_another_is_found_wherever_it_is() -> None:
    another = KeyMark("new", "zz")

    for theirs in ((OLD, another), (another, OLD), (another,)):
        advice = step((OLD, NEW), replicas((OLD, NEW), theirs), tally())
        assert advice == Advice(Step.TWO_KEYS_OF_ONE_ID, "new", ("b",))


def test_a_key_in_use_waits_for_every_replica_that_seals_by_another() -> None:
    advice = step(
        (NEW, OLD), replicas((NEW, OLD), (OLD, NEW), (OLD,)), tally({"old": 3}), {"old": NOW}
    )

    assert advice == Advice(Step.WAIT_IN_USE, "new", ("b", "c"))


def test_what_another_key_sealed_is_to_be_sealed_anew_once_all_seal_by_the_new_one() -> None:
    found = tally({"old": 3, "new": 2})
    found.grants.update({"old": 4})

    advice = step((NEW, OLD), replicas((NEW, OLD), (NEW, OLD)), found)

    assert advice == Advice(Step.RESEAL, "old", count=7)


def test_all_that_several_old_keys_sealed_is_one_step() -> None:
    found = tally({"old": 3, "other": 2, "new": 1})

    advice = step((NEW, OLD, OTHER), replicas((NEW, OLD, OTHER)), found)

    assert (advice.step, advice.count) == (Step.RESEAL, 5)


def test_an_old_key_stays_while_a_revocation_that_it_sealed_waits() -> None:
    found = tally({"new": 3})
    found.revocations.update({"old": 1, "new": 5})

    advice = step((NEW, OLD), replicas((NEW, OLD)), found)

    assert advice == Advice(Step.WAIT_REVOCATIONS, "old", count=1)


@pytest.mark.parametrize("signer", ["old", ""], ids=["the old key", "nobody knows"])
def test_an_old_key_stays_while_a_cookie_lives_that_it_signed_or_may_have(signer: str) -> None:
    found = tally({"new": 3}, {"new": NOW + 9000, signer: NOW + 60})

    advice = step((NEW, OLD), replicas((NEW, OLD)), found)

    assert advice == Advice(Step.WAIT_COOKIES, "old", count=1, until=NOW + 60)


def test_an_old_key_stays_until_the_last_of_all_cookies_ends_that_it_may_have_signed() -> None:
    found = tally({"new": 3})
    for ends_at in (0.25, 0.75, 0.5):
        found.note_signed("old", ends_at)
    assert found.signed_until == {"old": 0.75}
    advice = step((NEW, OLD), replicas((NEW, OLD)), found)
    assert advice == Advice(Step.WAIT_COOKIES, "old", count=3, until=0.75)

    found.note_signed("", 0.875)

    advice = step((NEW, OLD), replicas((NEW, OLD)), found)
    assert advice == Advice(Step.WAIT_COOKIES, "old", count=4, until=0.875)


def test_an_old_key_may_go_at_the_instant_at_which_the_last_login_with_it_has_ended() -> None:
    used = {"old": NOW - 660, "new": NOW}

    advice = step((NEW, OLD), replicas((NEW, OLD)), tally({"new": 3}), used)

    assert advice == Advice(Step.TAKE_OUT, "old")


def test_an_old_key_stays_while_a_login_that_began_with_it_may_come_back() -> None:
    used = {"old": NOW - 600, "new": NOW}

    advice = step((NEW, OLD), replicas((NEW, OLD)), tally({"new": 3}, {"new": NOW + 9}), used)

    assert advice == Advice(Step.WAIT_LOGINS, "old", until=NOW + 60)


def test_an_old_key_that_nothing_needs_is_to_be_taken_out() -> None:
    advice = step((NEW, OLD), replicas((NEW, OLD)), tally({"new": 3}, {"new": NOW + 9}))

    assert advice == Advice(Step.TAKE_OUT, "old")


def test_a_key_that_may_go_does_not_wait_for_one_that_may_not() -> None:
    found = tally({"new": 3}, {"old": NOW + 9})
    used = {"old": LONG_AGO, "other": LONG_AGO}

    advice = step((NEW, OLD, OTHER), replicas((NEW, OLD, OTHER)), found, used)

    assert advice == Advice(Step.TAKE_OUT, "other")


def test_a_key_that_was_taken_out_here_is_waited_for_elsewhere() -> None:
    advice = step((NEW,), replicas((NEW,), (NEW, OLD)), tally({"new": 3}))

    assert advice == Advice(Step.WAIT_TAKEN_OUT, "new", ("b",))


def test_a_whole_rotation_goes_through_each_step_once_and_comes_to_its_end() -> None:
    """What is never in use is new: no memory of the rotation itself is needed."""
    both, turned = replicas((OLD, NEW)), replicas((NEW, OLD))
    old_only, new_only = tally({"old": 3}, {"old": NOW + 9}), tally({"new": 3}, {"new": NOW + 9})

    steps = [
        step((OLD,), replicas((OLD,)), old_only).step,
        step((OLD, NEW), replicas((OLD,)), old_only).step,
        step((OLD, NEW), both, old_only).step,
        step((NEW, OLD), both, old_only).step,
        step((NEW, OLD), turned, old_only, {"old": NOW, "new": NOW}).step,
        step((NEW, OLD), turned, tally({"new": 3}, {"old": NOW + 9}), {"old": NOW}).step,
        step((NEW, OLD), turned, new_only, {"old": NOW}).step,
        step((NEW, OLD), turned, new_only).step,
        step((NEW,), turned, new_only).step,
        step((NEW,), replicas((NEW,)), new_only).step,
    ]

    assert steps == [
        Step.BEGIN,
        Step.WAIT_ADDED,
        Step.WRITE_FIRST,
        Step.WAIT_IN_USE,
        Step.RESEAL,
        Step.WAIT_COOKIES,
        Step.WAIT_LOGINS,
        Step.TAKE_OUT,
        Step.WAIT_TAKEN_OUT,
        Step.BEGIN,
    ]


def test_records_of_keys_that_are_not_here_are_counted_by_key() -> None:
    found = tally({"old": 3, "gone": 2})
    found.grants.update({"gone": 1, "old": 1})

    assert missing_keys((NEW, OLD), found) == {"gone": 3}


def test_what_a_derived_key_has_replaced_is_not_missed() -> None:
    former = marks([derived_key(b"former")])[0]
    found = tally({former.id: 3, "gone": 1})

    assert missing_keys((DERIVED,), found) == {"gone": 1}
    assert missing_keys((NEW,), found) == {former.id: 3, "gone": 1}


# Reports


def test_a_report_says_which_keys_there_are_and_shows_none() -> None:
    keys = [Key("new", b"n" * 32), Key("old", b"o" * 32)]

    report = write_report(keys)

    (read,) = read_reports({"pod/1": (NOW, report)})
    assert read == ReplicaKeys("pod/1", NOW, marks(keys))
    assert [key.id for key in read.keys] == ["new", "old"]
    assert read.keys[0].check != read.keys[1].check
    for key in keys:
        assert key.secret.hex() not in report


def test_two_keys_of_one_id_are_told_apart() -> None:
    one, two = marks([Key("1", b"n" * 32), Key("1", b"o" * 32)])

    assert one.id == two.id
    assert one != two


@pytest.mark.parametrize(
    "report",
    [
        "",
        "[]",
        "{}",
        "3",
        "null",
        "[3]",
        '["ab"',
        "[" * 10_000,
        '[["a"]]',
        '[["a","b","c"]]',
        '[["a\\u001b[2J","b"]]',
        '[["a","\\n"]]',
        json.dumps([["a", "b"]] * 65),
        json.dumps([["a" * 33, "b"]]),
    ],
)
def test_who_reports_what_makes_no_sense_has_not_reported(report: str) -> None:
    assert read_reports({"pod/1": (NOW, report)}) == []


def test_a_report_is_read_up_to_sixty_four_keys_and_sixteen_kibibytes() -> None:
    most = json.dumps([["a" * 32, "b"]] * 64)
    long = '[["a","b"]' + " " * (16 * 1024 - 11) + "]"

    assert len(long) == 16 * 1024
    assert len(read_reports({"1": (NOW, most)})[0].keys) == 64
    assert len(read_reports({"1": (NOW, long)})[0].keys) == 1
    assert read_reports({"1": (NOW, long.replace(" ", "  ", 1))}) == []


def test_a_replicas_name_does_nothing_to_a_terminal() -> None:
    (read,) = read_reports({"\x1b[2Jpod\n/1" + "x" * 500: (NOW, '[["a","b"]]')})

    assert read.name.startswith("[2Jpod/1")
    assert len(read.name) == 100
