"""The page about renewals names tests that exist, and links to what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "refresh.md"


def named_tests() -> list[tuple[str, str]]:
    """The file and the name of each test on the page."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())


def guarantees() -> list[str]:
    """The rows of the table of guarantees."""
    _, _, behind = PAGE.read_text().partition("| Guarantee | Tests |\n| --- | --- |\n")
    table, _, _ = behind.partition("\n\n")
    return table.splitlines()


def test_every_test_that_the_page_names_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in named_tests()
        if not (ROOT / file).is_file()
        or not re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]

    assert missing == []


def test_every_guarantee_has_a_test_that_holds_it() -> None:
    rows = guarantees()

    assert len(rows) > 20
    assert [row for row in rows if "::test_" not in row] == []


def test_the_links_of_the_page_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text())

    assert links
    assert [link for link in links if not (PAGE.parent / link.partition("#")[0]).exists()] == []
