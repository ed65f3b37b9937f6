"""What the gate decides with, and what it decides, as values."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from sidecar.core import devtron
from sidecar.core.answers import Answer
from sidecar.core.authorization import Sites, origin
from sidecar.core.cookies import CookieJar, Crumb, TokenCookie
from sidecar.core.heads import Credential, Fields, Kind, Paths, clean_path, head_pieces, values
from sidecar.core.messages import RequestFields, RequestHead
from sidecar.core.session import EndReason, SessionKey
from sidecar.core.upstream_kinds import UpstreamKind
from sidecar.flows.machines import Entry, Presented
from sidecar.flows.records import Live


class Renewals(Protocol):
    """What the gate needs of `flows.refresh.Refresh`."""

    async def current(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        """The session with tokens that can go up now."""
        ...

    def current_now(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        """The same if there is nothing to wait for, else None: then ask `current`."""
        ...

    def may_go_up(self, live: Live) -> bool:
        """Whether the session is still known to be alive, right before its token goes up."""
        ...

    def refused(self, live: Live) -> None:
        """The upstream has answered 401 to a session's token."""
        ...

    def doubts_page(self, live: Live) -> bool:
        """Whether `current` has to be asked for a page's token, though one is at hand."""
        ...


class KnownSessions(Protocol):
    """What the gate needs of `flows.sessions.Sessions`."""

    def read_cookies(self, values: list[str]) -> SessionKey | None:
        """The session that the first genuine cookie value names."""
        ...

    async def load(self, key: SessionKey) -> Live | None:
        """A session with its grant, None where the store has none."""
        ...

    def known(self, key: SessionKey) -> Live | None:
        """A session that may be relied on right now, without a look at the store."""
        ...

    async def end(self, key: SessionKey, grant_id: str, reason: EndReason) -> object:
        """End a session."""
        ...

    def held_open(self, live: Live) -> AbstractContextManager[None]:
        """While this lasts the session is in use."""
        ...


class Observer(Protocol):
    """What the gate needs of `flows.observed.ObservedLogins`."""

    async def begin(self, id_token: str, *, user_agent: str) -> str | None:
        """The cookie value of a new session for a login with this ID token; None: no session."""
        ...


class NoLogins:
    """Sessions and renewals where logins are not taken over: no cookie names a session of ours."""

    def read_cookies(self, values: list[str]) -> SessionKey | None:
        """None, whatever a browser has kept."""
        return None

    async def load(self, key: SessionKey) -> Live | None:
        """None: there is none."""
        return None

    def known(self, key: SessionKey) -> Live | None:
        """None: there is none."""
        return None

    async def end(self, key: SessionKey, grant_id: str, reason: EndReason) -> object:
        """Nothing to end."""
        return None

    def held_open(self, live: Live) -> AbstractContextManager[None]:
        """Nothing to hold."""
        return nullcontext()

    async def current(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        """None: there is none."""
        return None

    def current_now(self, key: SessionKey, *, min_life: float = 0.0) -> Live | None:
        """None: there is none."""
        return None

    def may_go_up(self, live: Live) -> bool:
        """False: there is none."""
        return False

    def refused(self, live: Live) -> None:
        """Nothing to doubt."""

    def doubts_page(self, live: Live) -> bool:
        """False: there are no tokens."""
        return False


@dataclass(slots=True)  # not frozen: that costs a microsecond with every request
class Asked:
    """A request that may go up, and what it is for."""

    head: RequestHead
    kind: Kind
    rewrites_settings: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What the gate knows of one block of fields: its cookies, and the session they name."""

    block: RequestFields
    fields: Fields
    found: Sequence[Crumb]
    key: SessionKey | None
    client_credential: bool
    machine: Presented | None = None
    """A token of a trusted issuer, beside which no cookie counts."""

    def brings_its_own(self, kind: Kind) -> bool:
        """Whether the client's own credential counts, as Argo CD would take it."""
        return self.client_credential and kind is not Kind.COOKIE_ONLY


@dataclass(frozen=True, slots=True)
class Pass:
    """A request as it goes up: the `pieces` of its head. Or the `answer` in its place."""

    kind: Kind
    credential: Credential
    seen: Seen
    pieces: Sequence[bytes] = ()
    """What goes up behind the first line, between the lines that only pass."""
    live: Live | None = None
    machine: Entry | None = None
    answer: Answer | None = None
    lasting: bool = False
    """Whether its answer may go on for as long as its session."""
    rewrites: bool = False
    """Whether its answer's fields are needed, however plain the answer's head is."""


def pieces_of(asked: Asked, seen: Seen, fields: Fields) -> Sequence[bytes]:
    """What goes up behind the first line, with these fields that go on to the next hop."""
    if asked.rewrites_settings:
        fields = [f for f in fields if f[0].lower() != "accept-encoding"]
        fields.append(("Accept-Encoding", "identity"))
    return head_pieces([*fields, *seen.block.for_the_next_hop()])


class Memory:
    """What the gate remembers of one block of fields, and how requests with it went up.

    The same fields with the same token go up as the same bytes.
    """

    __slots__ = ("passed", "seen", "settings")

    def __init__(self) -> None:
        self.seen: Seen | None = None
        self.passed: Pass | None = None
        self.settings = False


_MOST_REMEMBERED = 4 * 1024 * 1024
_MEMORY_SIZE = 3072  # without the fields and the token; measured


class Memories:
    """What the gate remembers, for all connections: some of them bring many users' requests."""

    def __init__(self) -> None:
        self._of: dict[RequestFields, Memory] = {}
        self._size = 0

    def of(self, block: RequestFields) -> Memory:
        """What is remembered of these fields."""
        memory = self._of.get(block)
        if memory is None:
            self._size += _MEMORY_SIZE + block.size
            if self._size > _MOST_REMEMBERED:
                self.forget()
            memory = self._of[block] = Memory()
        return memory

    def forget(self) -> None:
        """Begin anew, so that no token stays for long after its session."""
        self._of.clear()
        self._size = 0


_PLAIN_COOKIE = TokenCookie("", secure=True)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the credential rules depend on besides the request."""

    jar: CookieJar
    paths: Paths
    sites: Sites
    origins: frozenset[str]
    """The sites whose pages may open a WebSocket that uses a session."""
    mirror: bool
    min_token_life: float
    token_cookie: TokenCookie = _PLAIN_COOKIE
    """How the upstream sets its own cookie."""
    session_seconds: float = 0.0
    most_mirrored: int = 56 * 1024
    """How long a token may be that a browser is to send back: a longer one would shut it out."""

    def is_login_page(self, head: RequestHead) -> bool:
        """Whether a request is for the upstream's own page for logins, of local accounts too."""
        path = clean_path(head.target)
        if path is not None and self.paths.upstream is UpstreamKind.DEVTRON:
            return path.startswith(devtron.LOGIN_PAGES)
        return path is not None and self.paths.inner(path) == "/login"

    def login_back_to(self, head: RequestHead) -> str:
        """The login that comes back to the page of this request."""
        hosts = values(head.block.fields, "host")
        site = origin(self.sites.at(hosts[0] if hosts else ""))
        is_devtron = self.paths.upstream is UpstreamKind.DEVTRON
        back = devtron.way_back(head.target) if is_devtron else head.target
        query = urlencode({"return_url": site + back})
        return f"{self.paths.root}/auth/login?{query}"
