"""What a request is answered in the place of the upstream, when its session has no token."""

from urllib.parse import urlencode

from sidecar.core import devtron
from sidecar.core.answers import Answer, redirect, session_ended
from sidecar.core.authorization import origin
from sidecar.core.cookies import clear_token_lines
from sidecar.core.heads import Credential, Kind, clean_path, values
from sidecar.core.messages import RequestHead
from sidecar.core.upstream_kinds import UpstreamKind, upstream_profile
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
        self, asked: Asked, seen: Seen, credential: Credential, *, at_once: bool
    ) -> Answer | None:
        """The answer to a request; with `at_once` a page leads to the login, if it is none."""
        if at_once and asked.kind is Kind.PAGE and not self._is_login_page(asked.head):
            return redirect(self._login_here(asked.head))
        answer = self.ended(asked.kind) if credential in _HERE else None
        if answer is not None and self._clears:  # as Devtron does it itself with its 401
            stale = clear_token_lines(seen.found, self._rules.token_cookie)
            answer = answer.with_fields(*(("Set-Cookie", line) for line in stale))
        return answer

    def _is_login_page(self, head: RequestHead) -> bool:
        """Whether a page is the upstream's own for logins."""
        path = clean_path(head.target)
        if path is None:
            return False
        if self._kind is UpstreamKind.DEVTRON:
            return path.startswith(devtron.LOGIN_PAGES)
        return self._rules.paths.inner(path) == "/login"

    def _login_here(self, head: RequestHead) -> str:
        """The login that comes back to the page of this request."""
        hosts = values(head.block.fields, "host")
        site = origin(self._rules.sites.at(hosts[0] if hosts else ""))
        back = head.target
        if self._kind is UpstreamKind.DEVTRON:
            back = devtron.way_back(back)
        query = urlencode({"return_url": site + back})
        return f"{self._rules.paths.root}/auth/login?{query}"
