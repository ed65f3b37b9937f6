"""What sessions have open here: it ends with its session, and when the groups change."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sidecar.core.grant import Grant
from sidecar.core.session import Session, SessionKey
from sidecar.flows.cache import grant_name, session_name
from sidecar.flows.groups import Groups
from sidecar.flows.records import Live
from sidecar.flows.tasks import Runtime
from sidecar.ports import RecordName


@dataclass(slots=True)
class _Held:
    """A session with something open; `id_token` has the groups of all of it."""

    session: Session
    id_token: str
    count: int = 0


class HeldOpen:
    """The sessions with open streams and terminals, by their grants too."""

    def __init__(self, runtime: Runtime) -> None:
        self.groups = Groups(runtime)
        self.close: Callable[[SessionKey], None] = lambda _: None
        self._held: dict[SessionKey, _Held] = {}
        self._of_grant: dict[str, set[SessionKey]] = {}

    @contextmanager
    def holding(self, live: Live) -> Iterator[None]:
        """While this lasts, a session has one thing more open."""
        session = live.session
        held = self._held.get(session.key)
        if held is None:
            held = self._held[session.key] = _Held(session, live.grant.tokens.id_token)
            self._of_grant.setdefault(session.grant_id, set()).add(session.key)
        held.count += 1
        try:
            yield
        finally:
            held.count -= 1
            if not held.count:
                self._let_go(session)

    def sessions(self) -> list[Session]:
        """All of them."""
        return [held.session for held in self._held.values()]

    def ended(self, name: RecordName) -> None:
        """A session or a grant has ended, and what is open of it ends."""
        for key, held in list(self._held.items()):
            if name in (session_name(key), grant_name(key.user_tag, held.session.grant_id)):
                self.close(key)

    def has_tokens(self, grant: Grant) -> None:
        """A grant has these tokens now.

        Argo CD looks at the token of a stream or a terminal when it opens, and at no later one.
        So what was opened with other groups ends: with fewer than those because rights are
        gone, with more because a policy may deny as well as allow.
        """
        for key in list(self._of_grant.get(grant.id, ())):
            held = self._held[key]
            if self.groups.change(held.id_token, grant.tokens.id_token):
                self.close(key)
            else:
                held.id_token = grant.tokens.id_token

    def _let_go(self, session: Session) -> None:
        del self._held[session.key]
        keys = self._of_grant[session.grant_id]
        keys.discard(session.key)
        if not keys:
            del self._of_grant[session.grant_id]
