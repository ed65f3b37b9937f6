"""docs/attacks.md says what the list of attacks says."""

from pathlib import Path

from tests.attacks.document import attack_tables, place_of
from tests.attacks.registry import ATTACKS

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"


def test_the_page_has_the_tables_that_the_list_makes() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page.count(BEGIN) == page.count(END) == 1
    table = page.partition(BEGIN)[2].partition(END)[0]
    assert table.strip() == attack_tables().strip()


def test_each_attack_is_in_the_tables_once() -> None:
    tables = attack_tables()

    for attack in ATTACKS:
        place = place_of(attack).removeprefix("tests/attacks/")
        assert tables.count(f"| `{place}` |") == 1
