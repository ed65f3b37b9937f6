"""The README: short, its pictures there and small, its links and commands real."""

import re
import struct
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sidecar.__main__ import _parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_SCREEN = README.split("\n## ")[0]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PICTURE_BYTES = 1_000_000


class Pictures(HTMLParser):
    """The attributes of each `img` and `source`."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.sources: list[dict[str, str]] = []
        self.feed(README)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {"img": self.images, "source": self.sources}.get(tag)
        if found is not None:
            found.append({name: value or "" for name, value in attrs})


def pictures() -> list[Path]:
    found = Pictures()
    return [ROOT / one["src"] for one in found.images] + [
        ROOT / one["srcset"] for one in found.sources
    ]


def frames_ms(animation: bytes) -> Iterator[int]:
    """How long each frame of a WebP is shown (its chunks ANMF)."""
    at = 12
    while at < len(animation):
        name, size = struct.unpack_from("<4sI", animation, at)
        if name == b"ANMF":
            yield int.from_bytes(animation[at + 20 : at + 23], "little")
        at += 8 + size + size % 2


def test_every_picture_is_there_and_small() -> None:
    assert len(pictures()) == 3
    for picture in pictures():
        assert 0 < picture.stat().st_size < PICTURE_BYTES


def test_who_cannot_see_the_animation_is_told_what_happens_in_it() -> None:
    (image,) = Pictures().images

    assert len(image["alt"]) > 100
    assert "login" in image["alt"]


def test_the_animation_is_a_loop_of_about_ten_seconds() -> None:
    moving = [picture for picture in pictures() if picture.suffix == ".webp"]

    assert len(moving) == 2
    for picture in moving:
        content = picture.read_bytes()
        shown = list(frames_ms(content))
        assert len(shown) > 40
        assert 9_000 < sum(shown) < 16_000
        assert content[content.index(b"ANIM") + 12 :][:2] == b"\0\0", "for ever"


def test_who_wants_no_motion_and_a_printer_get_the_still_picture_first() -> None:
    still = Pictures().sources[0]

    assert "prefers-reduced-motion: reduce" in still["media"]
    assert "print" in still["media"]
    assert still["srcset"].endswith(".png")


def test_the_first_screen_says_what_it_is_costs_and_does_not_do() -> None:
    for what in ("<picture>", "make demo", "make test", "**It costs**", "**It does not**"):
        assert what in FIRST_SCREEN
    assert len(FIRST_SCREEN.split()) < 300
    assert len(README.split()) < 1650


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)\s]+)\)", README))))
def test_a_link_within_the_repository_leads_somewhere(link: str) -> None:
    path, _, fragment = link.partition("#")
    if "://" in link:
        assert link.startswith("https://")
    elif path:
        assert (ROOT / path).exists()
    else:
        headings = [line.lstrip("# ") for line in README.splitlines() if line.startswith("#")]
        assert fragment in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_command_is_one() -> None:
    made = re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    run = re.findall(r"\bsidecar ([a-z]+(?: [a-z]+)?(?: --[a-z]+ \w+)?)`", README)

    assert len(made) >= 4
    assert set(made) <= targets
    assert len(run) >= 6
    for command in run:
        assert callable(_parser().parse_args(command.split()).command)


def test_a_test_that_it_names_is_there() -> None:
    named = re.findall(r"ARGS=\"(\S+) -k (\w+)\"", README)

    assert named
    for path, words in named:
        assert re.search(rf"def test_\w*{words}", (ROOT / path).read_text(encoding="utf-8"))
