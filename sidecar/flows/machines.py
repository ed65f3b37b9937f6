"""Machines that bring a token of a trusted issuer: who they are, and what they go up with.

What was verified is remembered by the token's digest, until the token ends or its issuer has other
keys; what the rules are is fixed for the life of this object.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.core.bearer_tokens import Header, Machine, claimed, read_header, verify
from sidecar.core.machine_rules import Choice, MachineRules, Refusal, TrustedIssuer, choose
from sidecar.errors import MachineCredentialUnavailable, TokenInvalid
from sidecar.flows.issuer_keys import IssuerKeys
from sidecar.flows.machine_reports import MachineReports
from sidecar.flows.tasks import Runtime
from sidecar.ports import AnnotatedRules, MachineCredentials

MOST_REMEMBERED = 2048
WAIT_SECONDS = 10.0
_KEY_BYTES = 32
_NOT_NOW = "this machine's request cannot be served now"  # why is the operator's to know


@dataclass(frozen=True, slots=True)
class Presented:
    """A token that says to be of a trusted issuer; or, with a `fault`, none that can be read."""

    token: str = field(repr=False)
    issuer: TrustedIssuer | None
    fault: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """A verified token: whose it is, by which keys, until when, and what the file's rules say.

    Without a `choice` the annotations decide, for each request.
    """

    machine: Machine
    keys: IssuerKeys
    version: object
    good_until: float
    choice: Choice | Refusal | None


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """How a machine's request goes up: with this `token`; or, where no rule matched, not at all."""

    admission: Admission
    choice: Choice | Refusal
    counted_as: tuple[str, ...]
    token: str = field(default="", repr=False)


class Machines:
    """Decides over requests that bring a token of a trusted issuer."""

    def __init__(
        self,
        rules: MachineRules,
        keys: Mapping[str, IssuerKeys],
        credentials: MachineCredentials,
        runtime: Runtime,
        *,
        annotated: AnnotatedRules | None = None,
        own_issuers: frozenset[str] = frozenset(),
    ) -> None:
        """`keys` are by the issuers' names, `own_issuers` those that the upstream itself trusts."""
        self._rules = rules
        self._trusted = {_without_slash(each.issuer): each for each in rules.issuers}
        self._keys = keys
        self._credentials = credentials
        self._annotated = annotated
        self._own = own_issuers
        self._now = runtime.clock.now
        self._digest_key = runtime.random(_KEY_BYTES)
        self._known: OrderedDict[bytes, Admission] = OrderedDict()
        self._reports = MachineReports(runtime, by_annotation=annotated is not None)

    # Whose a token is

    def presented(self, tokens: Sequence[str]) -> Presented | None:
        """The first of several tokens that is to be judged here; None: they are the upstream's."""
        for token in tokens:
            found = self._presented(token)
            if found is not None:
                return found
        return None

    def _presented(self, token: str) -> Presented | None:
        try:
            found = claimed(token)
        except TokenInvalid as invalid:
            return Presented(token, None, invalid.check)
        for name in found.issuers if found is not None else ():
            issuer = self._trusted.get(_without_slash(name))
            if issuer is None or found is None:
                continue
            if name in self._own and (
                name != issuer.issuer or found.audiences.isdisjoint(issuer.audiences)
            ):
                continue  # a person's, which the upstream verifies as it always did
            return Presented(token, issuer)
        return None

    # What it may do

    def enter_now(self, presented: Presented, target: str) -> Entry | None:
        """How a request to `target` goes up, if there is nothing to wait for, else None.

        Raises:
            TokenInvalid: it does not.
        """
        admission = self._admit_now(presented)
        choice = self._choose_now(admission, target) if admission is not None else None
        if admission is None or choice is None:
            return None
        if isinstance(choice, Refusal):
            return self._entry(admission, choice)
        token = self._credentials.token_now(choice.credential)
        return None if token is None else self._entry(admission, choice, token)

    async def enter(self, presented: Presented, target: str) -> Entry:
        """How a request to `target` goes up, after what there is to wait for.

        Raises:
            TokenInvalid: it does not.
            MachineCredentialUnavailable: that cannot be said now, or there is no credential.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                admission = self._admit_now(presented) or await self._admit(presented)
                choice = self._choose_now(admission, target)
                if choice is None and self._annotated is not None:
                    choice = await self._annotated.choose(admission.machine, target)
                if choice is None or isinstance(choice, Refusal):
                    return self._entry(admission, choice or Refusal())
                token = self._credentials.token_now(choice.credential)
                if token is None:
                    token = await self._credentials.token(choice.credential)
                return self._entry(admission, choice, token)
        except TimeoutError as error:
            self._reports.unavailable(presented.issuer, "it took too long")
            raise MachineCredentialUnavailable(_NOT_NOW) from error
        except MachineCredentialUnavailable as error:
            self._reports.unavailable(presented.issuer, str(error))
            raise MachineCredentialUnavailable(_NOT_NOW) from error

    def holds(self, entry: Entry, target: str) -> bool:
        """Whether another request with the same token goes up in the same way."""
        admission = entry.admission
        if not self._is_good(admission):
            return False
        if admission.choice is None and self._choose_now(admission, target) != entry.choice:
            return False
        if isinstance(entry.choice, Refusal):
            return True
        return self._credentials.token_now(entry.choice.credential) is entry.token

    def count(self, entry: Entry) -> None:
        """One more request of a machine."""
        self._reports.count(entry.counted_as)

    def refuse(self, presented: Presented, check: str) -> None:
        """Tell that a token has failed this check."""
        self._reports.refused(presented.issuer, check)

    def turned_away(self, entry: Entry) -> None:
        """Tell that the upstream has refused what a machine's request went up with."""
        self._reports.turned_away(entry.counted_as, entry.choice)
        if isinstance(entry.choice, Choice):
            self._credentials.refused(entry.choice.credential, entry.token)

    # Verification

    def _admit_now(self, presented: Presented) -> Admission | None:
        issuer = _issuer_of(presented)
        digest = self._digest(presented.token)
        known = self._known.get(digest)
        if known is not None and self._is_good(known):
            return known
        keys, header = self._keys[issuer.name], read_header(presented.token, issuer)
        if keys.old or (not keys.fitting(header.kid) and (keys.may_change or not keys.known)):
            return None
        keys.look_behind()
        try:
            return self._verified(presented.token, header, issuer, digest)
        except TokenInvalid as invalid:
            # It may have changed a key and kept its id (a restarted Dex).
            if invalid.check == "signature" and keys.may_change:
                return None
            raise

    async def _admit(self, presented: Presented) -> Admission:
        issuer = _issuer_of(presented)
        header = read_header(presented.token, issuer)
        await self._keys[issuer.name].read()
        return self._verified(presented.token, header, issuer, self._digest(presented.token))

    def _verified(
        self, token: str, header: Header, issuer: TrustedIssuer, digest: bytes
    ) -> Admission:
        keys = self._keys[issuer.name]
        fitting = keys.fitting(header.kid)
        machine, good_until = verify(token, header, fitting, issuer, now=self._now())
        choice = None
        if self._annotated is None:
            choice = choose(self._rules.rules, issuer.name, machine.claims)
        admission = Admission(machine, keys, keys.version, good_until, choice)
        self._known[digest] = admission
        self._known.move_to_end(digest)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return admission

    def _is_good(self, admission: Admission) -> bool:
        return self._now() < admission.good_until and admission.keys.hold(admission.version)

    def _digest(self, token: str) -> bytes:
        # By a key of this process: who sends tokens cannot see by the time of a look which of
        # them begin like one that is remembered.
        return hmac.digest(self._digest_key, token.encode(), "sha256")

    def _choose_now(self, admission: Admission, target: str) -> Choice | Refusal | None:
        if admission.choice is not None or self._annotated is None:
            return admission.choice
        return self._annotated.choose_now(admission.machine, target)

    def _entry(self, admission: Admission, choice: Choice | Refusal, token: str = "") -> Entry:
        counted_as = self._reports.decided(admission.machine, choice)
        return Entry(admission, choice, counted_as, token)


def _issuer_of(presented: Presented) -> TrustedIssuer:
    if presented.issuer is None:
        raise TokenInvalid(presented.fault)
    return presented.issuer


def _without_slash(issuer: str) -> str:
    """An issuer by which one that is wrong by a slash is found, so that it is refused here."""
    return issuer.rstrip("/")
