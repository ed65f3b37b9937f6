"""In front of Argo Workflows all passes, and page loads renew the logins that its UI has by SSO."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from urllib.parse import urlsplit

from sidecar.core import workflows_login as login
from sidecar.core.answer_heads import AnswerHead
from sidecar.core.answers import redirect
from sidecar.core.cookies import CookieJar, Crumb
from sidecar.core.heads import Fields, Kind, clean_path, values
from sidecar.core.messages import RequestHead
from sidecar.core.workflows_login import Remembered, Step
from sidecar.metrics import Metrics
from sidecar.proxy.gate import Gate
from sidecar.proxy.machine_gate import MachineGate
from sidecar.proxy.passes import Asked, Memory, NoLogins, Pass, Rules

_SILENT_SECONDS = 180  # argo-server's own cookie for a login that has begun lasts as long
_FROM_HERE = ("same-origin", "same-site", "none")


@dataclass(frozen=True, slots=True)
class SignInPass(Pass):
    """A request whose answer gets cookies of ours, or begins or ends a login."""

    cookies: tuple[str, ...] = ()
    page: str = ""
    """Of a login without a form: where it began."""
    begins: bool = False
    ends: bool = False


class WorkflowsGate(Gate):
    """Decides over every request. The public URL's path is taken away by the Ingress before us."""

    def __init__(
        self,
        rules: Rules,
        *,
        public_url: str,
        renews: bool,
        remembered_seconds: float,
        now: Callable[[], float],
        metrics: Metrics,
        machines: MachineGate | None = None,
    ) -> None:
        super().__init__(NoLogins(), NoLogins(), rules, metrics=metrics, machines=machines)
        self._base = urlsplit(public_url).path
        self._host = urlsplit(public_url).netloc
        self._renews = renews
        self._now = now
        self._told = metrics.sso_renewals.labels
        self._cookies = _Cookies(rules.jar, remembered_seconds)

    def pass_now(self, asked: Asked, memory: Memory) -> Pass | None:
        """How a request goes up; None where that is known only after a wait."""
        passed = super().pass_now(asked, memory)
        if passed is None or passed.machine or passed.answer or not self._renews:
            return passed
        if asked.kind is Kind.PAGE and _is_navigation(asked.head):
            return self._page(asked.head, passed)
        if asked.kind is Kind.SIGN_IN and asked.head.method == "GET":
            return self._sign_in(asked.head, passed)
        return passed

    # Page loads

    def _page(self, head: RequestHead, passed: Pass) -> Pass:
        found, now = passed.seen.found, self._now()
        known, logged_in = self._cookies.remembered(found), login.is_logged_in(found)
        from_here = head.find("sec-fetch-site") in ([each] for each in _FROM_HERE)
        match login.step(known, logged_in=logged_in, from_here=from_here, now=now):
            case Step.REMEMBER:
                return _sign_in_pass(passed, self._cookies.remember(Remembered(int(now), 0)))
            case Step.FORGET:
                return _sign_in_pass(passed, self._cookies.forget())
            case Step.RENEW if known is not None and self._may_leave(head, logged_in):
                self._told("begun").inc()
                address = login.login_address(self._base, head.target)
                cookie = self._cookies.remember(known.tried(now))
                return replace(passed, answer=redirect(address, [cookie]))
        return passed

    def _may_leave(self, head: RequestHead, logged_in: bool) -> bool:
        """Whether this page may lead to the provider, which comes back to the public URL.

        At another address its cookies would be missing then. And who is logged in and opens the
        UI's login page looks for the logout.
        """
        at = [*head.find("host"), *head.find("x-forwarded-host")]
        on_login_page = clean_path(head.target) == "/login"
        comes_back = login.is_page(self._base + head.target) and self._host in map(str.lower, at)
        return comes_back and not (on_login_page and logged_in)

    # The way to the provider and back

    def _sign_in(self, head: RequestHead, passed: Pass) -> Pass:
        if clean_path(head.target) == "/oauth2/redirect":
            if login.parameter(head.target, login.SILENT) != "1":
                return passed
            wanted = login.parameter(head.target, "redirect")
            page = wanted if login.is_page(wanted) else f"{self._base}/"
            return _sign_in_pass(passed, page=page, begins=True)
        return self._callback(head, passed)

    def _callback(self, head: RequestHead, passed: Pass) -> Pass:
        state, found = login.state_of(head.target), passed.seen.found
        if not state or not self._cookies.is_silent(found, state):
            return _sign_in_pass(passed, ends=True)
        page, over = login.page_of(found, state, self._base), self._cookies.clear_silent(state)
        if login.parameter(head.target, "error"):
            self._told("refused").inc()
            return replace(passed, answer=redirect(page, [over]))
        return _sign_in_pass(passed, over, page=page, ends=True)

    def note_answer(self, passed: Pass, head: AnswerHead) -> None:
        """Learn from an answer; one to a login without a form never is an error for the person."""
        super().note_answer(passed, head)
        if isinstance(passed, SignInPass) and passed.page:
            self._lead_on(passed, head)

    def _lead_on(self, passed: SignInPass, head: AnswerHead) -> None:
        places = values(head.fields, "location")
        if passed.begins and head.status == 302 and len(places) == 1:
            to = login.without_form(places[0])
        elif passed.ends and login.login_set_by(values(head.fields, "set-cookie"))[0]:
            self._told("renewed").inc()
            to = login.page_after(passed.page, self._base)
        else:
            self._told("failed").inc()
            to = passed.page
        head.line = b"HTTP/1.1 303 See Other\r\n"
        kept = [field for field in head.fields if field[0].lower() != "location"]
        head.fields = [*kept, ("Location", to)]

    def answer_fields(self, passed: Pass, head: AnswerHead) -> Fields:
        """An answer's fields, with what is remembered of the login that it begins or ends."""
        found = super().answer_fields(passed, head)
        if not isinstance(passed, SignInPass):
            return found
        cookies = list(passed.cookies)
        if passed.begins and (state := _state_in(head)):
            cookies.append(self._cookies.silent(state))
        if passed.ends:
            begins, ends_at = login.login_set_by(values(found, "set-cookie"))
            now = self._now()
            cookies += [self._cookies.remember(login.begun(ends_at, now))] if begins else []
        return [*found, *(("Set-Cookie", line) for line in cookies)]


class _Cookies:
    """Ours: one for what is remembered, one for each login without a form that is under way."""

    def __init__(self, jar: CookieJar, remembered_seconds: float) -> None:
        self._jar = jar
        self._seconds = remembered_seconds
        self._name = f"{jar.session}-workflows"

    def remembered(self, found: Sequence[Crumb]) -> Remembered | None:
        """What the first of them says."""
        return login.remembered(next((c.value for c in found if c.name == self._name), None))

    def remember(self, known: Remembered) -> str:
        """A Set-Cookie line."""
        return self._jar.set(self._name, str(known), max_age_seconds=self._seconds)

    def forget(self) -> str:
        """A Set-Cookie line that ends it."""
        return self._jar.clear(self._name)

    def is_silent(self, found: Sequence[Crumb], state: str) -> bool:
        """Whether the login with this state is one that the sidecar has begun."""
        return any(c.name == self._silent(state) for c in found)

    def silent(self, state: str) -> str:
        """A Set-Cookie line."""
        return self._jar.set(self._silent(state), "1", max_age_seconds=_SILENT_SECONDS)

    def clear_silent(self, state: str) -> str:
        """A Set-Cookie line that ends it."""
        return self._jar.clear(self._silent(state))

    def _silent(self, state: str) -> str:
        return f"{self._name}-silent-{state}"


def _is_navigation(head: RequestHead) -> bool:
    """Whether a person has a page loaded into a tab, now (Fetch Metadata); others wait for it."""
    return (
        head.method == "GET"
        and head.find("sec-fetch-mode") == ["navigate"]
        and head.find("sec-fetch-dest") == ["document"]
        and not head.find("sec-purpose")
    )


def _sign_in_pass(
    passed: Pass, *cookies: str, page: str = "", begins: bool = False, ends: bool = False
) -> SignInPass:
    known = {field.name: getattr(passed, field.name) for field in fields(passed)}
    return SignInPass(
        **{**known, "rewrites": True}, cookies=cookies, page=page, begins=begins, ends=ends
    )


def _state_in(head: AnswerHead) -> str:
    """The state in the address that an answer leads to."""
    return next((login.state_of(place) for place in values(head.fields, "location")), "")
