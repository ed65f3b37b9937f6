"""A newcomer's first change begins where CONTRIBUTING.md says that it does."""

import re

from sidecar.core.failures import known_error
from tests.docs.pages import PAGES, ROOT

(PAGE,) = (page for page in PAGES if page.path == "CONTRIBUTING.md")
FIRST = PAGE.prose.partition("\n## The first change")[2].partition("\n## ")[0]
NEW = "account_selection_required"


def test_every_path_that_the_page_names_is_there() -> None:
    named = {path for path in PAGE.spans if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", path)}
    paths = {path for path in named if "/" in path or path.endswith((".py", ".md"))}

    assert len(paths) > 40
    assert {path for path in paths if not lies_somewhere(path)} == {
        "build/sbom.cdx.json",  # is made
    }


def lies_somewhere(path: str) -> bool:
    """In the repository, or in a folder of tests that the same line is about."""
    return (ROOT / path).exists() or any((ROOT / "tests").glob(f"*/{path}"))


def test_the_first_change_is_not_made_yet() -> None:
    assert f"`{NEW}`" in FIRST
    assert known_error(NEW) == "other"


def test_what_the_first_change_touches_has_the_names_that_it_is_told_by() -> None:
    code = (ROOT / "sidecar/core/failures.py").read_text()
    tests = (ROOT / "tests/core/test_failures.py").read_text()

    for name in ("failure", "_COMMON", "OVER"):
        assert f"`{name}`" in FIRST
        assert re.search(rf"\b{name}\b", code)
    (line,) = re.findall(r"`(pytest\.param\([^`]*\),)`", FIRST)
    assert line.replace(NEW, "consent_required").partition(" id=")[0] in tests
    assert "`consent_required`" in (ROOT / "docs/how-it-works.md").read_text()
