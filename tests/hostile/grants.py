"""The demo's grants with numbers, a log, other rules for one request, and Dex's ways."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from sidecar.demo.grants import Code, Grant, Grants, Issued, OAuthError
from sidecar.demo.oauth import ProviderSettings
from tests.hostile.answers import DEX_CLAIMED
from tests.hostile.clients import ClientRules
from tests.hostile.log import CommitLog, Entry, Kind, sha256
from tests.hostile.manners import Manners

KEPT_GENERATIONS = 200  # of a grant; what is older is as unknown as what was never given
REPLACED = "replaced by a later login of the same user"


@dataclass(kw_only=True)
class HostileSettings(ProviderSettings, ClientRules, Manners):
    """The demo's settings, and how strange the provider is; may be changed while it runs.

    With `one_token_per_user` a login ends the user's earlier grants. With `speaks_as_dex` refusals
    are Dex's, its reuse ends nothing, and inside the reuse window it does not rotate at all.
    `knows` is a user whose session at the connector is alive: no form is shown.
    """

    one_token_per_user: bool = False
    speaks_as_dex: bool = False
    knows: str = ""


@dataclass(kw_only=True)
class Caller:
    """The request that is being answered: who sent it, for whom, its rules, its entries."""

    replica: str = ""
    method: str = ""
    peer_port: int = 0
    user: str = ""
    grant: int = 0
    rotation: Mapping[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class _Given:
    """A refresh token that was given: whose, and which of the grant's."""

    grant: Grant
    generation: int


caller: ContextVar[Caller] = ContextVar("caller")


class HostileGrants(Grants):
    """Every grant by its number; each step is written into the log before it is answered."""

    def __init__(
        self, settings: HostileSettings, log: CommitLog, *, now: Callable[[], float]
    ) -> None:
        super().__init__(settings, now=now, note=lambda *_: None)
        self.dismissed: set[str] = set()
        self._settings = self._ruling = settings
        self._log = log
        self._numbers: dict[str, int] = {}  # by sid
        self._given: dict[str, _Given] = {}  # by the token's hash
        self._rotated_at: dict[str, float] = {}  # by sid
        self._forgotten: dict[str, int] = {}  # by sid: how many tokens
        self._ended: set[str] = set()  # at the last tidying, by sid

    @property
    def knows(self) -> str:
        """Who need not fill in the form."""
        return self._settings.knows

    def owner_of_code(self, code: str) -> str:
        """The user for whom a code was made, "" for an unknown one."""
        known = self._codes.get(code)
        return known.user.name if known else ""

    def owner_of(self, refresh_token: str) -> tuple[str, int]:
        """The user and the number of a refresh token's grant."""
        given = self._given.get(sha256(refresh_token))
        return (given.grant.user.name, self._number(given.grant)) if given else ("", 0)

    def redeem(self, code: str, *, redirect_uri: str, code_verifier: str) -> Issued:
        """The first tokens of a new grant."""
        with self._rules_of_the_request():
            issued = super().redeem(code, redirect_uri=redirect_uri, code_verifier=code_verifier)
            self._write("login", issued.grant, **self._newest(issued.grant))
            if self._ruling.one_token_per_user:
                for other in self._grants:
                    if other.user.name == issued.grant.user.name and other is not issued.grant:
                        self._end(other, REPLACED)
            return issued

    def refresh(self, refresh_token: str) -> Issued:
        """The grant's next tokens, or what a rule makes of it."""
        digest = sha256(refresh_token)
        with self._rules_of_the_request():
            given = self._given.get(digest)
            if given is None:
                self._note_unknown(digest)
                raise self._in_its_words(OAuthError("invalid_grant", "It is unknown."))
            presented = {"presented": given.generation, "presented_sha256": digest}
            self._check_dismissed(given.grant, presented)
            return self._refresh(refresh_token, given, presented)

    def revoke(self, token: str) -> None:
        """End what a token stands for."""
        with self._rules_of_the_request():
            super().revoke(token)

    def end_by_script(self, *, user: str = "", grant: int = 0) -> int:
        """End the grants of a user, one grant, or all; how many were alive."""
        ending = [
            each
            for each in self._grants
            if not each.ended
            and user in ("", each.user.name)
            and grant in (0, self._numbers[each.sid])
        ]
        for each in ending:
            each.ended = True
            self._write("ended_by_script", each)
        return len(ending)

    def forget(self) -> None:
        """Forget every code and every token, as storage in memory does at a restart."""
        for grant in self._grants:
            if not grant.ended:
                grant.ended = True
                self._write("revoked", grant, detail="restart")
        for memory in (self._codes, self._families, self._access, self._given, self._rotated_at):
            memory.clear()

    def tidy(self) -> None:
        """Forget the tokens of grants that had ended when this was last called, and old codes."""
        ended = {grant.sid for grant in self._grants if grant.ended}
        gone = ended & self._ended
        for grant in [each for each in self._grants if each.sid in gone]:
            for token in (*grant.spent_at, grant.refresh_token):
                self._families.pop(token, None)
                self._given.pop(sha256(token), None)
            self._rotated_at.pop(grant.sid, None)
            self._forgotten.pop(grant.sid, None)
        self._grants = [each for each in self._grants if each.sid not in gone]
        oldest = self._now() - 10 * self._settings.code_seconds
        self._codes = {k: code for k, code in self._codes.items() if code.issued_at > oldest}
        self._ended = ended - gone

    def state(self) -> list[dict[str, Any]]:
        """Every grant with the hash of its refresh token."""
        return [
            {
                "number": self._numbers[grant.sid],
                "user": grant.user.name,
                "ended": grant.ended,
                "generation": self._generation(grant),
                "sha256": sha256(grant.refresh_token),
            }
            for grant in self._grants
        ]

    def _refresh(self, refresh_token: str, given: _Given, presented: Mapping[str, Any]) -> Issued:
        grant = given.grant
        spent = refresh_token != grant.refresh_token
        if spent and self._ruling.previous_only and refresh_token != list(grant.spent_at)[-1]:
            self._ruling.reuse_window_seconds = 0
        window_ends_at = grant.spent_at.get(refresh_token, 0) + self._ruling.reuse_window_seconds
        reuse = spent and (grant.ended or self._now() >= window_ends_at)
        if reuse:
            self._write("reuse", grant, **presented)
        try:
            issued = super().refresh(refresh_token)
        except OAuthError as error:
            if not reuse:
                self._write("refused", grant, **presented, detail=error.error)
            raise self._in_its_words(error) from error
        self._write("refresh", grant, **presented, **self._newest(grant), repeated=spent)
        return issued

    def _code_reused(self, code: Code) -> None:
        if code.grant:
            self._write("reuse", code.grant, detail="authorization code")
        super()._code_reused(code)

    def _rotate(self, grant: Grant) -> None:
        now, window = self._now(), self._ruling.reuse_window_seconds
        fresh = now < self._rotated_at.get(grant.sid, -window) + window
        if self._ruling.speaks_as_dex and fresh:
            return  # Dex takes the newest token for a used one, and gives it once more
        super()._rotate(grant)
        self._rotated_at[grant.sid] = now
        self._given[sha256(grant.refresh_token)] = _Given(grant, self._generation(grant))
        for old in list(grant.spent_at)[:-KEPT_GENERATIONS]:
            self._forget(grant, old)

    def _forget(self, grant: Grant, token: str) -> None:
        """Forget a token that was spent long ago, but count it on."""
        del self._families[token], self._given[sha256(token)]
        grant.spent_at.pop(token)
        self._forgotten[grant.sid] = self._forgotten.get(grant.sid, 0) + 1

    def _end(self, grant: Grant, reason: str) -> None:
        if not grant.ended:
            self._write("revoked", grant, detail=reason)
        super()._end(grant, reason)

    def _check_dismissed(self, grant: Grant, presented: Mapping[str, Any]) -> None:
        """Refuse a dismissed user, as Dex does when its connector says no: a bare 500."""
        if grant.user.name in self.dismissed:
            self._write("refused", grant, **presented, detail="dismissed")
            if self._ruling.speaks_as_dex:
                raise OAuthError("invalid_request", "", status=500)
            status, error, text = self._ruling.refuses_with
            raise OAuthError(error, text, status=status)

    def _in_its_words(self, error: OAuthError) -> OAuthError:
        """Dex has one text for a token that is spent, ended or unknown."""
        if self._ruling.speaks_as_dex and error.error == "invalid_grant":
            return OAuthError("invalid_request", DEX_CLAIMED)
        return error

    @contextmanager
    def _rules_of_the_request(self) -> Iterator[None]:
        """The provider's settings with the request's own rules in them; no step ever waits."""
        rules = dict(caller.get().rotation)
        self._ruling = replace(self._settings, **rules)
        if self._ruling.speaks_as_dex:
            self._ruling.reuse_ends_family = False
        self._rules = self._ruling
        try:
            yield
        finally:
            self._rules = self._ruling = self._settings

    def _note_unknown(self, digest: str) -> None:
        self._enter("refused", presented_sha256=digest, detail="unknown")

    def _newest(self, grant: Grant) -> dict[str, Any]:
        """What an entry says of the token that is given."""
        return {"given": self._generation(grant), "given_sha256": sha256(grant.refresh_token)}

    def _generation(self, grant: Grant) -> int:
        if not grant.refresh_token:
            return 0
        return self._forgotten.get(grant.sid, 0) + len(grant.spent_at) + 1

    def _number(self, grant: Grant) -> int:
        return self._numbers.setdefault(grant.sid, len(self._numbers) + 1)

    def _write(self, kind: Kind, grant: Grant, **what: Any) -> None:
        self._enter(kind, user=grant.user.name, grant=self._number(grant), **what)

    def _enter(self, kind: Kind, **what: Any) -> None:
        by = caller.get(None) or Caller()
        entry = self._log.add(
            kind, replica=by.replica, method=by.method, peer_port=by.peer_port, **what
        )
        by.entries.append(entry)
