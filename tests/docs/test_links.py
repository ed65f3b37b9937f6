"""Links lead somewhere as they are written, in the repository; `make docs` asks it of the site."""

import re
from pathlib import PurePosixPath
from posixpath import normpath
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, Page

BY_PATH = {page.path: page for page in PAGES}
LINKS = [(page, link) for page in PAGES for link in page.links]
OUTSIDE = sorted({link for _, link in LINKS if re.match(r"\w+:|//", link)})


def target(page: Page, link: str) -> tuple[str, str]:
    """The path in the repository and the anchor that a link leads to."""
    path, _, anchor = link.partition("#")
    at = normpath(PurePosixPath(page.path).parent / path) if path else page.path
    return at, anchor


def test_there_are_links_to_look_at() -> None:
    assert len(LINKS) > 300
    assert any("#" in link for _, link in LINKS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_link_of_a_page_leads_to_something_in_the_repository(page: Page) -> None:
    lost = []
    for link in page.links:
        if link in OUTSIDE:
            continue
        at, anchor = target(page, link)
        if not (ROOT / at).is_file():
            lost.append(f"{link}: there is no {at}")
        elif anchor and anchor not in BY_PATH[at].anchors:
            lost.append(f"{link}: {at} has no such heading")

    assert lost == []


@pytest.mark.parametrize("link", OUTSIDE)
def test_a_link_to_elsewhere_is_a_plain_https_address(link: str) -> None:
    parts = urlsplit(link)

    assert parts.scheme == "https"
    assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc)
    assert re.fullmatch(r"[\x21-\x7e]*", link)
    assert (parts.username, parts.port) == (None, None)


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("## What it costs", "what-it-costs"),
        ("## `sidecar sessions list`", "sidecar-sessions-list"),
        ("## Keys & cookies: how?", "keys--cookies-how"),
        ("## See [here](there.md)", "see-here"),
    ],
)
def test_a_headings_anchor_is_that_of_github(heading: str, anchor: str) -> None:
    page = Page("made-up.md")
    page.__dict__["text"] = f"# Title\n\n{heading}\n\n```sh\n# no heading\n```\n"

    assert page.anchors == {"title", anchor}
