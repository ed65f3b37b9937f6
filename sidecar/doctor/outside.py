"""The public URL as browsers see it: does it lead here, through whatever stands in front?"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from sidecar.config.settings import Config
from sidecar.config.values import LoginMode
from sidecar.core.cookies import crumbs, is_ours
from sidecar.doctor.fetch import SECONDS, Page, fetch
from sidecar.doctor.findings import Finding, fault, ok, warning
from sidecar.ports import Clock

# Which no upstream has, and of which the sidecar says so in its own words.
_NOT_THERE, _OUR_404 = "/_sidecar/doctor", b"Not found\n"


@dataclass(frozen=True, slots=True)
class OutsideSeen:
    """The answers of a path of ours at the public URL and each additional one."""

    logins: tuple[tuple[str, Page], ...]


async def look_from_outside(config: Config, clock: Clock) -> OutsideSeen:
    """What a browser without cookies gets where a login begins, if it begins here."""
    path = _NOT_THERE if config.login is LoginMode.OBSERVED else "/auth/login"
    urls = (config.public_url, *(config.additional_urls or ()))[:10]
    async with ClientSession(
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=SECONDS),
        connector=TCPConnector(force_close=True),
    ) as http:
        pages = [(url, await fetch(http, f"{url}{path}", clock)) for url in urls]
    return OutsideSeen(tuple(pages))


def of_outside(config: Config, seen: OutsideSeen) -> Iterator[Finding]:
    """What follows from it."""
    for url, page in seen.logins:
        yield from _of_url(config, url, page)


def _of_url(config: Config, url: str, page: Page) -> Iterator[Finding]:
    if page.problem is not None:
        yield warning(
            "outside.reach", f"{url} {page.problem}, seen from here",
            "If browsers see the same, nobody reaches Argo CD.",
            "Ask from where browsers are: curl -sSi " + f"{url}/auth/login",
        )  # fmt: skip
        return
    if config.login is LoginMode.OBSERVED:
        yield _observed(url, page)
        return
    cookies = [
        line for line in page.set_cookies if any(is_ours(crumb.name) for crumb in crumbs([line]))
    ]
    if not cookies:
        yield fault(
            "outside.reach", f"a login at {url} is not the sidecar's ({page.status})",
            "Logins go past the sidecar: nothing is renewed.",
            "Let Ingress and Service lead to the sidecar's port, /auth/login included",
        )  # fmt: skip
        return
    yield ok("outside.reach", f"a login at {url} is the sidecar's")
    yield _redirect_uri(url, page)
    yield _cookie(config, url, cookies[0])


def _observed(url: str, page: Page) -> Finding:
    if page.status == 404 and page.body == _OUR_404:
        return ok("outside.reach", f"what browsers see at {url} is the sidecar")
    return fault(
        "outside.reach", f"what browsers see at {url} is not the sidecar ({page.status})",
        "Callbacks go past the sidecar: no session begins.",
        "Let Ingress and Service lead to the sidecar's port, with all paths of the upstream",
    )  # fmt: skip


def _redirect_uri(url: str, page: Page) -> Finding:
    # Without urlsplit, which raises for some of what may stand there.
    asked = (parse_qs(page.location.partition("?")[2]).get("redirect_uri") or [""])[0]
    if asked == f"{url}/auth/callback":
        return ok("outside.host", f"what stands in front passes the Host of {url}")
    return fault(
        "outside.host", f"a login at {url} comes back to {asked[:200]}",
        "Its cookie is not sent there, so the login cannot be finished.",
        "Let the proxy in front pass the Host header as it came (preserve host)",
    )  # fmt: skip


def _cookie(config: Config, url: str, line: str) -> Finding:
    attributes = {part.strip().lower() for part in line.split(";")[1:]}
    wanted = {"path=/", "httponly", "samesite=lax"}
    if config.public_url.startswith("https:"):
        wanted.add("secure")
    missing = sorted(wanted - attributes)
    if not missing:
        return ok("outside.cookies", f"cookies arrive as they were set at {url}")
    return fault(
        "outside.cookies", f"on the way, cookies of {url} lose {', '.join(missing)}",
        "Browsers refuse them, or show them to scripts.",
        "Take the rewriting of Set-Cookie out of the proxy in front",
    )  # fmt: skip
