"""The commands that the documentation names, and who runs each."""

import re
from itertools import pairwise

from tests.docs.pages import PAGES

PROGRAMS = [
    ".venv/bin/python",
    "argocd",
    "curl",
    "docker",
    "git",
    "helm",
    "kind",
    "kubectl",
    "make",
    "nginx",
    "openssl",
    "pip",
    "python",
    "redis-cli",
    "sidecar",
    "sudo",
    "valkey-cli",
]
"""What a command begins with, where no block says that it is one."""
_SHELLS = {"sh", "bash", "shell", "console"}
_RECORDS = "docs/decisions/0"
"""Pages that say what was so when they were written."""


def found() -> dict[str, set[str]]:
    """Every command, in one line, with the pages that name it."""
    commands: dict[str, set[str]] = {}
    for page in PAGES:
        if page.path.startswith(_RECORDS):
            continue
        lines = [
            line
            for language, inside in page.blocks
            if language in _SHELLS or (not language and _begins(inside.partition("\n")[0]))
            for line in lines_of(inside)
        ]
        for command in [*lines, *(span for span in page.spans if _begins(span))]:
            for part in (command, *_inner(command)):
                commands.setdefault(part, set()).add(page.path)
    return commands


def lines_of(block: str) -> list[str]:
    """The commands of a block, each in one line and without its comment."""
    commands, begun, inside = [], "", ""  # inside of a quotation, or of a comment
    for before, letter in pairwise(f" {block.rstrip()}\n".replace("\\\n", " ")):
        if inside == "#":
            inside = "" if letter == "\n" else inside
        elif inside:
            inside = "" if letter == inside else inside
        elif letter in "'\"" or (letter == "#" and before.isspace()):
            inside = letter
        if inside != "#":
            begun += letter
        if not inside and letter == "\n":
            commands.append(" ".join(begun.split()))
            begun = ""
    return [command for command in commands if command]


def _begins(text: str) -> bool:
    first, _, rest = text.strip().partition(" ")
    return first in PROGRAMS and bool(rest) and "…" not in text


def _inner(command: str) -> list[str]:
    """What a command has a pod run."""
    _, between, inner = command.partition(" -- ")
    return [re.sub(r" >>? .*", "", inner)] if between else []
