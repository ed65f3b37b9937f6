"""What a request is answered in the place of the upstream, when its session has no token."""

from sidecar.core.answers import Answer, redirect, session_ended
from sidecar.core.cookies import clear_token_lines
from sidecar.core.heads import Credential, Kind
from sidecar.core.upstream_kinds import upstream_profile
from sidecar.proxy.passes import Asked, Rules, Seen

_HERE = (Credential.ENDED, Credential.SILENT)


class Endings:
    """Answers as the upstream itself would give them; None: it is asked, without a token."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._kind = rules.paths.upstream
        self._clears = upstream_profile(self._kind).cookie_is_login

    def ended(self, kind: Kind) -> Answer | None:
        """How it would tell that a login has ended."""
        return session_ended(kind, self._kind)

    def of(
        self, asked: Asked, seen: Seen, credential: Credential, *, at_once: bool, logged_out: bool
    ) -> Answer | None:
        """The answer to a request; with `at_once` a page leads to the login, if it is none."""
        if at_once and asked.kind is Kind.PAGE and not self._rules.is_login_page(asked.head):
            return redirect(self._rules.login_back_to(asked.head))
        here = credential in _HERE
        answer = session_ended(asked.kind, self._kind, logged_out=logged_out) if here else None
        if answer is not None and self._clears:  # as Devtron does it itself with its 401
            stale = clear_token_lines(seen.found, self._rules.token_cookie)
            answer = answer.with_fields(*(("Set-Cookie", line) for line in stale))
        return answer
