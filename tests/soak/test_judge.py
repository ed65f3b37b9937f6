"""What explains a login, and that nothing less does."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.evidence import Halt
from tests.faults.plan import Fault, Kind
from tests.faults.proxy import Loss
from tests.hostile.log import Entry
from tests.soak.judge import KEPT_ENTRIES, KEPT_GRANTS, Facts, Ledger, Why, told, why

LOGIN = Entry(sequence=1, monotonic=10, wall=0, kind="login", user="ada", grant=1, given=1,
              given_sha256="first")  # fmt: skip
GIVEN = Entry(sequence=2, monotonic=100, wall=0, kind="refresh", user="ada", grant=1, presented=1,
              presented_sha256="first", given=2, given_sha256="second", replica="ben",
              peer_port=4000)  # fmt: skip
REUSE = Entry(sequence=3, monotonic=120, wall=0, kind="reuse", user="ada", grant=1, presented=1,
              presented_sha256="first", replica="cat", peer_port=5000)  # fmt: skip
CUT = Loss(client_port=1, server_port=4000, began_at=99.9, at=100.2, fault=Fault(kind=Kind.CUT))
KILL = Halt(replica="ben", started_at=50, at=100.1, ports=frozenset({4000}))
LOST = Facts(log=(LOGIN, GIVEN, REUSE), stored={"first": 10.1})


def judged(facts: Facts = LOST, **other: Any) -> Why:
    return why(replace(facts, **other), at=125)


def test_an_answer_that_was_cut_on_the_wire_explains_a_login() -> None:
    assert judged(losses=[CUT]) is Why.WIRE


def test_an_answer_that_died_with_its_process_explains_a_login() -> None:
    assert judged(kills=[KILL]) is Why.PROCESS


def test_without_a_witness_nothing_explains_a_login() -> None:
    assert judged() is Why.UNEXPLAINED


def test_a_grant_that_the_provider_ended_by_its_script_explains_a_login() -> None:
    ended = replace(GIVEN, sequence=4, kind="ended_by_script", monotonic=124)

    assert judged(log=(LOGIN, ended)) is Why.SCRIPT
    assert judged(log=(LOGIN, replace(ended, monotonic=126))) is Why.UNEXPLAINED


def test_a_login_though_the_provider_refused_nothing_is_unexplained() -> None:
    assert judged(log=(LOGIN, GIVEN), losses=[CUT], kills=[KILL]) is Why.UNEXPLAINED


@pytest.mark.parametrize("broken", [{"losses": [CUT]}, {"kills": [KILL]}], ids=["wire", "process"])
def test_an_answer_that_the_store_got_was_not_lost(broken: dict[str, Any]) -> None:
    assert judged(stored={"first": 10.1, "second": 100.3}, **broken) is Why.UNEXPLAINED


@pytest.mark.parametrize("broken", [{"losses": [CUT]}, {"kills": [KILL]}], ids=["wire", "process"])
def test_an_answer_whose_token_was_presented_was_not_lost(broken: dict[str, Any]) -> None:
    used = replace(GIVEN, sequence=4, monotonic=121, presented_sha256="second", given_sha256="3rd")

    assert judged(log=(LOGIN, GIVEN, REUSE, used), **broken) is Why.UNEXPLAINED


@pytest.mark.parametrize(
    "other",
    [
        {"server_port": 4001},
        {"began_at": 100.1},
        {"at": 90.0, "began_at": 80.0},
    ],
    ids=["another connection", "a later one", "an earlier one"],
)
def test_what_was_cut_elsewhere_explains_nothing(other: dict[str, Any]) -> None:
    assert judged(losses=[replace(CUT, **other)]) is Why.UNEXPLAINED


@pytest.mark.parametrize(
    "other",
    [
        {"replica": "cat", "ports": frozenset({5000})},
        {"at": 90.0},
        {"at": 130.0},
    ],
    ids=["another replica", "before", "after the reuse"],
)
def test_who_was_killed_elsewhere_explains_nothing(other: dict[str, Any]) -> None:
    assert judged(kills=[replace(KILL, **other)]) is Why.UNEXPLAINED


def test_a_token_that_was_never_exchanged_and_is_refused_as_spent_is_unexplained() -> None:
    assert judged(log=(LOGIN, REUSE), losses=[CUT], kills=[KILL]) is Why.UNEXPLAINED


def test_a_ledger_knows_a_grants_entries_and_everybodys_last_login() -> None:
    ledger = Ledger()
    again = replace(LOGIN, sequence=4, grant=2)

    reuses = list(ledger.add([LOGIN, GIVEN, REUSE, again]))

    assert reuses == [REUSE]
    assert ledger.of(1) == [LOGIN, GIVEN, REUSE]
    assert (ledger.latest("ada"), ledger.latest("bob")) == (2, 0)
    assert ledger.last == 4
    assert ledger.counts["refresh"] == 1


def test_a_ledger_does_not_grow_for_ever() -> None:
    ledger = Ledger()
    many = (replace(GIVEN, sequence=n, grant=n) for n in range(1, KEPT_GRANTS + 10))
    list(ledger.add(many))
    list(ledger.add(replace(GIVEN, sequence=n, grant=99) for n in range(1000)))

    assert len(ledger.of(99)) == KEPT_ENTRIES
    assert ledger.of(1) == []
    assert ledger.of(KEPT_GRANTS)


def test_a_story_has_all_witnesses_in_the_order_of_time() -> None:
    lines = told(replace(LOST, losses=[CUT], kills=[KILL]), at=125)

    assert [line.split()[1] for line in lines] == ["login", "refresh", "ben", "link:", "reuse"]
