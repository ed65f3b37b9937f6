"""What a person's groups were and are: told to whoever audits, and to what is still open."""

from sidecar.core.groups import GROUPS_CLAIMS, GroupChange, group_change, named
from sidecar.flows.tasks import Runtime


class Groups:
    """Compares the groups of ID tokens, by the claims that Argo CD's RBAC looks at."""

    def __init__(self, runtime: Runtime) -> None:
        self.claims: tuple[str, ...] = GROUPS_CLAIMS
        self._metrics = runtime.metrics
        self._audit = runtime.audit

    def change(self, before: str, after: str) -> GroupChange:
        """What changes for a person whose ID token was `before`, and is `after` from now on."""
        return group_change(before, after, self.claims)

    def note(self, before: str, after: str, *, user: str) -> None:
        """Leave a trace of a change: once, by whoever got the new token."""
        change = self.change(before, after)
        if not change:
            return
        for kind, groups in (("lost", change.lost), ("gained", change.gained)):
            if groups:
                self._metrics.group_changes.labels(kind).inc()
        self._audit.info(
            "groups_changed",
            user=user,
            lost=named(change.lost),
            gained=named(change.gained),
            lost_count=len(change.lost),
            gained_count=len(change.gained),
        )
