"""The documentation as it is written: its pages, their blocks, headings and links."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(?:[^\][]|\[[^\]]*\])*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Page:
    """A page of Markdown, by its path in the repository."""

    path: str

    @cached_property
    def text(self) -> str:
        """All of it."""
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """It without its blocks."""
        return _FENCE.sub("", self.text)

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """Each block's language, "" for none, and what is in it, from the margin on."""
        return [
            (language, re.sub(rf"^{indent}", "", inside, flags=re.MULTILINE))
            for indent, language, inside in _FENCE.findall(self.text)
        ]

    @property
    def spans(self) -> list[str]:
        """What stands in backquotes, in one line."""
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    @property
    def links(self) -> list[str]:
        """Where its links and pictures lead, as it is written."""
        return _LINK.findall(re.sub(r"`[^`\n]+`", "``", self.prose))

    @cached_property
    def anchors(self) -> set[str]:
        """What GitHub makes of its headings."""
        found: set[str] = set()
        for heading in re.findall(r"^#{1,6} +(.+?) *$", self.prose, re.MULTILINE):
            shown = _LINK.sub(lambda link: link[0][1 : link[0].index("](")], heading)
            anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            same = sum(each == anchor or each.startswith(f"{anchor}-") for each in found)
            found.add(f"{anchor}-{same}" if anchor in found else anchor)
        return found


def _paths() -> list[str]:
    beside = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
    below = [path for folder in ("docs", "deploy") for path in (ROOT / folder).rglob("*.md")]
    return [*beside, *sorted(path.relative_to(ROOT).as_posix() for path in below)]


PAGES = [Page(path) for path in _paths()]
