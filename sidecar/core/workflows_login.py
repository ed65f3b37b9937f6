"""Argo Workflows' browser sessions: when a page load renews one, and what is read on the way.

Its cookie `authorization` is opaque, and says its end only when it is set (server/auth/sso/sso.go,
v4.1.2). So a cookie of ours remembers that end. It opens nothing: whoever writes it can send their
own browser to their own provider, no more.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from enum import Enum, auto
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sidecar.core.cookies import Crumb

COOKIE = "authorization"
_PREFIX = "Bearer v2:"
RETRY_SECONDS = 15 * 60
"""No browser is sent to the provider more often than that."""
_RENEWED_AFTER = 0.5
_USUAL_SECONDS = 10 * 3600.0  # config/sso.go: GetSessionExpiry
_LONGEST_PAGE = 1500  # it has to fit into a cookie of argo-server's, and into two addresses
SILENT = "sidecar_silent"
"""Marks the login that the sidecar begins; argo-server does not look at it."""

# isValidFinalRedirectURL: an address that argo-server comes back to is a path and no other site's.
_ELSEWHERE = re.compile(r"[/\\](?:[\s\v]*|\.{1,2})[/\\]")
_PAGE = re.compile(r"/[\x21\x24-\x3a\x3c-\x5b\x5d-\x7e]*")
_REMEMBERED = re.compile(r"([0-9]{1,12})\.([0-9]{1,12})")
_STATE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_PARAMETERS = 50


@dataclass(frozen=True, slots=True)
class Remembered:
    """From when on a page load renews the login, and when that ends; 0: not known."""

    renew_at: int
    ends_at: int

    def __str__(self) -> str:
        return f"{self.renew_at}.{self.ends_at}"

    def tried(self, now: float) -> "Remembered":
        """The same after the browser was sent to the provider."""
        return Remembered(int(now) + RETRY_SECONDS, self.ends_at)


def remembered(value: str | None) -> Remembered | None:
    """What our cookie says; None without one, or with one that is not ours."""
    found = _REMEMBERED.fullmatch(value) if value else None
    return Remembered(int(found[1]), int(found[2])) if found else None


def begun(ends_at: float | None, now: float) -> Remembered:
    """What is remembered of a login that begins now."""
    ends = ends_at if ends_at is not None else now + _USUAL_SECONDS
    return Remembered(int(now + (ends - now) * _RENEWED_AFTER), int(ends))


class Step(Enum):
    """What a page load does to a login."""

    PASS = auto()
    RENEW = auto()
    """The browser goes to the provider, which shows no form."""
    REMEMBER = auto()
    """Our cookie is set for a login that it does not know."""
    FORGET = auto()
    """Our cookie goes: the person has logged out."""


def step(known: Remembered | None, *, logged_in: bool, from_here: bool, now: float) -> Step:
    """What to do, when a page is asked for.

    `logged_in` says whether argo-server's cookie came, which is SameSite=Strict: with a link from
    another site it does not, and nothing is learned of its absence. Where it is missing before
    its end the UI has deleted it, and that is how one logs out there.
    """
    if known is None:
        # The next page renews it: a browser that keeps no cookie of ours is sent nowhere.
        return Step.REMEMBER if logged_in else Step.PASS
    has_ended = known.ends_at and known.ends_at <= now
    if not logged_in and not has_ended:
        return Step.FORGET if from_here else Step.PASS
    return Step.RENEW if now >= known.renew_at else Step.PASS


def is_logged_in(found: Iterable[Crumb]) -> bool:
    """Whether a login by SSO is among the cookies; a token of Kubernetes' is none."""
    return any(c.name == COOKIE and c.value.strip('"').startswith(_PREFIX) for c in found)


def login_set_by(lines: Iterable[str]) -> tuple[bool, float | None]:
    """Whether an answer's Set-Cookie lines bring a login, and when that ends."""
    for line in lines:
        pair, *attributes = line.split(";")
        name, _, value = pair.partition("=")
        if name.strip() == COOKIE and value.strip().strip('"').startswith(_PREFIX):
            return True, _expires(attributes)
    return False, None


def _expires(attributes: Sequence[str]) -> float | None:
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        if name.strip().lower() == "expires":
            parsed = parsedate_tz(value.strip())
            return float(mktime_tz(parsed)) if parsed is not None else None
    return None


# The way to the provider and back


def is_page(target: str) -> bool:
    """Whether argo-server would come back to this page, and it fits into what carries it."""
    if len(target) > _LONGEST_PAGE or not _PAGE.fullmatch(target):
        return False
    return not _ELSEWHERE.search(target)


def login_address(base: str, target: str) -> str:
    """Where a browser goes for a login without a form that comes back to this page."""
    return f"{base}/oauth2/redirect?{urlencode({'redirect': base + target, SILENT: '1'})}"


def parameter(target: str, name: str) -> str:
    """A parameter of a request's query; "" without one."""
    try:
        pairs = parse_qsl(target.partition("?")[2], max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        return ""
    return next((value for each, value in pairs if each == name), "")


def state_of(target: str) -> str:
    """The `state` in an address, as argo-server makes it; "" for another."""
    state = parameter(target, "state")
    return state if _STATE.fullmatch(state) else ""


def without_form(location: str) -> str:
    """The provider's address with `prompt=none` (OpenID Connect Core 3.1.2.1)."""
    parts = urlsplit(location)
    kept = [p for p in parts.query.split("&") if p and p.partition("=")[0] != "prompt"]
    return urlunsplit(parts._replace(query="&".join([*kept, "prompt=none"])))


def page_of(found: Iterable[Crumb], state: str, base: str) -> str:
    """The page that a login began at, which argo-server keeps in a cookie named by its state."""
    pages = (c.value.strip('"') for c in found if c.name == state)
    return next(filter(is_page, pages), f"{base}/")


def page_after(page: str, base: str) -> str:
    """Where a login without a form leads: from the UI's own login page to where that leads."""
    if urlsplit(page).path != f"{base}/login":
        return page
    wanted = parameter(page, "redirect")
    return wanted if is_page(wanted) else f"{base}/"
