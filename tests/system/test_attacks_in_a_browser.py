"""A real browser reads addresses and cookies as the tests of attacks say that browsers do."""

from itertools import product
from urllib.parse import unquote

import pytest

from tests.attacks.cookies import a_browser_takes
from tests.attacks.redirects import CALLBACK, CORPUS, as_browsers_read
from tests.system.test_browser import chromium_page

pytestmark = pytest.mark.browser

SIBLING = "https://sibling.example.org"
READ = """
([base, addresses]) => addresses.map((address) => {
  try { return new URL(address, base).href } catch { return "" }
})
"""


async def test_chromium_reads_every_address_of_the_corpus_as_its_judge_does() -> None:
    async with chromium_page() as page:
        read = await page.evaluate(READ, [CALLBACK, CORPUS])

    pairs = zip(read, as_browsers_read(CORPUS), strict=True)
    differ = [pair for pair in pairs if unquote(pair[0]) != unquote(pair[1])]
    # Chromium has slashes of its own in file addresses, which no login leads to.
    assert [pair for pair in differ if not all(one.startswith("file:") for one in pair)] == []


async def test_chromium_takes_a_sibling_sites_cookies_as_the_attack_says() -> None:
    names = ("argocd-token-refresh-1", "__Host-argocd-token-refresh-1", "__HOST-x", "__Secure-x")
    forms = list(product(names, ("", "example.org"), ("/", "/api"), (True, False)))
    taken = {}
    async with chromium_page() as page:
        await page.route(f"{SIBLING}/**", lambda route: route.fulfill(body="<p>a page</p>"))
        await page.goto(f"{SIBLING}/api/")
        for name, domain, path, secure in forms:
            flags = (f"; Domain={domain}" if domain else "") + ("; Secure" if secure else "")
            await page.evaluate("(l) => { document.cookie = l }", f"{name}=x; Path={path}{flags}")
            found = await page.context.cookies(f"{SIBLING}/api/")
            taken[name, domain, path, secure] = bool(found)
            await page.context.clear_cookies()

    assert taken == {
        (name, domain, path, secure): a_browser_takes(name, domain=domain, path=path, secure=secure)
        for name, domain, path, secure in forms
    }
    assert any(taken.values())
