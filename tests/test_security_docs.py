"""The threat model names tests and attacks that exist, and is short enough to be read."""

import re
from pathlib import Path

import pytest

from tests.attacks.registry import ATTACKS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
TEXT = PAGE.read_text(encoding="utf-8")
TESTS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
NAMED = set(re.findall(r"\[([a-z-]+)\]\(attacks\.md\)", TEXT))
A_MINUTE = 230  # words, as adults read


def claims() -> list[str]:
    _, _, behind = TEXT.partition("| Claim | Shown by |\n| --- | --- |\n")
    return behind.partition("\n\n")[0].splitlines()


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    found = re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)

    assert found


def test_every_attack_that_the_page_names_is_tried() -> None:
    assert len(NAMED) > 30
    assert {attack.name for attack in ATTACKS} >= NAMED


def test_every_claim_has_something_that_shows_it() -> None:
    rows = claims()

    assert len(rows) >= 20
    assert [row for row in rows if "](attacks.md)" not in row and "::test_" not in row] == []


def test_the_page_is_read_in_ten_minutes() -> None:
    # What shows a claim is looked up, and not read.
    read = re.sub(r"`tests/[^`]+`|\[[a-z-]+\]\(attacks\.md\)", "", TEXT)

    assert len(read.split()) <= 10 * A_MINUTE


def test_the_links_of_the_page_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT)

    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
