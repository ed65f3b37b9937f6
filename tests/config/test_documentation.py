from pathlib import Path

import pytest

from sidecar.config.documentation import configuration_table, providers_table
from sidecar.config.environment import variable
from sidecar.config.variables import VARIABLES
from sidecar.core.provider_profiles import PROFILES

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
TABLES = {"configuration.md": configuration_table(), "providers.md": providers_table()}


def row(field: str) -> str:
    found = [
        line
        for line in configuration_table().splitlines()
        if line.startswith(f"| `{variable(field)}` |")
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_table_that_the_code_makes(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")

    assert page.count(BEGIN) == page.count(END) == 1
    table = page.partition(BEGIN)[2].partition(END)[0]
    assert table.strip() == TABLES[name].strip()


def test_every_provider_has_a_section_of_its_own() -> None:
    page = (DOCS / "providers.md").read_text(encoding="utf-8")

    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert headings[-len(PROFILES) :] == [profile.title for profile in PROFILES]


def test_the_table_has_a_row_for_every_variable_and_no_other() -> None:
    rows = configuration_table().splitlines()[2:]

    assert len(rows) == len(VARIABLES)
    for field, described in VARIABLES.items():
        assert described.meaning in row(field)


def test_a_row_says_what_happens_without_the_variable() -> None:
    assert "| Argo CD's `issuer`, else *required* |" in row("issuer")
    assert "| `:8080` |" in row("listen")
    assert "| - |" in row("client_secret_file")
    assert "else `memory://` outside of Kubernetes |" in row("store_url")


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_no_row_breaks_the_table(table: str) -> None:
    lines = table.splitlines()
    for line in lines:
        assert line.count("|") == lines[0].count("|"), line
