"""A figure that was measured has beside it what measured it."""

import re

import pytest

from tests.docs.pages import PAGES, Page

# What was so when it was written; what was measured at a provider, with the mark that says so.
APART = ("docs/decisions/0", "docs/changelog.md", "docs/providers")
FIGURE = re.compile(
    r"\d ?(?:µs|ms|MiB|KiB|MB)\b[^.,;|]{0,30}\b(?:for each|in all|at rest|of memory|resident)\b"
    r"|\d s of CPU time|\bMeasured\b|\bmeasured (?:by|it|on|once)\b"
)
COMMAND = re.compile(
    r"(?:`|^)(?:make (?:bench|test|dashboard)|(?:\.venv/bin/)?python -[mc] )|`tests/|by hand",
    re.MULTILINE,
)


def measured(page: Page) -> list[str]:
    """The sections with figures, each behind the page's first words, which may say it for all."""
    first, *others = re.split(r"^(?=## )", page.text, flags=re.MULTILINE)
    return [first + section for section in ("", *others) if FIGURE.search(section or first)]


MEASURED = [
    pytest.param(section, id=f"{page.path} {number}")
    for page in PAGES
    if not page.path.startswith(APART)
    for number, section in enumerate(measured(page))
]


def test_there_are_figures_to_look_at() -> None:
    assert len(MEASURED) >= 6


@pytest.mark.parametrize("section", MEASURED)
def test_a_section_with_measured_figures_names_what_measured_them(section: str) -> None:
    assert COMMAND.search(section)
