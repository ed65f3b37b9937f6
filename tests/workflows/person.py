"""A person's browser as far as cookies go: their ends, their path, SameSite, Fetch Metadata."""

from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from aiohttp import ClientResponse, ClientSession, DummyCookieJar
from yarl import URL

MOST_HOPS = 10
_PAGE = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


@dataclass
class Cookie:
    value: str
    """As it goes back, with its quotes."""
    path: str
    ends_at: float | None
    same_site: str
    http_only: bool


@dataclass
class Visit:
    """Where a navigation ended, and the addresses on its way."""

    status: int
    url: URL
    text: str
    hops: list[URL]


@dataclass
class Person:
    """Each port is a site of its own, so that the provider is another than Argo Workflows."""

    base: str
    http: ClientSession
    now: Callable[[], float]
    jar: dict[str, dict[tuple[str, str], Cookie]] = field(default_factory=dict)
    base_path: str = ""
    """What an Ingress takes away before the sidecar."""
    keeps_ours: bool = True
    """Whether it takes the sidecar's own cookies."""

    async def navigate(self, path: str, *, site: str = "none", **headers: str) -> Visit:
        """Load a page, and follow where it leads; `site` is where the link was."""
        url = URL(path if path.startswith("http") else self.base + path, encoded=True)
        hops: list[URL] = []
        while True:
            hops.append(url)
            sent = {**_PAGE, "Sec-Fetch-Site": site, **headers}
            answer, text = await self._ask("GET", url, site, headers=sent)
            if answer.status not in (301, 302, 303, 307):
                return Visit(answer.status, url, text, hops)
            assert len(hops) <= MOST_HOPS, hops
            to = url.join(URL(answer.headers["Location"], encoded=True))
            site = "cross-site" if to.port != url.port else site
            url = to

    async def sign_in(self, visit: Visit, user: str = "ada") -> Visit:
        """Fill in the form at which a visit ended, and go on from there."""
        form = {"user": user, "password": user}
        answer, _ = await self._ask("POST", visit.url, "same-origin", data=form)
        return await self.navigate(answer.headers["Location"], site="cross-site")

    async def fetch(self, path: str, **headers: str) -> tuple[int, str]:
        """What the page's own script gets."""
        sent = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", **headers}
        answer, text = await self._ask("GET", URL(self.base + path), "same-origin", headers=sent)
        return answer.status, text

    async def log_out(self) -> Visit:
        """ui/src/login/login.tsx: the page deletes the cookie and loads itself again."""
        for key in [key for key in self._cookies(URL(self.base)) if key[0] == "authorization"]:
            del self._cookies(URL(self.base))[key]
        return await self.navigate("/login", site="same-origin")

    def cookies(self) -> dict[str, str]:
        """Those of Argo Workflows' site that have not ended."""
        found = self._cookies(URL(self.base)).items()
        return {name: cookie.value for (name, _), cookie in found if self._lives(cookie)}

    def has_login(self) -> bool:
        return "authorization" in self.cookies()

    async def _ask(
        self, method: str, url: URL, site: str, **options: Any
    ) -> tuple[ClientResponse, str]:
        sent = "; ".join(
            f"{name}={cookie.value}"
            for (name, _), cookie in self._cookies(url).items()
            if self._lives(cookie)
            and url.path.startswith(cookie.path)
            and not (cookie.same_site == "strict" and site == "cross-site")
        )
        headers = {**options.pop("headers", {}), **({"Cookie": sent} if sent else {})}
        async with self.http.request(
            method, self._behind_ingress(url), headers=headers, allow_redirects=False, **options
        ) as answer:
            text = await answer.text()
            for line in answer.headers.getall("Set-Cookie", []):
                self._keep(url, line)
            return answer, text

    def _behind_ingress(self, url: URL) -> URL:
        if not self.base_path or url.origin() != URL(self.base).origin():
            return url
        assert url.path.startswith(f"{self.base_path}/"), url
        return url.origin().join(URL(url.raw_path_qs.removeprefix(self.base_path), encoded=True))

    def _keep(self, url: URL, line: str) -> None:
        pair, *rest = (part.strip() for part in line.split(";"))
        name, _, value = pair.partition("=")
        given = {k.strip().lower(): v.strip() for k, _, v in (part.partition("=") for part in rest)}
        if not self.keeps_ours and "argocd-token-refresh" in name:
            return
        ends_at = None
        if "max-age" in given:
            ends_at = self.now() + int(given["max-age"])
        elif "expires" in given:
            ends_at = parsedate_to_datetime(given["expires"]).timestamp()
        path = given.get("path") or url.path.rpartition("/")[0] or "/"
        same_site = given.get("samesite", "lax").lower()
        made = Cookie(value, path, ends_at, same_site, "httponly" in given)
        self._cookies(url)[name, path] = made

    def _cookies(self, url: URL) -> dict[tuple[str, str], Cookie]:
        return self.jar.setdefault(str(url.origin()), {})

    def _lives(self, cookie: Cookie) -> bool:
        return cookie.ends_at is None or cookie.ends_at > self.now()


def person_http() -> ClientSession:
    return ClientSession(cookie_jar=DummyCookieJar(), headers={"Accept-Encoding": "identity"})
