"""What is told of machines: counted by names of the operator's, and written for whoever audits."""

from weakref import WeakKeyDictionary

from sidecar.core.bearer_tokens import Machine
from sidecar.core.machine_rules import Choice, Failure, Refusal, TrustedIssuer
from sidecar.core.rates import Rate, Rates
from sidecar.flows.tasks import Runtime

_ANNOTATED = "annotated"
# Strangers can have tokens refused as often as they like.
_LINES = Rate(1, 1.0)
_REMINDERS = Rate(1, 60.0)


class MachineReports:
    """Counts every request; writes a line for each token once, and for refusals now and then."""

    def __init__(self, runtime: Runtime, *, by_annotation: bool) -> None:
        self._audit = runtime.audit
        self._log = runtime.log
        self._monotonic = runtime.clock.monotonic
        self._alarms = runtime.metrics.alarms
        self.count = runtime.metrics.machine_requests.count
        self._by_annotation = by_annotation
        self._told: WeakKeyDictionary[Machine, set[str]] = WeakKeyDictionary()
        self._lines = Rates(_LINES)
        self._reminders = Rates(_REMINDERS)
        self._unsaid: dict[str, int] = {}

    def decided(self, machine: Machine, choice: Choice | Refusal) -> tuple[str, ...]:
        """What requests of this machine are counted as; told once for each decision."""
        name = "" if isinstance(choice, Refusal) else choice.rule
        told = self._told.setdefault(machine, set())
        if name not in told:
            told.add(name)
            self._tell_failures(choice.failures)
            self._tell(machine, choice)
        if isinstance(choice, Refusal):
            return machine.issuer, "", "forbidden"
        return machine.issuer, _ANNOTATED if self._by_annotation else choice.rule, "admitted"

    def _tell(self, machine: Machine, choice: Choice | Refusal) -> None:
        if isinstance(choice, Refusal):
            self._audit.warning(
                "machine_forbidden",
                issuer=machine.issuer,
                subject=machine.subject,
                tried=list(choice.tried),
            )
        else:
            self._audit.info(
                "machine_admitted",
                issuer=machine.issuer,
                subject=machine.subject,
                rule=choice.rule,
                credential=str(choice.credential),
            )

    def _tell_failures(self, failures: tuple[Failure, ...]) -> None:
        for failure in failures:
            if not self._reminders.wait_seconds(f"rule {failure.rule}", self._monotonic()):
                self._log.warning("machine_rule_failed", rule=failure.rule, error=failure.why)

    def refused(self, issuer: TrustedIssuer | None, check: str) -> None:
        """A token has failed a check."""
        name = issuer.name if issuer is not None else ""
        self.count((name, "", "refused"))
        about = f"{name} {check}"
        if self._lines.wait_seconds(about, self._monotonic()):
            self._unsaid[about] = self._unsaid.get(about, 0) + 1
            return
        others = self._unsaid.pop(about, 0)
        self._audit.warning("machine_refused", issuer=name, check=check, others=others)

    def unavailable(self, issuer: TrustedIssuer | None, why: str) -> None:
        """Whether a machine may do what it asks for, or with what, cannot be said now."""
        name = issuer.name if issuer is not None else ""
        self.count((name, "", "unavailable"))
        if not self._lines.wait_seconds(f"{name} {why}", self._monotonic()):
            self._log.warning("machine_unavailable", issuer=name, error=why)

    def turned_away(self, counted_as: tuple[str, ...], choice: Choice | Refusal) -> None:
        """The upstream has answered 401 to a machine's request."""
        issuer, rule, _ = counted_as
        self.count((issuer, rule, "turned_away"))
        if isinstance(choice, Refusal):
            return
        credential = str(choice.credential)
        if not self._reminders.wait_seconds(credential, self._monotonic()):
            self._alarms.labels("machine_credential_refused").inc()
            self._log.error(
                "machine_credential_refused",
                rule=choice.rule,
                credential=credential,
                mend="the upstream answers 401 to it: has it ended, or was it taken back?",
            )
