"""Cookies as Go reads them; our own; and `argocd.token` in chunks, as Argo CD writes it."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sidecar.core.groups import claims_in
from sidecar.errors import RequestMalformed

TOKEN_COOKIE = "argocd.token"  # noqa: S105 - a name
_FAMILY = "argocd-token-refresh"
# util/http/http.go of Argo CD: the length of one Set-Cookie line, and how many there may be.
_MAX_COOKIE_LENGTH = 4093
_MAX_CHUNKS = 20
_MAX_CRUMBS = 500
_WHITE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Crumb:
    """One `name=value` of a Cookie header; `raw` is its text as it came."""

    name: str
    value: str
    raw: str


def crumbs(cookie_headers: Iterable[str]) -> list[Crumb]:
    """The cookies of all Cookie headers, in order, split at `;` as Go's net/http does it.

    Raises:
        RequestMalformed: there are more than any browser sends. What is not split could hide
            a cookie that must not go up.
    """
    parts = [raw for header in cookie_headers for raw in header.split(";", _MAX_CRUMBS)]
    if len(parts) > _MAX_CRUMBS:
        raise RequestMalformed("more cookies than any browser sends")
    return [
        Crumb(name.strip(_WHITE), value.strip(_WHITE), raw.strip(_WHITE))
        for raw in parts
        for name, _, value in [raw.partition("=")]
        if raw.strip(_WHITE)
    ]


def is_ours(name: str) -> bool:
    """Whether what begins like this is a cookie of this or another sidecar: never sent up."""
    return name.removeprefix("__Host-").startswith(_FAMILY)


def is_token(crumb: Crumb) -> bool:
    """Whether Argo CD would take a cookie for a part of its token (its JoinCookies: by prefix)."""
    return crumb.name.startswith(TOKEN_COOKIE)


class CookieJar:
    """The names and flags of the sidecar's own cookies, for one public URL.

    Two Argo CDs on one host have different names. With https they carry `__Host-`, so that
    no sibling host can set them (RFC 6265bis 4.1.3.2).
    """

    def __init__(self, public_url: str) -> None:
        self.secure = public_url.startswith("https:")
        digest = hashlib.sha256(public_url.encode()).hexdigest()[:8]
        self.session = f"{'__Host-' if self.secure else ''}{_FAMILY}-{digest}"
        self._login = f"{self.session}-login-"
        self.recent_logins = f"{self.session}-recent-logins"

    def login(self, state_hash: str, started_at: float) -> str:
        """The name of an attempt's cookie: its age first, so that the oldest sorts first."""
        return f"{self._login}{int(started_at):010x}-{state_hash[:16]}"

    def logins(self, found: Iterable[Crumb]) -> list[Crumb]:
        """The cookies of unfinished logins, the oldest first."""
        return sorted(
            (crumb for crumb in found if crumb.name.startswith(self._login)),
            key=lambda crumb: crumb.name,
        )

    def login_of(self, found: Iterable[Crumb], state_hash: str) -> Crumb | None:
        """The cookie of the attempt with this state, None where it is not there."""
        ending = f"-{state_hash[:16]}"
        return next((c for c in self.logins(found) if c.name.endswith(ending)), None)

    def sessions(self, found: Iterable[Crumb]) -> list[str]:
        """The values of the session cookie, a few at most: a sibling host may have added some."""
        return [crumb.value for crumb in found if crumb.name == self.session][:4]

    def set(self, name: str, value: str, *, max_age_seconds: float) -> str:
        """A Set-Cookie line for one of our cookies."""
        secure = "; Secure" if self.secure else ""
        return (
            f"{name}={value}; Path=/; Max-Age={int(max_age_seconds)}; "
            f"HttpOnly; SameSite=Lax{secure}"
        )

    def clear(self, name: str) -> str:
        """A Set-Cookie line that ends one of our cookies."""
        return self.set(name, "", max_age_seconds=0)


@dataclass(frozen=True, slots=True)
class TokenCookie:
    """The path and flags of an upstream's `argocd.token`, as the upstream sets them."""

    root_path: str
    secure: bool
    for_scripts: bool = False
    max_age_seconds: float | None = None

    @property
    def flags(self) -> str:
        """What follows the value in a Set-Cookie line."""
        flags = [f"path=/{self.root_path.strip('/')}", "SameSite=lax"]
        flags += [] if self.for_scripts else ["httpOnly"]
        return "; ".join([*flags, "Secure"] if self.secure else flags)

    @property
    def lasting_flags(self) -> str:
        """The same, with how long it lasts."""
        seconds = self.max_age_seconds
        return self.flags if seconds is None else f"{self.flags}; Max-Age={int(seconds)}"


def token_cookie_lines(token: str, cookie: TokenCookie) -> list[str]:
    """Argo CD's own Set-Cookie lines for a token (its MakeCookieMetadata), chunked if long.

    Empty when the token is longer than Argo CD would take: then nothing is mirrored.
    """
    flags = cookie.lasting_flags
    size = _MAX_COOKIE_LENGTH - (len(TOKEN_COOKIE) + 3) - (len(flags) + 2)
    parts = [token[i : i + size] for i in range(0, len(token), size)]
    if len(parts) > _MAX_CHUNKS:
        return []
    if len(parts) > 1:
        parts[0] = f"{len(parts)}:{parts[0]}"
    return [f"{_chunk_name(i)}={part}; {flags}" for i, part in enumerate(parts)]


def clear_token_lines(found: Iterable[Crumb], cookie: TokenCookie, *, keep: int = 0) -> list[str]:
    """Set-Cookie lines that end a browser's `argocd.token` cookies, but the first `keep`."""
    current = {_chunk_name(i) for i in range(keep)}
    flags = cookie.flags
    names = sorted({crumb.name for crumb in found if is_token(crumb)} - current)
    return [
        f"{name}=; Max-Age=0; {flags}"
        for name in names
        if re.fullmatch(r"argocd\.token(-\d{1,2})?", name)
    ]


def token_set_by(set_cookie_lines: Iterable[str]) -> str:
    """The token that an answer's Set-Cookie lines bring; "" for none, or one that is deleted."""
    pairs = [line.partition(";")[0] for line in set_cookie_lines]
    return join_token(crumbs(pairs[:_MAX_CRUMBS]))


def join_token(found: Sequence[Crumb]) -> str:
    """The token in a browser's `argocd.token` cookies (Argo CD's JoinCookies); "" if broken."""
    values = {crumb.name: crumb.value.strip('"') for crumb in found if is_token(crumb)}
    first = values.get(TOKEN_COOKIE, "")
    count, colon, rest = first.partition(":")
    if not colon:
        return first
    if not re.fullmatch(r"[0-9]{1,2}", count) or not 1 <= int(count) <= _MAX_CHUNKS:
        return ""
    return rest + "".join(values.get(_chunk_name(i), "") for i in range(1, int(count)))


def _chunk_name(index: int) -> str:
    return f"{TOKEN_COOKIE}-{index}" if index else TOKEN_COOKIE


def says_local(token: str) -> bool:
    """Whether a token calls itself one of Argo CD's own; not verified, Argo CD does that."""
    payload = token.partition(".")[2].partition(".")[0]
    return len(payload) <= 16384 and claims_in(token).get("iss") == "argocd"


def without(found: Iterable[Crumb], *, tokens: bool) -> Iterator[Crumb]:
    """The cookies that may go up: none of ours, and with `tokens` no `argocd.token*` either.

    Nor any with bytes beyond ASCII: Go ignores it, but on its way there it could change into
    one that may not.
    """
    return (
        c for c in found if c.raw.isascii() and not is_ours(c.name) and not (tokens and is_token(c))
    )
