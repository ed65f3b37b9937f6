"""What becomes of a browser's session when an answer of the upstream brings it another login."""

from collections.abc import Sequence
from contextlib import suppress

from sidecar.core.answer_heads import AnswerHead
from sidecar.core.cookies import Crumb, clear_token_lines, token_cookie_lines, token_set_by
from sidecar.core.heads import Fields, Kind, values, without_renewed_token
from sidecar.core.session import EndReason, SessionKey, short_user_agent
from sidecar.errors import SessionOver, StoreUnavailable
from sidecar.proxy.passes import KnownSessions, Observer, Pass, Rules


class Takeovers:
    """A local account's login ends a session; one that was observed begins another."""

    def __init__(self, sessions: KnownSessions, rules: Rules, observer: Observer | None) -> None:
        self._sessions = sessions
        self._rules = rules
        self._observer = observer

    def happens(self, passed: Pass, head: AnswerHead) -> bool:
        """Whether this answer brings another login."""
        if passed.kind is Kind.SIGN_IN:
            return self._observer is not None and bool(_token_in(head))
        local_login = passed.kind is Kind.LOCAL_LOGIN and head.status == 200
        return local_login and passed.seen.key is not None

    async def take_place(self, passed: Pass, head: AnswerHead) -> Fields:
        """The fields that the answer has more, once the browser's sessions are what they must be.

        A login whose refresh token we have is a session of ours from here on, and the upstream's
        own cookie is taken out of the answer. Any other goes on as the upstream made it.
        """
        more = await self._begin(passed, head)
        if passed.seen.key is not None:
            await self._leave(passed.seen.key, passed.live.grant.id if passed.live else "")
            more = more or [("Set-Cookie", self._rules.jar.clear(self._rules.jar.session))]
        return more

    async def _begin(self, passed: Pass, head: AnswerHead) -> Fields:
        """The fields with the cookies of a session that begins with this answer; empty: none."""
        if passed.kind is not Kind.SIGN_IN or self._observer is None:
            return []
        id_token = _token_in(head)
        if self._rules.token_cookie.for_scripts and len(id_token) > self._rules.most_mirrored:
            return []  # what its page reads could not be renewed
        agents = values(passed.seen.fields, "user-agent")
        agent = short_user_agent(agents[0] if agents else "")
        session = await self._observer.begin(id_token, user_agent=agent)
        if session is None:
            return []
        head.fields = without_renewed_token(head.fields)
        jar, found = self._rules.jar, passed.seen.found
        ours = jar.set(jar.session, session, max_age_seconds=self._rules.session_seconds)
        return [("Set-Cookie", ours), *token_cookies(self._rules, found, id_token)]

    async def _leave(self, key: SessionKey, grant_id: str) -> None:
        """End the session that a browser had before another login took it over."""
        with suppress(SessionOver, StoreUnavailable):  # then it ends at its idle timeout
            live = None if grant_id else await self._sessions.load(key)
            grant_id = live.grant.id if live else grant_id
            await self._sessions.end(key, grant_id, EndReason.REPLACED)


def token_cookies(rules: Rules, found: Sequence[Crumb], id_token: str) -> Fields:
    """The upstream's own cookie in mirror mode, and the end of what a browser has of it beside."""
    fits = len(id_token) <= rules.most_mirrored
    if not fits and rules.mirror and rules.token_cookie.for_scripts:
        return []  # without any the upstream's page would take it for a logout
    lines = token_cookie_lines(id_token, rules.token_cookie) if rules.mirror and fits else []
    stale = clear_token_lines(found, rules.token_cookie, keep=len(lines))
    return [("Set-Cookie", line) for line in (*lines, *stale)]


def _token_in(head: AnswerHead) -> str:
    return token_set_by(values(head.fields, "set-cookie"))
