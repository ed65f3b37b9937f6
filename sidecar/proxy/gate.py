"""Which credential goes up with a request, and what of the answer comes back.

Where the session is at hand nothing here waits: `pass_now` says so, and only if it cannot,
`pass_later` asks.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from sidecar.core.answer_heads import AnswerHead
from sidecar.core.answers import Answer
from sidecar.core.cookies import (
    Crumb,
    crumbs,
    is_token,
    join_token,
    says_local,
)
from sidecar.core.heads import (
    Credential,
    Fields,
    Kind,
    end_to_end,
    has_client_credential,
    upstream_fields,
    values,
    without_our_cookies,
    without_renewed_token,
)
from sidecar.core.machine_fields import without_cookies, without_identity
from sidecar.core.messages import RequestFields, RequestHead
from sidecar.core.session import LOGOUTS, EndReason, SessionKey
from sidecar.core.upstream_kinds import upstream_profile
from sidecar.errors import (
    RequestMalformed,
    SessionOver,
    SilentLoginNeeded,
    StoreUnavailable,
    TryLater,
)
from sidecar.flows.machines import Entry
from sidecar.flows.records import Live
from sidecar.metrics import Metrics
from sidecar.proxy.endings import Endings
from sidecar.proxy.machine_gate import MachineGate
from sidecar.proxy.passes import (
    Asked,
    KnownSessions,
    Memories,
    Memory,
    Observer,
    Pass,
    Renewals,
    Rules,
    Seen,
    pieces_of,
)
from sidecar.proxy.takeovers import Takeovers, token_cookies

# What goes on without a login while the store or the provider is away.
_NEEDS_NO_LOGIN = (Kind.PUBLIC, Kind.LOCAL_LOGIN, Kind.OTHER)
_LASTING = (Kind.STREAM, Kind.COOKIE_ONLY)
# What no session goes up with, and nothing is waited for.
_WITHOUT_LOGIN = (Kind.LOGOUT, Kind.DEX, Kind.SIGN_IN)
# After these ends a login may come back without a form: the page leads there by itself.
_BACK_AT_ONCE = (EndReason.PROVIDER_LOST_STATE, EndReason.NO_REFRESH_TOKEN)


class Gate:
    """Decides over every request that is not the sidecar's own."""

    def __init__(
        self,
        sessions: KnownSessions,
        renewals: Renewals,
        rules: Rules,
        *,
        metrics: Metrics,
        observer: Observer | None = None,
        log_out: Callable[[SessionKey], Awaitable[object]] | None = None,
        machines: MachineGate | None = None,
    ) -> None:
        self._sessions = sessions
        self._renewals = renewals
        self._rules = rules
        self._observes = observer is not None
        self._takeovers = Takeovers(sessions, rules, observer)
        self._endings = Endings(rules)
        self._log_out = log_out
        self._machines = machines
        self._cookie_is_login = upstream_profile(rules.paths.upstream).cookie_is_login
        self.memories = Memories()
        """What this gate remembers is nothing to another, which has other rules."""
        self._count = metrics.requests.count

    async def ends_session(self, head: RequestHead) -> bool:
        """Whether a logout ends a session of ours; else it is one of Argo CD's accounts'."""
        seen = self._look(head.block, self.memories.of(head.block))
        if seen.key is None:
            return False
        if not says_local(join_token(seen.found)):
            return True
        try:
            return await self._sessions.load(seen.key) is not None
        except SessionOver:
            return False  # a local account's logout, beside a session that has ended
        except StoreUnavailable:
            return True

    def pass_now(self, asked: Asked, memory: Memory) -> Pass | None:
        """How a request goes up; None where that is known only after a wait.

        Raises:
            RequestMalformed: a WebSocket with a session comes from another site.
        """
        before = self._alike(asked, memory)
        if before is not None:
            passed = self._same_again(asked, memory, before)
        else:
            passed = self._judge_now(asked, memory)
        if passed is None or (asked.kind is Kind.PAGE and self._doubts_page(passed)):
            return None
        self._count(passed.credential)
        return passed

    def _doubts_page(self, passed: Pass) -> bool:
        return passed.live is not None and self._renewals.doubts_page(passed.live)

    def _judge_now(self, asked: Asked, memory: Memory) -> Pass | None:
        seen = self._look(asked.head.block, memory)
        kind = asked.kind
        if seen.machine is not None and self._machines is not None:
            return self._machines.pass_now(asked, seen, memory)
        if seen.key is None or kind in _WITHOUT_LOGIN or seen.brings_its_own(kind):
            passed = self._without_session(asked, seen)
        elif self._is_logged_out(seen):
            return None
        else:
            live = self._renewals.current_now(seen.key, min_life=self._min_life(asked))
            if live is None:
                return None
            passed = self._with_session(asked, seen, live)
        return self._remember(asked, memory, passed)

    async def pass_later(self, asked: Asked, memory: Memory) -> Pass:
        """How a request goes up, after what there was to wait for.

        Raises:
            RequestMalformed: a WebSocket with a session comes from another site.
            TryLater: no token and no store now.
        """
        passed = self.pass_now(asked, memory)
        seen = self._look(asked.head.block, memory)
        if passed is None and seen.machine is not None and self._machines is not None:
            passed = await self._machines.pass_later(asked, seen, memory)
            self._count(passed.credential)
        elif passed is None:
            passed = await self._ask(asked, memory)
            self._count(passed.credential)
            # Without its token a session is asked for anew with every request.
            memory.passed = None
            if passed.live is not None:
                self._remember(asked, memory, passed)
        return passed

    def may_go_up(self, live: Live) -> bool:
        """Whether the session that a request goes up with has not ended meanwhile."""
        return self._renewals.may_go_up(live)

    def has_session(self, asked: Asked, memory: Memory) -> bool:
        """Whether a request names a session of ours, alive or not."""
        return self._look(asked.head.block, memory).key is not None

    def still_lives(self, passed: Pass) -> bool:
        """Whether the session of a request that has gone up is known to live."""
        return passed.live is not None and self._sessions.known(passed.live.session.key) is not None

    def held_open(self, live: Live) -> AbstractContextManager[None]:
        """While this lasts the session is in use."""
        return self._sessions.held_open(live)

    def ended(self, kind: Kind) -> Answer | None:
        """How the upstream would tell that a login has ended."""
        return self._endings.ended(kind)

    def answer_fields(self, passed: Pass, head: AnswerHead) -> Fields:
        """An answer's fields, less what a browser must not see, plus the cookies it needs."""
        fields = without_our_cookies(end_to_end(head.fields))
        if passed.machine is not None:
            return without_cookies(fields)
        if passed.live is None or self.takes_over(passed, head):
            return fields
        fields = without_renewed_token(fields)
        if self._rules.mirror and passed.kind not in (Kind.STREAM, Kind.OTHER):
            return self._mirrored(fields, passed.seen.found, passed.live.grant.tokens.id_token)
        return fields

    def note_answer(self, passed: Pass, head: AnswerHead) -> None:
        """Learn from an answer: a refused token may be one that its provider has taken back."""
        if head.status == 401 and passed.live is not None:
            self._renewals.refused(passed.live)
        elif head.status == 401 and passed.machine is not None and self._machines is not None:
            self._machines.turned_away(passed.machine)

    def takes_over(self, passed: Pass, head: AnswerHead) -> bool:
        """Whether another login takes the browser over with this answer."""
        return passed.machine is None and self._takeovers.happens(passed, head)

    async def take_over(self, passed: Pass, head: AnswerHead) -> Fields:
        """The fields that an answer has more, when another login takes the browser over."""
        return await self._takeovers.take_place(passed, head)

    def _look(self, block: RequestFields, memory: Memory) -> Seen:
        if memory.seen is None or memory.seen.block is not block:
            memory.passed = None
            fields = end_to_end(block.fields)
            if block.http_1_0:  # which knows no 100 Continue (RFC 9110 section 10.1.1)
                fields = [f for f in fields if f[0].lower() != "expect"]
            if self._machines is not None:
                fields = without_identity(fields)
                presented = self._machines.presented(fields)
                if presented is not None:
                    memory.seen = Seen(block, fields, (), None, False, presented)
                    return memory.seen
            found = crumbs(values(fields, "cookie"))
            key = self._sessions.read_cookies(self._rules.jar.sessions(found))
            own = has_client_credential(fields, Kind.API, self._rules.paths.upstream)
            memory.seen = Seen(block, fields, found, key, own)
        return memory.seen

    def _alike(self, asked: Asked, memory: Memory) -> Pass | None:
        """The pass of the request before, if this one has its fields and its kind."""
        passed = memory.passed
        if (
            passed is None
            or passed.seen.block is not asked.head.block
            or passed.kind is not asked.kind
            or memory.settings is not asked.rewrites_settings
        ):
            return None
        return passed if passed.machine is None or self._holds(passed.machine, asked) else None

    def _same_again(self, asked: Asked, memory: Memory, before: Pass) -> Pass | None:
        """What the request before went up with, as it is known now; None if it is not."""
        if before.live is None:
            return before
        min_life = self._rules.min_token_life if before.lasting else 0.0
        live = self._renewals.current_now(before.live.session.key, min_life=min_life)
        if live is None or live is before.live:
            return before if live else None
        return self._remember(asked, memory, self._renewed(asked, before, live))

    def _renewed(self, asked: Asked, before: Pass, live: Live) -> Pass:
        """How a request goes up as the one before it did; another token makes another head."""
        if before.live and live.grant.tokens.id_token == before.live.grant.tokens.id_token:
            return replace(before, live=live)
        return self._with_session(asked, before.seen, live)

    def _holds(self, entry: Entry, asked: Asked) -> bool:
        return self._machines is not None and self._machines.holds(entry, asked)

    def _remember(self, asked: Asked, memory: Memory, passed: Pass) -> Pass:
        memory.passed = passed
        memory.settings = asked.rewrites_settings
        return passed

    async def _ask(self, asked: Asked, memory: Memory) -> Pass:
        seen = self._look(asked.head.block, memory)
        if seen.key is None:
            raise AssertionError("without a session there is nothing to wait for")
        try:
            if self._log_out is not None and self._is_logged_out(seen):
                await self._log_out(seen.key)
                return self._bare(asked, seen, Credential.ENDED)
            live = await self._renewals.current(seen.key, min_life=self._min_life(asked))
        except SessionOver as over:
            at_once = over.reason in _BACK_AT_ONCE
            logged_out = over.reason in LOGOUTS
            return self._bare(asked, seen, Credential.ENDED, at_once=at_once, logged_out=logged_out)
        except SilentLoginNeeded:
            return self._bare(asked, seen, Credential.SILENT, at_once=True)
        except TryLater:
            if asked.kind in _NEEDS_NO_LOGIN:
                return self._bare(asked, seen, Credential.NONE)
            raise
        if live is None:
            return self._bare(asked, seen, Credential.ENDED)
        before = self._alike(asked, memory)
        if before is not None:
            return self._renewed(asked, before, live)
        return self._with_session(asked, seen, live)

    def _is_logged_out(self, seen: Seen) -> bool:
        """Whether the upstream's page has ended the login: by deleting the cookie that it reads.

        It asks no server to. Our own cookie, which no page can touch, lasts no longer than that.
        """
        login_is_cookie = self._cookie_is_login and self._log_out is not None
        return login_is_cookie and not any(is_token(crumb) for crumb in seen.found)

    def _min_life(self, asked: Asked) -> float:
        return self._rules.min_token_life if _is_lasting(asked) else 0.0

    def _without_session(self, asked: Asked, seen: Seen) -> Pass:
        """The client's own credential, an `argocd.token` of the browser's own, or nothing."""
        if seen.brings_its_own(asked.kind):
            return self._pass(asked, seen, Credential.CLIENT)
        if not any(is_token(crumb) for crumb in seen.found):
            return self._pass(asked, seen, Credential.NONE)
        # In mirror mode a browser has copies of our tokens; without a session they are nothing.
        # Where logins are observed, it may be one of the upstream's own that has no refresh token.
        drop = self._rules.mirror and not self._observes
        drop = drop and not says_local(join_token(seen.found))
        return self._pass(asked, seen, Credential.LOCAL, drop_tokens=drop)

    def _with_session(self, asked: Asked, seen: Seen, live: Live) -> Pass:
        """The one token of a live session."""
        if asked.head.block.websocket and not self._is_from_here(seen):
            # SameSite=Lax does not stop a sibling site's page from opening one.
            raise RequestMalformed("a WebSocket from another site")
        return self._pass(asked, seen, Credential.SESSION, live=live)

    def _is_from_here(self, seen: Seen) -> bool:
        origins = values(seen.fields, "origin")
        return len(origins) == 1 and origins[0].lower() in self._rules.origins

    def _bare(
        self,
        asked: Asked,
        seen: Seen,
        credential: Credential,
        *,
        at_once: bool = False,
        logged_out: bool = False,
    ) -> Pass:
        """No credential at all, for a session without a token; where Argo CD would, an answer.

        With `at_once` a page leads to the login: but not the one of local accounts.
        """
        answer = self._endings.of(asked, seen, credential, at_once=at_once, logged_out=logged_out)
        if answer is not None:
            return Pass(asked.kind, credential, seen, answer=answer)
        return self._pass(asked, seen, credential, drop_tokens=True)

    def _pass(
        self,
        asked: Asked,
        seen: Seen,
        credential: Credential,
        *,
        live: Live | None = None,
        drop_tokens: bool = False,
    ) -> Pass:
        id_token = live.grant.tokens.id_token if live else ""
        fields = upstream_fields(
            seen.fields, seen.found, id_token=id_token, drop_tokens=drop_tokens
        )
        pieces = pieces_of(asked, seen, fields)
        mirrors = self._rules.mirror and live is not None
        return Pass(
            asked.kind,
            credential,
            seen,
            pieces,
            live,
            lasting=_is_lasting(asked),
            rewrites=mirrors or asked.rewrites_settings or asked.kind is Kind.LOCAL_LOGIN,
        )

    def _mirrored(self, fields: Fields, found: Sequence[Crumb], id_token: str) -> Fields:
        """On pages and API answers, Argo CD's own cookie, whenever the browser's is not current.

        A token that is too long for one is not mirrored, and no older one stays.
        """
        if join_token(found) == id_token:
            return fields
        kept = [(n, v) for n, v in fields if n.lower() != "cache-control"]
        return [*kept, ("Cache-Control", "no-store"), *token_cookies(self._rules, found, id_token)]


def _is_lasting(asked: Asked) -> bool:
    return asked.kind in _LASTING or asked.head.block.websocket
