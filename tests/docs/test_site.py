"""What `make docs` has built, as a reader meets it: without a network."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urldefrag, urljoin

import pytest
from playwright.async_api import Page

from tests.docs.pages import PAGES, ROOT
from tests.system.test_browser import chromium

pytestmark = pytest.mark.site
SITE = ROOT / "build/site"
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "srcset", "link": "href"}


class Addresses(HTMLParser):
    """What a page loads by itself, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(LOADS.get(tag, ""))
        if address and given.get("rel") not in {"prev", "next"}:
            self.loaded.append(address)
        if tag == "a" and (link := given.get("href")):
            self.links.append(link)


def read(page: Path) -> Addresses:
    found = Addresses()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def built() -> list[Path]:
    pages = sorted(SITE.rglob("*.html"))
    assert len(pages) > len(PAGES), "there is no site; run: make docs"
    return pages


def is_there(page: Path, address: str) -> bool:
    at = SITE if address.startswith("/") else page.parent
    return (at / address.lstrip("/")).is_file()


@contextmanager
def served() -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
async def asked() -> list[str]:
    """Every address that the browser asked for."""
    return []


@pytest.fixture
async def reader(asked: list[str]) -> AsyncIterator[Page]:
    async with chromium() as browser:
        page = await browser.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        yield page


def test_what_a_page_loads_is_a_part_of_the_site() -> None:
    loaded = [(page, urldefrag(each).url) for page in built() for each in read(page).loaded]
    styles = "".join(path.read_text() for path in SITE.rglob("*.css"))

    assert len(loaded) > len(PAGES)
    assert [each for each in loaded if not is_there(*each)] == []
    assert re.findall(r"url\([\"']?(?:https?:)?//", styles) == []


def test_every_page_is_reached_from_the_first_one() -> None:
    known, new = set[str](), {"index.html"}
    while new:
        known |= new
        new = {
            (urldefrag(urljoin(f"/{page}", link)).url.lstrip("/") or ".").rstrip("/")
            for page in new
            for link in read(SITE / page).links
            if not re.match(r"\w+:|//", link)
        }
        new = {f"{page}/index.html" if (SITE / page).is_dir() else page for page in new}
        new = {str(Path(page)) for page in new if page.endswith(".html")} - known

    assert {str(page.relative_to(SITE)) for page in built()} - known == {"404.html"}


@pytest.mark.timeout(60)
async def test_drawings_are_drawn_without_a_network(reader: Page, asked: list[str]) -> None:
    pages = [page for page in PAGES if "```mermaid" in page.text]
    assert len(pages) >= 4

    with served() as site:
        for page in pages:
            at = page.path.removeprefix("docs/").removesuffix(".md")
            await reader.goto(f"{site}/{at}/")
            drawings = page.text.count("```mermaid")
            await reader.wait_for_function(
                "count => document.querySelectorAll('div.mermaid').length === count", arg=drawings
            )
            # What it is drawn into is closed to scripts: its size shows that something is there.
            heights = await reader.evaluate(
                "[...document.querySelectorAll('div.mermaid')].map(each => each.clientHeight)"
            )
            assert min(heights) > 100

    assert [address for address in asked if not address.startswith(site)] == []


@pytest.mark.timeout(60)
async def test_a_word_is_found_by_the_sites_own_search(reader: Page, asked: list[str]) -> None:
    with served() as site:
        await reader.goto(site)
        await reader.keyboard.press("/")
        await reader.keyboard.type("SIDECAR_STORE_GRACE", delay=5)
        async with asyncio.timeout(20):
            await reader.wait_for_selector(".md-search-result__item")

        found = await reader.locator(".md-search-result__link").first.get_attribute("href")

    assert found
    assert found.startswith(site)
    assert [address for address in asked if not address.startswith(site)] == []
