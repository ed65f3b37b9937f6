"""Attacks with cookies: planted by a sibling site, doubled, odd, and more than anybody needs."""

import http.cookies
import re
import time
from collections.abc import Iterable
from typing import Any

from sidecar.core.cookies import CookieJar, Crumb, is_ours, is_token
from sidecar.core.heads import Kind
from tests.attacks.attack import Defence, attack, becomes, is_always
from tests.attacks.lab import (
    ATTACKER,
    MIRROR,
    VICTIM,
    Lab,
    behind_tls,
    cookies_upstream,
    log_in_by_hand,
    mirrored_use,
    named,
    who,
)
from tests.web.raw import http as raw_http
from tests.web.raw import raw_upstream
from tests.world import World


async def sent_with(here: World, cookie: str) -> str:
    """The Cookie header that reaches Argo CD for this one: whose HTTP client would mend it."""
    return await cookies_upstream(await here.browser(), headers={"Cookie": cookie})


def _tokens_stay(original: Any) -> Any:
    return lambda found, *, tokens: original(found, tokens=False)


def _any_bytes(_: Any) -> Any:
    def without(found: Iterable[Crumb], *, tokens: bool) -> Iterable[Crumb]:
        return (c for c in found if not is_ours(c.name) and not (tokens and is_token(c)))

    return without


@attack(
    12,
    does="Plants `argocd.token` cookies from a sibling site, so that a victim works in the "
    "attacker's account.",
    stopped_by=Defence(
        "with a session all `argocd.token*` of the browser are dropped",
        "sidecar.core.heads:without",
        _tokens_stay,
    ),
)
async def tossed_token(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        tossed = "argocd.token=2:evil; argocd.token-1=token; argocd.token-x=y"

        sent = await sent_with(here, f"{tossed}; {named(here, browser.session())}")

        return sent.count("argocd.token") != 1


def _quotes_hide(original: Any) -> Any:
    """Splits as Python's `http.cookies` does, for which `;` may stand between quotes."""

    def crumbs(headers: Iterable[str]) -> list[Crumb]:
        parts = [p for h in headers for p in re.findall(r'(?:[^;"]|"[^"]*")+', h)]
        return [Crumb(*_pair(part), part.strip()) for part in parts if part.strip()]

    return crumbs


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), http.cookies._unquote(value.strip())


@attack(
    12,
    does='Hides a cookie in another one\'s quotes: `a="x; argocd.token=evil"`, which Go splits.',
    stopped_by=Defence(
        "cookies are split at `;` as Go does it, whatever stands in quotes",
        "sidecar.proxy.gate:crumbs",
        _quotes_hide,
    ),
)
async def quoted_cookie(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        odd = 'a="x; argocd.token=evil"'

        sent = await sent_with(here, f"{odd}; {named(here, browser.session())}")

        return "argocd.token=evil" in sent


@attack(
    12,
    does="Puts a byte into a cookie's name that is lost on the way up: `arg\\xffocd.token`.",
    stopped_by=Defence(
        "a cookie with bytes beyond ASCII does not go up", "sidecar.core.heads:without", _any_bytes
    ),
)
async def disguised_cookie(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        cookie = f"arg\xffocd.token=EVIL; {named(here, browser.session())}"

        answer = await raw_http(
            here,
            "GET /api/v1/echo HTTP/1.1\r\nHost: x\r\n"
            f"Cookie: {cookie}\r\nConnection: close\r\n\r\n",
        )

        assert answer.status == 200
        return b"EVIL" in answer.body


def _as_many_as_it_says(_: Any) -> Any:
    def join_token(found: Iterable[Crumb]) -> str:
        values = {crumb.name: crumb.value for crumb in found if is_token(crumb)}
        count, _, rest = values.get("argocd.token", "").partition(":")
        chunks = range(1, int(count)) if count.isdigit() else ()
        return rest + "".join(values.get(f"argocd.token-{i}", "") for i in chunks)

    return join_token


@attack(
    12,
    25,
    does="Says that a token has two million chunks (CVE-2024-24814).",
    stopped_by=Defence(
        "no more chunks than Argo CD itself would take",
        "sidecar.core.cookies:join_token",
        _as_many_as_it_says,
    ),
    use=mirrored_use,
)
async def chunk_bomb(lab: Lab) -> bool:
    async with lab.world(environment=MIRROR) as here:
        browser = await here.logged_in()
        cookie = f"argocd.token=2000000:x; {named(here, browser.session())}"
        began = time.process_time()

        await who(await here.browser(), headers={"Cookie": cookie})

        return time.process_time() - began > 0.2


def _first_only(original: Any) -> Any:
    return lambda sessions, values: original(sessions, values[:1])


@attack(
    12,
    does="Plants a worthless session cookie before the victim's, to lock the victim out.",
    stopped_by=Defence(
        "the first genuine session cookie counts, wherever it stands",
        "sidecar.flows.sessions:Sessions.read_cookies",
        _first_only,
    ),
)
async def cookie_lockout(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        cookie = f"{named(here, 'worthless')}; {named(here, browser.session())}"

        return await who(await here.browser(), headers={"Cookie": cookie}) != VICTIM


def _plain_name(original: Any) -> Any:
    def __init__(self: CookieJar, public_url: str) -> None:
        original(self, public_url)
        self.session = self.session.removeprefix("__Host-")
        self._login = self._login.removeprefix("__Host-")

    return __init__


def a_browser_takes(name: str, *, domain: str, path: str, secure: bool) -> bool:
    """Whether a browser stores a cookie of this name (RFC 6265bis section 5.7, steps 21 and 22)."""
    if name.lower().startswith("__host-"):
        return secure and not domain and path == "/"
    return secure or not name.lower().startswith("__secure-")


@attack(
    12,
    3,
    does="From a sibling site, plants an own session for `/api`, which browsers send first.",
    stopped_by=Defence(
        "`__Host-`: a browser takes such a cookie from this host alone",
        "sidecar.core.cookies:CookieJar.__init__",
        _plain_name,
    ),
)
async def tossed_session(lab: Lab) -> bool:
    async with behind_tls(lab) as here:
        _, ada = await log_in_by_hand(here)
        _, mallory = await log_in_by_hand(here, user="mallory")
        name = mallory.partition("=")[0]
        planted = a_browser_takes(name, domain="example.org", path="/api", secure=True)
        browser = await here.browser()

        cookie = f"{mallory}; {ada}" if planted else ada
        return await who(browser, headers={"Cookie": cookie}) == ATTACKER


@attack(
    18,
    does="Reads the session cookie behind the sidecar: an extension's backend, Argo CD's log.",
    stopped_by=Defence(
        "the sidecar's cookies never go up", "sidecar.core.cookies:is_ours", is_always(False)
    ),
)
async def own_cookie_upstream(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        await browser.get("/auth/login")

        return "argocd-token-refresh" in await cookies_upstream(browser)


@attack(
    18,
    does="Reads, at the bundled Dex behind Argo CD, the tokens of those who log in there.",
    stopped_by=Defence(
        "what goes to the bundled Dex has no token with it",
        "sidecar.proxy.gate:_WITHOUT_LOGIN",
        becomes((Kind.LOGOUT,)),
    ),
)
async def token_to_dex(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        here.argocd.seen.cookie_names.clear()

        await browser.get("/api/dex/auth")

        return "argocd.token" in here.argocd.seen.cookie_names


@attack(
    2,
    12,
    does="Is the backend of an extension, and sets an own session's cookie in a victim's browser.",
    stopped_by=Defence(
        "nothing behind the sidecar sets its cookies",
        "sidecar.proxy.gate:without_our_cookies",
        lambda _: list,
    ),
)
async def cookie_from_behind(lab: Lab) -> bool:
    async with lab.world() as here:
        planted = named(here, (await here.logged_in(user="mallory")).session())
        lines = "".join(f"Set-Cookie: {odd}; Path=/\r\n" for odd in (planted, f"={planted}"))
        answer = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n"
        async with raw_upstream(answer.encode()) as extension:
            behind = await here.start_sidecar(
                SIDECAR_LISTEN="127.0.0.1:0", SIDECAR_UPSTREAM=extension.address
            )
            victim = await here.browser(behind)

            got = await victim.get("/extensions/x/")

        return bool(victim.session()) or planted in str(got.headers)
