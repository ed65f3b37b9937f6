"""How a machine's request goes up: with another credential, or not at all."""

from sidecar.core.answers import bearer_refused, machine_forbidden
from sidecar.core.heads import Credential, Fields
from sidecar.core.machine_fields import presented_tokens, with_credential
from sidecar.core.machine_rules import Refusal
from sidecar.core.upstream_kinds import UpstreamKind, upstream_profile
from sidecar.errors import TokenInvalid
from sidecar.flows.machines import Entry, Machines, Presented
from sidecar.proxy.passes import Asked, Memory, Pass, Seen, pieces_of


class MachineGate:
    """Decides over requests that bring a token of a trusted issuer, for the gate."""

    def __init__(self, machines: Machines, upstream: UpstreamKind) -> None:
        self._machines = machines
        self._profile = upstream_profile(upstream)

    def presented(self, fields: Fields) -> Presented | None:
        """The token of a trusted issuer among these fields; None: there is none."""
        tokens = presented_tokens(fields, self._profile)
        return self._machines.presented(tokens) if tokens else None

    def pass_now(self, asked: Asked, seen: Seen, memory: Memory) -> Pass | None:
        """How a request goes up; None where that is known only after a wait."""
        presented = _of(seen)
        try:
            entry = self._machines.enter_now(presented, asked.head.target)
        except TokenInvalid as invalid:
            return self._refused(asked, seen, invalid)
        return self._passed(asked, seen, memory, entry) if entry is not None else None

    async def pass_later(self, asked: Asked, seen: Seen, memory: Memory) -> Pass:
        """How a request goes up, after what there was to wait for.

        Raises:
            TryLater: that cannot be said now, or there is no credential.
        """
        presented = _of(seen)
        try:
            entry = await self._machines.enter(presented, asked.head.target)
        except TokenInvalid as invalid:
            return self._refused(asked, seen, invalid)
        return self._passed(asked, seen, memory, entry)

    def holds(self, entry: Entry, asked: Asked) -> bool:
        """Whether the same fields go up as the last time; then they are counted once more."""
        held = self._machines.holds(entry, asked.head.target)
        if held:
            self._machines.count(entry)
        return held

    def turned_away(self, entry: Entry) -> None:
        """Tell that the upstream has refused the credential."""
        self._machines.turned_away(entry)

    def _passed(self, asked: Asked, seen: Seen, memory: Memory, entry: Entry) -> Pass:
        self._machines.count(entry)
        if isinstance(entry.choice, Refusal):
            answer = machine_forbidden()
            passed = Pass(asked.kind, Credential.MACHINE, seen, machine=entry, answer=answer)
        else:
            fields = with_credential(seen.fields, entry.token, self._profile)
            pieces = pieces_of(asked, seen, fields)
            rewrites = asked.rewrites_settings
            passed = Pass(
                asked.kind, Credential.MACHINE, seen, pieces, machine=entry, rewrites=rewrites
            )
        memory.passed, memory.settings = passed, asked.rewrites_settings
        return passed

    def _refused(self, asked: Asked, seen: Seen, invalid: TokenInvalid) -> Pass:
        """Never remembered: a token from the future may be good in a moment."""
        self._machines.refuse(_of(seen), invalid.check)
        return Pass(asked.kind, Credential.MACHINE, seen, answer=bearer_refused())


def _of(seen: Seen) -> Presented:
    if seen.machine is None:
        raise AssertionError("there is no machine's token among these fields")
    return seen.machine
