"""The corpus through nginx: where it does something else, the table says why ours is right."""

import asyncio
from collections.abc import Mapping

import pytest

from tests.proxy.differences import BEGIN, END, REASONS, Reason
from tests.proxy.differential import (
    Difference,
    Outcome,
    difference,
    nginx_outcomes,
    sidecar_outcomes,
)
from tests.proxy.hostile import CHUNKS, HARMLESS, REFUSED, H
from tests.proxy.nginx import required

# Behind what passes, so that the end of its body shows.
_AFTER = b"GET /after HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n"
ENTRIES = [
    *(raw for raw, _ in [*REFUSED, *CHUNKS]),
    *(raw + _AFTER for raw, _ in HARMLESS),
]

Outcomes = tuple[list[Outcome], list[Outcome]]


def named(part: bytes) -> list[bytes]:
    """The entries that have this part."""
    return [entry for entry in ENTRIES if part in BEGIN + entry.removesuffix(_AFTER) + END]


def explained() -> Mapping[bytes, list[Reason]]:
    """The reasons that the table has for an entry."""
    table: dict[bytes, list[Reason]] = {entry: [] for entry in ENTRIES}
    for reason in REASONS:
        for part in reason.entries:
            for entry in named(part):
                table[entry].append(reason)
    return table


EXPLAINED = explained()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What the sidecar and nginx do with all of it; a second each."""
    required()
    folder = tmp_path_factory.mktemp("nginx")
    with asyncio.Runner() as runner:
        ours = runner.run(sidecar_outcomes(ENTRIES))
        return ours, runner.run(nginx_outcomes(ENTRIES, folder))


@pytest.mark.parametrize("i", range(len(ENTRIES)))
def test_nginx_does_the_same_or_the_table_says_why_not(i: int, outcomes: Outcomes) -> None:
    ours, nginx = outcomes[0][i], outcomes[1][i]

    found = difference(ours, nginx)

    reasons = EXPLAINED[ENTRIES[i]]
    assert [reason.difference for reason in reasons] == ([found] if found else []), (
        f"{ENTRIES[i][:200]!r}\nours:  {ours}\nnginx: {nginx}\n"
        f"explained by {[reason.name for reason in reasons]}"
    )


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
def test_each_part_in_the_table_names_one_entry(reason: Reason) -> None:
    for part in reason.entries:
        assert len(named(part)) == 1, part


def test_no_request_ends_in_another_place(outcomes: Outcomes) -> None:
    """Whatever else differs, the request behind what both pass is the same one."""
    for entry, ours, nginx in zip(ENTRIES, *outcomes, strict=True):
        if entry.endswith(_AFTER) and len(ours.went_up) == len(nginx.went_up) > 1:
            assert ours.went_up[1:] == nginx.went_up[1:]


def test_what_nginx_refuses_and_we_pass_is_known_by_name() -> None:
    names = {reason.name for reason in REASONS if reason.difference is Difference.NGINX_REFUSES}

    assert names == {
        "above-the-root",
        "percent",
        "tab-before-the-length",
        "two-authorizations",
        "two-lines-of-a-list",
    }
