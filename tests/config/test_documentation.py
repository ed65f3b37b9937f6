from pathlib import Path

from sidecar.config.documentation import configuration_table
from sidecar.config.settings import Config, variable

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"


def row(field: str) -> str:
    found = [
        line
        for line in configuration_table().splitlines()
        if line.startswith(f"| `{variable(field)}` |")
    ]
    assert len(found) == 1
    return found[0]


def test_the_page_has_the_table_that_the_code_makes() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page.count(BEGIN) == page.count(END) == 1
    table = page.partition(BEGIN)[2].partition(END)[0]
    assert table.strip() == configuration_table().strip()


def test_the_table_has_a_row_for_every_variable_and_no_other() -> None:
    rows = configuration_table().splitlines()[2:]

    assert len(rows) == len(Config.model_fields)
    for field, described in Config.model_fields.items():
        assert str(described.description) in row(field)


def test_a_row_says_what_happens_without_the_variable() -> None:
    assert "| *required* |" in row("issuer")
    assert "| `:8080` |" in row("listen")
    assert "| - |" in row("client_secret")
    assert "| `memory://` outside of Kubernetes |" in row("store_url")


def test_no_row_breaks_the_table() -> None:
    for line in configuration_table().splitlines():
        assert line.count("|") == 4, line
        assert "\n" not in line
