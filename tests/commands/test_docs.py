"""Every command that the documentation names is one."""

import re
from pathlib import Path

import pytest

from sidecar.__main__ import _parser

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": 4,
    "docs/operate.md": 4,
    "docs/key-rotation.md": 8,
    "docs/machine-rules.md": 2,
}
COMMAND = re.compile(
    r"sidecar (keys new(?: \w+)?|rules [a-z]+ [\w.]+(?: --[a-z-]+ [\w.]+)*"
    r"|(?:sessions|keys) [a-z]+(?: --[a-z]+(?: [\w@.]+)?)*)"
)


@pytest.mark.parametrize(("page", "at_least"), PAGES.items())
def test_a_page_names_no_command_that_there_is_not(page: str, at_least: int) -> None:
    named = COMMAND.findall((ROOT / page).read_text(encoding="utf-8"))

    assert len(named) >= at_least
    for command in named:
        given = _parser().parse_args(command.split())
        assert callable(given.command)
